"""Goals in a maze whose distances are known: success, lengths, and values, of the flat and the hierarchical policy."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import pytest

from rlx import runtime
from rlx.algos import hiql
from rlx.envs import GoalGrid, grid
from rlx.runtime.evaluation import evaluate

ENV = GoalGrid(grid.u_maze(5))
SMALL = dict(batch_size=128, hidden=(32,), learning_rate=3e-3, tau=0.02, discount=0.9, expectile=0.9)
ARMS: dict[str, dict[str, Any]] = {
    "flat": dict(subgoal_steps=0, low_temperature=10.0),
    "hierarchical": dict(subgoal_steps=3, low_temperature=10.0),
    "options": dict(subgoal_steps=3, option_steps=2, low_temperature=10.0),
}
KEY = jax.random.key(0)


@functools.cache
def trained(name: str) -> Any:
    algorithm = hiql.make(hiql.Config(**{**SMALL, **ARMS[name]}), ENV)

    @jax.jit
    def run(key):
        log = ENV.log(key, 100, 50, noise=0.6)
        state, metrics = runtime.train(algorithm, key, 800, log)
        return state, metrics, evaluate(algorithm.policy(state), ENV, key, 200)

    return run(KEY)


@pytest.mark.parametrize("name", ARMS)
def test_goals_are_reached_about_as_fast_as_can_be(name: str):
    _, metrics, played = trained(name)
    assert float(played.returns.mean()) > 0.95
    best = ENV.distances()[np.ix_(ENV.free, ENV.free)]
    assert float(played.lengths.mean()) < 1.3 * best.sum() / (best > 0).sum()
    assert ("loss/high_value" in metrics) == (name == "options")
    assert ("loss/high" in metrics) == (name != "flat")
