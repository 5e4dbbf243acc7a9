"""A novelty bonus solves a maze that pays only at its end, where PPO alone finds nothing.

Differs from the paper, which drives a vehicle with continuous actions and adds the bonus to the task's reward: here it
is a grid, and the bonus has a critic's head of its own, as in "Exploration by Random Network Distillation" (2018). The
time limit truncates: values are bootstrapped there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.algos import ppo
from rlx.envs import make as make_env
from rlx.exploration import rnd
from rlx.pareto import linear
from rlx.reward import extrinsic, stack
from rlx.runtime import sweep
from rlx.types import Algorithm

ENV = "rlx/keydoor-15"
CONFIG = ppo.Config(
    num_envs=32,
    num_steps=128,
    num_epochs=4,
    num_minibatches=4,
    learning_rate=1e-3,
    clip=0.1,
    value_clip=None,
    entropy_coefficient=0.01,
)
WEIGHTS = (2.0, 1.0)  # of the task's reward and of the bonus
PREDICTOR = {"learning_rate": 1e-3, "num_epochs": 1, "num_minibatches": 4, "discount": 0.99}
WINDOW = 10  # updates: success is the mean over the last ones


def with_bonus(config: ppo.Config) -> Algorithm:
    env, params = make_env(ENV)
    rewards = stack(extrinsic(), rnd(**PREDICTOR))
    return ppo.make(config, env, params, rewards=rewards, weighting=linear(WEIGHTS))


def alone(config: ppo.Config) -> Algorithm:
    return ppo.make(config, *make_env(ENV))


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    samples = {}
    steps = CONFIG.num_envs * CONFIG.num_steps
    for name, make in (("ppo", alone), ("rnd", with_bonus)):
        table = sweep(
            make, CONFIG, total_steps=updates * steps, seeds=seeds, batch="map", log_every=steps, progress=False
        ).table
        column = "episode_return/reward" if name == "rnd" else "episode_return"
        curves = [np.nan_to_num(table.where(seed=seed)[column]) for seed in seeds]
        rates = [curve[-WINDOW:].mean() for curve in curves]
        samples[name] = [float(rate > 0.5) for rate in rates]
        samples[f"{name}: success rate"] = [float(rate) for rate in rates]
        first = [int(np.argmax(curve > 0.5)) + 1 if (curve > 0.5).any() else np.inf for curve in curves]
        samples[f"{name}: first update with success rate above 0.5"] = first
    return samples


CLAIM = Claim(
    name="rnd_keydoor",
    title="Random Network Distillation Based Deep Reinforcement Learning for AGV Path Planning",
    year=2024,
    cards=(85,),
    environment=f"{ENV}: key, door and goal, at least 42 steps in a certain order, 120 allowed",
    baseline="PPO",
    method="PPO with random network distillation as a second, non-episodic channel",
    metric=f"1 if more than half of the episodes in the last {WINDOW} updates reach the goal, else 0",
    conditions=(Condition("share of seeds that solve the maze, over PPO's", "rnd", "ppo", margin=0.5),),
    settings={"config": dataclasses.asdict(CONFIG), "weights": WEIGHTS, "predictor": PREDICTOR},
    updates=160,
    steps_per_update=CONFIG.num_envs * CONFIG.num_steps,
    run=run,
)
