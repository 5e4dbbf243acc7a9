"""What the claims on categorical bandits share: cheap samples, arms as sequences of one."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx.types import Array


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
