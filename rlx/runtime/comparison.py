"""Comparing aligned policies: gold reward against divergence, and who wins against whom."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rlx import check
from rlx.runtime.figure import COLOURS, GREY, STYLE
from rlx.runtime.statistics import bootstrap


def plot_frontier(
    curves: Mapping[str, tuple[Any, Any]] | Mapping[str, Mapping[str, tuple[Any, Any]]],
    path: str | os.PathLike[str],
    *,
    start: tuple[float, float] | None = None,
    optimum: tuple[Any, Any] | None = None,
    coloured: tuple[str, ...] | None = None,
    limit: float | None = None,
    title: str = "",
) -> Path:
    """Draw the reward that policies reach against how far they went from the reference: a point for each run.

    At equal divergence the higher curve is the better method; compared at equal steps or equal beta, the one that went
    further looks better, until it has gone too far.

    Args:
        curves: label -> divergences `[N]` in nats and gold rewards `[N]`, of runs at values of beta or at checkpoints,
            drawn in the order of divergence; or name of a panel -> such a mapping.
        path: of the picture.
        start: divergence and reward of the reference, where all curves begin.
        optimum: divergences `[M]` and rewards `[M]` of the reference tilted by the gold reward, which nothing exceeds.
        coloured: labels to be told apart, the rest is grey; by default the first six.
        limit: largest divergence shown.
        title: above the picture.

    Raises:
        ValueError: without a curve, or for one whose two arrays do not fit.
        OSError: the picture cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    check.require(len(curves) > 0, "curves", curves, "at least one curve")
    nested = isinstance(next(iter(curves.values())), Mapping)
    panels: Any = curves if nested else {"": curves}
    labels = list(dict.fromkeys(label for panel in panels.values() for label in panel))
    chosen = tuple(labels[: len(COLOURS)]) if coloured is None else coloured
    colours = dict(zip(chosen, COLOURS, strict=False))
    style: Any = STYLE
    with mpl.rc_context(style):
        figure = Figure(figsize=(5.4 * len(panels) + 0.7, 4.8), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (name, panel) in zip(axes, panels.items(), strict=True):
            if optimum is not None:
                axis.plot(*optimum, color="#222222", linewidth=1.2, linestyle="--", label="optimum")
            for label, (divergence, gold) in panel.items():
                x, y = (np.asarray(value, np.float64) for value in (divergence, gold))
                check.require(x.ndim == 1 and x.shape == y.shape, f"curves[{label!r}]", (x.shape, y.shape), "[N], [N]")
                order = np.argsort(x)
                x, y = x[order], y[order]
                if start is not None:
                    x, y = np.append(start[0], x), np.append(start[1], y)
                known = label in colours
                axis.plot(
                    x,
                    y,
                    color=colours.get(label, GREY),
                    linewidth=1.9 if known else 0.9,
                    marker="o",
                    markersize=3 if known else 2,
                    label=label if known else None,
                    zorder=3 if known else 2,
                )
            axis.set_title(name)
            axis.set_xlim(0, limit)
            axis.set_xlabel("KL(policy || reference), nats")
        axes[0].set_ylabel("expected gold reward")
        drawn: dict[str, Any] = {}
        for axis in axes:
            drawn |= {line.get_label(): line for line in axis.get_legend_handles_labels()[0]}
        figure.legend(drawn.values(), drawn, frameon=False, loc="outside right center")
        notes = ["One point a run."]
        if len(labels) > len(colours):
            notes.append("Grey: the other methods.")
        if limit is not None:
            notes.append(f"Divergences above {limit:g} are not shown.")
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, color="#222222")
        figure.supxlabel(" ".join(notes), x=0.01, ha="left", fontsize=9.5, color="#777777")
        figure.savefig(path)
    return Path(path)


def win_rate_table(scores: Mapping[str, Any]) -> str:
    """How often the answer of the row is better than that of the column, as Markdown; a tie is half a win.

    Each policy has answered the same prompts, once each. Intervals are 95 % bootstrap intervals over prompts; they do
    not know of seeds.

    Args:
        scores: label -> a score for each prompt `[N]`, the higher the better.

    Raises:
        ValueError: for fewer than two policies, scores of different numbers of prompts, or ones that are not finite.
    """
    check.count("the number of policies", len(scores), 2)
    arrays = {label: np.asarray(value, np.float64) for label, value in scores.items()}
    first = next(iter(arrays.values())).shape
    for label, array in arrays.items():
        check.require(array.ndim == 1 and array.shape == first, f"scores[{label!r}]", array.shape, f"of shape {first}")
        check.require(bool(np.isfinite(array).all()), f"scores[{label!r}]", array, "finite")
    lines = [
        "| wins of | " + " | ".join(f"against {label}" for label in arrays) + " |",
        "|" + "---|" * (len(arrays) + 1),
    ]
    for label, ours in arrays.items():
        cells = []
        for other, theirs in arrays.items():
            value, low, high = bootstrap(np.mean, (ours > theirs) + 0.5 * (ours == theirs))
            cells.append("" if label == other else f"{value:.3f} [{low:.3f}, {high:.3f}]")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
