"""Policies that are told a future and imitate what led to it: what the future may say, and which one to ask for."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def mi_energy_bound(positive: Array, negative: Array, log_prior: Array | None = None) -> Array:
    """How much a latent tells of an outcome, by an energy that knows both.

        positive - log sum_m exp(negative_m + log_prior_m)

    With energies `f(x, z)` of what happened and `f(x_m, z)` of other outcomes, of probability `rho_m`. At the best f
    its mean is `I(x; z) + KL(P(x) || rho)`: the divergence does not depend on the encoder of z, so the gradient is
    that of the information, but the value is not, unless rho is the distribution of x itself. All of this given (s, a)
    where f knows these.

    To take from a latent what chance decides (rewards, next states), the encoder minimises the mean and f maximises it.
    Two losses: `bound(z, stop(f))` for the encoder and `-bound(stop(z), f)` for f.

    Shapes: `positive` `[...]`, `negative` `[..., M]`, `log_prior` `[M]` or `[..., M]`: the logarithms of rho for
    outcomes that are enumerated, None for M that were drawn from it -> `[...]`. Differentiated: both energies.

    Usual mistake: to minimise it in both at once. f then makes itself useless, and the latent goes on telling.

    >>> round(float(mi_energy_bound(jnp.array(2.0), jnp.array([2.0, 0.0]))), 4)
    0.5662

    Raises:
      ValueError: for shapes that do not fit.

    Source: Yang et al., "Dichotomy of Control: Separating What You Can Control from What You Cannot" (2023), with the
    signs of the two players apart.
    """
    positive, negative = jnp.asarray(positive), jnp.asarray(negative)
    check.require(negative.ndim >= 1, "the shape of negative", negative.shape, "[..., M]")
    check.same_shape(positive=positive, rows_of_negative=negative[..., 0])
    if log_prior is None:
        log_prior = -jnp.log(jnp.asarray(negative.shape[-1], negative.dtype))
    else:
        shape = jnp.shape(log_prior)
        allowed = f"{negative.shape[-1:]} or {negative.shape}"
        check.require(shape in (negative.shape[-1:], negative.shape), "the shape of log_prior", shape, allowed)
    return positive - jax.nn.logsumexp(negative + jax.lax.stop_gradient(log_prior), axis=-1)


def select_future(value: Array, log_prior: Array | None = None, min_prob: Array | float = 0.0) -> Array:
    """Which future to ask a conditioned policy for: the most valuable among those that can be.

        argmax_z value_z   over z with prior_z >= min_prob

    Shapes: `value` `[..., Z]`, `log_prior` `[..., Z]` of each latent in this state, None where all Z were drawn from
    it -> int `[...]`. Where no latent is that probable, the most probable one.

    Usual mistake: to leave out the prior where latents are enumerated: what the value network says of a latent that the
    data does not have is arbitrary, and the maximum finds it.

    >>> int(select_future(jnp.array([9.0, 1.0, 2.0]), jnp.log(jnp.array([0.001, 0.5, 0.499])), 0.01))
    2

    Raises:
      ValueError: for shapes that differ, or a probability outside [0, 1].

    Source: Yang et al., "Dichotomy of Control: Separating What You Can Control from What You Cannot" (2023).
    """
    check.in_range("min_prob", min_prob, 0.0, 1.0)
    value = jnp.asarray(value)
    check.require(value.ndim >= 1, "the shape of value", value.shape, "[..., Z]")
    if log_prior is None:
        return jnp.argmax(value, axis=-1)
    check.same_shape(value=value, log_prior=log_prior)
    possible = jnp.exp(log_prior) >= min_prob
    best = jnp.argmax(jnp.where(possible, value, -jnp.inf), axis=-1)
    return jnp.where(possible.any(-1), best, jnp.argmax(log_prior, axis=-1))
