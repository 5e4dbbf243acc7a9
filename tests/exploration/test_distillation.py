"""Distillation errors against NumPy and their limits, where gradients flow, and the law of a converged predictor."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2, kstest

from rlx.exploration import distill_bonus, distill_loss, distill_target, pseudo_count_stat

KEY = jax.random.key(0)


def test_bonus_and_loss_are_mean_squares_over_features():
    prediction, target = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype(np.float32)
    wanted = ((prediction - target) ** 2).sum(-1) / 4
    np.testing.assert_allclose(distill_bonus(prediction, target), wanted, rtol=1e-5)
    np.testing.assert_allclose(distill_loss(prediction, target), wanted, rtol=1e-5)
    np.testing.assert_array_equal(distill_bonus(target, target), 0.0)


def test_gradient_flows_into_the_prediction_of_the_loss_only():
    prediction, target = jnp.array([[1.0, -2.0]]), jnp.array([[0.0, 1.0]])
    into_prediction, into_target = jax.grad(lambda p, t: distill_loss(p, t).sum(), argnums=(0, 1))(prediction, target)
    np.testing.assert_allclose(into_prediction, [[1.0, -3.0]])  # 2 (p - t) / D
    np.testing.assert_array_equal(into_target, 0.0)
    for gradient in jax.grad(lambda p, t: distill_bonus(p, t).sum(), argnums=(0, 1))(prediction, target):
        np.testing.assert_array_equal(gradient, 0.0)


def test_mixture_is_the_formula_in_double_precision():
    rng = np.random.default_rng(0)
    f, c = rng.normal(size=(6, 4)), rng.normal(size=(5, 6, 4))
    mean, square = c.mean(0), (c**2).mean(0)
    share = np.clip(np.abs(f**2 - mean**2) / (square - mean**2), 0.01, 1)
    wanted = 0.9 * ((f - mean) ** 2).mean(-1) + 0.1 * np.sqrt(share).mean(-1)
    found = distill_bonus(jnp.asarray(f, jnp.float32), jnp.asarray(c, jnp.float32), "mixture", alpha=0.9, floor=0.01)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_gaussian_targets_without_noise_are_the_fixed_ones_bit_for_bit():
    features = jax.random.normal(KEY, (50, 8))
    np.testing.assert_array_equal(distill_target(KEY, features, "gaussian", scale=0.0), features)
    np.testing.assert_array_equal(distill_target(KEY, features, "fixed"), features)
    prediction = jax.random.normal(jax.random.key(1), (50, 8))
    np.testing.assert_array_equal(distill_bonus(prediction, features, "gaussian"), distill_bonus(prediction, features))


def test_targets_have_the_moments_that_they_should():
    """20,000 draws: standard errors are 0.007 and below."""
    features = jnp.array([[1.0, -2.0]])
    gaussian = distill_target(KEY, jnp.tile(features, (20_000, 1)), "gaussian", scale=0.5)
    np.testing.assert_allclose([gaussian.mean(0), gaussian.std(0)], [[1.0, -2.0], [0.5, 0.5]], atol=0.02)
    coin = distill_target(KEY, jnp.zeros((20_000, 2)), "coin_flip")
    np.testing.assert_array_equal(jnp.abs(coin), 1.0)
    np.testing.assert_allclose(coin.mean(0), 0.0, atol=0.03)
    nets = jnp.arange(3.0)[:, None, None] * jnp.array([1.0, 10.0])
    drawn = distill_target(KEY, jnp.broadcast_to(nets, (3, 20_000, 2)), "mixture")
    np.testing.assert_array_equal(drawn[:, 1], 10 * drawn[:, 0])  # a row is of one network
    np.testing.assert_allclose(np.bincount(np.asarray(drawn[:, 0], int)) / 20_000, 1 / 3, atol=0.02)


def test_the_mean_of_n_gaussian_targets_has_a_chi_squared_error():
    """`n D` times the statistic has D degrees of freedom, whatever the scale."""
    n, size = 7, 5
    mean = jax.random.normal(KEY, (2000, size))
    targets = distill_target(jax.random.key(1), jnp.tile(mean, (n, 1, 1)), "gaussian", scale=3.0)
    stat = n * size * pseudo_count_stat(targets.mean(0), mean, 3.0)
    assert kstest(np.asarray(stat), chi2(size).cdf).pvalue > 0.01  # type: ignore[attr-defined]


def test_bonuses_of_a_converged_predictor_fall_as_they_should():
    """Of the mean of n targets: 1 / n, its root for coins; of fixed ones nothing is left at all."""
    n = 9
    features = jax.random.normal(KEY, (500, 64))
    many = jnp.tile(features, (n, 1, 1))
    keys = jax.random.split(KEY, 3)
    fixed, gaussian, coin = (
        distill_bonus(distill_target(key, many, kind).mean(0), features, kind).mean()
        for key, kind in zip(keys, ("fixed", "gaussian", "coin_flip"), strict=True)
    )
    np.testing.assert_allclose([fixed, gaussian, coin], [0, 1 / n, n**-0.5], rtol=0.02, atol=1e-6)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="prediction"):
        distill_loss(jnp.zeros((2, 3)), jnp.zeros((2, 1)))
    with pytest.raises(ValueError, match="kind must be one of"):
        distill_target(KEY, jnp.zeros((2, 3)), "uniform")
    with pytest.raises(ValueError, match=r"len\(features\) must be at least 2"):
        distill_bonus(jnp.zeros((2, 3)), jnp.zeros((1, 2, 3)), "mixture")
    with pytest.raises(ValueError, match="scale"):
        pseudo_count_stat(jnp.zeros(3), jnp.zeros(3), 0.0)
