"""Novelty as the error in predicting the next state, in features that hold only what actions can change."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check


def icm_loss(
    inverse_log_prob: jax.Array, prediction: jax.Array, next_features: jax.Array, beta: jax.Array | float = 0.2
) -> jax.Array:
    """What an intrinsic curiosity module learns from: an inverse model of the action, and a forward model of features.

        -(1 - beta) log q(a | phi, phi') + beta / 2 |g(phi, a) - phi'|^2

    Shapes: `[...]`, twice `[..., D]`, a scalar -> `[...]`. Differentiated: `inverse_log_prob` and `prediction`; not
    `next_features`.

    `inverse_log_prob` is the log-probability of the action taken, given the features before and after it. It is what
    shapes the features: noise that no action changes is of no use to it. Stopping the gradient into `phi'` is our
    choice: the paper's objective may also lower the forward error by making features equal. The features *before* get
    gradients of both terms unless the caller stops those too.

    >>> icm_loss(jnp.array([-1.0]), jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 0.0]]), 0.5).tolist()
    [1.5]

    Raises:
      ValueError: for shapes that differ, or a `beta` outside [0, 1].

    Source: Pathak et al., "Curiosity-driven Exploration by Self-supervised Prediction" (2017).
    """
    check.same_shape(prediction=prediction, next_features=next_features)
    check.in_range("beta", beta, 0.0, 1.0)
    error = 0.5 * jnp.sum(jnp.square(prediction - jax.lax.stop_gradient(next_features)), axis=-1)
    return beta * error - (1.0 - beta) * inverse_log_prob


def icm_bonus(prediction: jax.Array, next_features: jax.Array) -> jax.Array:
    """Half the squared error of the forward model, `1/2 |g(phi, a) - phi'|^2`.

    Shapes: twice `[..., D]` -> `[...]`. Differentiated: nothing.

    It falls to zero where the outcome of an action is known, and not where it is random *in these features*: with raw
    observations a source of noise is worth the same for ever.

    >>> icm_bonus(jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 0.0]])).tolist()
    [2.0]

    Raises:
      ValueError: for shapes that differ.

    Source: Pathak et al., "Curiosity-driven Exploration by Self-supervised Prediction" (2017).
    """
    check.same_shape(prediction=prediction, next_features=next_features)
    return jax.lax.stop_gradient(0.5 * jnp.sum(jnp.square(prediction - next_features), axis=-1))
