"""Entropies and divergences: distrax on the same inputs, and masked actions against distributions without them."""

from __future__ import annotations

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import policy


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_categorical_equals_distrax():
    logits, other = 3 * normal(0, 2, 20, 6)
    p, q = distrax.Categorical(logits), distrax.Categorical(other)
    np.testing.assert_allclose(policy.categorical_entropy(logits), p.entropy(), rtol=1e-5)
    np.testing.assert_allclose(policy.categorical_kl(logits, other), p.kl_divergence(q), rtol=1e-4)


def test_gaussian_equals_distrax():
    mean, log_std, other_mean, other_log_std = normal(1, 4, 20, 3)
    p = distrax.MultivariateNormalDiag(mean, jnp.exp(log_std))
    q = distrax.MultivariateNormalDiag(other_mean, jnp.exp(other_log_std))
    np.testing.assert_allclose(policy.gaussian_entropy(log_std), p.entropy(), rtol=1e-5, atol=1e-5)
    kl = policy.gaussian_kl(mean, log_std, other_mean, other_log_std)
    np.testing.assert_allclose(kl, p.kl_divergence(q), rtol=1e-4)


def test_gaussian_kl_of_close_policies_keeps_its_digits():
    """To second order `(mean shift)^2 / 2 + (log_std shift)^2`; the plain form loses it to rounding."""
    zero, step = jnp.zeros(1), jnp.full(1, 1e-3)
    np.testing.assert_allclose(policy.gaussian_kl(step, step, zero, zero), 1.5e-6, rtol=1e-2)


def test_masked_actions_count_as_absent():
    logits, other = normal(2, 2, 10, 6)
    masked = logits.at[:, jnp.array([1, 4])].set(-jnp.inf)
    masked_other = other.at[:, jnp.array([1, 4])].set(-jnp.inf)
    keep = jnp.array([0, 2, 3, 5])
    for kernel, full, part in (
        (policy.categorical_entropy, (masked,), (logits[:, keep],)),
        (policy.categorical_kl, (masked, masked_other), (logits[:, keep], other[:, keep])),
        (policy.categorical_kl, (masked, other), None),
    ):
        grads = jax.grad(lambda x, kernel=kernel: kernel(*x).sum())(full)
        assert all(bool(jnp.all(jnp.isfinite(g))) for g in grads)
        if part is not None:
            np.testing.assert_allclose(kernel(*full), kernel(*part), rtol=1e-5)
            wanted = jax.grad(lambda x, kernel=kernel: kernel(*x).sum())(part)
            for g, w in zip(grads, wanted, strict=True):
                np.testing.assert_allclose(g[:, keep], w, atol=1e-6)
                np.testing.assert_array_equal(jnp.delete(g, keep, axis=1), 0.0)


def test_kl_is_infinite_where_the_other_excludes_an_action():
    assert float(policy.categorical_kl(jnp.zeros(2), jnp.array([0.0, -jnp.inf]))) == np.inf


def test_tanh_log_det_equals_the_derivative():
    u = np.linspace(-6, 6, 61)
    with jax.enable_x64(True):
        np.testing.assert_allclose(policy.tanh_log_det(jnp.asarray(u)), np.log(1 - np.tanh(u) ** 2), atol=1e-8)
    far = policy.tanh_log_det(jnp.array([-50.0, 50.0]))
    np.testing.assert_allclose(far, 2 * (np.log(2) - 50.0), rtol=1e-6)


def test_squashed_density_integrates_to_one():
    with jax.enable_x64(True):
        a = np.linspace(-1, 1, 200_001)[1:-1]
        u = np.arctanh(a)
        log_density = -0.5 * (u**2 + np.log(2 * np.pi)) - policy.tanh_log_det(jnp.asarray(u))
        np.testing.assert_allclose(np.trapezoid(np.exp(log_density), a), 1.0, rtol=1e-4)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="same shape"):
        policy.categorical_kl(jnp.zeros((2, 3)), jnp.zeros(3))
    with pytest.raises(ValueError, match="same shape"):
        policy.gaussian_kl(jnp.zeros((2, 3)), jnp.zeros(3), jnp.zeros((2, 3)), jnp.zeros(3))
    with pytest.raises(ValueError, match="rank of logits"):
        policy.categorical_entropy(jnp.zeros(()))
