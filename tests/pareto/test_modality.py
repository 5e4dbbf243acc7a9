"""Shapley values by permutations, factors by their definition, and gradients that are scaled."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.pareto import agm_coefficients, scale_cotangent, shapley_modality

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_shapley_is_the_mean_gain_over_orders_of_arrival(n):
    outputs = RNG.normal(size=(2**n, 3))
    wanted = np.zeros((n, 3))
    orders = list(itertools.permutations(range(n)))
    for order in orders:
        present = 0
        for u in order:
            wanted[u] += (outputs[present | 1 << u] - outputs[present]) / len(orders)
            present |= 1 << u
    found = shapley_modality(outputs)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.sum(0), outputs[-1] - outputs[0], rtol=1e-4, atol=1e-6)


def test_two_modalities_by_the_papers_formula():
    none, a, v, both = outputs = RNG.normal(size=(4, 5))
    wanted = 0.5 * np.stack([both - v + a - none, both - a + v - none])
    np.testing.assert_allclose(shapley_modality(outputs), wanted, rtol=1e-5, atol=1e-6)


def test_an_additive_output_splits_into_its_terms():
    terms = RNG.normal(size=(3, 4))
    outputs = np.array([terms[[u for u in range(3) if s >> u & 1]].sum(0) + 0.7 for s in range(8)])
    np.testing.assert_allclose(shapley_modality(outputs), terms, rtol=1e-4, atol=1e-6)


def test_modalities_that_are_alike_have_equal_parts():
    outputs = RNG.normal(size=8)
    outputs[[2, 6]] = outputs[[1, 5]]  # the first two may be exchanged
    found = shapley_modality(outputs)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_coefficients_of_two_modalities():
    s, mean = RNG.uniform(0.5, 2, (2, 2))
    tau, r = np.exp(mean[1] - mean[0]), np.exp(s[1] - s[0])
    wanted = np.exp(0.7 * np.array([tau - r, 1 / tau - 1 / r]))
    np.testing.assert_allclose(agm_coefficients(s, mean, 0.7), wanted, rtol=1e-5)
    np.testing.assert_array_equal(agm_coefficients(s, mean, 0.0), 1.0)
    np.testing.assert_array_equal(agm_coefficients(s, s), 1.0)


def test_a_modality_further_ahead_than_usual_is_held_back():
    factor = agm_coefficients(np.array([0.1, 1.0, 1.0]), np.array([0.5, 1.0, 1.0]))
    assert factor[0] < 1 < factor[1] == factor[2]
    extreme = agm_coefficients(np.array([0.0, 1e4]), np.array([1e4, 0.0]), 10.0)
    np.testing.assert_allclose(extreme, np.exp([-3, 3]), rtol=1e-5)


def test_scaled_gradient_is_the_scale_times_finite_differences():
    with jax.enable_x64(True):
        x, scale, direction = RNG.normal(size=(3, 4))
        loss = lambda x, scale: jnp.sum(jnp.sin(scale_cotangent(x, scale)) * jnp.arange(4))  # noqa: E731
        slope = np.cos(x) * np.arange(4)
        np.testing.assert_allclose(jax.grad(loss)(x, scale), scale * slope)
        np.testing.assert_allclose(
            jax.jvp(lambda x: loss(x, scale), (x,), (direction,))[1], (scale * slope) @ direction
        )
        assert loss(x, scale) == loss(x, 1.0)
        scalar = jax.grad(lambda x: scale_cotangent(x, -2.0).sum())(x)
        np.testing.assert_array_equal(scalar, -2.0)


def test_factors_of_one_are_joint_training():
    """The gradient of the split loss with `alpha = 0` is that of the ordinary one."""
    weights, inputs = RNG.normal(size=(6, 3)), RNG.normal(size=(2, 5, 3))

    def outputs(w):
        present = jnp.array([[s >> u & 1 for u in range(2)] for s in range(4)], jnp.float32)
        return jax.vmap(lambda p: jnp.tanh((p[:, None, None] * inputs).swapaxes(0, 1).reshape(5, 6) @ w))(present)

    def modulated(w, alpha):
        f = outputs(w)
        parts = shapley_modality(f)
        kappa = agm_coefficients(jnp.array([0.3, 0.9]), jnp.array([0.5, 0.6]), alpha)
        return -jax.nn.log_softmax(scale_cotangent(parts, kappa[:, None, None]).sum(0) + f[0])[:, 0].mean()

    ordinary = jax.value_and_grad(lambda w: -jax.nn.log_softmax(outputs(w)[-1])[:, 0].mean())(weights)
    for got, wanted in zip(jax.value_and_grad(modulated)(weights, 0.0), ordinary, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)
    assert np.abs(jax.grad(modulated)(weights, 1.0) - ordinary[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shapley_modality(jnp.ones((3, 2))), r"outputs must be of shape \[2\^n, ...\], n <= 4; got \(3, 2\)"),
        (lambda: shapley_modality(jnp.ones(32)), "outputs must be"),
        (lambda: shapley_modality(jnp.ones(())), "outputs must be"),
        (lambda: scale_cotangent(jnp.ones(3), jnp.ones((1, 3))), r"scale must be of a shape .* \(3,\); got \(1, 3\)"),
        (lambda: scale_cotangent(jnp.ones((3, 2)), jnp.ones(3)), "scale must be"),
        (lambda: agm_coefficients(jnp.ones(2), jnp.ones(3)), r"average \(3,\)"),
        (lambda: agm_coefficients(jnp.ones(1), jnp.ones(1)), "score must be of at least two modalities"),
        (lambda: agm_coefficients(jnp.ones(2), jnp.ones(2), -1.0), "alpha must be"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
