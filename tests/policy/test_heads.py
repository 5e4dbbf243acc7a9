"""Heads: each its own mean, and a mixture that is the tilt by mixed rewards."""

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
        (lambda: policy.combine_heads(np.zeros((2, 3)), np.ones(3)), "weight must be of shape"),
    ],
)
def test_bad_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()
