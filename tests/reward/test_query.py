"""Scores of queries against exact mutual information, and their choice against a loop."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import scipy.stats

from rlx.reward import query_score, select_queries

RNG = np.random.default_rng(0)


def test_scores_are_statistics_of_the_members():
    prob = RNG.uniform(0.05, 0.95, (5, 8))
    entropy = lambda p: scipy.stats.entropy([p, 1 - p])  # noqa: E731
    np.testing.assert_allclose(query_score(prob), prob.std(0), rtol=1e-5)
    np.testing.assert_allclose(query_score(prob, "mean_entropy"), entropy(prob).mean(0), rtol=1e-5)
    np.testing.assert_allclose(query_score(prob, "entropy_of_mean"), entropy(prob.mean(0)), rtol=1e-5)


def test_information_gain_is_the_mutual_information_of_member_and_answer():
    prob = RNG.uniform(0, 1, (6, 9))
    joint = np.stack([prob, 1 - prob], -1) / 6  # [M, N, 2]
    independent = joint.sum(0, keepdims=True) * joint.sum(2, keepdims=True)
    np.testing.assert_allclose(
        query_score(prob, "information_gain"), (joint * np.log(joint / independent)).sum((0, 2)), rtol=1e-3, atol=1e-6
    )


def test_agreement_is_worth_nothing_and_contradiction_log_2():
    agreed = np.full((4, 3), [[0.0, 0.3, 1.0]])
    for how in ("disagreement", "information_gain"):
        np.testing.assert_allclose(query_score(agreed, how), 0.0, atol=1e-6)
    contradiction = np.array([[0.0], [1.0]])
    np.testing.assert_allclose(query_score(contradiction, "information_gain"), np.log(2), rtol=1e-6)
    grad = jax.grad(lambda p: query_score(p).sum())(np.full((4, 2), 0.3))
    assert np.all(np.isfinite(grad))


def test_greedy_centres_are_those_of_a_loop():
    score, feature, asked = RNG.normal(size=20), RNG.normal(size=(20, 3)), RNG.normal(size=(2, 3))
    mask = np.arange(20) % 5 > 0
    pool = [i for i in np.argsort(-score) if mask[i]][:10]
    for known in (None, asked):
        chosen: list[int] = [] if known is not None else [pool[0]]
        while len(chosen) < 4:
            centres = [*feature[chosen], *(() if known is None else known)]
            distance = [min(np.linalg.norm(feature[i] - c) for c in centres) for i in pool]
            chosen.append(pool[int(np.argmax(distance))])
        found = select_queries(score, 4, feature, pool=10, mask=mask, asked=known)
        assert found.tolist() == chosen


def test_without_features_the_highest_scores():
    score = RNG.normal(size=20)
    mask = score < 1
    expected = [i for i in np.argsort(-score) if mask[i]][:5]
    assert select_queries(score, 5, mask=mask).tolist() == expected


def test_duplicates_are_not_asked_twice_while_others_are_left():
    score, feature = np.array([5.0, 4, 3, 2, 1]), np.array([[0.0], [0], [0], [1], [2]])
    assert sorted(select_queries(score, 3, feature).tolist()) == [0, 3, 4]


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="how"):
        query_score(np.zeros((2, 2)), "variance")
    with pytest.raises(ValueError, match="prob"):
        query_score(np.full((2, 2), 2.0))
    with pytest.raises(ValueError, match="pool"):
        select_queries(np.zeros(3), 2, pool=4)
    with pytest.raises(ValueError, match="count"):
        select_queries(np.zeros(3), 0)
    with pytest.raises(ValueError, match="feature"):
        select_queries(np.zeros(3), 1, np.zeros((2, 2)))
