"""Ratings against the trueskill package, and against quadrature where that loses its digits; percentiles and scores."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import trueskill
from scipy import integrate
from scipy.stats import norm

from rlx.reward import normalised_percentiles, normalised_task_scores, trueskill_update

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("draw", [False, True])
def test_updates_are_those_of_trueskill(draw):
    env = trueskill.TrueSkill(draw_probability=0.2)
    mean, deviation = 25 + 5 * RNG.normal(size=(20, 2)), RNG.uniform(1, 9, (20, 2))
    found = trueskill_update(mean, deviation, np.full(20, draw), draw_prob=0.2)
    for i in range(20):
        pair = trueskill.rate_1vs1(
            *(env.create_rating(*x) for x in zip(mean[i], deviation[i], strict=True)), drawn=draw, env=env
        )
        np.testing.assert_allclose(found.mean[i], [x.mu for x in pair], rtol=2e-4)
        np.testing.assert_allclose(found.deviation[i], [x.sigma for x in pair], rtol=2e-4)


@pytest.mark.parametrize("gap", [-150.0, -60.0, -20.0, 0.0, 3.0, 40.0, 150.0])
@pytest.mark.parametrize("draw", [False, True])
def test_far_apart_skills_against_moments_by_quadrature(gap, draw):
    """The difference of performances given the outcome, whose moments give those of the skills."""
    deviation, beta, prob = np.array([8.0, 3.0]), 4.0, 0.1
    c = np.sqrt(2 * beta**2 + (deviation**2).sum())
    margin = np.sqrt(2) * beta * norm.ppf((prob + 1) / 2)
    low, high = (-margin, margin) if draw else (margin, margin + 400.0)
    peak = np.clip(gap, low, high)

    def moment(k):
        density = lambda x: (x - peak) ** k * np.exp(norm.logpdf(x, gap, c) - norm.logpdf(peak, gap, c))  # noqa: E731
        edges = [max(low, peak - 60), *(peak + np.array([-10, -1, -0.1, 0, 0.1, 1, 10])), min(high, peak + 60)]
        edges = np.clip(edges, low, high)
        return sum(integrate.quad(density, a, b)[0] for a, b in itertools.pairwise(edges))

    mass, first, second = (moment(k) for k in range(3))
    v = (peak + first / mass - gap) / c
    w = 1 - (second / mass - (first / mass) ** 2) / c**2
    found = trueskill_update(
        np.array([gap, 0.0], np.float32),
        deviation.astype(np.float32),
        np.asarray(draw),
        beta=beta,
        tau=0.0,
        draw_prob=prob,
    )
    np.testing.assert_allclose(found.mean, np.array([gap, 0]) + v * deviation**2 / c * [1, -1], rtol=2e-3, atol=2e-2)
    np.testing.assert_allclose(found.deviation, deviation * np.sqrt(1 - w * deviation**2 / c**2), rtol=5e-3)


def test_draws_do_not_depend_on_the_order():
    mean, deviation = RNG.normal(size=(5, 2)), RNG.uniform(1, 9, (5, 2))
    one, other = (
        trueskill_update(x, y, np.ones(5, bool)) for x, y in ((mean, deviation), (mean[:, ::-1], deviation[:, ::-1]))
    )
    np.testing.assert_allclose(one.mean, other.mean[:, ::-1], rtol=1e-5, atol=1e-6)


def test_scores_of_tasks_forget_shift_and_scale():
    score = RNG.normal(size=(3, 5))
    wanted = ((score - score.mean(1, keepdims=True)) / score.std(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(normalised_task_scores(score), wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(normalised_task_scores(score * [[9], [1], [2]] + [[4], [0], [-7]]), wanted, atol=1e-5)
    np.testing.assert_array_equal(normalised_task_scores(np.ones((2, 3))), 0.0)


def test_percentiles_are_numpys():
    returns, scale = RNG.normal(1, 1, (4, 9)), RNG.uniform(0.5, 3, 9)
    scale[2] = 0.0
    scores, participation = normalised_percentiles(returns, scale)
    shares = np.where(scale > 0, np.clip(returns / np.where(scale > 0, scale, 1), 0, 1), 0)
    np.testing.assert_allclose(scores, np.percentile(shares, [0, 10, 20, 30, 40, 50], axis=1).T, rtol=1e-5)
    np.testing.assert_allclose(participation, (returns > 0).mean(1))
