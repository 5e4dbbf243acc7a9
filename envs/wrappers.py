"""Wrappers: an environment around another one. Whatever they remember is part of the environment's state.

They apply in the order of construction: the last one is outermost, and acts first on actions and last on observations
and rewards. Evaluate in the unwrapped environment unless the wrapper is part of the task. There is no observation
normaliser here: its statistics belong to the learner's state, not to each environment's.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check, space
from rlx.envs.interface import reset, select, step
from rlx.pareto import sample_weights
from rlx.types import Array, Environment, PyTree


class Wrapper:
    """Forwards everything to `env`; other attributes (`reward_channels`, `to_mdp`, ...) are those of `env` too."""

    reset = reset
    step = step

    def __init__(self, env: Environment):
        self.env = env

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "env":  # `env` itself is missing while a copy is being made
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.env, name)

    @property
    def default_params(self) -> Any:
        return self.env.default_params

    def reset_env(self, key: Array, params: Any) -> tuple[PyTree, PyTree]:
        return self.env.reset_env(key, params)

    def step_env(
        self, key: Array, state: PyTree, action: Array, params: Any
    ) -> tuple[PyTree, PyTree, Array, Array, Any]:
        return self.env.step_env(key, state, action, params)

    def is_truncated(self, state: PyTree, params: Any) -> Array:
        return self.env.is_truncated(state, params)

    def observation_space(self, params: Any) -> Any:
        return space.from_gymnax(self.env.observation_space(params))

    def action_space(self, params: Any) -> Any:
        return space.from_gymnax(self.env.action_space(params))


class Wrapped(NamedTuple):
    """State of a wrapper that remembers something."""

    inner: Any  # state of the wrapped environment
    memory: Any


class WrapperWithMemory(Wrapper):
    """A wrapper whose state is `Wrapped`."""

    def is_truncated(self, state: Wrapped, params: Any) -> Array:
        return self.env.is_truncated(state.inner, params)


class TimeLimit(WrapperWithMemory):
    """Truncates after `max_steps` steps of its own count. A shorter limit of the wrapped environment still holds."""

    def __init__(self, env: Environment, max_steps: int):
        super().__init__(env)
        check.count("max_steps", max_steps)
        self.max_steps = max_steps

    def reset_env(self, key: Array, params: Any) -> tuple[PyTree, Wrapped]:
        obs, inner = self.env.reset_env(key, params)
        return obs, Wrapped(inner, jnp.zeros((), jnp.int32))

    def step_env(
        self, key: Array, state: Wrapped, action: Array, params: Any
    ) -> tuple[PyTree, Wrapped, Array, Array, Any]:
        obs, inner, reward, terminated, info = self.env.step_env(key, state.inner, action, params)
        return obs, Wrapped(inner, state.memory + 1), reward, terminated, info

    def is_truncated(self, state: Wrapped, params: Any) -> Array:
        return super().is_truncated(state, params) | (state.memory >= self.max_steps)


class StickyActions(WrapperWithMemory):
    """With probability `probability` the action executed last is executed again. The first action of an episode never
    sticks.

    Source: Revisiting the Arcade Learning Environment (Machado et al., 2018).
    """

    def __init__(self, env: Environment, probability: float = 0.25):
        super().__init__(env)
        check.in_range("probability", probability, 0.0, 1.0)
        self.probability = probability

    def reset_env(self, key: Array, params: Any) -> tuple[PyTree, Wrapped]:
        obs, inner = self.env.reset_env(key, params)
        return obs, Wrapped(inner, (space.example(self.action_space(params)), jnp.zeros((), bool)))

    def step_env(
        self, key: Array, state: Wrapped, action: Array, params: Any
    ) -> tuple[PyTree, Wrapped, Array, Array, Any]:
        stick_key, step_key = jax.random.split(key)
        last, started = state.memory
        stick = started & jax.random.bernoulli(stick_key, self.probability)
        action = jnp.where(stick, last, action).astype(last.dtype)
        obs, inner, reward, terminated, info = self.env.step_env(step_key, state.inner, action, params)
        return obs, Wrapped(inner, (action, jnp.ones((), bool))), reward, terminated, info


class ActionRepeat(Wrapper):
    """Takes each action `repeats` times, or until the episode ends, and sums the rewards.

    Time limits of the wrapped environment count its own steps. `info` is that of the last step taken.
    """

    def __init__(self, env: Environment, repeats: int):
        super().__init__(env)
        check.count("repeats", repeats)
        self.repeats = repeats

    def step_env(
        self, key: Array, state: PyTree, action: Array, params: Any
    ) -> tuple[PyTree, PyTree, Array, Array, Any]:
        first_key, *keys = jax.random.split(key, self.repeats)
        result = self.env.step_env(first_key, state, action, params)

        def again(result: tuple, key: Array) -> tuple[tuple, None]:
            _, state, reward, terminated, _ = result
            over = terminated | self.env.is_truncated(state, params)
            obs, state, more, terminated, info = self.env.step_env(key, state, action, params)
            return select(over, result, (obs, state, reward + more, terminated, info)), None

        return jax.lax.scan(again, result, jnp.stack(keys))[0] if keys else result


class RescaleActions(Wrapper):
    """Actions in [-1, 1], clipped and mapped linearly onto the bounds of the wrapped environment's `Box`.

    Raises:
      TypeError: if the actions are not a `Box`.
      ValueError: if a bound is infinite.
    """

    def __init__(self, env: Environment):
        super().__init__(env)
        box = self.env.action_space(env.default_params)
        _require_box("actions", space.from_gymnax(box))
        check.require(bool(np.all(np.isfinite([box.low, box.high]))), "action bounds", (box.low, box.high), "finite")

    def step_env(
        self, key: Array, state: PyTree, action: Array, params: Any
    ) -> tuple[PyTree, PyTree, Array, Array, Any]:
        box = self.env.action_space(params)
        action = box.low + (jnp.clip(action, -1.0, 1.0) + 1.0) * 0.5 * (box.high - box.low)
        return self.env.step_env(key, state, action, params)

    def action_space(self, params: Any) -> space.Box:
        return space.Box(-1.0, 1.0, super().action_space(params).shape)


class FlattenObservation(Wrapper):
    """Observations as one float32 vector: parts of a `Dict` in their order, integers one-hot, the rest row by row.

    An action mask stays beside it: `{"observation": vector, "action_mask": mask}`.
    """

    def reset_env(self, key: Array, params: Any) -> tuple[PyTree, PyTree]:
        obs, state = self.env.reset_env(key, params)
        return self._observe(obs, params), state

    def step_env(
        self, key: Array, state: PyTree, action: Array, params: Any
    ) -> tuple[PyTree, PyTree, Array, Array, Any]:
        obs, state, reward, terminated, info = self.env.step_env(key, state, action, params)
        return self._observe(obs, params), state, reward, terminated, info

    def _observe(self, obs: PyTree, params: Any) -> PyTree:
        part = super().observation_space(params)
        vector = _flatten(obs, part)
        return {"observation": vector, space.ACTION_MASK: obs[space.ACTION_MASK]} if _has_mask(part) else vector

    def observation_space(self, params: Any) -> space.Box | space.Dict:
        part = super().observation_space(params)
        vector = _vector_box(_bounds(part))
        return (
            space.Dict({"observation": vector, space.ACTION_MASK: part.spaces[space.ACTION_MASK]})
            if _has_mask(part)
            else vector
        )


class LastActionReward(Wrapper):
    """Appends the action taken (one-hot if discrete) and the reward received to a vector observation; zeros after a
    reset.

    What an agent with memory needs to adapt within an episode. Source: RL^2: Fast Reinforcement Learning via Slow
    Reinforcement Learning (Duan et al., 2016).
    """

    def __init__(self, env: Environment):
        super().__init__(env)
        inner = super().observation_space(env.default_params)
        _require_vector(inner)
        self._appended = self.observation_space(env.default_params).shape[0] - inner.shape[0]

    def reset_env(self, key: Array, params: Any) -> tuple[Array, PyTree]:
        obs, state = self.env.reset_env(key, params)
        return jnp.concatenate([obs, jnp.zeros(self._appended)]), state

    def step_env(
        self, key: Array, state: PyTree, action: Array, params: Any
    ) -> tuple[Array, PyTree, Array, Array, Any]:
        obs, state, reward, terminated, info = self.env.step_env(key, state, action, params)
        taken = _flatten(action, self.action_space(params))
        return jnp.concatenate([obs, taken, jnp.ravel(reward)]), state, reward, terminated, info

    def observation_space(self, params: Any) -> space.Box:
        rewards = np.full(len(getattr(self.env, "reward_channels", ("reward",))), np.inf)
        inner, action = super().observation_space(params), self.action_space(params)
        return _vector_box([*_bounds(inner), *_bounds(action), (-rewards, rewards)])


class Distractors(WrapperWithMemory):
    """Appends `n` numbers to a vector observation that have nothing to do with the task.

    Each is a standard normal first-order autoregressive process, `z' = persistence z + sqrt(1 - persistence^2) noise`:
    white noise at 0, and the slower the nearer to 1. Every reset draws it afresh.
    """

    def __init__(self, env: Environment, n: int, persistence: float = 0.0):
        super().__init__(env)
        _require_vector(super().observation_space(env.default_params))
        check.count("n", n)
        check.in_range("persistence", persistence, 0.0, 1.0)
        self.n, self.persistence = n, persistence

    def reset_env(self, key: Array, params: Any) -> tuple[Array, Wrapped]:
        reset_key, noise_key = jax.random.split(key)
        obs, inner = self.env.reset_env(reset_key, params)
        noise = jax.random.normal(noise_key, (self.n,))
        return jnp.concatenate([obs, noise]), Wrapped(inner, noise)

    def step_env(
        self, key: Array, state: Wrapped, action: Array, params: Any
    ) -> tuple[Array, Wrapped, Array, Array, Any]:
        step_key, noise_key = jax.random.split(key)
        obs, inner, reward, terminated, info = self.env.step_env(step_key, state.inner, action, params)
        fresh = jax.random.normal(noise_key, (self.n,))
        noise = self.persistence * state.memory + math.sqrt(1.0 - self.persistence**2) * fresh
        return jnp.concatenate([obs, noise]), Wrapped(inner, noise), reward, terminated, info

    def observation_space(self, params: Any) -> space.Box:
        unbounded = np.full(self.n, np.inf)
        return _vector_box([*_bounds(super().observation_space(params)), (-unbounded, unbounded)])


class FrameStack(WrapperWithMemory):
    """The last `n` observations, joined along the last axis, oldest first: channels of images, entries of vectors.

    After a reset all of them are the first observation.
    """

    def __init__(self, env: Environment, n: int):
        super().__init__(env)
        check.count("n", n)
        box = super().observation_space(env.default_params)
        _require_box("observations", box)
        check.require(len(box.shape) > 0, "shape of the observations", box.shape, "of rank 1 at least")
        self.n = n

    def reset_env(self, key: Array, params: Any) -> tuple[Array, Wrapped]:
        obs, inner = self.env.reset_env(key, params)
        frames = jnp.concatenate([obs] * self.n, axis=-1)
        return frames, Wrapped(inner, frames)

    def step_env(
        self, key: Array, state: Wrapped, action: Array, params: Any
    ) -> tuple[Array, Wrapped, Array, Array, Any]:
        obs, inner, reward, terminated, info = self.env.step_env(key, state.inner, action, params)
        frames = jnp.concatenate([state.memory[..., obs.shape[-1] :], obs], axis=-1)
        return frames, Wrapped(inner, frames), reward, terminated, info

    def observation_space(self, params: Any) -> space.Box:
        box = super().observation_space(params)
        low, high = (
            np.concatenate([np.broadcast_to(bound, box.shape)] * self.n, axis=-1) for bound in (box.low, box.high)
        )
        return space.Box(low, high, low.shape, box.dtype)


class DelayedReward(WrapperWithMemory):
    """Pays the rewards of `interval` steps together, in the last of them or at the end of the episode; None: only
    there.

    The undiscounted return stays the same. Limits set by a `TimeLimit` around this wrapper are not seen: put it inside.
    """

    def __init__(self, env: Environment, interval: int | None = None):
        super().__init__(env)
        if interval is not None:
            check.count("interval", interval)
        self.interval = interval

    def reset_env(self, key: Array, params: Any) -> tuple[PyTree, Wrapped]:
        obs, inner = self.env.reset_env(key, params)
        channels = getattr(self.env, "reward_channels", None)
        owed = jnp.zeros(() if channels is None else (len(channels),))
        return obs, Wrapped(inner, (owed, jnp.zeros((), jnp.int32)))

    def step_env(
        self, key: Array, state: Wrapped, action: Array, params: Any
    ) -> tuple[PyTree, Wrapped, Array, Array, Any]:
        obs, inner, reward, terminated, info = self.env.step_env(key, state.inner, action, params)
        owed, time = state.memory[0] + reward, state.memory[1] + 1
        due = terminated | self.env.is_truncated(inner, params)
        if self.interval is not None:
            due = due | (time % self.interval == 0)
        paid = jnp.where(due, owed, 0.0)
        return obs, Wrapped(inner, (owed - paid, time)), paid, terminated, info


class PreferenceParams(NamedTuple):
    """Parameters of `Preference`."""

    inner: Any  # parameters of the wrapped environment
    weights: Array | None = None  # [C, m] to draw from; None: all of the simplex, uniformly
    probability: Array | None = None  # [C] of each, up to a factor; None: all the same

    @property
    def max_steps_in_episode(self) -> Any:
        return self.inner.max_steps_in_episode

    def listed(self) -> tuple[Array, Array]:
        """`weights [C, m]` and which of them may be drawn, bool `[C]`.

        Raises:
          ValueError: if none are listed.
        """
        if self.weights is None:
            raise ValueError("weights must be an array [C, m], the preferences to choose among; got None")
        return self.weights, jnp.ones(len(self.weights), bool) if self.probability is None else self.probability > 0


class Preference(WrapperWithMemory):
    """Adds a preference to the observation, drawn at each reset: `{"observation": obs, "preference": weights}`.

    The weights are one for each reward channel, which algorithms then learn the weighted sum of (`rlx.space`): one
    policy for all preferences. The entries of a `Dict` observation stay as they are beside the preference. The
    parameters say what is drawn.

    Source: Abels et al., "Dynamic Weights in Multi-Objective Deep Reinforcement Learning" (2019).

    Raises:
      ValueError: if the environment has no `reward_channels`.
    """

    def __init__(self, env: Environment):
        super().__init__(env)
        channels = getattr(env, "reward_channels", None)
        check.require(channels is not None, "reward_channels", channels, "names of the channels: a vector reward")
        self.num_objectives = len(env.reward_channels)

    @property
    def default_params(self) -> PreferenceParams:
        return PreferenceParams(self.env.default_params)

    def sample_preferences(self, key: Array, params: PreferenceParams, num: int) -> Array:
        """`[num, m]`."""
        if params.weights is None:
            return sample_weights(key, num, self.num_objectives)
        return jax.random.choice(key, params.weights, (num,), p=params.probability)

    def reset_env(self, key: Array, params: PreferenceParams) -> tuple[PyTree, Wrapped]:
        reset_key, preference_key = jax.random.split(key)
        obs, inner = self.env.reset_env(reset_key, params.inner)
        preference = self.sample_preferences(preference_key, params, 1)[0]
        return self.observe(obs, preference), Wrapped(inner, preference)

    def step_env(
        self, key: Array, state: Wrapped, action: Array, params: PreferenceParams
    ) -> tuple[PyTree, Wrapped, Array, Array, Any]:
        obs, inner, reward, terminated, info = self.env.step_env(key, state.inner, action, params.inner)
        return self.observe(obs, state.memory), Wrapped(inner, state.memory), reward, terminated, info

    def observe(self, obs: PyTree, preference: Array) -> dict[str, Any]:
        """An observation of the wrapped environment together with a preference."""
        return {**(obs if isinstance(obs, dict) else {"observation": obs}), space.PREFERENCE: preference}

    def is_truncated(self, state: Wrapped, params: PreferenceParams) -> Array:
        return super().is_truncated(state, params.inner)

    def observation_space(self, params: PreferenceParams) -> space.Dict:
        inner = super().observation_space(params.inner)
        parts = inner.spaces if isinstance(inner, space.Dict) else {"observation": inner}
        return space.Dict({**parts, space.PREFERENCE: space.Box(-1.0, 1.0, (self.num_objectives,))})

    def action_space(self, params: PreferenceParams) -> Any:
        return super().action_space(params.inner)


class Skill(WrapperWithMemory):
    """Adds a skill to the observation, one of `n`, drawn at each reset: `{"observation": obs, "skill": one-hot [n]}`.

    Policies see it; `rlx.exploration.diayn` rewards what makes it known. The entries of a `Dict` observation stay as
    they are beside it. Rewards are the wrapped environment's.
    """

    def __init__(self, env: Environment, n: int):
        super().__init__(env)
        check.count("n", n, 2)
        self.n = n

    def reset_env(self, key: Array, params: Any) -> tuple[PyTree, Wrapped]:
        reset_key, skill_key = jax.random.split(key)
        obs, inner = self.env.reset_env(reset_key, params)
        skill = jax.nn.one_hot(jax.random.randint(skill_key, (), 0, self.n), self.n)
        return self.observe(obs, skill), Wrapped(inner, skill)

    def step_env(
        self, key: Array, state: Wrapped, action: Array, params: Any
    ) -> tuple[PyTree, Wrapped, Array, Array, Any]:
        obs, inner, reward, terminated, info = self.env.step_env(key, state.inner, action, params)
        return self.observe(obs, state.memory), Wrapped(inner, state.memory), reward, terminated, info

    def observe(self, obs: PyTree, skill: Array) -> dict[str, Any]:
        """An observation of the wrapped environment together with a skill."""
        return {**(obs if isinstance(obs, dict) else {"observation": obs}), space.SKILL: skill}

    def observation_space(self, params: Any) -> space.Dict:
        inner = super().observation_space(params)
        parts = inner.spaces if isinstance(inner, space.Dict) else {"observation": inner}
        return space.Dict({**parts, space.SKILL: space.Box(0.0, 1.0, (self.n,))})


def _has_mask(part: space.Space) -> bool:
    return isinstance(part, space.Dict) and space.ACTION_MASK in part.spaces


def _without_mask(part: space.Dict) -> dict[str, Any]:
    return {name: sub for name, sub in part.spaces.items() if name != space.ACTION_MASK}


def _flatten(x: PyTree, part: space.Space) -> Array:
    """A float32 vector; action masks left out."""
    if isinstance(part, space.Dict):
        return jnp.concatenate([_flatten(x[name], sub) for name, sub in _without_mask(part).items()])
    if isinstance(part, space.Discrete):
        return jax.nn.one_hot(x, part.n)
    if isinstance(part, space.MultiDiscrete):
        return jnp.concatenate([jax.nn.one_hot(x[i], n) for i, n in enumerate(part.nvec)])
    return jnp.ravel(x).astype(jnp.float32)


def _bounds(part: space.Space) -> list[tuple[np.ndarray, np.ndarray]]:
    """Lowest and highest value of each entry of `_flatten`, part by part."""
    if isinstance(part, space.Dict):
        return [bounds for sub in _without_mask(part).values() for bounds in _bounds(sub)]
    if isinstance(part, space.Discrete):
        return [(np.zeros(part.n), np.ones(part.n))]
    if isinstance(part, space.MultiDiscrete):
        return [(np.zeros(sum(part.nvec)), np.ones(sum(part.nvec)))]
    low, high = (np.ravel(np.broadcast_to(bound, part.shape)) for bound in (part.low, part.high))
    return [(low, high)]


def _vector_box(bounds: list[tuple[np.ndarray, np.ndarray]]) -> space.Box:
    low, high = (np.concatenate(parts).astype(np.float32) for parts in zip(*bounds, strict=True))
    return space.Box(low, high, low.shape)


def _require_box(name: str, part: space.Space) -> None:
    if not isinstance(part, space.Box):
        raise TypeError(f"{name} must be a Box; got {part!r}")


def _require_vector(part: Any) -> None:
    _require_box("observations", part)
    check.require(len(part.shape) == 1, "shape of the observations", part.shape, "of rank 1 (see FlattenObservation)")
