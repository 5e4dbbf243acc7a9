"""Evaluation: fresh episodes of a policy, by the raw rewards of the environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx.types import Environment, Policy, PyTree

UNBOUNDED_STEPS = 10_000  # bound for environments whose parameters have no time limit


class Evaluation(NamedTuple):
    """Outcome of `E` episodes."""

    returns: jax.Array  # float32 [E] or [E, K]: sums of the environment's own rewards, discounted if so asked
    lengths: jax.Array  # int32 [E]: steps taken
    finished: jax.Array  # bool [E]: the episode ended within the bound
    visits: jax.Array | None = None  # int32 [n, m]: steps of all episodes that led to each cell of the map


def scripted(act: Callable[[jax.Array, PyTree], jax.Array]) -> Policy:
    """A policy without memory from a function of a key and observations `[B, ...]` that gives actions `[B, ...]`."""
    return Policy(lambda batch_size: (), lambda key, obs, memory, reset, greedy=False: (act(key, obs), memory))


def evaluate(
    policy: Policy,
    env: Environment,
    key: jax.Array,
    episodes: int,
    *,
    env_params: Any = None,
    max_steps: int | None = None,
    greedy: bool = True,
    discount: jax.Array | float = 1.0,
) -> Evaluation:
    """Play `episodes` episodes side by side, each from a fresh reset to its end or to `max_steps`.

    Rewards are the environment's own, without training wrappers, bonuses or normalisation. `max_steps` defaults to the
    environment's `max_steps_in_episode`, else to 10,000, so that evaluation ends for every policy. With a `discount`
    the reward of step t (from 0) counts `discount^t`. Visits are counted in environments that have a `map_shape (n, m)`
    and say in `info["place"]`, int32 `[2]`, where a step has led. Pure: can be jitted and vmapped.
    """
    params = env.default_params if env_params is None else env_params
    bound = getattr(params, "max_steps_in_episode", UNBOUNDED_STEPS) if max_steps is None else max_steps
    reset_key, key = jax.random.split(key)
    obs, env_state = jax.vmap(env.reset_env, (0, None))(jax.random.split(reset_key, episodes), params)
    step = jax.vmap(env.step_env, (0, 0, 0, None))
    carry = policy.init(episodes)
    first = jnp.ones(episodes, bool)
    map_shape = getattr(env, "map_shape", None)

    def act_and_step(key, obs, env_state, carry, first):
        act_key, step_key = jax.random.split(key)
        action, carry = policy.act(act_key, obs, carry, first, greedy=greedy)
        keys = jax.random.split(step_key, episodes)
        obs, env_state, reward, terminated, info = step(keys, env_state, action, params)
        truncated = jax.vmap(env.is_truncated, (0, None))(env_state, params)
        return obs, env_state, carry, reward, terminated | truncated, None if map_shape is None else info["place"]

    reward_shape = jax.eval_shape(act_and_step, key, obs, env_state, carry, first)[3].shape
    start = Evaluation(
        jnp.zeros(reward_shape),
        jnp.zeros(episodes, jnp.int32),
        jnp.zeros(episodes, bool),
        None if map_shape is None else jnp.zeros(map_shape, jnp.int32),
    )

    def unfinished(loop):
        *_, result, t = loop
        return (t < bound) & ~jnp.all(result.finished)

    def body(loop):
        key, obs, env_state, carry, first, result, t = loop
        key, step_key = jax.random.split(key)
        obs, env_state, carry, reward, done, place = act_and_step(step_key, obs, env_state, carry, first)
        running = ~result.finished
        counted = running.reshape(running.shape + (1,) * (reward.ndim - 1))
        result = Evaluation(
            result.returns + jnp.where(counted, discount**t * reward, 0).astype(jnp.float32),
            result.lengths + running,
            result.finished | done,
            None if place is None else result.visits.at[place[:, 0], place[:, 1]].add(running.astype(jnp.int32)),
        )
        # Episodes that are over step on unrecorded; clearing `first` for all is right, as none starts again.
        return key, obs, env_state, carry, jnp.zeros_like(first), result, t + 1

    return jax.lax.while_loop(unfinished, body, (key, obs, env_state, carry, first, start, jnp.int32(0)))[-2]
