"""Reports against SciPy, and planted effects of length."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from scipy.special import expit, log_expit

from rlx import policy

rng = np.random.default_rng(0)


def test_rank_correlation_is_scipys():
    x, y = rng.integers(0, 5, (20, 30)).astype(float), rng.normal(size=(20, 30)).round(1)
    expected = [scipy.stats.spearmanr(a, b)[0] for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(policy.rank_correlation(x, y), expected, rtol=1e-4, atol=1e-6)
    assert policy.rank_correlation(np.ones(4), np.arange(4.0)) == 0


def test_length_report():
    length = rng.integers(1, 9, 50)
    mask, short = np.arange(8) < length[:, None], np.arange(8) < rng.integers(1, 4, (30, 1))
    report = policy.length_report(mask, 2.0 * length, short)
    np.testing.assert_allclose(report.ratio, length.mean() / short.sum(1).mean(), rtol=1e-6)
    np.testing.assert_allclose(report.correlation, 1, rtol=1e-6)


def test_planted_effect_of_length_is_taken_out():
    difference = rng.normal(1.5, 2, 20_000)
    column = np.tanh(difference / difference.std())
    win = (rng.random(20_000) < expit(0.2 + 1.5 * column)).astype(float)
    rate = policy.length_controlled_win_rate(win, difference)
    np.testing.assert_allclose(rate.raw, win.mean(), rtol=1e-5)
    np.testing.assert_allclose(rate.controlled, expit(0.2), atol=0.015)
    few = slice(0, 200)

    def objective(w):
        column = np.tanh(difference[few] / difference[few].std())
        z = w[0] + w[1] * column
        return -np.mean(win[few] * log_expit(z) + (1 - win[few]) * log_expit(-z)) + 1e-3 * w[1] ** 2 / 2

    expected = expit(scipy.optimize.minimize(objective, np.zeros(2)).x[0])
    got = policy.length_controlled_win_rate(win[few], difference[few]).controlled
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_equal_lengths_and_sure_wins():
    rate = policy.length_controlled_win_rate(win := rng.integers(0, 2, 100).astype(float), np.full(100, 3.0))
    np.testing.assert_allclose(rate.controlled, win.mean(), atol=1e-4)
    sure = policy.length_controlled_win_rate(np.ones(50), rng.normal(size=50))
    assert 0.99 < float(sure.controlled) <= 1
    by_length = rng.normal(size=400)
    decided = policy.length_controlled_win_rate((by_length > 0).astype(float), by_length)
    np.testing.assert_allclose(decided.controlled, 0.5, atol=0.15)


def test_mismatch():
    accuracy, gold = rng.random(10), rng.normal(size=(10, 20))
    proxy = gold.copy()
    proxy[3] = -gold[3]
    report = policy.objective_mismatch(accuracy, proxy, gold)
    for got, pair in (
        (report.accuracy_proxy, (accuracy, proxy[:, -1])),
        (report.accuracy_gold, (accuracy, gold[:, -1])),
        (report.proxy_gold, (proxy[:, -1], gold[:, -1])),
    ):
        np.testing.assert_allclose(got, scipy.stats.spearmanr(*pair)[0], rtol=1e-4)
    np.testing.assert_allclose(report.within, np.where(np.arange(10) == 3, -1, 1), rtol=1e-5)
    gap = np.where(np.arange(10) == 3, gold.max(1) - gold.min(1), 0)
    np.testing.assert_allclose(report.peak_gap, gap, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: policy.rank_correlation(np.zeros(2), np.zeros(3)), "same shape"),
        (lambda: policy.length_report(np.ones(2), np.zeros(2), np.ones((1, 1))), "mask must have rank 2"),
        (lambda: policy.length_controlled_win_rate(np.full(2, 2.0), np.zeros(2)), "win"),
        (lambda: policy.objective_mismatch(np.zeros(3), np.zeros((2, 4)), np.zeros((2, 4))), "accuracy must be"),
    ],
)
def test_bad_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()
