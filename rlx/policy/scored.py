"""Policies learned from rewards of whole sequences: by regression on differences, and by pairwise policy gradients.

Several sequences answer each prompt, on an axis `G` (or 2) of candidates, and have a reward each. `score` is the
log-ratio of a sequence to the reference, `sequence_score`, and the best policy is `reference exp(reward / beta) / Z`:
it is where all differences of scores are those of rewards over beta. Losses are per pair or per sequence; the caller
averages.
"""

from __future__ import annotations

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.policy.sequence import widened
from rlx.policy.surrogate import policy_gradient_loss, ppo_clip_loss
from rlx.types import Array

PairClip = Literal["separate", "joint"]


def reward_difference_loss(score: Array, reward: Array, *, beta: Array | float) -> Array:
    """How far the differences of scores are from those of rewards, for all pairs of candidates.

        loss_ij = ((s_i - s_j) - (r_i - r_j) / beta)^2,   i < j

    This is REBEL's and RDP's loss; CoPG's objective, to be maximised, is `-(beta / 2) loss` up to a constant, and
    INPO's population loss has win probabilities for rewards. IPO is the case of a difference fixed to 1/2. Its gradient
    is that of a policy gradient with the other's regularised reward `r - beta s` as baseline, so it needs no importance
    weights: pairs may come from any distribution that has everything, and the minimum is the same.

    Shapes: `[..., G]`, `[..., G]`, `beta` broadcasts to `[...]` -> `[..., G (G - 1) / 2]`, in the order (0, 1), (0, 2),
    ..., (1, 2), ... Differentiated: `score`.

    Usual mistakes: `log p` for the log-ratio as score, whose minimum is the tilt of a uniform reference; and beta taken
    off the reward as a price of divergence too.

    >>> reward_difference_loss(jnp.array([1.0, 0.0, 0.0]), jnp.array([0.5, 0.0, 1.0]), beta=0.5).tolist()
    [0.0, 4.0, 4.0]

    Raises:
      ValueError: for shapes that differ, fewer than two candidates, or `beta <= 0`.

    Source: Flet-Berliac et al., "Contrastive Policy Gradient: Aligning LLMs on Sequence-Level Scores in a
    Supervised-Friendly Fashion" (2024); Gao et al., "REBEL: Reinforcement Learning via Regressing Relative Rewards"
    (2024); Deng et al., "PRDP: Proximal Reward Difference Prediction for Large-Scale Reward Finetuning of Diffusion
    Models" (2024).
    """
    check.same_shape(score=score, reward=reward)
    _group("score", score)
    check.positive("beta", beta)
    wide = widened(score)
    target = jax.lax.stop_gradient(widened(reward) / widened(beta)[..., None]).astype(wide.dtype)
    return jnp.square(_differences(wide) - _differences(target)).astype(jnp.result_type(score))


def leave_one_out_advantage(reward: Array) -> Array:
    """A reward less the mean of the other candidates' rewards.

        A_i = r_i - (sum_j r_j - r_i) / (G - 1) = G / (G - 1) (r_i - mean r)

    The others are independent of the candidate, so this baseline leaves the policy gradient unbiased. For two
    candidates it is the difference of their rewards.

    Shapes: `[..., G]` -> `[..., G]`. Nothing is differentiated.

    Usual mistake: to divide by the standard deviation of the group, which weighs prompts by how much they agree and
    moves the optimum.

    >>> leave_one_out_advantage(jnp.array([3.0, 1.0, 0.5, 1.5])).tolist()
    [2.0, -0.6666666865348816, -1.3333333730697632, 0.0]

    Raises:
      ValueError: for fewer than two candidates.

    Source: Kool et al., "Buy 4 REINFORCE Samples, Get a Baseline for Free!" (2019); Ahmadian et al., "Back to Basics:
    Revisiting REINFORCE Style Optimization for Learning from Human Feedback in LLMs" (2024).
    """
    _group("reward", reward)
    reward = jnp.asarray(reward)
    wide = jax.lax.stop_gradient(widened(reward))
    size = wide.shape[-1]
    dtype = reward.dtype if jnp.issubdtype(reward.dtype, jnp.floating) else wide.dtype
    return ((wide - jnp.mean(wide, axis=-1, keepdims=True)) * (size / (size - 1))).astype(dtype)


def sequence_policy_loss(
    log_prob: Array,
    mask: Array,
    advantage: Array,
    behaviour_log_prob: Array | None = None,
    *,
    clip: Array | float = 0.2,
) -> Array:
    """A policy gradient in which the whole sequence is one action.

        -min(k A, clip(k, 1 - clip, 1 + clip) A),   k = exp(sum_t m_t (log p_t - log b_t))

    b is the policy that sampled. Without it: `-A sum_t m_t log p_t`, for a sequence fresh from the policy. With
    `leave_one_out_advantage` it is RLOO.

    Shapes: `[..., T]`, bool `[..., T]`, `[...]`, None or `[..., T]` -> `[...]`. Differentiated: `log_prob`. The log
    of k is capped at 20.

    Usual mistake: a ratio for each token with a clip made for sequences, or the other way round: over hundreds of
    tokens the sequence's ratio leaves 1 +- 0.2 at once.

    >>> log_prob, mask = jnp.array([-1.0, -2.0]), jnp.array([True, True])
    >>> sequence_policy_loss(log_prob, mask, jnp.array(2.0)).item()
    6.0
    >>> sequence_policy_loss(log_prob, mask, jnp.array(2.0), log_prob).item()
    -2.0

    Raises:
      ValueError: for shapes that differ, or `clip <= 0`.

    Source: Ahmadian et al., "Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback
    in LLMs" (2024); Schulman et al., "Proximal Policy Optimization Algorithms" (2017) for the clip.
    """
    shape = jnp.shape(log_prob)
    check.require(len(shape) >= 1, "log_prob", shape, "of shape [..., T]")
    check.require(jnp.shape(advantage) == shape[:-1], "advantage", jnp.shape(advantage), f"of shape {shape[:-1]}")
    check.positive("clip", clip)
    total = _sum("log_prob", log_prob, mask)
    advantage = jax.lax.stop_gradient(jnp.asarray(advantage, total.dtype))
    if behaviour_log_prob is None:
        loss = policy_gradient_loss(total, advantage)
    else:
        loss = ppo_clip_loss(total, _sum("behaviour_log_prob", behaviour_log_prob, mask), advantage, clip)
    return loss.astype(jnp.result_type(log_prob))


def p3o_loss(
    log_prob: Array,
    mask: Array,
    reward: Array,
    behaviour_log_prob: Array,
    *,
    clip: Array | float = 0.2,
    how: PairClip = "separate",
) -> Array:
    """Pairwise proximal policy optimisation: two answers to a prompt, and what matters is which was better.

        A = (r_1 - r_2) / 2,   d_i = sum_t m_t (log p_t - log b_t) of each answer
        separate: -[min(k_1 A, clip(k_1) A) + min(-k_2 A, -clip(k_2) A)],   k_i = exp d_i, in 1 +- clip
        joint:    -min(A d, A clip(d, -clip, clip)),   d = d_1 - d_2

    b is the policy that sampled. A constant added to all rewards of a prompt changes nothing, so rewards need not be
    comparable between prompts. At b both gradients are `-A grad (log p_1 - log p_2)`, half of RLOO's sum over the two.
    The price of divergence belongs into the rewards, `r - beta (sum log b - sum log reference)`, of the sampler and
    not of the policy that learns.

    Shapes: `[..., 2, T]`, bool `[..., 2, T]`, `[..., 2]`, `[..., 2, T]` -> `[...]`. Differentiated: `log_prob`.

    Usual mistake: to clip the product of the two ratios.

    >>> zeros, mask, reward = jnp.zeros((2, 1)), jnp.ones((2, 1), bool), jnp.array([3.0, 1.0])
    >>> p3o_loss(jnp.array([[1.0], [0.0]]), mask, reward, zeros, how="joint", clip=0.5).item()
    -0.5

    Raises:
      ValueError: for shapes that do not fit, an unknown `how`, or `clip` outside (0, 1).

    Source: Wu et al., "Pairwise Proximal Policy Optimization: Harnessing Relative Feedback for LLM Alignment" (2023).
    """
    check.require(how in get_args(PairClip), "how", how, f"one of {get_args(PairClip)}")
    check.in_range("clip", clip, 0.0, 1.0, open_low=True, open_high=True)
    shape = jnp.shape(log_prob)
    check.require(len(shape) >= 2 and shape[-2] == 2, "log_prob", shape, "of shape [..., 2, T]")
    check.require(jnp.shape(reward) == shape[:-1], "reward", jnp.shape(reward), f"of shape {shape[:-1]}")
    total, behaviour = _sum("log_prob", log_prob, mask), _sum("behaviour_log_prob", behaviour_log_prob, mask)
    advantage = jax.lax.stop_gradient(leave_one_out_advantage(jnp.asarray(reward, total.dtype))) / 2  # A and -A
    clip = jax.lax.stop_gradient(jnp.asarray(clip, total.dtype))
    if how == "separate":
        loss = jnp.sum(ppo_clip_loss(total, behaviour, advantage, clip[..., None]), axis=-1)
    else:
        ahead = total - jax.lax.stop_gradient(behaviour)
        ahead, advantage = ahead[..., 0] - ahead[..., 1], advantage[..., 0]
        loss = -jnp.minimum(advantage * ahead, advantage * jnp.clip(ahead, -clip, clip))
    return loss.astype(jnp.result_type(log_prob))


def prdp_loss(
    log_prob: Array,
    mask: Array,
    reward: Array,
    reference: Array,
    behaviour_log_prob: Array,
    *,
    beta: Array | float,
    clip: Array | float = 0.1,
) -> Array:
    """Proximal reward difference prediction: `reward_difference_loss` of trajectories, held near the last policy.

        s_t = log p_t - log r_t,   c_t = clip(s_t, b_t - clip, b_t + clip),   b_t = log b_t - log r_t
        loss_ij = max(l(sum_t s), l(sum_t c)),   l(s) = ((s_i - s_j) - (reward_i - reward_j) / beta)^2

    A step whose log-ratio has left the band around that of the policy b which sampled it moves the clipped prediction
    no further, and the larger of the two losses counts: the pull back into the band stays.

    Shapes: `[..., G, S]` over steps S (of denoising, or tokens), bool `[..., G, S]`, `[..., G]`, `[..., G, S]` twice
    -> `[..., G (G - 1) / 2]` as in `reward_difference_loss`. Differentiated: `log_prob`.

    Usual mistakes: means of log-probabilities over steps where the trajectory's is the sum; the last step of a sampler
    that adds no noise there, which has no density and must be masked; and pairs whose first states differ though their
    law is not trained, for which no policy has a loss of zero.

    >>> log_prob, mask, zeros = jnp.array([[0.5], [0.0]]), jnp.ones((2, 1), bool), jnp.zeros((2, 1))
    >>> prdp_loss(log_prob, mask, jnp.array([1.0, 0.0]), zeros, zeros, beta=1.0, clip=0.25).tolist()
    [0.5625]

    Raises:
      ValueError: for shapes that do not fit, fewer than two candidates, or `beta` or `clip` not above 0.

    Source: Deng et al., "PRDP: Proximal Reward Difference Prediction for Large-Scale Reward Finetuning of Diffusion
    Models" (2024).
    """
    shape = jnp.shape(log_prob)
    check.require(len(shape) >= 2, "log_prob", shape, "of shape [..., G, S]")
    check.require(jnp.shape(reward) == shape[:-1], "reward", jnp.shape(reward), f"of shape {shape[:-1]}")
    check.same_shape(log_prob=log_prob, mask=mask, reference=reference, behaviour_log_prob=behaviour_log_prob)
    check.positive("clip", clip)
    mask = jnp.asarray(mask, bool)
    used, base, behaviour = (jnp.where(mask, widened(x), 0) for x in (log_prob, reference, behaviour_log_prob))
    base, behaviour, clip = (jax.lax.stop_gradient(x) for x in (base, behaviour, jnp.asarray(clip, used.dtype)))
    ratio, last = used - base, behaviour - base
    clip = clip[..., None, None]
    clipped = jnp.clip(ratio, last - clip, last + clip)
    losses = (reward_difference_loss(jnp.sum(x, axis=-1), reward, beta=beta) for x in (ratio, clipped))
    return jnp.maximum(*losses).astype(jnp.result_type(log_prob))


def _group(name: str, array: Array) -> None:
    shape = jnp.shape(array)
    check.require(len(shape) >= 1 and shape[-1] >= 2, name, shape, "of shape [..., G] with G >= 2 candidates")


def _differences(x: jax.Array) -> jax.Array:
    first, second = np.triu_indices(x.shape[-1], 1)
    return x[..., first] - x[..., second]


def _sum(name: str, log_prob: Array, mask: Array) -> jax.Array:
    check.same_shape(**{name: log_prob, "mask": mask})
    return jnp.sum(jnp.where(jnp.asarray(mask, bool), widened(log_prob), 0), axis=-1)
