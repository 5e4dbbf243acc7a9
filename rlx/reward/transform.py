"""Transforms of rewards that remember something, for `chain`.

One that does not is a plain function: `lambda r: 0.1 * r`, `jnp.tanh`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.reward.moments import RunningMoments, init_moments, update_moments
from rlx.types import Array, EnvSpec, PyTree, Transition


class RewardTransform(NamedTuple):
    """A transform of rewards that remembers something: running statistics, an episode's past."""

    init: Callable[[EnvSpec, int], PyTree]  # (spec, number of channels) -> state
    # (state, rewards [T, B, k], batch) -> rewards, state
    apply: Callable[[PyTree, Array, Transition], tuple[Array, PyTree]]
    # (state, rewards) -> rewards of replayed transitions, in any order; None where the stream's order matters
    rescore: Callable[[PyTree, Array], Array] | None = None


def centre(*, axis_name: str | None = None) -> RewardTransform:
    """Subtract each channel's running mean, this batch included.

    For rewards that are known up to a constant, as learned ones are. Where episodes vary in length a constant matters:
    it decides whether living longer pays. With `axis_name` the mean is over the shards of that mapped axis too.
    """

    def apply(state: RunningMoments, rewards: Array, batch: Transition) -> tuple[Array, RunningMoments]:
        del batch
        state = update_moments(state, rewards, axis_name=axis_name)
        return rewards - state.mean, state

    return RewardTransform(
        lambda spec, num_channels: init_moments((num_channels,)), apply, lambda state, rewards: rewards - state.mean
    )


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
    seen so far (with `axis_name`, over the shards of that mapped axis too), this batch included. `discount` and
    `episodic` are scalars or `[k]`.

    Usual mistakes: running the return over environments in place of time, and forgetting its carry between batches.
    Where rewards are rare the first one after a long silence comes out huge, since it is divided by a deviation of
    nearly zero: clip afterwards.

    Raises:
      ValueError: for a discount outside [0, 1].

    Source: Burda et al., "Exploration by Random Network Distillation" (2018), section 2.4.
    """
    check.in_range("discount", discount, 0.0, 1.0)

    def init(spec: EnvSpec, num_channels: int) -> ReturnState:
        return ReturnState(jnp.zeros((spec.num_envs, num_channels)), init_moments((num_channels,)))

    def apply(state: ReturnState, rewards: Array, batch: Transition) -> tuple[Array, ReturnState]:
        done = (batch.terminated | batch.truncated)[..., None] & jnp.asarray(episodic)

        def step(carry: Array, xs: tuple[Array, Array]) -> tuple[Array, Array]:
            reward, ended = xs
            total = discount * carry + reward
            return jnp.where(ended, 0.0, total), total

        carry, returns = jax.lax.scan(step, state.returns, (rewards, done), unroll=8)
        state = ReturnState(carry, update_moments(state.moments, returns, axis_name=axis_name))
        return rescore(state, rewards), state

    def rescore(state: ReturnState, rewards: Array) -> Array:
        return rewards * jax.lax.rsqrt(state.moments.var + 1e-8)

    return RewardTransform(init, apply, rescore)
