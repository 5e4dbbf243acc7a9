"""What the claims on categorical bandits share: descent in one scan, cheap samples, arms as sequences of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rlx.types import Array, PyTree


def descend(
    loss: Callable[[PyTree, Array], Array],
    params: PyTree,
    keys: Array,
    learning_rate: float,
    record: Callable[[PyTree], Any] = lambda params: None,
) -> tuple[PyTree, Any]:
    """Adam, one step for each key: the last parameters, and what `record` made of those after each step."""
    optimiser = optax.adam(learning_rate)

    def step(carry: tuple[PyTree, optax.OptState], key: Array) -> tuple[tuple[PyTree, optax.OptState], Any]:
        params, state = carry
        change, state = optimiser.update(jax.grad(loss)(params, key), state)
        params = optax.apply_updates(params, change)
        return (params, state), record(params)

    (params, _), recorded = jax.lax.scan(step, (params, optimiser.init(params)), keys)
    return params, recorded


def sample(key: Array, log_policy: Array, shape: tuple[int, ...]) -> Array:
    """Arms drawn from `log_policy [A]`, with one random number for each."""
    cumulative = jnp.cumsum(jnp.exp(log_policy))
    at = jax.random.uniform(key, shape) * cumulative[-1]
    found = jnp.searchsorted(cumulative, at.ravel(), side="right").reshape(shape)
    return jnp.minimum(found, len(log_policy) - 1)


def as_sequences(log_policy: Array, arm: Array) -> tuple[Array, Array]:
    """Log-probabilities `[..., C, 1]` of arms `[..., C]` under `log_policy [A]`, and their mask."""
    return log_policy[arm][..., None], jnp.ones((*jnp.shape(arm), 1), bool)


def nats(log_policy: Array, log_reference: Array) -> Array:
    """The divergence of a policy `[..., A]` from the reference."""
    return jnp.sum(jnp.exp(log_policy) * (log_policy - log_reference), -1)
