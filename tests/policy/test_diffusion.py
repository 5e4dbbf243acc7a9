"""Denoising steps against normal densities, limits that are known losses, and who moves whom."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.special import log_expit

from rlx import policy

rng = np.random.default_rng(0)
S, D = 5, 3


def test_log_prob_is_the_normal_density():
    sample, mean, std = rng.normal(size=(4, D)), rng.normal(size=(4, D)), rng.uniform(0.5, 2, (4, 1))
    expected = scipy.stats.norm.logpdf(sample, mean, std)
    single = [x.astype(np.float32) for x in (sample, mean, std)]
    np.testing.assert_allclose(policy.denoise_log_prob(*single), expected.sum(-1), rtol=1e-5)
    np.testing.assert_allclose(policy.denoise_log_prob(*single, average=True), expected.mean(-1), rtol=1e-5)


def test_d3po_equals_transcription():
    data = rng.normal(0, 0.2, (1000, 2, S)), rng.random((1000, 2, S)) < 0.8, rng.choice([0.0, 0.5, 1.0], 1000)
    reference = rng.normal(0, 0.2, (1000, 2, S))
    x, mask, target = data
    k = np.clip(np.exp(x - reference), 0.9, 1.1)
    sign = (2 * target - 1)[:, None]
    expected = -log_expit(sign * 2.0 * (np.log(k[:, 0]) - np.log(k[:, 1]))) * mask.all(1) * (sign != 0)
    with jax.enable_x64(True):
        hidden = np.where(mask, x, np.nan)
        got = policy.d3po_loss(hidden, mask, target, reference, beta=2.0)
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
        swapped = policy.d3po_loss(hidden[:, ::-1], mask[:, ::-1], 1 - target, reference[:, ::-1], beta=2.0)
        np.testing.assert_allclose(swapped, expected, rtol=1e-12, atol=1e-14)


def test_d3po_without_clip_is_dpo_of_each_step_and_has_no_gradient_outside_of_the_band():
    x, reference, mask = rng.normal(size=(2, S)), rng.normal(size=(2, S)), np.ones((2, S), bool)
    each = [policy.dpo_loss(x[:, [t]], mask[:, [t]], 1.0, reference[:, [t]]) for t in range(S)]
    np.testing.assert_allclose(policy.d3po_loss(x, mask, 1.0, reference, clip=float("inf")), each, rtol=1e-5)
    grad = jax.grad(lambda x: policy.d3po_loss(x, mask, 1.0, x * 0, clip=0.1).sum())(
        jnp.tile(jnp.array([0.05, 0.2, -0.2, 0.0, -0.1]), (2, 1))
    )
    np.testing.assert_array_equal(grad[0] != 0, [True, False, False, True, True])


def test_diffusion_dpo():
    e, f, g = rng.normal(size=(3, 1000, 2, D))
    target = rng.random(1000)
    gain = np.square(e - g).sum(-1) - np.square(e - f).sum(-1)
    z = 1.5 * (gain[:, 0] - gain[:, 1])
    expected = -target * log_expit(z) - (1 - target) * log_expit(-z)
    with jax.enable_x64(True):
        np.testing.assert_allclose(policy.diffusion_dpo_loss(e, f, g, target, beta=1.5), expected, rtol=1e-10)
        np.testing.assert_allclose(policy.diffusion_dpo_loss(e, f, f, target, beta=1.5), np.log(2))


def test_squared_errors_are_divergences_of_steps():
    """`KL(q(x_{t-1} | x_t, x_0) || policy)` of steps with equal variance is a squared error of means over 2 std^2."""
    e, f, g = (jnp.asarray(x, jnp.float32) for x in rng.normal(size=(3, 2, D)))
    std, scale = 0.4, 0.7  # mean = anything - scale * noise
    kl = lambda x: jnp.sum(jnp.square(scale * (e - x)), -1, keepdims=True) / (2 * std**2)  # noqa: E731
    by_steps = policy.pairwise_preference_loss(-kl(f), np.ones((2, 1), bool), 1.0, -kl(g), beta=0.2)
    beta = 0.2 * scale**2 / (2 * std**2)
    np.testing.assert_allclose(policy.diffusion_dpo_loss(e, f, g, 1.0, beta=beta), by_steps, rtol=1e-5)


def test_embedding_points_to_what_was_preferred():
    direction = np.array([1.0, -2.0, 0.5])
    feature = rng.normal(size=(4000, 2, D)).astype(np.float32)
    target = (feature @ direction)[:, 0] > (feature @ direction)[:, 1]
    got = np.asarray(policy.user_embedding(feature, target.astype(np.float32)))
    assert got @ direction / np.linalg.norm(got) / np.linalg.norm(direction) > 0.99
    mask = np.arange(4000) < 2
    of_two = policy.user_embedding(np.where(mask[:, None, None], feature, np.nan), target.astype(np.float32), mask)
    sign = 2 * target[:2, None] - 1
    np.testing.assert_allclose(of_two, (sign * (feature[:2, 0] - feature[:2, 1])).mean(0), rtol=1e-5)
    np.testing.assert_array_equal(policy.user_embedding(feature, target.astype(np.float32), mask & False), 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: policy.denoise_log_prob(np.zeros(2), np.zeros(2), 0.0), "std"),
        (lambda: policy.denoise_log_prob(np.zeros(2), np.zeros(3), 1.0), "same shape"),
        (lambda: policy.d3po_loss(np.zeros((2, 1)), np.ones((2, 1)), 1.0, np.zeros((2, 1)), clip=1.0), "clip"),
        (lambda: policy.d3po_loss(np.zeros((3, 1)), np.ones((3, 1)), 1.0, np.zeros((3, 1))), r"\[..., 2, S\]"),
        (lambda: policy.diffusion_dpo_loss(*np.zeros((3, 2, 1)), 1.0, beta=0.0), "beta"),
        (lambda: policy.user_embedding(np.zeros((3, 2, 1)), np.zeros(2)), "target must be of shape"),
    ],
)
def test_bad_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()
