"""Successor measures: exact ones by linear algebra, where expected gradients vanish; quantiles; least squares."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import value
from rlx.value.tabular import policy_evaluation, successor_measure, value_iteration

RNG = np.random.default_rng(0)
GAMMA = 0.8
STATES, ACTIONS = 4, 2
P = RNG.dirichlet(np.ones(STATES), (STATES, ACTIONS))
POLICY = RNG.dirichlet(np.ones(ACTIONS), STATES)
LOG = RNG.dirichlet(np.ones(STATES * ACTIONS)).reshape(STATES, ACTIONS)  # how often each step is in the log
RHO = np.einsum("sa,sat->t", LOG, P)  # of next states
MEASURE = np.einsum("sat,tu->sau", P, successor_measure(P, GAMMA, POLICY))  # from the next state on
ONE_WAY = np.zeros((3, 2, 3))
for s, (left, right) in enumerate(((0, 1), (0, 2), (2, 2))):
    ONE_WAY[s, 0, left] = ONE_WAY[s, 1, right] = 1


def expected_loss(forward, backward, fixed_forward, fixed_backward):
    """Over two independent steps of the log, with their probabilities: `forward [S, A, D]`, `backward [S, D]`."""
    steps = list(itertools.product(range(STATES), range(ACTIONS), range(STATES), range(ACTIONS)))
    prob = np.array([LOG[s, a] * P[s, a, t] * POLICY[t, b] for s, a, t, b in steps])
    pairs = np.array(list(itertools.product(range(len(steps)), repeat=2)))
    s, a, t, b = np.array(steps).T[:, pairs]  # [pairs, 2] each

    def one(s, a, t, b):
        rows = forward[s, a][None], backward[t], fixed_forward[t, b][None], fixed_backward[t]
        return value.forward_backward_loss(*rows, GAMMA).mean()

    return jnp.sum(jnp.asarray(prob[pairs].prod(1)) * jax.vmap(one)(s, a, t, b))


def test_the_exact_successor_measure_is_where_the_gradient_vanishes():
    """Its density, in full rank. Not the measure that counts the present, nor one without the density's rho."""
    with jax.enable_x64(True):
        slope = jax.jit(jax.grad(expected_loss, (0, 1)))
        present = np.repeat(successor_measure(P, GAMMA, POLICY)[:, None], ACTIONS, 1)
        sizes = []
        for measure in (MEASURE / RHO, present / RHO, MEASURE):
            forward, backward = jnp.asarray(measure), jnp.eye(STATES)
            sizes.append(max(float(jnp.abs(g).max()) for g in slope(forward, backward, forward, backward)))
    assert sizes[0] < 1e-12
    assert min(sizes[1:]) > 1e-2


def test_values_of_next_rewards_are_linear_in_the_task():
    """F^T z with the task vector of states drawn from rho is the value by policy evaluation."""
    reward = RNG.normal(size=STATES)
    wanted = policy_evaluation(P, np.einsum("sat,t->sa", P, reward), GAMMA, POLICY)[1]
    with jax.enable_x64(True):
        z = value.task_vector(jnp.eye(STATES), jnp.asarray(reward), jnp.asarray(RHO))
        np.testing.assert_allclose(jnp.asarray(MEASURE / RHO) @ z, wanted, rtol=1e-6)


def test_forward_backward_loss_equals_a_loop():
    n, b, d = 2, 5, 3
    f, tf = RNG.normal(size=(2, n, b, d))
    g, tg = RNG.normal(size=(2, b, d))
    disc = RNG.random(b)
    wanted = np.zeros(b)
    for i in range(b):
        for h in range(n):
            for j in range(b):
                if j != i:
                    least = min(tf[k, i] @ tg[j] for k in range(n))
                    wanted[i] += 0.5 * (f[h, i] @ g[j] - disc[i] * least) ** 2 / (b - 1)
            wanted[i] -= f[h, i] @ g[i]
    np.testing.assert_allclose(value.forward_backward_loss(f, g, tf, tg, jnp.asarray(disc)), wanted, rtol=1e-5)
    with jax.enable_x64(True):
        np.testing.assert_allclose(value.forward_backward_loss(f, g, tf, tg, jnp.asarray(disc)), wanted, rtol=1e-6)


def test_orthonormality_is_the_distance_of_the_second_moment_from_the_identity():
    """Over pairs of independent draws from five features: closed form, and its minimum."""
    features, prob = RNG.normal(size=(5, 3)), RNG.dirichlet(np.ones(5))
    with jax.enable_x64(True):

        def expected(x):
            i, j = np.indices((5, 5)).reshape(2, -1)
            each = jax.vmap(lambda i, j: value.orthonormality_loss(x[jnp.stack([i, j])]).mean())(i, j)
            return jnp.sum(jnp.asarray((prob[:, None] * prob).ravel()) * each)

        moment = features.T @ np.diag(prob) @ features
        wanted = np.sum((moment - np.eye(3)) ** 2) - 3
        np.testing.assert_allclose(expected(jnp.asarray(features)), wanted, rtol=1e-9)
        white = features @ np.linalg.inv(np.linalg.cholesky(moment)).T
        np.testing.assert_allclose(expected(jnp.asarray(white)), -3, rtol=1e-9)
        np.testing.assert_allclose(jax.grad(expected)(jnp.asarray(white)), 0, atol=1e-12)


def test_imitation_by_the_mean_of_features_is_the_reward_of_the_density_ratio():
    """The best policy for rho_E / rho visits what the expert does: a corridor, whose expert goes right."""
    expert = np.array([[0.0, 1.0]] * 3)
    occupancy = (1 - GAMMA) * np.eye(3)[0] @ successor_measure(ONE_WAY, GAMMA, expert)
    rho = np.array([0.5, 0.3, 0.2])
    features = RNG.normal(size=(3, 3))
    states = np.repeat(np.arange(3), np.round(1000 * occupancy).astype(int))
    of_expert = value.task_vector(jnp.asarray(features)[states])
    of_ratio = value.task_vector(jnp.asarray(features), jnp.asarray(occupancy / rho), jnp.asarray(rho))
    np.testing.assert_allclose(of_expert, of_ratio, atol=2e-3)
    ratio = occupancy / rho
    q = value_iteration(ONE_WAY, np.einsum("sat,t->sa", ONE_WAY, ratio), GAMMA)[1]
    np.testing.assert_array_equal(q[:2].argmax(1), [1, 1])


def test_regression_equals_least_squares():
    features, reward, weight = RNG.normal(size=(20, 4)), RNG.normal(size=20), RNG.random(20)
    root = np.sqrt(weight)
    wanted = np.linalg.lstsq(root[:, None] * features, root * reward, rcond=None)[0]
    with jax.enable_x64(True):
        found = value.task_vector(features, reward, weight, regression=True)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
        wide = value.task_vector(features[:2], reward[:2], regression=True)  # more features than states: the shortest
        np.testing.assert_allclose(wide, np.linalg.lstsq(features[:2], reward[:2], rcond=None)[0], rtol=1e-6)
        np.testing.assert_allclose(features[:2] @ wide, reward[:2], rtol=1e-6)
    single = value.task_vector(features, reward, weight, regression=True)
    np.testing.assert_allclose(single, wanted, rtol=1e-3)


def test_length_of_a_task():
    z = value.task_vector(jnp.asarray(RNG.normal(size=(7, 3, 4))), radius=2.0)
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=-1), 2.0, rtol=1e-5)
    np.testing.assert_array_equal(value.task_vector(jnp.zeros((1, 3)), radius=1.0), 0.0)


def test_nearest_rows_by_cosine():
    query, data = RNG.normal(size=(9, 5)), RNG.normal(size=(30, 5))
    cosine = (query @ data.T) / np.linalg.norm(query, axis=1)[:, None] / np.linalg.norm(data, axis=1)
    np.testing.assert_array_equal(value.project_nearest(query, data), cosine.argmax(1))
    far = np.concatenate([data, 128 * data[::-1]])  # length plays no part, and the first of two counts
    np.testing.assert_array_equal(value.project_nearest(query, far), cosine.argmax(1))


def test_proto_values_are_those_of_each_reward():
    """The gradient vanishes at the exact values of many indicators under the uniform and under another policy."""
    indicators = (RNG.random((STATES, 6)) < 0.4).astype(float)
    uniform = np.full((STATES, ACTIONS), 1 / ACTIONS)
    with jax.enable_x64(True):
        for policy in (None, POLICY):
            followed = uniform if policy is None else policy
            q = policy_evaluation(P, np.repeat(indicators[:, None], ACTIONS, 1), GAMMA, followed)[1]  # [S, A, K]

            def loss(x, q=q, policy=policy):
                s, t = np.indices((STATES, STATES)).reshape(2, -1)
                total = 0.0
                for a in range(ACTIONS):
                    there = jnp.asarray(q)[t].transpose(0, 2, 1)  # [N, K, A]
                    prob = None if policy is None else jnp.asarray(policy)[t]
                    rows = value.proto_value_loss(x[s, a], there, jnp.asarray(indicators)[s], GAMMA, prob)
                    total += (jnp.asarray(P)[s, a, t][:, None] * rows).sum()
                return total

            np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(q)), 0, atol=1e-12)
            assert float(jnp.abs(jax.grad(loss)(jnp.asarray(q) + 0.1)).max()) > 1e-2


def test_thresholds_settle_where_each_reward_is_as_frequent_as_asked():
    score = jnp.asarray(RNG.normal(size=(2001, 3)) * [1, 5, 0.1] + [0, 2, -1], jnp.float32)
    slope = jax.jit(jax.grad(lambda b: value.indicator_bias_loss(score, b, 0.1).mean()))
    bias = jnp.zeros(3)
    for step in range(4000):
        bias = bias - (20.0 / (1 + step / 20)) * slope(bias)
    np.testing.assert_allclose(value.random_indicator(score, bias).mean(0), 0.1, atol=0.01)
    np.testing.assert_allclose(-bias, np.quantile(score, 0.9, axis=0), atol=0.1)
    u = RNG.normal(size=(50, 3))
    pinball = np.where(u > 0, 0.9 * u, -0.1 * u)
    np.testing.assert_allclose(value.indicator_bias_loss(u, jnp.zeros(3), 0.1), pinball, rtol=1e-5)


def test_many_random_rewards_span_the_leading_directions_of_the_successor_measure():
    """Of a 6 x 6 grid under the uniform policy: the best 6 features of exact values, with few rewards and with many."""
    n, d = 6, 6
    row, column = np.divmod(np.arange(n * n), n)
    walk = np.zeros((n * n, n * n))
    for i, j in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        there = np.clip(row + i, 0, n - 1) * n + np.clip(column + j, 0, n - 1)
        walk[np.arange(n * n), there] += 0.25
    psi = np.linalg.inv(np.eye(n * n) - 0.95 * walk)
    best = np.linalg.svd(psi)[0][:, :d]

    def alignment(rewards: int) -> float:
        score = np.random.default_rng(1).normal(size=(n * n, rewards))
        bias = -np.quantile(score, 0.9, axis=0)
        indicator = np.asarray(value.random_indicator(score, bias), np.float64)
        found = np.linalg.svd(psi @ (indicator - indicator.mean(0)))[0][:, :d]
        return np.linalg.svd(best[:, 1:].T @ found)[1].min()  # the constant direction apart

    few, many = alignment(16), alignment(4096)
    assert many > 0.95 > few


def test_refusals():
    one = jnp.ones((2, 3, 4))
    with pytest.raises(ValueError, match="the number of rows must be at least 2"):
        value.forward_backward_loss(one[:, :1], one[0, :1], one[:, :1], one[0, :1], 0.9)
    with pytest.raises(ValueError, match="forward must have rank 3"):
        value.forward_backward_loss(one[0], one[0], one[0], one[0], 0.9)
    with pytest.raises(ValueError, match="the shape of discount"):
        value.forward_backward_loss(one, one[0], one, one[0], jnp.ones(4))
    with pytest.raises(ValueError, match="at least 2"):
        value.orthonormality_loss(one[0, :1])
    with pytest.raises(ValueError, match="N > 0"):
        value.task_vector(jnp.zeros((0, 3)))
    with pytest.raises(ValueError, match="reward must be given"):
        value.task_vector(one, regression=True)
    with pytest.raises(ValueError, match="weight must be"):
        value.task_vector(one[0], weight=-jnp.ones(3))
    with pytest.raises(ValueError, match="radius must be"):
        value.task_vector(one, radius=0.0)
    with pytest.raises(ValueError, match="the shape of data"):
        value.project_nearest(one[0], jnp.zeros((0, 4)))
    with pytest.raises(ValueError, match="share must be"):
        value.indicator_bias_loss(one[0], jnp.zeros(4), 0.0)
    with pytest.raises(ValueError, match="the shape of bias"):
        value.random_indicator(one[0], jnp.zeros(3))
    with pytest.raises(ValueError, match="next_prob"):
        value.proto_value_loss(one[0], jnp.zeros((3, 4, 2)), one[0], 0.9, jnp.ones((3, 3)))
