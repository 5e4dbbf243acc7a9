"""A Lagrange multiplier learned from measured costs meets a limit for which a fixed penalty must be known beforehand.

The problems are random constrained processes whose every step ends the episode with probability `1 - GAMMA`. Rewards
are not discounted, so the return of an episode has exactly the expectation that the linear program's discounted
occupancies give, and its optimum is the reference. Multiplier and policy swing around the solution, so what counts is
the mean over all episodes of the second half of training: the policy drawn at random from those of that half.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.algos import ppo
from rlx.envs.tabular import TabularMDP, TabularParams, constrained, constrained_optimum, cost_range
from rlx.pareto import lagrangian, linear
from rlx.runtime import train
from rlx.types import Weighting

GAMMA = 0.9
CONFIG = ppo.Config(
    num_envs=16,
    num_steps=128,
    learning_rate=3e-3,
    discount=1.0,
    value_clip=None,
    entropy_coefficient=0.01,
    hidden=(32,),
)
MULTIPLIER_RATE = 0.2
PENALTIES = (0.0, 0.5, 1.0, 2.0)
BEST = "penalty 1"  # of these, with the lowest mean error on the tuning seeds
CHANNELS = ("reward", "cost")


class Problem(NamedTuple):
    env: TabularMDP
    limit: float  # on the expected cost of an episode
    optimum: float  # the highest expected return within the limit
    multiplier: float  # of the linear program


def problem(seed: int) -> Problem:
    """A random process and a limit half-way between the lowest cost and that of the best unconstrained policy."""
    discounted = constrained(jax.random.key(seed), gamma=GAMMA)
    lowest, unconstrained = cost_range(discounted)
    limit = (lowest + unconstrained) / 2
    solution = constrained_optimum(discounted, limit)
    P, R, _, rho0 = discounted.arrays()
    states, actions = P.shape[:2]
    ending = np.zeros((states + 1, actions, states + 1))
    ending[:-1, :, :-1], ending[:-1, :, -1] = GAMMA * P, 1 - GAMMA
    env = TabularMDP(
        ending,
        np.concatenate([R, np.zeros((1, actions, 2))]),
        1.0,
        np.append(rho0, 0.0),
        np.arange(states + 1) == states,
        max_steps=1000,  # an episode is that long with probability 2e-46
        reward_channels=CHANNELS,
    )
    return Problem(env, limit, solution.value, solution.multiplier)


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    problems = [problem(seed) for seed in seeds]
    env = problems[0].env
    arrays = jax.tree.map(lambda *x: jnp.stack(x), *(p.env.default_params for p in problems))
    limits = jnp.array([p.limit for p in problems])

    def returns(weighting: Weighting, params: TabularParams, seed: jax.Array) -> jax.Array:
        """Mean reward and cost of the episodes of the second half."""
        _, metrics = train(ppo.make(CONFIG, env, params, weighting=weighting), jax.random.key(seed), updates)
        mean = jax.tree.map(lambda x: x[updates // 2 :].sum(0), metrics["episode_return"])
        return mean.total / mean.count

    def learned(limit: jax.Array, params: TabularParams, seed: jax.Array) -> jax.Array:
        return returns(lagrangian({1: limit}, learning_rate=MULTIPLIER_RATE), params, seed)

    def fixed(penalty: jax.Array, params: TabularParams, seed: jax.Array) -> jax.Array:
        return returns(linear(jnp.stack([jnp.ones(()), -penalty]) / (1.0 + penalty)), params, seed)

    numbers = np.asarray(seeds, np.uint32)
    found = {"lagrangian": jax.jit(jax.vmap(learned))(limits, arrays, numbers)}
    penalised = jax.jit(jax.vmap(fixed))
    multipliers = np.array([p.multiplier for p in problems])
    penalties = {f"penalty {x:g}": np.full(len(problems), x) for x in PENALTIES} | {
        "penalty of the optimum": multipliers
    }
    found |= {name: penalised(penalty, arrays, numbers) for name, penalty in penalties.items()}

    samples = {"multiplier of the optimum": multipliers}
    for name, outcome in found.items():
        reward, cost = np.asarray(outcome, np.float64).T
        samples[f"{name}: reward"] = reward / [p.optimum for p in problems]
        samples[f"{name}: cost"] = cost / [p.limit for p in problems]
        samples[f"{name}: excess"] = np.maximum(samples[f"{name}: cost"] - 1, 0)
        samples[name] = np.maximum(1 - samples[f"{name}: reward"], 0) + samples[f"{name}: excess"]
    return {name: values.tolist() for name, values in samples.items()}


CLAIM = Claim(
    name="lagrange_cost",
    title="Reward Constrained Policy Optimization",
    year=2018,
    cards=(),
    environment="random constrained processes of 10 states and 3 actions, another one for each seed",
    baseline="PPO on reward - penalty * cost, for a fixed penalty",
    method="PPO with a Lagrange multiplier",
    metric="error: what the reward lacks of the optimum, in parts of it, plus what the cost exceeds the limit by, in"
    " parts of it; mean over the episodes of the second half of training",
    conditions=(
        Condition("error, below that of the best fixed penalty", "lagrangian", BEST, 0.01, direction=-1, paired=True),
        Condition("cost in excess of the limit, below 2%", "lagrangian: excess", 0.02, direction=-1),
        Condition("reward, above 95% of the optimum", "lagrangian: reward", 0.95),
    ),
    settings={
        "config": dataclasses.asdict(CONFIG),
        "multiplier_learning_rate": MULTIPLIER_RATE,
        "penalties": PENALTIES,
        "gamma": GAMMA,
    },
    updates=150,
    steps_per_update=CONFIG.num_envs * CONFIG.num_steps,
    run=run,
    seeds=range(1000, 1020),
)
