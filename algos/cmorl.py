"""C-MORL: a front extended by constrained policy optimisation (Liu et al., 2025).

In the first stage learners with fixed weights find parts of the front. In the second the most isolated policies of the
archive are extended: for each objective a learner goes on from there to improve it, while a logarithmic barrier keeps
the other objectives above a share of what they were. Every policy on the way is offered to the archive.

Source: Liu et al., "Efficient Discovery of Pareto Front for Multi-Objective Reinforcement Learning" (2025).
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
from rlx.pareto import extension_threshold, interior_point_barrier, select_isolated, utility_gradient
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
    """Settings of C-MORL. Floats may be traced (swept in one program); the rest fix the program's shape."""

    num_selected: int = 5  # policies that a round extends, each in every objective; 5: the paper's code
    num_updates: int = 5  # of each learner in one iteration, after which its policy is offered to the archive
    first_iterations: int = 20  # iterations of the first stage
    round_iterations: int = 5  # iterations from one selection to the next in the second stage
    fraction: float = 0.9  # of its returns that an extended policy must keep; 0.9: the paper's code
    sharpness: float = 20.0  # of the barrier, on returns divided by their range; 20: the paper's code
    episodes: int = 8  # to evaluate a policy with; they are not counted as environment steps
    greedy: bool = False  # evaluate without the policy's noise; the constrained optima are stochastic policies
    discount: float = 1.0  # of the returns that the front is made of; a critic's discount is the member's own
    capacity: int = 200  # of the archive; 200: the paper's code
    member: ppo.Config = dataclasses.field(default_factory=ppo.Config)  # of each member, unless `make` is given another

    def __post_init__(self) -> None:
        for name in ("num_selected", "num_updates", "first_iterations", "round_iterations", "episodes", "capacity"):
            check.count(name, getattr(self, name))
        check.in_range("fraction", self.fraction, high=1.0)
        check.positive("sharpness", self.sharpness)
        check.in_range("discount", self.discount, 0.0, 1.0)
        allowed = f"at most capacity, {self.capacity}"
        check.require(self.num_selected <= self.capacity, "num_selected", self.num_selected, allowed)


class Task(NamedTuple):
    """Parameters of a member's utility: a weighted sum, and returns below which it should not fall."""

    weight: Array  # [m]
    threshold: Array  # [m], in units of returns
    bound: Array  # [m]: 1 where the threshold counts, else 0
    scale: Array  # [m]: the range of returns seen


class State(NamedTuple):
    """Everything that C-MORL remembers between iterations."""

    members: PyTree  # states of the learners, leaves [P, ...] with P = num_selected m
    tasks: Task  # leaves [P, m]
    values: Array  # [P, m] mean returns at the last evaluation
    lowest: Array  # [m] of all evaluations
    highest: Array  # [m]
    archive: Archive
    iterations: Array  # int32 []
    key: Array


def make(
    config: Config,
    env: Environment,
    env_params: Any = None,
    *,
    member: Callable[[Weighting], Algorithm] | None = None,
) -> Algorithm:
    """C-MORL on `env`, an environment of vector rewards.

    Args:
      member: the learner of one task, given a weighting; PPO with `config.member` by default. It must learn the
        environment's own channels in their order, and have `Algorithm.learned`.

    Raises:
      ValueError: if the environment has no vector reward.
    """
    make_member = member or (lambda weighting: ppo.make(config.member, env, env_params, weighting=weighting))

    def utility(returns: Array, task: Task) -> Array:
        returns, limit = returns / task.scale, task.threshold / task.scale
        barrier = interior_point_barrier(-returns, -limit, config.sharpness)
        return jnp.sum(task.weight * returns - task.bound * barrier)

    learner, num_objectives, ref = member_learner(
        env, lambda m: make_member(utility_gradient(utility, Task(*jnp.ones((4, m)))))
    )
    size = config.num_selected * num_objectives
    learned, with_learned = jax.vmap(learner.learned), jax.vmap(learner.with_learned)

    def extension(members: PyTree, archive: Archive) -> tuple[PyTree, Task, Archive]:
        """Members that start from the most isolated policies, and their tasks: one objective each."""
        rows, _ = select_isolated(archive.front, config.num_selected, archive.selected)
        archive = archive._replace(selected=archive.selected.at[rows].set(True))
        rows = jnp.repeat(rows, num_objectives)
        objective = jnp.tile(jnp.eye(num_objectives), (config.num_selected, 1))
        threshold = extension_threshold(archive.front.points[rows], config.fraction)
        members = with_learned(members, jax.tree.map(lambda x: x[rows], archive.learned))
        return members, Task(objective, threshold, 1.0 - objective, jnp.ones_like(objective)), archive

    def init(key: Array) -> State:
        member_key, weight_key, key = jax.random.split(key, 3)
        members = init_members(learner, member_key, size)
        weights = initial_weights(weight_key, size, num_objectives)
        tasks = Task(weights, *jnp.zeros((2, *weights.shape)), jnp.ones_like(weights))
        archive = init_archive(config.capacity, num_objectives, jax.tree.map(lambda x: x[0], learned(members)))
        infinite = jnp.full(num_objectives, jnp.inf)
        return State(
            members, tasks, jnp.zeros_like(weights), infinite, -infinite, archive, jnp.zeros((), jnp.int32), key
        )

    def update(state: State, data: None = None) -> tuple[State, dict[str, Any]]:
        del data  # the members collect their own
        key, eval_key = jax.random.split(state.key)
        later = state.iterations - config.first_iterations
        new_round = (later >= 0) & (later % config.round_iterations == 0)
        members, tasks, archive = jax.tree.map(
            lambda new, old: jnp.where(new_round, new, old),
            extension(state.members, state.archive),
            (state.members, state.tasks, state.archive),
        )
        scale = jnp.where(state.highest > state.lowest, state.highest - state.lowest, 1.0)
        tasks = tasks._replace(scale=jnp.broadcast_to(scale, tasks.weight.shape))
        members, metrics = train_members(learner, with_tasks(members, tasks), config.num_updates)
        values = evaluate_members(
            learner, members, env, env_params, eval_key, config.episodes, discount=config.discount, greedy=config.greedy
        )
        archive = offer(archive, values, learned(members), ref)
        lowest, highest = jnp.minimum(state.lowest, values.min(0)), jnp.maximum(state.highest, values.max(0))
        metrics |= {"evaluation": values.mean(0), "front_size": archive.front.valid.sum().astype(jnp.float32)}
        return State(members, tasks, values, lowest, highest, archive, state.iterations + 1, key), metrics

    def policy(state: State) -> Policy:
        """That of the archive with the largest sum of returns, each divided by its range."""
        points, valid = state.archive.front
        best = jnp.argmax(jnp.where(valid, points @ (1.0 / state.tasks.scale[0]), -jnp.inf))
        return learner.policy(policy_state(learner, state.members, state.archive, best))

    def front(state: State) -> Front:
        return state.archive.front

    steps = size * config.num_updates * learner.steps_per_update
    return Algorithm(init, update, policy, steps, learner.channels, front=front)
