"""Pairs against sorting by hand, and the law of a noisy judge."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.special import expit

from rlx import policy


def test_labels_of_a_judge():
    rng = np.random.default_rng(0)
    score = rng.normal(size=(500, 2)).astype(np.float32)
    score[::10, 1] = score[::10, 0]
    expected = np.where(score[:, 0] > score[:, 1], 1.0, np.where(score[:, 0] < score[:, 1], 0.0, 0.5))
    np.testing.assert_array_equal(policy.label_pair(score), expected)
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.vmap(lambda key: policy.label_pair(np.array([1.0, 0.5]), key, scale=3.0))(keys)
    np.testing.assert_allclose(drawn.mean(), expit(1.5), atol=0.025)


def test_best_and_worst():
    rng = np.random.default_rng(1)
    score, mask = rng.normal(size=(200, 6)).astype(np.float32), rng.random((200, 6)) < 0.5
    found = policy.best_worst_pair(np.where(mask, score, np.nan), mask)
    for i in range(200):
        valid = np.flatnonzero(mask[i])
        if len(valid):
            best, worst = valid[np.argmax(score[i, valid])], valid[np.argmin(score[i, valid])]
            assert found.index[i].tolist() == [best, worst]
            np.testing.assert_allclose(found.gap[i], score[i, best] - score[i, worst], rtol=1e-6)
        else:
            assert found.gap[i] == 0
    tie = policy.best_worst_pair(np.ones(3))
    assert float(tie.gap) == 0


def test_anchors():
    rng = np.random.default_rng(2)
    past, present, future = (rng.normal(size=(50, n)) for n in (4, 3, 5))
    found = policy.anchored_future_pairs(past, present, future)
    np.testing.assert_array_equal(found.index[:, 0], 4 + np.concatenate([present, future], 1).argmax(1))
    np.testing.assert_array_equal(found.index[:, 1], past.argmin(1))
    own = policy.anchored_future_pairs(present, present, np.zeros((50, 0)))
    plain = policy.best_worst_pair(present)
    np.testing.assert_allclose(own.gap, plain.gap, rtol=1e-6)
    np.testing.assert_array_equal(own.index - np.array([3, 0]), plain.index)


def test_key_tokens_are_dropped_and_the_rest_moves_up():
    rng = np.random.default_rng(3)
    token, mask = rng.integers(1, 9, (200, 6)), rng.random((200, 6)) < 0.7
    importance, share = np.round(rng.normal(size=(200, 6)), 1), rng.choice([0, 0.25, 0.5, 0.75, 1], 200)
    found = policy.drop_key_tokens(token, mask, importance, share)
    for i in range(200):
        keys = sorted((t for t in range(6) if mask[i, t] and importance[i, t] > 0), key=lambda t: -importance[i, t])
        gone = keys[: int(np.ceil(share[i] * len(keys)))]
        left = [token[i, t] for t in range(6) if mask[i, t] and t not in gone]
        assert found.token[i].tolist() == left + [0] * (6 - len(left))
        assert found.mask[i].tolist() == [t < len(left) for t in range(6)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: policy.label_pair(np.zeros(3)), r"\[..., 2\]"),
        (lambda: policy.label_pair(np.zeros(2), scale=0.0), "scale"),
        (lambda: policy.best_worst_pair(np.zeros(3), np.ones(2, bool)), "same shape"),
        (lambda: policy.anchored_future_pairs(np.zeros(3), np.zeros((2, 3)), np.zeros(3)), "leading axes"),
        (lambda: policy.drop_key_tokens(np.zeros(3), np.ones(3, bool), np.zeros(3), 0.5), "integer"),
        (lambda: policy.drop_key_tokens(np.zeros(3, int), np.ones(3, bool), np.zeros(3), 1.5), "share"),
    ],
)
def test_bad_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()
