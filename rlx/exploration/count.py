"""Novelty as visit counts, of states or of hashes of states."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check


def count_bonus(visits: jax.Array) -> jax.Array:
    """`1 / sqrt(n)` for the n-th visit: `visits [...]` include the present one, so they are at least 1.

    >>> count_bonus(jnp.array([1, 4])).tolist()
    [1.0, 0.5]

    Source: Strehl and Littman, "An Analysis of Model-Based Interval Estimation for Markov Decision Processes" (2008).
    """
    return jax.lax.rsqrt(1.0 * jnp.asarray(visits))


def simhash(features: jax.Array, projection: jax.Array) -> jax.Array:
    """A number in `[0, 2^k)` that similar vectors tend to share: the signs of `k` projections, as bits.

    Shapes: `features [..., D]`, `projection [D, k]` with k at most 31 -> int32 `[...]`.

    Of a projection drawn from a standard normal, each bit of two vectors at an angle `a` differs with probability
    `a / pi`, whatever their lengths. Features that share a large constant part all fall together: centre them first.

    >>> simhash(jnp.array([[1.0, -2.0], [-1.0, 2.0]]), jnp.eye(2)).tolist()
    [1, 2]

    Raises:
      ValueError: if `projection` is not a matrix, or has more than 31 columns.

    Source: Charikar, "Similarity Estimation Techniques from Rounding Algorithms" (2002); Tang et al., "#Exploration: A
    Study of Count-Based Exploration for Deep Reinforcement Learning" (2017).
    """
    check.rank("projection", projection, 2)
    bits = projection.shape[1]
    check.require(bits <= 31, "projection.shape[1]", bits, "at most 31")
    return jnp.sum((features @ projection > 0) * 2 ** jnp.arange(bits), axis=-1, dtype=jnp.int32)
