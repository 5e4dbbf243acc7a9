"""What algorithms that learn from a log share: rows drawn from it and scored."""

from __future__ import annotations

from collections.abc import Callable

import jax

from rlx import check
from rlx.types import Array, PyTree, RewardSource, Transition


def draw_rows(key: Array, data: Transition | None, number: int, *beside: Array) -> tuple:
    """`number` steps of a log, uniformly and with replacement: leaves `[N, ...]`; of arrays `[T, B, ...]` beside too.

    Raises:
      ValueError: without a log, for one whose leaves are not `[T, B, ...]`, or an empty one.
    """
    if data is None:
        raise ValueError("data must be a log, a Transition with leaves [T, B, ...]; got None: fit(..., data=log)")
    check.rank("data.terminated", data.terminated, 2)
    size, (_, num_envs) = data.terminated.size, data.terminated.shape
    check.require(size > 0, "data", data.terminated.shape, "a log with at least one step, [T, B]")
    index = jax.random.randint(key, (number,), 0, size)
    rows = jax.tree.map(lambda x: x[index // num_envs, index % num_envs], (data, *beside))
    return rows


def scorer(rewards: RewardSource) -> Callable[[PyTree, Transition, Array], Array]:
    """`(source state, rows [N, ...], key) -> rewards [N, K]` of steps in any order.

    Raises:
      ValueError: for a source without `rescore`.
    """
    rescore = rewards.rescore
    if rescore is None:
        raise ValueError(f"rewards must have rescore, to score logged steps in any order; got {rewards!r}")
    return lambda state, step, key: rescore(state, jax.tree.map(lambda x: x[None], step), None, key)[0]
