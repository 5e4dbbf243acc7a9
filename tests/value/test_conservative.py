"""The conservative penalty: its exact value, importance correction by enumeration, and its tabular fixed point.

Ensembles: cosines pair by pair. The edge of reach: sets.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import value


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_penalty_over_all_actions(temperature: float):
    q = np.random.default_rng(0).normal(size=(5, 4))
    wanted = temperature * np.log(np.exp(q / temperature).sum(-1)) - q[:, 2]
    got = value.cql_penalty(jnp.asarray(q), jnp.asarray(q[:, 2]), temperature)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_sampled_actions_estimate_the_same_partition(temperature: float):
    """`exp(penalty / temperature) / count` is unbiased: its mean over all pairs of draws is the sum over actions."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        q, proposal = jnp.asarray(rng.normal(size=4)), jnp.asarray(rng.dirichlet(np.ones(4)))
        total = 0.0
        for pair in itertools.product(range(4), repeat=2):
            drawn = np.array(pair)
            penalty = value.cql_penalty(q[drawn], jnp.zeros(()), temperature, jnp.log(proposal[drawn]))
            total += np.prod(proposal[drawn]) * np.exp(penalty / temperature) / 2
        np.testing.assert_allclose(total, np.exp(q / temperature).sum(), rtol=1e-10)


@pytest.mark.parametrize("alpha", [0.0, 0.2])
def test_tabular_fixed_point(alpha: float):
    """Descent on the TD loss plus `alpha` penalties ends where `Q = B Q - alpha (softmax(Q) / behaviour - 1)`."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(2)
        transition, reward = rng.dirichlet(np.ones(3), (3, 2)), rng.normal(size=(3, 2))
        behaviour = rng.uniform(0.3, 0.7, (3, 1))
        behaviour = np.concatenate([behaviour, 1 - behaviour], -1)

        def backup(q):
            return reward + 0.8 * transition @ q.max(-1)

        def loss(q, target):
            penalty = value.cql_penalty(jnp.stack([q, q], 1), q, 1.0)  # [S, A]: one for each logged action
            return jnp.sum(behaviour * (value.td_loss(q, target) + alpha * penalty))

        step = jax.jit(lambda q: q - 0.5 * jax.grad(loss)(q, backup(q)))
        q = jax.lax.fori_loop(0, 2000, lambda _, q: step(q), jnp.zeros((3, 2)))
        np.testing.assert_allclose(q, backup(q) - alpha * (jax.nn.softmax(q) / behaviour - 1), atol=1e-9)
        if alpha == 0:
            np.testing.assert_allclose(q, value.value_iteration(transition, reward, 0.8)[1], atol=1e-8)


def test_diversity_is_the_mean_of_the_cosines_of_pairs():
    gradient = np.random.default_rng(3).normal(size=(5, 7, 3))
    gradient[2, 4] = 0.0
    unit = gradient / np.maximum(np.linalg.norm(gradient, axis=-1, keepdims=True), 1e-12)
    pairs = itertools.permutations(range(5), 2)
    wanted = sum(np.sum(unit[i] * unit[j], -1) for i, j in pairs) / 4
    with jax.enable_x64(True):
        np.testing.assert_allclose(value.ensemble_diversity_loss(jnp.asarray(gradient)), wanted, rtol=1e-10)
        same = np.broadcast_to(gradient[0], (6, 7, 3)) * np.arange(1, 7)[:, None, None]
        np.testing.assert_allclose(value.ensemble_diversity_loss(jnp.asarray(same)), np.full(7, 6.0), rtol=1e-10)


def test_descent_on_diversity_pulls_members_apart():
    gradient = jnp.asarray(np.random.default_rng(4).normal([2.0, 0.0], 0.1, (3, 2)))
    step = jax.jit(lambda g: g - 0.5 * jax.grad(lambda x: value.ensemble_diversity_loss(x))(g))
    gradient = jax.lax.fori_loop(0, 500, lambda _, g: step(g), gradient)
    np.testing.assert_allclose(value.ensemble_diversity_loss(gradient), -3 / 2, atol=1e-3)  # least: 120 degrees apart


@pytest.mark.parametrize("length", [1, 3, 30])
def test_edge_of_reach_is_what_only_last_steps_lead_to(length: int):
    """Walks of `length` steps along a line from its middle; rows in any order, some of them ending it for good."""
    rng = np.random.default_rng(5)
    walks = 20 + np.cumsum(np.concatenate([np.zeros((40, 1), int), rng.choice([-1, 1], (40, length))], 1), 1)
    state, after = walks[:, :-1], walks[:, 1:]
    used = rng.random(after.shape) < 0.9
    found = value.edge_of_reach(jnp.asarray(state), jnp.asarray(after), 45, jnp.asarray(used))
    wanted = set(after[used]) - set(state.ravel())
    assert set(np.flatnonzero(found)) == {x for x in wanted if x < 45}
    if length == 1:
        np.testing.assert_array_equal(np.flatnonzero(found), [19, 21])


def test_nothing_is_at_the_edge_of_whole_episodes():
    state = jnp.arange(5)
    ends = state == 4
    assert not value.edge_of_reach(state, state + 1, 9, ~ends).any()
    np.testing.assert_array_equal(np.flatnonzero(value.edge_of_reach(state, state + 1, 9)), [5])
    assert not value.edge_of_reach(state, jnp.array([-1, 9, 12, -3, 4]), 9).any()  # outside of the range


def test_minimum_of_many_critics_is_clipped_double_q_learning_of_two():
    """`twin_min_target` serves ensembles of any size."""
    q = np.random.default_rng(6).normal(size=(10, 5))
    for members in (2, 10):
        target = value.twin_min_target(jnp.asarray(q[:members]), jnp.zeros(5), jnp.ones(5), 0.9, 0.0)
        np.testing.assert_allclose(target, 1 + 0.9 * q[:members].min(0), rtol=1e-5)


def test_errors_name_the_argument():
    q = jnp.zeros((3, 4))
    with pytest.raises(ValueError, match="temperature"):
        value.cql_penalty(q, q[:, 0], 0.0)
    with pytest.raises(ValueError, match="q_data"):
        value.cql_penalty(q, q, 1.0)
    with pytest.raises(ValueError, match="log_prob"):
        value.cql_penalty(q, q[:, 0], 1.0, q[0])
    with pytest.raises(ValueError, match="shape of gradient"):
        value.ensemble_diversity_loss(jnp.zeros((1, 3, 2)))
    with pytest.raises(ValueError, match="num_states"):
        value.edge_of_reach(jnp.zeros(3, int), jnp.zeros(3, int), 0)
    with pytest.raises(ValueError, match="bootstrapped"):
        value.edge_of_reach(jnp.zeros(3, int), jnp.zeros(3, int), 4, jnp.ones(3))
    with pytest.raises(ValueError, match="same shape"):
        value.edge_of_reach(jnp.zeros(3, int), jnp.zeros(2, int), 4)
