"""Criteria against theorems, brute force and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import kendalltau

from rlx.reward import (
    borda_score,
    listwise_reward,
    marginal_preference,
    marginal_preference_bound,
    pair_accuracy,
    reversal_accuracy,
)

RNG = np.random.default_rng(0)


def test_the_bound_holds_and_can_be_reached():
    q, other = RNG.dirichlet(np.ones(4), 2000), RNG.dirichlet(np.ones(4), 2000)
    p, estimate = RNG.random((2000, 4)), RNG.random((2000, 4))
    error = np.abs(marginal_preference(q, p) - marginal_preference(other, estimate))
    bound = np.asarray(marginal_preference_bound(q, other, p, estimate))
    assert np.all(error <= bound + 1e-6)
    certain = (q > other).astype(float)  # all that moves between contexts changes the verdict
    error = np.abs(marginal_preference(q, certain) - marginal_preference(other, certain))
    np.testing.assert_allclose(error, marginal_preference_bound(q, other, certain, certain), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(marginal_preference(np.ones((5, 1)), p[:5, :1]), p[:5, 0], rtol=1e-6)


def test_borda_is_a_loop_and_of_two_is_bradley_terry():
    score, q = RNG.normal(size=(4, 3)), RNG.dirichlet(np.ones(3))
    valid = np.array([True, True, False, True])
    expected = [
        np.mean([q @ expit(score[i] - score[j]) for j in range(4) if valid[j] and j != i]) if valid[i] else 0
        for i in range(4)
    ]
    np.testing.assert_allclose(borda_score(score, q, valid), expected, rtol=1e-5)
    np.testing.assert_allclose(np.sum(borda_score(score, q)), 2.0, rtol=1e-5)
    pair = borda_score(score[:2], q)
    np.testing.assert_allclose(pair[0], marginal_preference(q, expit(score[0] - score[1])), rtol=1e-5)


def test_a_model_that_is_blind_to_the_context_is_half_right_and_never_twice():
    difference = np.repeat(RNG.normal(size=(500, 1)), 2, 1)
    target = np.stack([RNG.integers(0, 2, 500)] * 2, 1).astype(float)
    target[:, 1] = 1 - target[:, 0]
    assert np.mean(pair_accuracy(difference, target)) == 0.5
    assert np.all(reversal_accuracy(difference, target) == 0)
    assert np.all(reversal_accuracy(2 * target - 1, target) == 1)
    coins = RNG.normal(size=(20000, 2))
    np.testing.assert_allclose(np.mean(reversal_accuracy(coins, np.tile([1.0, 0.0], (20000, 1)))), 0.25, atol=0.01)


def test_order_of_a_list_is_kendalls_tau_b():
    score, gold = (np.round(RNG.normal(size=(40, 6))) for _ in range(2))
    valid = RNG.random((40, 6)) < 0.8
    found = np.asarray(listwise_reward(score, gold, valid))
    for row, s, g, v in zip(found, score, gold, valid, strict=True):
        tau = kendalltau(s[v], g[v]).statistic
        np.testing.assert_allclose(row, 0.0 if np.isnan(tau) else tau, atol=1e-5)


def test_distances_of_a_list_are_a_loop():
    score, gold = RNG.normal(size=5), RNG.normal(size=5)
    gaps = [abs((score[i] - score[j]) - (gold[i] - gold[j])) for i in range(5) for j in range(i)]
    np.testing.assert_allclose(listwise_reward(score, gold, weights=(0.0, 2.0)), 2 - 2 * np.mean(gaps), rtol=1e-5)
    order = RNG.permutation(5)
    both = [listwise_reward(s, g, weights=(1.0, 1.0)) for s, g in ((score, gold), (score[order], gold[order]))]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-5)
    np.testing.assert_allclose(listwise_reward(gold + 3, gold, weights=(1.0, 1.0)), 2.0, rtol=1e-5)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="prob"):
        marginal_preference(np.ones(2) / 2, np.array([2.0, 0.0]))
    with pytest.raises(ValueError, match="context_estimate"):
        marginal_preference_bound(np.ones(2) / 2, np.array([-1.0, 2.0]), np.zeros(2), np.zeros(2))
    with pytest.raises(ValueError, match="context_prob"):
        borda_score(np.zeros((3, 2)), np.ones(3) / 3)
    with pytest.raises(ValueError, match="difference"):
        reversal_accuracy(np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="same shape"):
        listwise_reward(np.zeros(3), np.zeros(2))
