"""Sequence log-probabilities against SciPy in double precision, at masks, extremes and in half precision."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from rlx import policy

top_k_mass = jax.jit(policy.top_k_mass, static_argnames="k")
top_k_entropy = jax.jit(policy.top_k_entropy, static_argnames=("k", "renormalise"))
sequence_log_prob = jax.jit(policy.sequence_log_prob, static_argnames="mean")

B, T, V = 1000, 9, 6


def ragged(rng: np.random.Generator) -> np.ndarray:
    """Prefixes of 0 to T tokens."""
    return np.arange(T) < rng.integers(0, T + 1, (B, 1))


@pytest.mark.parametrize("mean", [False, True])
def test_equals_scipy_on_ragged_sequences(mean: bool):
    rng = np.random.default_rng(0)
    logits, token, mask = rng.normal(0, 4, (B, T, V)), rng.integers(0, V, (B, T)), ragged(rng)
    expected = np.zeros(B)
    for b, length in enumerate(mask.sum(1)):
        steps = scipy.special.log_softmax(logits[b, :length], axis=-1)[np.arange(length), token[b, :length]]
        expected[b] = steps.sum() / (max(length, 1) if mean else 1)
    np.testing.assert_allclose(sequence_log_prob(logits, token, mask, mean=mean), expected, rtol=1e-5, atol=1e-5)
    with jax.enable_x64(True):
        np.testing.assert_allclose(sequence_log_prob(logits, token, mask, mean=mean), expected, rtol=1e-12, atol=1e-12)


def test_probabilities_of_all_sequences_sum_to_one():
    """A model whose logits depend on the token before, over all 4^3 sequences of three tokens."""
    rng = np.random.default_rng(1)
    first, then = rng.normal(size=4), rng.normal(size=(4, 4))
    every = np.array(list(itertools.product(range(4), repeat=3)))
    logits = np.stack([np.broadcast_to(first, (64, 4)), then[every[:, 0]], then[every[:, 1]]], axis=1)
    np.testing.assert_allclose(np.exp(sequence_log_prob(logits, every)).sum(), 1, rtol=1e-6)


@pytest.mark.parametrize("padding", [np.nan, np.inf, -np.inf, 1e38])
def test_padding_is_never_read(padding: float):
    rng = np.random.default_rng(2)
    logits, token, mask = rng.normal(size=(4, T, V)), rng.integers(0, V, (4, T)), ragged(rng)[:4]
    mask[0] = False
    junk = jnp.asarray(np.where(mask[..., None], logits, padding), jnp.float32)
    ids = np.where(mask, token, -100)
    for mean in (False, True):
        value, grad = jax.value_and_grad(lambda x, mean=mean: sequence_log_prob(x, ids, mask, mean=mean).sum())(junk)
        np.testing.assert_allclose(value, sequence_log_prob(logits, token, mask, mean=mean).sum(), rtol=1e-6)
        assert np.isfinite(grad).all()
        np.testing.assert_array_equal(np.asarray(grad)[~mask], 0)
        assert sequence_log_prob(junk, ids, mask, mean=mean)[0] == 0


def test_extreme_logits_are_finite():
    logits = jnp.array([[1e30, 0.0], [-1e30, 0.0], [1e30, 1e30], [0.0, -jnp.inf]])
    value, grad = jax.value_and_grad(lambda x: sequence_log_prob(x, jnp.array([0, 1, 1, 0])))(logits)
    np.testing.assert_allclose(value, -np.log(2), rtol=1e-6)
    assert np.isfinite(grad).all()


def test_half_precision_is_rounded_once():
    """512 terms: the sum of rounded terms is off by far more than the rounding of the sum."""
    rng = np.random.default_rng(3)
    logits = jnp.asarray(rng.normal(0, 3, (512, V)), jnp.bfloat16)
    token = rng.integers(0, V, 512)
    exact = scipy.special.log_softmax(np.asarray(logits, np.float64), axis=-1)[np.arange(512), token].sum()
    got = sequence_log_prob(logits, token)
    assert got.dtype == jnp.bfloat16
    assert abs(float(got) - exact) <= abs(exact) * 2.0**-8


def test_top_k_of_uniform_and_certain_logits():
    uniform, certain = np.zeros(V), np.array([50.0, *[-np.inf] * (V - 1)])
    for k in (1, 3):
        np.testing.assert_allclose(top_k_mass(uniform, k), k / V, rtol=1e-6)
        np.testing.assert_allclose(top_k_entropy(uniform, k), k / V * np.log2(V), rtol=1e-6)
        np.testing.assert_allclose(top_k_entropy(uniform, k, renormalise=True), np.log2(k), atol=1e-6)
        assert top_k_mass(certain, k) == 1
        assert top_k_entropy(certain, k) == 0


def test_top_k_of_all_tokens_is_the_entropy_and_mass_grows_with_k():
    logits = np.random.default_rng(4).normal(0, 2, (20, V))
    entropy = policy.categorical_entropy(logits) / np.log(2)
    for renormalise in (False, True):
        np.testing.assert_allclose(top_k_entropy(logits, V, renormalise=renormalise), entropy, rtol=1e-5)
    mass = np.stack([top_k_mass(logits, k) for k in (1, 3, V)])
    assert (np.diff(mass, axis=0) > 0).all()
    np.testing.assert_allclose(mass[1], np.sort(scipy.special.softmax(logits, -1))[:, -3:].sum(-1), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: policy.token_log_prob(np.zeros((2, 3)), np.zeros(2)), "integer"),
        (lambda: policy.token_log_prob(np.zeros((2, 3)), np.zeros(3, int)), "token must be of the logits' shape"),
        (lambda: sequence_log_prob(np.zeros((2, 3)), np.zeros(2, int), np.ones(3, bool)), "same shape"),
        (lambda: top_k_mass(np.zeros(3), 4), "at most the number of tokens"),
        (lambda: top_k_entropy(np.zeros(3), 0), "k must be an integer"),
    ],
)
def test_bad_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()
