"""Weightings without feedback."""

from __future__ import annotations

import jax.numpy as jnp

from rlx import check
from rlx.types import Array, Weighting


def linear(weights: Array | tuple[float, ...]) -> Weighting:
    """Fixed weights `[K]`: the advantage is `sum_k weights_k advantage_k`. They may be traced, and swept.

    Raises:
      ValueError: if `weights` is not a vector of finite numbers, or (in `init`) not one for each channel.
    """
    check.rank("weights", weights, 1)
    check.in_range("weights", weights)
    fixed = jnp.asarray(weights, jnp.float32)

    def init(num_channels: int) -> tuple[()]:
        check.require(
            fixed.shape == (num_channels,), "weights", weights, f"one number for each of {num_channels} channels"
        )
        return ()

    return Weighting(init, lambda state, stats: (fixed, state, {}))
