"""MORL/D: multi-objective reinforcement learning based on decomposition (Felten, Talbi and Danoy, 2024).

A population of learners, each with a weight vector and so a scalar problem of its own. They cooperate: a learner may
begin from what its neighbour has learned, weights move apart along the front, and an archive keeps every policy that no
other dominates. But for a first sweep with transfer all members learn side by side; in the paper they take turns.

Source: Felten, Talbi and Danoy, "Multi-Objective Reinforcement Learning Based on Decomposition: A Taxonomy and
Framework" (2024).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.algos import ppo
from rlx.pareto import psa_weight_update, sample_weights, scalarise, simplex_grid, utility_gradient
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
    """Settings of MORL/D. Floats may be traced (swept in one program); the rest fix the program's shape."""

    population: int = 6  # learners; 6: the paper's code
    num_updates: int = 20  # of each member in one iteration, after which they are evaluated and cooperate
    episodes: int = 8  # to evaluate a member with; they are not counted as environment steps
    greedy: bool = False  # evaluate without the policy's noise; fronts of stochastic policies need it
    discount: float = 1.0  # of the returns that the front is made of; a critic's discount is the member's own
    capacity: int = 100  # of the archive
    kind: Literal["linear", "chebyshev", "smooth_chebyshev", "pbi"] = "linear"  # utility of a member's mean returns
    mu: float = 0.05  # smoothness of "smooth_chebyshev", on returns divided by their range
    margin: float = 0.5  # how far the ideal lies beyond the best returns, in units of returns; 0.5: the paper's code
    transfer: bool = True  # a first sweep: one after the other, each from what the nearest before it has learned
    adapt: Literal["none", "psa"] = "none"  # how weights move: not at all, or by Pareto simulated annealing
    delta: float = 0.1  # step of "psa", as a factor less 1; 0.1: the paper's code
    member: ppo.Config = dataclasses.field(default_factory=ppo.Config)  # of each member, unless `make` is given another

    def __post_init__(self) -> None:
        for name in ("population", "num_updates", "episodes", "capacity"):
            check.count(name, getattr(self, name))
        check.in_range("discount", self.discount, 0.0, 1.0)
        check.positive("mu", self.mu)
        check.in_range("margin", self.margin, 0.0)
        check.positive("delta", self.delta)


class Task(NamedTuple):
    """Parameters of a member's utility."""

    weight: Array  # [m]
    ideal: Array  # [m], in units of returns
    scale: Array  # [m]: the range of returns seen


class State(NamedTuple):
    """Everything that MORL/D remembers between iterations."""

    members: PyTree  # states of the learners, leaves [P, ...]
    weights: Array  # [P, m]
    values: Array  # [P, m] mean returns at the last evaluation
    lowest: Array  # [m] of all evaluations
    highest: Array  # [m]
    archive: Archive
    key: Array


def make(
    config: Config,
    env: Environment,
    env_params: Any = None,
    *,
    member: Callable[[Weighting], Algorithm] | None = None,
    weights: Array | None = None,
) -> Algorithm:
    """MORL/D on `env`, an environment of vector rewards.

    With `transfer` the sweep is part of `init`, so after n updates `n + 1` times `steps_per_update` environment steps
    have been taken.

    Args:
      member: the learner of one scalar problem, given a weighting; PPO with `config.member` by default. It must learn
        the environment's own channels in their order, and have `Algorithm.learned`. Members of DQN or SAC that are
        made with `replay_axis=rlx.runtime.members.MEMBERS` learn from the steps of all; without `transfer`, whose sweep
        trains them one by one: with it JAX finds the name "members" unbound.
      weights: `[population, m]` at the start; default evenly spaced for two objectives, else random.

    Raises:
      ValueError: if the environment has no vector reward, or for weights of another shape.
    """
    size = config.population
    make_member = member or (lambda weighting: ppo.make(config.member, env, env_params, weighting=weighting))

    def utility(returns: Array, task: Task) -> Array:
        """Of returns in units of their ranges; divided so that the weights of a linear one, its gradient, sum to 1.

        Learners such as SAC weigh the sum of rewards against other terms: its scale must not follow the ranges. The
        divisor is the same for all kinds; the weights of the others sum to no more than 1, but for "pbi".
        """
        ideal = task.ideal / task.scale
        value = scalarise(returns / task.scale, task.weight, config.kind, ideal, mu=config.mu)
        return value / jnp.sum(task.weight / task.scale)

    learner, num_objectives, ref = member_learner(
        env, lambda m: make_member(utility_gradient(utility, Task(*jnp.ones((3, m)))))
    )
    if weights is not None:
        allowed = f"of shape {(size, num_objectives)}"
        check.require(jnp.shape(weights) == (size, num_objectives), "weights", jnp.shape(weights), allowed)
    learned = jax.vmap(learner.learned)

    def tasks(state: State) -> Task:
        """What each member has to do; leaves `[P, ...]`."""
        seen = state.highest > state.lowest
        scale = jnp.where(seen, state.highest - state.lowest, 1.0)
        ideal = jnp.where(jnp.isfinite(state.highest), state.highest, 0.0) + config.margin
        return Task(state.weights, *(jnp.broadcast_to(x, state.weights.shape) for x in (ideal, scale)))

    def sweep(members: PyTree, goals: Task) -> PyTree:
        """Members after `num_updates` each, one after the other."""
        distance = jnp.sum(jnp.square(goals.weight[:, None] - goals.weight), axis=-1)
        members = with_tasks(members, goals)

        def train_one(members: PyTree, k: Array) -> tuple[PyTree, None]:
            nearest = jnp.argmin(jnp.where(jnp.arange(size) < k, distance[k], jnp.inf))
            teacher = jnp.where(k == 0, k, nearest)
            one = jax.tree.map(lambda x: x[k], members)
            one = learner.with_learned(one, jax.tree.map(lambda x: x[teacher], learned(members)))
            one, _ = jax.lax.scan(lambda s, _: (learner.update(s)[0], None), one, length=config.num_updates)
            return jax.tree.map(lambda x, y: x.at[k].set(y), members, one), None

        return jax.lax.scan(train_one, members, jnp.arange(size))[0]

    def measure(state: State) -> State:
        """Evaluate the members and offer them to the archive."""
        key, eval_key = jax.random.split(state.key)
        options = {"discount": config.discount, "greedy": config.greedy}
        values = evaluate_members(learner, state.members, env, env_params, eval_key, config.episodes, **options)
        return state._replace(
            values=values,
            lowest=jnp.minimum(state.lowest, values.min(0)),
            highest=jnp.maximum(state.highest, values.max(0)),
            archive=offer(state.archive, values, learned(state.members), ref),
            key=key,
        )

    def init(key: Array) -> State:
        member_key, weight_key, key = jax.random.split(key, 3)
        start = initial_weights(weight_key, size, num_objectives) if weights is None else jnp.asarray(weights)
        members = init_members(learner, member_key, size)
        archive = init_archive(config.capacity, num_objectives, jax.tree.map(lambda x: x[0], learned(members)))
        infinite = jnp.full(num_objectives, jnp.inf)
        state = State(members, start, jnp.zeros((size, num_objectives)), infinite, -infinite, archive, key)
        if not config.transfer:
            return state
        state = state._replace(members=sweep(members, tasks(state)))
        return measure(state)

    def update(state: State, data: None = None) -> tuple[State, dict[str, Any]]:
        del data  # the members collect their own
        members, metrics = train_members(learner, with_tasks(state.members, tasks(state)), config.num_updates)
        state = measure(state._replace(members=members))
        if config.adapt == "psa":
            scale = tasks(state).scale[0]
            known = state.archive.front._replace(points=state.archive.front.points / scale)
            move = jax.vmap(lambda v, w: psa_weight_update(v, w, known, config.delta))
            state = state._replace(weights=move(state.values / scale, state.weights))
        size_now = state.archive.front.valid.sum().astype(jnp.float32)
        return state, metrics | {"evaluation": state.values.mean(0), "front_size": size_now}

    def policy(state: State) -> Policy:
        """That of the archive with the largest sum of returns, each divided by its range."""
        points, valid = state.archive.front
        best = jnp.argmax(jnp.where(valid, points @ (1.0 / tasks(state).scale[0]), -jnp.inf))
        return learner.policy(policy_state(learner, state.members, state.archive, best))

    def front(state: State) -> Front:
        return state.archive.front

    steps = size * config.num_updates * learner.steps_per_update
    return Algorithm(init, update, policy, steps, learner.channels, front=front)


def initial_weights(key: Array, num: int, num_objectives: int) -> Array:
    """`[num, m]`: evenly spaced for two objectives, else random; one alone has equal weights."""
    if num == 1:
        return jnp.full((1, num_objectives), 1.0 / num_objectives)
    return simplex_grid(2, num - 1) if num_objectives == 2 else sample_weights(key, num, num_objectives)
