"""Expected improvement against quadrature, and its limits over fidelities."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from rlx.optim import expected_improvement, variable_fidelity_improvement


@pytest.mark.parametrize(("mean", "std", "best"), [(0.0, 1.0, 0.5), (-1.0, 0.3, 0.0), (2.0, 0.5, 1.0)])
def test_expected_improvement_is_the_integral(mean, std, best):
    density = scipy.stats.norm(mean, std).pdf
    expected = scipy.integrate.quad(lambda f: (f - best) * density(f), best, best + 20)[0]
    np.testing.assert_allclose(expected_improvement(jnp.array(mean), jnp.array(std), best), expected, rtol=1e-4)


def test_it_is_never_negative_and_without_spread_the_gap():
    assert float(expected_improvement(jnp.array(-50.0), jnp.array(1.0), 0.0)) >= 0
    np.testing.assert_allclose(expected_improvement(jnp.array([-1.0, 2.0]), jnp.zeros(2), 0.0), [0, 2])


def test_the_highest_fidelity_without_noise_is_worth_its_improvement():
    mean, covariance = np.array([[0.2, 0.4]]), np.array([[[1.0, 0.6], [0.6, 0.9]]])
    value = variable_fidelity_improvement(mean, covariance, np.array([0.5, 0.0]), np.array([2.0, 10.0]), 0.3)
    top = expected_improvement(jnp.array(0.4), jnp.sqrt(0.9), 0.3)
    np.testing.assert_allclose(value[0, 1], top, rtol=1e-5)
    np.testing.assert_allclose(value[0, 0], top * 0.6 / np.sqrt((1 + 0.25) * 0.9) * 10 / 2, rtol=1e-5)


def test_what_is_known_is_worth_nothing():
    value = variable_fidelity_improvement(np.zeros(2), np.array([[0.0, 0.0], [0.0, 1.0]]), np.zeros(2), np.ones(2), 0.0)
    assert value.tolist()[0] == 0.0
    assert value.tolist()[1] > 0.39


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="covariance"):
        variable_fidelity_improvement(np.zeros(2), np.eye(3), np.zeros(2), np.ones(2), 0.0)
    with pytest.raises(ValueError, match="cost"):
        variable_fidelity_improvement(np.zeros(2), np.eye(2), np.zeros(2), np.array([0.0, 1.0]), 0.0)
