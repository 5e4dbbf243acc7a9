"""What the claims on goals in mazes share: rows of a log with goals, and how well values and directions lead."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from rlx.types import Array, Transition
from rlx.value import option_end, relabel_goals


class Rows(NamedTuple):
    """Steps of a log with goals: cells int `[N]` each."""

    cell: Array
    after: Array  # where the step led, or the option
    goal: Array
    action: Array


def draw(key: Array, log: Transition, size: int, discount: float, *, options: int = 1, **shares: Any) -> Rows:
    """Rows of a log of cells whose episodes are its columns, with relabelled goals (`rlx.value.relabel_goals`)."""
    cells = log.obs["observation"].T.ravel()
    steps, episodes = log.terminated.shape
    row_key, goal_key = jax.random.split(key)
    row = jax.random.randint(row_key, (size,), 0, steps * episodes - 1)
    row = jnp.where(row % steps == steps - 1, row - 1, row)  # the last step of an episode leads out of the table
    last = row - row % steps + steps - 1
    goal = relabel_goals(goal_key, row, last, steps * episodes, discount, **shares)
    return Rows(cells[row], cells[option_end(row, goal, last, options)], cells[goal], log.action.T.ravel()[row])


def distance_correlation(distance: np.ndarray, wanted: np.ndarray, free: np.ndarray) -> float:
    """Spearman's, of `[S, S]` over pairs of different free cells."""
    off = ~np.eye(len(free), dtype=bool)
    within = np.ix_(free, free)
    return stats.spearmanr(distance[within][off], wanted[within][off]).statistic  # type: ignore[attr-defined]


def reached(next_cell: np.ndarray, free: np.ndarray, steps: int) -> np.ndarray:
    """Whether always going to `next_cell [S, G]` reaches the goal in time, bool `[F, F]` of start and goal."""
    cell, goal = (x.ravel() for x in np.meshgrid(free, free, indexing="ij"))
    for _ in range(steps):
        cell = np.where(cell == goal, cell, next_cell[cell, goal])
    return (cell == goal).reshape(len(free), len(free))
