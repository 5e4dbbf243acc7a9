"""What is read off a frontier, and that no run has more gold than its divergence allows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.alignment.__main__ import FOLDER
from benchmarks.alignment.frontier import LOSSES, MODES, Settings, optimum, run
from benchmarks.alignment.report import cell, read_off


def test_frontiers_are_read_between_runs():
    result = {"divergence": [[2.0, 0.5], [1.0, np.nan]], "gold": [[4.0, 3.0], [3.0, 9.0]]}
    reference = {"gold": 1.0}
    np.testing.assert_allclose(read_off(result, reference, "gold", 0.5), [2.0, 3.0])
    np.testing.assert_allclose(read_off(result, reference, "gold", 1.5), [3.5, np.nan])
    np.testing.assert_allclose(read_off(result, reference, "gold", 0.25), [np.nan, 2.0])  # a chord too long
    assert cell(np.array([1.0, 1.0, np.nan])) == "1.000 [1.000, 1.000] (2 seeds)"
    assert cell(np.array([1.0, np.nan])) == "no run near"


@pytest.mark.slow
def test_no_run_beats_the_optimum_at_its_divergence():
    """Of those that are stored, and of two that are made here."""
    settings = Settings()
    best = optimum(settings, np.geomspace(0.005, 50.0, 400))
    order = np.argsort(best["divergence"])
    small = [run("ipo", mode, Settings(updates=5), (0,)) for mode in MODES]
    files = sorted((FOLDER / "results").glob("*.json"))
    for result in [*small, *(json.loads(file.read_text()) for file in files)]:
        divergence, gold = np.ravel(result["divergence"]), np.ravel(result["gold"])
        bound = np.interp(divergence, best["divergence"][order], best["gold"][order])
        assert (gold <= bound + 2e-3).all()


@pytest.mark.parametrize("mode", MODES)
def test_the_stored_results_are_of_the_settings(mode):
    for loss in LOSSES:
        file = FOLDER / "results" / f"{loss}-{mode}.json"
        if file.exists():
            assert json.loads(file.read_text())["said"]["settings"] == vars(Settings())
