"""Progress: SciPy's rank correlation, the permutation undone, and weights by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rlx import value

RNG = np.random.default_rng(0)


def test_order_correlation_equals_scipy():
    """With ties, with episodes of different length, and where SciPy has no answer."""
    v = np.round(RNG.normal(size=(12, 5)), 1)
    v[:, 3] = np.arange(12)
    v[:, 4] = 1.0
    found = value.value_order_correlation(v)
    wanted = [stats.spearmanr(v[:, i], np.arange(12))[0] for i in range(4)]
    np.testing.assert_allclose(found, [*wanted, 0.0], rtol=1e-5)
    with jax.enable_x64(True):
        np.testing.assert_allclose(value.value_order_correlation(v), [*wanted, 0.0], rtol=1e-6)
    length = np.array([12, 7, 3, 9, 1])
    ragged = value.value_order_correlation(v, np.arange(12)[:, None] < length)
    wanted = [stats.spearmanr(v[:n, i], np.arange(n))[0] for i, n in enumerate(length[:4])]
    np.testing.assert_allclose(ragged, [*wanted, 0.0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(value.value_order_correlation(-v[:, 3]), -1.0)
    assert float(value.value_order_correlation(jnp.zeros((0, 2))).sum()) == 0.0


def test_shuffled_frames_keep_their_times_and_come_in_any_order():
    size, length = 6, 4
    frames = {"x": RNG.normal(size=(size, 2)), "t": np.arange(size)}
    shuffle = jax.jit(jax.vmap(lambda key: value.shuffled_progress_batch(key, frames, length)))
    found, order, progress = shuffle(jax.random.split(jax.random.key(0), 2000))
    np.testing.assert_array_equal(found["t"], order)
    np.testing.assert_array_equal(found["x"], frames["x"].astype(np.float32)[np.asarray(order)])
    np.testing.assert_allclose(progress, np.minimum(np.asarray(order) / (length - 1), 1), rtol=1e-6)
    np.testing.assert_array_equal(order[:, 0], 0)
    np.testing.assert_array_equal(order[:, length:], np.broadcast_to(np.arange(length, size), (2000, size - length)))
    kinds, count = np.unique(np.asarray(order)[:, 1:length], axis=0, return_counts=True)
    assert len(kinds) == 6
    assert stats.chisquare(count).pvalue > 1e-3


def test_weights_of_progress_equal_a_loop():
    v, length, span, beta = RNG.normal(size=(8, 3)), np.array([8, 5, 1]), 3, 1.5
    found = value.progress_weights(v, beta, span, np.arange(8)[:, None] < length, max_weight=4.0)
    wanted = np.zeros((8, 3))
    for b, n in enumerate(length):
        for t in range(n):
            wanted[t, b] = min(np.exp(beta * (v[min(t + span, n - 1), b] - v[t, b])), 4.0)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_array_equal(value.progress_weights(v, 0.0, 2), 1.0)


def test_refusals():
    with pytest.raises(ValueError, match="one number above 0"):
        value.shuffled_progress_batch(jax.random.key(0), (jnp.zeros(3), jnp.zeros(4)))
    with pytest.raises(ValueError, match="one number above 0"):
        value.shuffled_progress_batch(jax.random.key(0), jnp.zeros((0, 2)))
    with pytest.raises(ValueError, match="length must be"):
        value.shuffled_progress_batch(jax.random.key(0), jnp.zeros(3), 4)
    with pytest.raises(ValueError, match="span must be"):
        value.progress_weights(jnp.zeros(3), 1.0, 0)
    with pytest.raises(ValueError, match="same shape"):
        value.progress_weights(jnp.zeros(3), 1.0, 1, jnp.ones(2, bool))
    with pytest.raises(ValueError, match="value must be"):
        value.value_order_correlation(jnp.zeros(()))
