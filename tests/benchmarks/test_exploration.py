"""The comparison of bonuses: what is counted and said, and that stored results are of its settings."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.exploration import report
from benchmarks.exploration.__main__ import FOLDER
from benchmarks.exploration.comparison import BONUSES, CODE, SEEDS, TASKS, UPDATES, Coded, run
from benchmarks.stored import is_stored, store
from rlx.envs import make as make_env


def test_seeds_that_did_not_solve_count_with_the_budget():
    solved = {"steps": [100_000] * 10, "seconds": 1.0}
    assert report.cell(solved) == "100 [100, 100]"
    assert report.cell({"steps": [None] * 10, "seconds": 1.0}) == "none"
    half = report.cell({"steps": [100_000] * 5 + [None] * 5, "seconds": 1.0})
    assert half.startswith(f"{(100_000 + report.BUDGET) / 2e3:.0f} [")
    assert half.endswith("(5 of 10)")


def test_overhead_is_of_the_same_round():
    taken = {"none": [1.0, 2.0, 4.0], "rnd": [1.5, 3.0, 5.0]}
    assert report.added(taken, "rnd") == "50 % (25 to 50)"


def test_codes_tell_cells_apart_and_end_with_zeros():
    env, params = make_env("DeepSea-bsuite", size=5)
    coded = Coded(env)
    key = jax.random.key(0)
    first, state = coded.reset_env(key, params)
    seen = [first]
    for _ in range(5):
        obs, state, *_ = coded.step_env(key, state, jnp.int32(0), params)
        seen.append(obs)
    np.testing.assert_array_equal(np.abs(seen[:5]), 1.0)
    np.testing.assert_array_equal(seen[5], 0.0)
    overlap = np.stack(seen[:5]) @ np.stack(seen[:5]).T / CODE
    assert np.abs(overlap - np.eye(5)).max() < 0.5  # 5.6 deviations of a sum of 128 signs


def test_a_stored_result_is_of_its_settings(tmp_path):
    file = tmp_path / "results" / "a.json"
    assert not is_stored(file, {"seeds": (1, 2)})
    store(file, {"seeds": (1, 2)}, {"steps": [None]})
    assert is_stored(file, {"seeds": (1, 2)})
    assert not is_stored(file, {"seeds": (1, 3)})
    assert json.loads(file.read_text())["steps"] == [None]


@pytest.mark.slow
@pytest.mark.parametrize("bonus", BONUSES)
def test_every_bonus_runs(bonus):
    assert len(run(bonus, "DeepSea 10", updates=1, seeds=(0, 1)).steps) == 2


def test_stored_results_are_of_these_tasks():
    for task in TASKS:
        for bonus in BONUSES:
            file = FOLDER / "results" / f"{report.file_name(bonus, task)}.json"
            if file.exists():
                stored = json.loads(file.read_text())
                assert stored["said"]["task"] == json.loads(json.dumps(TASKS[task]))
                assert stored["said"]["updates"] == UPDATES
                assert len(stored["steps"]) == len(SEEDS)
