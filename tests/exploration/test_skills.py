"""The reward of skills where it is known: skills that never meet, skills that are alike, and a table in between."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from rlx.exploration import diayn_reward


def test_skills_that_never_meet_are_worth_the_log_of_their_number():
    skill = jnp.arange(5)
    np.testing.assert_allclose(diayn_reward(60.0 * jnp.eye(5), skill), np.log(5), rtol=1e-6)
    np.testing.assert_allclose(diayn_reward(jnp.zeros((5, 5)), skill), 0.0, atol=1e-6)


def test_mean_reward_of_the_exact_posterior_is_the_mutual_information():
    rng = np.random.default_rng(0)
    prior, states = np.array([0.5, 0.3, 0.2]), rng.dirichlet(np.ones(4), 3)  # p(z), p(s | z)
    joint = prior[:, None] * states
    wanted = np.sum(joint * np.log(joint / (prior[:, None] * joint.sum(0))))
    logits = jnp.log(jnp.asarray(joint.T, jnp.float32))  # [S, Z]
    reward = diayn_reward(
        jnp.tile(logits[None], (3, 1, 1)),
        jnp.tile(jnp.arange(3)[:, None], (1, 4)),
        jnp.log(jnp.asarray(prior, jnp.float32)),
    )
    np.testing.assert_allclose(np.sum(joint * np.asarray(reward)), wanted, rtol=1e-5)


def test_shapes_must_fit():
    with pytest.raises(ValueError, match="shape of skill"):
        diayn_reward(jnp.zeros((4, 3)), jnp.zeros(3, int))
