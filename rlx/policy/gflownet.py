"""GFlowNets: policies that build an object step by step and are to end in it as often as its reward, or its rank, says.

A trajectory goes from the one first state to a terminal object x by forward actions, the last of which is "stop". A
backward policy tells the probability of each way by which x can have come about.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def tb_log_reward(
    log_z: Array | float, forward_log_prob: Array, backward_log_prob: Array, mask: Array | None = None
) -> Array:
    """The log reward for which trajectory balance would hold: what a GFlowNet takes the reward of its objects to be.

    `log Z + sum_t log P_F(s_t+1 | s_t) - sum_t log P_B(s_t | s_t+1)`

    Where P_B reverses the flow of P_F, it is `log Z + log P(x)` for every way to x; under any P_B the mean of its
    exponential over the ways that P_B draws is `Z P(x)`. Trajectory balance is the loss `(it - log R(x))^2`.

    Shapes: `[...]` for `log_z`, `[T, ...]` for the log-probabilities, bool `[T, ...]`, true where the trajectory still
    takes a step -> `[...]`. Differentiated: everything but the mask.

    Usual mistakes: to leave the stop action out of P_F (it has no factor in P_B), and log-probabilities of the
    exploring policy in place of P_F's own.

    >>> forward = jnp.log(jnp.array([0.5, 0.25]))  # a step, then stop
    >>> backward = jnp.zeros(2)  # one way back; the object itself goes back to the state it was stopped in
    >>> round(float(jnp.exp(tb_log_reward(0.0, forward, backward))), 6)
    0.125

    Raises:
      ValueError: for shapes of the log-probabilities or the mask that differ.

    Source: Malkin et al., "Trajectory Balance: Improved Credit Assignment in GFlowNets" (2022).
    """
    arrays = {"forward_log_prob": forward_log_prob, "backward_log_prob": backward_log_prob}
    check.same_shape(**arrays, **({} if mask is None else {"mask": mask}))
    forward, backward = jnp.asarray(forward_log_prob), jnp.asarray(backward_log_prob)
    if mask is not None:  # before the difference, so that infinities in padding make no NaN
        forward, backward = (jnp.where(mask, x, 0) for x in (forward, backward))
    return log_z + jnp.sum(forward - backward, axis=0)


def order_loss_pair(first: Array, second: Array, label: Array) -> Array:
    """Cross-entropy of which of two objects ranks higher, under log rewards taken for preferences' logits.

    `- label log sigmoid(r1 - r2) - (1 - label) log sigmoid(r2 - r1)`

    Label 1 where the first ranks higher, 0 where the second does, 0.5 on a tie: the logistic (Bradley-Terry) loss of a
    preference model whose reward is `tb_log_reward`. It sees no scale of rewards, only their order.

    Shapes: all `[...]` -> `[...]`. Differentiated: `first` and `second`.

    Usual mistake: to train log Z by it. The loss does not change when both log rewards are shifted: keep Z fixed.

    >>> loss = order_loss_pair(jnp.zeros(2), jnp.array([0.0, 100.0]), jnp.array([0.5, 0.0]))
    >>> bool(jnp.allclose(loss, jnp.array([jnp.log(2.0), 0.0])))
    True

    Raises:
      ValueError: for shapes that differ, or a label outside [0, 1].

    Source: Chen and Mauch, "Order-Preserving GFlowNets" (2024).
    """
    check.same_shape(first=first, second=second, label=label)
    check.in_range("label", label, 0.0, 1.0)
    gap, label = jnp.asarray(first) - jnp.asarray(second), jax.lax.stop_gradient(jnp.asarray(label))
    return label * jax.nn.softplus(-gap) + (1 - label) * jax.nn.softplus(gap)


def order_loss_pareto(log_reward: Array, best: Array, valid: Array | None = None) -> Array:
    """Cross-entropy between the share of each object's reward in a set and the uniform distribution on its best ones.

    `logsumexp_i r_i - mean_{i best} r_i`

    With the non-dominated objects of a batch as the best (`rlx.pareto.nondominated_mask`, `keep_duplicates=True`) the
    policy comes to draw the Pareto front alone and all of it alike, without a scalar reward. For two objects of which
    one is best it is `order_loss_pair`; the least value, `log sum(best)`, is reached where the best have equal
    rewards and the rest none.

    Shapes: `[..., B]`, bool `[..., B]` twice -> `[...]`, one loss for each set. Differentiated: `log_reward`. A set
    without a best object has loss 0, and no gradient.

    Usual mistake: batches from the policy alone. Early on the best of a batch are not the best there are: explore, or
    add rows of a front found so far (`rlx.pareto.archive_insert`).

    >>> loss = order_loss_pareto(jnp.array([1.0, 1.0, -100.0]), jnp.array([True, True, False]))
    >>> bool(jnp.allclose(loss, jnp.log(2.0)))
    True

    Raises:
      ValueError: for shapes that differ, or no axis.

    Source: Chen and Mauch, "Order-Preserving GFlowNets" (2024).
    """
    check.same_shape(log_reward=log_reward, best=best, **({} if valid is None else {"valid": valid}))
    log_reward, best = jnp.asarray(log_reward), jnp.asarray(best, bool)
    check.require(log_reward.ndim > 0, "log_reward", log_reward.shape, "of shape [..., B]")
    valid = jnp.ones_like(best) if valid is None else jnp.asarray(valid, bool)
    best &= valid
    some = jnp.any(best, axis=-1)
    counted = valid & some[..., None]
    filled = jnp.where(counted, log_reward, 0)
    total = jax.nn.logsumexp(filled, axis=-1, where=counted | ~some[..., None])
    mean = jnp.sum(jnp.where(best, filled, 0), axis=-1) / jnp.maximum(jnp.sum(best, axis=-1), 1)
    return jnp.where(some, total - mean, 0)
