"""Water reservoir: continuous release of water against floods and shortages."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check, space
from rlx.envs.interface import TimeLimitParams, at_time_limit, reset, step, strong
from rlx.types import Array

# volumes are per day and unit of surface, so a level is a volume
_START = (96.855361, 58.046026, 116.15767, 20.164311, 79.191, 140.13098, 131.01816, 44.351321, 13.185943, 73.508622)
_INFLOW_MEAN, _INFLOW_DEVIATION = 40.0, 10.0
_SAFE_LEVEL = 100.0  # what lies above it must be released
_FLOOD_UPSTREAM, _FLOOD_DOWNSTREAM = 50.0, 30.0  # level, release
_IRRIGATION_DEMAND, _POWER_DEMAND = 50.0, 4.36
_POWER = 9.81 * 1000.0 / 3.6e6  # of a unit released from a unit of level
_REFERENCE = (-10_000.0, -2_500.0, -150.0, -2_500.0)  # below the return of every constant share, and of random ones


class ReservoirState(NamedTuple):
    level: Array  # []
    time: Array  # int32 [], steps since the reset


class WaterReservoir:
    """A dam with random inflow: `(upstream flood, irrigation, power, downstream flood)`, the first `num_objectives`.

    The level s is observed, the action a is what to release, cut to `[max(s - 100, 0), s]`; then
    `s' = max(0, s + N(40, 10) - a)`. Rewards are minus the excess of s' over 50, minus what a is short of 50, minus
    what the power `0.002725 s' a` is short of 4.36, and minus the excess of a over 30. Starts are drawn from ten
    levels; only the time limit ends an episode.

    The front is not known. Levels reach into the hundreds: normalise observations.

    Args:
      num_objectives: 2, 3 or 4.
      share: actions are a share in [0, 1] of what may be released; else the amount itself, in [0, 200].

    Source: Castelletti, Pianosi, Restelli, "Tree-based Fitted Q-iteration for Multi-Objective Markov Decision Problems"
    (2012).
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(self, num_objectives: int = 2, *, share: bool = True):
        check.require(num_objectives in (2, 3, 4), "num_objectives", num_objectives, "2, 3 or 4")
        self.share, self.num_objectives = share, num_objectives
        names = ("upstream flood", "irrigation", "power", "downstream flood")
        self.reward_channels, self.reference_point = names[:num_objectives], _REFERENCE[:num_objectives]
        self.default_params = strong(TimeLimitParams(100))

    def reset_env(self, key: Array, params: TimeLimitParams) -> tuple[Array, ReservoirState]:
        del params
        level = jax.random.choice(key, jnp.asarray(_START))
        return level[None], ReservoirState(level, jnp.zeros((), jnp.int32))

    def step_env(
        self, key: Array, state: ReservoirState, action: Array, params: TimeLimitParams
    ) -> tuple[Array, ReservoirState, Array, Array, dict[str, Any]]:
        del params
        least, most = jnp.maximum(state.level - _SAFE_LEVEL, 0.0), state.level
        release = least + action[0] * (most - least) if self.share else action[0]
        release = jnp.clip(release, least, most)
        inflow = _INFLOW_MEAN + _INFLOW_DEVIATION * jax.random.normal(key)
        level = jnp.maximum(state.level + inflow - release, 0.0)
        excess = jnp.stack(
            [
                level - _FLOOD_UPSTREAM,
                _IRRIGATION_DEMAND - release,
                _POWER_DEMAND - _POWER * level * release,
                release - _FLOOD_DOWNSTREAM,
            ]
        )
        reward = -jnp.maximum(excess[: self.num_objectives], 0.0)
        return level[None], ReservoirState(level, state.time + 1), reward, jnp.zeros((), bool), {}

    def observation_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(0.0, jnp.inf, (1,))

    def action_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(0.0, 1.0 if self.share else 200.0, (1,))
