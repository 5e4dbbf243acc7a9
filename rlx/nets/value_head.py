"""What the numbers that a network has for an action say about its return, and how they learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

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
    quantiles: bool  # whether the numbers are quantiles of the return, at `quantile_midpoints` unless levels are given
    value: Callable[[jax.Array], jax.Array]  # [..., M] -> [...], the expected return
    # (reward [...], discount [...], numbers of the next state and action [..., M]) -> what is to be learned, stopped;
    # None: the scalar `r + discount value`, which the caller may form as it likes
    target: Callable[[jax.Array, jax.Array, jax.Array], jax.Array] | None
    loss: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # (numbers, target, levels [..., M]) -> [...]
    target_mean: Callable[[jax.Array], jax.Array]  # of a target -> [...]
    clipped: Callable[[jax.Array], jax.Array] | None  # a scalar target -> [...], its share beyond the support


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
            False,
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
            True,
            lambda numbers: numbers.mean(-1),
            lambda reward, discount, after: jax.lax.stop_gradient(reward[..., None] + discount[..., None] * after),
            lambda numbers, target, levels: quantile_huber_loss(numbers, levels, target, kappa),
            lambda target: target.mean(-1),
            None,
        )
    check.require(low < high, "the support's ends", (low, high), "increasing")
    support = jnp.linspace(low, high, size)
    if kind == "c51":
        return ValueHead(
            size,
            False,
            lambda numbers: categorical_mean(numbers, support),
            lambda reward, discount, after: categorical_target(
                reward[..., None] + discount[..., None] * support, support, kind, probs=jax.nn.softmax(after)
            ),
            lambda numbers, target, levels: categorical_loss(numbers, target),
            lambda target: target @ support,
            lambda y: clipped_mass(y, support),
        )
    return ValueHead(
        size,
        False,
        lambda numbers: categorical_mean(numbers, support),
        None,
        lambda numbers, target, levels: categorical_loss(numbers, categorical_target(target, support, kind)),
        lambda target: target,
        lambda y: clipped_mass(y, support),
    )


def fixed_levels(head: ValueHead) -> jax.Array:
    """The levels `[M]` that a head's quantiles are at where none are drawn; without a meaning for other heads."""
    return quantile_midpoints(head.size)
