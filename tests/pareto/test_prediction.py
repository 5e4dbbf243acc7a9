"""Oracles: scipy's robust least squares, moocore's hypervolume in a loop, angles in a loop."""

from __future__ import annotations

import jax
import moocore
import numpy as np
import pytest
from scipy.optimize import least_squares

from rlx.pareto import bin_elites, fit_improvement, predict_improvement, select_by_prediction
from rlx.pareto.prediction import ImprovementModel
from rlx.types import Front


def curve(x, w):
    return np.exp(x[0]) * np.tanh(np.exp(x[1]) * (w - x[2]) / 2) + x[3]


@pytest.mark.parametrize("seed", range(6))
def test_the_fit_is_that_of_robust_least_squares(seed):
    rng = np.random.default_rng(seed)
    w, count = rng.random(20), rng.random(20)
    gain = 5 * np.tanh(rng.uniform(2, 6) * (w - rng.uniform(0.2, 0.8)) / 2) + rng.normal(size=20) * 0.5
    gain[3] += 30.0
    size = np.sqrt((count * gain**2).sum() / count.sum())

    def residuals(x):
        r = curve(x, w) - gain / size
        robust = np.sqrt(2 * count * 2 * (np.sqrt(1 + r**2) - 1) / 2) * np.sign(r)
        return np.concatenate([robust, np.sqrt(1e-3) * (x - [0, 1, 0.5, 0])])

    bounds = ([-10, -5, -5, -20], [5, 5, 5, 20])
    reference = least_squares(residuals, [0.0, 1.0, 0.5, 0.0], bounds=bounds, xtol=1e-12, ftol=1e-12)
    with jax.enable_x64(True):
        model = fit_improvement(w, gain, count, num_iterations=100)
        found = np.array([np.log(model.height / size), np.log(model.rate), model.centre, model.offset / size])
    assert (residuals(found) ** 2).sum() <= (residuals(reference.x) ** 2).sum() * (1 + 1e-3)


def test_the_published_form_of_the_curve():
    model, w = ImprovementModel(2.0, 3.0, 0.4, 0.5), 0.9
    grown = np.exp(3.0 * (w - 0.4))
    np.testing.assert_allclose(
        predict_improvement(model, np.float32(w)), 2 * (grown - 1) / (grown + 1) + 0.5, rtol=1e-5
    )


def test_without_records_nothing_is_predicted():
    model = fit_improvement(np.ones(4), np.ones(4), np.zeros(4))
    assert float(predict_improvement(model, np.float32(0.3))) == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_the_choice_is_greedy_in_hypervolume(seed):
    rng = np.random.default_rng(seed)
    front, candidates, ref = rng.random((4, 2)), rng.random((7, 2)) * 1.3, np.zeros(2)
    valid = np.array([True] * 6 + [False])
    chosen = np.asarray(select_by_prediction(Front(front, np.ones(4, bool)), candidates, valid, 3, ref))
    points, left = front, [i for i in range(7) if valid[i]]
    for pick in chosen:
        worth = {i: moocore.hypervolume(np.vstack([points, candidates[i]]), ref=ref, maximise=True) for i in left}
        assert worth[pick] >= max(worth.values()) - 1e-6
        points, left = np.vstack([points, candidates[pick]]), [i for i in left if i != pick]


def test_each_bin_keeps_its_longest_vector():
    rng = np.random.default_rng(0)
    values, valid = rng.random((12, 2)), rng.random(12) < 0.8
    directions = np.stack([np.linspace(0, 1, 4), np.linspace(1, 0, 4)], 1)
    index, found = bin_elites(values, valid, directions)
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    home = (values @ unit.T).argmax(1)
    for q in range(4):
        mine = [i for i in range(12) if valid[i] and home[i] == q]
        assert bool(found[q]) == bool(mine)
        if mine:
            assert int(index[q]) == max(mine, key=lambda i: np.linalg.norm(values[i]))


def test_refusals():
    with pytest.raises(ValueError, match="gain"):
        fit_improvement(np.ones(3), np.ones(4), np.ones(3))
    with pytest.raises(ValueError, match="num must be at most 2"):
        select_by_prediction(
            Front(np.ones((1, 2)), np.ones(1, bool)), np.ones((2, 2)), np.ones(2, bool), 3, np.zeros(2)
        )
