"""Environments of gymnax and brax with their reward taken apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from rlx.envs.adapters import make_brax, make_gymnax
from rlx.envs.wrappers import Wrapper
from rlx.types import Array, Environment, PyTree


class VectorReward(Wrapper):
    """Replaces the reward by `rule(state, action, next_state, terminated) -> [K]`.

    Args:
      reward_channels: names of the `K` rewards.
      reference_point: `K` values that hypervolumes are measured from.
    """

    def __init__(
        self,
        env: Environment,
        rule: Callable[[PyTree, Array, PyTree, Array], Array],
        *,
        reward_channels: tuple[str, ...],
        reference_point: tuple[float, ...],
    ):
        super().__init__(env)
        self.rule, self.reward_channels, self.reference_point = rule, reward_channels, reference_point

    def step_env(
        self, key: Array, state: PyTree, action: Array, params: Any
    ) -> tuple[PyTree, PyTree, Array, Array, Any]:
        obs, next_state, _, terminated, info = self.env.step_env(key, state, action, params)
        reward = self.rule(state, action, next_state, terminated)
        return obs, next_state, reward.astype(jnp.float32), terminated, info


def mountain_car() -> VectorReward:
    """gymnax's `MountainCar-v0` with `(time, reverse, forward)`: -1 for each step but the last, for each action 0 and
    for each action 2.

    The reward for time is 0 in the step that reaches the goal, as in MO-Gymnasium and unlike in the scalar task.

    Source: Vamplew et al., "Empirical evaluation methods for multiobjective reinforcement learning algorithms" (2011).
    """

    def rule(state: PyTree, action: Array, next_state: PyTree, terminated: Array) -> Array:
        del state, next_state
        return -jnp.stack([~terminated, action == 0, action == 2]).astype(jnp.float32)

    channels, reference = ("time", "reverse", "forward"), (-200.0, -200.0, -200.0)
    return VectorReward(make_gymnax("MountainCar-v0"), rule, reward_channels=channels, reference_point=reference)


def hopper(backend: str = "spring", episode_length: int = 1000, **kwargs: Any) -> VectorReward:
    """brax's hopper with `(forward, height, energy)`: velocity, ten times the torso's height above its first, and
    `-|a|^2`; each plus 1 in every step that does not end in a fall.

    The bonus on all three is MO-Gymnasium's; with it the energy alone already makes standing still worth while.
    `kwargs` go to brax.

    Source: Xu et al., "Prediction-Guided Multi-Objective Reinforcement Learning for Continuous Robot Control" (2020).
    """
    env = make_brax("hopper", backend, episode_length, **kwargs)
    from brax import kinematics

    system: Any = env.env.sys
    first, _ = kinematics.forward(system, system.init_q, jnp.zeros(system.qd_size()))

    def rule(state: PyTree, action: Array, next_state: PyTree, terminated: Array) -> Array:
        del state
        height = 10.0 * (next_state.inner.pipeline_state.x.pos[0, 2] - first.pos[0, 2])
        return _velocity_and(next_state, height, _energy(action)) + ~terminated

    channels, reference = ("forward", "height", "energy"), (-100.0, -100.0, -100.0)
    return VectorReward(env, rule, reward_channels=channels, reference_point=reference)


def half_cheetah(backend: str = "spring", episode_length: int = 1000, **kwargs: Any) -> VectorReward:
    """brax's half-cheetah with `(forward, energy)`: velocity and `-|a|^2`. `kwargs` go to brax.

    Source: as `hopper`.
    """

    def rule(state: PyTree, action: Array, next_state: PyTree, terminated: Array) -> Array:
        del state, terminated
        return _velocity_and(next_state, _energy(action))

    env = make_brax("halfcheetah", backend, episode_length, **kwargs)
    return VectorReward(env, rule, reward_channels=("forward", "energy"), reference_point=(-100.0, -100.0))


def _velocity_and(state: PyTree, *others: Array) -> Array:
    return jnp.stack([state.inner.metrics["x_velocity"], *others])


def _energy(action: Array) -> Array:
    return -jnp.sum(jnp.square(jnp.clip(action, -1.0, 1.0)))  # as BraxEnv clips
