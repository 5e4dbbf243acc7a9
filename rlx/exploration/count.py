"""Novelty as visit counts, of states or of hashes of states."""

from __future__ import annotations

import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def count_bonus(visits: Array) -> Array:
    """`1 / sqrt(n)`, `n` including the present visit (so at least 1), elementwise.

    Source: Strehl and Littman, "An Analysis of Model-Based Interval Estimation for Markov Decision Processes", 2008.
    """
    return jnp.asarray(visits, jnp.float32) ** -0.5


def simhash(features: Array, projection: Array) -> Array:
    """A number in `[0, 2^k)` that similar vectors share: the signs of `k` projections, as bits.

    Args:
      features: `[..., D]`.
      projection: `[D, k]`, drawn from a standard normal, k at most 31. Two vectors at an angle `a` differ in a bit with
        probability `a / pi`, whatever their lengths; so centre features that are all positive.

    Returns:
      int32 `[...]`.

    Source: Charikar, "Similarity Estimation Techniques from Rounding Algorithms", 2002; for exploration: Tang et al.,
    "#Exploration: A Study of Count-Based Exploration for Deep Reinforcement Learning", 2017.
    """
    check.rank("projection", projection, 2)
    bits = projection.shape[1]
    check.require(bits <= 31, "projection.shape[1]", bits, "at most 31 bits")
    return jnp.sum((features @ projection > 0) * 2 ** jnp.arange(bits), axis=-1, dtype=jnp.int32)
