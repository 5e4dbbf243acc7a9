"""Distributional kernels: rlax on the same inputs, conserved means, and the quantiles of a sample."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

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


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="support must have rank 1"):
        value.two_hot(jnp.zeros(3), jnp.zeros((3, 5)))
    with pytest.raises(ValueError, match="length of support"):
        value.two_hot(jnp.zeros(3), jnp.zeros(1))
    with pytest.raises(ValueError, match="tau"):
        value.quantile_huber_loss(jnp.zeros(3), jnp.zeros(4), jnp.zeros(3))
    with pytest.raises(ValueError, match="kappa"):
        value.quantile_huber_loss(jnp.zeros(3), jnp.zeros(3), jnp.zeros(3), kappa=-1.0)
