"""Random orders for minibatches, by one cheap sort."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def shuffle(key: jax.Array, size: int, repeats: int = 1) -> jax.Array:
    """`repeats` independent random orders of `0 .. size - 1`, int32 `[repeats, size]`.

    Each index sits in the low bits of a 32-bit word whose high bits are random, and the words are sorted: one operand,
    where `jax.random.permutation` sorts pairs, several times over (on CPU a tenth of its cost). Equal high bits leave
    two indices in ascending order, so with `b = ceil(log2(size))` a given pair is in order with probability `1/2 +
    2^(b - 33)`: 1/2 + 2^-17 at 65,536 elements, which no minibatch notices. Not for sizes above 2^22, nor where exact
    uniformity matters.

    Raises:
      ValueError: if `size` is not between 1 and 2^22.
    """
    if not 1 <= size <= 2**22:
        raise ValueError(f"size must be between 1 and 2**22 = {2**22}; got {size}")
    bits = max(size - 1, 1).bit_length()
    high = jax.random.bits(key, (repeats, size), jnp.uint32) << bits
    words = jax.lax.sort(high | jnp.arange(size, dtype=jnp.uint32), dimension=-1, is_stable=False)
    return (words & ((1 << bits) - 1)).astype(jnp.int32)
