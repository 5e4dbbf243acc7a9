"""The tuner's accounts, its searches on a function with a known optimum, and a real sweep."""

from __future__ import annotations

import math

import numpy as np
import pytest
import toy

from rlx.runtime.tuning import Range, training_scores, tune

SPACE = {"x": Range(0.0, 1.0), "rate": Range(1e-4, 1e-1, log=True)}
BEST = {"x": 0.3, "rate": 1e-3}
COSTS = (0.1, 1.0)


def score(setting, fidelity):
    """0 at the best; the cheap one is a tenth off in x, and shifted."""
    off = 0.1 * (fidelity == 0)
    distance = (setting["x"] - BEST["x"] - off) ** 2 + (math.log10(setting["rate"] / BEST["rate"]) / 3) ** 2
    return -distance - off


def evaluate(settings, fidelity):
    return [score(setting, fidelity) for setting in settings]


@pytest.mark.parametrize("method", ["cokriging", "improvement", "halving", "random"])
def test_the_budget_is_spent_and_kept(method):
    tuned = tune(evaluate, SPACE, COSTS, 6.0, method=method, seed=1)
    fidelity, cost = tuned.trials["fidelity"], tuned.trials["cost"]
    np.testing.assert_allclose(np.diff(cost, prepend=0), np.where(fidelity == 1, 1.0, 0.1), rtol=1e-6)
    assert 6.0 - 1.3 < cost[-1] <= 6.0 + 1e-6
    assert tuned.score == max(tuned.trials.where(fidelity=1)["score"])
    assert tuned.score == pytest.approx(score(tuned.best, 1))
    for name, span in SPACE.items():
        assert (tuned.trials[name] >= span.low).all()
        assert (tuned.trials[name] <= span.high).all()
    again = tune(evaluate, SPACE, COSTS, 6.0, method=method, seed=1)
    assert list(again.trials.rows()) == list(tuned.trials.rows())


@pytest.mark.slow
def test_models_beat_chance():
    scores = {
        method: np.mean([tune(evaluate, SPACE, COSTS, 6.0, method=method, seed=seed).score for seed in range(3)])
        for method in ("cokriging", "improvement", "random")
    }
    assert scores["cokriging"] > -0.005
    assert scores["cokriging"] > scores["random"] + 0.005


def test_logarithmic_ranges_are_uniform_in_the_logarithm():
    tuned = tune(evaluate, {"rate": Range(1e-4, 1e-2, log=True)} | {"x": Range(0, 1)}, (1.0,), 300, method="random")
    share = np.mean(tuned.trials["rate"] < 1e-3)
    assert 0.4 < share < 0.6


def test_what_is_not_finite_counts_as_the_worst():
    def broken(settings, fidelity):
        return [math.nan if setting["x"] > 0.5 else setting["x"] for setting in settings]

    tuned = tune(broken, SPACE, COSTS, 4.0, seed=0)
    assert np.isfinite(tuned.trials["score"]).all()
    assert tuned.best["x"] <= 0.5


def test_training_is_tuned():
    """Of the toy's learning rates a tiny one is worse than a middling one, at both fidelities."""
    score = lambda metrics: -metrics["loss/value"][-1].sum()  # noqa: E731
    found = training_scores(toy.make, toy.Config(), (80, 160), seeds=2, score=score)
    slow, good = found([{"learning_rate": 1e-6}, {"learning_rate": 0.1}], 0)
    assert good > slow
    returns = training_scores(toy.make, toy.Config(), (80, 8000), seeds=2)([{"learning_rate": 0.1}], 1)
    assert np.isfinite(returns).all()


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="budget"):
        tune(evaluate, SPACE, COSTS, 2.0)
    with pytest.raises(ValueError, match="costs"):
        tune(evaluate, SPACE, (1.0, 0.5), 9.0)
    with pytest.raises(ValueError, match="rate"):
        tune(evaluate, {"rate": Range(0.0, 1.0, log=True)}, COSTS, 9.0)
    with pytest.raises(ValueError, match="method"):
        tune(evaluate, SPACE, COSTS, 9.0, method="grid")
