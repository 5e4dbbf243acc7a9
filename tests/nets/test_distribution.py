from __future__ import annotations

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rlx.nets.distribution import action_distribution, mask_logits
from rlx.space import Box, Dict, Discrete, MultiDiscrete


def test_samples_have_the_frequencies_of_their_log_probabilities():
    dist = action_distribution(MultiDiscrete((2, 3)))
    outputs = jnp.array([0.3, -0.5, 1.0, 0.0, -1.0])
    draws = np.asarray(dist.sample(jax.random.key(0), jnp.broadcast_to(outputs, (60_000, 5))))
    actions = np.array([[i, j] for i in range(2) for j in range(3)])
    counts = [(draws == a).all(1).sum() for a in actions]
    probability = np.exp(np.asarray(dist.log_prob(jnp.broadcast_to(outputs, (6, 5)), jnp.asarray(actions))))
    np.testing.assert_allclose(probability.sum(), 1.0, rtol=1e-5)
    assert stats.chisquare(counts, 60_000 * probability / probability.sum()).pvalue > 1e-3
    np.testing.assert_allclose(dist.entropy(outputs), -(probability * np.log(probability)).sum(), rtol=1e-5)


def test_categorical_against_distrax():
    dist = action_distribution(Discrete(4))
    outputs = jax.random.normal(jax.random.key(0), (5, 4))
    action = jnp.array([0, 1, 2, 3, 0])
    expected = distrax.Categorical(outputs)
    np.testing.assert_allclose(dist.log_prob(outputs, action), expected.log_prob(action), rtol=1e-5)
    np.testing.assert_allclose(dist.entropy(outputs), expected.entropy(), rtol=1e-5)
    np.testing.assert_array_equal(dist.mode(outputs), expected.mode())


def test_gaussian_against_scipy():
    dist = action_distribution(Box(-2.0, 2.0, (2,)))
    mean, std = np.array([0.3, -1.0]), np.array([0.5, 2.0])
    outputs = jnp.concatenate([jnp.asarray(mean), jnp.log(jnp.asarray(std))])
    action = jnp.array([0.1, 0.7])
    np.testing.assert_allclose(dist.log_prob(outputs, action), stats.norm(mean, std).logpdf(action).sum(), rtol=1e-5)
    np.testing.assert_allclose(dist.entropy(outputs), stats.norm(mean, std).entropy().sum(), rtol=1e-5)
    draws = np.asarray(dist.sample(jax.random.key(0), jnp.broadcast_to(outputs, (20_000, 4))))
    for i in range(2):
        assert stats.kstest(draws[:, i], stats.norm(mean[i], std[i]).cdf).pvalue > 1e-3


def test_box_actions_are_scaled_and_clipped_where_bounded():
    dist = action_distribution(Box(jnp.array([-1.0, 0.0, -jnp.inf]), jnp.array([3.0, 1.0, jnp.inf]), (3,)))
    np.testing.assert_allclose(dist.to_env(jnp.array([0.0, 5.0, 5.0])), [1.0, 1.0, 5.0])
    np.testing.assert_allclose(dist.from_env(dist.to_env(jnp.array([0.5, -1.0, 5.0]))), [0.5, -1.0, 5.0])


def test_masked_actions_have_no_probability_and_finite_gradients():
    dist = action_distribution(Discrete(3))
    mask = jnp.array([True, False, True])
    outputs = mask_logits(jnp.array([0.0, 9.0, 0.0]), mask)
    np.testing.assert_allclose(jnp.exp(dist.log_prob(outputs, jnp.int32(1))), 0.0)
    np.testing.assert_allclose(dist.entropy(outputs), np.log(2), rtol=1e-5)
    gradient = jax.grad(lambda x: dist.entropy(mask_logits(x, mask)) + dist.log_prob(mask_logits(x, mask), 0))(
        jnp.array([0.0, 9.0, 1.0])
    )
    assert np.isfinite(gradient).all()
    assert gradient[1] == 0


@pytest.mark.parametrize(("space", "error"), [(Dict({}), TypeError), (Box(0, 1, (2, 2)), ValueError)])
def test_other_spaces_are_refused(space, error):
    with pytest.raises(error, match="action space"):
        action_distribution(space)
