"""Populations that look for a front: members that learn side by side, and an archive of the policies found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.pareto import archive_insert
from rlx.runtime.evaluation import evaluate
from rlx.types import Algorithm, Array, Environment, Front, Policy, PyTree

MEMBERS = "members"  # the mapped axis that members learn along, by which they may share a replay


class Archive(NamedTuple):
    """Value vectors that none of the others dominates, and what the policies that have them have learned."""

    front: Front
    learned: PyTree  # leaves [C, ...]
    selected: Array  # bool [C]: has been chosen before


def init_archive(capacity: int, num_objectives: int, learned: PyTree) -> Archive:
    """An empty one. `learned` is that of one policy, or its abstract values."""
    room = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), learned)
    front = Front(jnp.zeros((capacity, num_objectives)), jnp.zeros(capacity, bool))
    return Archive(front, room, jnp.zeros(capacity, bool))


def offer(archive: Archive, values: Array, learned: PyTree, ref: Array | None) -> Archive:
    """The archive after `P` policies with `values [P, m]` have been offered to it; see `archive_insert`."""
    front, index = archive_insert(archive.front, values, ref=ref)
    new = (learned, jnp.zeros(len(values), bool))
    kept, selected = jax.tree.map(lambda x, y: jnp.concatenate([x, y])[index], (archive.learned, archive.selected), new)
    return Archive(front, kept, selected)


def member_learner(env: Environment, make_member: Callable[[int], Algorithm]) -> tuple[Algorithm, int, Array | None]:
    """The learner `make_member(m)`, the number m of objectives, and the reference point that the archive drops rows by.

    That is None, and the crowding distance used instead, above three objectives or where the environment has none.

    Raises:
      ValueError: if the environment has no vector reward, or the learner cannot be a member.
    """
    names = tuple(getattr(env, "reward_channels", ()))
    check.require(len(names) > 0, "reward_channels", names, "names of the channels: a vector reward")
    num_objectives = len(names)
    learner = make_member(num_objectives)
    own = tuple(channel.name for channel in learner.channels)
    check.require(own == names, "channels of the member", own, f"those of env, {names}")
    has = learner.learned is not None and learner.with_learned is not None
    check.require(has, "member", learner, "an algorithm with learned and with_learned")
    ref = getattr(env, "reference_point", None)
    return learner, num_objectives, None if ref is None or num_objectives > 3 else jnp.asarray(ref, jnp.float32)


def init_members(algorithm: Algorithm, key: Array, num: int) -> PyTree:
    """States of `num` learners, leaves `[P, ...]`."""
    return jax.vmap(algorithm.init, axis_name=MEMBERS)(jax.random.split(key, num))


def with_tasks(members: PyTree, tasks: PyTree) -> PyTree:
    """Members whose weighting, a `utility_gradient`, has the parameters `tasks`, leaves `[P, ...]`."""
    return members._replace(weighting=members.weighting._replace(parameters=tasks))


def train_members(algorithm: Algorithm, members: PyTree, num_updates: int) -> tuple[PyTree, dict[str, Any]]:
    """`num_updates` updates of every member, and the metrics of all of them: means, sums of `Mean`s."""

    def step(members: PyTree, _: None) -> tuple[PyTree, dict[str, Any]]:
        return jax.vmap(lambda state: algorithm.update(state), axis_name=MEMBERS)(members)

    members, metrics = jax.lax.scan(step, members, length=num_updates)
    return members, jax.tree.map(lambda x: x.mean((0, 1)), metrics)


def policy_state(algorithm: Algorithm, members: PyTree, archive: Archive, row: Array | int) -> PyTree:
    """The state of a learner that has learned what the archive holds in `row`: `algorithm.policy` of it acts so."""
    assert algorithm.with_learned is not None  # `member_learner` has seen to it
    one = jax.tree.map(lambda x: x[0], members)
    return algorithm.with_learned(one, jax.tree.map(lambda x: x[row], archive.learned))


def evaluate_members(
    algorithm: Algorithm,
    members: PyTree,
    env: Environment,
    env_params: Any,
    key: Array,
    episodes: int,
    *,
    discount: Array | float,
    greedy: bool,
) -> Array:
    """Mean return vectors `[P, m]` of the members' policies over `episodes` fresh episodes each."""

    def returns(state: PyTree, key: Array) -> Array:
        policy = algorithm.policy(state)
        played = evaluate(policy, env, key, episodes, env_params=env_params, greedy=greedy, discount=discount)
        return played.returns.mean(0)

    size = jax.tree.leaves(members)[0].shape[0]
    return jax.vmap(returns)(members, jax.random.split(key, size))


def evaluate_preferences(
    policy: Policy,
    env: Environment,
    env_params: Any,
    key: Array,
    preferences: Array,
    episodes: int,
    *,
    discount: Array | float = 1.0,
    greedy: bool = True,
) -> Array:
    """Mean return vectors `[R, m]` of one policy asked for each of the preferences `[R, m]`.

    `env` is a `rlx.envs.wrappers.Preference` and `env_params` its parameters. Episodes of all preferences
    have the same keys.
    """

    def returns(preference: Array) -> Array:
        params = env_params._replace(weights=preference[None], probability=None)
        played = evaluate(policy, env, key, episodes, env_params=params, greedy=greedy, discount=discount)
        return played.returns.mean(0)

    return jax.vmap(returns)(preferences)
