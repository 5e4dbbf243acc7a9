"""Reward models that go on telling answers apart as the policy, and with it the answers, move away from their pairs.

A MetaRM step: the spread of the policy's own answers says where the model is becoming blind, and the pairs are learned
as seen from parameters that had been moved to tell those answers apart. No new labels are needed.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array, PyTree


def answer_spread(score: Array, mask: Array | None = None) -> Array:
    """How far a query's answers are told apart: `mean_{i < j} sigmoid(|s_i - s_j|)`, from 1/2 to 1.

    Shapes: `[..., C]`, bool `[..., C]` (false for padding) -> `[...]`; 0 for fewer than two answers. Differentiated:
    `score`, with slope 0 between equal ones.

    Usual mistake: the spread as a term of the loss, which any scores that are far enough apart make as small as can be.
    It is meant for a step aside (`meta_gradient`).

    >>> [round(float(answer_spread(jnp.array(s))), 4) for s in ([1.0, 1.0], [0.0, 1.0], [0.0, 20.0])]
    [0.5, 0.7311, 1.0]

    Raises:
      ValueError: for a mask of another shape, or scores without an axis.

    Source: Dou et al., "MetaRM: Shifted Distributions Alignment via Meta-Learning" (2024).
    """
    score = jnp.asarray(score)
    check.require(score.ndim > 0, "score", score.shape, "of shape [..., C]")
    valid = jnp.ones(score.shape, bool) if mask is None else jnp.asarray(mask, bool)
    check.same_shape(score=score, mask=valid)
    pair = valid[..., :, None] & valid[..., None, :] & jnp.triu(jnp.ones((score.shape[-1],) * 2, bool), 1)
    apart = jnp.where(pair, score[..., :, None] - score[..., None, :], 0)
    apart = apart * jnp.sign(apart)  # `jnp.abs` has slope 1 at 0
    total = jnp.sum(jnp.where(pair, jax.nn.sigmoid(apart), 0), axis=(-2, -1))
    return total / jnp.maximum(jnp.sum(pair, axis=(-2, -1)), 1)


def meta_gradient(
    loss: Callable[[PyTree], Array], spread: Callable[[PyTree], Array], parameters: PyTree, rate: Array | float
) -> tuple[Array, PyTree]:
    """The loss and its gradient a step up the spread from here, to be applied here.

        p' = p + rate grad spread(p),   returns loss(p'), grad loss(p')

    `loss` is that of labelled pairs, `spread` the mean `answer_spread` of answers of the policy as it is now. At
    `rate = 0` it is the plain gradient. First order, as in the paper: nothing is differentiated through the step, and
    what comes back is constant. Any optimiser takes it from there.

    Shapes: functions of the parameters that return `[]`, a tree, scalar -> `[]`, a tree like the parameters.

    Usual mistake: applying the gradient at `p'`, by which the spread is maximised too, without a bound.

    >>> value, gradient = meta_gradient(lambda p: p**2, lambda p: 3 * p, jnp.array(1.0), 0.5)  # p' = 2.5
    >>> float(value), float(gradient)
    (6.25, 5.0)

    Raises:
      ValueError: for a negative rate.

    Source: Dou et al., "MetaRM: Shifted Distributions Alignment via Meta-Learning" (2024); Wang et al., "Secrets of
    RLHF in Large Language Models Part II: Reward Modeling" (2024).
    """
    check.in_range("rate", rate, 0.0)
    uphill = jax.grad(spread)(parameters)
    moved = jax.tree.map(lambda p, g: p + jnp.asarray(rate, g.dtype) * g, parameters, uphill)
    return jax.lax.stop_gradient(jax.value_and_grad(loss)(moved))
