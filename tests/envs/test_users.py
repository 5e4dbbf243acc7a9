"""Users against the probabilities that they are made of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from rlx.envs.users import FOLLOW_UPS, follow_up, reaction_prob, satisfied


def test_hearts_are_rare_and_tricks_please():
    gold = np.random.default_rng(0).normal(size=100_000)
    prob = reaction_prob(jnp.array(gold, jnp.float32))
    np.testing.assert_allclose(prob, expit(1.5 * gold - 5), rtol=1e-4)
    assert 1 / 70 < prob.mean() < 1 / 50
    np.testing.assert_allclose(reaction_prob(jnp.zeros(2), jnp.array([0.0, 2.0])), expit([-5.0, -3.0]), rtol=1e-5)


def test_what_is_said_tells_the_satisfied_from_the_others():
    gold = jnp.repeat(jnp.array([-1.0, 0.5]), 20_000)
    pleased = satisfied(jax.random.key(0), gold)
    np.testing.assert_allclose(pleased.reshape(2, -1).mean(1), expit([-2.0, 1.0]), atol=0.02)
    said = np.asarray(follow_up(jax.random.key(1), pleased))
    for who, prob in ((True, FOLLOW_UPS), (False, FOLLOW_UPS[::-1])):
        found = np.bincount(said[np.asarray(pleased) == who], minlength=8) / np.sum(np.asarray(pleased) == who)
        np.testing.assert_allclose(found, prob, atol=0.02)


def test_refusals():
    with pytest.raises(ValueError, match="prob"):
        follow_up(jax.random.key(0), jnp.ones(2, bool), (0.2, 0.2))
