"""gymnax and brax behind `rlx.types.Environment`. Neither is imported before an environment is made.

What an adapted environment promises, whatever the original does: rewards are float32, `terminated` is boolean, `Box`
observations are float32 of the declared shape, states have the same structure and types after a reset as after a step,
and parameters are arrays, so that they can be stacked and vmapped over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check, space
from rlx.envs.interface import TimeLimitParams, at_time_limit, reset, step, strong
from rlx.types import Array, PyTree


class GymnaxEnv:
    """An environment of gymnax 1.0 (or one with the same `reset_env`, `step_env` and `is_truncated`).

    Only types change: trajectories are those of `env.step` for the same keys. `env` stays reachable as the attribute
    `env`.
    """

    reset = reset
    step = step

    def __init__(self, env: Any):
        for method in ("reset_env", "step_env", "is_truncated"):
            if not hasattr(env, method):
                raise TypeError(f"env must be an environment of gymnax >= 1.0; {env!r} has no method {method}")
        self.env = env
        self.default_params = strong(env.default_params)

    @property
    def name(self) -> str:
        return getattr(self.env, "name", type(self.env).__name__)

    def reset_env(self, key: Array, params: Any) -> tuple[PyTree, PyTree]:
        obs, state = self.env.reset_env(key, params)
        return self._observe(obs, params), strong(state)

    def step_env(
        self, key: Array, state: PyTree, action: Array, params: Any
    ) -> tuple[PyTree, PyTree, Array, Array, dict[Any, Any]]:
        action = jnp.asarray(action, self.action_space(params).dtype)
        obs, state, reward, terminated, info = self.env.step_env(key, state, action, params)
        reward = jnp.asarray(reward, jnp.float32)
        return self._observe(obs, params), strong(state), reward, jnp.asarray(terminated, bool), strong(info)

    def is_truncated(self, state: PyTree, params: Any) -> Array:
        return jnp.asarray(self.env.is_truncated(state, params), bool)

    def observation_space(self, params: Any) -> space.Space:
        declared: Any = _float_boxes(space.from_gymnax(self.env.observation_space(params)))
        return _unbounded(declared.shape) if self.name in _WRONG_BOUNDS else declared

    def action_space(self, params: Any) -> Any:
        return space.from_gymnax(self.env.action_space(params))

    def _observe(self, obs: PyTree, params: Any) -> PyTree:
        return _cast(obs, self.observation_space(params))


class BraxState(NamedTuple):
    """State of a `BraxEnv`."""

    inner: Any  # brax.envs.State
    time: Array  # int32 [], steps since the reset


class BraxEnv:
    """An environment of brax: actions in [-1, 1], a time limit that truncates, and a new initial state for every
    episode.

    brax's own training wrapper restores the first state of each environment for ever; here a reset draws another one.
    `info["metrics"]` holds brax's metrics (the terms of the reward, velocities).
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(self, env: Any, episode_length: int = 1000):
        check.count("episode_length", episode_length)
        self.env = env
        self.default_params = strong(TimeLimitParams(episode_length))
        self._obs = jax.eval_shape(env.reset, jax.random.key(0)).obs

    def reset_env(self, key: Array, params: Any) -> tuple[PyTree, BraxState]:
        del params
        inner = strong(self.env.reset(key))
        return inner.obs, BraxState(inner, jnp.zeros((), jnp.int32))

    def step_env(
        self, key: Array, state: BraxState, action: Array, params: Any
    ) -> tuple[PyTree, BraxState, Array, Array, dict[str, Any]]:
        del key, params
        # brax writes into the dictionaries of the state that it is given; rebuilding the tree copies them
        inner = strong(self.env.step(jax.tree.map(lambda x: x, state.inner), jnp.clip(action, -1.0, 1.0)))
        info = {"metrics": inner.metrics}
        return inner.obs, BraxState(inner, state.time + 1), inner.reward, inner.done > 0.5, info

    def observation_space(self, params: Any = None) -> space.Space:
        del params
        if isinstance(self._obs, Mapping):
            return space.Dict({name: _unbounded(part.shape) for name, part in self._obs.items()})
        return _unbounded(self._obs.shape)

    def action_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(-1.0, 1.0, (self.env.action_size,))


def make_gymnax(name: str, **kwargs: Any) -> GymnaxEnv:
    """An environment from gymnax's registry; `kwargs` go to its constructor."""
    import gymnax

    return GymnaxEnv(gymnax.make(name, **kwargs)[0])


def make_brax(name: str, backend: str = "spring", episode_length: int = 1000, **kwargs: Any) -> BraxEnv:
    """A brax environment; `kwargs` go to its constructor.

    Args:
      backend: `spring` (the fastest), `positional`, `generalized` or `mjx`.
      episode_length: the time limit, steps.
    """
    try:
        from brax import envs as brax_envs
    except ImportError as error:
        raise ImportError("brax environments need the extra: pip install 'rlx[brax]'") from error
    check.require(backend in _BRAX_BACKENDS, "backend", backend, "one of " + ", ".join(_BRAX_BACKENDS))
    return BraxEnv(brax_envs.get_environment(name, backend=backend, **kwargs), episode_length)


# these leave the bounds that gymnax declares for them: a context of -1, rewards of 10 or normally distributed
_WRONG_BOUNDS = ("MemoryChain-bsuite", "MetaMaze-misc", "GaussianBandit-misc")

_BRAX_BACKENDS = ("spring", "positional", "generalized", "mjx")


def _unbounded(shape: tuple[int, ...]) -> space.Box:
    return space.Box(-jnp.inf, jnp.inf, tuple(shape))


def _float_boxes(part: space.Space) -> space.Space:
    if isinstance(part, space.Dict):
        return space.Dict({name: _float_boxes(sub) for name, sub in part.spaces.items()})
    return dataclasses.replace(part, dtype=jnp.float32) if isinstance(part, space.Box) else part


def _cast(obs: PyTree, part: space.Space) -> PyTree:
    if isinstance(part, space.Dict):
        return {name: _cast(obs[name], sub) for name, sub in part.spaces.items()}
    return jnp.asarray(obs, part.dtype).reshape(part.shape)
