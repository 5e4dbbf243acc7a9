"""What claims on bandits and on the ring compute by themselves, against sums and densities."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from benchmarks.claims import on_policy_pairs, ring
from benchmarks.claims.arms import as_sequences, nats
from benchmarks.claims.descent import descend
from rlx.policy import categorical_kl


def test_descent_reaches_a_minimum_and_records_the_way():
    keys = jax.random.split(jax.random.key(0), 300)
    last, way = descend(lambda x, key: jnp.square(x - 2), jnp.zeros(()), keys, 0.1, lambda x: x)
    np.testing.assert_allclose(last, 2, atol=1e-2)
    np.testing.assert_allclose(way[-1], last)
    np.testing.assert_allclose(way[0], 0.1, rtol=1e-4)  # Adam's first step
    again, few = descend(lambda x, key: jnp.square(x - 2), jnp.zeros(()), keys.reshape(3, 100), 0.1, lambda x: x)
    np.testing.assert_allclose(again, last, rtol=1e-5)
    np.testing.assert_allclose(few, way[99::100], rtol=1e-5)


def test_arms_as_sequences():
    log_policy, other = (jax.nn.log_softmax(jnp.arange(4.0) * x) for x in (1.0, -0.5))
    log_prob, mask = as_sequences(log_policy, jnp.array([[3, 0]]))
    np.testing.assert_allclose(log_prob[0, :, 0], log_policy[jnp.array([3, 0])])
    assert mask.shape == (1, 2, 1)
    np.testing.assert_allclose(nats(log_policy, other), categorical_kl(log_policy, other), rtol=1e-5)


def test_best_and_worst_follow_the_law_of_order_statistics():
    log_policy = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    pair = np.asarray(on_policy_pairs.draw(jax.random.key(0), log_policy, jnp.array([0.0, 1.0, 2.0]), 20_000))
    np.testing.assert_allclose(np.mean(pair[:, 0] == 2), 1 - 0.8**10, atol=0.01)
    np.testing.assert_allclose(np.mean(pair[:, 1] == 0), 1 - 0.5**10, atol=0.01)


def test_chains_have_the_density_that_they_are_drawn_from():
    params = ring.train_reference(jax.random.key(0), 2)
    before, after = ring.rollout(params, jax.random.key(1), (500,))
    np.testing.assert_array_equal(before[:, 1:], after[:, :-1])
    log_prob, mask = ring.log_probs(params, before, after)
    np.testing.assert_array_equal(mask[0], np.arange(ring.STEPS) < ring.STEPS - 1)
    z = np.sqrt(-2 * (np.asarray(log_prob) + 2 * np.log(ring.RING.std) + np.log(2 * np.pi)))[:, :-1]
    assert scipy.stats.kstest(z.ravel(), scipy.stats.rayleigh.cdf).pvalue > 0.01  # lengths of standard normal pairs
    blind = ring.predict(params, before, jnp.arange(ring.STEPS), jnp.array([3.0, -1.0]))
    np.testing.assert_allclose(blind, ring.predict(params, before, jnp.arange(ring.STEPS)), atol=1e-6)
