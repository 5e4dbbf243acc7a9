"""Oracle: the same written as loops over policies and actions."""

from __future__ import annotations

import numpy as np
import pytest

from rlx.value import envelope_target, gpi_action, q_target

N, R, A, K = 5, 3, 4, 2


@pytest.fixture(params=range(4))
def rng(request):
    return np.random.default_rng(request.param)


def loop_gpi(q, weights, mask):
    best, chosen = -np.inf, None
    for a in range(q.shape[1]):
        for r in range(q.shape[0]):
            if mask[r, a] and q[r, a] @ weights > best:
                best, chosen = q[r, a] @ weights, a
    return chosen


def test_gpi_action_is_the_best_of_all_policies(rng):
    q, weights, mask = rng.normal(size=(N, R, A, K)), rng.normal(size=(N, K)), rng.random((N, R, A)) < 0.7
    mask[:, 0, 0] = True
    expected = [loop_gpi(*row) for row in zip(q, weights, mask, strict=True)]
    np.testing.assert_array_equal(gpi_action(q, weights, mask), expected)
    everything = [loop_gpi(row, weights[0], np.ones((R, A), bool)) for row in q]
    np.testing.assert_array_equal(gpi_action(q, weights[0]), everything)


@pytest.mark.parametrize("double", [True, False])
def test_envelope_chooses_action_and_preference_and_evaluates_there(rng, double):
    online, target = rng.normal(size=(2, N, R, A, K))
    reward, discount = rng.normal(size=(N, K)), rng.random((N, K))
    weights, mask = rng.dirichlet(np.ones(K), (N, R)), rng.random((N, R, A)) < 0.7
    mask[:, 0, 0] = True
    result = envelope_target(online, target, reward, discount, weights, double, mask)
    chooser = online if double else target
    for n in range(N):
        for r in range(R):
            worth = np.where(mask[n], chooser[n] @ weights[n, r], -np.inf)
            best = np.unravel_index(worth.argmax(), worth.shape)
            np.testing.assert_allclose(result[n, r], reward[n] + discount[n] * target[n][best], rtol=1e-5, atol=1e-6)


def test_one_preference_is_double_q_learning(rng):
    online, target = rng.normal(size=(2, N, 1, A, K))
    reward, weights = rng.normal(size=(N, K)), rng.dirichlet(np.ones(K), (N, 1))
    expected = q_target(online[:, 0], target[:, 0], reward, 0.9, True, weights=weights[:, 0])
    np.testing.assert_allclose(envelope_target(online, target, reward, 0.9, weights)[:, 0], expected, rtol=1e-6)


def test_refusals():
    q = np.zeros((R, A, K))
    with pytest.raises(ValueError, match="weights"):
        envelope_target(q, q, np.zeros(K), 0.9, np.zeros((R + 1, K)))
    with pytest.raises(ValueError, match="reward"):
        envelope_target(q, q, np.zeros(K + 1), 0.9, np.zeros((R, K)))
    with pytest.raises(ValueError, match="the shape of q"):
        gpi_action(np.zeros((A, K)), np.zeros(K))
