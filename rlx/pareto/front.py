"""Pareto dominance in sets of value vectors: which are best, in which order, and how crowded they lie.

Larger is better in every objective. A set is `points [N, m]`, of which the rows with `valid [N]` count; without `valid`
all do. A row with a NaN never counts. Batches of sets go through `jax.vmap`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.types import Array, Front


def as_front(points: Array, valid: Array | None, name: str = "points") -> Front:
    """The set, of floats, with zeros in the rows that do not count, after a check of its shapes."""
    points = jnp.asarray(points)
    points = points.astype(jnp.result_type(points, float))
    check.rank(name, points, 2)
    check.require(points.size > 0, name, points.shape, "[N, m] with at least one row and one objective")
    counts = ~jnp.isnan(points).any(axis=1)
    if valid is not None:
        valid = jnp.asarray(valid)
        fits = valid.shape == points.shape[:1] and valid.dtype == bool
        check.require(fits, f"valid of {name}", f"{valid.dtype} {valid.shape}", f"bool {points.shape[:1]}")
        counts &= valid
    return Front(jnp.where(counts[:, None], points, 0), counts)


def match_objectives(name: str, array: Array, values: Array) -> None:
    """Raise `ValueError` unless the array has one entry for each objective of the values along its last axis."""
    shape, number = np.shape(array), np.shape(values)[-1:]
    allowed = f"of shape [..., {number[0] if number else 'm'}], one entry for each objective"
    check.require(shape[-1:] == number != (), name, shape, allowed)


def dominates(a: Array, b: Array) -> Array:
    """Whether `a` is at least as good as `b` in every objective and better in one: `all(a >= b) & any(a > b)`.

    Shapes: `[..., m]` each, broadcast -> bool `[...]`. A vector with a NaN dominates nothing and is dominated by none.

    >>> dominates(jnp.array([[2.0, 1.0], [2.0, 0.0], [1.0, 1.0]]), jnp.array([1.0, 1.0])).tolist()
    [True, False, False]

    Raises:
      ValueError: if the vectors have not the same number of objectives.

    Source: Pareto, "Manuale di economia politica" (1906).
    """
    a, b = jnp.asarray(a), jnp.asarray(b)
    match_objectives("b", b, a)
    return jnp.all(a >= b, axis=-1) & jnp.any(a > b, axis=-1)


def nondominated_mask(points: Array, valid: Array | None = None, *, keep_duplicates: bool = False) -> Array:
    """The rows that no other one dominates; of equal rows the first alone, unless `keep_duplicates`.

    `mask_i = valid_i and not any_j (valid_j and P_j dominates P_i)`, in O(N^2 m) operations, all at once.

    Shapes: `[N, m]`, bool `[N]` -> bool `[N]`.

    Usual mistake: to trust equality of measured returns. Noise keeps every evaluation of one policy as another point;
    round to a grid first, `eps * jnp.round(points / eps)`.

    >>> nondominated_mask(jnp.array([[1.0, 2.0], [1.0, 1.0], [2.0, 1.0], [1.0, 2.0]])).tolist()
    [True, False, True, False]

    Raises:
      ValueError: if `points` is not a matrix, or `valid` not a boolean for each of its rows.

    Source: Kung, Luccio and Preparata, "On Finding the Maxima of a Set of Vectors" (1975).
    """
    points, valid = as_front(points, valid)
    columns = points.T
    index = jnp.arange(len(points))
    better = (index < index[:, None]) & (not keep_duplicates)  # [i, j]: of two equal rows the earlier one
    no_worse = jnp.broadcast_to(valid, better.shape)
    for value in columns:
        no_worse = no_worse & (value >= value[:, None])
        better = better | (value > value[:, None])
    return valid & ~jnp.any(no_worse & better, axis=1)


def nondominated_rank(points: Array, valid: Array | None = None) -> Array:
    """How many fronts must be taken away before a row is non-dominated: 0 is the Pareto front.

    `rank_i = 1 + max {rank_j : P_j dominates P_i}`, 0 if none does: the length of the longest chain that ends in it.
    Equal rows have equal ranks. Rows that do not count have rank N, after all others.

    Shapes: `[N, m]`, bool `[N]` -> int32 `[N]`. N steps of O(N m) operations and memory in the lexicographic order of
    the rows, in which a row follows all that dominate it; peeling fronts one by one can take N^3.

    >>> nondominated_rank(jnp.array([[1.0, 1.0], [2.0, 2.0], [0.0, 3.0], [0.0, 0.0]])).tolist()
    [1, 0, 0, 2]

    Raises:
      ValueError: if `points` is not a matrix, or `valid` not a boolean for each of its rows.

    Source: Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II" (2002), for the ranks; the order
    is that of Zhang et al., "An Efficient Approach to Nondominated Sorting for Evolutionary Multiobjective
    Optimization" (2015).
    """
    points, valid = as_front(points, valid)
    columns = points.T

    def place(rank: Array, i: Array) -> tuple[Array, None]:
        no_worse, better = valid, jnp.zeros_like(valid)
        for value in columns:
            no_worse = no_worse & (value >= value[i])
            better = better | (value > value[i])
        return rank.at[i].set(jnp.max(rank, where=no_worse & better, initial=-1) + 1), None

    rank, _ = jax.lax.scan(place, jnp.full(len(points), -1, jnp.int32), jnp.lexsort(-columns))
    return jnp.where(valid, rank, len(points))


def crowding_distance(points: Array, valid: Array | None = None, rank: Array | None = None) -> Array:
    """How far apart the neighbours of a row lie in each objective, relative to the range, summed over objectives.

    `sum_k (next_k - previous_k) / (max_k - min_k)`, infinite for the first and the last in any objective. An objective
    in which all rows are equal adds nothing, but a front of one row is infinite. 0 where a row does not count.

    Shapes: `[N, m]`, bool `[N]`, integers `[N]` -> `[N]`. With `rank` (of `nondominated_rank`) each front has its own
    distances. Differentiated: nothing. O(m N log N) operations. Among equal values the first row comes first.

    Differs from pymoo, which divides by the number of objectives. Usual mistakes: to compute it over all ranks
    together, and to drop several rows at once by it, which empties clusters: recompute after each.

    >>> crowding_distance(jnp.array([[0.0, 4.0], [1.0, 2.0], [4.0, 0.0]])).tolist()
    [inf, 2.0, inf]

    Raises:
      ValueError: if `points` is not a matrix, `valid` not a boolean for each of its rows, or `rank` not an integer.

    Source: Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II" (2002).
    """
    points, valid = as_front(points, valid)
    n = len(points)
    rank = jnp.zeros(n, jnp.int32) if rank is None else jnp.asarray(rank)
    whole = rank.shape == (n,) and jnp.issubdtype(rank.dtype, jnp.integer)
    check.require(whole, "rank", f"{rank.dtype} {rank.shape}", f"integers ({n},)")
    front = jnp.where(valid, rank, n)

    def along(value: Array) -> Array:
        order = jnp.lexsort((value, front))
        value, group = value[order], front[order]
        starts = jnp.concatenate([jnp.ones(1, bool), group[1:] != group[:-1]])
        ends = jnp.roll(starts, -1).at[-1].set(True)
        index = jnp.arange(n)
        lowest = value[jax.lax.cummax(jnp.where(starts, index, 0))]
        highest = value[jax.lax.cummin(jnp.where(ends, index, n - 1), reverse=True)]
        gap, span = jnp.roll(value, -1) - jnp.roll(value, 1), highest - lowest
        inside = jnp.where(span > 0, jnp.where(starts | ends, jnp.inf, gap / span), 0)
        return jnp.zeros_like(value).at[order].set(jnp.where(starts & ends, jnp.inf, inside))

    distance = jax.vmap(along, in_axes=1)(points).sum(axis=0)
    return jax.lax.stop_gradient(jnp.where(valid, distance, 0))
