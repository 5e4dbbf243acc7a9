"""Where to evaluate a costly function next: the value of an evaluation, before it is made. Larger is better."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def expected_improvement(mean: Array, std: Array, best: Array | float) -> Array:
    """By how much a normal variable is expected to exceed the best value so far.

    `E max(f - best, 0) = (mean - best) Phi(u) + std phi(u)`, `u = (mean - best) / std`.

    Shapes: `[...]`, broadcast. Differentiated: everything; with `std = 0` it is `max(mean - best, 0)`, and its gradient
    finite. Far below the best it is 0 in float32: where candidates must still be told apart, compare its logarithm.

    Usual mistake: the best *noisy* value as `best`, which is the luckiest one. Take the best posterior mean.

    >>> value = expected_improvement(jnp.array([0.0, 2.0]), jnp.array([1.0, 0.0]), 1.0)
    >>> bool(jnp.allclose(value, jnp.array([0.0833, 1.0]), atol=1e-4))
    True

    Source: Jones, Schonlau and Welch, "Efficient Global Optimization of Expensive Black-Box Functions" (1998).
    """
    mean, std = jnp.asarray(mean), jnp.asarray(std)
    gap = mean - best
    some = std > 0
    scale = jnp.where(some, std, 1)
    u = gap / scale
    value = gap * jax.lax.erfc(-u / 2**0.5) / 2 + scale * jnp.exp(-(u**2) / 2) / (2 * jnp.pi) ** 0.5
    return jnp.where(some, jnp.maximum(value, 0), jnp.maximum(gap, 0))


def variable_fidelity_improvement(
    mean: Array, covariance: Array, noise: Array, cost: Array, best: Array | float
) -> Array:
    """Expected improvement at the highest fidelity, for what another fidelity tells of it, for what it costs.

    `EI(x) |corr(y_z(x), f_F(x))| cost_F / cost_z`, where `y_z` is an observation with noise and the correlation that of
    the posterior: a fidelity that is known already, or says little of the highest, is worth little.

    Shapes: `[..., F]`, `[..., F, F]` (of `cokriging_posterior`), standard deviations `[F]`, `[F]` -> `[..., F]`.
    Differentiated: everything.

    Differs from the source, whose correlation is that of the functions, with a factor for noise beside it. Usual
    mistake: to leave the cost out of it, and buy the highest fidelity always.

    >>> mean, covariance = jnp.zeros(2), jnp.array([[1.0, 0.9], [0.9, 1.0]])
    >>> value = variable_fidelity_improvement(mean, covariance, jnp.zeros(2), jnp.array([1.0, 10.0]), 0.0)
    >>> bool(value[0] > 8.9 * value[1])
    True

    Raises:
      ValueError: if shapes do not fit together, or a cost is not positive.

    Source: Huang et al., "Sequential Kriging Optimization Using Multiple-Fidelity Evaluations" (2006).
    """
    mean, covariance = jnp.asarray(mean), jnp.asarray(covariance)
    check.require(mean.ndim > 0, "mean", mean.shape, "of shape [..., F]")
    levels = mean.shape[-1]
    check.require(covariance.shape == (*mean.shape, levels), "covariance", covariance.shape, f"{(*mean.shape, levels)}")
    for name, array in (("noise", noise), ("cost", cost)):
        check.require(jnp.shape(array) == (levels,), name, jnp.shape(array), f"of shape ({levels},)")
    check.positive("cost", cost)
    noise, cost = jnp.asarray(noise), jnp.asarray(cost)
    tiny = jnp.finfo(covariance.dtype).tiny
    variance = jnp.maximum(jnp.diagonal(covariance, axis1=-2, axis2=-1), 0)
    product = (variance + noise**2) * variance[..., -1:]
    known = product <= tiny
    correlation = jnp.where(known, 0, jnp.abs(covariance[..., -1]) / jnp.sqrt(jnp.where(known, 1, product)))
    top = variance[..., -1]
    std = jnp.where(top > 0, jnp.sqrt(jnp.where(top > 0, top, 1)), 0)
    improvement = expected_improvement(mean[..., -1], std, best)
    return improvement[..., None] * jnp.minimum(correlation, 1) * cost[-1] / cost
