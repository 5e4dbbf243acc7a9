"""Robust kernels against a search over all deterministic policies, value iteration, and each other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rlx.value import iwocs, policy_evaluation, robust_value_iteration, value_iteration

GAMMA = 0.9


def models(seed: int, count: int = 3, states: int = 4, actions: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(states, 0.3), (count, states, actions)), rng.normal(size=(count, states, actions))


def worst_returns(P: np.ndarray, R: np.ndarray) -> np.ndarray:
    """Of each deterministic policy, in the model that is worst for it from each state `[N, S]`."""
    found = []
    for choice in itertools.product(range(R.shape[2]), repeat=R.shape[1]):
        policy = np.eye(R.shape[2])[list(choice)]
        found.append(np.min([policy_evaluation(p, r, GAMMA, policy)[0] for p, r in zip(P, R, strict=True)], axis=0))
    return np.stack(found)


@pytest.mark.parametrize("seed", range(5))
def test_rectangular_optimum_is_that_of_all_combinations_of_models(seed: int):
    """Against the process whose adversary fixes a model for each state and action: all of those, tried one by one."""
    P, R = models(seed, 2, 3)
    combined = []
    for choice in itertools.product(range(2), repeat=6):
        pick = np.array(choice).reshape(3, 2)
        at = (pick, np.arange(3)[:, None], np.arange(2))
        combined.append(value_iteration(P[at], R[at], GAMMA)[0])
    np.testing.assert_allclose(robust_value_iteration(P, R, GAMMA)[0], np.min(combined, axis=0), rtol=1e-6)


def test_one_model_is_value_iteration():
    P, R = models(0, 1)
    v, q = value_iteration(P[0], R[0], GAMMA)
    for got, wanted in zip(robust_value_iteration(P, R, GAMMA), (v, q), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-9)
    found = iwocs(P, R[0], GAMMA, 2)
    assert found.converged
    assert found.models == (0,)
    np.testing.assert_allclose([found.worst, found.bound], v[2], rtol=1e-8)


@pytest.mark.parametrize("seed", range(12))
def test_bounds_hold_of_all_policies(seed: int):
    P, R = models(seed)
    start = seed % 4
    found = iwocs(P, R, GAMMA, start, first=seed % 3)
    best = worst_returns(P, R)[:, start].max()
    assert found.worst <= best + 1e-9
    assert best <= found.bound + 1e-9
    if found.converged:
        np.testing.assert_allclose(found.worst, best, atol=1e-6)
    returns = [policy_evaluation(p, r, GAMMA, found.policy)[0][start] for p, r in zip(P, R, strict=True)]
    np.testing.assert_allclose(found.worst, min(returns), rtol=1e-9)
    assert (found.q >= robust_value_iteration(P, R, GAMMA)[1] - 1e-8).all()
    optima = [value_iteration(P[m], R[m], GAMMA)[1] for m in found.models]
    np.testing.assert_allclose(found.q, np.min(optima, axis=0), rtol=1e-9)


def test_both_ways_to_stop_occur():
    found = [iwocs(*models(seed), GAMMA, seed % 4, first=seed % 3).converged for seed in range(12)]
    assert 0 < sum(found) < 12


def test_minima_over_several_starts_are_no_bound():
    """Two starts, each of which pays in one of two models: q is 0 in both, but the only policy earns 1/2 on average."""
    stay = np.broadcast_to(np.eye(2)[:, None], (2, 2, 1, 2))
    reward = np.array([[[1.0], [0.0]], [[0.0], [1.0]]])
    found = iwocs(stay, reward, 0.0, 0)
    assert found.models == (0, 1)
    assert (found.worst, found.bound) == (0.0, 0.0)
    assert found.q.max(-1).mean() < min(R.mean() for R in reward)


def test_errors_name_the_argument():
    P, R = models(0)
    with pytest.raises(ValueError, match="transition must have rank 4"):
        robust_value_iteration(P[0], R, GAMMA)
    with pytest.raises(ValueError, match=r"shape of reward must be \[M, S, A\] = \(3, 4, 2\)"):
        robust_value_iteration(P, R[:2], GAMMA)
    with pytest.raises(ValueError, match="start must be a state from 0 to 3; got 4"):
        iwocs(P, R, GAMMA, 4)
    with pytest.raises(ValueError, match="first must be a model from 0 to 2; got -1"):
        iwocs(P, R, GAMMA, 0, first=-1)
    with pytest.raises(ValueError, match="probabilities"):
        iwocs(0.5 * P, R, GAMMA, 0)
    with pytest.raises(RuntimeError, match="no convergence"):
        robust_value_iteration(P, R, GAMMA, max_iterations=3)
