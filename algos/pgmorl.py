"""PGMORL: prediction-guided multi-objective reinforcement learning (Xu et al., 2020).

A population of policies along the front. A model, fitted to what training near a policy has brought, predicts what each
policy would gain under each of some weights; the pairs whose predictions make the best front are trained next.

Source: Xu et al., "Prediction-Guided Multi-Objective Reinforcement Learning for Continuous Robot Control" (2020).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.algos import ppo
from rlx.algos.morld import initial_weights
from rlx.pareto import (
    bin_elites,
    fit_improvement,
    predict_improvement,
    sample_weights,
    select_by_prediction,
    simplex_grid,
    utility_gradient,
)
from rlx.runtime.members import (
    Archive,
    evaluate_members,
    init_archive,
    init_members,
    member_learner,
    offer,
    policy_state,
    train_members,
    with_tasks,
)
from rlx.types import Algorithm, Array, Environment, Front, Policy, PyTree, Weighting


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of PGMORL. Floats may be traced (swept in one program); the rest fix the program's shape."""

    num_tasks: int = 6  # pairs of a policy and weights that a generation trains; 6: the paper
    num_weights: int = 7  # candidate weights for each policy; 7: the paper
    num_updates: int = 20  # of each learner in one generation; 20: the paper
    warmup: int = 4  # generations with fixed, evenly spread weights, from which the model learns first
    num_bins: int = 50  # of the population, by direction; the paper has 100 with two policies each
    num_records: int = 256  # of training, that the model is fitted to
    distance: float = 0.2  # at which a record counts exp(-1/2), in ranges of returns; ours
    spread: float = 0.0  # how much sparsity counts against hypervolume, for returns divided by their range
    episodes: int = 8  # to evaluate a policy with; they are not counted as environment steps
    greedy: bool = False  # evaluate without the policy's noise
    discount: float = 1.0  # of the returns that the front is made of; a critic's discount is the member's own
    capacity: int = 100  # of the archive
    member: ppo.Config = dataclasses.field(default_factory=ppo.Config)  # of each member, unless `make` is given another

    def __post_init__(self) -> None:
        names = ("num_tasks", "num_weights", "num_updates", "warmup", "num_bins", "num_records", "episodes", "capacity")
        for name in names:
            check.count(name, getattr(self, name))
        check.positive("distance", self.distance)
        check.in_range("spread", self.spread, 0.0)
        check.in_range("discount", self.discount, 0.0, 1.0)


class Records(NamedTuple):
    """What training has brought, the oldest overwritten."""

    before: Array  # [H, m] returns
    gain: Array  # [H, m]
    weight: Array  # [H, m]
    size: Array  # int32 []: how many there have been


class State(NamedTuple):
    """Everything that PGMORL remembers between generations."""

    members: PyTree  # states of the learners, leaves [P, ...]
    weights: Array  # [P, m]
    values: Array  # [P, m] mean returns of what the members have learned
    population: Archive  # of the best in each direction
    records: Records
    lowest: Array  # [m] of all evaluations
    highest: Array  # [m]
    archive: Archive
    generations: Array  # int32 []
    key: Array


def make(
    config: Config,
    env: Environment,
    env_params: Any = None,
    *,
    member: Callable[[Weighting], Algorithm] | None = None,
) -> Algorithm:
    """PGMORL on `env`, an environment of two or three rewards.

    Args:
      member: the learner of one task, given a weighting; PPO with `config.member` by default. It must learn the
        environment's own channels in their order, and have `Algorithm.learned`.

    Raises:
      ValueError: if the environment has no vector reward, or one of more than three objectives.
    """
    make_member = member or (lambda weighting: ppo.make(config.member, env, env_params, weighting=weighting))
    learner, num_objectives, ref = member_learner(
        env, lambda m: make_member(utility_gradient(lambda returns, weight: returns @ weight, jnp.ones(m)))
    )
    check.require(num_objectives in (2, 3), "reward_channels", env.reward_channels, "two or three, for an exact front")
    size = config.num_tasks
    candidates = spread_weights(config.num_weights, num_objectives)
    directions = spread_weights(config.num_bins, num_objectives)
    learned, with_learned = jax.vmap(learner.learned), jax.vmap(learner.with_learned)

    def scaled(state: State, values: Array) -> Array:
        """Returns in units of the range seen, from 0 for the lowest."""
        return (values - state.lowest) / jnp.where(state.highest > state.lowest, state.highest - state.lowest, 1.0)

    def choose(state: State) -> tuple[Array, Array]:
        """Rows of the population `[P]` and weights `[P, m]` to train next."""
        values = scaled(state, state.population.front.points)
        records = state.records
        exists = jnp.arange(config.num_records) < records.size
        before = scaled(state, records.before)
        gain = scaled(state, records.gain + state.lowest)

        def predict(value: Array) -> Array:
            """Expected returns `[W, m]` of a policy after a generation under each candidate."""
            near = jnp.exp(-0.5 * jnp.sum(jnp.square(before - value), axis=1) / config.distance**2)
            models = jax.vmap(fit_improvement, (1, 1, None))(records.weight, gain, near * exists)
            return value + jax.vmap(predict_improvement, (0, 1), 1)(models, candidates)

        predicted = jax.vmap(predict)(values).reshape(-1, num_objectives)
        valid = jnp.repeat(state.population.front.valid, len(candidates))
        front = Front(scaled(state, state.archive.front.points), state.archive.front.valid)
        low = jnp.zeros(num_objectives) if ref is None else jnp.minimum(scaled(state, ref), 0.0)
        chosen = select_by_prediction(front, predicted, valid, size, low, config.spread)
        return chosen // len(candidates), candidates[chosen % len(candidates)]

    def record(records: Records, before: Array, gain: Array, weight: Array) -> Records:
        slots = (records.size + jnp.arange(size)) % config.num_records
        arrays = zip(records[:3], (before, gain, weight), strict=True)
        return Records(*(old.at[slots].set(new) for old, new in arrays), records.size + size)

    def keep(state: State, values: Array, members: PyTree) -> Archive:
        """The population after the members have joined it."""
        old = state.population
        points = jnp.concatenate([old.front.points, values])
        valid = jnp.concatenate([old.front.valid, jnp.ones(size, bool)])
        index, found = bin_elites(scaled(state, points), valid, directions)
        kept = jax.tree.map(lambda x, y: jnp.concatenate([x, y])[index], old.learned, learned(members))
        return Archive(Front(points[index], found), kept, old.selected)

    def evaluate(members: PyTree, key: Array) -> Array:
        return evaluate_members(
            learner, members, env, env_params, key, config.episodes, discount=config.discount, greedy=config.greedy
        )

    def init(key: Array) -> State:
        member_key, weight_key, eval_key, key = jax.random.split(key, 4)
        members = init_members(learner, member_key, size)
        values = evaluate(members, eval_key)
        one = jax.tree.map(lambda x: x[0], learned(members))
        archive = init_archive(config.capacity, num_objectives, one)
        weights = initial_weights(weight_key, size, num_objectives)
        records = Records(*jnp.zeros((3, config.num_records, num_objectives)), jnp.zeros((), jnp.int32))
        population = init_archive(config.num_bins, num_objectives, one)
        low, high, none = values.min(0), values.max(0), jnp.zeros((), jnp.int32)
        return State(members, weights, values, population, records, low, high, archive, none, key)

    def update(state: State, data: None = None) -> tuple[State, dict[str, Any]]:
        del data  # the members collect their own
        key, eval_key = jax.random.split(state.key)
        rows, chosen = choose(state)
        population = state.population
        picked = jax.tree.map(lambda x: x[rows], population.learned)
        warm = state.generations < config.warmup
        members, weights, before = jax.tree.map(
            lambda old, new: jnp.where(warm, old, new),
            (state.members, state.weights, state.values),
            (with_learned(state.members, picked), chosen, population.front.points[rows]),
        )
        members, metrics = train_members(learner, with_tasks(members, weights), config.num_updates)
        values = evaluate(members, eval_key)
        state = State(
            members,
            weights,
            values,
            population,
            record(state.records, before, values - before, weights),
            jnp.minimum(state.lowest, values.min(0)),
            jnp.maximum(state.highest, values.max(0)),
            offer(state.archive, values, learned(members), ref),
            state.generations + 1,
            key,
        )
        state = state._replace(population=keep(state, values, members))
        size_now = state.archive.front.valid.sum().astype(jnp.float32)
        return state, metrics | {"evaluation": values.mean(0), "front_size": size_now}

    def policy(state: State) -> Policy:
        """That of the archive with the largest sum of returns, each divided by its range."""
        worth = scaled(state, state.archive.front.points).sum(1)
        best = jnp.argmax(jnp.where(state.archive.front.valid, worth, -jnp.inf))
        return learner.policy(policy_state(learner, state.members, state.archive, best))

    def front(state: State) -> Front:
        return state.archive.front

    steps = size * config.num_updates * learner.steps_per_update
    return Algorithm(init, update, policy, steps, learner.channels, front=front)


def spread_weights(num: int, num_objectives: int) -> Array:
    """`num` weight vectors spread over the simplex: a grid for two objectives, else random but always the same."""
    if num_objectives == 2 and num > 1:
        return simplex_grid(2, num - 1)
    return sample_weights(jax.random.key(0), num, num_objectives)
