"""Fares over several slots by a loop and by solving a chain; matching against SciPy's assignment."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from rlx import value


@pytest.mark.parametrize("gamma", [0.5, 0.95, 1 - 1e-6, 1.0])
def test_spread_fare_equals_a_loop(gamma: float):
    durations = np.arange(1, 41)
    loop = [10 / d * sum(gamma**i for i in range(d)) for d in durations]
    with jax.enable_x64(True):
        np.testing.assert_allclose(value.smdp_reward(jnp.asarray(10.0), durations, gamma), loop, rtol=1e-9)
    np.testing.assert_allclose(value.smdp_reward(jnp.asarray(10.0), durations, gamma), loop, rtol=1e-5)


def test_spread_fare_of_the_published_example_of_seven_slots():
    np.testing.assert_allclose(value.smdp_reward(jnp.array(10.0), 7, 0.95), 8.618934, rtol=1e-6)


def test_one_slot_is_ordinary_bootstrapping():
    rng = np.random.default_rng(0)
    reward, after = (jnp.asarray(rng.normal(size=20), jnp.float32) for _ in range(2))
    np.testing.assert_allclose(value.smdp_target(reward, 1, 0.9, after), reward + 0.9 * after, rtol=1e-5, atol=1e-6)


def test_fixed_point_is_the_value_of_the_same_process_slot_by_slot():
    """A trip of d slots with an evenly spread fare is d steps of a chain: the solved linear systems agree."""
    rng = np.random.default_rng(1)
    places, gamma = 3, 0.9
    to, slots, fare = rng.integers(places, size=places), np.array([1, 3, 4]), rng.uniform(1, 5, places)
    chains = np.concatenate([np.zeros(1, int), np.cumsum(slots)])
    P, R = np.zeros((chains[-1], chains[-1])), np.zeros(chains[-1])
    for place in range(places):
        for i in range(slots[place]):
            here = chains[place] + i
            last = i == slots[place] - 1
            P[here, chains[to[place]] if last else here + 1] = 1.0
            R[here] = fare[place] / slots[place]
    wanted = np.linalg.solve(np.eye(len(R)) - gamma * P, R)[chains[:-1]]
    with jax.enable_x64(True):
        v = jnp.zeros(places)
        for _ in range(400):
            v = value.smdp_target(jnp.asarray(fare), slots, gamma, v[to])
    np.testing.assert_allclose(v, wanted, rtol=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (4, 9), (9, 4), (12, 12)])
def test_matching_is_the_best_assignment(shape: tuple[int, int]):
    rng = np.random.default_rng(sum(shape))
    match = jax.jit(value.matching)
    for _ in range(20):
        score = np.round(rng.normal(1, 3, shape), 1)  # multiples of more than rows times the tolerance: exact
        score[rng.random(shape) < 0.2] = -np.inf
        found = np.asarray(match(jnp.asarray(score, jnp.float32)))
        taken = found[found >= 0]
        assert len(set(taken)) == len(taken)
        total = sum(score[i, j] for i, j in enumerate(found) if j >= 0)
        paid = np.maximum(score, 0.0)  # staying without a match is worth 0
        np.testing.assert_allclose(total, paid[linear_sum_assignment(paid, maximize=True)].sum(), atol=1e-4)


def test_matching_beats_every_other_one_within_the_tolerance():
    rng = np.random.default_rng(3)
    for _ in range(10):
        score = rng.normal(size=(4, 4))
        best = max(sum(max(score[i, j], 0) for i, j in enumerate(order)) for order in itertools.permutations(range(4)))
        for tolerance in (0.2, 1e-3):
            found = np.asarray(value.matching(jnp.asarray(score, jnp.float32), tolerance=tolerance))
            total = sum(score[i, j] for i, j in enumerate(found) if j >= 0)
            assert best - 4 * tolerance <= total <= best + 1e-5


def test_matching_under_vmap_and_without_anything_to_match():
    score = jnp.asarray(np.random.default_rng(4).normal(size=(3, 4, 5)), jnp.float32)
    together = jax.vmap(value.matching)(score)
    np.testing.assert_array_equal(together, jnp.stack([value.matching(x) for x in score]))
    np.testing.assert_array_equal(value.matching(jnp.full((2, 3), -jnp.inf)), -1)
    np.testing.assert_array_equal(value.matching(jnp.full((2, 3), -0.5)), -1)


def test_best_matching_of_scores_over_idling_maximises_the_fleets_targets():
    """Of all assignments, by enumeration, with the value of idling subtracted; with other values it need not."""
    rng = np.random.default_rng(5)
    fare, drop, idle = rng.uniform(0, 5, 3), rng.uniform(0, 5, 3), rng.uniform(0, 6, 3)
    slots = rng.integers(1, 5, 3)
    target = value.smdp_target(jnp.asarray(fare), slots, 0.9, jnp.asarray(drop))
    score = value.dispatch_scores(target[:, None], jnp.asarray(idle))
    found = np.asarray(value.matching(score))

    def fleet(match):
        served = {j: i for i, j in enumerate(match) if j >= 0}
        return sum(float(target[served[j]]) if j in served else idle[j] for j in range(3))

    possible = [
        match
        for match in itertools.product(range(-1, 3), repeat=3)
        if len({j for j in match if j >= 0}) == sum(j >= 0 for j in match)
    ]
    np.testing.assert_allclose(fleet(found), max(map(fleet, possible)), atol=3e-3)


def test_infeasible_matches_are_not_made():
    feasible = jnp.array([[False, True], [False, True]])
    score = value.dispatch_scores(jnp.array([[9.0], [8.0]]), jnp.array([0.0, 1.0]), feasible)
    np.testing.assert_array_equal(value.matching(score), [1, -1])


def test_places_are_drawn_by_their_discounted_values():
    logits = value.reposition_logits(jnp.array([2.0, 3.0]), jnp.array([0, 2]), 0.5, 7.0, jnp.array([0.0, 0.1]), 0.5)
    probs = jax.nn.softmax(logits)
    weight = np.exp(np.array([2.0, 3.0 / 4 - 0.1]) / 0.5)
    np.testing.assert_allclose(probs, weight / weight.sum(), rtol=1e-5)
    np.testing.assert_allclose(logits[0], (2.0 - 7.0) / 0.5, rtol=1e-6)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="duration"):
        value.smdp_reward(jnp.array(1.0), 0, 0.9)
    for discount in (0.0, 1.1):
        with pytest.raises(ValueError, match="discount"):
            value.smdp_target(jnp.array(1.0), 1, discount, jnp.array(0.0))
    with pytest.raises(ValueError, match="temperature"):
        value.reposition_logits(jnp.zeros(2), jnp.ones(2), 0.9, 0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="feasible must be boolean"):
        value.dispatch_scores(jnp.zeros((2, 1)), jnp.zeros(2), jnp.ones((2, 2)))
    with pytest.raises(ValueError, match="order_target must have rank 2"):
        value.dispatch_scores(jnp.zeros(2), jnp.zeros(2))
    with pytest.raises(ValueError, match="score must have rank 2"):
        value.matching(jnp.zeros(3))
    with pytest.raises(ValueError, match="tolerance"):
        value.matching(jnp.zeros((2, 2)), tolerance=0.0)
