"""Filtered behaviour cloning: what it becomes without failures, and how it relates to REINFORCE."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rlx.policy import filtered_bc_loss

RNG = np.random.default_rng(0)
T, B, A = 5, 4, 3
LOGITS, ACTION = RNG.normal(size=(T, B, A)), RNG.integers(A, size=(T, B))
SUCCESS, MASK = np.array([True, False, True, False]), np.arange(T)[:, None] < np.array([5, 4, 2, 1])


def log_prob(logits):
    return jnp.take_along_axis(jax.nn.log_softmax(logits), ACTION[..., None], -1)[..., 0]


def test_mean_is_that_of_the_steps_that_count():
    each = np.asarray(log_prob(LOGITS))
    np.testing.assert_allclose(filtered_bc_loss(each, SUCCESS, MASK).mean(), -each[MASK & SUCCESS].mean(), rtol=1e-5)
    np.testing.assert_allclose(filtered_bc_loss(each, np.ones(B, bool)), -each, rtol=1e-6)
    np.testing.assert_array_equal(filtered_bc_loss(each, np.zeros(B, bool)), 0.0)
    impossible = np.where(SUCCESS, each, -np.inf)
    np.testing.assert_allclose(filtered_bc_loss(impossible, SUCCESS), filtered_bc_loss(each, SUCCESS))


def test_gradient_is_a_multiple_of_reinforce():
    bc = jax.grad(lambda x: filtered_bc_loss(log_prob(x), SUCCESS, MASK).mean())(LOGITS)
    reinforce = jax.grad(lambda x: -jnp.mean(SUCCESS * jnp.sum(log_prob(x) * MASK, axis=0)))(LOGITS)
    np.testing.assert_allclose(bc, reinforce * B / (SUCCESS * MASK).sum(), rtol=1e-4, atol=1e-7)
