"""Pictures of archives of elites: what is filled, and how well."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlx import check
from rlx.runtime.figure import STYLE


def plot_archive(
    fitness: Any | Mapping[str, Any],
    filled: Any | Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    low: Sequence[float] = (0.0, 0.0),
    high: Sequence[float] = (1.0, 1.0),
    names: Sequence[str] = ("descriptor 0", "descriptor 1"),
    unit: str = "fitness",
    title: str = "",
) -> Path:
    """Draw a two-dimensional archive as a heat map, or several by label with one scale; empty cells stay white.

    It also draws visits to the places of a room: `fitness` the number of them, `filled` where there were any.

    Args:
        fitness: `[n, m]`, the cells along either axis (`archive.fitness.reshape(shape)` of the grid's shape), or label
            -> such a matrix.
        filled: bool, the same.
        path: of the picture; its ending is the format (png, svg, pdf).
        low: where the grid begins along either axis.
        high: where it ends.
        names: of the axes, the first descriptor to the right and the second upwards.
        unit: what the colours mean.
        title: above the picture.

    Raises:
        ValueError: if there is no archive, or one that is not a matrix with as many cells filled or not.
        OSError: the picture cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    values = dict(fitness) if isinstance(fitness, Mapping) else {"": fitness}
    masks = dict(filled) if isinstance(filled, Mapping) else {"": filled}
    check.require(len(values) > 0 and values.keys() == masks.keys(), "filled", list(masks), f"labels {list(values)}")
    cells = {}
    for label, value in values.items():
        value, mask = np.asarray(value, np.float64), np.asarray(masks[label])
        check.require(
            value.ndim == 2 and value.shape == mask.shape, "fitness", value.shape, f"[n, m] like {mask.shape}"
        )
        cells[label] = np.ma.masked_array(value, ~mask.astype(bool))
    held = [cell.compressed() for cell in cells.values() if cell.count()]
    scale = (min(x.min() for x in held), max(x.max() for x in held)) if held else (0.0, 1.0)
    style: Any = STYLE | {"axes.grid": False}
    with mpl.rc_context(style):
        figure = Figure(figsize=(4.2 * len(cells) + 1.2, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(cells), sharey=True, squeeze=False)[0]
        image = None
        for axis, (label, cell) in zip(axes, cells.items(), strict=True):
            extent = (low[0], high[0], low[1], high[1])
            image = axis.imshow(
                cell.T, origin="lower", extent=extent, vmin=scale[0], vmax=scale[1], cmap="viridis", aspect="auto"
            )
            share = f"{cell.count() / cell.size:.0%} of cells"
            axis.set_title(f"{label}: {share}" if label else share)
            axis.set_xlabel(names[0])
        axes[0].set_ylabel(names[1])
        assert image is not None
        figure.colorbar(image, ax=list(axes), label=unit)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=13, color="#222222")
        figure.savefig(path)
    return Path(path)
