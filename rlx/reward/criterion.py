"""Preferences that depend on a criterion: a context that may be unknown, or a principle given with the question."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def marginal_preference(context_prob: Array, prob: Array) -> Array:
    """The probability of a preference where the context is only known in probability: `sum_n q_n p_n`.

    Shapes: `[..., N]` (rows sum to 1), `[..., N]` in [0, 1] -> `[...]`. Differentiated: both.

    Usual mistake: to average scores over contexts in its place, which lets the context with the largest ones decide;
    or to average preferences over contexts that exclude one another and call the result a policy's reward.

    >>> round(float(marginal_preference(jnp.array([0.75, 0.25]), jnp.array([1.0, 0.2]))), 3)
    0.8

    Raises:
      ValueError: for shapes that differ, or probabilities outside [0, 1].

    Source: Pitis et al., "Improving Context-Aware Preference Modeling for Language Models" (2024).
    """
    check.same_shape(context_prob=context_prob, prob=prob)
    check.in_range("context_prob", context_prob, 0.0, 1.0)
    check.in_range("prob", prob, 0.0, 1.0)
    return jnp.sum(jnp.asarray(context_prob) * jnp.asarray(prob), axis=-1)


def marginal_preference_bound(context_prob: Array, context_estimate: Array, prob: Array, prob_estimate: Array) -> Array:
    """How far an estimated marginal preference can be off: the error of the preferences plus that of the contexts.

    `sum_n q_n |p_n - p'_n| + sum_n |q_n - q'_n| / 2  >=  |sum_n q_n p_n - sum_n q'_n p'_n|`

    The first term is what a better model of preferences under a context removes, the second what is won by asking for
    the context. Weighing the first by `q'` instead gives another bound.

    Shapes: four times `[..., N]`, the first two with rows that sum to 1 -> `[...]`. Differentiated: everything.

    Usual mistake: the whole of the l1 distance for the second term; probabilities lie in [0, 1], so half of it does.

    >>> q, p = jnp.array([0.5, 0.5]), jnp.array([1.0, 0.0])
    >>> round(float(marginal_preference_bound(q, jnp.array([0.6, 0.4]), p, p)), 3)
    0.1

    Raises:
      ValueError: for shapes that differ, or probabilities outside [0, 1].

    Source: after Pitis et al., "Improving Context-Aware Preference Modeling for Language Models" (2024), in a form of
    our own.
    """
    given = {
        "context_prob": context_prob,
        "context_estimate": context_estimate,
        "prob": prob,
        "prob_estimate": prob_estimate,
    }
    check.same_shape(**given)
    for name, value in given.items():
        check.in_range(name, value, 0.0, 1.0)
    q, estimate, p, p_estimate = map(jnp.asarray, given.values())
    return jnp.sum(q * jnp.abs(p - p_estimate), axis=-1) + jnp.sum(jnp.abs(q - estimate), axis=-1) / 2


def borda_score(score: Array, context_prob: Array, mask: Array | None = None) -> Array:
    """How often a candidate is preferred to another one of the query, drawn at random, in a context drawn by `q`.

    `sum_n q_n mean_{j != i} sigmoid(s_in - s_jn)`

    It lies in [0, 1] and sums to half the number of candidates. Because the contexts' scores meet as probabilities, no
    context can outvote the rest by the size of its scores.

    Shapes: `[..., C, N]`, `[..., N]`, bool `[..., C]` (false for padding, which gets 0) -> `[..., C]`. Differentiated:
    `score` and `context_prob`.

    Usual mistake: comparing it across queries. It depends on whom a candidate is compared with.

    >>> borda_score(jnp.array([[100.0, -1.0], [0.0, 0.0]]), jnp.array([0.4, 0.6])).round(2).tolist()
    [0.5600000023841858, 0.4399999976158142]

    Raises:
      ValueError: for shapes that do not fit.

    Source: Siththaranjan et al., "Distributional Preference Learning: Understanding and Accounting for Hidden Context
    in RLHF" (2024); Pitis et al., "Improving Context-Aware Preference Modeling for Language Models" (2024).
    """
    score, context_prob = jnp.asarray(score), jnp.asarray(context_prob)
    check.require(score.ndim >= 2, "score", score.shape, "of shape [..., C, N]")
    contexts = (*score.shape[:-2], score.shape[-1])
    check.require(context_prob.shape in (contexts, contexts[-1:]), "context_prob", context_prob.shape, f"{contexts}")
    valid = jnp.ones(score.shape[:-1], bool) if mask is None else jnp.asarray(mask, bool)
    check.require(valid.shape == score.shape[:-1], "mask", valid.shape, f"of shape {score.shape[:-1]}")
    score = jnp.where(valid[..., None], score, 0)
    ahead = jax.nn.sigmoid(score[..., :, None, :] - score[..., None, :, :])  # [..., C, C, N]
    compared = valid[..., :, None] & valid[..., None, :] & ~jnp.eye(score.shape[-2], dtype=bool)
    wins = jnp.sum(jnp.where(compared, jnp.sum(ahead * context_prob[..., None, None, :], axis=-1), 0), axis=-1)
    return wins / jnp.maximum(jnp.sum(compared, axis=-1), 1).astype(score.dtype)


def reversal_accuracy(difference: Array, target: Array) -> Array:
    """Whether a pair is judged rightly under both of two contexts that reverse its preference.

    `[(2 t_1 - 1) d_1 > 0] [(2 t_2 - 1) d_2 > 0]`

    A model that does not see the context has the same difference twice, so exactly 0, while its `pair_accuracy` over
    the two is exactly 1/2; coins have 1/4.

    Shapes: score differences `[..., 2]`, one for each context, targets `[..., 2]` -> `[...]`. Nothing is
    differentiated. A score difference of 0 is wrong.

    Usual mistake: couples whose preference is not reversed, on which a blind model can be right.

    >>> reversal_accuracy(jnp.array([[1.0, -2.0], [1.0, 1.0]]), jnp.array([[1.0, 0.0], [1.0, 0.0]])).tolist()
    [1.0, 0.0]

    Raises:
      ValueError: for shapes that differ or do not end in 2, or a target outside [0, 1].

    Source: Pitis et al., "Improving Context-Aware Preference Modeling for Language Models" (2024).
    """
    check.same_shape(difference=difference, target=target)
    check.in_range("target", target, 0.0, 1.0)
    difference = jax.lax.stop_gradient(jnp.asarray(difference))
    check.require(difference.shape[-1:] == (2,), "difference", difference.shape, "of shape [..., 2]")
    right = (2 * jax.lax.stop_gradient(jnp.asarray(target, difference.dtype)) - 1) * difference > 0
    return jnp.all(right, axis=-1).astype(difference.dtype)


def listwise_reward(
    score: Array,
    gold: Array,
    mask: Array | None = None,
    weights: tuple[Array | float, Array | float] = (1.0, 0.0),
) -> Array:
    """The reward of a judge that scores all candidates of a query at once, by their order and by their distances.

    `a tau_b + b (1 - mean_{i < j} |(s_i - s_j) - (g_i - g_j)|)`

    `tau_b = sum_{i<j} sign(s_i - s_j) sign(g_i - g_j) / sqrt(#{s_i != s_j} #{g_i != g_j})` is Kendall's rank
    correlation with ties, 0 where all scores or all true ones are equal. The second term needs both on one scale, of
    which differences above 1 are rare. To improve a judge by it, take its advantage over a group of answers
    (`rlx.policy`), as for any reward: it has no gradient in the scores.

    Shapes: `[..., C]`, `[..., C]`, bool `[..., C]` (false for padding), `weights = (a, b)` -> `[...]`. Nothing is
    differentiated; a query of fewer than two candidates has `b`.

    Usual mistake: the order alone, by which a judge may give all differences the same small size and still be right; a
    policy trained on its scores then sees no difference.

    >>> round(float(listwise_reward(jnp.array([3.0, 2.0, 1.0]), jnp.array([3.0, 1.0, 2.0]))), 3)
    0.333

    Raises:
      ValueError: for shapes that differ or have no axis.

    Source: Yu et al., "RewardAnything: Generalizable Principle-Following Reward Models" (2025), whose weights are not
    known to us; Kendall, "The Treatment of Ties in Ranking Problems" (1945).
    """
    check.same_shape(score=score, gold=gold, **({} if mask is None else {"mask": mask}))
    score = jax.lax.stop_gradient(jnp.asarray(score))
    check.require(score.ndim > 0, "score", score.shape, "of shape [..., C]")
    gold = jax.lax.stop_gradient(jnp.asarray(gold, score.dtype))
    valid = jnp.ones(score.shape, bool) if mask is None else jnp.asarray(mask, bool)
    upper = jnp.triu(jnp.ones((score.shape[-1], score.shape[-1]), bool), 1)
    pair = valid[..., :, None] & valid[..., None, :] & upper

    def differences(x: Array) -> Array:
        return jnp.where(pair, x[..., :, None] - x[..., None, :], 0)

    def total(x: Array) -> Array:
        return jnp.sum(x, axis=(-2, -1)).astype(score.dtype)

    mine, true = differences(score), differences(gold)
    decided = total(mine != 0) * total(true != 0)
    tau = total(jnp.sign(mine) * jnp.sign(true)) / jnp.sqrt(jnp.where(decided > 0, decided, 1))
    gap = total(jnp.abs(mine - true)) / jnp.maximum(total(pair), 1)
    order, distance = (jax.lax.stop_gradient(jnp.asarray(w, score.dtype)) for w in weights)
    return order * tau + distance * (1 - gap)
