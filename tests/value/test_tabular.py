"""Exact solvers against enumeration of policies, power series and textbook numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import optimize
from scipy.sparse.csgraph import shortest_path

from rlx import value

S, A, GAMMA = 4, 3, 0.9


def random_process(seed: int):
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.full(S, 0.5), (S, A))
    return transition, rng.normal(size=(S, A)), rng.dirichlet(np.ones(A), S), rng.dirichlet(np.ones(S))


def power_series(transition, policy, discount) -> np.ndarray:
    step = np.einsum("sa,sat->st", policy, transition * np.broadcast_to(discount, (S, A))[..., None])
    total, term = np.zeros((S, S)), np.eye(S)
    for _ in range(2000):
        total, term = total + term, term @ step
    return total


def test_value_iteration_finds_the_best_deterministic_policy():
    transition, reward, *_ = random_process(0)
    policies = [np.eye(A)[list(actions)] for actions in itertools.product(range(A), repeat=S)]
    best = np.max([value.policy_evaluation(transition, reward, GAMMA, pi)[0] for pi in policies], axis=0)
    v, q = value.value_iteration(transition, reward, GAMMA)
    np.testing.assert_allclose(v, best, atol=1e-8)
    np.testing.assert_allclose(q, reward + GAMMA * transition @ best, atol=1e-8)


def test_value_iteration_equals_the_linear_program():
    transition, reward, _, initial = random_process(1)
    rows = (np.eye(S)[:, None] - GAMMA * transition).reshape(-1, S)
    program = optimize.linprog(initial, A_ub=-rows, b_ub=-reward.ravel(), bounds=(None, None))
    np.testing.assert_allclose(program.x, value.value_iteration(transition, reward, GAMMA)[0], atol=1e-6)


def test_policy_evaluation_and_successor_measure_equal_power_series():
    transition, reward, policy, _ = random_process(2)
    discount = np.random.default_rng(2).uniform(0, 0.95, (S, A))
    series = power_series(transition, policy, discount)
    np.testing.assert_allclose(value.successor_measure(transition, discount, policy), series, rtol=1e-9)
    v, q = value.policy_evaluation(transition, reward, discount, policy)
    np.testing.assert_allclose(v, series @ (policy * reward).sum(-1), rtol=1e-9)
    np.testing.assert_allclose((policy * q).sum(-1), v, rtol=1e-9)


def test_channels_are_evaluated_one_by_one():
    transition, reward, policy, _ = random_process(3)
    v, q = value.policy_evaluation(transition, np.stack([reward, reward**2], -1), GAMMA, policy)
    for k, one in enumerate((reward, reward**2)):
        v_k, q_k = value.policy_evaluation(transition, one, GAMMA, policy)
        np.testing.assert_allclose(v[:, k], v_k, rtol=1e-12)
        np.testing.assert_allclose(q[..., k], q_k, rtol=1e-12)


def test_occupancy_gives_the_return_and_conserves_flow():
    transition, reward, policy, initial = random_process(4)
    d = value.occupancy(transition, GAMMA, policy, initial)
    v, _ = value.policy_evaluation(transition, reward, GAMMA, policy)
    np.testing.assert_allclose((d * reward).sum(), initial @ v)
    np.testing.assert_allclose(d.sum(), 1 / (1 - GAMMA))
    np.testing.assert_allclose(d.sum(-1), initial + GAMMA * np.einsum("sa,sat->t", d, transition))


def test_undiscounted_random_walk():
    """Five states, +1 on leaving at the right end: values 1/6 ... 5/6 (Sutton and Barto, example 6.2)."""
    transition, reward, discount = np.zeros((5, 2, 5)), np.zeros((5, 2)), np.ones((5, 2))
    for s in range(5):
        for a, to in enumerate((s - 1, s + 1)):
            transition[s, a, min(max(to, 0), 4)] = 1
    discount[0, 0] = discount[4, 1] = 0
    reward[4, 1] = 1
    v, _ = value.policy_evaluation(transition, reward, discount, np.full((5, 2), 0.5))
    np.testing.assert_allclose(v, np.arange(1, 6) / 6)
    np.testing.assert_allclose(value.value_iteration(transition, reward, discount)[0], 1.0)


def test_soft_value_iteration_is_optimal_for_the_regularised_return():
    transition, reward, base, _ = random_process(5)
    temperature = 0.5

    def regularised(policy):
        cost = temperature * np.log(policy / base)
        return value.policy_evaluation(transition, reward - cost, GAMMA, policy)[0]

    v, q = value.soft_value_iteration(transition, reward, GAMMA, temperature, np.log(base))
    best = base * np.exp((q - v[:, None]) / temperature)
    np.testing.assert_allclose(best.sum(-1), 1.0, rtol=1e-8)
    np.testing.assert_allclose(regularised(best), v, rtol=1e-7)
    for other in np.random.default_rng(5).dirichlet(np.ones(A), (200, S)):
        assert np.all(regularised(other) <= v + 1e-9)
    cold, _ = value.soft_value_iteration(transition, reward, GAMMA, 1e-3, np.log(base))
    np.testing.assert_allclose(cold, value.value_iteration(transition, reward, GAMMA)[0], atol=0.1)


def test_errors_name_the_argument():
    transition, reward, policy, _ = random_process(6)
    with pytest.raises(ValueError, match="transition must hold probabilities"):
        value.value_iteration(2 * transition, reward, GAMMA)
    with pytest.raises(ValueError, match="shape of reward"):
        value.value_iteration(transition, reward[:, 0], GAMMA)
    with pytest.raises(ValueError, match="shape of discount"):
        value.value_iteration(transition, reward, np.full(A, GAMMA))
    with pytest.raises(ValueError, match="shape of policy"):
        value.successor_measure(transition, GAMMA, policy[:2])
    with pytest.raises(RuntimeError, match="max_iterations = 10"):
        value.value_iteration(transition, reward, GAMMA, max_iterations=10)


def test_step_distances_equal_scipys_shortest_paths():
    rng = np.random.default_rng(5)
    P = np.where(rng.random((12, 2, 12)) < 0.06, rng.random((12, 2, 12)), 0) + 1e-9 * np.eye(12)[:, None]
    P /= P.sum(-1, keepdims=True)
    wanted = shortest_path(P.max(1) > 0, unweighted=True)
    assert np.isinf(wanted).any()
    np.testing.assert_array_equal(value.step_distances(P), wanted)
