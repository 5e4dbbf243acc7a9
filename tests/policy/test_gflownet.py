"""GFlowNet losses against exact probabilities by dynamic programming on a small grid, and against logistic loss."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from rlx.policy import order_loss_pair, order_loss_pareto, tb_log_reward

SIDE = 3


def flows(policy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability that a path of the policy [x, y, (right, up, stop)] visits each cell, and that it ends there."""
    visit = np.zeros((SIDE, SIDE))
    visit[0, 0] = 1.0
    for x, y in itertools.product(range(SIDE), repeat=2):
        if x > 0:
            visit[x, y] += visit[x - 1, y] * policy[x - 1, y, 0]
        if y > 0:
            visit[x, y] += visit[x, y - 1] * policy[x, y - 1, 1]
    return visit, visit * policy[..., 2]


def random_policy(seed: int) -> np.ndarray:
    policy = np.random.default_rng(seed).dirichlet(np.ones(3), (SIDE, SIDE))
    policy[-1, :, 0] = policy[:, -1, 1] = 0
    return policy / policy.sum(axis=-1, keepdims=True)


def trajectories():
    """Every path from the origin to every cell, as the moves it makes."""
    for x, y in itertools.product(range(SIDE), repeat=2):
        for path in set(itertools.permutations([0] * x + [1] * y)):
            yield (x, y), path


def log_probs(path, policy: np.ndarray, backward: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forward and backward log-probabilities of a path and its stop, padded with what must not count."""
    forward_log, backward_log = np.full((2, 2 * SIDE), -np.inf)
    place = np.zeros(2, int)
    for t, move in enumerate(path):
        forward_log[t] = np.log(policy[*place, move])
        place[move] += 1
        backward_log[t] = np.log(backward[*place, move])
    forward_log[len(path)], backward_log[len(path)] = np.log(policy[*place, 2]), 0.0
    return forward_log, backward_log, np.arange(2 * SIDE) <= len(path)


def reversed_flow(policy: np.ndarray) -> np.ndarray:
    """The backward policy [x, y, (from the left, from below)] that reverses the flow."""
    visit, _ = flows(policy)
    inflow = np.zeros((SIDE, SIDE, 2))
    inflow[1:, :, 0] = visit[:-1] * policy[:-1, :, 0]
    inflow[:, 1:, 1] = visit[:, :-1] * policy[:, :-1, 1]
    return inflow / np.where(visit > 0, visit, 1)[..., None]


def test_reversed_flow_gives_the_probability_of_every_object():
    policy = random_policy(0)
    backward, (_, ends) = reversed_flow(policy), flows(policy)
    for cell, path in trajectories():
        forward_log, backward_log, mask = log_probs(path, policy, backward)
        found = tb_log_reward(np.log(7.0), forward_log, backward_log, mask)
        np.testing.assert_allclose(found, np.log(7.0 * ends[cell]), rtol=1e-4)


def test_any_backward_policy_gives_it_in_the_mean():
    """Over the ways that a uniform backward policy draws, all of them enumerated."""
    policy = random_policy(1)
    x, y = np.indices((SIDE, SIDE))
    uniform = np.stack([x > 0, y > 0], axis=-1) / np.maximum((x > 0) * 1 + (y > 0), 1)[..., None]
    mean = np.zeros((SIDE, SIDE))
    for cell, path in trajectories():
        forward_log, backward_log, mask = log_probs(path, policy, uniform)
        weight = np.exp(np.sum(backward_log[mask]))
        mean[cell] += weight * np.exp(tb_log_reward(0.0, forward_log, backward_log, mask))
    np.testing.assert_allclose(mean, flows(policy)[1], rtol=1e-5)


def test_padding_gets_no_gradient():
    grad = jax.grad(lambda f: tb_log_reward(0.0, f, jnp.zeros(3), jnp.array([True, True, False])))(
        jnp.array([-1.0, -2.0, -jnp.inf])
    )
    assert grad.tolist() == [1.0, 1.0, 0.0]


def test_pair_is_the_logistic_loss():
    rng = np.random.default_rng(2)
    first, second, label = rng.normal(size=9), rng.normal(size=9), np.array([0, 0.5, 1] * 3)
    logits = np.stack([first, second], axis=-1)
    target = np.stack([label, 1 - label], axis=-1)
    expected = -np.sum(target * scipy.special.log_softmax(logits, axis=-1), axis=-1)
    np.testing.assert_allclose(order_loss_pair(first, second, label), expected, rtol=1e-5)


def test_pareto_is_the_cross_entropy_and_for_two_the_pair():
    rng = np.random.default_rng(3)
    reward, best, valid = rng.normal(size=(5, 8)), rng.random((5, 8)) < 0.4, rng.random((5, 8)) < 0.8
    best[:, 0] = valid[:, 0] = True
    for r, b, v, found in zip(reward, best, valid, order_loss_pareto(reward, best, valid), strict=True):
        target = (b & v) / (b & v).sum()
        expected = -np.sum(target[v] * scipy.special.log_softmax(r[v]))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    pair = order_loss_pareto(reward[:, :2], np.array([[True, False]] * 5))
    np.testing.assert_allclose(pair, order_loss_pair(reward[:, 0], reward[:, 1], np.ones(5)), rtol=1e-5)


def test_minimum_is_uniform_on_the_best():
    """Descent ends with equal shares for the best, whatever their number, and loss `log 3`."""
    best = jnp.array([True, False, True, True, False])
    reward = jax.random.normal(jax.random.key(0), (5,))
    step = jax.jit(lambda r: r - 5.0 * jax.grad(order_loss_pareto)(r, best))
    for _ in range(2000):
        reward = step(reward)
    np.testing.assert_allclose(jax.nn.softmax(reward), best / 3, atol=1e-3)
    assert float(order_loss_pareto(reward, best)) == pytest.approx(np.log(3), abs=1e-3)


def test_losses_see_the_order_alone():
    reward, best = jnp.array([1.0, 2.0, 3.0]), jnp.array([False, True, True])
    assert float(order_loss_pareto(reward + 100, best)) == pytest.approx(float(order_loss_pareto(reward, best)), 1e-5)
    assert float(order_loss_pareto(reward, jnp.zeros(3, bool))) == 0.0
    grad = jax.grad(order_loss_pareto)(reward, jnp.zeros(3, bool))
    assert grad.tolist() == [0.0] * 3


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="backward_log_prob"):
        tb_log_reward(0.0, np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="label"):
        order_loss_pair(np.zeros(2), np.zeros(2), np.array([0.0, 2.0]))
    with pytest.raises(ValueError, match="best"):
        order_loss_pareto(np.zeros(3), np.zeros(2, bool))
    with pytest.raises(ValueError, match="log_reward"):
        order_loss_pareto(np.zeros(()), np.zeros((), bool))
