"""Stepping a batch of environments: resets told apart from steps, and returns of finished episodes without stacking
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Environment, Mean, Transition


class EnvBatch(NamedTuple):
    """`B` environments between two steps."""

    obs: Any  # leaves [B, ...]: what the policy sees next
    state: Any
    reset: jax.Array  # bool [B]: `obs` is the first of an episode


class EnvStep(NamedTuple):
    """What one step of `B` environments gave."""

    reward: jax.Array  # [B] or [B, K_env]
    terminated: jax.Array  # bool [B]
    truncated: jax.Array  # bool [B]; never where terminated
    next_obs: Any  # leaves [B, ...], before any reset


def reset_batch(env: Environment, params: Any, key: jax.Array, num_envs: int) -> EnvBatch:
    """Start an episode in each of `num_envs` environments."""
    return _reset(env, params, jax.random.split(key, num_envs))


def _reset(env: Environment, params: Any, keys: jax.Array) -> EnvBatch:
    first = jax.vmap(env.reset_env, in_axes=(0, None))(keys, params)
    # literals in an environment leave weak types, which a step would change: each chunk would compile twice
    obs, state = jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), first)
    return EnvBatch(obs, state, jnp.ones(keys.shape[0], bool))


def step_batch(
    env: Environment, params: Any, key: jax.Array, batch: EnvBatch, action: jax.Array
) -> tuple[EnvBatch, EnvStep]:
    """Step every environment and reset those whose episode ended, keeping the observation that the step led to.

    Resets are computed only in steps where some episode ends (under `vmap` over seeds, in all).
    """
    num_envs = batch.reset.shape[0]
    step_keys = jax.random.split(key, (2, num_envs))[0]
    next_obs, state, reward, terminated, _ = jax.vmap(env.step_env, in_axes=(0, 0, 0, None))(
        step_keys, batch.state, action, params
    )
    terminated = terminated.astype(bool)
    truncated = jax.vmap(env.is_truncated, in_axes=(0, None))(state, params) & ~terminated
    done = terminated | truncated

    def reset_done(stepped: tuple[Any, Any]) -> tuple[Any, Any]:
        first = _reset(env, params, jax.random.split(key, (2, num_envs))[1])

        def where_done(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(done.reshape(done.shape + (1,) * (new.ndim - 1)), new, old).astype(old.dtype)

        return jax.tree.map(where_done, (first.obs, first.state), stepped)

    obs, state = jax.lax.cond(done.any(), reset_done, lambda stepped: stepped, (next_obs, state))
    return EnvBatch(obs, state, done), EnvStep(reward.astype(jnp.float32), terminated, truncated, next_obs)


def rollout(
    env: Environment,
    params: Any,
    key: jax.Array,
    batch: EnvBatch,
    num_steps: int,
    act: Callable[[jax.Array, Any], tuple[jax.Array, jax.Array]],
    to_env: Callable[[jax.Array], jax.Array] = lambda action: action,
) -> tuple[EnvBatch, Transition]:
    """Step `num_steps` times with `act(key, obs) -> action, log_prob`, of a policy without memory.

    The transitions hold the policy's actions; `to_env` makes of them what the environment takes.
    """

    def step(batch: EnvBatch, key: jax.Array) -> tuple[EnvBatch, Transition]:
        act_key, env_key = jax.random.split(key)
        action, log_prob = act(act_key, batch.obs)
        after, s = step_batch(env, params, env_key, batch, to_env(action))
        return after, Transition(batch.obs, action, log_prob, s.reward, s.terminated, s.truncated, s.next_obs)

    return jax.lax.scan(step, batch, jax.random.split(key, num_steps))


def truncated_rollout(
    dynamics: Callable[[jax.Array, Any, jax.Array], tuple[Any, jax.Array, jax.Array]],
    key: jax.Array,
    obs: Any,
    num_steps: int,
    act: Callable[[jax.Array, Any], jax.Array],
) -> tuple[Transition, jax.Array]:
    """Roll a model from given states for a few steps: `[num_steps, B]`, and which of the steps are real, bool.

    `dynamics(key, obs, action) -> next_obs, reward, terminated` of a batch. The last steps are truncated, not
    terminated: values go on beyond them, in states that no step starts from if the starts are always the same
    (`rlx.value.edge_of_reach`). Steps after the end of an episode are not real. Run it with a backward model to make
    ways that lead to the starts.

    Raises:
      ValueError: for a number of steps below 1.
    """
    check.count("num_steps", num_steps)

    def step(carry: tuple[Any, jax.Array], key: jax.Array) -> tuple[tuple[Any, jax.Array], Any]:
        obs, going = carry
        act_key, model_key = jax.random.split(key)
        action = act(act_key, obs)
        next_obs, reward, terminated = dynamics(model_key, obs, action)
        return (next_obs, going & ~terminated), (obs, action, reward, terminated, next_obs, going)

    going = jnp.ones(jax.tree.leaves(obs)[0].shape[0], bool)
    _, (states, action, reward, terminated, next_obs, valid) = jax.lax.scan(
        step, (obs, going), jax.random.split(key, num_steps)
    )
    last = (jnp.arange(num_steps) == num_steps - 1)[:, None]
    steps = Transition(states, action, jnp.zeros(valid.shape), reward, terminated, last & ~terminated, next_obs)
    return steps, valid


def next_values(
    value: jax.Array,
    last: jax.Array,
    truncated: jax.Array,
    episodic: jax.Array,
    value_of: Callable[[Any], jax.Array],
    reached: Any,
) -> jax.Array:
    """Value `[T, B, K]` of what each step led to: that of the next row, and where an episode was cut, of its own end.

    Only what was cut off is valued anew, `B` steps at a time for as long as there are any: most rollouts have few.
    Where the episode terminated the result is that of the next one's first state; a discount of 0 goes with it.

    Args:
      value: `[T, B, K]`, of what the policy saw.
      last: `[B, K]`, of what it sees after the rollout.
      truncated: bool `[T, B]`.
      episodic: bool `[K]`; channels that are not go on in the next episode's first state.
      value_of: from `[B, ...]` rows of `reached` to their values `[B, K]`.
      reached: what `value_of` reads of a step's end (its next observation, with memory), leaves `[T, B, ...]`.
    """
    size, batch_size = truncated.size, truncated.shape[1]
    rows = jax.tree.map(lambda x: x.reshape(size, *x.shape[2:]), reached)

    def add(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        values, cut = carry
        index = jnp.nonzero(cut, size=batch_size, fill_value=size)[0]  # beyond the last row where fewer are left
        ends, following = jax.tree.map(lambda x: x.at[index].get(mode="clip"), (rows, values))
        values = values.at[index].set(jnp.where(episodic, value_of(ends), following), mode="drop")
        return values, cut.at[index].set(False, mode="drop")

    values = jnp.concatenate([value[1:], last[None]]).reshape(size, -1)
    values, _ = jax.lax.while_loop(lambda carry: carry[1].any(), add, (values, truncated.reshape(size)))
    return values.reshape(value.shape)


class EpisodeSums(NamedTuple):
    """Undiscounted return and length so far of the episode that each environment is in."""

    reward: jax.Array  # [B, K]
    length: jax.Array  # int32 [B]


def init_episode_sums(num_envs: int, num_channels: int) -> EpisodeSums:
    return EpisodeSums(jnp.zeros((num_envs, num_channels)), jnp.zeros(num_envs, jnp.int32))


def finished_episodes(sums: EpisodeSums, reward: jax.Array, done: jax.Array) -> tuple[EpisodeSums, Mean, Mean]:
    """Mean return `[K]` and mean length of the episodes that end in `reward [T, B, K]`, `done [T, B]`.

    Everything up to an environment's last episode end belongs to finished episodes and everything after it to the
    running one, so two masked sums suffice and no episode is looked at by itself.
    """
    time = jnp.arange(done.shape[0])[:, None]
    last = jnp.max(jnp.where(done, time, -1), axis=0)  # [B]; -1: none ended
    ended = last >= 0
    before = time <= last
    head = jnp.sum(jnp.where(before[..., None], reward, 0.0), axis=0)
    tail = jnp.sum(jnp.where(before[..., None], 0.0, reward), axis=0)
    returns = jnp.sum(jnp.where(ended[:, None], sums.reward + head, 0.0), axis=0)
    lengths = jnp.sum(jnp.where(ended, sums.length + last + 1, 0)).astype(jnp.float32)
    episodes = jnp.sum(done).astype(jnp.float32)
    running = EpisodeSums(
        jnp.where(ended[:, None], 0.0, sums.reward) + tail,
        jnp.where(ended, 0, sums.length) + (done.shape[0] - 1 - last).astype(jnp.int32),
    )
    return running, Mean(returns, episodes), Mean(lengths, episodes)
