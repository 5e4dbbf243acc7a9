"""Figures and tables from run directories: learning curves with confidence bands, and scores of each setting.

Reads the CSV files that `fit` and `sweep` wrote (layout in `rlx.runtime.run`), also of a run that is still going.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlx.runtime.elites import plot_archive
from rlx.runtime.figure import COLOURS, MAX_COLOURED, Curve, Panel, draw
from rlx.runtime.front import front_table, plot_front
from rlx.runtime.run import stored_description
from rlx.runtime.statistics import Estimate, bootstrap, interquartile_mean
from rlx.runtime.table import Table, readable

MAX_POINTS = 100  # of a drawn curve; more log points are averaged into as many bins
FINAL = 0.1  # the part of training whose returns are the score where there was no evaluation

UNITS = {"episode_length": "environment steps", "entropy": "nats", "kl": "nats"}


class ReportResult(NamedTuple):
    """What `report` made."""

    markdown: str  # the table of scores with its explanation, as in `report.md`
    rows: list[dict[str, Any]]  # one for each setting of each run, as in `scores.csv`
    files: tuple[Path, ...]  # the figures first
    front: str = ""  # the returns that the setting with the highest score has found, if its algorithm keeps them


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
    front: Table
    visits: Table
    archive: Table
    objectives: tuple[str, ...]  # columns of the front
    ref: tuple[float, ...] | None  # of the hypervolume


def report(*paths: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> ReportResult:
    """Draw learning curves and tabulate scores of one run or several, and write them into a directory.

    `returns.png` has a panel for each return (of evaluation and of training, for each reward channel),
    `diagnostics.png` one for each other metric. A curve is the interquartile mean over seeds with its 95 % bootstrap
    interval. The score of a setting is that of its last evaluation, or where there was none of the last tenth of
    training. Diverged seeds are left out of curves and scores and counted in the table, so read the two together.

    Where preferences between answers were learned, `displacement.png` has the log-probability of those preferred and of
    the others, a panel for each of the best settings: both may fall while the margin between them grows.

    Where the environment has a map, `visits.png` has how often evaluation was where, and of an algorithm that keeps an
    archive of elites `archive.png` has their fitness: for each of the best settings, all seeds together.

    Where an algorithm keeps a front, hypervolume comes first among curves and scores, `front.png` has what all seeds of
    each setting have found together, and `front` lists that of the setting with the highest score.

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
    volume = [(column, f"Hypervolume{_above(settings)}") for column, _ in others if column == "hypervolume"]
    others = [(column, title) for column, title in others if column != "hypervolume"]
    returns = _panels(settings, "metrics", volume)
    returns += _panels(settings, "evaluations", evaluations) + _panels(settings, "metrics", training)
    diagnostics = _panels(settings, "metrics", others)
    scored, source = (evaluations, "evaluations") if evaluations else (training, "metrics")
    columns = [("metrics", column) for column, _ in volume] + [(source, column) for column, _ in scored]
    rows = [_score(setting, columns) for setting in settings]
    first = [row.get(columns[0][1], np.nan) if columns else np.nan for row in rows]
    best = sorted(range(len(rows)), key=lambda i: -np.nan_to_num(first[i], nan=-np.inf))
    coloured = [settings[index].label for index in sorted(best[:MAX_COLOURED])]
    colours = dict(zip(coloured, COLOURS, strict=False))

    descriptions = [stored_description(path) or {} for path in runs]
    environments = {str(description.get("environment")) for description in descriptions} - {"None"}
    kinds = {"updates" if "data" in description else "environment steps" for description in descriptions}
    steps = " or ".join(sorted(kinds))
    title = ", ".join([*sorted(environments), *([runs[0].name] if len(runs) == 1 else [])])
    figures = []
    for name, panels in (("returns.png", returns), ("diagnostics.png", diagnostics)):
        if panels:
            figures.append(folder / name)
            draw(panels, colours, title, figures[-1], steps=steps)

    displacement = _displacement([settings[index] for index in best[:MAX_COLOURED]])
    if displacement:
        figures.append(folder / "displacement.png")
        draw(displacement, {"chosen": COLOURS[0], "rejected": COLOURS[1]}, title, figures[-1], steps=steps)

    front, front_figure = _fronts([settings[index] for index in best], coloured, folder / "front.png")
    figures += front_figure
    for name, unit, merge in (("visits", "visits", np.sum), ("archive", "fitness", np.max)):
        figures += _heat_maps([settings[index] for index in best[:MAX_COLOURED]], name, unit, merge, folder)
    table = _markdown(rows, title, source) + (f"\n```\n{front}\n```\n" if front else "")
    (folder / "report.md").write_text(table + "".join(f"\n![{path.stem}]({path.name})\n" for path in figures))
    with open(folder / "scores.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, _names(rows))
        writer.writeheader()
        writer.writerows(rows)
    return ReportResult(table, rows, (*figures, folder / "report.md", folder / "scores.csv"), front)


# --- Reading ---


def _read(path: Path, run: str, *, several: bool) -> Iterator[_Setting]:
    description = stored_description(path)
    if description is None:
        raise ValueError(f"{path} is not a run directory: it has no config.json")
    tables = [Table.read(path / f"{name}.csv") for name in ("metrics", "evaluations", "front", "visits", "archive")]
    objectives, ref = tuple(description.get("channels", ())), description.get("reference_point")
    metrics = tables[0]
    if not len(metrics):
        raise ValueError(f"{path} has no log points yet")
    for setting, indices in _by_setting(description["members"]).items():
        chosen, seeds = dict(setting), tuple(description["members"][index]["seed"] for index in indices)
        written = {name: float(f"{value:.9g}") for name, value in chosen.items()}  # as tables round their numbers
        parts = [table.where(**written) if len(table) else table for table in tables]
        diverged: set[int] = set()
        if "diverged" in metrics.columns:
            diverged = {int(seed) for seed in parts[0].where(diverged=1)["seed"]}
        if several:
            label = ", ".join([run, *(f"{name} {readable(value)}" for name, value in chosen.items())])
        else:
            label = ", ".join(map(readable, chosen.values())) or run
        heading = "" if several else ", ".join(chosen)
        yield _Setting(
            label, heading, run, chosen, seeds, tuple(sorted(diverged)), *parts, objectives=objectives, ref=ref
        )


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


def _displacement(settings: Sequence[_Setting]) -> list[Panel]:
    """For each setting how likely the preferred answers and the others are; none where no preferences were learned."""
    panels = []
    for setting in settings:
        found = {name: _values(setting, "metrics", f"log_prob/{name}") for name in ("chosen", "rejected")}
        curves = [_binned(Curve(name, *x)) for name, x in found.items() if x is not None and len(x[0]) > 1]
        if len(curves) == 2:
            title = ", ".join(part for part in (setting.heading, setting.label) if part)
            panels.append(Panel(f"Likelihood, {title}", "nats per answer", "", curves))
    return panels


def _binned(curve: Curve) -> Curve:
    if len(curve.steps) <= MAX_POINTS:
        return curve
    edges = np.linspace(0, len(curve.steps), MAX_POINTS + 1).astype(int)
    sizes = np.diff(edges)
    steps = np.add.reduceat(curve.steps, edges[:-1]) / sizes
    return Curve(curve.label, steps, np.add.reduceat(curve.values, edges[:-1], axis=1) / sizes)


# --- Scores ---


def _score(setting: _Setting, columns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """A row of the table of scores; columns are pairs of a table and a name in it."""
    last_table: Table = getattr(setting, columns[-1][0] if columns else "metrics")
    row: dict[str, Any] = {
        "run": setting.run,
        **setting.hyperparameters,
        "seeds": len(setting.seeds),
        "diverged": len(setting.diverged),
        "steps": int(last_table["step"].max()) if len(last_table) else 0,
    }
    for source, column in columns:
        found = _values(setting, source, column)
        estimate = Estimate(*[np.nan] * 3)
        if found is not None:
            steps, values = found
            at_end = source == "evaluations" or column == "hypervolume"
            last = steps >= (steps[-1] if at_end else (1 - FINAL) * steps[-1])
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
        cells.append([readable(row.get(name, "")) for name in shown])
        for index, name in enumerate(shown):
            if np.isfinite(row.get(f"{name} low", np.nan)):
                cells[-1][index] += f" [{readable(row[f'{name} low'])}, {readable(row[f'{name} high'])}]"
    return shown, cells


def _markdown(rows: Sequence[Mapping[str, Any]], title: str, source: str) -> str:
    names, cells = table_cells(rows)
    lines = [names, ["---" if name == "run" else "---:" for name in names], *cells]
    when = "of the last evaluation" if source == "evaluations" else f"over the last {FINAL:.0%} of training"
    note = f"Returns: interquartile mean over seeds [95 % bootstrap interval], {when}; diverged seeds left out."
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"# {title}\n\n{body}\n\n{note}\n"


def _fronts(settings: Sequence[_Setting], coloured: Sequence[str], path: Path) -> tuple[str, list[Path]]:
    """The table of the first setting's front, and the picture of the coloured ones that have the same objectives."""
    found = [setting for setting in settings if len(setting.front)]
    if not found:
        return "", []
    names = found[0].objectives
    sets = {s.label: _points(s) for s in found if s.objectives == names}
    points, seeds = sets[found[0].label], list(found[0].front["seed"])
    count = f"{len(found[0].seeds)} seeds together" if len(found[0].seeds) > 1 else "one seed"
    table = front_table(points, names, ref=found[0].ref, labels={"seed": seeds} if len(found[0].seeds) > 1 else None)
    heading = f"Front of {found[0].label}, {count}"
    if len(names) < 2:
        return f"{heading}\n{table}", []
    drawn = {"": points} if len(sets) == 1 else {label: sets[label] for label in coloured if label in sets}
    return f"{heading}\n{table}", [plot_front(drawn, names, path, ref=found[0].ref)]


def _heat_maps(
    settings: Sequence[_Setting], name: str, unit: str, merge: Callable[..., Any], folder: Path
) -> list[Path]:
    """The picture of the settings that have such a map of the first one's size; cells of several seeds are merged."""
    found = {setting.label: getattr(setting, name) for setting in settings if len(getattr(setting, name))}
    if not found:
        return []
    size = {label: (int(table["width"][0]), int(table["height"][0])) for label, table in found.items()}
    first = next(iter(size.values()))
    values, filled = {}, {}
    for label, table in found.items():
        if size[label] != first:
            continue
        cell = np.ravel_multi_index((table["x"].astype(int), table["y"].astype(int)), first)
        seen = [table["value"][cell == index] for index in range(first[0] * first[1])]
        values[label] = np.array([merge(x) if x.size else 0.0 for x in seen]).reshape(first)
        filled[label] = np.array([x.size > 0 for x in seen]).reshape(first)
    if len(values) == 1:
        values, filled = {"": next(iter(values.values()))}, {"": next(iter(filled.values()))}
    path = folder / f"{name}.png"
    return [plot_archive(values, filled, path, high=first, names=("", ""), unit=unit, title=name.capitalize())]


def _points(setting: _Setting) -> np.ndarray:
    return np.stack([np.asarray(setting.front[name], np.float64) for name in setting.objectives], axis=1)


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


def _above(settings: Sequence[_Setting]) -> str:
    """` above (0, -50)`, where all settings have the same reference point."""
    refs = {tuple(setting.ref) for setting in settings if setting.ref is not None}
    return f" above ({', '.join(map(readable, refs.pop()))})" if len(refs) == 1 else ""


def _words(column: str) -> str:
    """`episode_return/bonus` -> `return: bonus`."""
    return "return" + "".join(f": {channel}" for channel in column.split("/")[1:])
