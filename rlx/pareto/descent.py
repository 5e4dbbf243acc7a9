"""Descent of several objectives at once: where they have kinks (clips, maxima), and to the whole Pareto set."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.pareto.gradients import min_norm_weights
from rlx.types import Array

BISECTIONS = 20  # of the segment on which an objective fails to fall
DOUBLINGS = 24  # of the step length in the line search


def nonsmooth_descent_step(
    objectives: Callable[[Array], Array],
    x: Array,
    radius: Array | float,
    tolerance: Array | float = 1e-3,
    *,
    armijo: float = 0.25,
    capacity: int = 16,
) -> tuple[Array, Array]:
    """A step along which every objective falls, from gradients within a ball: `(step, critical)`.

        v = -argmin_{g in conv W} ||g||,   W: gradients of the objectives at points of the ball around x

    `W` starts with the gradients at `x`. While some objective fails `f_i(x + t v) <= f_i(x) - armijo t ||v||^2` at `t =
    radius / ||v||`, the gradient of the worst of them joins `W`, from a point on the way where it rises too fast; such
    a point is found by bisection. The step is the longest of `2^j t v` that passes the test and is no longer than
    `max(radius, ||v||)`. `critical` says that `||v|| <= tolerance`: the step is zero, and `radius` should shrink.

    Shapes: `objectives` `[P] -> [K]`, to be *minimised*; `x` `[P]`, scalars -> `[P]`, boolean. Stopped: all. On smooth
    objectives and a small radius the direction is that of `min_norm_weights`. It costs one gradient and about 25
    evaluations for each member of `W`, so it is for few parameters.

    Args:
      armijo: share of the linear decrease that is asked for, in (0, 1).
      capacity: the most members of `W`; where it runs out without a direction the step is zero and not critical.

    Usual mistakes: a radius of machine precision, below which the gradients of a kink's two sides are never seen, and
    a tolerance that does not shrink with the radius.

    >>> step, critical = nonsmooth_descent_step(lambda x: jnp.abs(x).sum()[None], jnp.array([2.0, 0.01]), 0.1)
    >>> round(float(step[0]), 3), bool(critical)
    (-0.8, False)

    Raises:
      ValueError: unless `x` is a vector and `objectives` returns one, for a radius or tolerance that is not positive,
        an `armijo` outside (0, 1), or a capacity below the number of objectives.

    Source: Gebken and Peitz, "An Efficient Descent Method for Locally Lipschitz Multiobjective Optimization Problems"
    (2021); there every failing objective adds a gradient in each round, here the worst.
    """
    check.rank("x", x, 1)
    check.positive("radius", radius)
    check.positive("tolerance", tolerance)
    check.in_range("armijo", armijo, 0.0, 1.0, open_low=True, open_high=True)
    x, radius, tolerance = jax.lax.stop_gradient((jnp.asarray(x), radius, tolerance))
    values = objectives(x)
    check.rank("objectives(x)", values, 1)
    number = values.shape[0]
    check.count("capacity", capacity, number)

    def excess(v: Array, t: Array) -> Array:
        """By how much each objective misses its decrease at `x + t v`; positive where it fails."""
        return objectives(x + t * v) - values + armijo * t * (v @ v)

    def rising_gradient(v: Array, t: Array, i: Array) -> Array:
        """A gradient of the objective `i`, whose excess is positive at `t`, from where that excess rises."""
        slope = jax.grad(lambda s: excess(v, s)[i])

        def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = (low + high) / 2.0
            found = slope(middle) > 0
            upper = excess(v, high)[i] > excess(v, middle)[i]
            low, high = jnp.where(upper, middle, low), jnp.where(upper, high, middle)
            return jnp.where(found, middle, low), jnp.where(found, middle, high)

        _, s = jax.lax.fori_loop(0, BISECTIONS, halve, (jnp.zeros_like(t), t))
        return jax.grad(lambda y: objectives(y)[i])(x + s * v)

    def direction(gradients: Array) -> tuple[Array, Array]:
        v = -min_norm_weights(gradients @ gradients.T) @ gradients
        return v, radius / jnp.maximum(jnp.linalg.norm(v), jnp.finfo(v.dtype).tiny)

    def grow(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        count, gradients, v, t = carry
        new = rising_gradient(v, t, excess(v, t).argmax())
        gradients = gradients.at[count].set(new)
        return count + 1, gradients, *direction(gradients)

    def failing(v: Array, t: Array) -> Array:
        return (jnp.linalg.norm(v) > tolerance) & jnp.any(excess(v, t) > 0)

    # Places that are not taken yet repeat the first gradient, which changes no convex hull.
    at_x = jax.jacobian(objectives)(x)
    gradients = jnp.concatenate([at_x, jnp.broadcast_to(at_x[0], (capacity - number, x.size))])
    _, _, v, t = jax.lax.while_loop(
        lambda carry: (carry[0] < capacity) & failing(*carry[2:]),
        grow,
        (jnp.asarray(number), gradients, *direction(gradients)),
    )
    lengths = t * jnp.exp2(jnp.arange(DOUBLINGS, dtype=x.dtype))
    passed = jnp.all(jax.vmap(lambda t: excess(v, t))(lengths) <= 0, 1) & (lengths <= jnp.maximum(t, 1.0))
    critical = jnp.linalg.norm(v) <= tolerance
    longest = jnp.max(jnp.where(passed, lengths, 0.0))
    return jax.lax.stop_gradient((jnp.where(critical, 0.0, longest * v), critical))


class BoxCover(NamedTuple):
    """Boxes of one size that cover a set."""

    centre: Array  # [C, d]
    width: Array  # [d] of each box
    valid: Array  # bool [C]; the other rows are padding
    complete: Array  # bool []: the capacity was enough at every level


def box_subdivision(
    descend: Callable[[Array], Array],
    low: Array,
    high: Array,
    depth: int,
    *,
    points: int = 3,
    capacity: int = 256,
) -> BoxCover:
    """Cover the whole Pareto set by boxes: halve them and keep those which descent from one of them leads into.

        for level in 1..depth: bisect all boxes along the next coordinate;
                               keep box B if descend(x) is in B for a test point x of any kept box

    What is left covers the points that descent does not leave, to the width of a box, whatever the shape of that set
    and in however many pieces.

    Shapes: `descend` `[d] -> [d]`; `low`, `high` `[d]` -> `BoxCover` of C boxes. Stopped: all. `depth points^d 2 C`
    descents: for up to about three parameters.

    Args:
      descend: one or several steps along which all objectives fall, such as `x + nonsmooth_descent_step(...)`; a point
        that cannot improve stays.
      depth: number of bisections; box widths are `(high - low) / 2^(depth / d)`.
      points: test points of a box along each coordinate, on a grid inside it.
      capacity: the most boxes to be kept; those beyond are lost, which `complete` tells. A set of dimension k needs
        some `2^(k depth / d)`.

    Usual mistakes: descent so short that a point stays in its box wherever it is, which keeps all boxes; and too few
    test points for a descent that leads far away, which drops boxes of the set.

    >>> to_diagonal = lambda x: jnp.full(2, x.mean())
    >>> cover = box_subdivision(to_diagonal, jnp.zeros(2), jnp.ones(2), 4, capacity=8)
    >>> cover.centre[cover.valid].tolist(), cover.width.tolist()
    ([[0.125, 0.125], [0.375, 0.375], [0.625, 0.625], [0.875, 0.875]], [0.25, 0.25])

    Raises:
      ValueError: unless `low` and `high` are vectors of one size with `low < high`; for a depth, number of points or
        capacity below one, or a depth above 24.

    Source: Dellnitz, Schütze and Hestermeyer, "Covering Pareto Sets by Multilevel Subdivision Techniques" (2005).
    """
    check.rank("low", low, 1)
    check.same_shape(low=low, high=high)
    check.positive("high - low", jnp.subtract(high, low))
    check.count("depth", depth)
    check.require(depth <= 24, "depth", depth, "at most 24")
    check.count("points", points)
    check.count("capacity", capacity)
    low, high = jax.lax.stop_gradient((jnp.asarray(low), jnp.asarray(high)))
    size = low.size
    halvings = [(depth + size - 1 - j) // size for j in range(size)]
    strides = jnp.asarray(np.cumprod([1, *(2**n for n in halvings[:0:-1])])[::-1].copy())
    inside = (np.stack(np.meshgrid(*size * [np.arange(points)], indexing="ij"), -1).reshape(-1, size) + 0.5) / points

    def halve(
        carry: tuple[Array, Array, Array, Array], coordinate: Array
    ) -> tuple[tuple[Array, Array, Array, Array], None]:
        index, valid, cells, complete = carry
        split = jax.nn.one_hot(coordinate, size, dtype=index.dtype)
        children = jnp.stack([index * (1 + split), index * (1 + split) + split], 1).reshape(-1, size)
        valid, cells = jnp.repeat(valid, 2), cells * (1 + split)
        width = (high - low) / cells
        tests = low + (children[:, None] + inside.astype(low.dtype)) * width
        images = jax.vmap(descend)(tests.reshape(-1, size))
        within = jnp.all((images >= low) & (images <= high), 1) & jnp.repeat(valid, len(inside))
        reached = jnp.minimum(jnp.floor((images - low) / width).astype(index.dtype), cells - 1)
        reached = jnp.where(within[:, None], reached, 0)
        hit = jnp.zeros(2**depth, bool).at[reached @ strides].max(within)
        kept = valid & hit[children @ strides]
        order = jnp.argsort(~kept, stable=True)[:capacity]
        return (children[order], kept[order], cells, complete & (kept.sum() <= capacity)), None

    start = (
        jnp.zeros((capacity, size), jnp.int32),
        jnp.arange(capacity) == 0,
        jnp.ones(size, jnp.int32),
        jnp.array(True),
    )
    (index, valid, cells, complete), _ = jax.lax.scan(halve, start, jnp.arange(depth) % size)
    width = (high - low) / cells
    return jax.lax.stop_gradient(BoxCover(low + (index + 0.5) * width, width, valid, complete))
