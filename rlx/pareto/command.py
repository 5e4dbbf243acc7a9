"""Policies that are told what to reach: which return to ask for next, and which episodes to learn from."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.pareto.front import as_front, crowding_distance, nondominated_mask
from rlx.types import Array


def pcn_command(key: Array, returns: Array, horizon: Array, valid: Array | None = None) -> tuple[Array, Array]:
    """A little more than an episode of the front has reached: `(return, horizon)` to ask of the next one.

    With a non-dominated row i (of equal ones the first) and an objective j, drawn at random, and u uniform in [0, 1):

        return = R_i + u std_j e_j,   horizon = max(h_i - 2, 1)

    where `std` is the standard deviation of each objective over the non-dominated rows.

    Shapes: key, `[N, m]`, `[N]` (steps), bool `[N]` -> `[m]`, `[]`. Differentiated: nothing. At least one row must
    count, or the command is of zeros. Batches of commands go through `jax.vmap` over keys.

    Usual mistake: environments with randomness, where a return was luck that no command brings back.

    >>> command, horizon = pcn_command(jax.random.key(0), jnp.array([[5.0, -7.0], [4.0, -9.0]]), jnp.array([7.0, 9.0]))
    >>> command.tolist(), float(horizon)  # one episode on the front: no spread to go beyond it
    ([5.0, -7.0], 5.0)

    Raises:
      ValueError: if `returns` is not a matrix, or `horizon` and `valid` have not one entry for each row.

    Source: Reymond, Bargiacchi and Nowe, "Pareto Conditioned Networks" (2022).
    """
    points, valid = as_front(returns, valid, "returns")
    horizon = jnp.asarray(horizon)
    check.require(horizon.shape == points.shape[:1], "horizon", horizon.shape, f"of shape {points.shape[:1]}")
    points, horizon = jax.lax.stop_gradient((points, horizon))
    best = nondominated_mask(points, valid)
    row_key, objective_key, size_key = jax.random.split(key, 3)
    row = jax.random.categorical(row_key, jnp.where(best, 0.0, -jnp.inf))
    count = jnp.maximum(jnp.sum(best), 1)
    mean = jnp.sum(jnp.where(best[:, None], points, 0), axis=0) / count
    variance = jnp.sum(jnp.where(best[:, None], (points - mean) ** 2, 0), axis=0) / count
    std = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1)), 0)
    objective = jax.random.randint(objective_key, (), 0, points.shape[1])
    more = jax.random.uniform(size_key, (), points.dtype) * std[objective]
    return points[row].at[objective].add(more), jnp.maximum(horizon[row] - 2, 1)


def pcn_priority(returns: Array, valid: Array | None = None, *, threshold: Array | float = 0.2) -> Array:
    """How much an episode is worth keeping: near the front, and not where there are many already.

    Minus the distance to the nearest non-dominated row; less `1e-5` unless it is such a row and the first of its
    equals; and twice that where the crowding distance is at most `threshold`.

    Shapes: `[N, m]`, bool `[N]` -> `[N]`; `-inf` for rows that do not count. Differentiated: nothing. O(N^2 m)
    operations. Keep the rows of highest priority.

    Usual mistake: objectives of different scales, which decide what is near: divide returns by their ranges first.

    >>> pcn_priority(jnp.array([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]])).round(2).tolist()
    [0.0, 0.0, -1.0]

    Raises:
      ValueError: if `returns` is not a matrix, or `valid` not a boolean for each row.

    Source: Reymond, Bargiacchi and Nowe, "Pareto Conditioned Networks" (2022); equal rows and the doubled distance as
    in morl-baselines (Felten et al. 2023).
    """
    points, valid = jax.lax.stop_gradient(as_front(returns, valid, "returns"))
    best = nondominated_mask(points, valid)
    distance = jnp.sqrt(jnp.sum((points[:, None] - points) ** 2, axis=-1))
    nearest = jnp.min(jnp.where(best, distance, jnp.inf), axis=1)
    priority = jnp.where(best, 0.0, -1e-5).astype(points.dtype) - nearest
    crowded = crowding_distance(points, valid) <= threshold
    return jnp.where(valid, jnp.where(crowded, 2 * priority, priority), -jnp.inf)
