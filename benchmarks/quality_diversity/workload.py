"""What is timed, in numbers that all sides read. The standard library and NumPy only."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

ISO, LINE = 0.005, 0.05
OFFSET = -1.0  # below the fitness of any arm: qd_score is the sum of fitness - offset


class Workload(NamedTuple):
    """MAP-Elites on the planar arm."""

    genes: int
    batch: int
    side: int  # cells along either axis
    updates: int


WORKLOADS = {
    "small": Workload(genes=8, batch=256, side=32, updates=4000),
    "large": Workload(genes=100, batch=1024, side=64, updates=400),
}
SIDES = ("rlx, grid", "rlx, centroids", "qdax")

# The same solutions, put into an archive by each side: all fitnesses differ, so that there is one right answer.
INSERT_SIDE, INSERT_BATCHES, INSERT_ROWS = 20, 12, 256
ARCHIVES = ("rlx", "qdax", "ribs")


def insertions() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Batches of `(genome [M, 1], fitness [M], descriptor [M, 2])`, float32."""
    rng = np.random.default_rng(0)
    fitness = rng.permutation(INSERT_BATCHES * INSERT_ROWS).reshape(INSERT_BATCHES, -1).astype(np.float32)
    descriptor = rng.random((INSERT_BATCHES, INSERT_ROWS, 2), np.float32)
    return [(f[:, None] / 2, f, d) for f, d in zip(fitness, descriptor, strict=True)]


def centroids(side: int) -> np.ndarray:
    """The middles of the cells of the unit square, in row-major order: `[side^2, 2]`."""
    middle = (np.arange(side, dtype=np.float32) + 0.5) / side
    return np.stack(np.meshgrid(middle, middle, indexing="ij"), -1).reshape(-1, 2)


def described(filled: Any, fitness: Any, genome: Any) -> dict[str, list[float]]:
    """What an archive holds, for comparison: fitness and gene of each cell, minus 1 where it is empty."""
    filled = np.asarray(filled)
    return {
        name: np.where(filled, np.asarray(x, np.float64), -1.0).tolist()
        for name, x in (("fitness", fitness), ("genome", genome))
    }
