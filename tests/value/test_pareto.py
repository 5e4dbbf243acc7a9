"""Sets of value vectors against an enumeration of all policies."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

from rlx.value import convex_coverage_set, pareto_value_iteration, value_iteration

HORIZON = 3


def problem(seed: int, objectives: int = 2, branching: int = 2):
    """Three states, two actions; some steps end the episode."""
    rng = np.random.default_rng(seed)
    P = np.zeros((3, 2, 3))
    for s, a in itertools.product(range(3), range(2)):
        P[s, a, rng.permutation(3)[:branching]] = rng.dirichlet(np.ones(branching))
    R = rng.normal(size=(3, 2, objectives)).round(2)
    return P, R, 0.9 * (rng.random((3, 2)) < 0.8)


def all_returns(P, R, discount, state, steps):
    """Returns of every policy that may depend on all that has happened, by choosing in every branch anew."""
    if steps == 0:
        return np.zeros((1, R.shape[-1]))
    found = []
    for a in range(P.shape[1]):
        successors = np.nonzero(P[state, a] * discount[state, a])[0]
        later = [all_returns(P, R, discount, t, steps - 1) for t in successors]
        for choice in itertools.product(*later):
            value = sum((P[state, a, t] * v for t, v in zip(successors, choice, strict=True)), np.zeros(R.shape[-1]))
            found.append(R[state, a] + discount[state, a] * value)
    return np.array(found)


def same_sets(a, b):
    assert len(a) == len(b)
    b = np.asarray(b)
    assert all(np.abs(b - row).max(1).min() < 1e-9 for row in a)


@pytest.mark.parametrize("objectives", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_fronts_are_those_of_all_policies(seed, objectives):
    P, R, discount = problem(seed, objectives, branching=1 + seed % 2)
    fronts = pareto_value_iteration(P, R, discount, horizon=HORIZON)
    for s, front in enumerate(fronts):
        returns = np.unique(all_returns(P, R, discount, s, HORIZON).round(12), axis=0)
        beaten = [(np.all(returns >= r, axis=1) & np.any(returns > r + 1e-9, axis=1)).any() for r in returns]
        same_sets(front, returns[~np.array(beaten)])
        assert (np.diff(front[:, 0]) >= 0).all()


def lead(points, i):
    """The largest margin, over all weights, by which row i is better than every other row."""
    others = np.delete(points, i, axis=0)
    gap = np.concatenate([others - points[i], np.ones((len(others), 1))], axis=1)
    m = points.shape[1]
    bounds = [(0, None)] * m + [(None, 100.0)]
    return -linprog([0.0] * m + [-1.0], gap, np.zeros(len(gap)), [[1.0] * m + [0.0]], [1.0], bounds).fun


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_coverage_set_is_what_some_weights_prefer_among_all_policies(seed, objectives):
    P, R, discount = problem(seed, objectives)
    front = pareto_value_iteration(P, R, discount, horizon=HORIZON)[0]
    coverage = convex_coverage_set(P, R, discount, np.eye(3)[0], horizon=HORIZON)
    same_sets(coverage, [v for i, v in enumerate(front) if lead(front, i) > 1e-8])
    returns = all_returns(P, R, discount, 0, HORIZON)
    weights = np.random.default_rng(0).dirichlet(np.ones(objectives), 200)
    np.testing.assert_allclose((coverage @ weights.T).max(0), (returns @ weights.T).max(0), atol=1e-9)


def test_without_a_horizon_it_is_the_discounted_limit():
    P, R, _ = problem(1, branching=1)
    fronts = pareto_value_iteration(P, R[..., :1], 0.6)
    v, _ = value_iteration(P, R[..., 0], 0.6)
    np.testing.assert_allclose(np.concatenate(fronts)[:, 0], v, atol=1e-9)
    for start in np.eye(3):
        coverage = convex_coverage_set(P, R, 0.6, start)
        for k in range(2):
            np.testing.assert_allclose(coverage[:, k].max(), start @ value_iteration(P, R[..., k], 0.6)[0], atol=1e-9)


def test_vectors_on_a_line_or_equal_are_left_out():
    """One step, five actions: two hull vertices, one on the line between, one below it, one twice."""
    P, R = np.ones((1, 5, 1)), np.array([[[0.0, 4.0], [4.0, 0.0], [2.0, 2.0], [1.0, 1.5], [4.0, 0.0]]])
    assert convex_coverage_set(P, R, 0.0, [1.0]).tolist() == [[0.0, 4.0], [4.0, 0.0]]
    (front,) = pareto_value_iteration(P, R, 0.0)
    assert front.tolist() == [[0.0, 4.0], [2.0, 2.0], [4.0, 0.0]]


def test_rounding_makes_no_second_vector():
    P = np.ones((1, 2, 1))
    (front,) = pareto_value_iteration(P, [[[0.3, 1.0], [0.1 + 0.2, 1.0 - 1e-16]]], 0.0)
    assert len(front) == 1


def test_errors_name_what_is_wrong():
    P, R, discount = problem(0)
    with pytest.raises(ValueError, match="shape of reward"):
        pareto_value_iteration(P, R[..., 0], discount)
    with pytest.raises(ValueError, match="horizon"):
        convex_coverage_set(P, R, discount, np.eye(3)[0], horizon=0)
    with pytest.raises(ValueError, match="shape of initial"):
        convex_coverage_set(P, R, discount, [1.0])
    with pytest.raises(RuntimeError, match="max_points = 2"):
        pareto_value_iteration(P, R, 0.9, horizon=5, max_points=2)
    with pytest.raises(RuntimeError, match="max_iterations = 20"):
        pareto_value_iteration(np.ones((1, 1, 1)), np.ones((1, 1, 2)), 1.0, max_iterations=20)
