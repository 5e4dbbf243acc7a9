"""Adam in one scan, with what is to be recorded on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from rlx.types import Array, PyTree


def descend(
    loss: Callable[[PyTree, Array], Array],
    params: PyTree,
    keys: Array,
    learning_rate: Any,
    record: Callable[[PyTree], Any] = lambda params: None,
) -> tuple[PyTree, Any]:
    """Adam, a step for each key: the last parameters, and what `record` made of those on the way.

    Keys are `[S]`, then `record` sees the parameters after each step, or `[R, S]`: after every S steps.
    """
    optimiser = optax.adam(learning_rate)

    def step(carry: tuple[PyTree, PyTree], key: Array) -> tuple[tuple[PyTree, PyTree], None]:
        params, state = carry
        change, state = optimiser.update(jax.grad(loss)(params, key), state)
        return (optax.apply_updates(params, change), state), None

    def stretch(carry: tuple[PyTree, PyTree], keys: Array) -> tuple[tuple[PyTree, PyTree], Any]:
        carry, _ = step(carry, keys) if keys.ndim == 0 else jax.lax.scan(step, carry, keys)
        return carry, record(carry[0])

    (params, _), recorded = jax.lax.scan(stretch, (params, optimiser.init(params)), keys)
    return params, recorded
