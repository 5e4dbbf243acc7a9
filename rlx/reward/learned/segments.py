"""The newest steps of a stream, and segments cut from them that never cross the end of an episode."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array, PyTree


class Recent(NamedTuple):
    """The newest rows of a stream: a ring, written in stream order and overwritten when full."""

    rows: PyTree  # leaves [L, B, ...]
    done: Array  # bool [L, B]: an episode ended with the step
    head: Array  # int32, where the next row goes
    size: Array  # int32, how many rows are written


class Segments(NamedTuple):
    """`N` pieces of episodes, padded at their end to `T` steps."""

    rows: PyTree  # leaves [N, T, ...]
    mask: Array  # bool [N, T], valid steps: a prefix


def init_recent(example: PyTree, capacity: int, num_envs: int) -> Recent:
    """An empty ring of `capacity` rows for `num_envs` environments; leaves of `example` are those of one step."""
    check.count("capacity", capacity)
    rows = jax.tree.map(lambda x: jnp.zeros((capacity, num_envs, *x.shape), x.dtype), example)
    return Recent(rows, jnp.zeros((capacity, num_envs), bool), jnp.int32(0), jnp.int32(0))


def add_rows(recent: Recent, rows: PyTree, done: Array) -> Recent:
    """Write `rows` (leaves `[T, B, ...]`) and `done [T, B]` over the oldest; of more than fit, the newest."""
    capacity = recent.done.shape[0]
    length = min(len(done), capacity)
    where = (recent.head + jnp.arange(length)) % capacity

    def write(ring: Array, new: Array) -> Array:
        return ring.at[where].set(new[-length:].astype(ring.dtype))

    return Recent(
        jax.tree.map(write, recent.rows, rows),
        write(recent.done, done),
        (recent.head + length) % capacity,
        jnp.minimum(recent.size + length, capacity),
    )


def draw_segments(recent: Recent, key: Array, count: int, length: int) -> Segments:
    """Segments that begin at steps drawn uniformly, `length` steps long or as far as the episode goes.

    Beginnings are at least `length` rows before the newest one, where there are so many, so that what cuts a segment
    short is the end of its episode. The ring must not be empty.

    Shapes: rows `[L, B, ...]` -> `[count, length, ...]`.
    """
    capacity, num_envs = recent.done.shape
    row_key, env_key = jax.random.split(key)
    age = jax.random.randint(row_key, (count,), 0, jnp.maximum(recent.size - length, 0) + 1)
    env = jax.random.randint(env_key, (count,), 0, num_envs)
    step = age[:, None] + jnp.arange(length)  # [count, length] rows after the oldest
    at: Any = ((recent.head - recent.size + step) % capacity, env[:, None])
    done = recent.done[at].astype(jnp.int32)
    mask = (step < recent.size) & (jnp.cumsum(done, axis=1) == done)
    return Segments(jax.tree.map(lambda x: x[at], recent.rows), mask)
