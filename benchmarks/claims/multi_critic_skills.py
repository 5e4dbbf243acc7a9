"""Skills of pushing are found when each of three rewards has a critic, and its advantages are normalised by themselves.

A point learns to push a puck in eight ways. One reward is for being near it, one for a skill that the puck's place
tells (DIAYN, whose discriminator sees the puck alone), one against unsafe steps: to push at full speed, to touch
the border, or to walk into what does not give way. The multi-critic agent normalises the advantages of each and adds
them. One baseline adds the rewards, and has one critic; the other has the reward of skills alone.

Differs from the paper, which has a robot's arm, and rewards whose form is not known here: a puck and a point, and
rewards as its method card proposes.

Tuned on seeds 0 and 1, in two rounds. After 90 updates, with pushes unsafe from 0.08 per step, nearly all that an agent
does at first is unsafe: where this counts as much as the other rewards it learned to leave the puck alone (1 and 7
cells), while of the sum it is a small part (19 and 12). With 0.12 and 250 updates there were 23 and 22 cells of several
critics, 32 and 38 of the sum, whose steps are unsafe ten times as often, and 5 and 6 of the skill alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.algos import ppo
from rlx.envs import make as make_env
from rlx.envs.wrappers import Skill
from rlx.exploration import diayn, grid_cell
from rlx.pareto import linear
from rlx.reward import stack
from rlx.runtime import train
from rlx.space import SKILL
from rlx.types import Algorithm, Array, Channel, PyTree, RewardSource, Transition

SKILLS = 8
POINT, PARAMS = make_env("rlx/point-puck")
ENV = Skill(POINT, SKILLS)
CONFIG = ppo.Config(
    num_envs=64,
    num_steps=50,
    num_epochs=4,
    num_minibatches=4,
    learning_rate=1e-3,
    entropy_coefficient=0.0,
    value_clip=None,
    hidden=(32, 32),
)
NEARNESS = 2.0  # how steeply the reward for being near falls off
LIMIT = 0.12  # the fastest, per step, at which to push is safe
ROLLOUTS, CELLS = 256, 10  # to judge on; cells along either side
MOVED = 0.1  # how far from its start the puck has to be


def places(obs: PyTree) -> tuple[Array, Array]:
    """Of the point and of the puck, each `[..., 2]`."""
    return obs["observation"][..., :2], obs["observation"][..., 2:]


def unsafe(obs: PyTree, next_obs: PyTree) -> Array:
    (before, puck_before), (after, puck_after) = places(obs), places(next_obs)
    step = jnp.linalg.norm(after - before, axis=-1)
    fast = (step > LIMIT) & jnp.any(puck_after != puck_before, axis=-1)
    return fast | (step == 0) | jnp.any(jnp.abs(after) == 1, axis=-1)


def plain(name: str, reward: Any) -> RewardSource:
    """`reward(batch) -> [T, B]` as a source without a state."""
    return RewardSource(
        lambda key, spec: (),
        lambda state, batch, key: (reward(batch)[..., None], state),
        lambda state, batch, key: (state, {}),
        (Channel(name),),
    )


def near(batch: Transition) -> Array:
    point, puck = places(batch.next_obs)
    return 1 - jnp.tanh(NEARNESS * jnp.linalg.norm(point - puck, axis=-1))


def skills() -> RewardSource:
    return diayn(see=lambda vector: vector[..., 2:])


def three() -> RewardSource:
    safety = plain("safety", lambda batch: -unsafe(batch.obs, batch.next_obs).astype(jnp.float32))
    return stack(plain("reach", near), skills(), safety)


def added(source: RewardSource) -> RewardSource:
    """The sum of its channels as one."""

    def compute(state: PyTree, batch: Transition, key: Array) -> tuple[Array, PyTree]:
        rewards, state = source.compute(state, batch, key)
        return rewards.sum(-1, keepdims=True), state

    return RewardSource(source.init, compute, source.update, (Channel("sum"),))


def agents(config: ppo.Config) -> dict[str, Algorithm]:
    apart = dataclasses.replace(config, normalise_channels=True)
    return {
        "multi-critic": ppo.make(apart, ENV, PARAMS, rewards=three(), weighting=linear((1.0, 1.0, 1.0))),
        "summed": ppo.make(config, ENV, PARAMS, rewards=added(three())),
        "skill only": ppo.make(config, ENV, PARAMS, rewards=skills()),
    }


def measure(agent: Algorithm, state: PyTree, key: Array) -> dict[str, Array]:
    """Of the policy as it acts in training, each skill as often as the others."""
    reset_key, act_key = jax.random.split(key)
    policy, skill = agent.policy(state), jax.nn.one_hot(jnp.arange(ROLLOUTS) % SKILLS, SKILLS)
    _, first = jax.vmap(POINT.reset_env, (0, None))(jax.random.split(reset_key, ROLLOUTS), PARAMS)

    def observe(state: Any) -> PyTree:
        return {"observation": jnp.concatenate([state.position, state.puck], axis=-1), SKILL: skill}

    def step(state: Any, key: Array) -> tuple[Any, Array]:
        action, _ = policy.act(key, observe(state), policy.init(ROLLOUTS), jnp.zeros(ROLLOUTS, bool))
        after = jax.vmap(POINT.step_env, (None, 0, 0, None))(key, state, action, PARAMS)[1]
        return after, unsafe(observe(state), observe(after))

    last, danger = jax.lax.scan(step, first, jax.random.split(act_key, int(PARAMS.max_steps_in_episode)))
    cell = grid_cell(last.puck, -1.0, 1.0, (CELLS, CELLS))
    moved = jnp.linalg.norm(last.puck - first.puck, axis=-1) > MOVED
    return {
        "cells": jnp.zeros(CELLS**2).at[cell].set(1.0).sum(),
        "moved": moved.mean(),
        "unsafe": danger.mean(),
    }


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    samples = {}
    for name, agent in agents(CONFIG).items():

        def trial(key: Array, agent: Algorithm = agent) -> dict[str, Array]:
            train_key, judge_key = jax.random.split(key)
            state, _ = train(agent, train_key, updates)
            return measure(agent, state, judge_key)

        keys = jnp.stack([jax.random.key(seed) for seed in seeds])
        found = jax.jit(lambda keys, trial=trial: jax.lax.map(trial, keys))(keys)
        samples |= {f"{name}: {measured}": np.asarray(x, np.float64).tolist() for measured, x in found.items()}
    return samples


CLAIM = Claim(
    name="multi_critic_skills",
    title="SLIM: Skill Learning with Multiple Critics",
    year=2024,
    cards=(136,),
    environment=f"rlx/point-puck: a point that pushes a puck on a square, 50 steps; {SKILLS} skills",
    baseline="PPO with one critic on the sum of all rewards, and on the reward of skills alone",
    method="PPO with a critic for each reward, whose advantages are normalised before they are added",
    metric=f"{CELLS} x {CELLS} cells in which {ROLLOUTS} episodes leave the puck, share that move it by {MOVED}, share"
    " of unsafe steps",
    conditions=(
        Condition("cells, over the skill alone", "multi-critic: cells", "skill only: cells"),
        Condition("cells, over summed rewards", "multi-critic: cells", "summed: cells"),
        Condition("share that move the puck, over the skill alone", "multi-critic: moved", "skill only: moved", 0.4),
        Condition("share that move the puck, over summed rewards", "multi-critic: moved", "summed: moved"),
        Condition("unsafe steps, less than of summed rewards", "multi-critic: unsafe", "summed: unsafe", 0.0, -1),
    ),
    settings={"config": dataclasses.asdict(CONFIG), "nearness": NEARNESS, "limit": LIMIT, "skills": SKILLS},
    updates=250,
    steps_per_update=CONFIG.num_envs * CONFIG.num_steps,
    run=run,
)
