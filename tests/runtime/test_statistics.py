"""Oracles: hand arithmetic, closed forms of the resampling distribution, and a loop over resamples in NumPy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from rlx.runtime.statistics import bootstrap, difference, interquartile_mean, probability_of_improvement


def test_interquartile_mean_by_hand():
    assert interquartile_mean([1.0, 2.0, 3.0, 100.0]) == 2.5
    assert interquartile_mean([5.0, -1000.0, 1.0, 2.0, 4.0, 3.0, 1000.0, 6.0]) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert interquartile_mean([1.0, 2.0, 9.0]) == 4.0  # nothing to cut
    np.testing.assert_allclose(interquartile_mean([[1.0, 0.0], [2.0, 1.0], [3.0, 2.0], [9.0, 3.0]], axis=0), [2.5, 1.5])


def test_interquartile_mean_pools_its_samples():
    assert interquartile_mean([1.0, 100.0], [2.0, 3.0]) == interquartile_mean([1.0, 2.0, 3.0, 100.0])


def test_probability_of_improvement_counts_pairs():
    x, y = [1.0, 2.0, 3.0], [2.0, 2.5]
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(x, y)]
    assert probability_of_improvement(x, y) == pytest.approx(np.mean(pairs))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=30), rng.normal(0.3, size=20)
    mann_whitney = scipy.stats.mannwhitneyu(x, y).statistic / (30 * 20)
    assert probability_of_improvement(x, y) == pytest.approx(mann_whitney)
    assert probability_of_improvement(y, x) == pytest.approx(1 - mann_whitney)


def test_interval_of_two_values_is_known():
    """Two seeds 0 and 1: a resampled mean is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4."""
    assert bootstrap(np.mean, [0.0, 1.0]) == (0.5, 0.0, 1.0)
    assert bootstrap(np.mean, [0.0, 1.0], confidence=0.4) == (0.5, 0.5, 0.5)


def test_interval_of_a_fraction_is_binomial():
    """Of n zeros and ones the resampled mean is binomial, so the interval's ends are its quantiles."""
    n, ones = 40, 12
    estimate = bootstrap(np.mean, [1.0] * ones + [0.0] * (n - ones), resamples=20_000)
    low, high = scipy.stats.binom.ppf([0.025, 0.975], n, ones / n) / n
    assert estimate.value == pytest.approx(ones / n)
    assert estimate.low == pytest.approx(low, abs=1 / n)
    assert estimate.high == pytest.approx(high, abs=1 / n)


def test_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        estimate = bootstrap(np.mean, rng.normal(3.0, 2.0, size=40), confidence=0.8, resamples=400, seed=trial)
        covered += estimate.low <= 3.0 <= estimate.high
    assert abs(covered / 200 - 0.8) < 4 * math.sqrt(0.8 * 0.2 / 200)


def test_strata_are_resampled_apart():
    """Tasks that differ in scale only between, not within: there is nothing to resample, the interval is a point."""
    tasks = [[1.0] * 5, [10.0] * 5, [100.0] * 5]
    estimate = bootstrap(interquartile_mean, *tasks)
    assert estimate.low == estimate.value == estimate.high
    pooled = bootstrap(interquartile_mean, np.concatenate(tasks))
    assert pooled.low < pooled.value < pooled.high


def test_stratified_interval_against_a_loop():
    rng = np.random.default_rng(2)
    tasks = [rng.normal(loc, 1.0, size=size) for loc, size in ((0.0, 12), (1.0, 9), (5.0, 15))]
    draws = []
    for _ in range(4000):
        drawn = np.sort(np.concatenate([rng.choice(task, size=len(task)) for task in tasks]))
        cut = len(drawn) // 4
        draws.append(drawn[cut : len(drawn) - cut].mean())
    estimate = bootstrap(interquartile_mean, *tasks, resamples=4000)
    np.testing.assert_allclose([estimate.low, estimate.high], np.quantile(draws, [0.025, 0.975]), atol=0.05)


def test_curves_are_resampled_whole():
    """Each point of a curve gets the interval that it would get alone."""
    curves = np.random.default_rng(3).normal(size=(7, 5))
    together = bootstrap(interquartile_mean, curves)
    alone = [bootstrap(interquartile_mean, curves[:, point]) for point in range(5)]
    np.testing.assert_allclose(np.stack(together, axis=1), np.array(alone))


def test_difference_is_an_effect_size():
    estimate = bootstrap(difference(np.mean), np.full(5, 3.0), np.full(8, 1.0))
    assert estimate == (2.0, 2.0, 2.0)


def test_same_seed_same_interval():
    returns = np.random.default_rng(4).normal(size=10)
    assert bootstrap(interquartile_mean, returns, seed=5) == bootstrap(interquartile_mean, returns, seed=5)
    assert bootstrap(interquartile_mean, returns, seed=5) != bootstrap(interquartile_mean, returns, seed=6)


def test_one_seed_has_no_interval():
    estimate = bootstrap(interquartile_mean, [[3.0, 4.0]])
    np.testing.assert_array_equal(estimate.value, [3.0, 4.0])
    assert np.isnan(estimate.low).all()
    assert np.isnan(estimate.high).all()


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        (([1.0, math.nan],), {}, r"samples\[0\] must be finite"),
        (([1.0, 2.0], []), {}, r"samples\[1\] must be an array with at least one seed"),
        (([1.0, 2.0],), {"confidence": 95}, "confidence must be"),
        (([1.0, 2.0],), {"resamples": 0}, "resamples must be"),
        ((), {}, "samples must be"),
    ],
)
def test_errors_name_the_argument(samples, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap(interquartile_mean, *samples, **options)
