"""How figures look: panels of curves with confidence bands, labelled at their ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlx.runtime.statistics import bootstrap, interquartile_mean

MAX_COLOURED = 6  # curves of a panel; the rest stay grey

COLOURS = ("#1f5fa8", "#d1601c", "#2a8a57", "#a6357f", "#7a6a00", "#5b4bb3")
GREY = "#b9bec4"
STYLE = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 10.5,
    "axes.labelcolor": "#444444",
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "xtick.color": "#666666",
    "ytick.color": "#666666",
    "ytick.major.size": 0,
    "savefig.dpi": 160,
}


class Curve(NamedTuple):
    """One metric of one setting over training."""

    label: str
    steps: np.ndarray  # [N], of the environment, or updates where there is a log
    values: np.ndarray  # [S, N], finite, one row for each seed


class Panel(NamedTuple):
    """The curves of one metric."""

    title: str
    unit: str
    heading: str  # of the labels
    curves: list[Curve]


def draw(
    panels: Sequence[Panel], colours: Mapping[str, str], title: str, path: Path, *, steps: str = "environment steps"
) -> None:
    """Write a picture of the panels, over `steps` of that name; labels without a colour are grey."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 2 if len(panels) == 4 else min(len(panels), 3)
    rows = -(-len(panels) // columns)
    labels = [curve.label for panel in panels for curve in panel.curves if len(panel.curves) > 1]
    label_width = 0.085 * max(map(len, [*labels, panels[0].heading if labels else ""]))  # inches
    style: Any = STYLE
    with mpl.rc_context(style):
        figure = Figure(figsize=((5.4 + label_width) * columns, 3.6 * rows + 0.7), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis, panel in zip(axes.flat, panels, strict=False):
            _draw_panel(axis, panel, colours, steps)
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        seeds = sorted({len(curve.values) for panel in panels for curve in panel.curves})
        count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        notes = [
            "One seed." if seeds == [1] else f"Interquartile mean of {count} seeds and its 95 % bootstrap interval."
        ]
        if any(len(panel.curves) > MAX_COLOURED for panel in panels):
            notes.append(f"Coloured: the {MAX_COLOURED} with the highest scores.")
        note = ("\n" if columns == 1 else " ").join(notes)
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, color="#222222")
        figure.supxlabel(note, x=0.01, ha="left", fontsize=9.5, color="#777777")
        figure.savefig(path)


def _draw_panel(axis: Any, panel: Panel, colours: Mapping[str, str], steps: str) -> None:
    from matplotlib.ticker import EngFormatter

    ends = []
    for curve in panel.curves:
        middle, low, high = bootstrap(interquartile_mean, curve.values, resamples=1000)
        colour = colours.get(curve.label, GREY)
        above = 2 if colour == GREY else 3
        axis.plot(curve.steps, middle, color=colour, linewidth=1.8, zorder=above)
        if colour != GREY:
            axis.fill_between(curve.steps, low, high, color=colour, alpha=0.18, linewidth=0, zorder=above)
            ends.append((middle[-1], curve.label, colour))
    axis.set_title(panel.title)
    axis.set_xlabel(steps)
    axis.set_ylabel(panel.unit)
    axis.set_xlim(0, max(curve.steps[-1] for curve in panel.curves))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    if len(panel.curves) > 1:
        _label_ends(axis, sorted(ends), panel.heading)


def _label_ends(axis: Any, ends: Sequence[tuple[float, str, str]], heading: str) -> None:
    """Each curve's name at its right end, moved apart where they would overlap, under a heading."""
    low, high = axis.get_ylim()
    gap = 0.075 * (high - low)
    heights = _spread([end[0] for end in ends], gap, high)
    right = axis.get_xlim()[1]
    labels = [(height, label, colour) for height, (_, label, colour) in zip(heights, ends, strict=True)]
    for height, label, colour in [*labels, (heights[-1] + gap, heading, "#777777")]:
        axis.annotate(
            label, (right, height), (6, 0), textcoords="offset points", color=colour, va="center", annotation_clip=False
        )


def _spread(values: Sequence[float], gap: float, high: float) -> list[float]:
    """Ascending values pushed up until they are `gap` apart, then down again below `high`."""
    placed: list[float] = []
    for value in values:
        placed.append(max(value, placed[-1] + gap) if placed else value)
    ceiling = high
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    return placed
