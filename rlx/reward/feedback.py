"""Feedback other than a choice between two: errors of spans, reactions, follow-ups, ranked factors, judges of tools."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from rlx import check
from rlx.reward.preference import CANDIDATE_FIELDS, segment_score
from rlx.types import Array, PreferenceBatch


def span_rewards(
    score: Array,
    mask: Array,
    weight: Array | float = 1.0,
    values: tuple[Array | float, Array | float] | None = None,
) -> Array:
    """A reward for each step from scores of `L` kinds, each given at the last step of the span that it is about.

    `r_t = sum_l w_l s_tl`, or with `values = (low, high)` of each kind `sum_l w_l (high_l if s_tl > 0 else low_l)`

    Steps without a score get 0, so the sum over steps is the holistic score of the whole: optimal policies are the
    same, and only credit is given where it is due.

    Args:
      score: `[..., T, L]`.
      mask: bool `[..., T, L]`, where a span of that kind ends.
      weight: `[L]` or a number.
      values: low and high, `[L]` or numbers each; (-0.3, 0.3) for relevance and (-0.5, 0.5) for facts in the paper.

    Returns:
      `[..., T]`. Differentiated: `score` without `values`, and the coefficients.

    Usual mistakes: to divide by the number of spans, which makes the sum another objective; and not to: with `values`
    above zero on average more spans are better. The weights trade that.

    >>> score, mask = jnp.array([[2.0], [9.0], [-1.0]]), jnp.array([[True], [False], [True]])
    >>> span_rewards(score, mask, 0.5).tolist(), span_rewards(score, mask, 1.0, (-3.0, 1.0)).tolist()
    ([1.0, 0.0, -0.5], [1.0, 0.0, -3.0])

    Raises:
      ValueError: for shapes that differ or lack the two axes.

    Source: Wu et al., "Fine-Grained Human Feedback Gives Better Rewards for Language Model Training" (2023).
    """
    check.same_shape(score=score, mask=mask)
    score = jnp.asarray(score)
    check.require(score.ndim >= 2, "score", score.shape, "of shape [..., T, L]")
    if values is not None:
        low, high = (jnp.asarray(value, score.dtype) for value in values)
        score = jnp.where(score > 0, high, low)
    return jnp.sum(jnp.where(jnp.asarray(mask, bool), jnp.asarray(weight, score.dtype) * score, 0), axis=-1)


def kl_penalised_reward(
    reward: Array,
    log_prob: Array,
    reference_log_prob: Array,
    mask: Array,
    coefficient: Array | float,
) -> Array:
    """Rewards of steps less a price for every nat that the policy is from its reference there.

    `r_t - coefficient (log pi(a_t) - log pi_ref(a_t))` at valid steps

    Summed over a completion drawn from the policy, the price is an unbiased estimate of `coefficient KL(pi || pi_ref)`,
    so the best policy is the reference tilted by `exp(r / coefficient)`. Give advantages what this returns.

    Shapes: `[..., T]` each, bool `[..., T]`, `coefficient` broadcasts -> `[..., T]`, 0 at padding. Nothing is
    differentiated: as a term of a loss the same difference has an expected gradient of zero.

    Usual mistakes: rewards whitened first, after which the coefficient is in other units; and log-probabilities of the
    policy that is being updated in place of the one that acted.

    >>> one = jnp.ones(2)
    >>> kl_penalised_reward(one, -one, -3.0 * one, jnp.array([True, False]), 0.25).tolist()
    [0.5, 0.0]

    Raises:
      ValueError: for shapes that differ or a negative coefficient.

    Source: Ziegler et al., "Fine-Tuning Language Models from Human Preferences" (2019); at every token in Wu et al.,
    "Fine-Grained Human Feedback Gives Better Rewards for Language Model Training" (2023).
    """
    check.same_shape(reward=reward, log_prob=log_prob, reference_log_prob=reference_log_prob, mask=mask)
    check.in_range("coefficient", coefficient, 0.0)
    nats = jnp.asarray(log_prob) - jnp.asarray(reference_log_prob)
    reward = jnp.asarray(reward)
    reward = reward if jnp.issubdtype(reward.dtype, jnp.floating) else reward.astype(nats.dtype)
    price = jnp.asarray(coefficient, reward.dtype) * nats.astype(reward.dtype)
    return jax.lax.stop_gradient(jnp.where(jnp.asarray(mask, bool), reward - price, 0))


def reaction_loss(
    logit: Array, reaction: Array, mask: Array | None = None, positive_weight: Array | float = 1.0
) -> Array:
    """The loss of a reaction to one candidate alone, a thumb up or a heart: cross-entropy with its probability.

    `- c y log sigmoid(x) - (1 - y) log sigmoid(-x)`, and 0 where the mask is false

    Unlike a choice it fixes the level of the score: `sigmoid(x)` is the rate of the reaction, if positives have weight
    `c = 1` and no negatives were left out; else see `correct_prior`.

    Shapes: `[...]`, `[...]` in [0, 1], bool `[...]`, `positive_weight` broadcasts -> `[...]`. Differentiated: `logit`.

    Usual mistake: no reaction read as a dislike, by people who never react.

    >>> reaction_loss(jnp.zeros(2), jnp.array([1.0, 0.0]), positive_weight=2.0).tolist()
    [1.3862943649291992, 0.6931471824645996]

    Raises:
      ValueError: for shapes that differ, a reaction outside [0, 1] or a negative weight.

    Source: Han et al., "Reinforcement Learning from User Feedback" (2025).
    """
    check.same_shape(logit=logit, reaction=reaction, **({} if mask is None else {"mask": mask}))
    check.in_range("reaction", reaction, 0.0, 1.0)
    check.in_range("positive_weight", positive_weight, 0.0)
    logit = jnp.asarray(logit)
    y, c = (jax.lax.stop_gradient(jnp.asarray(x, logit.dtype)) for x in (reaction, positive_weight))
    loss = -c * y * jax.nn.log_sigmoid(logit) - (1 - y) * jax.nn.log_sigmoid(-logit)
    return loss if mask is None else jnp.where(jnp.asarray(mask, bool), loss, 0)


def correct_prior(logit: Array, negative_rate: Array | float, positive_rate: Array | float = 1.0) -> Array:
    """The logit among all examples, from that of a model of a sample with another share of positives.

    `x + log(negative_rate) - log(positive_rate)`

    The rates are those at which examples of each kind were kept. A loss whose positives weigh `c` is like one whose
    positives were kept at the rate `c`.

    Shapes: `[...]`, both rates broadcast -> `[...]`. Differentiated: `logit`.

    Usual mistake: to judge the correction by a rank statistic. The AUROC is the same without it; means of
    probabilities, and their mixes with other rewards, are not.

    >>> round(float(jax.nn.sigmoid(correct_prior(jnp.array(0.0), 0.25))), 3)  # one in two, of every fourth negative
    0.2

    Raises:
      ValueError: for a rate that is not above 0.

    Source: King and Zeng, "Logistic Regression in Rare Events Data" (2001).
    """
    check.positive("negative_rate", negative_rate)
    check.positive("positive_rate", positive_rate)
    logit = jnp.asarray(logit)
    negative, positive = (jax.lax.stop_gradient(jnp.asarray(x, logit.dtype)) for x in (negative_rate, positive_rate))
    return logit + jnp.log(negative) - jnp.log(positive)


def mix_rewards(reward: Array, weight: Array, reference: Array | None = None) -> Array:
    """One reward from several: their weighted sum, each standardised on a sample of the reference policy.

    `sum_k w_k (r_k - m_k) / s_k`, with mean and deviation over the `N` reference samples; without one `m = 0, s = 1`

    Objectives of a product (helpful, safe, loved), or views of one quantity by several judges and tools. Where views
    have independent errors of variance `v_k` and the same scale, the best weights are proportional to `1 / v_k`.

    Shapes: `[..., K]`, `[..., K]` or `[K]`, reference `[N, K]` -> `[...]`. Differentiated: `reward` and `weight`. A
    reward that is constant over the reference is only centred.

    Usual mistake: to standardise over the batch at hand, by which a policy that always does the same has no reward.

    >>> mix_rewards(jnp.array([3.0, 1.0]), jnp.array([0.5, 2.0]), jnp.array([[0.0, 0.0], [2.0, 4.0]])).tolist()
    0.0

    Raises:
      ValueError: for shapes that do not fit.

    Source: Han et al., "Reinforcement Learning from User Feedback" (2025); Zhou et al., "Anyprefer: An Agentic
    Framework for Preference Data Synthesis" (2025) for judges with tools.
    """
    reward, weight = jnp.asarray(reward), jnp.asarray(weight)
    check.require(reward.ndim > 0, "reward", reward.shape, "of shape [..., K]")
    check.require(weight.shape in (reward.shape, reward.shape[-1:]), "weight", weight.shape, f"{reward.shape[-1:]}")
    if reference is not None:
        reference = jax.lax.stop_gradient(jnp.asarray(reference, reward.dtype))
        fits = reference.ndim == 2 and reference.shape[1] == reward.shape[-1]
        check.require(fits, "reference", reference.shape, f"of shape [N, {reward.shape[-1]}]")
        deviation = jnp.std(reference, axis=0)
        reward = (reward - jnp.mean(reference, axis=0)) / jnp.where(deviation > 0, deviation, 1)
    return jnp.sum(weight.astype(reward.dtype) * reward, axis=-1)


def follow_up_reward(log_prob: Array, mask: Array, positive: Array, how: Literal["mean", "sum"] = "mean") -> Array:
    """How much likelier pleased replies become by an answer than displeased ones.

    `mean_{f pleased} l_f - mean_{f displeased} l_f`, where `l_f` is the log-probability of reply f after the answer:
    the mean or the sum over its tokens

    With one reply of each kind and "sum" it is the log of the odds, which rises with the probability that the user is
    pleased: an ordering without a label. Categories of replies are an axis for the caller to average.

    Shapes: `[..., F, L]` log-probabilities of `F` replies of `L` tokens, bool mask `[..., F, L]`, bool `[F]` (or
    `[..., F]`) which of them are pleased -> `[...]`. Differentiated: `log_prob`. Replies without a token are left out.

    The published code averages logits of the tokens instead; pass them for comparison. Usual mistake: sums over replies
    of different lengths, which are a prior for short ones; it cancels only where both kinds are equally long.

    >>> log_prob = jnp.log(jnp.array([[0.5], [0.25]]))
    >>> float(follow_up_reward(log_prob, jnp.ones((2, 1), bool), jnp.array([True, False])))  # log 2
    0.6931471824645996

    Raises:
      ValueError: for shapes that do not fit, or an unknown `how`.

    Source: Zhang et al., "Aligning Language Models Using Follow-up Likelihood as Reward Signal" (2025).
    """
    check.require(how in ("mean", "sum"), "how", how, "'mean' or 'sum'")
    check.same_shape(log_prob=log_prob, mask=mask)
    check.require(jnp.ndim(log_prob) >= 2, "log_prob", jnp.shape(log_prob), "of shape [..., F, L]")
    positive = jnp.asarray(positive, bool)
    replies = jnp.shape(log_prob)[:-1]
    check.require(positive.shape in (replies, replies[-1:]), "positive", positive.shape, f"of shape {replies[-1:]}")
    score = segment_score(log_prob, mask, how=how)
    there = jnp.any(jnp.asarray(mask, bool), axis=-1)

    def mean(which: Array) -> Array:
        number = jnp.sum(which, axis=-1)
        return jnp.sum(jnp.where(which, score, 0), axis=-1) / jnp.maximum(number, 1).astype(score.dtype)

    return mean(there & positive) - mean(there & ~positive)


def mine_pairs(batch: PreferenceBatch, score: Array, minimum_gap: Array | float = 0.0) -> PreferenceBatch:
    """The pair of the best and the worst candidate of each query, as a scorer sees them, labelled by it.

    The scorer is a model of replies (`follow_up_reward`), a judge with tools (`mix_rewards`), or a reward model. The
    gap between the two is the `strength`, and a pair whose gap is not above `minimum_gap` gets weight 0. The first of
    the two is preferred; `source` says that a model labelled it.

    Shapes: a batch of `C` candidates, `[B, C]` -> a batch of two, with `rank` None. Differentiated: nothing of `score`.
    Candidates without a valid step are padding, and a query with fewer than two others gets weight 0.

    Usual mistake: a large gap for clean labels, which keeps the easy queries alone: report the share that is kept.

    >>> batch = PreferenceBatch(None, None, jnp.ones((1, 3, 1), bool), jnp.full((1, 3), 1 / 3), gold=jnp.eye(3)[:1])
    >>> made = mine_pairs(batch, jnp.array([[2.0, 0.0, 1.0]]))
    >>> made.gold.tolist(), made.target.tolist(), made.strength.tolist()
    ([[1.0, 0.0]], [[1.0, 0.0]], [2.0])

    Raises:
      ValueError: for a score of another shape than `batch.target`, or a negative gap.

    Source: Zhang et al., "Aligning Language Models Using Follow-up Likelihood as Reward Signal" (2025); Zhou et al.,
    "Anyprefer: An Agentic Framework for Preference Data Synthesis" (2025).
    """
    check.same_shape(**{"score": score, "batch.target": batch.target})
    check.in_range("minimum_gap", minimum_gap, 0.0)
    score = jax.lax.stop_gradient(jnp.asarray(score))
    there = jnp.any(jnp.asarray(batch.mask, bool), axis=2)
    best = jnp.argmax(jnp.where(there, score, -jnp.inf), axis=1)
    worst = jnp.argmin(jnp.where(there, score, jnp.inf), axis=1)
    chosen = jnp.stack([best, worst], axis=1)  # [B, 2]
    row = jnp.arange(len(score))[:, None]
    picked = {
        name: jax.tree.map(lambda x: jnp.asarray(x)[row, chosen], getattr(batch, name)) for name in CANDIDATE_FIELDS
    }
    ends = score[row, chosen]
    gap = jnp.where(best != worst, ends[:, 0] - ends[:, 1], 0)
    weight = jnp.ones(len(score), score.dtype) if batch.weight is None else jnp.asarray(batch.weight)
    return batch._replace(
        **picked
        | {
            "target": jnp.broadcast_to(jnp.array([1, 0], score.dtype), chosen.shape),
            "rank": None,
            "strength": gap,
            "weight": jnp.where(gap > minimum_gap, weight, 0),
            "source": jnp.full(len(score), 2),
        }
    )


def hierarchical_preference(factor: Array, margin: Array | float = 0.0) -> tuple[Array, Array, Array]:
    """Which of two is preferred by a ranked list of factors: the first factor in which they differ enough decides.

    At level l, the first is preferred if `f_l - g_l > margin_l`, the second if `f_l - g_l < -margin_l`; else level
    l + 1 is asked.

    Factors stand in order of importance, larger ones being better: index and negate before. Margins are usually shares
    of each factor's deviation over a buffer, which makes the comparison blind to units; without any it is the
    lexicographic order.

    Shapes: `[..., 2, F]`, margins `[F]` or a number -> target `[..., 2]`, weight `[...]` (0 where no factor decides,
    with target 1/2), and the level that decided, int `[...]` (F where none). Nothing is differentiated.

    Usual mistakes: deviations of the small batch at hand, whose verdict on a pair then changes from batch to batch; and
    to read it as an order. With margins it is not transitive.

    >>> factor = jnp.array([[1.0, 0.0], [1.1, 5.0]])  # nearly equal in the first factor
    >>> [x.tolist() for x in hierarchical_preference(factor, 0.5)]
    [[0.0, 1.0], 1.0, 1]

    Raises:
      ValueError: for factors of another shape than `[..., 2, F]`, or a negative margin.

    Source: Bukharin et al., "Deep Reinforcement Learning from Hierarchical Weak Preference Feedback" (2023).
    """
    factor = jax.lax.stop_gradient(jnp.asarray(factor))
    check.require(factor.ndim >= 2 and factor.shape[-2] == 2, "factor", factor.shape, "of shape [..., 2, F]")
    check.in_range("margin", margin, 0.0)
    difference = factor[..., 0, :] - factor[..., 1, :]
    decided = jnp.abs(difference) > jax.lax.stop_gradient(jnp.asarray(margin, factor.dtype))
    weight = jnp.any(decided, axis=-1)
    level = jnp.where(weight, jnp.argmax(decided, axis=-1), factor.shape[-1])
    deciding = jnp.arange(factor.shape[-1]) == level[..., None]
    sign = jnp.sign(jnp.sum(jnp.where(deciding, difference, 0), axis=-1))
    return jnp.stack([1 + sign, 1 - sign], axis=-1) / 2, weight.astype(factor.dtype), level
