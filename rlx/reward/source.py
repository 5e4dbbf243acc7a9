"""Reward sources and how they combine: every reward is a channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.reward.moments import RunningMoments, init_moments, update_moments
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

    def rescore(state: PyTree, batch: Transition, stored: Array, key: Array) -> Array:
        parts = jnp.split(stored, ends[:-1], axis=-1)
        keys = jax.random.split(key, len(sources))
        return jnp.concatenate(
            [
                part if s.rescore is None else s.rescore(st, batch, part, k)
                for s, st, part, k in zip(sources, state, parts, keys, strict=True)
            ],
            axis=-1,
        )

    can_rescore = any(s.rescore is not None for s in sources)
    return RewardSource(init, compute, update, channels, rescore if can_rescore else None)


class RewardTransform(NamedTuple):
    """A transform of rewards that remembers something: running statistics, an episode's past."""

    init: Callable[[EnvSpec, int], PyTree]  # (spec, number of channels) -> state
    apply: Callable[
        [PyTree, Array, Transition], tuple[Array, PyTree]
    ]  # (state, rewards [T, B, k], batch) -> rewards, state


def chain(source: RewardSource, *transforms: Callable[[Array], Array] | RewardTransform) -> RewardSource:
    """`source` with its rewards `[T, B, k]` passed through each transform in turn.

    A transform without memory is a plain function of the rewards (`lambda r: 0.1 * r`, `jnp.tanh`). One with memory
    makes the rewards depend on the stream, so replayed transitions keep the rewards that they were stored with.
    """
    stateful = tuple(t for t in transforms if isinstance(t, RewardTransform))

    def init(key: Array, spec: EnvSpec) -> PyTree:
        return source.init(key, spec), tuple(t.init(spec, len(source.channels)) for t in stateful)

    def compute(state: PyTree, batch: Transition, key: Array) -> tuple[Array, PyTree]:
        rewards, inner = source.compute(state[0], batch, key)
        remaining, after = iter(state[1]), []
        for transform in transforms:
            if isinstance(transform, RewardTransform):
                rewards, memory = transform.apply(next(remaining), rewards, batch)
                after.append(memory)
            else:
                rewards = transform(rewards)
        return rewards, (inner, tuple(after))

    def update(state: PyTree, batch: Transition, key: Array) -> tuple[PyTree, dict[str, Any]]:
        inner, metrics = source.update(state[0], batch, key)
        return (inner, state[1]), metrics

    inner_rescore = source.rescore
    if inner_rescore is None or stateful:
        return RewardSource(init, compute, update, source.channels)

    def rescore(state: PyTree, batch: Transition, stored: Array, key: Array) -> Array:
        rewards = inner_rescore(state[0], batch, stored, key)
        for transform in transforms:
            rewards = transform(rewards)  # type: ignore[operator]
        return rewards

    return RewardSource(init, compute, update, source.channels, rescore)


class ReturnState(NamedTuple):
    """The discounted return so far of each environment, and the moments of all that were seen."""

    returns: Array  # [B, k]
    moments: RunningMoments  # [k]


def normalise_by_return(
    discount: Array | float, episodic: Array | bool = True, *, axis_name: str | None = None
) -> RewardTransform:
    """Divide each channel by the running standard deviation of its discounted return; nothing is subtracted.

    `G_t = discount G_{t-1} (0 after an episode's end, for episodic channels) + r_t` runs *forward* in each environment
    and goes on from batch to batch; rewards become `r_t / std(G)`, with the deviation over all steps and environments
    seen so far, this batch included. `discount` and `episodic` are scalars or `[k]`.

    Source: Burda et al., "Exploration by Random Network Distillation", 2018 (section 2.4). The usual mistake is to run
    the return over environments in place of time, or to forget its carry between batches.
    """

    def init(spec: EnvSpec, num_channels: int) -> ReturnState:
        return ReturnState(jnp.zeros((spec.num_envs, num_channels)), init_moments((num_channels,)))

    def apply(state: ReturnState, rewards: Array, batch: Transition) -> tuple[Array, ReturnState]:
        done = (batch.terminated | batch.truncated)[..., None] & jnp.asarray(episodic)

        def step(carry: Array, xs: tuple[Array, Array]) -> tuple[Array, Array]:
            reward, ended = xs
            total = discount * carry + reward
            return jnp.where(ended, 0.0, total), total

        carry, returns = jax.lax.scan(step, state.returns, (rewards, done), unroll=8)
        moments = update_moments(state.moments, returns, axis_name=axis_name)
        return rewards * jax.lax.rsqrt(moments.var + 1e-8), ReturnState(carry, moments)

    return RewardTransform(init, apply)
