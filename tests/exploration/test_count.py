"""Count bonuses by hand; the hash against the probability that a random plane parts two vectors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.exploration import count_bonus, simhash


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
