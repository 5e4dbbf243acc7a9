"""Pairs to learn from, built from samples and what a judge says of them.

Builders give indices along the axis of candidates and a gap in score; what has no gap is no preference, and the caller
drops it (`weight = gap > 0`), so that shapes stay what they are.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.policy.sequence import widened
from rlx.types import Array


class Pair(NamedTuple):
    """Which candidates make up a pair, the better one first."""

    index: Array  # int [..., 2]
    gap: Array  # [...] in score; not above 0 where there is no preference


def label_pair(score: Array, key: Array | None = None, *, scale: Array | float = 1.0) -> Array:
    """A judge's word on two candidates: the probability that the first is the better one, as a `target`.

    With a key it is 0 or 1, drawn from Bradley and Terry's `sigmoid(scale (s_1 - s_2))`; without, the higher score
    wins and equal scores tie at 1/2.

    Shapes: `[..., 2]`, `scale` broadcasts to `[...]` -> `[...]`. Nothing is differentiated.

    Usual mistake: ties given to the first, which teaches the order of sampling.

    >>> label_pair(jnp.array([[2.0, 1.0], [1.0, 1.0]])).tolist()
    [1.0, 0.5]

    Raises:
      ValueError: for a last axis that is not of two candidates, or `scale <= 0`.

    Source: Bradley and Terry, "Rank Analysis of Incomplete Block Designs" (1952); Guo et al., "Direct Language Model
    Alignment from Online AI Feedback" (2024).
    """
    shape = jnp.shape(score)
    check.require(len(shape) >= 1 and shape[-1] == 2, "score", shape, "of shape [..., 2]")
    check.positive("scale", scale)
    score = jnp.asarray(score)
    dtype = score.dtype if jnp.issubdtype(score.dtype, jnp.floating) else jnp.float32
    ahead = jax.lax.stop_gradient(widened(score[..., 0]) - widened(score[..., 1]))
    if key is None:
        return ((jnp.sign(ahead) + 1) / 2).astype(dtype)
    return jax.random.bernoulli(key, jax.nn.sigmoid(jnp.asarray(scale, ahead.dtype) * ahead)).astype(dtype)


def best_worst_pair(score: Array, mask: Array | None = None) -> Pair:
    """The best and the worst of several candidates; the best alone is the best of n.

    Shapes: `[..., G]`, bool `[..., G]` -> indices `[..., 2]`, gap `[...]`. Of equal scores the first counts. Where no
    candidate is valid the gap is 0. Nothing is differentiated.

    Usual mistake: pairs kept whose two are the same candidate, or equally good.

    >>> pair = best_worst_pair(jnp.array([1.0, 3.0, 0.0]))
    >>> pair.index.tolist(), pair.gap.item()
    ([1, 2], 3.0)

    Raises:
      ValueError: for shapes that differ.

    Source: Dong et al., "RLHF Workflow: From Reward Modeling to Online RLHF" (2024).
    """
    shape = jnp.shape(score)
    check.require(len(shape) >= 1 and shape[-1] >= 1, "score", shape, "of shape [..., G]")
    valid = jnp.ones(shape, bool) if mask is None else jnp.asarray(mask, bool)
    check.same_shape(score=score, mask=valid)
    return _pair(jnp.asarray(score), valid, valid)


def anchored_future_pairs(past: Array, present: Array, future: Array) -> Pair:
    """Temporal self-rewarding: rejected from the first policy, chosen from this one and a provisional next one.

    The rejected one is the worst of the initial policy's candidates, the chosen one the best among the current
    policy's and those of a policy already trained for one iteration. So the two do not draw level as the policy
    improves, as best and worst of its own samples do. With the current policy's samples as `past` and an empty
    `future` it is `best_worst_pair`.

    Shapes: scores `[..., P]`, `[..., Q]`, `[..., R]` -> indices `[..., 2]` into their concatenation, gap `[...]`.
    Nothing is differentiated.

    Usual mistake: the provisional policy's training left out when methods are compared at equal cost.

    >>> pair = anchored_future_pairs(jnp.array([2.0, 1.0]), jnp.array([3.0, 0.0]), jnp.array([5.0]))
    >>> pair.index.tolist(), pair.gap.item()
    ([4, 1], 4.0)

    Raises:
      ValueError: for leading axes that differ.

    Source: Wang et al., "Temporal Self-Rewarding Language Models: Decoupling Chosen-Rejected via Past-Future" (2025).
    """
    parts = {"past": past, "present": present, "future": future}
    leading = {name: jnp.shape(x)[:-1] for name, x in parts.items()}
    check.require(len(set(leading.values())) == 1, "leading axes", leading, "the same")
    score = jnp.concatenate([jnp.asarray(x) for x in parts.values()], axis=-1)
    before = jnp.broadcast_to(jnp.arange(score.shape[-1]) < jnp.shape(past)[-1], score.shape)
    return _pair(score, ~before, before)


class Shortened(NamedTuple):
    """Answers of which something was taken away."""

    token: Array  # int [..., T], what is left moved together, 0 after it
    mask: Array  # bool [..., T]


def drop_key_tokens(token: Array, mask: Array, importance: Array, share: Array | float) -> Shortened:
    """Answers without a share of their key tokens, the most important first: how good they still are is then known.

        dropped: the ceil(share K) tokens of highest importance, of the K that count and have an importance above 0

    Which share was taken is a label that costs nothing: a model that learns to say it, or to prefer the answer with
    less taken away, learns what answers are judged by.

    Shapes: int `[..., T]`, bool `[..., T]`, `[..., T]`, `share` in [0, 1] broadcasts to `[...]` -> `[..., T]` twice. Of
    equally important tokens the earlier ones go first. Nothing is differentiated.

    Usual mistake: gaps left where tokens stood, from which the label can be read without a look at the content.

    >>> left = drop_key_tokens(jnp.array([5, 6, 7, 1]), jnp.ones(4, bool), jnp.array([0.1, 0.2, 0.0, 0.0]), 0.5)
    >>> left.token.tolist(), left.mask.tolist()
    ([5, 7, 1, 0], [True, True, True, False])

    Raises:
      ValueError: for shapes that differ, tokens that are not integers, or a share outside [0, 1].

    Source: Li et al., "Self-supervised Preference Optimization: Enhance Your Language Model with Preference Degree
    Awareness" (2024), in outline.
    """
    check.same_shape(token=token, mask=mask, importance=importance)
    token, mask = jnp.asarray(token), jnp.asarray(mask, bool)
    check.require(token.ndim >= 1, "token", token.shape, "of shape [..., T]")
    check.require(jnp.issubdtype(token.dtype, jnp.integer), "token", token.dtype, "of an integer type")
    check.in_range("share", share, 0.0, 1.0)
    weight = widened(importance)
    key = mask & (weight > 0)
    number = jnp.ceil(widened(share)[..., None] * jnp.sum(key, axis=-1, keepdims=True) - 1e-4)
    order = jnp.argsort(jnp.where(key, -weight, jnp.inf), axis=-1, stable=True)
    rank = jnp.argsort(order, axis=-1)
    kept = mask & ~(key & (rank < number))
    place = jnp.argsort(~kept, axis=-1, stable=True)
    token, kept = (jnp.take_along_axis(x, place, axis=-1) for x in (token, kept))
    return Shortened(jnp.where(kept, token, 0), kept)


def _pair(score: jax.Array, better: jax.Array, worse: jax.Array) -> Pair:
    score = jax.lax.stop_gradient(score)
    score = score if jnp.issubdtype(score.dtype, jnp.floating) else score.astype(jnp.float32)
    best = jnp.argmax(jnp.where(better, score, -jnp.inf), axis=-1)
    worst = jnp.argmin(jnp.where(worse, score, jnp.inf), axis=-1)
    index = jnp.stack([best, worst], axis=-1)
    both = jnp.take_along_axis(score, index, axis=-1)
    there = jnp.any(better, axis=-1) & jnp.any(worse, axis=-1)
    return Pair(index, jnp.where(there, both[..., 0] - both[..., 1], 0))
