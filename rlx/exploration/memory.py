"""What happened in the present episode: memories of fixed size, visits in them, and the bonuses that ask for both."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check

Gate = Literal["ride", "noveld"]


class EpisodeMemory(NamedTuple):
    """The last `M` things that were put in since the episode began, of each of B environments."""

    entries: jax.Array  # [B, M, ...]
    added: jax.Array  # int32 [B], how many since the episode began

    @property
    def mask(self) -> jax.Array:
        """Bool `[B, M]`: which entries belong to the episode."""
        return jnp.arange(self.entries.shape[1]) < self.added[:, None]


def remember(memory: EpisodeMemory, entry: jax.Array, reset: jax.Array) -> EpisodeMemory:
    """The memory with one more entry, emptied before where an episode begins; a full one gives up its oldest.

    Shapes: `[B, M, ...]`, `entry [B, ...]`, `reset` bool `[B]`. Differentiated: nothing.

    >>> empty = EpisodeMemory(jnp.zeros((1, 2)), jnp.zeros(1, jnp.int32))
    >>> two = remember(remember(empty, jnp.array([5.0]), jnp.array([True])), jnp.array([6.0]), jnp.array([False]))
    >>> two.entries.tolist(), two.mask.tolist()
    ([[5.0, 6.0]], [[True, True]])
    >>> remember(two, jnp.array([7.0]), jnp.array([True])).mask.tolist()
    [[True, False]]

    Raises:
      ValueError: for an entry of another shape than those in the memory, or a `reset` that is not bool `[B]`.

    Source: Badia et al., "Never Give Up: Learning Directed Exploration Strategies" (2020), which keeps 30,000.
    """
    envs, capacity, *shape = jnp.shape(memory.entries)
    check.require(jnp.shape(entry) == (envs, *shape), "shape of entry", jnp.shape(entry), str((envs, *shape)))
    check.require(jnp.shape(reset) == (envs,), "shape of reset", jnp.shape(reset), f"({envs},)")
    added = jnp.where(reset, 0, memory.added)
    entries = jnp.asarray(memory.entries).at[jnp.arange(envs), added % capacity].set(entry)
    return EpisodeMemory(jax.lax.stop_gradient(entries), added + 1)


def episodic_count(memory: EpisodeMemory, index: jax.Array) -> jax.Array:
    """How often each environment's `index` is in its memory: visits in the episode, to cells or to hashes.

    Shapes: entries int `[B, M]`, `index [B]` -> int32 `[B]`. What a full memory has given up does not count.

    >>> memory = EpisodeMemory(jnp.array([[3, 4, 3, 3]]), jnp.array([3]))
    >>> episodic_count(memory, jnp.array([3])).tolist()
    [2]

    Raises:
      ValueError: if `index` does not have one entry for each environment.

    Source: Raileanu and Rocktäschel, "RIDE: Rewarding Impact-Driven Exploration for Procedurally-Generated
    Environments" (2020).
    """
    check.require(
        jnp.shape(index) == jnp.shape(memory.added), "shape of index", jnp.shape(index), "[B], as the memory's"
    )
    return jnp.sum((memory.entries == index[:, None]) & memory.mask, axis=1, dtype=jnp.int32)


def novelty_gate(
    novelty: jax.Array,
    visits: jax.Array,
    kind: Gate = "noveld",
    previous: jax.Array | None = None,
    *,
    alpha: jax.Array | float = 0.5,
) -> jax.Array:
    """A bonus that is paid for what is new in the episode.

    - "ride": `novelty / sqrt(visits)`, where the novelty is how far a step moved in a learned space, `|phi' - phi|`.
    - "noveld": `max(novelty - alpha previous, 0) [visits = 1]`: what the step gained of a lifelong bonus (that of the
      state it led to, less that of the state it left), at first visits only.

    Shapes: `[...]` each -> `[...]`; `visits` are those of the episode, the present one included. Differentiated:
    nothing.

    Usual mistake: visits before the present one, which divides by zero here and never pays there.

    >>> novelty_gate(jnp.array([1.0, 1.0]), jnp.array([1, 2]), "noveld", jnp.array([0.5, 0.5])).tolist()
    [0.75, 0.0]
    >>> novelty_gate(jnp.array([1.0, 1.0]), jnp.array([1, 4]), "ride").tolist()
    [1.0, 0.5]

    Raises:
      ValueError: for an unknown kind, or "noveld" without `previous`.

    Source: Raileanu and Rocktäschel, "RIDE: Rewarding Impact-Driven Exploration for Procedurally-Generated
    Environments" (2020); Zhang et al., "NovelD: A Simple yet Effective Exploration Criterion" (2021).
    """
    check.require(kind in ("ride", "noveld"), "kind", kind, "'ride' or 'noveld'")
    novelty = jax.lax.stop_gradient(jnp.asarray(novelty))
    if kind == "ride":
        return novelty * jax.lax.rsqrt(jnp.asarray(visits, novelty.dtype))
    if previous is None:
        raise ValueError("previous must be the bonus of the state that was left, for kind 'noveld'; got None")
    gained = jnp.maximum(novelty - alpha * jax.lax.stop_gradient(previous), 0.0)
    return jnp.where(jnp.asarray(visits) == 1, gained, 0.0)


def ngu_bonus(
    squared: jax.Array,
    mean_square: jax.Array | float,
    *,
    cluster: jax.Array | float = 8e-3,
    epsilon: jax.Array | float = 1e-3,
    constant: jax.Array | float = 1e-3,
    limit: jax.Array | float = 8.0,
) -> jax.Array:
    """The episodic bonus of NGU, from the squared distances to the k nearest memories of the episode.

        x_i = max(d_i^2 / mean_square - cluster, 0),   s = sqrt(sum_i epsilon / (x_i + epsilon)) + constant
        b = 1 / s, and 0 where s > limit

    Shapes: `[..., k]`, as of `nearest_neighbours` (infinite where there are fewer than k), a scalar -> `[...]`.
    Differentiated: nothing.

    `mean_square` is a running mean of squared distances to the k nearest; where it is 0 all distances count as 0. Of k
    memories that equal the present state `s = sqrt(k) + constant`, so the bonus falls with the root of the visits only
    up to k of them, and the limit of 8 is never reached with the paper's `k = 10`. With an empty memory it is
    `1 / constant`: put the episode's first state in before the first step.

    >>> [round(float(b), 4) for b in ngu_bonus(jnp.array([[0.0, 0.0], [0.0, jnp.inf]]), 1.0)]
    [0.7066, 0.999]

    Raises:
      ValueError: for an `epsilon` or a `constant` that is not positive.

    Source: Badia et al., "Never Give Up: Learning Directed Exploration Strategies" (2020).
    """
    check.positive("epsilon", epsilon)
    check.positive("constant", constant)
    squared = jax.lax.stop_gradient(jnp.asarray(squared))
    mean_square = jnp.asarray(mean_square, squared.dtype)
    equal = jnp.isfinite(squared) & (mean_square <= 0)
    scaled = jnp.where(equal, 0.0, squared / jnp.where(mean_square > 0, mean_square, 1.0))
    kernel = epsilon / (jnp.maximum(scaled - cluster, 0.0) + epsilon)
    similarity = jnp.sqrt(jnp.sum(kernel, axis=-1)) + constant
    return jax.lax.stop_gradient(jnp.where(similarity > limit, 0.0, 1.0 / similarity))
