"""Aggregates in the limits in which they are one another, the robust mix, and extrapolated weights."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from rlx.reward import brme_loss, brme_reward, ensemble_reward, extrapolate

RNG = np.random.default_rng(0)
REWARD = RNG.normal(size=(5, 7))
ALL = ("mean", "worst_case", "uncertainty_weighted", "lower_bound", "entropic")


def test_aggregates_are_numpys():
    np.testing.assert_allclose(ensemble_reward(REWARD), REWARD.mean(0), rtol=1e-5)
    np.testing.assert_allclose(ensemble_reward(REWARD, "worst_case"), REWARD.min(0), rtol=1e-6)
    np.testing.assert_allclose(
        ensemble_reward(REWARD, "uncertainty_weighted", 0.3), REWARD.mean(0) - 0.3 * REWARD.var(0), rtol=1e-4
    )
    np.testing.assert_allclose(
        ensemble_reward(REWARD, "lower_bound", 0.3), REWARD.mean(0) - 0.3 * REWARD.std(0), rtol=1e-4
    )


@pytest.mark.parametrize("how", ALL)
def test_members_that_agree_are_one(how):
    same = np.repeat(REWARD[:1], 4, axis=0)
    np.testing.assert_allclose(ensemble_reward(same, how, 0.7), REWARD[0], rtol=1e-4, atol=1e-5)
    assert np.all(np.isfinite(jax.grad(lambda r: ensemble_reward(r, how, 0.7).sum())(same)))


def test_entropic_goes_from_the_mean_to_the_worst_case():
    np.testing.assert_allclose(ensemble_reward(REWARD, "entropic", 1e-3), REWARD.mean(0), atol=5e-3)
    np.testing.assert_allclose(ensemble_reward(REWARD, "entropic", 1e3), REWARD.min(0), atol=5e-3)


def test_entropic_is_the_variance_penalty_up_to_third_moments():
    with jax.enable_x64(True):
        for width in (1e-1, 1e-2):
            near = 1.0 + width * REWARD
            gap = ensemble_reward(near, "entropic", 0.5) - ensemble_reward(near, "uncertainty_weighted", 0.5)
            assert np.max(np.abs(gap)) < 2 * width**3


def test_robust_mix_lies_between_its_parts():
    mean, std = RNG.normal(size=(5, 9)), RNG.random((5, 9))
    confident = mean[std.argmin(0), np.arange(9)]
    np.testing.assert_allclose(brme_reward(mean, std, 1.0), confident, rtol=1e-6)
    np.testing.assert_allclose(brme_reward(mean, std, 0.0), mean.min(0), rtol=1e-6)
    np.testing.assert_allclose(
        brme_reward(mean, std, 0.25), 0.25 * confident + 0.75 * mean.min(0), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(brme_reward(mean, np.ones((5, 9)), 1.0), mean[0], rtol=1e-6)
    assert np.all(mean.min(0) <= mean[mean.mean(1).argmin()])  # sample by sample it is never above the worst head


def test_brme_loss_is_the_mean_over_draws():
    draws = 0.3 + 0.8 * RNG.normal(size=400000)
    np.testing.assert_allclose(brme_loss(0.3, 0.8, 1.0), np.mean((draws - 1.0) ** 2), rtol=0.01)


def test_extrapolation_is_a_line():
    start, end = {"a": RNG.normal(size=3)}, {"a": RNG.normal(size=3)}
    for factor, expected in ((0.0, end["a"]), (-1.0, start["a"]), (1.0, 2 * end["a"] - start["a"])):
        np.testing.assert_allclose(extrapolate(start, end, factor)["a"], expected, rtol=1e-5)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="how"):
        ensemble_reward(REWARD, "median")
    with pytest.raises(ValueError, match="caution"):
        ensemble_reward(REWARD, "uncertainty_weighted", -1.0)
    with pytest.raises(ValueError, match="caution"):
        ensemble_reward(REWARD, "entropic", 0.0)
    with pytest.raises(ValueError, match="nominal"):
        brme_reward(REWARD, REWARD, 1.5)
    with pytest.raises(ValueError, match="same shape"):
        brme_loss(np.zeros(2), np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="same shape"):
        extrapolate(np.zeros(2), np.zeros(3), 0.5)
