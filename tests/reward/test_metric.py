"""Metrics against scikit-learn, loops and what constant models must get."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import sklearn.metrics

from rlx.reward import auroc, best_of_k_accuracy, calibration_error, pair_accuracy, ties_score

RNG = np.random.default_rng(0)


def test_pair_accuracy_counts_and_does_not_know_positions():
    difference, target = np.round(RNG.normal(size=200)), (RNG.random(200) < 0.5).astype(float)
    right = np.where(difference == 0, 0.5, (difference > 0) == (target > 0.5))
    np.testing.assert_array_equal(pair_accuracy(difference, target), right)
    np.testing.assert_array_equal(pair_accuracy(-difference, 1 - target), right)
    np.testing.assert_allclose(pair_accuracy(np.array([3.0, -3.0]), np.array([0.7, 0.7])), [0.7, 0.3], rtol=1e-6)


def test_auroc_is_scikit_learns():
    score, label, weight = np.round(RNG.normal(size=99), 1), RNG.random(99) < 0.3, RNG.random(99)
    np.testing.assert_allclose(auroc(score, label), sklearn.metrics.roc_auc_score(label, score), rtol=1e-5)
    expected = sklearn.metrics.roc_auc_score(label, score, sample_weight=weight)
    np.testing.assert_allclose(auroc(score, label, weight), expected, rtol=1e-5)
    assert float(auroc(np.ones(9), np.arange(9) < 3)) == 0.5
    assert float(auroc(np.ones(9), np.ones(9, bool))) == 0.5


def test_calibration_error_is_a_loop():
    prob, outcome = RNG.random(300), RNG.random(300) < 0.5
    edges = np.linspace(0, 1, 11)
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (prob > low) & (prob <= high)
        if inside.any():
            total += inside.mean() * abs(prob[inside].mean() - outcome[inside].mean())
    np.testing.assert_allclose(calibration_error(prob, outcome.astype(float)), total, rtol=1e-4)


def test_calibration_error_of_truth_is_small_and_of_certainty_the_error_rate():
    prob = RNG.random(20000)
    outcome = (RNG.random(20000) < prob).astype(float)
    np.testing.assert_allclose(calibration_error(prob, outcome), np.sqrt(10 / 20000) / 3, rtol=0.6)
    certain = np.round(prob)
    np.testing.assert_allclose(calibration_error(certain, outcome), 0.25, atol=0.01)


def test_best_of_k_gives_a_constant_model_its_chance_and_no_more():
    target = np.eye(4)[RNG.integers(4, size=50)]
    np.testing.assert_allclose(best_of_k_accuracy(np.zeros((50, 4)), target), 0.25)
    score = RNG.normal(size=(50, 4))
    np.testing.assert_array_equal(best_of_k_accuracy(score, target), score.argmax(1) == target.argmax(1))
    mask = np.array([True, True, False, True])
    padded = best_of_k_accuracy(np.array([1.0, 1.0, 9.0, 0.0]), np.array([1.0, 0, 0, 0]), mask)
    assert float(padded) == 0.5


def by_hand(score, correct, reference, reference_correct) -> float:
    gap = min(score[correct]) - max(score[~correct])
    reference_gap = min(reference[reference_correct]) - max(reference[~reference_correct])
    spread = max(score[correct]) - min(score[correct])
    least = min(gap, reference_gap)
    with np.errstate(divide="ignore", invalid="ignore"):
        last = np.nan_to_num(np.tanh(np.divide(least, spread) - 1))
    return 0.3 * (gap > 0) + 0.3 * (reference_gap > 0) + 0.2 * (gap > spread) + 0.2 * (least > spread) + 0.01 * last


def test_ties_score_is_its_formula():
    cases = [(RNG.normal(size=5), RNG.normal(size=4)) for _ in range(40)]
    cases += [(np.array([2.0, 2, 1, 0, 0]), np.array([1.0, 0, 0, 0])), (np.zeros(5), np.zeros(4))]
    cases += [(np.array([0.0, 0, 1, 0, 0]), np.array([1.0, 0, 0, 0]))]
    correct, reference_correct = np.arange(5) < 2, np.arange(4) < 1
    for score, reference in cases:
        score, reference = score.astype(np.float32), reference.astype(np.float32)
        found = ties_score(score, correct, reference, reference_correct)
        np.testing.assert_allclose(found, by_hand(score, correct, reference, reference_correct), atol=1e-5)
        padded = np.append(score, 99.0).astype(np.float32)
        again = ties_score(padded, np.append(correct, False), reference, reference_correct, np.arange(6) < 5)
        np.testing.assert_allclose(again, found, atol=1e-6)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="target"):
        pair_accuracy(np.zeros(2), np.full(2, 2.0))
    with pytest.raises(ValueError, match="score"):
        auroc(np.zeros((2, 2)), np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="outcome"):
        calibration_error(np.zeros(2), np.full(2, 2.0))
    with pytest.raises(ValueError, match="bins"):
        calibration_error(np.zeros(2), np.zeros(2), 0)
    with pytest.raises(ValueError, match="same shape"):
        best_of_k_accuracy(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="reference_correct"):
        ties_score(np.zeros(2), np.zeros(2, bool), np.zeros(2), np.zeros(3, bool))
