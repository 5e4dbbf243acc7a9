"""Reward sources and how they combine: every reward is a channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rlx import check
from rlx.reward.transform import RewardTransform
from rlx.types import Array, Channel, EnvSpec, PyTree, RewardSource, Transition


def extrinsic(channels: tuple[str | Channel, ...] = ("reward",)) -> RewardSource:
    """The environment's own reward, `[T, B]` or `[T, B, K_env]`, one channel for each of its components.

    Raises:
      ValueError: (in `compute`) if the environment's reward has another number of components.
    """
    named = tuple(Channel(c) if isinstance(c, str) else c for c in channels)

    def score(batch: Transition) -> Array:
        reward = batch.reward if batch.reward.ndim == 3 else batch.reward[..., None]
        if reward.shape[-1] != len(named):
            names = ", ".join(c.name for c in named)
            raise ValueError(f"channels must name each of the environment's {reward.shape[-1]} rewards; got {names}")
        return reward

    return RewardSource(
        lambda key, spec: (),
        lambda state, batch, key: (score(batch), state),
        lambda state, batch, key: (state, {}),
        named,
        lambda state, batch, stored, key: score(batch),
    )


def stack(*sources: RewardSource) -> RewardSource:
    """All channels of all sources, in order; the state is a tuple of theirs, and each gets a key of its own.

    Metrics are prefixed by the name of the source's first channel.

    Raises:
      ValueError: without sources, or if two channels have the same name.
    """
    channels = tuple(channel for source in sources for channel in source.channels)
    names = [c.name for c in channels]
    check.require(len(names) > 0, "sources", sources, "at least one reward source")
    check.require(len(set(names)) == len(names), "the channels of stacked sources", names, "of different names")
    ends = [sum(len(s.channels) for s in sources[: i + 1]) for i in range(len(sources))]

    def init(key: Array, spec: EnvSpec) -> PyTree:
        return tuple(s.init(k, spec) for s, k in zip(sources, jax.random.split(key, len(sources)), strict=True))

    def compute(state: PyTree, batch: Transition, key: Array) -> tuple[Array, PyTree]:
        keys = jax.random.split(key, len(sources))
        results = [s.compute(st, batch, k) for s, st, k in zip(sources, state, keys, strict=True)]
        return jnp.concatenate([reward for reward, _ in results], axis=-1), tuple(st for _, st in results)

    def update(state: PyTree, batch: Transition, key: Array) -> tuple[PyTree, dict[str, Any]]:
        keys = jax.random.split(key, len(sources))
        results = [s.update(st, batch, k) for s, st, k in zip(sources, state, keys, strict=True)]
        metrics = {
            f"{s.channels[0].name}/{name}": value
            for s, (_, found) in zip(sources, results, strict=True)
            for name, value in found.items()
        }
        return tuple(st for st, _ in results), metrics

    def rescore(state: PyTree, batch: Transition, stored: Array | None, key: Array) -> Array:
        keys = jax.random.split(key, len(sources))
        rewards = []
        for source, inner, end, key in zip(sources, state, ends, keys, strict=True):
            kept = None if stored is None else stored[..., end - len(source.channels) : end]
            if source.rescore is not None:
                rewards.append(source.rescore(inner, batch, kept, key))
            elif kept is not None:
                rewards.append(kept)
            else:
                raise ValueError(f"stacked sources must all be able to rescore; {source.channels[0].name} is not")
        return jnp.concatenate(rewards, axis=-1)

    can_rescore = any(s.rescore is not None for s in sources)
    return RewardSource(init, compute, update, channels, rescore if can_rescore else None)


def chain(source: RewardSource, *transforms: Callable[[Array], Array] | RewardTransform) -> RewardSource:
    """`source` with its rewards `[T, B, k]` passed through each transform in turn.

    A transform without memory is a plain function of the rewards (`lambda r: 0.1 * r`, `jnp.tanh`). Replayed
    transitions are scored again if the source and every transform can do so, and else keep what they were stored with.

    Raises:
      ValueError: (in `rescore`) around a `stack` of which some sources can rescore and others cannot: transform those
        one by one, inside the stack.
    """

    def init(key: Array, spec: EnvSpec) -> PyTree:
        memories = (t.init(spec, len(source.channels)) if isinstance(t, RewardTransform) else () for t in transforms)
        return source.init(key, spec), tuple(memories)

    def compute(state: PyTree, batch: Transition, key: Array) -> tuple[Array, PyTree]:
        rewards, inner = source.compute(state[0], batch, key)
        after = []
        for transform, memory in zip(transforms, state[1], strict=True):
            if isinstance(transform, RewardTransform):
                rewards, memory = transform.apply(memory, rewards, batch)
            else:
                rewards = transform(rewards)
            after.append(memory)
        return rewards, (inner, tuple(after))

    def update(state: PyTree, batch: Transition, key: Array) -> tuple[PyTree, dict[str, Any]]:
        inner, metrics = source.update(state[0], batch, key)
        return (inner, state[1]), metrics

    rescore_source = source.rescore
    rescore_with = [t.rescore if isinstance(t, RewardTransform) else _without_memory(t) for t in transforms]
    if rescore_source is None or None in rescore_with:
        return RewardSource(init, compute, update, source.channels)

    def rescore(state: PyTree, batch: Transition, stored: Array | None, key: Array) -> Array:
        del stored  # transformed already
        rewards = rescore_source(state[0], batch, None, key)
        for transform, memory in zip(rescore_with, state[1], strict=True):
            rewards = transform(memory, rewards)  # type: ignore[misc]
        return rewards

    return RewardSource(init, compute, update, source.channels, rescore)


def _without_memory(transform: Callable[[Array], Array]) -> Callable[[PyTree, Array], Array]:
    return lambda memory, rewards: transform(rewards)
