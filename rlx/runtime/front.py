"""Fronts for people: the value vectors that an algorithm has found, as tables and figures, and their hypervolume.

Larger is better in every objective. A set is a matrix with a row for each vector; rows with a NaN are left out, and so
are dominated ones.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.pareto import hypervolume, hypervolume_contributions, hypervolume_monte_carlo, nondominated_mask
from rlx.runtime.figure import COLOURS, GREY, STYLE, Curve, Panel, draw
from rlx.runtime.table import readable
from rlx.types import Front

EXACT_OPERATIONS = 2**24  # of the exact hypervolume; what takes more is estimated
SAMPLES = 2**15  # of the estimate: its standard error is below 0.3 % of the box of the best values
MAX_ROWS = 40  # of a printed table

Points = Any  # [N, m], an array or nested lists


def best_rows(points: Points) -> np.ndarray:
    """Indices of the non-dominated rows, from the highest first objective down; of equal rows the first."""
    points = np.asarray(points, np.float64)
    check.rank("points", points, 2)
    if not len(points):
        return np.zeros(0, np.int64)
    kept = np.flatnonzero(nondominated_mask(points))
    return kept[np.lexsort(-points[kept].T[::-1])]


def measure(front: Front, ref: Any) -> jax.Array:
    """The hypervolume above `ref`, or for sets that are too large an estimate from the same draws every time.

    N rows of m objectives take `N ** (m - 1)` operations. Pure, to be jitted.
    """
    rows, objectives = front.points.shape
    if rows ** (objectives - 1) <= EXACT_OPERATIONS:
        return hypervolume(front.points, ref, front.valid)
    return hypervolume_monte_carlo(jax.random.key(0), front.points, ref, SAMPLES, front.valid)[0]


def front_table(
    points: Points,
    names: Sequence[str],
    *,
    ref: Sequence[float] | None = None,
    labels: Mapping[str, Sequence[Any]] | None = None,
    limit: int = MAX_ROWS,
) -> str:
    """The non-dominated rows as plain text, from the highest first objective down.

    Args:
        points: `[N, m]`.
        names: of the m objectives.
        ref: reference point `[m]`; with it the table has a column `adds`, the hypervolume that only this row covers,
            and ends with the hypervolume of all.
        labels: further columns, name -> N cells (the seed that found a row, say).
        limit: rows shown; of more, some evenly spaced.

    Raises:
        ValueError: if `points` has not one column for each name, or a column of labels not one cell for each row.

    >>> print(front_table([[1.0, -1.0], [124.0, -19.0], [1.0, -3.0]], ("treasure", "time"), ref=(0.0, -50.0)))
    treasure  time   adds
         124   -19  3,813
           1    -1     18
    2 points, hypervolume 3,862 above (0, -50)
    """
    points, labels = _matrix("points", points, names), dict(labels or {})
    for name, cells in labels.items():
        check.require(len(cells) == len(points), f"labels[{name!r}]", len(cells), f"{len(points)} cells")
    kept = best_rows(points)
    shown = kept if len(kept) <= limit else kept[np.linspace(0, len(kept) - 1, limit).round().astype(int)]
    columns = {name: [readable(points[i, k]) for i in shown] for k, name in enumerate(names)}
    columns |= {name: [str(cells[i]) for i in shown] for name, cells in labels.items()}
    footer = f"{len(kept)} point{'' if len(kept) == 1 else 's'}"
    if len(shown) < len(kept):
        footer += f" of which {len(shown)} are shown"
    if ref is not None and len(kept):
        front = Front(jnp.asarray(points[kept]), jnp.ones(len(kept), bool))
        if len(kept) ** (points.shape[1] - 1) <= EXACT_OPERATIONS:
            adds = dict(zip(kept, hypervolume_contributions(front.points, jnp.asarray(ref)), strict=True))
            columns["adds"] = [readable(adds[i]) for i in shown]
        footer += f", hypervolume {readable(measure(front, jnp.asarray(ref)))} above {_tuple(ref)}"
    widths = {name: max(map(len, [name, *cells])) for name, cells in columns.items()}
    lines = ["  ".join(name.rjust(width) for name, width in widths.items())]
    for row in zip(*columns.values(), strict=True):
        lines.append("  ".join(cell.rjust(width) for cell, width in zip(row, widths.values(), strict=True)))
    return "\n".join([*lines, footer])


def plot_front(
    points: Points | Mapping[str, Points],
    names: Sequence[str],
    path: str | os.PathLike[str],
    *,
    ref: Sequence[float] | None = None,
    exact: Points | None = None,
    title: str = "",
) -> Path:
    """Draw the non-dominated rows of a set, or of several by label.

    Two objectives: points on the stair that bounds what they dominate. Three: points in space. More: a line for each
    row over parallel axes, each from the least value to the best.

    Args:
        points: `[N, m]`, or label -> such a matrix.
        names: of the m objectives.
        path: of the picture; its ending is the format (png, svg, pdf).
        ref: reference point `[m]`; in two objectives what lies between it and the stair is filled.
        exact: `[M, m]`, the known front, drawn in grey below.
        title: above the picture.

    Raises:
        ValueError: if a matrix has not one column for each name, there are fewer than two names, or no rows at all.
        OSError: the picture cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    check.count("the number of names", len(names), 2)
    given = points if isinstance(points, Mapping) else {"": points}
    sets = {label: _sorted(_matrix("points", each, names)) for label, each in given.items()}
    check.require(any(map(len, sets.values())), "points", points, "at least one row without a NaN")
    known = None if exact is None else _sorted(_matrix("exact", exact, names))
    style: Any = STYLE
    with mpl.rc_context(style):
        figure = Figure(figsize=(max(6.4, 1.3 * len(names) + 1), 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        axis = figure.add_subplot(projection="3d" if len(names) == 3 else None)
        draw_sets = {2: _draw_stairs, 3: _draw_space}.get(len(names), _draw_parallel)
        coloured = [(label, each, COLOURS[i % len(COLOURS)]) for i, (label, each) in enumerate(sets.items())]
        draw_sets(axis, coloured, known, names, ref)
        if title:
            axis.set_title(title)
        if known is not None or len(sets) > 1:
            figure.legend(frameon=False, loc="outside right upper")
        figure.savefig(path)
    return Path(path)


def plot_hypervolume(
    curves: Mapping[str, tuple[Any, Any]],
    path: str | os.PathLike[str],
    *,
    ref: Sequence[float] | None = None,
    title: str = "",
) -> Path:
    """Draw hypervolume over training: the interquartile mean over seeds with its 95 % bootstrap interval.

    Args:
        curves: label -> environment steps `[T]` and hypervolumes `[T]`, or `[S, T]` with a row for each seed.
        path: of the picture.
        ref: the reference point, to be named in the picture.
        title: above the picture.

    Raises:
        ValueError: if there is no curve, or a curve has not one value for each step.
        OSError: the picture cannot be written.
    """
    check.require(len(curves) > 0, "curves", curves, "at least one curve")
    made = []
    for label, (steps, values) in curves.items():
        steps, values = np.asarray(steps, np.float64), np.atleast_2d(np.asarray(values, np.float64))
        check.require(values.shape[-1] == len(steps), f"values of {label!r}", values.shape, f"[S, {len(steps)}]")
        made.append(Curve(label, steps, values))
    panel = Panel("Hypervolume", "" if ref is None else f"above {_tuple(ref)}", "", made)
    draw([panel], dict(zip(curves, COLOURS, strict=False)), title, Path(path))
    return Path(path)


def _matrix(name: str, points: Points, names: Sequence[str]) -> np.ndarray:
    points = np.asarray(points, np.float64)
    fits = points.ndim == 2 and points.shape[1] == len(names)
    check.require(fits, name, points.shape, f"of shape [N, {len(names)}], a column for each of {', '.join(names)}")
    return points


def _sorted(points: np.ndarray) -> np.ndarray:
    return points[best_rows(points)]


def _draw_stairs(axis: Any, sets: Any, known: np.ndarray | None, names: Sequence[str], ref: Any) -> None:
    if known is not None:
        axis.plot(*known.T, "o", color=GREY, markersize=8, label="exact", zorder=2)
    for label, points, colour in sets:
        x, y = points[::-1].T  # left to right, falling
        if ref is not None and len(points):
            axis.fill_between([ref[0], *x], [y[0], *y], ref[1], step="pre", color=colour, alpha=0.08, linewidth=0)
        axis.plot(x, y, drawstyle="steps-pre", color=colour, linewidth=1.2, alpha=0.6, zorder=2)
        axis.plot(x, y, "o", color=colour, markersize=4.5, label=label or "found", zorder=3)
    axis.set_xlabel(names[0])
    axis.set_ylabel(names[1])


def _draw_space(axis: Any, sets: Any, known: np.ndarray | None, names: Sequence[str], ref: Any) -> None:
    del ref
    if known is not None:
        axis.scatter(*known.T, color=GREY, s=45, label="exact", depthshade=False)
    for label, points, colour in sets:
        axis.scatter(*points.T, color=colour, s=16, label=label or "found", depthshade=False)
    for coordinate, name in zip("xyz", names, strict=True):
        getattr(axis, f"set_{coordinate}label")(name)


def _draw_parallel(axis: Any, sets: Any, known: np.ndarray | None, names: Sequence[str], ref: Any) -> None:
    del ref
    everything = np.concatenate([points for _, points, _ in sets] + ([] if known is None else [known]))
    low, high = everything.min(axis=0), everything.max(axis=0)
    span = np.where(high > low, high - low, 1)
    places = np.arange(len(names))
    drawn = [] if known is None else [("exact", known, GREY)]
    for label, points, colour in [*drawn, *sets]:
        lines = axis.plot(places, ((points - low) / span).T, color=colour, linewidth=1.3)
        if lines:
            lines[0].set_label(label or "found")
    for place in places:
        axis.axvline(place, color="#888888", linewidth=0.8, zorder=1)
        axis.annotate(readable(high[place]), (place, 1), (0, 4), textcoords="offset points", ha="center", fontsize=9)
    axis.set_xticks(places, [f"{readable(low[k])}\n{name}" for k, name in enumerate(names)])
    axis.set_yticks([])
    axis.set_ylim(0, 1.08)
    axis.spines["left"].set_visible(False)


def _tuple(values: Sequence[float]) -> str:
    return f"({', '.join(map(readable, values))})"
