"""The step ahead against closed forms, finite differences and its limits."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from rlx.reward import meta_reward_gradient, preference_loss, reward_spread

RNG = np.random.default_rng(0)


def test_spread_is_a_loop_over_pairs():
    reward, mask = RNG.normal(size=(4, 5)), RNG.random((4, 5)) < 0.7
    mask[0], mask[1] = True, [True, False, False, False, False]
    found = reward_spread(reward, mask)
    for row, valid, got in zip(reward, mask, found, strict=True):
        pairs = list(itertools.combinations(row[valid], 2))
        expected = np.mean([scipy.special.expit(abs(a - b)) for a, b in pairs]) if pairs else 0.0
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="same shape"):
        reward_spread(reward, mask[:, :4])


def test_equal_rewards_are_parted_by_nothing():
    np.testing.assert_array_equal(jax.grad(lambda r: reward_spread(r))(jnp.ones(3)), 0.0)


def test_the_gradient_on_quadratics_is_the_closed_form():
    """J = c x, L = (x - a)' H (x - a) / 2: the gradient ahead is H (x + rate c - a)."""
    root = RNG.normal(size=(3, 3))
    H, a, c, x = root @ root.T, *RNG.normal(size=(3, 3))
    found = meta_reward_gradient(x, lambda x: c @ x, lambda x: 0.5 * (x - a) @ H @ (x - a), 0.3)
    np.testing.assert_allclose(found, H @ (x + 0.3 * c - a), rtol=1e-4)


def test_without_a_step_ahead_it_is_the_plain_gradient():
    x, shifted = RNG.normal(size=(2, 20, 2, 4))
    loss = lambda w: preference_loss((x @ w) @ jnp.array([1.0, -1.0]), jnp.ones(20)).mean()  # noqa: E731
    spread = lambda w: reward_spread(shifted @ w).mean()  # noqa: E731
    w = jnp.asarray(RNG.normal(size=4))
    np.testing.assert_allclose(meta_reward_gradient(w, spread, loss, 0.0), jax.grad(loss)(w), rtol=1e-5)
    hessian = jax.hessian(loss)(w)
    change = meta_reward_gradient(w, spread, loss, 1e-2) - jax.grad(loss)(w)
    np.testing.assert_allclose(change, 1e-2 * hessian @ jax.grad(spread)(w), rtol=0.1, atol=1e-6)
