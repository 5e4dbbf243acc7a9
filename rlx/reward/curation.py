"""Which preferences to believe: strengths by an ensemble's vote, corrected labels, retrieval and filters.

Curation acts on targets and weights of fixed shape; nothing is taken out of an array. What a model is asked to judge it
must not have been trained on: it agrees with its own noisy labels.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array

Denoising = Literal["flip", "soft", "margin", "flip_margin", "soft_margin"]


def preference_strength(difference: Array, target: Array) -> tuple[Array, Array]:
    """How clearly `M` reward models agree with a preference as it is labelled: mean and deviation over the models.

    `u = mean_m sign(2t - 1) d_m`, below zero where they think the label wrong; 0 for a tie

    Shapes: score differences `[M, ...]` (first less second), `[...]` in [0, 1] -> `[...]`, `[...]`. Nothing is
    differentiated.

    Usual mistake: models that were trained on the labels they judge. Over-fitted ones give every label a positive
    strength: let each half of the data be judged by models of the other half.

    >>> difference = jnp.array([[1.0, 1.0], [3.0, 1.0]])
    >>> [x.tolist() for x in preference_strength(difference, jnp.array([1.0, 0.0]))]
    [[2.0, -1.0], [1.0, 0.0]]

    Raises:
      ValueError: for shapes that do not fit, or a target outside [0, 1].

    Source: Wang et al., "Secrets of RLHF in Large Language Models Part II: Reward Modeling" (2024).
    """
    check.in_range("target", target, 0.0, 1.0)
    difference = jax.lax.stop_gradient(jnp.asarray(difference))
    target = jax.lax.stop_gradient(jnp.asarray(target, difference.dtype))
    expected = f"of shape {difference.shape[1:]}, that of the differences of one model"
    check.require(difference.shape[1:] == target.shape, "target", target.shape, expected)
    agreement = jnp.sign(2 * target - 1) * difference
    mean = jnp.mean(agreement, axis=0)
    return mean, jnp.sqrt(jnp.mean(jnp.square(agreement - mean), axis=0))


def denoise(
    target: Array,
    strength: Array,
    how: Denoising = "flip",
    *,
    fraction: Array | float = 0.2,
    smoothing: Array | float = 0.2,
) -> tuple[Array, Array]:
    """Targets and margins for `preference_loss`, from labels and how strongly they are believed.

    - "flip": the `fraction` of the lowest strength is turned round.
    - "soft": where the strength is below zero, `(1 - smoothing) t + smoothing (1 - t)`.
    - "margin": targets as they are; the margin is the strength, in reward units, below zero where it is doubted.
    - "flip_margin", "soft_margin": both; after a flip the margin is the strength of the label that it made, `-u`.

    Shapes: `[B]`, `[B]` -> target `[B]`, margin `[B]`. Nothing is differentiated.

    A strength is in units of the models that gave it: divide it by its deviation over the data before it is a margin.
    Usual mistake: to flip at random, or by an in-sample strength, which costs more than the noise does.

    >>> target, margin = denoise(jnp.ones(4), jnp.array([-2.0, 1.0, 2.0, 3.0]), "flip_margin", fraction=0.25)
    >>> target.tolist(), margin.tolist()
    ([0.0, 1.0, 1.0, 1.0], [2.0, 1.0, 2.0, 3.0])

    Raises:
      ValueError: for shapes that differ or are not `[B]`, an unknown `how`, or a share outside [0, 1].

    Source: Wang et al., "Secrets of RLHF in Large Language Models Part II: Reward Modeling" (2024).
    """
    check.same_shape(target=target, strength=strength)
    check.rank("target", target, 1)
    allowed = ("flip", "soft", "margin", "flip_margin", "soft_margin")
    check.require(how in allowed, "how", how, f"one of {allowed}")
    check.in_range("target", target, 0.0, 1.0)
    check.in_range("fraction", fraction, 0.0, 1.0)
    check.in_range("smoothing", smoothing, 0.0, 1.0)
    strength = jax.lax.stop_gradient(jnp.asarray(strength))
    target = jax.lax.stop_gradient(jnp.asarray(target, strength.dtype))
    margin = strength if "margin" in how else jnp.zeros_like(strength)
    if how.startswith("flip"):
        place = jnp.argsort(jnp.argsort(strength))
        low = place < jnp.round(jnp.asarray(fraction) * len(strength))
        return jnp.where(low, 1 - target, target), jnp.where(low, -margin, margin)
    if how.startswith("soft"):
        smoothing = jnp.asarray(smoothing, strength.dtype)
        target = jnp.where(strength < 0, (1 - smoothing) * target + smoothing * (1 - target), target)
    return target, margin


def dynamic_scale(
    strength: Array, base: Array | float = 0.1, gain: Array | float = 0.5, rate: Array | float = 0.5
) -> Array:
    """An inverse temperature for each pair, higher the clearer a frozen reward model prefers the labelled candidate.

    `base (1 + gain (1 - exp(-rate strength)))`

    From `base` at no strength it rises to `base (1 + gain)`. Below zero it falls, and is kept from 0.1% of `base` up:
    a negative scale would turn the label round. It is the `scale` of `preference_loss`, where a reward model has base 1
    and direct alignment its beta.

    Shapes: `[...]`, the rest broadcasts -> `[...]`. Nothing is differentiated.

    Usual mistake: a strength from the model in training, by which the loss sets its own temperature.

    >>> dynamic_scale(jnp.array([0.0, 100.0]), 1.0).tolist()
    [1.0, 1.5]

    Raises:
      ValueError: for a `base` or `rate` that is not above zero, or a negative `gain`.

    Source: Zhang et al., "MM-RLHF: The Next Step Forward in Multimodal LLM Alignment" (2025).
    """
    check.positive("base", base)
    check.positive("rate", rate)
    check.in_range("gain", gain, 0.0)
    strength = jnp.asarray(strength)
    base, gain, rate = (jnp.asarray(x, strength.dtype) for x in (base, gain, rate))
    return jax.lax.stop_gradient(base * jnp.maximum(1 - gain * jnp.expm1(-rate * strength), 1e-3))


def retrieval_count(prob: Array, maximum: int = 8) -> Array:
    """How many similar examples to fetch for a trusted pair that a reward model gets right with probability `prob`.

    `maximum` where `prob <= 1/2`, else `ceil(maximum (1 - prob))`: most where it errs.

    Shapes: `[...]` in [0, 1] -> int `[...]`. Nothing is differentiated.

    >>> retrieval_count(jnp.array([0.1, 0.75, 1.0])).tolist()
    [8, 2, 0]

    Raises:
      ValueError: for a probability outside [0, 1], or `maximum < 1`.

    Source: Liu et al., "Skywork-Reward-V2: Scaling Preference Data Curation via Human-AI Synergy" (2025).
    """
    check.in_range("prob", prob, 0.0, 1.0)
    check.count("maximum", maximum)
    prob = jnp.asarray(prob)
    return jnp.where(prob <= 0.5, maximum, jnp.ceil(maximum * (1 - prob))).astype(int)


def retrieve(query: Array, pool: Array, count: Array, maximum: int, mask: Array | None = None) -> tuple[Array, Array]:
    """The most similar rows of a pool for each query in turn, by the cosine; none is fetched twice.

    Shapes: `[Q, D]`, `[N, D]`, int `[Q]` (at most `maximum` for each), bool `[N]` (false for what is not to be had) ->
    rows int `[Q, maximum]`, bool `[Q, maximum]` (false for filling). Nothing is differentiated.

    Usual mistake: the first queries take what later ones would need more. Put those first that the model errs about.

    >>> pool = jnp.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> [x.tolist() for x in retrieve(pool[:2], pool, jnp.array([1, 2]), 2)]
    [[[0, 1], [1, 2]], [[True, False], [True, True]]]

    Raises:
      ValueError: for shapes that do not fit, or `maximum` not in [1, N].

    Source: Liu et al., "Skywork-Reward-V2: Scaling Preference Data Curation via Human-AI Synergy" (2025).
    """
    query, pool, count = (jax.lax.stop_gradient(jnp.asarray(x)) for x in (query, pool, count))
    check.rank("query", query, 2)
    check.require(pool.ndim == 2 and pool.shape[1] == query.shape[1], "pool", pool.shape, f"[N, {query.shape[1]}]")
    check.require(count.shape == query.shape[:1], "count", count.shape, f"of shape [{len(query)}]")
    check.count("maximum", maximum)
    check.require(maximum <= len(pool), "maximum", maximum, f"at most N = {len(pool)}")
    query, pool = (x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12) for x in (query, pool))
    free = jnp.ones(len(pool), bool) if mask is None else jnp.asarray(mask, bool)

    def fetch(free: Array, asked: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        direction, wanted = asked
        similarity, rows = jax.lax.top_k(jnp.where(free, pool @ direction, -jnp.inf), maximum)
        taken = (jnp.arange(maximum) < wanted) & jnp.isfinite(similarity)
        return free & ~jnp.zeros_like(free).at[rows].set(taken), (rows, taken)

    return jax.lax.scan(fetch, free, (query, count))[1]


def consistency_filter(best_prob: Array, gold_prob: Array, teacher_prob: Array | None = None) -> tuple[Array, Array]:
    """Which labels to keep and which to turn round, by two reward models that were trained apart.

    Keep where the model of the trusted labels and either the best model so far or the teacher agree with the label;
    turn round where both models disagree with it. The rest is to be dropped (weight 0).

    Where two models are right with probabilities a and b, independently, and a share e of the labels is wrong, what is
    kept is right with probability `(1 - e) a b / ((1 - e) a b + e (1 - a) (1 - b))`, and what is turned round is right
    with `e a b / (e a b + (1 - e) (1 - a) (1 - b))`: far less where few labels are wrong.

    Shapes: probabilities `[...]` that each gives to the label -> bool `[...]` keep, bool `[...]` flip, never both.

    Usual mistake: models that share training data and so err together; the formulas are then upper bounds.

    >>> [x.tolist() for x in consistency_filter(jnp.array([0.9, 0.1, 0.9]), jnp.array([0.8, 0.2, 0.2]))]
    [[True, False, False], [False, True, False]]

    Raises:
      ValueError: for shapes that differ, or probabilities outside [0, 1].

    Source: Liu et al., "Skywork-Reward-V2: Scaling Preference Data Curation via Human-AI Synergy" (2025).
    """
    probs = {"best_prob": best_prob, "gold_prob": gold_prob}
    if teacher_prob is not None:
        probs["teacher_prob"] = teacher_prob
    check.same_shape(**probs)
    for name, prob in probs.items():
        check.in_range(name, prob, 0.0, 1.0)
    best, gold = jnp.asarray(best_prob) > 0.5, jnp.asarray(gold_prob) > 0.5
    agree = best if teacher_prob is None else best | (jnp.asarray(teacher_prob) > 0.5)
    return agree & gold, ~best & ~gold
