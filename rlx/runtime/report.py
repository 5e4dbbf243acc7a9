"""Figures and tables from run directories: learning curves with confidence bands, and scores of each setting.

Reads the CSV files that `fit` and `sweep` wrote (layout in `rlx.runtime.run`), also of a run that is still going.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlx.runtime.run import stored_description
from rlx.runtime.statistics import Estimate, bootstrap, interquartile_mean
from rlx.runtime.table import Table

MAX_POINTS = 100  # of a drawn curve; more log points are averaged into as many bins
MAX_COLOURED = 6  # curves of a panel; the rest stay grey
FINAL = 0.1  # the part of training whose returns are the score where there was no evaluation

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
UNITS = {"episode_length": "environment steps", "entropy": "nats", "kl": "nats"}


class Curve(NamedTuple):
    """One metric of one setting over training."""

    label: str
    steps: np.ndarray  # [N] environment steps
    values: np.ndarray  # [S, N], finite, one row for each seed


class Panel(NamedTuple):
    """The curves of one metric."""

    title: str
    unit: str
    heading: str  # of the labels
    curves: list[Curve]


class ReportResult(NamedTuple):
    """What `report` made."""

    markdown: str  # the table of scores with its explanation, as in `report.md`
    rows: list[dict[str, Any]]  # one for each setting of each run, as in `scores.csv`
    files: tuple[Path, ...]  # the figures first


class _Setting(NamedTuple):
    """The seeds of one run that share their hyper-parameters."""

    label: str
    heading: str  # what the label gives the values of
    run: str
    hyperparameters: dict[str, Any]
    seeds: tuple[int, ...]
    diverged: tuple[int, ...]
    metrics: Table
    evaluations: Table


def report(*paths: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> ReportResult:
    """Draw learning curves and tabulate scores of one run or several, and write them into a directory.

    `returns.png` has a panel for each return (of evaluation and of training, for each reward channel),
    `diagnostics.png` one for each other metric. A curve is the interquartile mean over seeds with its 95 % bootstrap
    interval. The score of a setting is that of its last evaluation, or where there was none of the last tenth of
    training. Diverged seeds are left out of curves and scores and counted in the table, so read the two together.

    Args:
        paths: run directories.
        out: where to write; `report` inside the first run directory by default.

    Raises:
        ValueError: there is no path, a path is not a run directory, or nothing was logged yet.
        OSError: the directory cannot be written.
    """
    if not paths:
        raise ValueError("report needs at least one run directory")
    runs = [Path(path) for path in paths]
    distinct = len({path.name for path in runs}) == len(runs)
    names = [path.name if distinct else str(path) for path in runs]
    settings = [one for path, name in zip(runs, names, strict=True) for one in _read(path, name, several=len(runs) > 1)]
    folder = Path(out) if out is not None else runs[0] / "report"
    folder.mkdir(parents=True, exist_ok=True)

    evaluations = [(column, f"Evaluation {_words(column)}") for column in _columns(settings, "evaluations", "return")]
    training = [(column, f"Training {_words(column)}") for column in _columns(settings, "metrics", "episode_return")]
    shown = {column for column, _ in training}
    others = [(column, column) for column in _columns(settings, "metrics") if column not in shown]
    returns = _panels(settings, "evaluations", evaluations) + _panels(settings, "metrics", training)
    diagnostics = _panels(settings, "metrics", others)
    scored, source = (evaluations, "evaluations") if evaluations else (training, "metrics")
    columns = [column for column, _ in scored]
    rows = [_score(setting, source, columns) for setting in settings]
    best = sorted(range(len(rows)), key=lambda i: [-np.nan_to_num(rows[i][c], nan=-np.inf) for c in columns[:1]])
    coloured = [settings[index].label for index in sorted(best[:MAX_COLOURED])]
    colours = dict(zip(coloured, COLOURS, strict=False))

    environments = {str((stored_description(path) or {}).get("environment")) for path in runs} - {"None"}
    title = ", ".join([*sorted(environments), *([runs[0].name] if len(runs) == 1 else [])])
    figures = []
    for name, panels in (("returns.png", returns), ("diagnostics.png", diagnostics)):
        if panels:
            figures.append(folder / name)
            _draw(panels, colours, title, figures[-1])

    table = _markdown(rows, title, source)
    (folder / "report.md").write_text(table + "".join(f"\n![{path.stem}]({path.name})\n" for path in figures))
    with open(folder / "scores.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, _names(rows))
        writer.writeheader()
        writer.writerows(rows)
    return ReportResult(table, rows, (*figures, folder / "report.md", folder / "scores.csv"))


# --- Reading ---


def _read(path: Path, run: str, *, several: bool) -> Iterator[_Setting]:
    description = stored_description(path)
    if description is None:
        raise ValueError(f"{path} is not a run directory: it has no config.json")
    metrics, evaluations = Table.read(path / "metrics.csv"), Table.read(path / "evaluations.csv")
    if not len(metrics):
        raise ValueError(f"{path} has no log points yet")
    for setting, indices in _by_setting(description["members"]).items():
        chosen, seeds = dict(setting), tuple(description["members"][index]["seed"] for index in indices)
        written = {name: float(f"{value:.9g}") for name, value in chosen.items()}  # as tables round their numbers
        parts = [table.where(**written) if len(table) else table for table in (metrics, evaluations)]
        diverged: set[int] = set()
        if "diverged" in metrics.columns:
            diverged = {int(seed) for seed in parts[0].where(diverged=1)["seed"]}
        if several:
            label = ", ".join([run, *(f"{name} {_number(value)}" for name, value in chosen.items())])
        else:
            label = ", ".join(map(_number, chosen.values())) or run
        heading = "" if several else ", ".join(chosen)
        yield _Setting(label, heading, run, chosen, seeds, tuple(sorted(diverged)), *parts)


def _columns(settings: Sequence[_Setting], table: str, name: str | None = None) -> list[str]:
    """Metric columns of all the settings in the order of appearance; with `name` those of it and its channels."""
    found: dict[str, None] = {}
    for setting in settings:
        skip = {"update", "step", "seed", "diverged", *setting.hyperparameters}
        found.update(dict.fromkeys(c for c in getattr(setting, table).columns if c not in skip))
    return [column for column in found if name is None or column == name or column.startswith(f"{name}/")]


def _values(setting: _Setting, source: str, column: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Steps `[N]` and values `[S, N]` of the seeds that have not diverged; None without any.

    Empty cells (no episode ended) are filled linearly in between, and the curve begins where every seed has a value.
    """
    table: Table = getattr(setting, source)
    if column not in table.columns:
        return None
    seed, step, value = table["seed"], table["step"], np.asarray(table[column], np.float64)
    grid = np.unique(step)
    filled = []
    for member in setting.seeds:
        finite = (seed == member) & np.isfinite(value)
        if member not in setting.diverged and finite.any():
            filled.append(np.interp(grid, step[finite], value[finite], left=np.nan))
    if not filled:
        return None
    values = np.stack(filled)
    begun = np.isfinite(values).all(axis=0)  # at the latest at the last step: `interp` holds a value to the right
    return grid[begun], values[:, begun]


def _panels(settings: Sequence[_Setting], source: str, titled: Sequence[tuple[str, str]]) -> list[Panel]:
    panels = []
    for column, title in titled:
        curves = []
        for setting in settings:
            found = _values(setting, source, column)
            if found is not None and len(found[0]) > 1:
                curves.append(_binned(Curve(setting.label, *found)))
        if curves:
            name = column.split("/")[0]
            unit = "return per episode" if name in ("return", "episode_return") else UNITS.get(name, "")
            panels.append(Panel(title, unit, settings[0].heading, curves))
    return panels


def _binned(curve: Curve) -> Curve:
    if len(curve.steps) <= MAX_POINTS:
        return curve
    edges = np.linspace(0, len(curve.steps), MAX_POINTS + 1).astype(int)
    sizes = np.diff(edges)
    steps = np.add.reduceat(curve.steps, edges[:-1]) / sizes
    return Curve(curve.label, steps, np.add.reduceat(curve.values, edges[:-1], axis=1) / sizes)


# --- Scores ---


def _score(setting: _Setting, source: str, columns: Sequence[str]) -> dict[str, Any]:
    table: Table = getattr(setting, source)
    row: dict[str, Any] = {
        "run": setting.run,
        **setting.hyperparameters,
        "seeds": len(setting.seeds),
        "diverged": len(setting.diverged),
        "steps": int(table["step"].max()) if len(table) else 0,
    }
    for column in columns:
        found = _values(setting, source, column)
        estimate = Estimate(*[np.nan] * 3)
        if found is not None:
            steps, values = found
            last = steps >= (steps[-1] if source == "evaluations" else (1 - FINAL) * steps[-1])
            estimate = bootstrap(interquartile_mean, values[:, last].mean(axis=1))
        row |= _estimate(column, estimate)
    return row


def summarise(members: Sequence[Mapping[str, Any]], columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each setting: hyper-parameters, number of seeds, and the interquartile mean over seeds with its
    interval.

    Args:
        members: seed and hyper-parameters of each of M learners.
        columns: name -> M numbers.
    """
    rows = []
    for setting, indices in _by_setting(members).items():
        row: dict[str, Any] = {**dict(setting), "seeds": len(indices)}
        for name, values in columns.items():
            row |= _estimate(name, bootstrap(interquartile_mean, np.asarray(values)[indices]))
        rows.append(row)
    return rows


def table_cells(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of a table for reading, each estimate with its interval in one cell."""
    shown = [name for name in _names(rows) if not name.endswith((" low", " high"))]
    cells = []
    for row in rows:
        cells.append([_number(row.get(name, "")) for name in shown])
        for index, name in enumerate(shown):
            if np.isfinite(row.get(f"{name} low", np.nan)):
                cells[-1][index] += f" [{_number(row[f'{name} low'])}, {_number(row[f'{name} high'])}]"
    return shown, cells


def _markdown(rows: Sequence[Mapping[str, Any]], title: str, source: str) -> str:
    names, cells = table_cells(rows)
    lines = [names, ["---" if name == "run" else "---:" for name in names], *cells]
    when = "of the last evaluation" if source == "evaluations" else f"over the last {FINAL:.0%} of training"
    note = f"Returns: interquartile mean over seeds [95 % bootstrap interval], {when}; diverged seeds left out."
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"# {title}\n\n{body}\n\n{note}\n"


def _estimate(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: float(estimate.value), f"{name} low": float(estimate.low), f"{name} high": float(estimate.high)}


def _by_setting(members: Sequence[Mapping[str, Any]]) -> dict[tuple[tuple[str, Any], ...], list[int]]:
    """Hyper-parameters -> indices of the members that have them."""
    groups: dict[tuple[tuple[str, Any], ...], list[int]] = {}
    for index, member in enumerate(members):
        groups.setdefault(tuple((k, v) for k, v in member.items() if k != "seed"), []).append(index)
    return groups


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of all the rows; hyper-parameters that only some runs have stay before the scores."""
    return list(dict.fromkeys(key for row in sorted(rows, key=len, reverse=True) for key in row))


def _number(value: Any) -> str:
    """Integers with separators, other numbers to four digits."""
    if isinstance(value, bool | str):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def _words(column: str) -> str:
    """`episode_return/bonus` -> `return: bonus`."""
    return "return" + "".join(f": {channel}" for channel in column.split("/")[1:])


# --- Drawing ---


def _draw(panels: Sequence[Panel], colours: Mapping[str, str], title: str, path: Path) -> None:
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
            _draw_panel(axis, panel, colours)
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


def _draw_panel(axis: Any, panel: Panel, colours: Mapping[str, str]) -> None:
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
    axis.set_xlabel("environment steps")
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
