"""Spaces of observations and actions: what shape and range a value has.

`Box`, `Discrete`, `MultiDiscrete`, and `Dict` for observations of several parts. `from_gymnax` reads a space of gymnax
(or any object with the same attributes) without importing gymnax.

An **action mask** is part of the observation: a `Dict` entry named `action_mask` with a boolean for each action (for
MultiDiscrete, those of all components in a row). Policies remove it from their input and never take a masked action.

A **preference** is part of the observation too: a `Dict` entry named `preference` with a weight for each of the
environment's reward channels. Policies see it, and act and learn for the channels' sum weighted by it.

A **skill** is one more entry of a `Dict`, named `skill`: one-hot, the same through an episode.

A **stock** is one more, named `stock`: a number, what has been collected so far in today's units. By it policies can
maximise more than the mean of the return.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ACTION_MASK = "action_mask"
PREFERENCE = "preference"
SKILL = "skill"
STOCK = "stock"
GOAL = "goal"


@dataclasses.dataclass(frozen=True)
class Box:
    """Arrays of one shape, each element between `low` and `high` (scalars or arrays; may be infinite)."""

    low: Any
    high: Any
    shape: tuple[int, ...]
    dtype: Any = jnp.float32

    def sample(self, key: jax.Array) -> jax.Array:
        """Uniform within the bounds; standard normal, clipped to the bounds, where one of them is infinite."""
        low, high = jnp.asarray(self.low, jnp.float32), jnp.asarray(self.high, jnp.float32)
        # float32's largest number is how classic control writes "unbounded"
        bounded = (jnp.abs(low) < 1e30) & (jnp.abs(high) < 1e30)
        low, high, bounded = (jnp.broadcast_to(x, self.shape) for x in (low, high, bounded))
        unit = jax.random.uniform(key, self.shape)
        uniform = jnp.where(bounded, low, 0) + unit * jnp.where(bounded, high - low, 1)
        normal = jnp.clip(jax.random.normal(key, self.shape), low, high)
        return jnp.where(bounded, uniform, normal).astype(self.dtype)

    def contains(self, x: jax.Array) -> jax.Array:
        return jnp.all((x >= self.low) & (x <= self.high))


@dataclasses.dataclass(frozen=True)
class Discrete:
    """Integers from 0 to `n - 1`."""

    n: int
    dtype: Any = jnp.int32

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    def sample(self, key: jax.Array) -> jax.Array:
        return jax.random.randint(key, (), 0, self.n, self.dtype)

    def contains(self, x: jax.Array) -> jax.Array:
        return (x >= 0) & (x < self.n)


@dataclasses.dataclass(frozen=True)
class MultiDiscrete:
    """Vectors of integers; component `i` runs from 0 to `nvec[i] - 1`."""

    nvec: tuple[int, ...]
    dtype: Any = jnp.int32

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.nvec),)

    def sample(self, key: jax.Array) -> jax.Array:
        return jax.random.randint(key, self.shape, 0, jnp.asarray(self.nvec), self.dtype)

    def contains(self, x: jax.Array) -> jax.Array:
        return jnp.all((x >= 0) & (x < jnp.asarray(self.nvec)))


@dataclasses.dataclass(frozen=True)
class Dict:
    """A dictionary of spaces."""

    spaces: Mapping[str, Any]

    def sample(self, key: jax.Array) -> dict[str, Any]:
        keys = jax.random.split(key, len(self.spaces))
        return {name: space.sample(k) for k, (name, space) in zip(keys, self.spaces.items(), strict=True)}

    def contains(self, x: Mapping[str, Any]) -> jax.Array:
        return jnp.all(jnp.array([space.contains(x[name]) for name, space in self.spaces.items()]))


Space = Box | Discrete | MultiDiscrete | Dict


def from_gymnax(space: Any) -> Space:
    """The space of ours that says the same as `space`, read from its attributes.

    Raises:
      TypeError: if `space` has none of the attributes `n`, `nvec`, `low`/`high`/`shape` or a dictionary `spaces`.
    """
    if isinstance(space, Box | Discrete | MultiDiscrete | Dict):
        return space
    if hasattr(space, "nvec"):
        return MultiDiscrete(tuple(int(n) for n in np.ravel(np.asarray(space.nvec))))
    if hasattr(space, "n"):
        return Discrete(int(space.n), space.dtype)
    if hasattr(space, "low") and hasattr(space, "high"):
        shape = space.shape if isinstance(space.shape, tuple | list) else (space.shape,)
        return Box(space.low, space.high, tuple(int(n) for n in shape), space.dtype)
    if isinstance(getattr(space, "spaces", None), Mapping):
        return Dict({name: from_gymnax(sub) for name, sub in space.spaces.items()})
    raise TypeError(f"space must be a Box, Discrete, MultiDiscrete or Dict; got {space!r}")


def example(space: Space) -> Any:
    """Zeros of the shape and dtype that a value of `space` has: to initialise networks and buffers."""
    if isinstance(space, Dict):
        return {name: example(sub) for name, sub in space.spaces.items()}
    return jnp.zeros(space.shape, space.dtype)
