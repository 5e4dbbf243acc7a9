"""Oracles: loops over rows, and the definitions read out of the papers."""

from __future__ import annotations

import numpy as np
import pytest

from rlx.pareto import (
    crowding_distance,
    extension_threshold,
    improvement_priority,
    neighbours,
    psa_weight_update,
    select_isolated,
)
from rlx.types import Front


@pytest.fixture(params=range(4))
def rng(request):
    return np.random.default_rng(request.param)


def test_neighbours_are_the_nearest_others(rng):
    weights = rng.dirichlet(np.ones(3), 7)
    found = np.asarray(neighbours(weights, 3))
    for i, row in enumerate(found):
        order = sorted((np.linalg.norm(weights[i] - weights[j]), j) for j in range(7) if j != i)
        assert row.tolist() == [j for _, j in order[:3]]


def test_weights_move_towards_what_the_policy_is_better_at_than_its_neighbour(rng):
    points, valid = rng.random((6, 3)), rng.random(6) < 0.8
    points[0], valid[:2] = points[1] + 1e-3, True
    value, weight = points[0], rng.dirichlet(np.ones(3))
    result = psa_weight_update(value, weight, Front(points, valid), 0.3)
    distance = np.where(valid, ((points - value) ** 2).sum(1), np.inf)
    distance[distance <= 0.01] = np.inf
    nearest = points[distance.argmin()]
    expected = weight * np.where(value >= nearest, 1.3, 1 / 1.3)
    np.testing.assert_allclose(result, expected / expected.sum(), rtol=1e-5)


def test_weights_stay_where_the_archive_has_nothing_else():
    weight = np.array([0.3, 0.7])
    archive = Front(np.array([[1.0, 2.0], [5.0, 5.0]]), np.array([True, False]))
    np.testing.assert_allclose(psa_weight_update(np.array([1.0, 2.0]), weight, archive), weight)


def test_isolated_rows_come_in_the_order_of_crowding_distance_and_once_only(rng):
    x = np.sort(rng.random(8))
    archive = Front(np.stack([x, 1 - x], 1), np.arange(8) < 7)
    distance = np.asarray(crowding_distance(*archive))
    before = rng.random(8) < 0.4
    index, valid = select_isolated(archive, 8, before)
    order = sorted(range(8), key=lambda i: (i == 7, before[i], -distance[i], i))
    assert np.asarray(index).tolist() == order
    np.testing.assert_array_equal(valid, np.arange(8) < 7)


def test_thresholds_keep_a_share_above_zero_and_allow_a_loss_below():
    np.testing.assert_allclose(extension_threshold(np.array([10.0, 0.0, -10.0]), 0.7), [7.0, 0.0, -13.0])


def test_priority_is_the_gain_over_the_best_row(rng):
    weights, improved = rng.dirichlet(np.ones(2), 5), rng.normal(size=(5, 2))
    points, valid = rng.normal(size=(4, 2)), np.array([True, True, False, True])
    result = improvement_priority(weights, improved, Front(points, valid))
    for q in range(5):
        best = max(points[i] @ weights[q] for i in range(4) if valid[i])
        np.testing.assert_allclose(result[q], improved[q] @ weights[q] - best, rtol=1e-4, atol=1e-6)
    empty = improvement_priority(weights, improved, Front(points, np.zeros(4, bool)))
    assert np.isposinf(empty).all()


def test_refusals():
    front = Front(np.zeros((3, 2)), np.ones(3, bool))
    with pytest.raises(ValueError, match="num must be at most 2"):
        neighbours(np.zeros((3, 2)), 3)
    with pytest.raises(ValueError, match="num must be at most 3"):
        select_isolated(front, 4)
    with pytest.raises(ValueError, match="fraction"):
        extension_threshold(np.zeros(2), 1.5)
    with pytest.raises(ValueError, match="delta"):
        psa_weight_update(np.zeros(2), np.ones(2) / 2, front, 0.0)
