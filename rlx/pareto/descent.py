"""Common descent of objectives that are not differentiable everywhere: clips, maxima, Chebyshev utilities."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

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

    >>> step, critical = nonsmooth_descent_step(lambda x: jnp.abs(x).sum()[None], jnp.array([2.0, 0.01]), 0.125)
    >>> round(float(step[0]), 3), bool(critical)
    (-1.0, False)

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
