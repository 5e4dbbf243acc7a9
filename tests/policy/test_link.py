"""Links against SciPy in double precision, and the noise-aware likelihood against its definition."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from rlx.policy import link_loss, link_prob

Z = np.linspace(-30, 30, 25).astype(np.float32)


@pytest.mark.parametrize(
    ("link", "log_cdf"), [("logistic", scipy.special.log_expit), ("probit", scipy.stats.norm.logcdf)]
)
def test_probabilities_and_losses(link, log_cdf):
    np.testing.assert_allclose(link_loss(Z, link), -log_cdf(Z.astype(np.float64)), rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(link_prob(Z, link), np.exp(log_cdf(Z.astype(np.float64))), rtol=2e-4, atol=1e-12)


@pytest.mark.parametrize("link", ["logistic", "probit"])
def test_flips_mix_the_two_verdicts(link):
    """`(1 - e) F(z) + e (1 - F(z))`: the verdict survives, or its opposite was reported."""
    z, flip = Z[8:-8], 0.2
    prob = np.asarray(link_prob(z, link), np.float64)
    np.testing.assert_allclose(link_loss(z, link, flip), -np.log((1 - flip) * prob + flip * (1 - prob)), rtol=1e-4)
    np.testing.assert_array_equal(link_loss(Z, link, 0.0), link_loss(Z, link))
    np.testing.assert_allclose(link_loss(Z, link, 0.5), np.log(2), rtol=1e-6)


def test_what_is_most_wrong_keeps_its_gradient():
    assert float(jax.grad(link_loss)(-1e4)) == -1.0
    assert abs(float(jax.grad(lambda z: link_loss(z, flip_prob=0.05))(-1e4))) < 1e-6


def test_margins_without_probability():
    np.testing.assert_array_equal(link_loss(jnp.array([-1.0, 0.5, 3.0]), "hinge"), [2.0, 0.5, 0.0])
    np.testing.assert_array_equal(link_loss(jnp.array([-1.0, 0.5, 3.0]), "square"), [4.0, 0.25, 4.0])


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="link must be"):
        link_loss(Z, "cauchy")
    with pytest.raises(ValueError, match="flip_prob must be None"):
        link_loss(Z, "hinge", 0.1)
    with pytest.raises(ValueError, match="flip_prob must be"):
        link_loss(Z, flip_prob=0.6)
    with pytest.raises(ValueError, match="link must be"):
        link_prob(Z, "hinge")
