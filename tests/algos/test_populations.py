"""Populations that look for a front: MORL/D, C-MORL, PGMORL and GPI-LS on `Arms`, whose front is three arms.

Oracles: the single learner that a member must be, bit for bit; the learned state that an extension must start from.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arms import ARMS, Arms

from rlx.algos import cmorl, dqn, gpi_ls, morld, pgmorl, ppo, sac
from rlx.envs import make as make_env
from rlx.envs.wrappers import Preference
from rlx.pareto import extension_threshold, scalarise, utility_gradient
from rlx.runtime import train
from rlx.runtime.members import MEMBERS, evaluate_preferences, policy_state
from rlx.types import Algorithm

ENV = Arms()
MEMBER = ppo.Config(num_envs=16, num_steps=4, num_minibatches=2, learning_rate=2e-2, hidden=(8,), value_clip=None)
STILL = ppo.Config(num_envs=2, num_steps=4, num_minibatches=2, learning_rate=1e-30, hidden=(8,))
WEIGHTS = jnp.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])


def run(algorithm: Algorithm, updates: int) -> tuple[Any, Any]:
    return jax.jit(lambda key: train(algorithm, key, updates))(jax.random.key(0))


def assert_finds_all_arms(algorithm: Algorithm, state: Any, tolerance: float = 0.1) -> None:
    front = algorithm.front(state)
    points = np.asarray(front.points)[np.asarray(front.valid)]
    for arm in ARMS:
        assert np.abs(points - arm).max(1).min() < tolerance, (arm, points)


@pytest.mark.slow
def test_without_cooperation_each_member_is_the_single_learner():
    config = morld.Config(
        population=3, num_updates=3, transfer=False, kind="smooth_chebyshev", margin=0.0, member=MEMBER
    )
    state, _ = run(morld.make(config, ENV, weights=WEIGHTS), 1)

    def utility(returns: Any, weights: Any) -> Any:
        return scalarise(returns, weights, "smooth_chebyshev", jnp.zeros(2), mu=config.mu)

    def alone(key: Any, weights: Any) -> Any:
        return train(ppo.make(MEMBER, ENV, weighting=utility_gradient(utility, weights)), key, 3)[0]

    member_key = jax.random.split(jax.random.key(0), 3)[0]
    expected = jax.jit(jax.vmap(alone))(jax.random.split(member_key, 3), WEIGHTS)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, state.members.params, expected.params)


def test_morld_finds_the_front_anneals_its_weights_and_its_policies_can_be_played():
    config = morld.Config(
        population=3, num_updates=5, transfer=False, capacity=8, greedy=True, adapt="psa", member=MEMBER
    )
    algorithm = morld.make(config, ENV, weights=WEIGHTS)
    state, metrics = run(algorithm, 10)
    assert not np.allclose(state.weights, WEIGHTS)
    np.testing.assert_allclose(state.weights.sum(1), 1.0, rtol=1e-5)
    assert_finds_all_arms(algorithm, state)
    assert metrics["front_size"][-1] >= 1
    learner = ppo.make(MEMBER, ENV, weighting=utility_gradient(lambda v, task: v.sum(), morld.Task(*jnp.ones((3, 2)))))
    for row in np.flatnonzero(state.archive.front.valid):
        policy = learner.policy(policy_state(learner, state.members, state.archive, row))
        action, _ = policy.act(jax.random.key(0), jnp.ones((1, 1)), (), jnp.ones(1, bool), greedy=True)
        np.testing.assert_allclose(state.archive.front.points[row], np.float32(ARMS[int(action[0])]), rtol=1e-5)


def test_transfer_begins_each_member_from_the_nearest_before_it():
    config = morld.Config(population=3, num_updates=1, transfer=True, member=STILL)
    state = jax.jit(morld.make(config, ENV, weights=WEIGHTS).init)(jax.random.key(0))
    for leaf in jax.tree.leaves(state.members.params):
        np.testing.assert_allclose(leaf, jnp.broadcast_to(leaf[:1], leaf.shape), atol=1e-6)


def test_other_learners_can_be_members_and_share_a_replay():
    settings = dict(num_envs=4, batch_size=16, buffer_size=200, learning_starts=50, hidden=(16,), learning_rate=1e-2)
    make_dqn = lambda weighting: dqn.make(  # noqa: E731
        dqn.Config(**settings, target_period=10, epsilon_end=1.0), ENV, weighting=weighting, replay_axis=MEMBERS
    )
    config = morld.Config(population=3, num_updates=100, transfer=False, greedy=True, capacity=8)
    algorithm = morld.make(config, ENV, member=make_dqn, weights=WEIGHTS)
    state, _ = run(algorithm, 2)
    assert_finds_all_arms(algorithm, state)
    assert state.members.replay.rows.reward.shape == (3, 17, 3 * 4, 2)  # at least 200 steps of all 3 x 4 environments
    for leaf in jax.tree.leaves(state.members.replay):
        np.testing.assert_array_equal(leaf, jnp.broadcast_to(leaf[:1], leaf.shape))
    # rewards keep their scale, whatever the ranges of the returns that the weights are relative to
    np.testing.assert_allclose(state.members.weights.sum(1), 1.0, rtol=1e-5)


def test_cmorl_extends_the_most_isolated_policies_within_their_thresholds():
    config = cmorl.Config(
        num_selected=2, num_updates=1, first_iterations=1, round_iterations=2, capacity=6, episodes=64, member=STILL
    )
    algorithm = cmorl.make(config, ENV)
    update = jax.jit(algorithm.update)
    first = update(jax.jit(algorithm.init)(jax.random.key(0)))[0]
    np.testing.assert_allclose(first.tasks.weight.sum(1), 1.0)
    np.testing.assert_array_equal(first.tasks.bound, 0.0)
    second = update(first)[0]
    np.testing.assert_array_equal(second.tasks.weight, np.tile(np.eye(2), (2, 1)))
    np.testing.assert_array_equal(second.tasks.bound, 1 - np.tile(np.eye(2), (2, 1)))
    rows = np.flatnonzero(np.asarray(first.archive.front.valid))
    allowed = np.asarray(extension_threshold(first.archive.front.points, 0.9))[rows]
    for threshold in np.asarray(second.tasks.threshold):
        assert np.abs(allowed - threshold).max(1).min() < 1e-6
    third = update(second)[0]
    np.testing.assert_array_equal(third.tasks.threshold, second.tasks.threshold)


def test_cmorl_finds_the_front():
    config = cmorl.Config(
        num_selected=2, num_updates=5, first_iterations=4, round_iterations=3, capacity=20, episodes=16, member=MEMBER
    )
    algorithm = cmorl.make(config, ENV)
    assert_finds_all_arms(algorithm, run(algorithm, 10)[0])


def test_pgmorl_finds_the_front_and_records_what_training_brought():
    config = pgmorl.Config(
        num_tasks=3, num_weights=5, num_updates=5, warmup=3, num_bins=10, num_records=32, capacity=20, member=MEMBER
    )
    algorithm = pgmorl.make(config, ENV)
    state, _ = run(algorithm, 10)
    assert_finds_all_arms(algorithm, state)
    assert int(state.records.size) == 30
    filled = np.asarray(state.records.weight)[:30]
    np.testing.assert_allclose(filled.sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(filled[:9], np.tile(np.asarray(WEIGHTS), (3, 1)), atol=1e-6)


@pytest.mark.parametrize("continuous", [False, True])
def test_gpi_ls_finds_the_convex_coverage_set(continuous):
    env = Arms(continuous)
    shared: dict[str, Any] = dict(num_envs=8, gradient_steps=2, batch_size=64, learning_starts=200, hidden=(32,))
    rates = dict.fromkeys(("actor_learning_rate", "critic_learning_rate", "temperature_learning_rate"), 3e-3)
    config = gpi_ls.Config(
        num_updates=100,
        support=5,
        num_corners=2,
        dqn=dqn.Config(**shared, buffer_size=2_000, learning_rate=3e-3, target_period=20, epsilon_end=1.0),
        sac=sac.Config(**shared, **rates, buffer_size=2_000, target_entropy=-2.0),
    )
    algorithm = gpi_ls.make(config, env)
    state, _ = run(algorithm, 5)
    if not continuous:
        assert_finds_all_arms(algorithm, state)
    asked = jnp.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    wrapped = Preference(env)
    values = jax.jit(
        lambda s: evaluate_preferences(
            algorithm.policy(s), wrapped, wrapped.default_params, jax.random.key(1), asked, 1, discount=0.99
        )
    )(state)
    best = np.array([[0.0, -4.0], [-1.0, -1.0], [-4.0, 0.0]]) if continuous else np.array([ARMS[0], ARMS[2], ARMS[1]])
    assert ((best - np.asarray(values)) * np.asarray(asked)).sum(1).max() < 0.1


def test_refusals():
    with pytest.raises(ValueError, match="reward_channels"):
        morld.make(morld.Config(), *make_env("CartPole-v1"))
    with pytest.raises(ValueError, match="weights"):
        morld.make(morld.Config(population=3), ENV, weights=jnp.ones((2, 2)))
    with pytest.raises(ValueError, match="num_selected"):
        cmorl.Config(num_selected=300)
    with pytest.raises(ValueError, match="support"):
        gpi_ls.make(gpi_ls.Config(support=1), ENV)
