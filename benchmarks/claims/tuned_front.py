"""Hyper-parameters tuned on the hypervolume of fronts beat the defaults on fresh seeds, by less than the search says.

Every judging seed is a search of its own: all configurations on search seeds that no other search has, one sweep of one
program. What each search chose is then measured on seeds that no search has seen. The paper tunes envelope Q-learning
on minecart; here six scalarised Q-learners, with an archive of what they pass, look for the front of a smaller task.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.algos import mo_q_learning, morld
from rlx.envs import make as make_env
from rlx.runtime import sweep
from rlx.types import Algorithm

ENV = "rlx/deep-sea-treasure-convex"
POPULATION = morld.Config(num_updates=16, episodes=1, greedy=True, discount=0.99, capacity=16, transfer=False)
DEFAULT = mo_q_learning.Config(num_envs=1, num_steps=16, epsilon_steps=1_000)
GRID = {
    "learning_rate": (0.03, 0.1, 0.3, 0.6, 1.0),
    "epsilon_end": (0.1, 0.5),
    "initial_value": (0.0, 10.0),
}  # 20 configurations; the first values but for the learning rate are the defaults
SEARCH_SEEDS = 3  # of a search; 3: the paper's code
FRESH_SEEDS = range(10_000, 10_010)


def make(config: mo_q_learning.Config) -> Algorithm:
    env, params = make_env(ENV)
    return morld.make(POPULATION, env, params, member=lambda w: mo_q_learning.make(config, env, params, weighting=w))


def scores(seeds: Sequence[int], updates: int) -> np.ndarray:
    """Hypervolume after training, `[configurations, seeds]`, as a share of the exact one."""
    env, params = make_env(ENV)
    steps = make(DEFAULT).steps_per_update
    table = sweep(
        make,
        DEFAULT,
        over=GRID,
        seeds=list(seeds),
        total_steps=updates * steps,
        log_every=updates * steps,
        env=env,
        env_params=params,
        eval_episodes=1,
        progress=False,
    ).table
    last = table.where(step=updates * steps)["hypervolume"]
    return np.asarray(last).reshape(-1, len(seeds)) / exact()


def exact() -> float:
    import moocore

    env, _ = make_env(ENV)
    return moocore.hypervolume(env.pareto_front(0.99), ref=np.array(env.reference_point), maximise=True)


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    own = [SEARCH_SEEDS * seed + i for seed in seeds for i in range(SEARCH_SEEDS)]
    searched = scores(own, updates).reshape(-1, len(seeds), SEARCH_SEEDS).mean(2)
    fresh = scores(FRESH_SEEDS, updates).mean(1)
    chosen = searched.argmax(0)
    rates = list(GRID["learning_rate"])
    default = rates.index(DEFAULT.learning_rate) * len(fresh) // len(rates)
    return {
        "tuned": list(map(float, fresh[chosen])),
        "default": [float(fresh[default])] * len(seeds),
        "search": list(map(float, searched[chosen, range(len(seeds))])),
        "best of all on the fresh seeds": [float(fresh.max())] * len(seeds),
    }


CLAIM = Claim(
    name="tuned_front",
    title="Hyperparameter Optimization for Multi-Objective Reinforcement Learning",
    year=2023,
    cards=(42,),
    environment=f"{ENV}, gamma .99",
    baseline="default settings of scalarised Q-learning",
    method=f"the best of 20 settings by its mean over {SEARCH_SEEDS} seeds, on {len(FRESH_SEEDS)} fresh ones",
    metric="hypervolume of the front found over that of the exact one",
    conditions=(
        Condition("tuned over default settings, on fresh seeds", "tuned", "default", margin=0.01),
        Condition("the score in the search overstates that on fresh seeds", "search", "tuned", paired=True),
    ),
    settings={
        "default": dataclasses.asdict(DEFAULT),
        "population": dataclasses.asdict(POPULATION),
        "grid": GRID,
        "fresh seeds": list(FRESH_SEEDS),
    },
    updates=12,
    steps_per_update=6 * 16 * 16,
    run=run,
)
