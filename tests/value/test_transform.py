"""Transforms: rlax on the same inputs, inverses over sixteen orders of magnitude, and the slope at zero."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from rlx import value

SIZES = np.logspace(-8, 8, 33)
X = jnp.asarray(np.concatenate([-SIZES, [0.0], SIZES]), jnp.float32)


def test_signed_hyperbolic_equals_rlax():
    moderate = X[jnp.abs(X) > 1e-2]
    np.testing.assert_allclose(value.signed_hyperbolic(moderate), rlax.signed_hyperbolic(moderate), rtol=1e-4)


@pytest.mark.parametrize("eps", [0.0, 1e-3, 0.1])
def test_signed_parabolic_inverts_signed_hyperbolic(eps: float):
    np.testing.assert_allclose(value.signed_parabolic(value.signed_hyperbolic(X, eps), eps), X, rtol=1e-5)
    np.testing.assert_allclose(value.signed_hyperbolic(value.signed_parabolic(X, eps), eps), X, rtol=1e-5)


def test_symexp_inverts_symlog():
    np.testing.assert_allclose(value.symexp(value.symlog(X)), X, rtol=1e-5)
    np.testing.assert_allclose(value.symlog(X), np.sign(X) * np.log1p(np.abs(np.float64(X))), rtol=1e-6)


@pytest.mark.parametrize(
    ("transform", "slope"),
    [
        (lambda x: value.signed_hyperbolic(x, 0.1), 0.6),
        (lambda x: value.signed_parabolic(x, 0.1), 1 / 0.6),
        (value.symlog, 1.0),
        (value.symexp, 1.0),
    ],
)
def test_slope_at_zero(transform, slope: float):
    np.testing.assert_allclose(jax.grad(transform)(0.0), slope, rtol=1e-6)


def test_eps_must_not_be_negative():
    with pytest.raises(ValueError, match="eps must be a finite number"):
        value.signed_hyperbolic(X, -0.1)
