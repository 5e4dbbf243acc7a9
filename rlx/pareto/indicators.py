"""How good a set of value vectors is, as a number: hypervolume, utilities over weights, distances to a reference set.

Larger vectors are better. A set is `points [N, m]`, of which the rows with `valid [N]` count; without `valid` all do,
and a row with a NaN never does. Batches of sets go through `jax.vmap`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rlx import check
from rlx.pareto.front import as_front, match_objectives
from rlx.pareto.scalarise import safe_norm, scalarise
from rlx.types import Array

Utility = Callable[[Array, Array], Array]  # (points [N, m], weight [m]) -> [N]


def hypervolume(points: Array, ref: Array, valid: Array | None = None) -> Array:
    """The volume that the set dominates and that dominates the reference point, exactly.

    `volume(union_i [ref, P_i])`. Rows that are not better than `ref` in every objective add nothing; so do dominated
    ones. 0 for an empty set. In m dimensions it is the integral over the last objective of the hypervolume, in the
    others, of the rows that reach that level.

    Shapes: `[N, m]`, `[m]`, bool `[N]` -> `[]`, any m. Differentiated: `points` and `ref` (a subgradient where rows
    are equal in an objective). Operations and memory: O(N log N) for m = 2, N times as many for m = 3, and for each
    further objective N times the operations: some 64 rows for m = 5. Beyond that, `hypervolume_monte_carlo`.

    Usual mistakes: to compare figures from different reference points, and objectives of different scale, of which
    the largest decides (and costs float32 its digits).

    >>> float(hypervolume(jnp.array([[3.0, 1.0], [1.0, 2.0]]), jnp.zeros(2)))
    4.0

    Raises:
      ValueError: if `points` is not a matrix, `ref` not a vector with an entry for each objective, or `valid` not a
        boolean for each row.

    Source: Zitzler and Thiele, "Multiobjective Evolutionary Algorithms: A Comparative Case Study and the Strength
    Pareto Approach" (1999); Zitzler, "Hypervolume Metric Calculation" (2001) for slicing.
    """

    def area(height: Array, width: Array, reaches: Array) -> Array:
        return jnp.sum(width * jax.lax.cummax(jnp.where(reaches, height, 0)))

    return _integrate(area, _order(_heights(points, ref, valid))[0])


def hypervolume_contributions(points: Array, ref: Array, valid: Array | None = None) -> Array:
    """What the set would lose in hypervolume without each row, exactly: the volume that it alone dominates.

    `HV(P) - HV(P without row i)`, computed as a sum of terms that are not negative, so that small contributions to a
    large hypervolume keep their digits. 0 for rows that are dominated, doubled, outside the reference or not valid.

    Shapes: `[N, m]`, `[m]`, bool `[N]` -> `[N]`. Differentiated: `points` and `ref`. As costly as `hypervolume`, up to
    a constant.

    A dominated row takes from the contribution of the row that dominates it, if that is the only one; to leave it out
    pass `valid & nondominated_mask(points, valid)`. Usual mistake: to drop several rows at once by it, when two that
    are close together have small contributions each and a large one together. They do not sum to the hypervolume.

    >>> hypervolume_contributions(jnp.array([[3.0, 1.0], [1.0, 2.0], [1.0, 1.0]]), jnp.zeros(2)).tolist()
    [2.0, 1.0, 0.0]

    Raises:
      ValueError: as `hypervolume`.

    Source: Emmerich, Beume and Naujoks, "An EMO Algorithm Using the Hypervolume Measure as Selection Criterion" (2005).
    """

    def exclusive_areas(height: Array, width: Array, reaches: Array) -> Array:
        height, index = jnp.where(reaches, height, 0), jnp.arange(len(height))
        top = jax.lax.cummax(height)
        before = jnp.concatenate([jnp.zeros(1, height.dtype), top[:-1]])
        second = jax.lax.cummax(jnp.minimum(height, before))
        owner = jax.lax.cummax(jnp.where(height > before, index, 0))
        return jnp.zeros_like(height).at[owner].add(width * (top - second))

    height, order = _order(_heights(points, ref, valid))
    return jnp.zeros_like(height[:, 0]).at[order].set(_integrate(exclusive_areas, height))


def hypervolume_monte_carlo(
    key: Array, points: Array, ref: Array, num_samples: int, valid: Array | None = None, *, ideal: Array | None = None
) -> tuple[Array, Array]:
    """The hypervolume by uniform samples between `ref` and `ideal`: `(estimate, standard error)`.

    `box * mean_s [some row dominates sample s]`, standard error `box * sqrt(p (1 - p) / (num_samples - 1))`.

    Shapes: key, `[N, m]`, `[m]`, bool `[N]`, `[m]` -> `[]`, `[]`. Differentiated: nothing. O(num_samples N m)
    operations, O(num_samples N) memory. The ideal is the best valid value in each objective by default; what lies
    beyond a given one is not counted.

    Usual mistakes: the default ideal for sets that are to be compared (give them one box and one key), and many
    objectives, where the set fills a tiny part of the box and an estimate of 0 with error 0 means nothing.

    >>> points = jnp.array([[3.0, 1.0], [1.0, 2.0]])
    >>> estimate, error = hypervolume_monte_carlo(jax.random.key(0), points, jnp.zeros(2), 10000)
    >>> bool(abs(estimate - 4.0) < 4 * error), bool(error < 0.03)
    (True, True)

    Raises:
      ValueError: as `hypervolume`; if `num_samples` is not an integer of at least 2, or `ideal` not a vector with an
        entry for each objective.

    Source: Bader and Zitzler, "HypE: An Algorithm for Fast Hypervolume-Based Many-Objective Optimization" (2011).
    """
    check.count("num_samples", num_samples, 2)
    height = jax.lax.stop_gradient(_heights(points, ref, valid))
    side = jnp.max(height, axis=0)
    if ideal is not None:
        check.rank("ideal", ideal, 1)
        match_objectives("ideal", ideal, ref)
        side = jax.lax.stop_gradient(jnp.maximum(jnp.asarray(ideal) - jnp.asarray(ref), 0))
    # in (0, side], so that rows of height 0 dominate no sample
    sample = (1 - jax.random.uniform(key, (num_samples, len(side)), height.dtype)) * side
    dominated = jnp.any(jnp.all(height >= sample[:, None, :], axis=-1), axis=-1)
    share, box = jnp.mean(dominated, dtype=height.dtype), jnp.prod(side)
    return box * share, box * jnp.sqrt(share * (1 - share) / (num_samples - 1))


def expected_utility(
    points: Array, weights: Array, valid: Array | None = None, *, utility: Utility | None = None
) -> Array:
    """The mean over users, each with a weight vector, of the best utility that the set offers.

    `mean_q max_i u(P_i, w_q)`, linear utility by default. `-inf` for an empty set.

    Shapes: `[N, m]`, `[Q, m]`, bool `[N]` -> `[]`. `utility(points [N, m], weight [m]) -> [N]`, for example
    `functools.partial(scalarise, kind="chebyshev", ideal=z)`, which makes it minus the R2 indicator. Differentiated:
    `points` (of the best row for each weight) and `weights`.

    Usual mistake: to take it for a figure of the whole front. With linear utilities it sees the convex hull alone.

    >>> float(expected_utility(jnp.array([[4.0, 0.0], [0.0, 2.0]]), jnp.array([[1.0, 0.0], [0.25, 0.75]])))
    2.75

    Raises:
      ValueError: if `points` or `weights` are not matrices with one column for each objective, or `valid` not a boolean
        for each row.

    Source: Zintgraf et al., "Quality Assessment of MORL Algorithms: A Utility-Based Approach" (2015).
    """
    return jnp.mean(_best_utility(points, weights, valid, utility, "points"))


def maximum_utility_loss(
    points: Array,
    reference: Array,
    weights: Array,
    valid: Array | None = None,
    reference_valid: Array | None = None,
    *,
    utility: Utility | None = None,
) -> Array:
    """What the user who is served worst loses when the set stands for the reference set.

    `max_q (max_r u(R_r, w_q) - max_i u(P_i, w_q))`. Infinite for an empty set. Negative where the set is better than
    the reference for every weight.

    Shapes: `[N, m]`, `[R, m]`, `[Q, m]`, bool `[N]` and `[R]` -> `[]`; `utility` as in `expected_utility`.
    Differentiated: `points`, `reference` and `weights`.

    >>> points, reference = jnp.array([[4.0, 0.0]]), jnp.array([[4.0, 0.0], [0.0, 2.0]])
    >>> float(maximum_utility_loss(points, reference, jnp.array([[1.0, 0.0], [0.25, 0.75]])))
    0.5

    Raises:
      ValueError: as `expected_utility`, for the reference too.

    Source: Zintgraf et al., "Quality Assessment of MORL Algorithms: A Utility-Based Approach" (2015).
    """
    offered = _best_utility(points, weights, valid, utility, "points")
    return jnp.max(_best_utility(reference, weights, reference_valid, utility, "reference") - offered)


def sparsity(points: Array, valid: Array | None = None) -> Array:
    """The mean squared distance between neighbours along each objective, summed over objectives.

    `sum_k sum_i (s_k,i+1 - s_k,i)^2 / (N - 1)`, where `s_k` are the N valid values of objective k in order.

    Shapes: `[N, m]`, bool `[N]` -> `[]`. Differentiated: `points`. O(m N log N) operations.

    Usual mistakes: to report it alone, since it is 0, the best, for one row and for none; and to include dominated
    rows, which fill gaps (pass `valid & nondominated_mask(points, valid)`).

    >>> float(sparsity(jnp.array([[0.0, 3.0], [1.0, 1.0], [3.0, 0.0]])))
    5.0

    Raises:
      ValueError: if `points` is not a matrix, or `valid` not a boolean for each row.

    Source: Xu et al., "Prediction-Guided Multi-Objective Reinforcement Learning for Continuous Robot Control" (2020).
    """
    points, valid = as_front(points, valid)
    best = jnp.max(points, axis=0, where=valid[:, None], initial=-jnp.inf)
    filled = jnp.where(valid[:, None], points, jnp.where(jnp.any(valid), best, 0))  # repeats of the last: no gap
    return jnp.sum(jnp.diff(jnp.sort(filled, axis=0), axis=0) ** 2) / jnp.maximum(jnp.sum(valid) - 1, 1)


def igd_plus(
    points: Array, reference: Array, valid: Array | None = None, reference_valid: Array | None = None
) -> Array:
    """The mean distance from the reference set to what the set dominates.

    `mean_r min_i || max(R_r - P_i, 0) ||`. 0 if the set weakly dominates the whole reference, or if that is empty;
    infinite for an empty set.

    Shapes: `[N, m]`, `[R, m]`, bool `[N]` and `[R]` -> `[]`. Differentiated: `points` and `reference`, with gradient 0
    at distance 0. O(N R m) operations.

    Unlike IGD it never prefers a set to one that weakly dominates it. Usual mistake: objectives of different scale.

    >>> float(igd_plus(jnp.array([[2.0, 0.0]]), jnp.array([[1.0, 0.0], [5.0, 4.0]])))
    2.5

    Raises:
      ValueError: if the sets are not matrices with equally many columns, or `valid` not a boolean for each row.

    Source: Ishibuchi et al., "Modified Distance Calculation in Generational Distance and Inverted Generational
    Distance" (2015).
    """
    shortfall, reference_valid = _shortfall(points, reference, valid, reference_valid)
    nearest = jnp.min(safe_norm(jnp.maximum(shortfall, 0)), axis=1)
    return jnp.sum(jnp.where(reference_valid, nearest, 0)) / jnp.maximum(jnp.sum(reference_valid), 1)


def additive_epsilon(
    points: Array, reference: Array, valid: Array | None = None, reference_valid: Array | None = None
) -> Array:
    """The least amount that, added to every objective of every row, makes the set weakly dominate the reference.

    `max_r min_i max_k (R_r,k - P_i,k)`. Infinite for an empty set, `-inf` for an empty reference.

    Shapes: `[N, m]`, `[R, m]`, bool `[N]` and `[R]` -> `[]`. Differentiated: `points` and `reference` (of the one
    entry that decides). O(N R m) operations.

    >>> float(additive_epsilon(jnp.array([[2.0, 0.0]]), jnp.array([[1.0, 0.0], [5.0, 4.0]])))
    4.0

    Raises:
      ValueError: as `igd_plus`.

    Source: Zitzler et al., "Performance Assessment of Multiobjective Optimizers: An Analysis and Review" (2003).
    """
    shortfall, reference_valid = _shortfall(points, reference, valid, reference_valid)
    needed = jnp.min(jnp.max(shortfall, axis=-1), axis=1)
    return jnp.max(needed, where=reference_valid, initial=-jnp.inf)


def _heights(points: Array, ref: Array, valid: Array | None) -> Array:
    """`[N, max(m, 2)]`: how far each row exceeds the reference, at least 0; 0 for rows that do not count."""
    points, valid = as_front(points, valid)
    check.rank("ref", ref, 1)
    match_objectives("ref", ref, points)
    height = jnp.where(valid[:, None], jnp.maximum(points - jnp.asarray(ref, points.dtype), 0), 0)
    return height if height.shape[1] > 1 else jnp.concatenate([height, jnp.ones_like(height)], axis=1)


def _order(height: Array) -> tuple[Array, Array]:
    order = jnp.argsort(height[:, 0], descending=True)
    return height[order], order


def _integrate(plane: Callable[[Array, Array, Array], Array], height: Array) -> Array:
    """The integral over objectives 2, ..., m - 1 of `plane(height in 1, widths in 0, which rows reach the level)`.

    Rows fall in objective 0; between a row and the next lies a strip as wide as the difference.
    """
    n, m = height.shape
    level = -jnp.sort(-height, axis=0)
    thickness = level - jnp.concatenate([level[1:], jnp.zeros((1, m), height.dtype)])

    def slabs(k: int, reaches: Array) -> Array:
        if k == 1:
            return plane(height[:, 1], thickness[:, 0], reaches)
        over = jax.vmap if k == 2 else lambda f: lambda levels: jax.lax.map(f, levels)
        parts = over(lambda at: slabs(k - 1, reaches & (height[:, k] >= at)))(level[:, k])
        return jnp.tensordot(thickness[:, k], parts, 1)

    return slabs(m - 1, jnp.ones(n, bool))


def _best_utility(points: Array, weights: Array, valid: Array | None, utility: Utility | None, name: str) -> Array:
    """`[Q]`: for each weight vector the best utility among the valid rows."""
    points, valid = as_front(points, valid, name)
    weights = jnp.asarray(weights)
    check.rank("weights", weights, 2)
    match_objectives("weights", weights, points)
    utility = utility or scalarise
    return jax.vmap(lambda weight: jnp.max(utility(points, weight), where=valid, initial=-jnp.inf))(weights)


def _shortfall(
    points: Array, reference: Array, valid: Array | None, reference_valid: Array | None
) -> tuple[Array, Array]:
    """`[R, N, m]`: how far each row falls short of each reference, infinite if it does not count; and which do."""
    points, valid = as_front(points, valid)
    reference, reference_valid = as_front(reference, reference_valid, "reference")
    match_objectives("reference", reference, points)
    return jnp.where(valid[:, None], reference[:, None] - points, jnp.inf), reference_valid
