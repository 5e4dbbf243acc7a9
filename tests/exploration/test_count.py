"""Counts by hand, hashes against the probability that a plane parts two vectors, ellipses against slogdet."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.exploration import count_bonus, elliptical_bonus, elliptical_update, pseudo_count, simhash


def test_bonus_falls_with_the_root_of_the_count():
    np.testing.assert_allclose(count_bonus(jnp.array([1, 2, 9, 10_000])), [1, 0.5**0.5, 1 / 3, 0.01], rtol=1e-6)


def test_hash_is_the_signs_in_binary():
    projection = np.random.default_rng(0).normal(size=(6, 5))
    features = np.random.default_rng(1).normal(size=(4, 7, 6))
    wanted = [[int("".join("01"[int(x > 0)] for x in row[::-1]), 2) for row in rows] for rows in features @ projection]
    np.testing.assert_array_equal(simhash(jnp.asarray(features), jnp.asarray(projection)), wanted)


@pytest.mark.parametrize("angle", [0.1, 0.5, 1.0, 2.5])
def test_bits_differ_with_probability_angle_over_pi(angle):
    """10,000 hashes of 2 bits: standard error of the share of differing bits below 0.0036."""
    vectors = jnp.array([[1.0, 0.0, 0.0], [3 * np.cos(angle), 3 * np.sin(angle), 0.0]])
    projections = jax.random.normal(jax.random.key(0), (10_000, 3, 2))
    a, b = jax.vmap(simhash, (None, 0), 1)(vectors, projections)
    differing = np.bitwise_count(np.asarray(a ^ b)).mean() / 2
    np.testing.assert_allclose(differing, angle / np.pi, atol=0.015)


def test_hash_of_31_bits_is_not_negative():
    features = jnp.ones((1, 1))
    assert simhash(features, jnp.ones((1, 31)))[0] == 2**31 - 1
    with pytest.raises(ValueError, match="at most 31"):
        simhash(features, jnp.ones((1, 32)))


def test_pseudo_count_of_frequencies_is_the_count():
    n, total = np.array([1, 3, 20, 60]), 84
    log_density, after = np.log(n / total), np.log((n + 1) / (total + 1))
    np.testing.assert_allclose(pseudo_count(jnp.asarray(log_density), jnp.asarray(after)), n, rtol=1e-3)


def test_pseudo_count_from_gains_inverts_their_scale():
    """A gain of `log(1 + 1/n) / scale` means n visits; a loss of density means that nothing is new."""
    gain = np.log1p(1 / np.array([1.0, 5.0, 50.0])) / 0.1
    found = pseudo_count(jnp.full(3, -9.0), jnp.asarray(-9 + gain, jnp.float32), 0.1)
    np.testing.assert_allclose(found, [1, 5, 50], rtol=1e-3)
    assert pseudo_count(jnp.float32(-1.0), jnp.float32(-2.0), 0.1) == np.inf


def visited(features: np.ndarray, lam: float) -> jax.Array:
    """The inverse after all rows `[N, D]`, one at a time."""
    start = jnp.eye(features.shape[1]) / lam
    rows = jnp.asarray(features, jnp.float32)
    return jax.jit(lambda x: jax.lax.scan(lambda inverse, phi: (elliptical_update(inverse, phi), None), start, x)[0])(
        rows
    )


def test_elliptical_bonus_of_one_hot_features_is_a_count():
    states = np.random.default_rng(0).integers(5, size=40)
    inverse = visited(np.eye(6)[states], 0.1)
    wanted = 1 / (np.bincount(states, minlength=6) + 0.1)
    np.testing.assert_allclose(elliptical_bonus(jnp.eye(6), jnp.tile(inverse, (6, 1, 1))), wanted, rtol=1e-5)


def test_elliptical_bonus_is_the_gain_in_log_determinant():
    rng = np.random.default_rng(1)
    features, new = rng.normal(size=(30, 4)), rng.normal(size=4)
    gram = 0.5 * np.eye(4) + features.T @ features
    gain = np.linalg.slogdet(gram + np.outer(new, new))[1] - np.linalg.slogdet(gram)[1]
    inverse = visited(features, 0.5)
    np.testing.assert_allclose(inverse, np.linalg.inv(gram), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(jnp.log1p(elliptical_bonus(jnp.asarray(new, jnp.float32), inverse)), gain, rtol=1e-4)


def test_sizes_of_the_ellipse_must_fit():
    for kernel in (
        lambda: elliptical_bonus(jnp.ones(3), jnp.eye(4)),
        lambda: elliptical_update(jnp.eye(4), jnp.ones(3)),
    ):
        with pytest.raises(ValueError, match="shape of inverse"):
            kernel()
