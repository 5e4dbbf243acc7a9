"""Multi-policy learning: which weights, policies and constraints to train next, given what has been found."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.pareto.front import as_front, crowding_distance, match_objectives
from rlx.types import Array, Front


def neighbours(weights: Array, num: int) -> Array:
    """The `num` nearest other rows of each row, by Euclidean distance, nearest first.

    Shapes: `[P, m]` -> int `[P, num]`. Differentiated: nothing. Ties go to the lower index.

    >>> neighbours(jnp.array([[0.0, 1.0], [0.4, 0.6], [1.0, 0.0]]), 1).tolist()
    [[1], [0], [1]]

    Raises:
      ValueError: if `weights` is not a matrix, or `num` not from 1 to P - 1.

    Source: Zhang and Li, "MOEA/D: A Multiobjective Evolutionary Algorithm Based on Decomposition" (2007).
    """
    check.rank("weights", weights, 2)
    size = jnp.shape(weights)[0]
    check.count("num", num)
    check.require(num < size, "num", num, f"at most {size - 1}, the number of other rows")
    distance = jnp.sum(jnp.square(weights[:, None] - weights), axis=-1)
    distance = jnp.where(jnp.eye(size, dtype=bool), jnp.inf, distance)
    return jnp.argsort(distance, axis=1)[:, :num]


def psa_weight_update(
    value: Array, weight: Array, archive: Front, delta: Array | float = 0.1, *, threshold: Array | float = 0.01
) -> Array:
    """Pareto simulated annealing's weights: away from the nearest vector of the archive, along the front.

        w_i <- w_i (1 + delta) if v_i >= u_i, else w_i / (1 + delta);   then w <- w / sum w

    where `u` is the nearest of the archive's vectors that are further than `threshold` (squared distance) from `v`. So
    each weight grows for what the policy is already better at than its neighbour. Unchanged if there is no such `u`.

    Shapes: `[m]`, `[m]`, `Front` of C rows, scalars -> `[m]`. Differentiated: nothing.

    Usual mistake: objectives of different scales, which decide who is near: normalise values and archive alike.

    >>> archive = Front(jnp.array([[1.0, 0.0], [9.0, -9.0]]), jnp.array([True, True]))
    >>> [round(float(w), 4) for w in psa_weight_update(jnp.array([0.0, 1.0]), jnp.array([0.5, 0.5]), archive, 1.0)]
    [0.2, 0.8]

    Raises:
      ValueError: for shapes that do not fit, or a delta that is not positive.

    Source: Czyzak and Jaszkiewicz, "Pareto Simulated Annealing: A Metaheuristic Technique for Multiple-Objective
    Combinatorial Optimization" (1998); Felten, Talbi and Danoy, "Multi-Objective Reinforcement Learning Based on
    Decomposition: A Taxonomy and Framework" (2024).
    """
    check.rank("value", value, 1)
    check.same_shape(value=value, weight=weight)
    check.positive("delta", delta)
    archive = as_front(*archive, name="archive")
    match_objectives("value", value, archive.points)
    distance = jnp.sum(jnp.square(archive.points - value), axis=1)
    other = archive.valid & (distance > threshold)
    nearest = archive.points[jnp.argmin(jnp.where(other, distance, jnp.inf))]
    moved = jnp.asarray(weight) * jnp.where(value >= nearest, 1.0 + delta, 1.0 / (1.0 + delta))
    return jax.lax.stop_gradient(jnp.where(jnp.any(other), moved / jnp.sum(moved), weight))


def select_isolated(archive: Front, num: int, excluded: Array | None = None) -> tuple[Array, Array]:
    """The `num` rows of the largest crowding distance, extremes first: `(index, valid)`.

    Rows in `excluded` (those selected before) come after all others, so a choice is made as long as the archive has
    `num` rows; `valid` tells which choices exist.

    Shapes: `Front` of C rows, bool `[C]` -> int `[num]`, bool `[num]`. Differentiated: nothing.

    >>> archive = Front(jnp.array([[0.0, 9.0], [1.0, 8.0], [5.0, 4.0], [9.0, 0.0]]), jnp.ones(4, bool))
    >>> select_isolated(archive, 2, jnp.array([True, False, False, True]))[0].tolist()
    [2, 1]

    Raises:
      ValueError: if `num` is not from 1 to C, or for shapes that do not fit.

    Source: Liu et al., "Efficient Discovery of Pareto Front for Multi-Objective Reinforcement Learning" (2025).
    """
    archive = as_front(*archive, name="archive")
    capacity = len(archive.points)
    check.count("num", num)
    check.require(num <= capacity, "num", num, f"at most {capacity}, the archive's capacity")
    before = jnp.zeros(capacity, bool) if excluded is None else jnp.asarray(excluded)
    check.same_shape(excluded=before, valid=archive.valid)
    distance = crowding_distance(*archive)
    order = jnp.lexsort((jnp.arange(capacity), -distance, before, ~archive.valid))
    return jax.lax.stop_gradient(order[:num]), archive.valid[order[:num]]


def extension_threshold(value: Array, fraction: Array | float = 0.9) -> Array:
    """What the other objectives must keep while one is improved: `v - (1 - fraction) |v|`.

    The paper has `fraction v`, the same for values that are not negative; below zero that would ask for more than there
    is.

    Shapes: `[...]` -> `[...]`. Differentiated: `value`.

    Usual mistake: values of which zero is no natural origin, of which a fraction means nothing; shift them.

    >>> [round(float(x), 4) for x in extension_threshold(jnp.array([10.0, -10.0]))]
    [9.0, -11.0]

    Raises:
      ValueError: for a fraction above 1.

    Source: Liu et al., "Efficient Discovery of Pareto Front for Multi-Objective Reinforcement Learning" (2025).
    """
    check.in_range("fraction", fraction, high=1.0)
    return value - (1.0 - fraction) * jnp.abs(value)


def improvement_priority(weights: Array, improved: Array, front: Front) -> Array:
    """What generalised policy improvement promises beyond the best known value, for each weight vector.

        w . v_gpi(w) - max over the front of  w . v

    The next weights to train for are those of the highest priority among the `corner_weights` of the front.

    Shapes: `[Q, m]`, `[Q, m]` (the value vector of the improved policy for each weight, as its critic has it or as
    measured), `Front` of C rows -> `[Q]`; `inf` for an empty front. Differentiated: `improved`.

    >>> front = Front(jnp.array([[4.0, 0.0], [0.0, 4.0]]), jnp.ones(2, bool))
    >>> improvement_priority(jnp.array([[0.5, 0.5]]), jnp.array([[3.0, 3.0]]), front).tolist()
    [1.0]

    Raises:
      ValueError: for shapes that do not fit.

    Source: Alegre et al., "Sample-Efficient Multi-Objective Learning via Generalized Policy Improvement Prioritization"
    (2023).
    """
    check.rank("weights", weights, 2)
    check.same_shape(weights=weights, improved=improved)
    front = as_front(*front, name="front")
    match_objectives("weights", weights, front.points)
    known = jnp.max(jnp.where(front.valid, weights @ front.points.T, -jnp.inf), axis=1)
    return jnp.sum(weights * improved, axis=1) - jax.lax.stop_gradient(known)
