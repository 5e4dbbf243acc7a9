"""Scalarised multi-objective Q-learning: a table of value vectors (Van Moffaert, Drugan and Nowé, 2013).

Actions are greedy in a utility of the vectors. It finds one policy; sweep or vmap over weights for a set of them.
Linear weights find the convex hull of the front only. Chebyshev's utility can prefer points inside it, but not
reliably: it ranks what is left to collect from a state, without what has been collected on the way there, and its
Bellman equation does not hold.

Source: Van Moffaert, Drugan and Nowé, "Scalarized Multi-Objective Reinforcement Learning: Novel Design Techniques"
(2013).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.algos.dqn import ramp
from rlx.pareto import scalarise
from rlx.runtime.problem import initial_weights, pose, prefixed, reweigh, table_shape
from rlx.runtime.rollout import EnvBatch, EpisodeSums, finished_episodes, init_episode_sums, reset_batch, rollout
from rlx.types import Algorithm, Array, Environment, Policy, PyTree, RewardSource, Transition, Weighting


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of multi-objective Q-learning. Floats may be traced (swept in one program)."""

    num_envs: int = 8  # environments stepped side by side
    num_steps: int = 8  # steps of each environment in one update, learned from one after the other
    learning_rate: float = 0.1  # share of the way to the target; 0.1: the paper
    discount: float = 0.99  # per step, for channels that do not say
    utility: Literal["linear", "chebyshev"] = "linear"  # of a value vector, given the channels' weights
    margin: float = 0.1  # chebyshev: how far its ideal lies above the best values met; reward units
    initial_value: float = 0.0  # of all entries of the table; reward units
    epsilon_start: float = 1.0  # probability of a random action at the first update
    epsilon_end: float = 0.1  # the same from `epsilon_steps` on; 0.1: the paper
    epsilon_steps: int = 50_000  # environment steps over which it falls linearly

    def __post_init__(self) -> None:
        for name in ("num_envs", "num_steps", "epsilon_steps"):
            check.count(name, getattr(self, name))
        check.in_range("learning_rate", self.learning_rate, 0.0, 1.0, open_low=True)
        check.in_range("margin", self.margin, 0.0)
        check.require(self.utility in ("linear", "chebyshev"), "utility", self.utility, "'linear' or 'chebyshev'")
        for name in ("discount", "epsilon_start", "epsilon_end"):
            check.in_range(name, getattr(self, name), 0.0, 1.0)


class State(NamedTuple):
    """Everything that multi-objective Q-learning remembers between updates."""

    q: Array  # [S, A, K]
    best: Array  # [K]: the highest values met
    envs: EnvBatch
    episodes: EpisodeSums
    source: PyTree
    weighting: PyTree
    weights: Array  # [K] of the channels
    updates: Array  # int32 []: taken so far, on which the schedule depends
    key: Array


def make(
    config: Config,
    env: Environment,
    env_params: Any = None,
    *,
    rewards: RewardSource | None = None,
    weighting: Weighting | None = None,
) -> Algorithm:
    """Q-learning on `env`, for the channels of `rewards` (by default the environment's), with weights from `weighting`
    (by default 1 each; `rlx.pareto.linear(w)` for others, which may be traced).

    Raises:
      TypeError: for observations or actions that are not Discrete.
      ValueError: for a channel that is not episodic, or a weighting that needs policy gradients.
    """
    problem = pose(env, env_params, rewards, weighting, config.num_envs, continuing=False)
    num_states, num_actions = table_shape(problem, "mo_q_learning")
    env_params, rewards, channels, weighting = problem.env_params, problem.rewards, problem.channels, problem.weighting
    gamma, num_channels = problem.discounts(config.discount), len(channels)
    steps_per_update = config.num_envs * config.num_steps

    def greedy(q: Array, best: Array, weights: Array) -> Array:
        """`[..., A, K]` -> the action of the highest utility, `[...]`."""
        utility = scalarise(q, weights, config.utility, best + config.margin)
        return jnp.argmax(utility, axis=-1)

    def epsilon_greedy(state: State, key: Array, obs: Array, epsilon: Array | float) -> Array:
        random_key, choice_key = jax.random.split(key)
        random = jax.random.randint(random_key, obs.shape, 0, num_actions)
        explore = jax.random.uniform(choice_key, obs.shape) < epsilon
        return jnp.where(explore, random, greedy(state.q[obs], state.best, state.weights))

    def epsilon(updates: Array) -> Array:
        progress = updates * (steps_per_update / config.epsilon_steps)
        return ramp(config.epsilon_start, config.epsilon_end, progress)

    def init(key: Array) -> State:
        source_key, env_key, run_key = jax.random.split(key, 3)
        weights, weighting_state = initial_weights(weighting, num_channels)
        return State(
            jnp.full((num_states, num_actions, num_channels), config.initial_value, jnp.float32),
            jnp.full(num_channels, config.initial_value, jnp.float32),
            reset_batch(env, env_params, env_key, config.num_envs),
            init_episode_sums(config.num_envs, num_channels),
            rewards.init(source_key, problem.spec),
            weighting_state,
            weights,
            jnp.zeros((), jnp.int32),
            run_key,
        )

    def learn(state: State, step: tuple[Transition, Array]) -> tuple[State, Array]:
        """One step of each environment; where several took the same one, their mean error."""
        (obs, action, _, _, terminated, _, next_obs), reward = step
        next_q = state.q[next_obs]
        next_action = greedy(next_q, state.best, state.weights)
        next_value = jnp.take_along_axis(next_q, next_action[:, None, None], axis=1)[:, 0]
        target = reward + gamma * (1 - terminated[:, None]) * next_value
        error = target - state.q[obs, action]
        same = (obs[:, None] == obs) & (action[:, None] == action)
        q = state.q.at[obs, action].add(config.learning_rate * error / same.sum(1)[:, None])
        best = jnp.maximum(state.best, q[obs, action].max(0))
        return state._replace(q=q, best=best), jnp.square(error).mean(0)

    def update(state: State, data: None = None) -> tuple[State, dict[str, Any]]:
        del data  # it collects its own
        key, rollout_key, compute_key, source_key = jax.random.split(state.key, 4)
        rate = epsilon(state.updates)

        def act(key: Array, obs: Array) -> tuple[Array, Array]:
            return epsilon_greedy(state, key, obs, rate), jnp.zeros(config.num_envs)

        envs, batch = rollout(env, env_params, rollout_key, state.envs, config.num_steps, act)
        reward, source = rewards.compute(state.source, batch, compute_key)
        episodes, returns, lengths = finished_episodes(state.episodes, reward, batch.terminated | batch.truncated)
        learned, losses = jax.lax.scan(learn, state, (batch, reward))
        source, source_metrics = rewards.update(source, batch, source_key)
        weights, weighting_state, weighting_metrics = reweigh(weighting, state.weighting, returns)
        metrics = {"loss/value": losses.mean(0), "epsilon": rate} | prefixed("source", source_metrics)
        metrics |= {"episode_return": returns, "episode_length": lengths} | weighting_metrics
        state = learned._replace(
            envs=envs,
            episodes=episodes,
            source=source,
            weighting=weighting_state,
            weights=weights,
            updates=state.updates + 1,
            key=key,
        )
        return state, metrics

    def policy(state: State) -> Policy:
        def act(key: Array, obs: Array, memory: PyTree, reset: Array, greedy: bool = False) -> tuple[Array, PyTree]:
            del reset  # no memory
            return epsilon_greedy(state, key, obs, 0.0 if greedy else epsilon(state.updates)), memory

        return Policy(lambda batch_size: (), act)

    def learned(state: State) -> tuple[Array, Array]:
        return state.q, state.best

    def with_learned(state: State, table: tuple[Array, Array]) -> State:
        return state._replace(q=table[0], best=table[1])

    return Algorithm(init, update, policy, steps_per_update, channels, learned, with_learned)
