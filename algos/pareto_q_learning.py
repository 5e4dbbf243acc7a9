"""Pareto Q-learning: the whole front in one run, concave or not (Van Moffaert and Nowé, 2014).

For every state and action a table holds the mean reward and, apart from it, a set of value vectors of what follows;
the policy follows any point of the front. For deterministic transitions (of a chance successor the last one met
counts), and of a size that tables allow.

Source: Van Moffaert and Nowé, "Multi-Objective Reinforcement Learning using Sets of Pareto Dominating Policies" (2014).
Here sets are backed up from the last step of a rollout to the first, so that what is found is known at the start at
once, and actions not tried yet are preferred.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.algos.dqn import ramp
from rlx.pareto import archive_insert, hypervolume, nondominated_mask
from rlx.runtime.problem import pose, prefixed, table_shape
from rlx.runtime.rollout import EnvBatch, EpisodeSums, finished_episodes, init_episode_sums, reset_batch, rollout
from rlx.types import Algorithm, Array, Environment, Front, Policy, PyTree, RewardSource


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of Pareto Q-learning. Floats may be traced (swept in one program)."""

    num_envs: int = 8  # environments stepped side by side
    num_steps: int = 32  # steps of each environment in one update
    capacity: int = 16  # value vectors kept for each state and action; the most crowded are dropped
    discount: float = 0.99  # per step, for channels that do not say; 1 if all episodes end
    # what the greedy action has most of: hypervolume (for few channels), vectors that no action's dominate, or whether
    # it has any of those
    exploration: Literal["hypervolume", "cardinality", "pareto"] = "hypervolume"
    epsilon_start: float = 1.0  # probability of a random action at the first update
    epsilon_end: float = 0.1  # the same from `epsilon_steps` on
    epsilon_steps: int = 50_000  # environment steps over which it falls linearly

    def __post_init__(self) -> None:
        for name in ("num_envs", "num_steps", "capacity", "epsilon_steps"):
            check.count(name, getattr(self, name))
        known = ("hypervolume", "cardinality", "pareto")
        check.require(self.exploration in known, "exploration", self.exploration, "one of " + ", ".join(known))
        for name in ("discount", "epsilon_start", "epsilon_end"):
            check.in_range(name, getattr(self, name), 0.0, 1.0)


class State(NamedTuple):
    """Everything that Pareto Q-learning remembers between updates."""

    mean: Array  # [S, A, K]: mean reward
    visits: Array  # int32 [S, A]
    after: Front  # [S, A, C, K] and [S, A, C]: values from the next step on, none before the first visit
    total: Array  # [S, A, C, K]: the same without any discount
    discount: Array  # [K]
    target: Array  # [K]: the return whose nearest known one `policy` follows; infinite entries: the best known
    start: Array  # int32 []: the first state of the first environment, whose front is reported
    envs: EnvBatch
    episodes: EpisodeSums
    source: PyTree
    updates: Array  # int32 []: taken so far, on which the schedule depends
    key: Array


def value_sets(state: State) -> Front:
    """The known values of every state and action: `[S, A, C, K]` and bool `[S, A, C]`."""
    return Front(state.mean[:, :, None] + state.discount * state.after.points, state.after.valid)


def discounted_front(state: State, index: Array | int | None = None) -> Front:
    """The known values of a state (by its number; default: the first) that no other dominates: `[A C, K]`."""
    return _best(jax.tree.map(lambda x: x[state.start if index is None else index], value_sets(state)))


def make(
    config: Config,
    env: Environment,
    env_params: Any = None,
    *,
    rewards: RewardSource | None = None,
    reference: Sequence[float] | None = None,
) -> Algorithm:
    """Pareto Q-learning on `env`, for the channels of `rewards` (by default the environment's).

    Its policy plays for the point of the front nearest to `State.target`, at first the ideal (the best of each
    channel): `policy(state._replace(target=point))` follows a chosen one, a row of `discounted_front(state)`.
    `front` has the same points without discount.

    Args:
      reference: `K` values below all returns of interest, for the hypervolume; default `env.reference_point`.

    Raises:
      TypeError: for observations or actions that are not Discrete.
      ValueError: for a channel that is not episodic, or without a reference.
    """
    problem = pose(env, env_params, rewards, None, config.num_envs, continuing=False)
    num_states, num_actions = table_shape(problem, "pareto_q_learning")
    env_params, rewards, channels = problem.env_params, problem.rewards, problem.channels
    num_channels = len(channels)
    given = getattr(env, "reference_point", None) if reference is None else reference
    allowed = f"{num_channels} values, here or as env.reference_point"
    check.require(given is not None and len(given) == num_channels, "reference", given, allowed)
    ref = jnp.asarray(given, jnp.float32)
    steps_per_update = config.num_envs * config.num_steps

    def epsilon(updates: Array) -> Array:
        progress = updates * (steps_per_update / config.epsilon_steps)
        return ramp(config.epsilon_start, config.epsilon_end, progress)

    # --- 1. Which actions are promising: scores [S, A], from the sets alone ---

    def scores(state: State) -> Array:
        sets = value_sets(state)
        if config.exploration == "hypervolume":
            score = jax.vmap(jax.vmap(lambda points, valid: hypervolume(points, ref, valid)))(*sets)
        else:
            kept = jax.vmap(_undominated)(sets)
            score = kept.sum(-1) if config.exploration == "cardinality" else kept.any(-1)
        return jnp.where(state.visits > 0, score, jnp.inf)  # what was never tried may hold anything

    def epsilon_greedy(score: Array, key: Array, obs: Array, epsilon: Array | float) -> Array:
        tie_key, random_key, choice_key = jax.random.split(key, 3)
        score = score[obs]
        best = score == score.max(1, keepdims=True)
        greedy = jnp.argmax(jnp.where(best, jax.random.uniform(tie_key, score.shape), -1.0), axis=1)
        random = jax.random.randint(random_key, obs.shape, 0, num_actions)
        return jnp.where(jax.random.uniform(choice_key, obs.shape) < epsilon, random, greedy)

    # --- 2. Learn: means of rewards, then sets from the last step to the first ---

    def count(state: State, obs: Array, action: Array, reward: Array) -> State:
        visits = state.visits.at[obs, action].add(1)
        surprise = reward - state.mean[obs, action]
        mean = state.mean.at[obs, action].add(surprise / visits[obs, action][..., None])
        # a reward that never varies is kept exactly: rounding would tell equal vectors apart
        near = jnp.abs(mean[obs, action] - reward) <= 1e-5 * (1 + jnp.abs(reward))
        mean = mean.at[obs, action].set(jnp.where(near, reward, mean[obs, action]))
        return state._replace(mean=mean, visits=visits)

    empty = Front(jnp.zeros((config.capacity, num_channels)), jnp.zeros(config.capacity, bool))

    def thin(best: Front) -> tuple[Array, Array]:
        kept, index = archive_insert(empty, *best)
        return jnp.maximum(index - config.capacity, 0), kept.valid

    def first_rows(best: Front) -> tuple[Array, Array]:
        index = jnp.argsort(~best.valid, stable=True)[: config.capacity]
        return index, best.valid[index]

    def back_up(state: State, step: tuple[Array, Array, Array, Array]) -> tuple[State, None]:
        obs, action, terminated, next_obs = step
        mean = state.mean[next_obs][:, :, None]
        values = Front(mean + state.discount * state.after.points[next_obs], state.after.valid[next_obs])
        best = jax.vmap(_best)(values)
        too_many = jnp.any(best.valid.sum(1) > config.capacity)
        index, valid = jax.lax.cond(too_many, jax.vmap(thin), jax.vmap(first_rows), best)
        totals = (mean + state.total[next_obs]).reshape(best.points.shape)
        over = terminated | ~valid.any(1)  # nothing follows, or nothing is known of it: zero
        some = valid & ~over[:, None]
        points, total = (
            jnp.where(some[..., None], jnp.take_along_axis(x, index[..., None], axis=1), 0.0)
            for x in (best.points, totals)
        )
        valid = some.at[:, 0].set(some[:, 0] | over)
        new = (Front(points, valid), total)
        after, total = jax.tree.map(lambda old, x: old.at[obs, action].set(x), (state.after, state.total), new)
        return state._replace(after=after, total=total), None

    # --- 3. One update ---

    def update(state: State, data: None = None) -> tuple[State, dict[str, Any]]:
        del data  # it collects its own
        key, rollout_key, compute_key, source_key = jax.random.split(state.key, 4)
        rate, score = epsilon(state.updates), scores(state)

        def act(key: Array, obs: Array) -> tuple[Array, Array]:
            return epsilon_greedy(score, key, obs, rate), jnp.zeros(config.num_envs)

        envs, batch = rollout(env, env_params, rollout_key, state.envs, config.num_steps, act)
        reward, source = rewards.compute(state.source, batch, compute_key)
        episodes, returns, lengths = finished_episodes(state.episodes, reward, batch.terminated | batch.truncated)
        state = count(state, batch.obs, batch.action, reward)
        steps = (batch.obs, batch.action, batch.terminated, batch.next_obs)
        state, _ = jax.lax.scan(back_up, state, steps, reverse=True)
        source, source_metrics = rewards.update(source, batch, source_key)
        metrics = {"epsilon": rate, "episode_return": returns, "episode_length": lengths}
        metrics |= {"front_size": discounted_front(state).valid.sum()} | prefixed("source", source_metrics)
        state = state._replace(envs=envs, episodes=episodes, source=source, updates=state.updates + 1, key=key)
        return state, metrics

    def init(key: Array) -> State:
        source_key, env_key, run_key = jax.random.split(key, 3)
        envs = reset_batch(env, env_params, env_key, config.num_envs)
        table = (num_states, num_actions)
        return State(
            jnp.zeros((*table, num_channels)),
            jnp.zeros(table, jnp.int32),
            Front(jnp.zeros((*table, config.capacity, num_channels)), jnp.zeros((*table, config.capacity), bool)),
            jnp.zeros((*table, config.capacity, num_channels)),
            problem.discounts(config.discount),
            jnp.full(num_channels, jnp.inf),
            envs.obs[0],
            envs,
            init_episode_sums(config.num_envs, num_channels),
            rewards.init(source_key, problem.spec),
            jnp.zeros((), jnp.int32),
            run_key,
        )

    # --- 4. Act: follow one point, by what of it is left ---

    def policy(state: State) -> Policy:
        sets = value_sets(state)

        def follow(obs: Array, left: Array, reset: Array) -> tuple[Array, Array]:
            points, valid = (x[obs].reshape(num_actions * config.capacity, -1) for x in sets)
            high = jnp.max(jnp.where(valid, points, -jnp.inf), axis=0)
            spread = jnp.maximum(high - jnp.min(jnp.where(valid, points, jnp.inf), axis=0), 1e-6)
            aim = jnp.where(reset, jnp.where(jnp.isinf(state.target), high, state.target), left)
            scale = jnp.where(reset, spread, 1.0)
            distance = jnp.sum(jnp.square((points - aim) / scale), axis=1)
            nearest = jnp.argmin(jnp.where(valid[:, 0], distance, jnp.inf))
            action, place = jnp.divmod(nearest, config.capacity)
            return action, state.after.points[obs, action, place]

        def act(key: Array, obs: Array, left: Array, reset: Array, greedy: bool = False) -> tuple[Array, Array]:
            random_key, choice_key = jax.random.split(key)
            action, left = jax.vmap(follow)(obs, left, reset)
            random = jax.random.randint(random_key, obs.shape, 0, num_actions)
            rate = 0.0 if greedy else epsilon(state.updates)
            return jnp.where(jax.random.uniform(choice_key, obs.shape) < rate, random, action), left

        return Policy(lambda batch_size: jnp.zeros((batch_size, num_channels)), act)

    def front(state: State) -> Front:
        values = state.mean[state.start][:, None] + state.total[state.start]
        return Front(values.reshape(-1, num_channels), discounted_front(state).valid)

    return Algorithm(init, update, policy, steps_per_update, channels, front=front)


def _undominated(sets: Front) -> Array:
    """Which of the vectors of all actions of one state `[A, C, K]` no other dominates; of equal ones all."""
    kept = nondominated_mask(*_joined(sets), keep_duplicates=True)
    return kept.reshape(sets.valid.shape)


def _best(sets: Front) -> Front:
    """The vectors of all actions of one state that no other dominates, each once: `[A C, K]`."""
    points, valid = _joined(sets)
    return Front(points, nondominated_mask(points, valid))


def _joined(sets: Front) -> Front:
    return Front(sets.points.reshape(-1, sets.points.shape[-1]), sets.valid.reshape(-1))
