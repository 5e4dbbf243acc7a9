"""Canonical rewards are unchanged by what no policy can tell, in float64; distances against returns of all policies."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rlx.reward import (
    dard_canonical,
    epic_canonical,
    epic_canonical_samples,
    pearson_distance,
    reward_distance,
    standardise,
    starc_canonical,
)
from rlx.value import occupancy, policy_evaluation

S, A, GAMMA = 5, 3, 0.9
RNG = np.random.default_rng(0)
P = RNG.dirichlet(np.full(S, 0.5), (S, A))
R, OTHER = RNG.normal(size=(2, S, A, S))
POTENTIAL = RNG.normal(size=S)
SHAPING = np.broadcast_to(GAMMA * POTENTIAL[None, None, :] - POTENTIAL[:, None, None], (S, A, S))


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def redistribution(transition: np.ndarray = P) -> np.ndarray:
    """Moves reward between next states; its expectation is zero in every state and action."""
    moved = np.random.default_rng(1).normal(size=transition.shape)
    return moved - (transition * moved).sum(-1, keepdims=True)


CANONICAL = {
    "epic": lambda r: epic_canonical(r, GAMMA),
    "dard": lambda r: dard_canonical(r, P, GAMMA),
    "starc value": lambda r: starc_canonical(r, P, GAMMA),
    "starc minimal": lambda r: starc_canonical(r, P, GAMMA, kind="minimal"),
}


@pytest.mark.parametrize("name", CANONICAL)
def test_shaping_and_scale_change_nothing(name):
    canonical = CANONICAL[name]
    np.testing.assert_allclose(canonical(R + SHAPING), canonical(R), atol=1e-12)
    np.testing.assert_allclose(canonical(SHAPING), 0.0, atol=1e-12)
    np.testing.assert_allclose(reward_distance(canonical(R), canonical(3 * R + SHAPING)), 0.0, atol=1e-7)
    np.testing.assert_allclose(reward_distance(canonical(R), canonical(SHAPING - 2 * R)), 2.0)
    np.testing.assert_allclose(canonical(2 * R - OTHER), 2 * canonical(R) - canonical(OTHER), atol=1e-12)


@pytest.mark.parametrize("name", CANONICAL)
def test_where_the_reward_is_paid_counts_for_epic_and_dard_only(name):
    canonical = CANONICAL[name]
    distance = float(pearson_distance(canonical(R), canonical(R + redistribution())))
    assert distance < 1e-7 if name.startswith("starc") else distance > 0.1


def test_shaping_of_episodes_that_end():
    """With a discount for each step the potential after the end counts for nothing."""
    discount = np.where(RNG.random((S, A)) < 0.3, 0.0, GAMMA)
    shaping = discount[..., None] * POTENTIAL - POTENTIAL[:, None, None]
    for kind in ("value", "minimal"):
        np.testing.assert_allclose(
            starc_canonical(R + shaping, P, discount, kind=kind), starc_canonical(R, P, discount, kind=kind), atol=1e-12
        )


def test_epic_is_shaping_by_values_of_the_connected_process():
    """Where every action leads everywhere, the values of a policy that ignores the state differ by `m` only."""
    p, q = RNG.dirichlet(np.ones(S)), RNG.dirichlet(np.ones(A))
    everywhere = np.broadcast_to(p, (S, A, S))
    v, _ = policy_evaluation(everywhere, (everywhere * R).sum(-1), GAMMA, np.broadcast_to(q, (S, A)))
    shaped = R + GAMMA * v[None, None, :] - v[:, None, None]
    np.testing.assert_allclose(epic_canonical(R, GAMMA, p, q), shaped, atol=1e-12)


def test_epic_from_all_pairs_of_actions_and_states_is_the_tabular_one():
    s, a, t = (x.ravel() for x in np.indices((S, A, S)))
    action, state = (x.ravel() for x in np.indices((A, S)))
    table = jnp.asarray(R)
    found = epic_canonical_samples(lambda s, a, t: table[s, a, t], s, a, t, action, state, GAMMA)
    np.testing.assert_allclose(found.reshape(S, A, S), epic_canonical(R, GAMMA), atol=1e-12)


def test_dard_is_the_mean_over_draws():
    q = RNG.dirichlet(np.ones(A))
    wanted = R.copy()
    for s, t in itertools.product(range(S), repeat=2):
        mean = 0.0
        for a, x, y in itertools.product(range(A), range(S), range(S)):
            mean += q[a] * P[s, a, x] * P[t, a, y] * (GAMMA * R[t, a, y] - R[s, a, x] - GAMMA * R[x, a, y])
        wanted[s, :, t] += mean
    np.testing.assert_allclose(dard_canonical(R, P, GAMMA, q), wanted, atol=1e-12)


def test_starc_value_is_the_advantage():
    policy = RNG.dirichlet(np.ones(A), S)
    v, q = policy_evaluation(P, (P * R).sum(-1), GAMMA, policy)
    found = starc_canonical(R, P, GAMMA, policy)
    np.testing.assert_allclose(found, q - v[:, None], atol=1e-12)
    np.testing.assert_allclose((policy * found).sum(-1), 0.0, atol=1e-12)


def test_starc_minimal_is_the_shortest_of_the_shaped():
    expected = (P * R).sum(-1).ravel()
    shaping = (GAMMA * P - np.eye(S)[:, None]).reshape(-1, S)
    potential = np.linalg.lstsq(shaping, -expected)[0]
    found = np.asarray(starc_canonical(R, P, GAMMA, kind="minimal"))
    np.testing.assert_allclose(found.ravel(), expected + shaping @ potential, atol=1e-12)
    assert np.linalg.norm(found) < np.linalg.norm(starc_canonical(R, P, GAMMA))


def returns_of_all_policies(reward: np.ndarray) -> np.ndarray:
    start = np.full(S, 1 / S)
    policies = [np.eye(A)[list(actions)] for actions in itertools.product(range(A), repeat=S)]
    return np.array([(occupancy(P, GAMMA, policy, start) * (P * reward).sum(-1)).sum() for policy in policies])


def test_no_distance_means_the_same_order_of_policies_and_some_distance_another():
    first = returns_of_all_policies(R)
    same = returns_of_all_policies(3 * R + SHAPING + redistribution())
    slope = np.polyfit(first, same, 1)
    np.testing.assert_allclose(same, np.polyval(slope, first), atol=1e-10)
    assert slope[0] == pytest.approx(3.0)
    tau = []
    for share in (0.1, 0.4, 0.8):
        mixed = (1 - share) * R + share * OTHER
        far = reward_distance(CANONICAL["starc value"](R), CANONICAL["starc value"](mixed))
        tau.append((float(far), stats.kendalltau(first, returns_of_all_policies(mixed)).statistic))
    assert tau[0][0] < tau[1][0] < tau[2][0]
    assert tau[0][1] > tau[1][1] > tau[2][1]


@pytest.mark.parametrize("order", [1, 2, np.inf])
def test_distances_are_those_of_norms(order):
    x, y = R.ravel(), OTHER.ravel()
    wanted = np.linalg.norm(x / np.linalg.norm(x, order) - y / np.linalg.norm(y, order), order)
    np.testing.assert_allclose(reward_distance(R, OTHER, order), wanted)
    np.testing.assert_allclose(reward_distance(R, np.zeros_like(R), order), 1.0)
    kept = RNG.random(R.shape) < 0.5
    np.testing.assert_allclose(reward_distance(R, np.where(kept, R, OTHER), order, kept.astype(float)), 0.0, atol=1e-12)
    np.testing.assert_allclose(reward_distance(x, y, order, np.full(len(x), 0.3)), wanted)


def test_pearson_distance_is_that_of_the_correlation():
    np.testing.assert_allclose(
        pearson_distance(R, OTHER), np.sqrt((1 - np.corrcoef(R.ravel(), OTHER.ravel())[0, 1]) / 2)
    )
    weights = RNG.random(R.shape)
    covariance = np.cov(R.ravel(), OTHER.ravel(), aweights=weights.ravel())
    rho = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    np.testing.assert_allclose(pearson_distance(R, OTHER, weights), np.sqrt((1 - rho) / 2))
    np.testing.assert_allclose(pearson_distance(R, np.ones_like(R)), 0.5)


def test_zero_stays_zero():
    np.testing.assert_array_equal(standardise(np.zeros((S, A))), 0.0)
    assert float(reward_distance(np.zeros((S, A)), np.zeros((S, A)))) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: epic_canonical(R[:, :, :2], GAMMA), r"the shape of reward must be \[S, A, S\]; got \(5, 3, 2\)"),
        (lambda: epic_canonical(R, GAMMA, np.ones(3)), r"state_probs must be of shape \(5,\); got \(3,\)"),
        (lambda: epic_canonical(R, 1.5), "discount must be"),
        (lambda: dard_canonical(R, P[:, :2], GAMMA), r"transition \(5, 2, 5\)"),
        (lambda: starc_canonical(R, P, np.ones(S)), r"discount must be of shape \(\) or \(5, 3\)"),
        (lambda: starc_canonical(R, P, GAMMA, kind="shortest"), "kind must be 'value' or 'minimal'"),
        (lambda: starc_canonical(R, P, GAMMA, np.ones((S, A)), kind="minimal"), "policy must be None"),
        (lambda: standardise(R, 3), "order must be 1, 2 or infinity; got 3"),
        (lambda: reward_distance(R, P[:, :2]), r"second \(5, 2, 5\)"),
        (lambda: pearson_distance(R, R, np.ones(2)), "weights must be"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
