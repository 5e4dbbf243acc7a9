"""Goals in a maze with known distances, and on a line: success and lengths, flat and hierarchical."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Tiny

from rlx import runtime
from rlx.algos import hiql
from rlx.envs import GoalGrid, grid
from rlx.runtime.evaluation import evaluate
from rlx.space import GOAL, Box, Dict, Discrete
from rlx.types import Transition

ENV = GoalGrid(grid.u_maze(5))
SMALL = dict(batch_size=128, hidden=(64,), learning_rate=3e-3, tau=0.02, discount=0.9, expectile=0.9)
ARMS: dict[str, dict[str, Any]] = {
    "flat": dict(subgoal_steps=0, low_temperature=10.0),
    "hierarchical, with options": dict(subgoal_steps=3, option_steps=2, low_temperature=10.0),
}
KEY = jax.random.key(0)


class Line(Tiny):
    """Observes a place and a goal on a line."""

    def observation_space(self, params: Any) -> Dict:
        place = Box(-1.0, 1.0, (1,))
        return Dict({"observation": place, GOAL: place})


@functools.cache
def trained(name: str) -> Any:
    algorithm = hiql.make(hiql.Config(**{**SMALL, **ARMS[name]}), ENV)

    @jax.jit
    def run(key):
        log = ENV.log(key, 100, 50, noise=0.6)
        state, metrics = runtime.train(algorithm, key, 1500, log)
        return metrics, evaluate(algorithm.policy(state), ENV, key, 200)

    return run(KEY)


@pytest.mark.parametrize("name", ARMS)
def test_goals_are_reached_about_as_fast_as_can_be(name: str):
    metrics, played = trained(name)
    assert float(played.returns.mean()) > 0.9  # the log's own policy, without its noise, reaches all
    best = ENV.distances()[np.ix_(ENV.free, ENV.free)]
    assert float(played.lengths.mean()) < 1.4 * best.sum() / (best > 0).sum()
    assert ("loss/high_value" in metrics) == (name != "flat")
    assert ("loss/high" in metrics) == (name != "flat")


def test_a_box_moves_towards_its_goal():
    """Steps of up to 0.3 either way, at random; episodes of ten that end where they are cut."""
    env = Line(Box(-1.0, 1.0, (1,)))
    algorithm = hiql.make(hiql.Config(batch_size=128, hidden=(32,), learning_rate=3e-3, subgoal_steps=0), env)

    def log(key):
        start_key, action_key = jax.random.split(key)
        action = jax.random.uniform(action_key, (20, 100, 1), minval=-1)
        first = jax.random.uniform(start_key, (1, 100, 1), minval=-1)

        def step(place, action):
            there = jnp.clip(place + 0.3 * action, -1, 1)
            return there, (place, there)

        _, (here, there) = jax.lax.scan(step, first[0], action)
        cut = jnp.zeros((20, 100), bool).at[9].set(True).at[19].set(True)
        see = lambda x: {"observation": x, GOAL: jnp.zeros_like(x)}  # noqa: E731
        return Transition(see(here), action, jnp.zeros(cut.shape), jnp.zeros(cut.shape), ~cut & cut, cut, see(there))

    @jax.jit
    def run(key):
        state, _ = runtime.train(algorithm, key, 600, log(key))
        place, goal = (x.ravel()[:, None] for x in jnp.meshgrid(jnp.linspace(-0.8, 0.8, 9), jnp.linspace(-0.8, 0.8, 9)))
        return (
            place,
            goal,
            algorithm.policy(state).act(key, {"observation": place, GOAL: goal}, (), None, greedy=True)[0],
        )

    place, goal, action = run(KEY)
    far = np.abs(goal - place) > 0.3
    assert np.mean(np.sign(action[far]) == np.sign((goal - place)[far])) > 0.9


def test_refusals():
    algorithm = hiql.make(hiql.Config(), ENV)
    with pytest.raises(ValueError, match="data must be a log"):
        algorithm.update(())
    with pytest.raises(ValueError, match="the observation space must be a Dict of 'observation' and 'goal'"):
        hiql.make(hiql.Config(), Tiny(Discrete(2)))
    empty = jax.tree.map(lambda x: x[:0], ENV.log(KEY, 1, 2))
    with pytest.raises(ValueError, match="at least one step"):
        algorithm.update(algorithm.init(KEY), empty)
    for field, value in (("expectile", 0.0), ("low_temperature", -1.0), ("option_steps", 0), ("subgoal_steps", -1)):
        with pytest.raises(ValueError, match=field):
            hiql.Config(**{field: value})
    with pytest.raises(ValueError, match=r"current_goals \+ future_goals \+ random_goals must be 1"):
        hiql.Config(random_goals=0.5)
