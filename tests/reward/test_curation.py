"""Curation against loops, simulation and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from rlx.reward import (
    auroc,
    consistency_filter,
    denoise,
    dynamic_scale,
    preference_strength,
    retrieval_count,
    retrieve,
)

RNG = np.random.default_rng(0)


def test_strength_of_one_model_is_the_margin_of_the_label():
    difference = RNG.normal(size=(1, 9))
    target = np.array([1.0, 0.0, 0.5] * 3)
    mean, std = preference_strength(difference, target)
    np.testing.assert_allclose(mean, difference[0] * np.tile([1, -1, 0], 3), rtol=1e-6)
    np.testing.assert_array_equal(std, 0.0)


def test_strength_finds_flipped_labels_as_well_as_the_models_see():
    """Differences of mean 1 towards the truth and deviation 1: P(u_right > u_wrong) = Phi(2 / sqrt 2)."""
    flipped = RNG.random(20000) < 0.25
    mean, _ = preference_strength(1 + RNG.normal(size=(1, 20000)), 1.0 - flipped)
    np.testing.assert_allclose(auroc(-mean, flipped), 0.9214, atol=0.01)


def test_denoising_modes():
    target, strength = np.array([1.0, 0.0, 1.0, 0.0, 1.0]), np.array([-3.0, -1.0, 2.0, 0.5, 4.0])
    expected = {
        "flip": ([0, 1, 1, 0, 1], [0, 0, 0, 0, 0]),
        "soft": ([0.9, 0.1, 1, 0, 1], [0, 0, 0, 0, 0]),
        "margin": (target, strength),
        "flip_margin": ([0, 1, 1, 0, 1], [3, 1, 2, 0.5, 4]),
        "soft_margin": ([0.9, 0.1, 1, 0, 1], strength),
    }
    for how, (labels, margins) in expected.items():
        found = denoise(target, strength, how, fraction=0.4, smoothing=0.1)
        np.testing.assert_allclose(found[0], labels, rtol=1e-6)
        np.testing.assert_allclose(found[1], margins, rtol=1e-6)
    once = denoise(target, strength, "flip", fraction=0.4)[0]
    np.testing.assert_array_equal(denoise(once, strength, "flip", fraction=0.4)[0], target)


def test_dynamic_scale_rises_within_its_bounds():
    strength = np.linspace(0, 30, 50)
    scale = np.asarray(dynamic_scale(strength, 0.1, 0.5, 0.4))
    assert scale[0] == np.float32(0.1)
    assert np.all(np.diff(scale) >= 0)
    np.testing.assert_allclose(scale[-1], 0.15, rtol=1e-4)
    slope = (dynamic_scale(1e-3, 0.1, 0.5, 0.4) - dynamic_scale(0.0, 0.1, 0.5, 0.4)) / 1e-3
    np.testing.assert_allclose(slope, 0.1 * 0.5 * 0.4, rtol=1e-2)
    assert np.all(dynamic_scale(np.array([-10.0, -1e4]), 0.1) > 0)
    np.testing.assert_array_equal(dynamic_scale(strength, 0.1, 0.0), np.float32(0.1))


def test_retrieval_asks_most_where_the_model_errs():
    assert retrieval_count(np.array([0.0, 0.5, 0.51, 0.875, 0.9, 1.0])).tolist() == [8, 8, 4, 1, 1, 0]


def test_retrieval_is_a_greedy_loop():
    query, pool = RNG.normal(size=(4, 3)), RNG.normal(size=(12, 3))
    count, mask = np.array([2, 0, 3, 3]), np.arange(12) != 5
    similarity = (query @ pool.T) / np.linalg.norm(query, axis=1)[:, None] / np.linalg.norm(pool, axis=1)
    rows, taken = (np.asarray(x) for x in retrieve(query, pool, count, 3, mask))
    free = set(np.flatnonzero(mask))
    for q in range(4):
        best = sorted(free, key=lambda i: -similarity[q, i])[: count[q]]
        assert rows[q][taken[q]].tolist() == best
        free -= set(best)


def test_what_is_not_there_is_not_fetched():
    _, taken = retrieve(np.ones((2, 2)), np.ones((3, 2)), np.array([2, 2]), 2)
    assert taken.tolist() == [[True, True], [True, False]]


def test_precision_of_the_filter_is_the_closed_form():
    a, b, e, size = 0.8, 0.7, 0.25, 400000
    wrong = RNG.random(size) < e
    first, second = (np.where((RNG.random(size) < right) ^ wrong, 0.9, 0.1) for right in (a, b))
    keep, flip = (np.asarray(x) for x in consistency_filter(first, second))
    kept = (1 - e) * a * b / ((1 - e) * a * b + e * (1 - a) * (1 - b))
    turned = e * a * b / (e * a * b + (1 - e) * (1 - a) * (1 - b))
    np.testing.assert_allclose([1 - wrong[keep].mean(), wrong[flip].mean()], [kept, turned], atol=5e-3)


def test_truth_and_the_teacher_in_the_filter():
    wrong = np.array([False, True])
    truth = np.where(wrong, 0.0, 1.0)
    keep, flip = consistency_filter(truth, truth)
    assert keep.tolist() == [True, False]
    assert flip.tolist() == [False, True]
    keep, _ = consistency_filter(np.array([0.1, 0.1]), np.array([0.9, 0.1]), np.array([0.9, 0.9]))
    assert keep.tolist() == [True, False]


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="target"):
        preference_strength(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(ValueError, match="how"):
        denoise(np.zeros(2), np.zeros(2), "drop")
    with pytest.raises(ValueError, match="fraction"):
        denoise(np.zeros(2), np.zeros(2), fraction=1.5)
    with pytest.raises(ValueError, match="base"):
        dynamic_scale(np.zeros(2), 0.0)
    with pytest.raises(ValueError, match="maximum"):
        retrieve(np.zeros((1, 2)), np.zeros((3, 2)), np.ones(1, int), 4)
    with pytest.raises(ValueError, match="prob"):
        retrieval_count(np.array([2.0]))
    with pytest.raises(ValueError, match="gold_prob"):
        consistency_filter(np.zeros(2), np.full(2, 2.0))
