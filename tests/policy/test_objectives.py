"""Other objectives as a margin; heads: each its own mean, and a mixture that is the tilt by mixed rewards."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import policy, reward

rng = np.random.default_rng(0)
H, B, T = 3, 12, 4
LOG_PROB = -rng.exponential(1, (H, B, 2, T)).astype(np.float32)
REFERENCE = -rng.exponential(1, (B, 2, T)).astype(np.float32)
MASK, TARGET = rng.random((B, 2, T)) < 0.7, rng.integers(0, 2, B).astype(np.float32)


def test_modpo_by_hand_and_its_reductions():
    other, weight = rng.normal(size=(B, 2)).astype(np.float32), rng.uniform(0.2, 1, B).astype(np.float32)
    target, beta = rng.random(B).astype(np.float32), 0.3
    log_prob = LOG_PROB[0].astype(np.float64)
    rho = np.where(MASK, log_prob - REFERENCE, 0).sum(-1)
    z = (beta * (rho[:, 0] - rho[:, 1]) - (other[:, 0] - other[:, 1])) / weight
    expected = target * np.log1p(np.exp(-z)) + (1 - target) * np.log1p(np.exp(z))
    pair = LOG_PROB[0], MASK, target, REFERENCE
    np.testing.assert_allclose(policy.modpo_loss(*pair, other, weight, beta=beta), expected, rtol=1e-5)
    alone = policy.modpo_loss(*pair, np.zeros((B, 2)), 1.0, beta=beta)
    np.testing.assert_allclose(alone, policy.dpo_loss(*pair, beta=beta), rtol=1e-6)
    swapped = [x[:, ::-1] for x in (LOG_PROB[0], MASK, REFERENCE, other)]
    turned = policy.modpo_loss(swapped[0], swapped[1], 1 - target, swapped[2], swapped[3], weight, beta=beta)
    np.testing.assert_allclose(turned, expected, rtol=1e-5)


def test_the_optimum_of_modpo_is_the_tilt_by_the_weighted_sum():
    """With every pair and its probability by one reward: no pair is compared by the sum."""
    with jax.enable_x64(True):
        r, o, weight, beta = rng.normal(size=5), rng.normal(size=5), 0.4, 0.5
        base = jax.nn.log_softmax(jnp.asarray(rng.normal(size=5)))
        first, second = np.triu_indices(5, 1)
        pairs = lambda x: jnp.stack([x[first], x[second]], -1)  # noqa: E731
        target, mask = jax.nn.sigmoid(r[first] - r[second]), np.ones((10, 2, 1), bool)

        def loss(logits):
            log_prob = jax.nn.log_softmax(logits)
            sides = pairs(log_prob)[..., None], mask, target, pairs(base)[..., None]
            return policy.modpo_loss(*sides, pairs((1 - weight) * o), weight, beta=beta).sum()

        optimum = reward.tilt(base, weight * r + (1 - weight) * o, beta)
        np.testing.assert_allclose(jax.grad(loss)(optimum), 0, atol=1e-12)
        assert np.abs(jax.grad(loss)(base)).max() > 0.1


def test_the_mean_is_over_objectives_of_means_over_pairs():
    objective = np.array([0] * 7 + [2] * 3 + [-1] * 2)
    got = policy.multi_head_dpo_loss(LOG_PROB, MASK, TARGET, REFERENCE, objective).mean()
    parts = [
        np.mean(policy.dpo_loss(*(x[objective == h] for x in (LOG_PROB[h], MASK, TARGET, REFERENCE)))) for h in (0, 2)
    ]
    np.testing.assert_allclose(got, np.mean(parts), rtol=1e-6)
    grad = jax.grad(lambda x: policy.multi_head_dpo_loss(x, MASK, TARGET, REFERENCE, objective).sum())(LOG_PROB)
    moved = np.abs(np.asarray(grad)).max((2, 3)) > 0
    np.testing.assert_array_equal(moved, MASK.any((1, 2)) & (objective == np.arange(H)[:, None]))
    assert np.isfinite(grad).all()


def test_one_head_is_dpo():
    zeros = np.zeros(B, np.int32)
    got = policy.multi_head_dpo_loss(LOG_PROB[:1], MASK, TARGET, REFERENCE, zeros, beta=0.3)
    np.testing.assert_allclose(got, policy.dpo_loss(LOG_PROB[0], MASK, TARGET, REFERENCE, beta=0.3), rtol=1e-6)
    nothing = policy.multi_head_dpo_loss(LOG_PROB, MASK, TARGET, REFERENCE, zeros - 1)
    np.testing.assert_array_equal(nothing, 0)


def test_mixed_heads_are_the_tilt_by_mixed_rewards():
    r, weight = rng.normal(size=(2, 6)).astype(np.float32), jnp.array([0.3, 0.9])
    reference = jax.nn.log_softmax(jnp.asarray(rng.normal(size=6), jnp.float32))
    heads = reward.tilt(jnp.stack([reference] * 2), r, 0.5)
    mixed = jax.nn.log_softmax(policy.combine_heads(heads, weight))
    np.testing.assert_allclose(mixed, reward.tilt(reference, weight @ r / weight.sum(), 0.5), rtol=1e-5)
    np.testing.assert_array_equal(policy.combine_heads(heads, jnp.array([0.0, 2.0])), heads[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: policy.multi_head_dpo_loss(LOG_PROB, MASK, TARGET, REFERENCE, np.zeros(3, int)), "objective must"),
        (lambda: policy.multi_head_dpo_loss(LOG_PROB, MASK, TARGET, REFERENCE, np.zeros(B)), "integer"),
        (lambda: policy.combine_heads(np.zeros((2, 3)), np.zeros(2)), "sum of weight"),
        (lambda: policy.modpo_loss(LOG_PROB[0], MASK, TARGET, REFERENCE, np.zeros((B, 2)), 0.0), "weight"),
        (lambda: policy.modpo_loss(LOG_PROB[0], MASK, TARGET, REFERENCE, np.zeros(B), 0.5), "other_reward must be"),
        (lambda: policy.combine_heads(np.zeros((2, 3)), np.ones(3)), "weight must be of shape"),
    ],
)
def test_bad_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()
