"""Splits against enumeration and ruptures; features and rewards by their formulas."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
import ruptures
from scipy import stats

from rlx.reward import perceptual_reward, segment_demo, select_features

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def spread(x: np.ndarray) -> float:
    return float(x.std(0).mean())


@pytest.mark.parametrize(("num", "min_length"), [(1, 1), (2, 1), (3, 2), (4, 3)])
def test_splits_are_the_best_of_all(num, min_length):
    x = RNG.normal(size=(14, 3)).cumsum(0)
    splits = [(0, *inner, 14) for inner in itertools.combinations(range(1, 14), num - 1)]
    allowed = [b for b in splits if min(np.diff(b)) >= min_length]
    wanted = min(allowed, key=lambda b: sum(spread(x[i:j]) for i, j in itertools.pairwise(b)))
    assert tuple(segment_demo(x, num, min_length).tolist()) == wanted


class Spread(ruptures.base.BaseCost):
    """The same cost, for another implementation's search."""

    model, min_size = "spread", 2

    def fit(self, signal):
        self.signal = signal
        return self

    def error(self, start, end):
        return spread(self.signal[start:end])


def test_splits_are_those_of_ruptures():
    x = np.repeat(RNG.normal(size=(4, 5)), (6, 9, 5, 10), 0)
    assert segment_demo(x, 4, 2).tolist() == [0, 6, 15, 20, 30]
    noisy = x + 0.8 * RNG.normal(size=x.shape)
    wanted = ruptures.Dynp(custom_cost=Spread(), min_size=2, jump=1).fit(noisy).predict(n_bkps=3)
    assert segment_demo(noisy, 4, 2).tolist() == [0, *wanted]


def test_features_by_the_formula():
    mean, std, other_mean, other_std = RNG.random((4, 3, 9))
    score = 2.0 * np.abs(mean - other_mean) - std - other_std
    found = np.asarray(select_features(mean, std, other_mean, other_std, 4, 2.0))
    for i in range(3):
        assert set(np.flatnonzero(found[i])) == set(np.argsort(-score[i])[:4])


def test_rewards_are_log_densities_up_to_constants():
    features, mean, std = RNG.normal(size=(5, 6)), RNG.normal(size=(3, 6)), RNG.uniform(0.5, 2, (3, 6))
    chosen = np.arange(6) < np.array([[2], [3], [4]])
    wanted = np.zeros(5)
    for i in (1, 2):
        density = stats.norm.logpdf(features, mean[i], std[i]) - stats.norm.logpdf(mean[i], mean[i], std[i])
        wanted += 2.0**i * 2 * density[:, chosen[i]].mean(1)
    np.testing.assert_allclose(perceptual_reward(features, mean, std, chosen), wanted)
    assert np.all(np.isfinite(perceptual_reward(features, mean, 0 * std, chosen)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: segment_demo(np.ones(4), 2), "features must have rank 2"),
        (lambda: segment_demo(np.ones((4, 1)), 3, 2), r"num_segments \* min_length must be at most T = 4; got 6"),
        (lambda: select_features(*np.ones((4, 3)), 4), "num must be at most 3"),
        (lambda: select_features(np.ones(3), np.ones(2), np.ones(3), np.ones(3), 1), r"std \(2,\)"),
        (lambda: perceptual_reward(np.ones(2), *np.ones((3, 2, 3), bool)), r"the shape of features must be \[..., 3\]"),
        (lambda: perceptual_reward(np.ones(3), *np.ones((3, 1, 3), bool)), "number of steps must be at least 2"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
