"""Comparing runs over a few seeds: robust averages and bootstrap confidence intervals.

A sample holds one number for each seed, or along `axis` one array for each seed (a learning curve). The intervals speak
of the seeds' spread only, not of the choice of settings; with fewer than about ten seeds a percentile interval is
somewhat too narrow.

Sources: "Deep reinforcement learning at the edge of the statistical precipice" (2021) for the interquartile mean,
stratified intervals and the probability of improvement; Efron, "Bootstrap methods: another look at the jackknife"
(1979).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

from rlx import check

Statistic = Callable[..., Any]  # (*samples, axis) -> array, reducing `axis`


class Estimate(NamedTuple):
    """A statistic of the samples and its confidence interval, whose ends are NaN where a sample has one seed only."""

    value: Any
    low: Any
    high: Any


def interquartile_mean(*samples: Any, axis: int = -1) -> Any:
    """Mean of what is left when the lowest and the highest quarter are cut off, over all the samples together.

    Of `n` values `n // 4` are cut at each end: it is the mean for `n < 4`, and for larger `n` lies between mean
    (efficient) and median (robust). Usual mistake: to average seeds per task first; pooled, as here, each run counts
    once.
    """
    return scipy.stats.trim_mean(np.concatenate(samples, axis=axis), 0.25, axis=axis)


def probability_of_improvement(method: Any, baseline: Any, *, axis: int = -1) -> Any:
    """`P(x > y) + P(x = y) / 2` for a run `x` of the method and `y` of the baseline, each drawn at random.

    It is the Mann-Whitney statistic over the number of pairs: how often, not how much.
    """
    x = np.moveaxis(np.asarray(method), axis, -1)[..., :, None]
    y = np.moveaxis(np.asarray(baseline), axis, -1)[..., None, :]
    return np.mean((x > y) + 0.5 * (x == y), axis=(-2, -1))


def difference(statistic: Statistic) -> Statistic:
    """The statistic of the first sample less that of the second: an effect size for `bootstrap`."""

    def statistic_difference(method: Any, baseline: Any, *, axis: int = -1) -> Any:
        return statistic(method, axis=axis) - statistic(baseline, axis=axis)

    return statistic_difference


def bootstrap(
    statistic: Statistic, *samples: Any, axis: int = 0, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """The statistic with its percentile bootstrap interval; deterministic given `seed`.

    Each sample is resampled with replacement along `axis` on its own. So several samples are strata (the tasks of a
    benchmark) for a statistic that pools them, or sides of a comparison for one that compares them:

        bootstrap(interquartile_mean, returns)                                # [S] -> numbers, [S, N] -> arrays [N]
        bootstrap(interquartile_mean, *returns_of_each_task)                  # stratified
        bootstrap(difference(interquartile_mean), method, baseline)           # effect size
        bootstrap(probability_of_improvement, method, baseline)

    Args:
        statistic: `(*samples, axis) -> array`; `numpy.mean` and `numpy.median` are ones of one sample.
        samples: arrays with the seeds along `axis`; they may differ in the number of seeds.
        axis: where the seeds are.
        confidence: probability that the interval covers, in (0, 1).
        resamples: how many; the ends of a 95 % interval settle at some thousands.
        seed: of the resampling.

    Raises:
        ValueError: a sample is empty or holds a number that is not finite, or an option is out of range.
    """
    check.in_range("confidence", confidence, 0.0, 1.0, open_low=True, open_high=True)
    check.count("resamples", resamples)
    arrays = [np.asarray(sample, dtype=np.float64) for sample in samples]
    check.require(bool(arrays), "samples", samples, "one array or more")
    for index, array in enumerate(arrays):
        check.require(
            array.ndim > 0 and array.shape[axis] > 0, f"samples[{index}]", array, "an array with at least one seed"
        )
        check.require(bool(np.all(np.isfinite(array))), f"samples[{index}]", array, "finite; leave diverged runs out")
    value = statistic(*arrays, axis=axis)
    if min(array.shape[axis] for array in arrays) < 2:
        unknown = np.full_like(value, np.nan)[()]
        return Estimate(value, unknown, unknown)
    interval = scipy.stats.bootstrap(
        arrays,
        statistic,
        axis=axis,
        vectorized=True,
        method="percentile",
        confidence_level=confidence,
        n_resamples=resamples,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(value, interval.low, interval.high)
