"""`check_env`: does an environment keep the interface? Tested under jit, vmap and scan; lists all that is wrong."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check, space
from rlx.envs.interface import step as reference_step
from rlx.types import Array, Environment, PyTree

_METHODS = (
    "reset_env",
    "step_env",
    "is_truncated",
    "reset",
    "step",
    "observation_space",
    "action_space",
    "default_params",
)


class CheckReport(NamedTuple):
    """What happened in the random steps of `check_env`, to see whether both kinds of ending were met."""

    steps: int
    terminations: int
    truncations: int


def check_env(
    env: Environment, params: Any = None, *, num_envs: int = 4, steps: int = 64, limit: int = 8, seed: int = 0
) -> CheckReport:
    """Take random (legal) steps and check everything that algorithms rely on.

    - observations lie in the declared space, with its shapes and dtypes; rewards are float32 `[]`, or `[K]` with `K`
      `reward_channels`; both flags are boolean;
    - states after a reset and after a step have the same structure, shapes and dtypes, so that they can be carried by a
      scan;
    - everything runs under jit and scan, vmapped over keys and over parameters;
    - `step` is `step_env` followed by a new episode where `terminated | truncated`: `info["final_observation"]` is what
      `step_env` returned, and the new observation and state are `reset_env`'s (compared with `rlx.envs.interface.step`,
      which splits the key as gymnax does);
    - the same key gives the same step;
    - an action mask leaves at least one action;
    - with `params.max_steps_in_episode = limit` every episode ends within `limit` steps, and truncation is met unless
      all episodes terminate first. Skipped for parameters without that field.

    Returns:
      How many endings of each kind were met (with the parameters as given, then with the short limit).

    Raises:
      ValueError: a list of all that is wrong.
    """
    missing = [name for name in _METHODS if not hasattr(env, name)]
    check.require(not missing, "env", env, f"an environment (rlx.types.Environment); it lacks {', '.join(missing)}")
    params = env.default_params if params is None else params
    problems = _signature_problems(env, params)
    if not problems:
        run = jax.jit(jax.vmap(lambda key, params: _random_steps(env, key, params, steps)))
        keys = jax.random.split(jax.random.key(seed), num_envs)
        record = run(keys, _stack(params, num_envs))
        problems += _record_problems(env, params, record)
        records = [record]
        if not _equal(record, run(keys, _stack(params, num_envs))):
            problems.append("the same keys gave another trajectory the second time")
        if dataclasses.is_dataclass(params) and hasattr(params, "max_steps_in_episode"):
            old = params.max_steps_in_episode
            short = dataclasses.replace(params, max_steps_in_episode=jnp.asarray(limit, jnp.result_type(old)))
            records.append(run(keys, _stack(short, num_envs)))
            problems += _limit_problems(records[-1], limit)
    if problems:
        raise ValueError(f"{type(env).__name__} breaks the environment interface:\n- " + "\n- ".join(problems))
    return CheckReport(
        steps=len(records) * num_envs * steps,
        terminations=sum(int(r.terminated.sum()) for r in records),
        truncations=sum(int(r.truncated.sum()) for r in records),
    )


class _Record(NamedTuple):
    """Random steps; leaves [B, T] or [B, T, ...]."""

    terminated: Array
    truncated: Array
    finite: Array  # observations and reward
    inside: Array  # the observation lies in the declared space
    legal: Array  # the mask leaves an action
    same_step: Array  # `step` does what step_env and reset_env do
    same_final: Array  # info["final_observation"] is step_env's observation


def _signature_problems(env: Environment, params: Any) -> list[str]:
    """Structure, shapes and dtypes, found by tracing alone."""
    problems = []
    obs_space, action_space = (space.from_gymnax(f(params)) for f in (env.observation_space, env.action_space))
    key = jax.random.key(0)
    action = jax.eval_shape(action_space.sample, key)
    obs, state = jax.eval_shape(env.reset, key, params)
    stepped = jax.eval_shape(env.step, key, state, action, params)
    if len(stepped) != 6:
        return [f"step must return (obs, state, reward, terminated, truncated, info); got {len(stepped)} values"]
    next_obs, next_state, reward, terminated, truncated, info = stepped

    expected = _types(jax.eval_shape(lambda: space.example(obs_space)))
    for name, value in (
        ("reset", obs),
        ("step", next_obs),
        ("info['final_observation']", info.get("final_observation")),
    ):
        if _types(value) != expected:
            problems.append(f"observation of {name} is {_types(value)}; the space declares {expected}")
    if _types(state) != _types(next_state):
        problems.append(f"state after a step is {_types(next_state)}; after a reset {_types(state)}")
    channels = getattr(env, "reward_channels", None)
    shape = () if channels is None else (len(channels),)
    if reward.shape != shape or reward.dtype != jnp.float32:
        problems.append(f"reward is {_types(reward)}; expected float32{shape} for reward_channels = {channels}")
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if flag.shape != () or flag.dtype != jnp.bool_:
            problems.append(f"{name} is {_types(flag)}; expected bool()")
    if isinstance(obs_space, space.Dict) and space.ACTION_MASK in obs_space.spaces:
        mask = obs_space.spaces[space.ACTION_MASK]
        size = action_space.n if isinstance(action_space, space.Discrete) else sum(getattr(action_space, "nvec", ()))
        if mask.shape != (size,) or mask.dtype != jnp.bool_:
            problems.append(f"action mask is {mask}; expected bool({size},)")
    return problems


def _random_steps(env: Environment, key: Array, params: Any, steps: int) -> _Record:
    obs_space, action_space = (space.from_gymnax(f(params)) for f in (env.observation_space, env.action_space))

    def one_step(carry: tuple[PyTree, PyTree], key: Array) -> tuple[tuple[PyTree, PyTree], _Record]:
        obs, state = carry
        action_key, step_key = jax.random.split(key)
        mask = obs.get(space.ACTION_MASK) if isinstance(obs, dict) else None
        action = _random_action(action_key, action_space, mask)
        stepped = env.step(step_key, state, action, params)
        next_obs, next_state, reward, terminated, truncated, info = stepped
        # where `step` is that very function there is nothing to compare, and compiling the environment once is enough
        own_step = getattr(type(env), "step", None) is not reference_step
        reference = reference_step(env, step_key, state, action, params) if own_step else stepped
        seen = (next_obs, info["final_observation"])
        return (next_obs, next_state), _Record(
            terminated,
            truncated,
            finite=_all([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves((seen, reward))]),
            inside=_all([_inside(obs_space, x) for x in seen]),
            legal=jnp.ones((), bool)
            if mask is None
            else _all([jnp.any(part) for part in _mask_parts(action_space, mask)]),
            same_step=_equal(stepped[:5], reference[:5]),
            same_final=_equal(info["final_observation"], reference[5]["final_observation"]),
        )

    reset_key, steps_key = jax.random.split(key)
    return jax.lax.scan(one_step, env.reset(reset_key, params), jax.random.split(steps_key, steps))[1]


def _record_problems(env: Environment, params: Any, record: _Record) -> list[str]:
    space_ = env.observation_space(params)
    said = {
        "finite": "an observation or a reward is not finite",
        "inside": f"an observation lies outside of the declared space {space_}",
        "legal": "an action mask forbids every action",
        "same_step": "step differs from step_env followed by reset_env where terminated | truncated",
        "same_final": 'info["final_observation"] is not the observation that step_env returned',
    }
    found = {field: int(np.argmin(np.asarray(getattr(record, field)).all(axis=0))) for field in said}
    return [f"{said[field]} (first in step {t})" for field, t in found.items() if not np.all(getattr(record, field))]


def _limit_problems(record: _Record, limit: int) -> list[str]:
    done = np.asarray(record.terminated | record.truncated)
    length, longest = np.zeros(len(done), int), 0
    for ended in done.T:
        length += 1
        longest = max(longest, int(length.max()))
        length[ended] = 0
    problems = []
    if longest > limit:
        problems.append(f"an episode lasted {longest} steps with max_steps_in_episode = {limit}")
    elif longest == limit and not np.any(record.truncated):
        problems.append(f"no episode was truncated with max_steps_in_episode = {limit}, though one lasted that long")
    return problems


def _random_action(key: Array, action_space: Any, mask: Array | None) -> Array:
    if mask is None:
        return action_space.sample(key)
    parts = _mask_parts(action_space, mask)
    keys = jax.random.split(key, len(parts))
    drawn = [jax.random.categorical(k, jnp.where(part, 0.0, -jnp.inf)) for k, part in zip(keys, parts, strict=True)]
    return (drawn[0] if isinstance(action_space, space.Discrete) else jnp.stack(drawn)).astype(action_space.dtype)


def _mask_parts(action_space: Any, mask: Array) -> list[Array]:
    """The mask of each component of the action."""
    if isinstance(action_space, space.Discrete):
        return [mask]
    return jnp.split(mask, np.cumsum(action_space.nvec)[:-1])


def _inside(part: space.Space, x: PyTree, tolerance: float = 1e-4) -> Array:
    """`part.contains(x)` up to rounding."""
    if isinstance(part, space.Dict):
        return _all([_inside(sub, x[name]) for name, sub in part.spaces.items()])
    if isinstance(part, space.Box) and part.dtype != jnp.bool_:
        slack = tolerance * jnp.maximum(1.0, jnp.abs(x))
        return jnp.all((x >= part.low - slack) & (x <= part.high + slack))
    return part.contains(x)


def _types(tree: PyTree) -> Any:
    return jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", tree)


def _stack(params: Any, n: int) -> Any:
    return jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * n), params)


def _equal(a: PyTree, b: PyTree) -> Array:
    return _all(
        [
            jnp.allclose(x, y, rtol=1e-5, atol=1e-5, equal_nan=True)
            for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        ]
    )


def _all(conditions: list[Array]) -> Array:
    return jnp.all(jnp.stack([jnp.asarray(c) for c in conditions]))
