"""Losses of representations against loops, closed forms, scikit-learn and the limits in which they are known."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import log_softmax
from sklearn.metrics import pairwise
from sklearn.neighbors import NearestNeighbors

from rlx.reward import (
    centroid_distance,
    goal_contrastive_loss,
    goal_steps,
    goal_value,
    info_nce_loss,
    most_similar_pair,
    prune_step,
    reference_scaled_reward,
    triplet_loss,
    unit_norm_loss,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("squared", [True, False])
def test_triplets_by_hand_and_under_rotation(squared):
    anchor, positive, negative = RNG.normal(size=(3, 8, 3))
    near, far = (np.linalg.norm(anchor - x, axis=1) ** (2 if squared else 1) for x in (positive, negative))
    expected = np.maximum(near - far + 0.5, 0)
    turned = [x @ Rotation.random(random_state=0).as_matrix().T + 1 for x in (anchor, positive, negative)]
    for triple in ((anchor, positive, negative), turned):
        np.testing.assert_allclose(triplet_loss(*triple, 0.5, squared=squared), expected, rtol=1e-4, atol=1e-5)


def test_embedding_as_the_teacher_sees_it_has_no_triplet_loss_and_gives_its_answers():
    feature = RNG.normal(size=(50, 3, 4))
    order = most_similar_pair(feature)
    for row, (i, j, k) in zip(feature, order, strict=True):
        distance = {pair: np.linalg.norm(row[pair[0]] - row[pair[1]]) for pair in itertools.combinations(range(3), 2)}
        assert min(distance, key=distance.__getitem__) == (i, j)
        assert {int(i), int(j), int(k)} == {0, 1, 2}
    anchor, positive, negative = np.take_along_axis(feature, np.asarray(order)[..., None], 1).swapaxes(0, 1)
    for triple in ((anchor, positive, negative), (positive, anchor, negative)):
        np.testing.assert_array_equal(triplet_loss(*triple, 0.0), 0.0)


def test_a_preferred_context_points_from_the_rejected_to_the_chosen():
    """Of two clusters on the unit circle the anchor's best direction is that of the difference of their means."""
    angle = np.concatenate([np.full(2, 0.3), np.full(2, 1.9)]) + np.array([0.2, -0.2] * 2)
    z = np.stack([np.cos(angle), np.sin(angle)], 1)
    chosen, rejected = z[:2], z[2:]

    def loss(anchor):
        return triplet_loss(anchor / jnp.linalg.norm(anchor), chosen, rejected, 3.0).mean()

    step = lambda _, anchor: anchor - 0.2 * jax.grad(loss)(anchor)  # noqa: E731
    anchor = jax.lax.fori_loop(0, 100, step, jnp.array([-1.0, 0.5]))
    difference = chosen.mean(0) - rejected.mean(0)
    np.testing.assert_allclose(goal_value(anchor, difference), 1.0, atol=1e-4)


def test_sampled_steps_are_valid_ordered_and_uniform():
    chosen, rejected = np.array([True, False, True, True]), np.array([False, True, False])
    source, goal, negative = goal_steps(jax.random.key(0), chosen, rejected, 9000)
    pairs, counts = np.unique(np.stack([source, goal]), axis=1, return_counts=True)
    assert {tuple(pair) for pair in pairs.T} == {(a, b) for a in (0, 2, 3) for b in (0, 2, 3) if a <= b}
    expected = np.where(pairs[0] == pairs[1], 1000, 2000)  # both orders of a pair are one
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))
    np.testing.assert_array_equal(negative, 1)
    again = goal_steps(jax.random.key(0), np.zeros((2, 4), bool), rejected[None].repeat(2, 0), 3)
    np.testing.assert_array_equal(again[0], 0)


@pytest.mark.parametrize("pairs", ["all", "diagonal"])
def test_goal_contrast_is_that_of_a_loop_over_pairs(pairs):
    states = RNG.normal(size=(3, 2, 4, 3))
    similar = [
        [
            [
                pairwise.cosine_similarity(s[[i]], g[[j]])[0, 0]
                for i in range(4)
                for j in range(4)
                if pairs == "all" or i == j
            ]
        ]
        for s, g in ((states[0, b], x[b]) for b in range(2) for x in states[1:])
    ]
    positive, negative = 1 / (1 + np.exp(-np.array(similar).reshape(2, 2, -1).swapaxes(0, 1)))
    expected = {
        "log_of_mean": -np.log(positive.mean(1)) - np.log(1 - negative.mean(1)),
        "mean_of_logs": -np.log(positive).mean(1) - np.log(1 - negative).mean(1),
    }
    for reduce, value in expected.items():
        np.testing.assert_allclose(goal_contrastive_loss(*states, pairs=pairs, reduce=reduce), value, rtol=1e-5)


def test_goal_contrast_of_a_batch_as_one_trajectory_is_the_official_programs():
    states = RNG.normal(size=(3, 2, 4, 3))
    cosine = [
        (states[0] * x).sum(-1) / np.linalg.norm(states[0], axis=-1) / np.linalg.norm(x, axis=-1) for x in states[1:]
    ]
    positive, negative = (1 / (1 + np.exp(-x)) for x in cosine)
    joined = states.reshape(3, 8, 3)
    expected = -np.log(positive.mean()) - np.log(1 - negative.mean())
    np.testing.assert_allclose(goal_contrastive_loss(*joined, pairs="diagonal"), expected, rtol=1e-5)


def test_equal_trajectories_teach_nothing_where_all_is_orthogonal():
    source, other = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    both = jax.grad(lambda x: goal_contrastive_loss(source, x, x))(other)
    np.testing.assert_allclose(both, 0.0, atol=1e-7)
    assert np.any(jax.grad(lambda x: goal_contrastive_loss(source, x, -other))(other) != 0)


def test_pruning_waits_for_its_start_and_keeps_good_trajectories():
    value = np.array([-1, 1, 1, -1, 1, -1, 1, -1.0])
    mask = np.arange(8) < 7
    for minimum, share, expected in ((0, 0.0, 0), (1, 0.0, 3), (5, 0.0, 5), (0, 0.5, 5), (6, 0.0, 7)):
        assert prune_step(value, mask, 0.0, minimum=minimum, share=share) == expected
    assert prune_step(np.ones(8), mask, 0.0) == 7


def test_info_nce_is_the_cross_entropy_of_scikit_learns_cosines():
    first, second = RNG.normal(size=(2, 6, 3))
    logits = pairwise.cosine_similarity(first, second) / 0.3
    np.testing.assert_allclose(info_nce_loss(first, second, 0.3), -np.diag(log_softmax(logits, 1)), rtol=1e-4)
    mask = np.array([True, True, False, True, False, True])
    kept = info_nce_loss(first[mask], second[mask], 0.3)
    np.testing.assert_allclose(info_nce_loss(first, second, 0.3, mask)[mask], kept, rtol=1e-5)
    np.testing.assert_array_equal(info_nce_loss(first, second, 0.3, mask)[~mask], 0.0)
    labels = optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(logits), jnp.arange(6))
    np.testing.assert_allclose(info_nce_loss(7 * first, 0.1 * second, 0.3), labels, rtol=1e-4)


def test_the_unit_sphere_is_where_the_norm_costs_nothing():
    z = RNG.normal(size=(5, 3))
    np.testing.assert_allclose(unit_norm_loss(z / np.linalg.norm(z, axis=1)[:, None]), 0.0, atol=1e-10)
    np.testing.assert_allclose(unit_norm_loss(z), (np.linalg.norm(z, axis=1) - 1) ** 2, rtol=1e-4)


def test_scaled_reward_is_the_chance_of_being_preferred_to_the_reference():
    reward, reference = RNG.normal(size=(4, 3)), RNG.normal(size=(3, 7))
    scaled = np.asarray(reference_scaled_reward(reward, reference))
    for t, b in itertools.product(range(4), range(3)):
        np.testing.assert_allclose(scaled[t, b], np.mean(1 / (1 + np.exp(reference[b] - reward[t, b]))), rtol=1e-5)
    np.testing.assert_allclose(reference_scaled_reward(reward + 9, reference + 9), scaled, rtol=1e-4)
    np.testing.assert_allclose(reference_scaled_reward(reference[0], reference[0]).mean(), 0.5, rtol=1e-6)


def test_centroid_distance_is_scikit_learns_nearest_neighbour():
    feature, centroid, mask = RNG.normal(size=(20, 4)), RNG.normal(size=(6, 4)), np.arange(6) % 3 > 0
    for kept in (np.ones(6, bool), mask):
        expected = NearestNeighbors(n_neighbors=1).fit(centroid[kept]).kneighbors(feature)[0][:, 0]
        np.testing.assert_allclose(centroid_distance(feature, centroid, kept), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: triplet_loss(np.zeros(2), np.zeros(2), np.zeros(3)), "negative"),
        (lambda: triplet_loss(np.zeros(2), np.zeros(2), np.zeros(2), -1.0), "margin"),
        (lambda: most_similar_pair(np.zeros((2, 2))), "feature"),
        (lambda: goal_steps(jax.random.key(0), np.ones(3, bool), np.ones((2, 3), bool), 2), "rejected_mask"),
        (lambda: goal_steps(jax.random.key(0), np.ones(3, bool), np.ones(3, bool), 0), "count"),
        (lambda: goal_contrastive_loss(*np.zeros((3, 2, 2)), pairs="some"), "pairs"),
        (lambda: goal_contrastive_loss(*np.zeros((3, 2, 2)), reduce="sum"), "reduce"),
        (lambda: goal_value(np.zeros(2), np.zeros(3)), "goal"),
        (lambda: prune_step(np.zeros(2), np.ones(2, bool), 0.0, share=2.0), "share"),
        (lambda: info_nce_loss(*np.zeros((2, 2, 2)), 0.0), "temperature"),
        (lambda: info_nce_loss(*np.zeros((2, 2, 2)), mask=np.ones(3, bool)), "mask"),
        (lambda: unit_norm_loss(np.zeros(())), "z"),
        (lambda: reference_scaled_reward(np.zeros(2), np.zeros((2, 0))), "reference"),
        (lambda: centroid_distance(np.zeros(2), np.zeros((2, 3))), "centroid"),
        (lambda: centroid_distance(np.zeros(2), np.zeros((3, 2)), np.ones(2, bool)), "mask"),
    ],
)
def test_errors_name_the_argument(call, name):
    with pytest.raises(ValueError, match=name):
        call()
