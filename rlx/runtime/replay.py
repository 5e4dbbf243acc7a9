"""Replay of past steps: a ring of time-major rows, read uniformly or by priority.

The ring's leaves are `[C, B, ...]`: row `t + 1` of an environment follows its row `t`, so several-step targets are
computed when they are sampled and nothing is stored twice. An *item* is one step of one environment, numbered `row *
B + environment`. Everything is a pure function of a pytree; donated to `jit` or carried by `scan`, the ring is
written in place.

    replay = init_replay(rows, capacity)                       # rows: leaves [T, B, ...], or their shapes
    replay = add(replay, rows)
    index = sample_uniform(replay, key, batch_size)
    steps, stored = window(replay, index, n)                   # leaves [n, N, ...]
    reward, discount, last = n_step(steps.reward, steps.terminated, steps.truncated, stored, gamma)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array, PyTree, Transition


class Scored(NamedTuple):
    """Rows for an algorithm to store: steps, and their rewards as they were when the steps were taken."""

    step: Transition
    reward: Array  # [T, B, K]


class Replay(NamedTuple):
    """The last `C` rows that were added."""

    rows: PyTree  # leaves [C, B, ...]
    head: Array  # int32 []: the row that is written next, and the oldest once the ring is full
    size: Array  # int32 []: how many rows hold data


def init_replay(rows: PyTree, capacity: int) -> Replay:
    """An empty ring of `capacity` rows such as `rows` (leaves `[T, B, ...]`; arrays or `jax.ShapeDtypeStruct`s).

    Raises:
      ValueError: if `T` does not divide `capacity`: blocks of `T` rows would not fit the ring.
    """
    check.count("capacity", capacity)
    check.divides("the number of rows in a block", jax.tree.leaves(rows)[0].shape[0], "capacity", capacity)
    ring = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape[1:]), x.dtype), rows)
    return Replay(ring, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def capacity_for(rows: PyTree, num_items: int) -> int:
    """The smallest capacity for blocks such as `rows` (leaves `[T, B, ...]`) that holds `num_items` items."""
    length, num_envs = jax.tree.leaves(rows)[0].shape[:2]
    return math.ceil(num_items / (length * num_envs)) * length


def rows_of_all(rows: PyTree, axis_name: str | None) -> PyTree:
    """`rows` (leaves `[T, B, ...]`) of all `P` learners along a mapped axis side by side, leaves `[T, P B, ...]`.

    Added to each learner's ring they make it a replay that all share. With None `rows` are those of the only learner.
    """
    if axis_name is None:
        return rows
    return jax.tree.map(lambda x: jax.lax.all_gather(x, axis_name, axis=1, tiled=True), rows)


def add(replay: Replay, rows: PyTree) -> Replay:
    """Write `rows` (leaves `[T, B, ...]`, the same `T` in every call) over the oldest."""
    length, capacity = jax.tree.leaves(rows)[0].shape[0], jax.tree.leaves(replay.rows)[0].shape[0]
    ring = jax.tree.map(
        lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, replay.head, axis=0), replay.rows, rows
    )
    return Replay(ring, (replay.head + length) % capacity, jnp.minimum(replay.size + length, capacity))


def sample_uniform(replay: Replay, key: Array, batch_size: int) -> Array:
    """`batch_size` items, each stored one equally likely, with replacement: int32 `[N]`. The ring must not be empty."""
    capacity, num_envs = jax.tree.leaves(replay.rows)[0].shape[:2]
    age = jax.random.randint(key, (batch_size,), 0, replay.size * num_envs)
    return ((replay.head - replay.size) * num_envs + age) % (capacity * num_envs)


def window(replay: Replay, index: Array, length: int) -> tuple[PyTree, Array]:
    """The `length` rows from each item on, leaves `[length, N, ...]`, and which of them are stored, bool `[length, N]`.

    Rows that are not stored lie past the newest one: the ring holds something older there, or nothing. Items must be
    stored themselves, so the first row always is.
    """
    capacity, num_envs = jax.tree.leaves(replay.rows)[0].shape[:2]
    row, env = index // num_envs, index % num_envs
    step = jnp.arange(length)[:, None]
    stored = (row - replay.head + replay.size) % capacity + step < replay.size
    return jax.tree.map(lambda x: x[(row + step) % capacity, env], replay.rows), stored


def n_step(
    reward: Array, terminated: Array, truncated: Array, stored: Array, gamma: Array
) -> tuple[Array, Array, Array]:
    """Rewards of up to `n` steps in one, ready for a bootstrap.

        R_k = sum_{i < m} gamma_k^i r_{i,k}        target_k = R_k + discount_k Q_k(next_obs[last])
        discount_k = gamma_k^m (1 - terminated[last]),   last = m - 1

    where `m <= n` is where the episode ends, or what is stored, if that comes first. A truncated step bootstraps from
    its own next observation, which is why `last` and not `n - 1` says where to take it.

    Shapes: `reward [n, N, K]`; `terminated`, `truncated`, `stored` bool `[n, N]`; `gamma [K]`. Nothing is corrected
    for the actions of the steps after the first having been another policy's.

    Returns:
      `R [N, K]`, `discount [N, K]`, `last` int32 `[N]`.
    """
    done = (terminated | truncated).astype(jnp.int32)
    reached = stored & (jnp.cumsum(done, axis=0) == done)  # no episode end before it
    power = gamma ** jnp.arange(len(reward) + 1, dtype=jnp.float32)[:, None]  # [n + 1, K]
    total = jnp.sum(jnp.where(reached[..., None], power[:-1, None] * reward, 0.0), axis=0)
    last = jnp.sum(reached, axis=0) - 1
    ended = jnp.any(reached & terminated, axis=0)
    return total, power[last + 1] * ~ended[:, None], last


class Priorities(NamedTuple):
    """Priorities of items in a binary tree of sums: node `i` is the sum of nodes `2 i` and `2 i + 1`, node 1 of all."""

    tree: Array  # float32 [2 L], L a power of two; item j is node L + j
    largest: Array  # []: the largest priority given so far, that of new items


def init_priorities(num_items: int) -> Priorities:
    """Priority zero for every item: none is sampled."""
    check.count("num_items", num_items)
    leaves = 1 << (num_items - 1).bit_length()
    return Priorities(jnp.zeros(2 * leaves), jnp.ones(()))


def set_priorities(priorities: Priorities, index: Array, priority: Array) -> Priorities:
    """Give the items `index [N]` the priorities `[N]`, which are not negative, and sum anew above them.

    Every changed node becomes the float32 sum of its two children, so errors do not pile up as they do when
    differences are added. An item that occurs twice must have the same priority both times.
    """

    def sum_above(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        tree, node = carry
        node = node // 2
        return tree.at[node].set(tree[2 * node] + tree[2 * node + 1]), node

    leaf = index + priorities.tree.shape[0] // 2
    tree = priorities.tree.at[leaf].set(priority)
    tree, _ = jax.lax.fori_loop(0, _depth(tree), sum_above, (tree, leaf))
    return Priorities(tree, jnp.maximum(priorities.largest, jnp.max(priority)))


def add_priorities(priorities: Priorities, replay: Replay, length: int) -> Priorities:
    """Give the items that `add` is about to write, `length` rows from the head on, the largest priority so far."""
    num_envs = jax.tree.leaves(replay.rows)[0].shape[1]
    index = replay.head * num_envs + jnp.arange(length * num_envs)
    return set_priorities(priorities, index, jnp.broadcast_to(priorities.largest, index.shape))


def sample_by_priority(priorities: Priorities, key: Array, batch_size: int) -> tuple[Array, Array]:
    """`batch_size` items drawn in proportion to priority, int32 `[N]`, and their probabilities, float32 `[N]`.

    One item is drawn from each of `batch_size` equal parts of the sum, so a batch varies less than independent draws
    would. Source: Prioritized Experience Replay (Schaul, Quan, Antonoglou and Silver, 2016), proportional variant.
    """
    tree = priorities.tree
    mass = (jnp.arange(batch_size) + jax.random.uniform(key, (batch_size,))) * (tree[1] / batch_size)

    def descend(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        node, mass = carry
        left, right = tree[2 * node], tree[2 * node + 1]
        goes_right = (mass >= left) & (right > 0)  # rounding must not lead to an item of priority zero
        return 2 * node + goes_right, jnp.where(goes_right, mass - left, mass)

    node, _ = jax.lax.fori_loop(0, _depth(tree), descend, (jnp.ones(batch_size, jnp.int32), mass))
    return node - tree.shape[0] // 2, tree[node] / tree[1]


def importance_weights(probability: Array, num_items: Array | int, exponent: Array | float) -> Array:
    """`(num_items probability)^-exponent`, divided by the batch's largest so that no weight exceeds 1.

    `exponent` 0 leaves the bias of sampling by priority, 1 corrects it. Source: as `sample_by_priority`.
    """
    weight = (num_items * probability) ** -exponent
    return weight / jnp.max(weight)


def _depth(tree: Array) -> int:
    return tree.shape[0].bit_length() - 2
