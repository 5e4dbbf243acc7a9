"""Entropies and divergences of the distributions that policies use, on their raw parameters.

Logits may be `-inf` (a masked action): such an action has probability zero and adds neither value nor gradient. Every
row needs at least one finite logit.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from rlx import check


def categorical_entropy(logits: jax.Array) -> jax.Array:
    """Entropy in nats, `- sum_a p_a log p_a` with `p = softmax(logits)`.

    Shapes: `[..., A]` gives `[...]`. Differentiated: `logits`. Computed without care, `0 * -inf` makes a masked
    action's term NaN, and a `where` around the product alone still leaves a NaN gradient.

    >>> import jax.numpy as jnp
    >>> round(float(categorical_entropy(jnp.array([0.0, 0.0, -jnp.inf]))), 4)
    0.6931

    Raises:
      ValueError: without an axis of actions.
    """
    check.require(jnp.ndim(logits) >= 1, "the rank of logits", jnp.ndim(logits), "at least 1: [..., A]")
    log_prob = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_prob) * jnp.where(jnp.isneginf(log_prob), 0.0, log_prob), axis=-1)


def categorical_kl(logits: jax.Array, other_logits: jax.Array) -> jax.Array:
    """`KL(p || q) = sum_a p_a (log p_a - log q_a)` in nats, of softmax distributions.

    Infinite where q excludes an action that p takes; actions that p excludes add nothing.

    Shapes: both `[..., A]`, result `[...]`. Differentiated: both.

    >>> import jax.numpy as jnp
    >>> round(float(categorical_kl(jnp.array([0.0, -jnp.inf]), jnp.array([0.0, 0.0]))), 4)
    0.6931

    Raises:
      ValueError: for shapes that differ.

    Source: Kullback and Leibler, "On Information and Sufficiency" (1951).
    """
    check.same_shape(logits=logits, other_logits=other_logits)
    log_p, log_q = jax.nn.log_softmax(logits), jax.nn.log_softmax(other_logits)
    excluded = jnp.isneginf(log_p)
    ratio = jnp.where(excluded, 0.0, log_p) - jnp.where(excluded, 0.0, log_q)
    return jnp.sum(jnp.exp(log_p) * ratio, axis=-1)


def gaussian_entropy(log_std: jax.Array) -> jax.Array:
    """Entropy in nats of a Gaussian with independent components, `sum_i (log_std_i + log(2 pi e) / 2)`.

    Differential: negative for small deviations, and not that of the squashed action (`tanh_log_det` has the
    difference).

    Shapes: `[..., D]` gives `[...]`. Differentiated: `log_std`.

    >>> import jax.numpy as jnp
    >>> round(float(gaussian_entropy(jnp.zeros(1))), 4)
    1.4189
    """
    return jnp.sum(log_std + 0.5 * math.log(2 * math.pi * math.e), axis=-1)


def gaussian_kl(mean: jax.Array, log_std: jax.Array, other_mean: jax.Array, other_log_std: jax.Array) -> jax.Array:
    """`KL(p || q)` in nats of two Gaussians with independent components.

        sum_i ((s_i / t_i)^2 - 1) / 2 - log(s_i / t_i) + ((m_i - n_i) / t_i)^2 / 2

    for means m, n and deviations s, t of p, q.

    Shapes: all `[..., D]`, result `[...]`. Differentiated: all.

    >>> import jax.numpy as jnp
    >>> zero, one = jnp.zeros(1), jnp.ones(1)
    >>> gaussian_kl(one, zero, zero, zero).item()
    0.5

    Raises:
      ValueError: for shapes that differ.

    Source: Kullback and Leibler, "On Information and Sufficiency" (1951).
    """
    check.same_shape(mean=mean, log_std=log_std, other_mean=other_mean, other_log_std=other_log_std)
    log_ratio = log_std - other_log_std
    distance = (mean - other_mean) * jnp.exp(-other_log_std)
    return jnp.sum(0.5 * (jnp.expm1(2 * log_ratio) + jnp.square(distance)) - log_ratio, axis=-1)


def tanh_log_det(u: jax.Array) -> jax.Array:
    """`log(1 - tanh(u)^2)`, the log derivative of the squashing, as `2 (log 2 - u - softplus(-2 u))`.

    Exact where `tanh(u)` rounds to 1 and the plain form is `-inf`. The log density of `tanh(u)` is that of u minus
    the sum of this over the components of the action.

    Shapes: elementwise. Differentiated: `u`.

    >>> import jax.numpy as jnp
    >>> round(float(tanh_log_det(jnp.array(20.0))), 3)
    -38.614

    Source: Haarnoja et al., "Soft Actor-Critic Algorithms and Applications" (2018), appendix C.
    """
    return 2.0 * (math.log(2.0) - u - jax.nn.softplus(-2.0 * u))
