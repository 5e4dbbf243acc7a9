"""Novelty as the error of a network that learns to imitate another one on the states visited."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def distill_bonus(prediction: Array, target: Array) -> Array:
    """Squared error of the predictor, `b = (1/D) sum_d (prediction_d - target_d)^2`.

    Args:
      prediction: `[..., D]`, features of the *next* observation by the predictor. No gradient flows.
      target: `[..., D]`, those by the target. No gradient flows.

    Returns:
      Bonus `[...]`. Its scale is that of the target's features and it falls during training: divide it by the running
      deviation of its return (`rlx.reward.normalise_by_return`) before adding it to anything.

    Source: Burda et al., "Exploration by Random Network Distillation", 2018.
    """
    return jax.lax.stop_gradient(distill_loss(prediction, target))


def distill_loss(prediction: Array, target: Array) -> Array:
    """`distill_bonus` as a loss to be minimised: the gradient flows into `prediction` only.

    Args:
      prediction: `[..., D]`.
      target: `[..., D]`, held fixed.

    Returns:
      Loss `[...]` of each row. Training on a random part of the rows keeps the bonus from vanishing too soon with many
      environments: average over the rows kept, not over all.

    Raises:
      ValueError: if the shapes differ.

    Source: Burda et al., "Exploration by Random Network Distillation", 2018.
    """
    check.same_shape(prediction=prediction, target=target)
    return jnp.mean(jnp.square(prediction - jax.lax.stop_gradient(target)), axis=-1)
