"""Sets of weight vectors for many objectives: grids, samples, directions, and where the best row changes."""

from __future__ import annotations

import itertools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.pareto.front import as_front, nondominated_mask
from rlx.types import Array


def simplex_grid(num_objectives: int, divisions: int) -> Array:
    """All weight vectors whose entries are multiples of `1 / divisions` and sum to one, in lexicographic order.

    Shapes: `[comb(divisions + m - 1, m - 1), m]`, for m objectives. Made on the host.

    Usual mistake: to take `divisions` for the number of vectors; with three objectives 12 divisions make 91.

    >>> simplex_grid(2, 2).tolist()
    [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]

    Raises:
      ValueError: if `num_objectives` or `divisions` is not an integer of at least 1.

    Source: Das and Dennis, "Normal-Boundary Intersection: A New Method for Generating the Pareto Surface in Nonlinear
    Multicriteria Optimization Problems" (1998).
    """
    check.count("num_objectives", num_objectives)
    check.count("divisions", divisions)
    bars = list(itertools.combinations(range(divisions + num_objectives - 1), num_objectives - 1))
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, divisions + num_objectives - 1)))
    return jnp.asarray((np.diff(edges, axis=1) - 1) / divisions)


def sample_weights(
    key: Array, num: int, num_objectives: int, kind: Literal["uniform", "gaussian"] = "uniform"
) -> Array:
    """Random weight vectors: not negative, of sum one.

    "uniform": uniform on the simplex, Dirichlet(1). "gaussian": `|n| / sum |n|` with n standard normal, which other
    libraries use; it prefers balanced weights.

    Shapes: `[num, num_objectives]`.

    >>> weights = sample_weights(jax.random.key(0), 5, 3)
    >>> weights.shape, bool(jnp.allclose(weights.sum(axis=1), 1.0))
    ((5, 3), True)

    Raises:
      ValueError: if `num` or `num_objectives` is not an integer of at least 1, or for an unknown kind.

    Source: Devroye, "Non-Uniform Random Variate Generation" (1986), chapter 11.
    """
    check.count("num", num)
    check.count("num_objectives", num_objectives)
    check.require(kind in ("uniform", "gaussian"), "kind", kind, "'uniform' or 'gaussian'")
    draw = jax.random.exponential if kind == "uniform" else jax.random.normal
    size = jnp.abs(draw(key, (num, num_objectives)))
    return size / jnp.sum(size, axis=1, keepdims=True)


def unit_direction(angle: Array) -> Array:
    """The unit vector with the given hyperspherical angles: `(cos a1, sin a1 cos a2, sin a1 sin a2 cos a3, ...)`.

    Shapes: `[..., m - 1]` -> `[..., m]`. Differentiated: `angle`. Angles in `[0, pi / 2]` give the directions with no
    negative entry; uniform angles give uniform directions for m = 2 only.

    >>> unit_direction(jnp.array([0.0])).tolist()
    [1.0, 0.0]

    Raises:
      ValueError: if `angle` has no axis.

    Source: Blumenson, "A Derivation of n-Dimensional Spherical Coordinates" (1960); Wang et al., "Arithmetic Control of
    LLMs for Diverse User Preferences: Directional Preference Alignment with Multi-Objective Rewards" (2024).
    """
    angle = jnp.asarray(angle)
    check.require(angle.ndim > 0, "angle", angle.shape, "of shape [..., m - 1]")
    one = jnp.ones_like(angle[..., :1])
    sines = jnp.cumprod(jnp.concatenate([one, jnp.sin(angle)], axis=-1), axis=-1)
    return sines * jnp.concatenate([jnp.cos(angle), one], axis=-1)


def sample_directions(key: Array, num: int, low: Array | float, high: Array | float) -> Array:
    """Random unit vectors whose hyperspherical angles are uniform between bounds: `unit_direction(U[low, high])`.

    For preferences that may be negative (fewer words, say), which weights that sum to one cannot express. The reward of
    a direction is `scalarise(reward, direction)`; a policy that is shown the direction in its observation serves every
    user at once.

    Shapes: `[m - 1]` for both bounds, in radians; numbers for two objectives -> `[num, m]`. Differentiated: bounds.

    Usual mistakes: rewards of different scale, among which the angle means nothing; and hypervolume of directions with
    negative entries from a reference point for maximised objectives: negate those first. For three objectives and more
    the directions are not uniform on the sphere.

    >>> directions = sample_directions(jax.random.key(0), 100, -jnp.pi / 4, 0.0)  # more of one, less of the other
    >>> bool((directions[:, 0] >= 0.707).all()), bool((directions[:, 1] <= 0.0).all())
    (True, True)

    Raises:
      ValueError: if `num` is not an integer of at least 1, or the bounds are not both numbers or both of shape [m - 1].

    Source: Wang et al., "Arithmetic Control of LLMs for Diverse User Preferences: Directional Preference Alignment with
    Multi-Objective Rewards" (2024).
    """
    check.count("num", num)
    check.same_shape(low=low, high=high)
    check.rank("low", low, 0, 1)
    low, high = (jnp.atleast_1d(jnp.asarray(x)) for x in (low, high))
    share = jax.random.uniform(key, (num, len(low)), jnp.result_type(low, high, float))
    return unit_direction(low + share.astype(jnp.result_type(low, high)) * (high - low))


def corner_weights(points: Array, valid: Array | None = None) -> tuple[Array, Array]:
    """The weights at which the row of the best linear utility changes, and the simplex's corners: `(weights, valid)`.

    The vertices `w` of `{(w, u): u >= w.P_i for all i, w >= 0, sum w = 1}`, where m of the N + m inequalities are
    tight. The improvement that another row could bring to `max_i w.P_i` is largest at one of them.

    Shapes: `[N, m]`, bool `[N]` -> `[comb(N + m, m), m]`, bool `[comb(N + m, m)]`; each vertex once. Differentiated:
    nothing. Every choice of m inequalities is tried and the vertices compared pairwise, so this is for the few rows of
    a convex coverage set: 100 for m = 2, 30 for m = 3. None for an empty set. Weights are exact to the square root of
    the dtype's precision; vertices closer together than that count as one.

    Usual mistake: to include an objective of another scale, which moves every corner; weights are for values as they
    are given.

    >>> weights, valid = corner_weights(jnp.array([[4.0, 0.0], [0.0, 4.0], [1.0, 1.0]]))
    >>> sorted(jnp.round(weights[valid], 3).tolist())
    [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]

    Raises:
      ValueError: if `points` is not a matrix, or `valid` not a boolean for each row.

    Source: Roijers, "Multi-Objective Decision-Theoretic Planning" (2016), for optimistic linear support.
    """
    front = as_front(points, valid)
    points = front.points.astype(jnp.promote_types(front.points.dtype, jnp.float32))  # no half precision in solve
    n, m = points.shape
    valid = nondominated_mask(points, front.valid)
    fill = jnp.where(valid[:, None], points, points[jnp.argmax(valid)])
    points = fill - jnp.min(fill, axis=0)  # the vertices stay where they are
    points /= jnp.maximum(jnp.max(points), jnp.finfo(points.dtype).tiny)
    eps = jnp.finfo(points.dtype).eps

    # one inequality a row, in (w, u): u >= w.P_i, then w_j >= 0
    normal = jnp.block([[-points, jnp.ones((n, 1))], [jnp.eye(m), jnp.zeros((m, 1))]]).astype(points.dtype)
    chosen = np.array(list(itertools.combinations(range(n + m), m)))
    total = jnp.broadcast_to(jnp.ones(m + 1, points.dtype).at[m].set(0), (len(chosen), 1, m + 1))
    system = jnp.concatenate([normal[chosen], total], axis=1)
    system /= jnp.linalg.norm(system, axis=2, keepdims=True)
    right = jnp.zeros((m + 1, 1), points.dtype).at[m].set(1 / jnp.sqrt(m))
    vertex = jnp.linalg.solve(system, right)[..., 0]

    exists = jnp.concatenate([valid, jnp.ones(m, bool)])
    regular = jnp.abs(jnp.linalg.det(system)) > eps ** (2 / 3)
    inside = jnp.all((vertex @ normal.T >= -(eps ** (2 / 3))) | ~exists, axis=1)
    found = regular & inside & jnp.all(exists[chosen], axis=1)
    weights = jnp.maximum(jnp.where(found[:, None], vertex[:, :m], 1 / m), 0)
    weights /= jnp.sum(weights, axis=1, keepdims=True)
    index = jnp.arange(len(chosen))
    same = found & (index < index[:, None])
    for weight in weights.T:
        same = same & (jnp.abs(weight - weight[:, None]) < eps**0.5)
    return jax.lax.stop_gradient((weights.astype(front.points.dtype), found & ~jnp.any(same, axis=1)))
