"""The distillation error against NumPy, and where its gradient flows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.exploration import distill_bonus, distill_loss


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


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="prediction"):
        distill_loss(jnp.zeros((2, 3)), jnp.zeros((2, 1)))
