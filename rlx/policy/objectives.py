"""Several objectives: the others as a margin, or one policy with a head for each, mixed when it answers."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.policy.alignment import dpo_loss, sequence_score
from rlx.policy.link import link_loss
from rlx.policy.sequence import widened
from rlx.types import Array


def modpo_loss(
    log_prob: Array,
    mask: Array,
    target: Array,
    reference: Array,
    other_reward: Array,
    weight: Array | float,
    *,
    beta: Array | float = 0.1,
) -> Array:
    """Multi-objective DPO: comparisons by one objective, while the rewards of the others are known.

        z = (beta (rho_1 - rho_2) - (o_1 - o_2)) / w,   loss = -(t log sigmoid(z) + (1 - t) log sigmoid(-z))

    rho is the log-ratio to the reference and o the weighted sum of the other objectives' rewards. With true labels its
    minimum is the tilt of the reference by `(w r + o) / beta`, r the reward that was compared: DPO for the weighted sum
    without a comparison by it. At `w = 1` and `o = 0` it is DPO.

    Shapes: `[..., 2, T]`, bool `[..., 2, T]`, `[...]`, `[..., 2, T]`, `[..., 2]`; `weight` and `beta` broadcast to
    `[...]` -> `[...]`. Differentiated: `log_prob`.

    Usual mistakes: other rewards on another scale than that of the comparisons, whose scale is that of log-odds; and
    the difference of the other rewards taken in the order of sampling where the second was preferred.

    >>> log_prob, mask = jnp.zeros((2, 1)), jnp.ones((2, 1), bool)
    >>> round(modpo_loss(log_prob, mask, jnp.array(1.0), log_prob, jnp.array([1.0, 0.0]), 0.5).item(), 4)
    2.1269

    Raises:
      ValueError: for shapes that do not fit, targets outside [0, 1], `beta <= 0`, or a weight outside (0, 1].

    Source: Zhou et al., "Beyond One-Preference-Fits-All Alignment: Multi-Objective Direct Preference Optimization"
    (2024).
    """
    shape = jnp.shape(log_prob)
    check.require(len(shape) >= 2 and shape[-2] == 2, "log_prob", shape, "of shape [..., 2, T]")
    check.require(jnp.shape(target) == shape[:-2], "target", jnp.shape(target), f"of shape {shape[:-2]}")
    check.require(jnp.shape(other_reward) == shape[:-1], "other_reward", jnp.shape(other_reward), f"of {shape[:-1]}")
    check.in_range("target", target, 0.0, 1.0)
    check.in_range("weight", weight, 0.0, 1.0, open_low=True)
    check.positive("beta", beta)
    score = sequence_score(widened(log_prob), mask, widened(reference))
    target, other, weight, beta = (
        jax.lax.stop_gradient(jnp.asarray(x, score.dtype)) for x in (target, other_reward, weight, beta)
    )
    z = (beta * (score[..., 0] - score[..., 1]) - (other[..., 0] - other[..., 1])) / weight
    return (target * link_loss(z) + (1 - target) * link_loss(-z)).astype(jnp.result_type(log_prob))


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
