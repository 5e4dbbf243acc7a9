"""Co-kriging against scikit-learn's process, dense algebra in double precision, and independence at rho = 0."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from rlx.optim import CoKriging, cokriging_log_likelihood, cokriging_posterior, fit_cokriging
from rlx.optim.gaussian_process import JITTER


@pytest.fixture(autouse=True)
def in_double_precision():
    with jax.enable_x64(True):
        yield


def model(fidelities: int, dims: int = 2, **changed) -> CoKriging:
    rng = np.random.default_rng(fidelities)
    drawn = CoKriging(
        rng.uniform(0.5, 1.5, fidelities),
        rng.uniform(0.3, 1, (fidelities, dims)),
        rng.normal(size=fidelities - 1),
        rng.uniform(0.1, 0.3, fidelities),
        rng.normal(size=fidelities),
    )
    return jax.tree.map(jnp.asarray, drawn._replace(**changed))


def data(n: int, fidelities: int, seed: int = 0, dims: int = 2):
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(n, dims)), rng.integers(fidelities, size=n), rng.normal(size=n)


def sampled_weights(m: CoKriging, x: np.ndarray, fidelity: np.ndarray) -> np.ndarray:
    """Covariance by the recursion of values, `f_z(x) = rho_z f_(z-1)(x) + delta_z(x)`, pair by pair."""

    def between(i: int, z: int, j: int, w: int) -> float:
        if z < 0 or w < 0:
            return 0.0
        if z > w:
            return float(m.rho[z - 1]) * between(i, z - 1, j, w)
        if w > z:
            return float(m.rho[w - 1]) * between(i, z, j, w - 1)
        squared = np.sum(((x[i] - x[j]) / np.asarray(m.length[z])) ** 2)
        own = float(m.amplitude[z]) ** 2 * np.exp(-squared / 2)
        below = float(m.rho[z - 1]) ** 2 * between(i, z - 1, j, z - 1) if z else 0.0
        return own + below

    return np.array([[between(i, fidelity[i], j, fidelity[j]) for j in range(len(x))] for i in range(len(x))])


def test_one_fidelity_is_the_textbook_process():
    m, (x, fidelity, y), query = model(1), data(12, 1), np.random.default_rng(9).uniform(size=(5, 2))
    kernel = ConstantKernel(m.amplitude[0] ** 2) * RBF(np.asarray(m.length[0])) + WhiteKernel(m.noise[0] ** 2)
    ridge = JITTER * float(m.amplitude[0]) ** 2
    other = GaussianProcessRegressor(kernel, alpha=ridge, optimizer=None).fit(x, y - m.mean[0])
    mean, covariance = cokriging_posterior(m, x, fidelity, y, query)
    expected, std = map(np.asarray, other.predict(query, return_std=True))
    np.testing.assert_allclose(mean[:, 0], expected + m.mean[0], rtol=1e-8)
    np.testing.assert_allclose(covariance[:, 0, 0] + m.noise[0] ** 2, std**2, rtol=1e-8)
    likelihood = cokriging_log_likelihood(m, x, fidelity, y)
    np.testing.assert_allclose(likelihood, other.log_marginal_likelihood(), rtol=1e-8)


@pytest.mark.parametrize("fidelities", [2, 3])
def test_posterior_and_likelihood_are_those_of_the_joint_normal(fidelities):
    """Conditioning of one multivariate normal whose covariance follows from the recursion alone."""
    m, (x, fidelity, y) = model(fidelities), data(10, fidelities)
    query = np.random.default_rng(5).uniform(size=(3, 2))
    places = np.concatenate([x, np.repeat(query, fidelities, axis=0)])
    levels = np.concatenate([fidelity, np.tile(np.arange(fidelities), 3)])
    joint = sampled_weights(m, places, levels)
    noise = np.asarray(m.noise)[fidelity] ** 2 + JITTER * np.mean(np.asarray(m.amplitude) ** 2)
    observed = joint[:10, :10] + np.diag(noise)
    gain = np.linalg.solve(observed, joint[:10, 10:]).T
    residual = y - np.asarray(m.mean)[fidelity]
    mean, covariance = cokriging_posterior(m, x, fidelity, y, query)
    np.testing.assert_allclose(mean.ravel(), np.asarray(m.mean)[levels[10:]] + gain @ residual, rtol=1e-8)
    whole = joint[10:, 10:] - gain @ joint[:10, 10:]
    for q in range(3):
        part = slice(fidelities * q, fidelities * (q + 1))
        np.testing.assert_allclose(covariance[q], whole[part, part], rtol=1e-7, atol=1e-10)
    density = scipy.stats.multivariate_normal(np.zeros(10), observed).logpdf(residual)
    np.testing.assert_allclose(cokriging_log_likelihood(m, x, fidelity, y), density, rtol=1e-8)


def test_without_rho_fidelities_are_independent():
    m, (x, fidelity, y), query = model(2, rho=np.zeros(1)), data(14, 2), np.random.default_rng(3).uniform(size=(4, 2))
    mean, covariance = cokriging_posterior(m, x, fidelity, y, query)
    np.testing.assert_allclose(covariance[:, 0, 1], 0, atol=1e-12)
    ridge = JITTER * np.mean(np.asarray(m.amplitude) ** 2)
    for z in range(2):
        kernel = ConstantKernel(m.amplitude[z] ** 2) * RBF(np.asarray(m.length[z])) + WhiteKernel(m.noise[z] ** 2)
        own = fidelity == z
        other = GaussianProcessRegressor(kernel, alpha=ridge, optimizer=None).fit(x[own], y[own] - m.mean[z])
        np.testing.assert_allclose(mean[:, z], np.asarray(other.predict(query)) + m.mean[z], rtol=1e-7)


def test_rows_that_do_not_count_change_nothing():
    m, (x, fidelity, y), query = model(2), data(9, 2), np.full((1, 2), 0.5)
    valid = np.arange(9) < 6
    padded = np.where(valid, y, np.nan)
    for found, expected in zip(
        (
            *cokriging_posterior(m, x, fidelity, padded, query, valid),
            cokriging_log_likelihood(m, x, fidelity, y, valid),
        ),
        (
            *cokriging_posterior(m, x[:6], fidelity[:6], y[:6], query),
            cokriging_log_likelihood(m, x[:6], fidelity[:6], y[:6]),
        ),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    mean, covariance = cokriging_posterior(m, x, fidelity, y, query, np.zeros(9, bool))
    np.testing.assert_allclose(mean[0], m.mean)
    np.testing.assert_allclose(covariance[0, 0, 0], m.amplitude[0] ** 2)


@pytest.mark.slow
def test_fit_finds_what_the_cheap_fidelity_says():
    """The costly one is twice the cheap one plus a constant: three costly values are enough."""
    x = np.concatenate([np.linspace(0, 1, 15), [0.1, 0.5, 0.9]])[:, None]
    fidelity = np.array([0] * 15 + [1] * 3)
    cheap = np.sin(9 * x[:, 0])
    y = np.where(fidelity == 1, 2 * cheap + 0.5, cheap)
    fitted = fit_cokriging(jax.random.key(0), x, fidelity, y, 2, steps=200)
    query = np.array([[0.3], [0.7]])
    mean, covariance = cokriging_posterior(fitted, x, fidelity, y, query)
    truth = 2 * np.sin(9 * query[:, 0]) + 0.5
    np.testing.assert_allclose(mean[:, 1], truth, atol=0.15)
    lone = fit_cokriging(jax.random.key(0), x[15:], np.zeros(3, int), y[15:], 1)
    alone, variance = cokriging_posterior(lone, x[15:], np.zeros(3, int), y[15:], query)
    assert np.abs(alone[:, 0] - truth).max() > 0.5
    assert (covariance[:, 1, 1] < variance[:, 0, 0] / 4).all()


def test_fit_raises_the_likelihood():
    x, fidelity, y = data(12, 2)
    y = np.sin(5 * x[:, 0]) + 0.3 * fidelity
    few, many = (fit_cokriging(jax.random.key(1), x, fidelity, y, 2, steps=n) for n in (1, 150))
    assert cokriging_log_likelihood(many, x, fidelity, y) > 5 + cokriging_log_likelihood(few, x, fidelity, y)


def test_errors_name_the_argument():
    x, fidelity, y = data(4, 2)
    with pytest.raises(ValueError, match="fidelity, y and valid"):
        cokriging_posterior(model(2), x, fidelity[:3], y, x)
    with pytest.raises(ValueError, match="model"):
        cokriging_log_likelihood(model(2, dims=3), x, fidelity, y)
    with pytest.raises(ValueError, match="restarts"):
        fit_cokriging(jax.random.key(0), x, fidelity, y, 2, restarts=0)
