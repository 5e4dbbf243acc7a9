"""Algorithms that keep tables of value vectors, against exact fronts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.algos import mo_q_learning, pareto_q_learning
from rlx.envs import make
from rlx.envs.multi_objective import FiniteEnv, Outcome
from rlx.pareto import linear
from rlx.runtime import evaluate, train

KEY = jax.random.key(0)


def tree(depth: int = 4, channels: int = 3, seed: int = 0) -> FiniteEnv:
    """A binary tree with random rewards on all its edges: `2^depth` episodes, each worth another vector."""
    edges = np.random.default_rng(seed).uniform(-1, 1, (2 ** (depth + 1), channels)).round(2)

    def rules(node: int, action: int) -> list[Outcome]:
        child = 2 * node + action
        return [Outcome(child, tuple(edges[child]), terminated=child >= 2**depth)]

    return FiniteEnv(
        1,
        2,
        rules,
        lambda node: (node,),
        reward_channels=tuple(f"r{k}" for k in range(channels)),
        reference_point=(-5.0,) * channels,
        max_steps=depth + 1,
    )


def rows(front) -> np.ndarray:
    """The valid rows in the order of `pareto_front`."""
    points = np.asarray(front.points)[np.asarray(front.valid)]
    return points[np.lexsort(points.T[::-1])]


@pytest.fixture(scope="module")
def treasure():
    """The concave map, learned in 60 updates at two discounts and with two seeds."""
    env, _ = make("rlx/deep-sea-treasure-concave")
    settings = dict(num_steps=64, epsilon_steps=10_000)

    def learn(discount, key):
        config = pareto_q_learning.Config(discount=discount, **settings)
        return train(pareto_q_learning.make(config, env), key, 60)

    states, metrics = jax.jit(jax.vmap(learn))(jnp.array([1.0, 0.99]), jax.random.split(KEY))
    algorithm = pareto_q_learning.make(pareto_q_learning.Config(**settings), env)
    return env, algorithm, states, metrics


@pytest.mark.parametrize(("member", "gamma"), [(0, 1.0), (1, 0.99)])
def test_pareto_q_learning_finds_the_whole_concave_front(treasure, member, gamma):
    env, algorithm, states, metrics = treasure
    state = jax.tree.map(lambda x: x[member], states)
    found = rows(pareto_q_learning.discounted_front(state))
    np.testing.assert_allclose(found, env.pareto_front(gamma), rtol=2e-6)
    np.testing.assert_array_equal(rows(algorithm.front(state)), env.pareto_front(1.0))
    assert int(metrics["front_size"][member, -1]) == 10


def test_its_policy_follows_each_point_and_by_default_one_between_the_extremes(treasure):
    env, algorithm, states, _ = treasure
    state = jax.tree.map(lambda x: x[0], states)
    front = jnp.asarray(env.pareto_front(1.0), jnp.float32)

    def play(target):
        return evaluate(algorithm.policy(state._replace(target=target)), env, KEY, 2).returns

    returns = jax.jit(jax.vmap(play))(jnp.concatenate([front, jnp.full((1, 2), jnp.inf)]))
    np.testing.assert_array_equal(returns[:10], np.repeat(front[:, None], 2, axis=1))
    # nearest to the ideal (124, -1) in units of the ranges 123 and 18
    np.testing.assert_array_equal(returns[10, 0], [50.0, -14.0])


@pytest.mark.parametrize("exploration", ["cardinality", "pareto"])
def test_every_exploration_finds_the_front_of_a_tree(exploration):
    env = tree()
    config = pareto_q_learning.Config(num_envs=4, discount=0.9, exploration=exploration, epsilon_end=0.5)
    algorithm = pareto_q_learning.make(config, env)
    state, _ = jax.jit(lambda key: train(algorithm, key, 20))(KEY)
    np.testing.assert_allclose(rows(pareto_q_learning.discounted_front(state)), env.pareto_front(0.9), atol=1e-6)
    # at an inner node: the front of the subtree
    node = env.states.index(2)
    below = rows(pareto_q_learning.discounted_front(state, node))
    assert 0 < len(below) <= 8


def test_with_too_small_a_capacity_it_keeps_true_points():
    env = tree()
    config = pareto_q_learning.Config(num_envs=4, capacity=2, discount=0.9, epsilon_end=1.0)
    state, _ = jax.jit(lambda key: train(pareto_q_learning.make(config, env), key, 20))(KEY)
    exact, found = env.pareto_front(0.9), rows(pareto_q_learning.discounted_front(state))
    assert 2 <= len(found) <= 4 < len(exact)
    assert all(np.abs(exact - row).max(1).min() < 1e-6 for row in found)


def test_linear_weights_find_the_two_vertices_of_the_concave_front():
    env, _ = make("rlx/deep-sea-treasure-concave")
    first = jnp.array([0.0, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
    config = mo_q_learning.Config(learning_rate=0.5, epsilon_end=0.5)

    def learn(weights, key):
        algorithm = mo_q_learning.make(config, env, weighting=linear(weights))
        return evaluate(algorithm.policy(train(algorithm, key, 1500)[0]), env, key, 1).returns[0]

    weights = jnp.stack([first, 1 - first], axis=1)
    returns = jax.jit(jax.vmap(learn))(weights, jax.random.split(KEY, len(first)))
    vertices = env.convex_coverage_set(0.99)
    best = np.argmax(vertices @ np.asarray(weights).T, axis=0)
    np.testing.assert_array_equal(returns, np.array([[1.0, -1.0], [124.0, -19.0]])[best])
    assert set(best) == {0, 1}


def test_values_of_the_greedy_path_are_its_return():
    """Where nothing is random, a learning rate of 1 makes the table exact on it."""
    env, weights = tree(), jnp.array([0.2, 0.3, 0.5])
    config = mo_q_learning.Config(learning_rate=1.0, discount=0.9, epsilon_end=1.0)
    algorithm = mo_q_learning.make(config, env, weighting=linear(weights))
    state, _ = jax.jit(lambda key: train(algorithm, key, 60))(KEY)
    front = env.pareto_front(0.9)
    best = front[np.argmax(front @ np.asarray(weights))]
    q = np.asarray(state.q[0])
    np.testing.assert_allclose(q[np.argmax(q @ np.asarray(weights))], best, atol=1e-5)


@pytest.mark.parametrize(("utility", "chosen"), [("linear", 0), ("chebyshev", 2)])
def test_chebyshev_prefers_the_middle_of_a_concave_front(utility, chosen):
    """One step: (0, 4.2), (4, 0) and, below the line between them, (1.5, 1.5)."""
    rewards = [(0.0, 4.2), (4.0, 0.0), (1.5, 1.5)]
    env = FiniteEnv(
        0,
        3,
        lambda state, action: [Outcome(0, rewards[action], terminated=True)],
        lambda state: (0.0,),
        reward_channels=("a", "b"),
        reference_point=(0.0, 0.0),
    )
    algorithm = mo_q_learning.make(mo_q_learning.Config(utility=utility, learning_rate=0.5), env)
    state, _ = jax.jit(lambda key: train(algorithm, key, 30))(KEY)
    np.testing.assert_allclose(state.q[0], rewards, rtol=1e-5)
    np.testing.assert_allclose(state.best, [4.0, 4.2], rtol=1e-5)
    action, _ = algorithm.policy(state).act(KEY, jnp.zeros(1, int), (), jnp.ones(1, bool), greedy=True)
    assert int(action[0]) == chosen


@pytest.mark.parametrize("module", [mo_q_learning, pareto_q_learning])
def test_errors_name_what_is_wrong(module):
    env, _ = make("rlx/deep-sea-treasure-concave", observation="features")
    with pytest.raises(TypeError, match=r"Discrete observations.*Box"):
        module.make(module.Config(), env)
    lqr, _ = make("rlx/lqr-2")
    with pytest.raises(TypeError, match="Discrete"):
        module.make(module.Config(), lqr)
    with pytest.raises(ValueError, match="epsilon_end"):
        module.Config(epsilon_end=2.0)


def test_a_reference_is_needed_and_must_fit():
    env = tree()
    with pytest.raises(ValueError, match="reference must be 3 values"):
        pareto_q_learning.make(pareto_q_learning.Config(), env, reference=(0.0, 0.0))
    del env.reference_point
    with pytest.raises(ValueError, match=r"reference must be.*got None"):
        pareto_q_learning.make(pareto_q_learning.Config(), env)
