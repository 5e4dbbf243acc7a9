"""One policy with a head for each objective: trained together, mixed when it answers."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.policy.alignment import dpo_loss
from rlx.policy.sequence import widened
from rlx.types import Array


def multi_head_dpo_loss(
    log_prob: Array,
    mask: Array,
    target: Array,
    reference: Array,
    objective: Array,
    *,
    beta: Array | float = 0.1,
) -> Array:
    """DPO in which each pair trains the head of the objective that it was judged by, and objectives count equally.

        loss_i = B / (H' n_h) dpo_loss(head h's log_prob_i),   h = objective_i

    of `n_h` pairs for the objective h and `H'` objectives that have any: the mean over the batch is the mean over
    objectives of the mean over their pairs. The counts join the rows of a batch: micro-batches have other weights.

    Shapes: `[H, B, 2, T]`, bool `[B, 2, T]`, `[B]`, `[B, 2, T]`, int `[B]` (-1: padding, which does not count) ->
    `[B]`. Differentiated: `log_prob`; heads get gradients from their own pairs only, the trunk from all.

    Usual mistake: a mean over all pairs, by which the objective with most data decides for the trunk.

    >>> log_prob = jnp.zeros((2, 3, 2, 1)).at[1, 2, 0].set(10.0)
    >>> arguments = jnp.ones((3, 2, 1), bool), jnp.ones(3), jnp.zeros((3, 2, 1)), jnp.array([0, 0, 1])
    >>> [round(x, 3) for x in multi_head_dpo_loss(log_prob, *arguments).tolist()]
    [0.52, 0.52, 0.47]

    Raises:
      ValueError: for shapes that do not fit, objectives that are no integers, or `beta <= 0`.

    Source: "Simultaneous Multi-objective Alignment Across Verifiable and Non-verifiable Rewards" (2025).
    """
    shape = jnp.shape(log_prob)
    check.require(len(shape) == 4 and shape[2] == 2, "log_prob", shape, "of shape [H, B, 2, T]")
    objective = jnp.asarray(objective)
    check.require(objective.shape == shape[1:2], "objective", objective.shape, f"of shape {shape[1:2]}")
    check.require(jnp.issubdtype(objective.dtype, jnp.integer), "objective", objective.dtype, "of an integer type")
    heads = shape[0]
    head = jnp.clip(objective, 0, heads - 1)
    used = jnp.take_along_axis(jnp.asarray(log_prob), head[None, :, None, None], axis=0)[0]
    each = dpo_loss(used, mask, target, reference, beta=beta)
    weight = balance(objective, heads).astype(each.dtype)
    return jnp.where(weight > 0, weight * each, 0)


def balance(objective: Array, heads: int) -> Array:
    """Weights `[B]` of rows by which objectives count equally, `B / (H' n_h)`; 0 for an objective that is no head."""
    own = objective[:, None] == jnp.arange(heads)
    number = jnp.sum(own, axis=0)
    share = own / jnp.maximum(number, 1) / jnp.maximum(jnp.sum(number > 0), 1)
    return len(objective) * jnp.sum(share, axis=1)


def combine_heads(logits: Array, weight: Array) -> Array:
    """Logits of a mixture of heads, `sum_h w_h logits_h / sum_h w_h`.

    The policy is the geometric mixture of the heads' policies, which for tilts of one reference is the tilt by the
    mixture of their rewards.

    Shapes: `[H, ..., V]`, `[H]` -> `[..., V]`. Differentiated: `logits`.

    Usual mistake: a mixture of probabilities, in which what one objective rules out comes up all the same.

    >>> combine_heads(jnp.array([[0.0, 2.0], [4.0, 2.0]]), jnp.array([1.0, 3.0])).tolist()
    [3.0, 2.0]

    Raises:
      ValueError: for a number of weights other than that of heads, or weights that are negative or all 0.

    Source: "Simultaneous Multi-objective Alignment Across Verifiable and Non-verifiable Rewards" (2025); Liu et al.,
    "Tuning Language Models by Proxy" (2024) for arithmetic on logits.
    """
    shape = jnp.shape(logits)
    check.require(len(shape) >= 2, "logits", shape, "of shape [H, ..., V]")
    check.require(jnp.shape(weight) == shape[:1], "weight", jnp.shape(weight), f"of shape {shape[:1]}")
    check.in_range("weight", weight, 0.0)
    check.positive("the sum of weight", jnp.sum(jnp.asarray(weight)))
    wide = widened(logits)
    share = jax.lax.stop_gradient(jnp.asarray(weight, wide.dtype))
    share = (share / jnp.sum(share)).reshape(-1, *(1,) * (wide.ndim - 1))
    return jnp.sum(jnp.where(share == 0, 0, share * wide), axis=0).astype(jnp.result_type(logits))
