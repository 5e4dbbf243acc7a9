"""Distributional kernels: rlax on the same inputs, conserved means, and the quantiles of a sample."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax
from scipy.special import softmax
from scipy.stats import norm

from rlx import value

SUPPORT = jnp.array([-2.0, -0.5, 0.0, 1.0, 3.0])


def test_projection_equals_rlax():
    rng = np.random.default_rng(0)
    shifted = jnp.asarray(np.sort(rng.uniform(-4, 5, (20, 7))), jnp.float32)
    probs = jnp.asarray(rng.dirichlet(np.ones(7), 20), jnp.float32)
    wanted = jax.vmap(rlax.categorical_l2_project, (0, 0, None))(shifted, probs, SUPPORT)
    np.testing.assert_allclose(value.categorical_project(shifted, probs, SUPPORT), wanted, atol=1e-6)


def test_projection_keeps_mass_and_mean():
    rng = np.random.default_rng(1)
    shifted = jnp.asarray(rng.uniform(-2, 3, (20, 7)), jnp.float32)  # in no order
    probs = jnp.asarray(rng.dirichlet(np.ones(7), 20), jnp.float32)
    out = value.categorical_project(shifted, probs, SUPPORT)
    np.testing.assert_allclose(out.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(out @ SUPPORT, (shifted * probs).sum(-1), atol=1e-5)
    np.testing.assert_allclose(
        value.categorical_project(jnp.broadcast_to(SUPPORT, (20, 5)), out, SUPPORT), out, atol=1e-6
    )


def test_projection_puts_outside_mass_on_the_ends():
    out = value.categorical_project(jnp.array([-9.0, 9.0]), jnp.array([0.25, 0.75]), SUPPORT)
    np.testing.assert_allclose(out, [0.25, 0, 0, 0, 0.75])


def test_two_hot_equals_rlax():
    y = jnp.linspace(-3, 3, 41)
    support = jnp.linspace(-2, 2, 9)
    two_hot = value.two_hot(y, support)
    np.testing.assert_allclose(
        two_hot, rlax.transform_to_2hot(y, -2.0, 2.0, 9), atol=1e-4
    )  # rlax divides by gap + 1e-5
    np.testing.assert_allclose(two_hot @ support, jnp.clip(y, -2, 2), atol=1e-6)


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0, 2.0])
def test_quantile_loss_equals_rlax_up_to_its_missing_division(kappa: float):
    rng = np.random.default_rng(2)
    quantile, target = (jnp.asarray(rng.normal(size=(10, n)) * 2, jnp.float32) for n in (5, 8))
    tau = jnp.asarray(rng.uniform(size=(10, 5)), jnp.float32)
    wanted = jax.vmap(rlax.quantile_regression_loss, (0, 0, 0, None))(quantile, tau, target, kappa)
    got = value.quantile_huber_loss(quantile, tau, target, kappa)
    np.testing.assert_allclose(got, wanted / (kappa or 1.0), rtol=1e-5)


def test_quantile_loss_is_least_at_the_samples_quantiles():
    sample = jnp.asarray(np.random.default_rng(3).normal(size=999), jnp.float32)
    tau = jnp.array([0.1, 0.5, 0.9])
    quantiles = jnp.asarray(np.quantile(np.asarray(sample), np.asarray(tau)), jnp.float32)
    least = value.quantile_huber_loss(quantiles, tau, sample, kappa=0.0)
    for i in range(3):
        for step in (-0.05, 0.05):
            assert value.quantile_huber_loss(quantiles.at[i].add(step), tau, sample, kappa=0.0) > least


def test_quantile_loss_averages_targets_and_sums_quantiles():
    quantile, tau, target = jnp.array([0.3, -1.0]), jnp.array([0.2, 0.7]), jnp.array([1.0, -2.0, 0.5])
    once = value.quantile_huber_loss(quantile, tau, target)
    np.testing.assert_allclose(value.quantile_huber_loss(quantile, tau, jnp.tile(target, 4)), once, rtol=1e-6)
    twice = value.quantile_huber_loss(jnp.tile(quantile, 2), jnp.tile(tau, 2), target)
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-6)


EVEN = np.linspace(-5, 5, 51)


def test_gaussian_histogram_equals_scipy():
    y = np.linspace(-4, 4, 17)
    edges = np.linspace(-5.1, 5.1, 52)
    with jax.enable_x64(True):
        for sigma in (0.05, 0.15, 0.6):
            mass = np.diff(norm.cdf(edges, y[:, None], sigma))
            got = value.hl_gauss(jnp.asarray(y), jnp.asarray(EVEN), sigma)
            np.testing.assert_allclose(got, mass / mass.sum(-1, keepdims=True), rtol=1e-6, atol=1e-12)
        default = value.hl_gauss(jnp.asarray(y), jnp.asarray(EVEN))
        np.testing.assert_allclose(default, value.hl_gauss(jnp.asarray(y), jnp.asarray(EVEN), 0.15), rtol=1e-9)


def test_gaussian_histogram_keeps_the_mean_but_near_an_end():
    with jax.enable_x64(True):
        support = jnp.asarray(EVEN)

        def error(y):
            return np.abs(value.hl_gauss(y, support) @ support - y)

        assert error(jnp.linspace(-4, 4, 333)).max() < 1e-6
        assert error(5 - 2.5 * 0.2) < 2e-4
        np.testing.assert_allclose(error(5.0) / 0.2, 0.37, atol=0.01)  # what is said of the margin
    beyond = value.hl_gauss(jnp.array([-1e6, 1e6]), jnp.asarray(EVEN, jnp.float32))
    np.testing.assert_array_equal(beyond.argmax(-1), [0, 50])
    np.testing.assert_allclose(beyond.sum(-1), 1.0, rtol=1e-6)


def test_narrow_gaussian_is_the_nearest_atom():
    support, y = jnp.linspace(-1, 1, 5), jnp.array([-0.6, 0.2, 0.3, 1.0])
    np.testing.assert_allclose(value.hl_gauss(y, support, 1e-3), jnp.eye(5)[jnp.array([1, 2, 3, 4])], atol=1e-6)


def test_targets_of_a_distribution_have_its_mean_and_c51_keeps_its_shape():
    rng = np.random.default_rng(4)
    with jax.enable_x64(True):
        support = jnp.asarray(EVEN)
        shifted, probs = jnp.asarray(0.5 + 0.7 * EVEN), jnp.asarray(rng.dirichlet(np.ones(51)))
        mean = shifted @ probs
        for kind in ("c51", "two_hot", "hl_gauss"):
            target = value.categorical_target(shifted, support, kind, probs=probs)
            np.testing.assert_allclose(target @ support, mean, atol=1e-6, err_msg=kind)
            if kind != "c51":  # of the mean alone
                np.testing.assert_array_equal(target, value.categorical_target(mean, support, kind))
        projected = value.categorical_target(shifted, support, "c51", probs=probs)
        np.testing.assert_allclose(projected, rlax.categorical_l2_project(shifted, probs, support), atol=1e-12)
        spread = projected @ support**2 - mean**2
        np.testing.assert_allclose(spread, shifted**2 @ probs - mean**2, rtol=0.01)


def test_cross_entropy_is_least_at_the_mean_of_the_targets():
    """By the first-order condition: softmax(logits) equals the average target, so the decoded value is the mean."""
    with jax.enable_x64(True):
        support = jnp.asarray(EVEN)
        y = jnp.asarray(np.random.default_rng(5).standard_t(2, 4000).clip(-4, 4))
        target = value.categorical_target(y, support, "hl_gauss")
        logits = jnp.log(target.mean(0))
        grad = jax.grad(lambda x: value.categorical_loss(jnp.broadcast_to(x, target.shape), target).mean())(logits)
        np.testing.assert_allclose(grad, 0.0, atol=1e-12)
        np.testing.assert_allclose(value.categorical_mean(logits, support), y.mean(), atol=1e-6)


def test_categorical_loss_and_mean_equal_numpy():
    rng = np.random.default_rng(6)
    logits, target = rng.normal(size=(7, 5)), rng.dirichlet(np.ones(5), 7)
    probs = softmax(logits, -1)
    with jax.enable_x64(True):
        loss = value.categorical_loss(jnp.asarray(logits), jnp.asarray(target))
        mean = value.categorical_mean(jnp.asarray(logits), jnp.asarray(SUPPORT))
    np.testing.assert_allclose(loss, -(target * np.log(probs)).sum(-1), rtol=1e-6)
    np.testing.assert_allclose(mean, probs @ np.asarray(SUPPORT), rtol=1e-6)


def test_clipped_mass_is_what_the_projection_moves():
    rng = np.random.default_rng(7)
    shifted, probs = rng.uniform(-6, 6, (9, 30)), rng.dirichlet(np.ones(30), 9)
    wanted = [sum(p for z, p in zip(*row, strict=True) if not -2 <= z <= 3) for row in zip(shifted, probs, strict=True)]
    got = value.clipped_mass(jnp.asarray(shifted, jnp.float32), SUPPORT, jnp.asarray(probs, jnp.float32))
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
    np.testing.assert_array_equal(value.clipped_mass(jnp.array([-2.1, -2.0, 3.0, 3.1]), SUPPORT), [1, 0, 0, 1])


def test_midpoints_are_the_nearest_uniform_mixture():
    """Quantiles there beat those at shifted levels in Wasserstein's first distance to a long sample."""
    sample = np.sort(np.random.default_rng(8).exponential(size=20_000))

    def distance(levels):
        return np.abs(np.repeat(np.quantile(sample, levels), 4_000) - sample).mean()

    levels = np.asarray(value.quantile_midpoints(5))
    np.testing.assert_allclose(levels, [0.1, 0.3, 0.5, 0.7, 0.9], rtol=1e-6)
    assert all(distance(levels) < distance(levels + shift) for shift in (-0.05, -0.02, 0.02, 0.05))


def test_cosine_features_are_chebyshev_polynomials():
    tau = np.linspace(0.01, 0.99, 23)
    with jax.enable_x64(True):
        features = value.cosine_features(jnp.asarray(tau), 16)
    for i in range(16):
        polynomial = np.polynomial.chebyshev.Chebyshev.basis(i)(np.cos(np.pi * tau))
        np.testing.assert_allclose(features[:, i], polynomial, atol=1e-12)


@pytest.mark.parametrize("level", [0.05, 0.3, 0.5, 0.99, 1.0])
def test_cvar_is_the_greatest_lower_bound_of_rockafellar_and_uryasev(level: float):
    rng = np.random.default_rng(9)
    outcome, probs = rng.normal(size=(8, 13)), rng.dirichlet(np.ones(13), 8)
    with jax.enable_x64(True):
        got = value.cvar(jnp.asarray(outcome), level, jnp.asarray(probs))
        equal = value.cvar(jnp.asarray(outcome), level)
    shortfall = np.minimum(outcome[:, None, :] - outcome[:, :, None], 0.0)  # the maximum is at an atom
    np.testing.assert_allclose(got, (outcome + (shortfall * probs[:, None]).sum(-1) / level).max(1), rtol=1e-9)
    np.testing.assert_allclose(equal, (outcome + shortfall.mean(-1) / level).max(1), rtol=1e-9)


def test_cvar_goes_from_the_least_to_the_mean():
    outcome = jnp.array([3.0, -1.0, 0.5, 2.0])
    np.testing.assert_allclose(value.cvar(outcome, 1e-4), -1.0)
    np.testing.assert_allclose(value.cvar(outcome, 1.0), outcome.mean(), rtol=1e-6)


def test_a_support_that_misses_the_returns_is_an_error_if_asked():
    returns, support = jnp.array([-3.0, 0.0, 0.5, 8.0]), jnp.linspace(-1, 1, 5)
    np.testing.assert_array_equal(value.clipped_mass(returns, support, limit=0.5), [1, 0, 0, 1])
    message = r"50.0% of the returns .* wide enough for all but 49.0% .* from -3 to 8; got '\[-1, 1\]'"
    with pytest.raises(ValueError, match=message):
        value.clipped_mass(returns, support, limit=0.49)
    with pytest.raises(ValueError, match=r"25\.0% of the returns"):
        value.clipped_mass(jnp.array([0.0, 9.0]), support, jnp.array([0.75, 0.25]), limit=0.1)
    jax.jit(lambda y: value.clipped_mass(y, support, limit=0.1))(returns)


def test_wrong_supports_and_levels_are_errors():
    y = jnp.zeros(3)
    with pytest.raises(ValueError, match="support must be increasing"):
        value.clipped_mass(y, jnp.array([0.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="support must be increasing"):
        value.two_hot(y, jnp.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="support must be evenly spaced"):
        value.hl_gauss(y, SUPPORT)
    with pytest.raises(ValueError, match="sigma must be a finite number"):
        value.hl_gauss(y, jnp.linspace(0, 1, 5), 0.0)
    with pytest.raises(ValueError, match="sigma must be None with kind 'two_hot'"):
        value.categorical_target(y, SUPPORT, "two_hot", sigma=1.0)
    with pytest.raises(ValueError, match="probs must be given with kind 'c51'"):
        value.categorical_target(y, SUPPORT, "c51")
    with pytest.raises(ValueError, match="kind must be 'c51'"):
        value.categorical_target(y, SUPPORT, "c50")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="shape of logits"):
        value.categorical_mean(jnp.zeros(4), SUPPORT)
    for level in (0.0, 1.1):
        with pytest.raises(ValueError, match="level"):
            value.cvar(y, level)
    for tau in (0.0, 1.0):
        with pytest.raises(ValueError, match="tau"):
            value.quantile_huber_loss(y, jnp.array([0.5, tau, 0.5]), y)
        with pytest.raises(ValueError, match="tau"):
            value.cosine_features(jnp.array(tau), 4)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="support must have rank 1"):
        value.two_hot(jnp.zeros(3), jnp.zeros((3, 5)))
    with pytest.raises(ValueError, match="length of support"):
        value.two_hot(jnp.zeros(3), jnp.zeros(1))
    with pytest.raises(ValueError, match="tau"):
        value.quantile_huber_loss(jnp.zeros(3), jnp.zeros(4), jnp.zeros(3))
    with pytest.raises(ValueError, match="kappa"):
        value.quantile_huber_loss(jnp.zeros(3), jnp.zeros(3), jnp.zeros(3), kappa=-1.0)
