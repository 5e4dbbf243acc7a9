"""Regret against optimal values, and what it can tell that partial returns cannot."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.envs.tabular import delivery, garnet
from rlx.reward import regret_score, segment_score, successor_value
from rlx.value import policy_evaluation, soft_policy_iteration, value_iteration

T, N, GAMMA = 4, 50, 0.9
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def segments(transition: np.ndarray, live: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Random ones, of 1 to `T` valid steps, and the states that they led to."""
    states, actions, _ = transition.shape
    state, action = np.zeros((N, T + 1), int), RNG.integers(actions, size=(N, T))
    state[:, 0] = RNG.choice(np.flatnonzero(live), N)
    for t in range(T):
        state[:, t + 1] = [
            RNG.choice(states, p=transition[s, a]) for s, a in zip(state[:, t], action[:, t], strict=True)
        ]
    length = RNG.integers(1, T + 1, N)
    return state[:, :-1], action, np.arange(T) < length[:, None], state[np.arange(N), length]


def test_both_forms_agree_where_dynamics_are_deterministic():
    transition, reward, _, _ = garnet(jax.random.key(0), 8, 3, 1).arrays()
    v, q = value_iteration(transition, reward, GAMMA)
    state, action, mask, after = segments(transition, np.ones(8, bool))
    expected = regret_score(state, action, mask, v, GAMMA, q=q)
    happened = regret_score(state, action, mask, v, GAMMA, reward=reward, next_state=after)
    np.testing.assert_allclose(expected, happened, atol=1e-9)
    assert np.all(expected <= 1e-9)


def test_the_mean_over_what_may_happen_is_the_expected_form():
    transition, reward, _, _ = garnet(jax.random.key(1), 8, 3, 4).arrays()
    v, q = value_iteration(transition, reward, GAMMA)
    state, action = np.divmod(np.arange(24), 3)
    steps = state[:, None], action[:, None], np.ones((24, 1), bool)
    happened = np.stack(
        [regret_score(*steps, v, GAMMA, reward=reward, next_state=np.full(24, s)) for s in range(8)], -1
    )
    expected = regret_score(*steps, v, GAMMA, q=q)
    np.testing.assert_allclose((transition.reshape(24, 8) * happened).sum(-1), expected, atol=1e-9)
    assert happened.max() > 0.1
    best = q.argmax(-1) == np.arange(3)[:, None]
    np.testing.assert_allclose(expected.reshape(8, 3)[best.T], 0.0, atol=1e-9)


def test_a_constant_is_seen_by_regret_and_not_by_partial_return():
    """Reward for every step: segments of one length compare as before, but optimal play is never to finish."""
    mdp = delivery(jax.random.key(0), 5, coins=1, roadblocks=1, sheep=1, gamma=0.99)
    transition, reward, discount, _ = mdp.arrays()
    live = discount[:, 0] > 0
    state, action, _, after = segments(transition, live)
    unfinished = live[after] & live[state].all(1)
    state, action, mask = state[unfinished], action[unfinished], np.ones((unfinished.sum(), T), bool)
    changed = reward + 5.0 * live[:, None]
    scores, partial, finishes = [], [], []
    for r in (reward, changed):
        v, q = value_iteration(transition, r, discount)
        scores.append(np.asarray(regret_score(state, action, mask, v, 0.99, q=q)))
        partial.append(np.asarray(segment_score(r[state, action], mask)))
        policy = np.eye(4)[q.argmax(-1)]
        finishes.append(policy_evaluation(transition, transition @ ~live * live[:, None], discount, policy)[0][live])
    np.testing.assert_allclose(np.subtract.outer(partial[0], partial[0]), np.subtract.outer(partial[1], partial[1]))
    assert np.abs(np.subtract.outer(scores[0], scores[0]) - np.subtract.outer(scores[1], scores[1])).max() > 1
    assert finishes[0].min() > 0.8
    assert finishes[1].max() == 0.0


def test_gradient_passes_through_planning():
    transition, reward, _, _ = garnet(jax.random.key(2), 5, 2, 2).arrays()
    state, action, mask, after = segments(transition, np.ones(5, bool))
    direction = RNG.normal(size=reward.shape)

    def total(reward, expected):
        v, q = soft_policy_iteration(transition, reward, GAMMA, 0.1)
        how = {"q": q} if expected else {"reward": reward, "next_state": after}
        return jnp.sum(regret_score(state, action, mask, v, GAMMA, **how) * jnp.cos(jnp.arange(N)))

    for expected in (True, False):
        slope = (total(reward + 1e-5 * direction, expected) - total(reward - 1e-5 * direction, expected)) / 2e-5
        np.testing.assert_allclose(np.sum(jax.grad(total)(reward, expected) * direction), slope, rtol=1e-6)


def test_nothing_happened_no_regret():
    empty = np.zeros((2, 3), int), np.zeros((2, 3), int), np.zeros((2, 3), bool)
    v, table = np.ones(2), np.ones((2, 2))
    np.testing.assert_array_equal(regret_score(*empty, v, q=table), 0.0)
    np.testing.assert_array_equal(regret_score(*empty, v, reward=table, next_state=np.zeros(2, int)), 0.0)


def test_successor_values_are_the_best_policys():
    transition, features, _, _ = delivery(jax.random.key(3), 4, coins=1, roadblocks=1, sheep=1, features=True).arrays()
    weights = np.array([-1.0, -2.0, 1.0, -1.0, -5.0, 5.0])
    v, q = value_iteration(transition, features @ weights, GAMMA)
    policies = [np.eye(4)[q.argmax(-1)], *RNG.dirichlet(np.ones(4), (3, 16))]
    collected = [policy_evaluation(transition, features, GAMMA, policy) for policy in policies]
    psi_v, psi_q = (np.stack(x) for x in zip(*collected, strict=True))
    np.testing.assert_allclose(successor_value(psi_v, weights, 1e-3), v, atol=1e-6)
    np.testing.assert_allclose(successor_value(psi_q, weights, 1e-3), q, atol=1e-6)
    assert np.all(successor_value(psi_v[1:], weights, 0.5) < v + 1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(), "given arguments must be q, or reward and next_state; got \\[\\]"),
        (dict(q=np.ones((3, 2)), reward=np.ones((3, 2))), "given arguments must be"),
        (dict(q=np.ones((2, 2))), r"the shape of q or reward must be \[S, A\] with S = 3"),
        (dict(q=np.ones((3, 2)), action=np.zeros((2, 4), int)), r"action \(2, 4\)"),
        (dict(q=np.ones((3, 2)), discount=2.0), "discount must be"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    fine = dict(state=np.zeros((2, 3), int), action=np.zeros((2, 3), int), mask=np.ones((2, 3), bool), v=np.ones(3))
    with pytest.raises(ValueError, match=message):
        regret_score(**{**fine, **changes})


def test_successor_values_need_one_weight_for_each_feature():
    with pytest.raises(ValueError, match=r"the shape of weights must be \[F\]"):
        successor_value(np.ones((2, 3, 4)), np.ones(3), 1.0)
    with pytest.raises(ValueError, match="temperature must be"):
        successor_value(np.ones((2, 3, 4)), np.ones(4), 0.0)
