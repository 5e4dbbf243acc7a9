"""Beliefs over what is hidden, and what an answer tells about it."""

from __future__ import annotations

import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def belief_update(belief: Array, likelihood: Array) -> Array:
    """Bayes' rule along the last axis.

        p'_v = p_v l_v / sum_u p_u l_u

    A truthful answer has a likelihood of 0 or 1: it eliminates values. Rows whose values are all ruled out stay as they
    were.

    Shapes: `[..., V]`, `[..., V]` (numbers or booleans), for independent attributes one row each, for a joint table one
    row in all -> `[..., V]`. Differentiated: both.

    Usual mistake: an answer that may be wrong taken as truthful: one error then rules out what is true for good.

    >>> belief_update(jnp.array([0.5, 0.25, 0.25]), jnp.array([False, True, True])).tolist()
    [0.0, 0.5, 0.5]

    Raises:
      ValueError: for shapes that differ.

    Source: "Dialogue as Discovery: Navigating Human Intent Through Principled Inquiry" (2025).
    """
    check.same_shape(belief=belief, likelihood=likelihood)
    belief = jnp.asarray(belief)
    joint = belief * likelihood
    total = joint.sum(-1, keepdims=True)
    possible = total > 0
    return jnp.where(possible, joint / jnp.where(possible, total, 1), belief).astype(belief.dtype)


def information_gain(before: Array, after: Array, weight: Array | None = None) -> Array:
    """By how much an answer has reduced the entropy of a belief, in bits.

        sum_k w_k [H(p_k) - H(p'_k)],   H(p) = -sum_v p_v log2 p_v

    Gains of a dialogue add up to the entropy that it began with less that at its end. A truthful answer that names the
    value of attribute k gains H(p_k). Never negative in expectation over answers, but one misleading answer may gain
    less than nothing.

    Shapes: `[..., K, V]` twice, `[K]` (ones) -> `[...]`. A joint table of N outcomes is `[..., 1, N]`. Differentiated:
    `before`, `after`; the derivative by a probability of 0 is taken as 0.

    Usual mistakes: gains below 0 cut off, after which they no longer add up; nats called bits.

    >>> before, after = jnp.array([[0.5, 0.5], [0.25, 0.75]]), jnp.array([[1.0, 0.0], [0.25, 0.75]])
    >>> float(information_gain(before, after))
    1.0

    Raises:
      ValueError: for shapes that do not fit.

    Source: Shannon, "A Mathematical Theory of Communication" (1948); Lindley, "On a Measure of the Information Provided
    by an Experiment" (1956); as a reward for questions "Dialogue as Discovery: Navigating Human Intent Through
    Principled Inquiry" (2025).
    """
    check.same_shape(before=before, after=after)
    before, after = jnp.asarray(before), jnp.asarray(after)
    check.require(before.ndim > 1, "the shape of before", before.shape, "[..., K, V]")
    gain = _entropy(before) - _entropy(after)
    if weight is None:
        return gain.sum(-1)
    check.require(jnp.shape(weight) == gain.shape[-1:], "the shape of weight", jnp.shape(weight), f"{gain.shape[-1:]}")
    return jnp.sum(gain * weight, axis=-1).astype(gain.dtype)


def _entropy(p: Array) -> Array:
    """In bits, along the last axis."""
    safe = jnp.where(p > 0, p, 1)
    return -jnp.sum(jnp.where(p > 0, p * jnp.log2(safe), 0), axis=-1)
