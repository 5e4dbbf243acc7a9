"""Curiosity against NumPy, and what it is worth in a world that holds no surprise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.exploration import icm_bonus, icm_loss


def test_loss_and_bonus_are_the_equations():
    rng = np.random.default_rng(0)
    log_prob, prediction, after = -rng.exponential(size=(5, 3)), *rng.normal(size=(2, 5, 3, 4))
    error = 0.5 * ((prediction - after) ** 2).sum(-1)
    inputs = [jnp.asarray(x, jnp.float32) for x in (log_prob, prediction, after)]
    np.testing.assert_allclose(icm_loss(*inputs, 0.3), 0.3 * error - 0.7 * log_prob, rtol=1e-5)
    np.testing.assert_allclose(icm_bonus(*inputs[1:]), error, rtol=1e-5)


def test_forward_model_of_a_deterministic_table_leaves_no_bonus():
    """Gradient steps of the loss on a table of predictions, one for each state and action."""
    successor = np.random.default_rng(0).integers(5, size=(5, 2))
    after = jnp.eye(5)[successor]

    def step(table: jax.Array, _) -> tuple[jax.Array, None]:
        return table - 0.5 * jax.grad(lambda g: icm_loss(jnp.zeros((5, 2)), g, after, 1.0).sum())(table), None

    table, _ = jax.jit(lambda g: jax.lax.scan(step, g, length=40))(jnp.zeros((5, 2, 5)))
    np.testing.assert_allclose(icm_bonus(table, after), 0.0, atol=1e-12)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="next_features"):
        icm_bonus(jnp.zeros((2, 3)), jnp.zeros((2, 4)))
    with pytest.raises(ValueError, match="beta"):
        icm_loss(jnp.zeros(2), jnp.zeros((2, 3)), jnp.zeros((2, 3)), 1.5)
