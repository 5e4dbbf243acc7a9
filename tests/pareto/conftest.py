"""Random sets of value vectors that hold every awkward case."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

SIZES = {1: (100, 6), 2: (400, 24), 3: (400, 20), 4: (200, 12), 5: (100, 8)}  # objectives: (sets, rows)


class Sets(NamedTuple):
    points: np.ndarray  # [sets, N, m]
    valid: np.ndarray  # bool [sets, N]

    @property
    def rows(self) -> list[np.ndarray]:
        """The valid rows of each set, in float64."""
        return [points[valid].astype(float) for points, valid in zip(self.points, self.valid, strict=True)]


def draw(m: int, dtype: str, seed: int = 0) -> Sets:
    """Sets of five kinds in turn, with masks at random but for sets with no row, one row and all rows.

    A normal cloud (half of it below 0), a coarse grid (equal rows and values), a sphere (nothing is dominated), a
    simplex with repeated rows, a cube.
    """
    number, n = SIZES[m]
    rng = np.random.default_rng([seed, m])
    points = rng.normal(size=(number, n, m))
    points[1::5] = rng.integers(-1, 4, points[1::5].shape)
    points[2::5] = np.abs(points[2::5]) / np.linalg.norm(points[2::5], axis=-1, keepdims=True)
    points[3::5] = rng.dirichlet(np.ones(m), points[3::5].shape[:2])
    points[3::5, ::2] = points[3::5, 1::2]
    points[4::5] = rng.uniform(-0.2, 1.0, points[4::5].shape)
    valid = rng.random((number, n)) < 0.7
    valid[::11] = False
    valid[1::11] = np.arange(n) == rng.integers(n, size=(len(valid[1::11]), 1))
    valid[2::11] = True
    return Sets(points.astype(dtype), valid)


@pytest.fixture(scope="session")
def random_sets():
    return draw


TREASURE = {
    "convex": [0.7, 8.2, 11.5, 14.0, 15.1, 16.1, 19.6, 20.3, 22.4, 23.7],
    "concave": [1.0, 2.0, 3.0, 5.0, 8.0, 16.0, 24.0, 50.0, 74.0, 124.0],
}


def deep_sea(shape: str, gamma: float) -> np.ndarray:
    """`[10, 2]`: discounted treasure and time of the non-dominated deterministic policies of deep sea treasure."""
    steps = np.array([1, 3, 5, 7, 8, 9, 13, 14, 17, 19])
    time = np.sum(gamma ** np.arange(19) * (np.arange(19) < steps[:, None]), axis=1)
    return np.stack([TREASURE[shape] * gamma ** (steps - 1), -time], axis=1)


@pytest.fixture(scope="session")
def deep_sea_treasure():
    return deep_sea
