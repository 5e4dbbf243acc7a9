"""What the numbers that a network has for an action say about its return, and how they learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from rlx import check
from rlx.value import (
    categorical_loss,
    categorical_mean,
    categorical_target,
    clipped_mass,
    quantile_huber_loss,
    quantile_midpoints,
    td_loss,
)

HeadKind = Literal["mean", "two_hot", "hl_gauss", "c51", "qr", "iqn"]


class ValueHead(NamedTuple):
    """A kind of value estimate of M numbers; `...` is what there is one of them for (states, actions, channels)."""

    size: int  # M
    levels: Any  # [M], at which the numbers are quantiles of the return where no others are drawn; None: they are not
    value: Callable[[jax.Array], jax.Array]  # [..., M] -> [...], the expected return
    # (reward [...], discount [...], numbers of the next state and action [..., M]) -> what is to be learned, stopped;
    # None: the scalar `r + discount value`, which the caller may form as it likes
    target: Callable[[jax.Array, jax.Array, jax.Array], Any] | None
    loss: Callable[[jax.Array, Any, Any], jax.Array]  # (numbers, target, levels [..., M]) -> [...]
    target_mean: Callable[[Any], jax.Array]  # of a target -> [...]
    clipped: Callable[[Any], jax.Array] | None  # of a target -> [...], its share beyond the support, if there is one


def value_head(kind: HeadKind, size: int, low: float, high: float, huber: float | None) -> ValueHead:
    """The head of a kind.

    mean: one number, by the squared or Huber loss. two_hot, hl_gauss: logits on `size` atoms from `low` to `high`, by
    cross-entropy to the scalar target; c51: to the target's distribution. qr, iqn: `size` quantiles, by Huber's
    quantile loss, whose kappa is `huber` (None: 1).

    Raises:
      ValueError: for an unknown kind, fewer than two numbers of one that needs more, or a support that is empty.
    """
    check.require(kind in get_args(HeadKind), "head", kind, f"one of {get_args(HeadKind)}")
    if kind == "mean":
        return ValueHead(
            1,
            None,
            lambda numbers: numbers[..., 0],
            None,
            lambda numbers, target, levels: td_loss(numbers[..., 0], target, huber=huber),
            lambda target: target,
            None,
        )
    check.count("atoms", size, 2)
    if kind in ("qr", "iqn"):
        kappa = 1.0 if huber is None else huber
        return ValueHead(
            size,
            quantile_midpoints(size),
            lambda numbers: numbers.mean(-1),
            lambda reward, discount, after: jax.lax.stop_gradient(reward[..., None] + discount[..., None] * after),
            lambda numbers, target, levels: quantile_huber_loss(numbers, levels, target, kappa),
            lambda target: target.mean(-1),
            None,
        )
    check.positive("high - low, the width of the support", high - low)
    support = jnp.linspace(low, high, size)
    if kind == "c51":
        return ValueHead(
            size,
            None,
            lambda numbers: categorical_mean(numbers, support),
            lambda reward, discount, after: jax.lax.stop_gradient(
                (reward[..., None] + discount[..., None] * support, jax.nn.softmax(after))
            ),
            lambda numbers, target, levels: categorical_loss(
                numbers, categorical_target(target[0], support, kind, probs=target[1])
            ),
            lambda target: jnp.sum(target[0] * target[1], axis=-1),
            lambda target: clipped_mass(target[0], support, target[1]),
        )
    return ValueHead(
        size,
        None,
        lambda numbers: categorical_mean(numbers, support),
        None,
        lambda numbers, target, levels: categorical_loss(numbers, categorical_target(target, support, kind)),
        lambda target: target,
        lambda y: clipped_mass(y, support),
    )
