"""What an algorithm sets out to solve: an environment, its reward channels, and how they are weighted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.pareto import linear
from rlx.reward import extrinsic
from rlx.space import PREFERENCE, Dict, Discrete, Space, from_gymnax
from rlx.types import Array, Channel, Environment, EnvSpec, Mean, PyTree, RewardSource, Weighting, WeightingStats


class Problem(NamedTuple):
    """The arguments of an algorithm's `make`, with defaults filled in and read."""

    env_params: Any
    obs_space: Space
    action_space: Space
    rewards: RewardSource
    channels: tuple[Channel, ...]
    weighting: Weighting
    spec: EnvSpec

    @property
    def episodic(self) -> Array:
        """Bool `[K]`: which channels end with the episode."""
        return jnp.array([channel.episodic for channel in self.channels])

    @property
    def conditioned(self) -> bool:
        """Whether the observation holds a preference over the environment's channels."""
        return isinstance(self.obs_space, Dict) and PREFERENCE in self.obs_space.spaces

    def require_preference(self, **settings: Any) -> None:
        """Refuse settings that mean something only with a preference in the observation."""
        asked = {name: value for name, value in settings.items() if value}
        allowed = f"a Dict with an entry {PREFERENCE!r}, for the settings {asked}"
        check.require(self.conditioned or not asked, "the observation space", self.obs_space, allowed)

    def channel_weights(self, weights: Array, obs: PyTree) -> Array:
        """Weights of the channels in each state: `[..., K]` with a preference in the observation, else `[K]` as given.

        The preference multiplies the weights of the environment's channels, which come first.
        """
        if not self.conditioned:
            return weights
        preference = obs[PREFERENCE]
        extra = len(self.channels) - preference.shape[-1]
        widths = [(0, 0)] * (preference.ndim - 1) + [(0, extra)]
        return weights * jnp.pad(preference, widths, constant_values=1.0)

    def discounts(self, default: Array | float) -> Array:
        """Discount `[K]` of each channel: its own, or else the algorithm's."""
        return _stack([default if c.discount is None else c.discount for c in self.channels])

    def lambdas(self, default: Array | float) -> Array:
        """Trace decay `[K]` of each channel: its own, or else the algorithm's."""
        return _stack([default if c.lambda_ is None else c.lambda_ for c in self.channels])


def _stack(values: list[Array | float]) -> Array:
    return jnp.stack([jnp.asarray(value, jnp.float32) for value in values])


def pose(
    env: Environment,
    env_params: Any,
    rewards: RewardSource | None,
    weighting: Weighting | None,
    num_envs: int,
    *,
    gram: bool = False,
    continuing: bool = True,
) -> Problem:
    """The problem that an algorithm's `make` is given; by default the environment's own rewards, and their sum.

    Args:
      gram: whether the algorithm computes the Gram matrix of the channels' policy gradients.
      continuing: whether it can value a channel that goes on in the next episode.

    Raises:
      ValueError: for a weighting or a channel that the algorithm cannot serve.
    """
    env_params = env.default_params if env_params is None else env_params
    env_channels = tuple(getattr(env, "reward_channels", ("reward",)))
    rewards = extrinsic(env_channels) if rewards is None else rewards
    weighting = linear(jnp.ones(len(rewards.channels))) if weighting is None else weighting
    allowed = "one without needs_gram: this algorithm has no policy gradient"
    check.require(gram or not weighting.needs_gram, "weighting", weighting, allowed)
    endless = [c.name for c in rewards.channels if not c.episodic]
    allowed = "episodic: a replayed step does not know the next episode"
    check.require(continuing or not endless, "channels", endless, allowed)
    obs_space, action_space = (from_gymnax(s(env_params)) for s in (env.observation_space, env.action_space))
    spec = EnvSpec(obs_space, action_space, env_channels, num_envs)
    posed = Problem(env_params, obs_space, action_space, rewards, rewards.channels, weighting, spec)
    if posed.conditioned:
        own = tuple(channel.name for channel in rewards.channels[: len(env_channels)])
        check.require(own == env_channels, "the first channels", own, f"{env_channels}, which the preference is for")
    return posed


def under_preferences(obs: PyTree, preferences: Array) -> PyTree:
    """Each of N observations under each of its R preferences `[N, R, m]`: leaves `[N R, ...]`, preferences fastest."""
    repeated = jax.tree.map(lambda x: jnp.repeat(x, preferences.shape[1], axis=0), obs)
    return {**repeated, PREFERENCE: preferences.reshape(-1, preferences.shape[-1])}


def initial_weights(weighting: Weighting, num_channels: int) -> tuple[Array, PyTree]:
    """Weights `[K]` before any episode has ended, and the weighting's first state."""
    state = weighting.init(num_channels)
    return weighting.update(state, WeightingStats(jnp.zeros(num_channels), jnp.zeros(()), None))[0], state


def reweigh(
    weighting: Weighting, state: PyTree, returns: Mean, gram: Array | None = None
) -> tuple[Array, PyTree, dict[str, Any]]:
    """Weights `[K]` after the episodes that `returns [K]` are the mean of, the weighting's state, and its metrics."""
    mean = returns.total / jnp.maximum(returns.count, 1)
    weights, state, metrics = weighting.update(state, WeightingStats(mean, returns.count, gram))
    return weights, state, {"weight": weights, **prefixed("weighting", metrics)}


def prefixed(part: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of one part of an algorithm, under names that say so."""
    return {f"{part}/{name}": value for name, value in metrics.items()}


def table_shape(problem: Problem, algorithm: str) -> tuple[int, int]:
    """`(S, A)`: how many observations and actions there are, for an algorithm that keeps a table.

    Raises:
      TypeError: for observations or actions that are not numbers from 0 on.
    """
    obs_space, action_space = problem.obs_space, problem.action_space
    if not isinstance(obs_space, Discrete):
        raise TypeError(f"{algorithm} takes Discrete observations, the number of the state; got {obs_space!r}")
    if not isinstance(action_space, Discrete):
        raise TypeError(f"{algorithm} takes Discrete actions; got {action_space!r}")
    return obs_space.n, action_space.n
