"""Novelty as the error of a network that learns to imitate another one on the states visited."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check


def distill_loss(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Squared error of the predictor, `(1 / D) sum_d (prediction_d - target_d)^2`, of each row.

    Shapes: both `[..., D]` -> `[...]`. Differentiated: `prediction`, not `target`.

    With many environments the predictor learns on a random part of the rows, or the bonus vanishes too soon: average
    over the rows kept, not over all.

    >>> distill_loss(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0]])).tolist()
    [2.5]

    Raises:
      ValueError: for shapes that differ.

    Source: Burda et al., "Exploration by Random Network Distillation" (2018).
    """
    check.same_shape(prediction=prediction, target=target)
    return jnp.mean(jnp.square(prediction - jax.lax.stop_gradient(target)), axis=-1)


def distill_bonus(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """`distill_loss` as a reward: large where the predictor has seen nothing similar.

    Shapes: both `[..., D]` -> `[...]`. Differentiated: nothing.

    Both are features of the *next* observation. The bonus has the scale of the target's features and falls during
    training, so divide it by the running deviation of its return (`rlx.reward.normalise_by_return`); and observations
    must be normalised first, or it is nearly the same everywhere.

    >>> distill_bonus(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0]])).tolist()
    [2.5]

    Raises:
      ValueError: for shapes that differ.

    Source: Burda et al., "Exploration by Random Network Distillation" (2018).
    """
    return jax.lax.stop_gradient(distill_loss(prediction, target))
