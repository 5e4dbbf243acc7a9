"""A ranked list of factors is enough to swing a pendulum up, whatever units the factors have.

Nobody gives weights: of two steps the one nearer to upright is preferred, among those about as near (0.3 deviations of
all steps) the slower one, and then the one with less torque. A reward model learns these preferences from pairs of the
last 20 batches and is the reward, standardised over the batch. The original trains its critic on that model's output
itself; here it is a reward like any other.

The true reward weighs the three factors, tuned by the task's authors. A designer whose velocities come in units of a
tenth of that has squares a hundred times too large in the weighted sum. The ranked list does not change at all then,
which tests of `rlx.reward.hierarchical_preference` show exactly. The list in reversed order is the control.

On seeds 0 to 3 shares of 0.1, 0.3 and 1 of a deviation, pairs of one batch and of 20, and 20 and 60 steps of the model
for each batch were tried, for up to 40 updates. Shares of 0.1 and 0.3 do about as well (mean returns of -220 to -380,
where the true reward has -190 on two of the seeds), 1 is worse; returns of single seeds go up and down with all of
them, and more updates do not help.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import Parameters, network, score
from rlx.algos import ppo
from rlx.envs import make as make_env
from rlx.pareto import linear
from rlx.reward import extrinsic, hierarchical_preference, preference_loss, stack
from rlx.runtime import sweep
from rlx.types import Algorithm, Array, Channel, EnvSpec, PyTree, RewardSource, Transition

ENV = "Pendulum-v1"
CONFIG = ppo.Config(
    num_envs=16,
    num_steps=128,
    num_epochs=10,
    num_minibatches=16,
    learning_rate=1e-3,
    discount=0.9,
    entropy_coefficient=0.0,
    normalise_reward=True,
)
ORDER = (0, 1, 2)  # angle, velocity, torque
SHARE = 0.3  # of a factor's deviation, that decides
SIZES = (4, 32, 32, 1)
STEPS, PAIRS, LEARNING_RATE = 20, 256, 1e-3  # of the reward model, for each batch
BATCH, KEPT = CONFIG.num_envs * CONFIG.num_steps, 20  # steps of a batch, and batches that pairs are drawn from
TRUE = (1.0, 0.1, 0.001)  # weights of the task's reward
UNITS = (1.0, 100.0, 1.0)  # by which squares are too large in the weighted sum
WINDOW = 5  # updates: returns are means over the last ones


def factors(batch: Transition) -> Array:
    """Squares of angle, velocity and torque, larger ones better: `[N, 3]`."""
    obs = batch.obs.reshape(-1, 3)
    torque = batch.action.reshape(-1)
    return -jnp.square(jnp.stack([jnp.arctan2(obs[:, 1], obs[:, 0]), obs[:, 2], torque], -1))


def features(batch: Transition) -> Array:
    obs = batch.obs.reshape(-1, 3) / jnp.array([1.0, 1.0, 8.0])
    return jnp.concatenate([obs, batch.action.reshape(-1, 1) / 2.0], -1)


def weighted_sum(weights: Sequence[float]) -> RewardSource:
    """The reward of a designer: factors times weights, in the channel "made"."""

    def compute(state: PyTree, batch: Transition, key: Array) -> tuple[Array, PyTree]:
        return (factors(batch) @ jnp.array(weights)).reshape(*batch.reward.shape, 1), state

    return RewardSource(lambda key, spec: (), compute, lambda state, batch, key: (state, {}), (Channel("made"),))


def ranked(order: Sequence[int]) -> RewardSource:
    """The reward model of the ranked list, in the channel "made"."""
    optimiser = optax.adam(LEARNING_RATE)

    def init(key: Array, spec: EnvSpec) -> PyTree:
        parameters = network(key, SIZES)
        return (parameters, optimiser.init(parameters)), (jnp.zeros((KEPT * BATCH, 7)), jnp.zeros((), jnp.int32))

    def compute(state: PyTree, batch: Transition, key: Array) -> tuple[Array, PyTree]:
        reward = score(state[0][0], features(batch))
        return ((reward - reward.mean()) / (reward.std() + 1e-6)).reshape(*batch.reward.shape, 1), state

    def update(state: PyTree, batch: Transition, key: Array) -> tuple[PyTree, dict[str, Any]]:
        learned, (rows, count) = state
        new = jnp.concatenate([features(batch), factors(batch)[:, jnp.array(order)]], -1)
        rows = jax.lax.dynamic_update_slice_in_dim(rows, new, count % KEPT * BATCH, 0)
        number = jnp.minimum(count + 1, KEPT) * BATCH
        margin = SHARE * rows[:, 4:].std(0, where=jnp.arange(len(rows))[:, None] < number)

        def step(state: PyTree, key: Array) -> tuple[PyTree, None]:
            pair = rows[jax.random.randint(key, (PAIRS, 2), 0, number)]
            target, weight, _ = hierarchical_preference(pair[..., 4:], margin)

            def loss(parameters: Parameters) -> Array:
                scores = score(parameters, pair[..., :4])
                return preference_loss(scores[:, 0] - scores[:, 1], target[:, 0], weight=weight).mean()

            parameters, optimiser_state = state
            changes, optimiser_state = optimiser.update(jax.grad(loss)(parameters), optimiser_state, parameters)
            return (optax.apply_updates(parameters, changes), optimiser_state), None

        return (jax.lax.scan(step, learned, jax.random.split(key, STEPS))[0], (rows, count + 1)), {}

    return RewardSource(init, compute, update, (Channel("made"),))


def learner(config: ppo.Config, made: RewardSource) -> Algorithm:
    """PPO on the reward that was made; the true one is only counted."""
    env, params = make_env(ENV)
    return ppo.make(config, env, params, rewards=stack(extrinsic(), made), weighting=linear((0.0, 1.0)))


ARMS = {
    "true reward": weighted_sum(TRUE),
    "ranked factors": ranked(ORDER),
    "ranked in reverse": ranked(ORDER[::-1]),
    "weighted sum in other units": weighted_sum([weight * unit for weight, unit in zip(TRUE, UNITS, strict=True)]),
}


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    steps = CONFIG.num_envs * CONFIG.num_steps
    total = max(updates, 2) * steps
    samples: dict[str, list[float]] = {}
    for name, made in ARMS.items():
        table = sweep(
            functools.partial(learner, made=made),
            CONFIG,
            total_steps=total,
            seeds=seeds,
            batch="map",
            log_every=steps,
            progress=False,
        ).table
        curves = [table.where(seed=seed)["episode_return/reward"] for seed in seeds]
        samples[name] = [float(np.nanmean(curve[-WINDOW:])) for curve in curves]
    pairs = zip(samples["ranked factors"], samples["true reward"], strict=True)
    samples["lead over the true reward, as a share"] = [(a - b) / abs(b) for a, b in pairs]
    return samples


CLAIM = Claim(
    name="ranked_factors",
    title="Deep Reinforcement Learning from Hierarchical Weak Preference Feedback",
    year=2023,
    cards=(216,),
    environment=f"{ENV} with three factors: angle, velocity, torque",
    baseline="PPO on the true reward; on the weighted sum of factors with velocities in other units",
    method="PPO on a reward model of preferences by the ranked factors",
    metric=f"true return of episodes in the last {WINDOW} updates",
    conditions=(
        Condition("within a tenth of the true reward", "lead over the true reward, as a share", -0.1),
        Condition(
            "above the weighted sum in other units", "ranked factors", "weighted sum in other units", 200.0, paired=True
        ),
        Condition("above the reversed list", "ranked factors", "ranked in reverse", 200.0, paired=True),
    ),
    settings={
        "config": dataclasses.asdict(CONFIG),
        "share_of_deviation": SHARE,
        "network": SIZES,
        "batches_kept": KEPT,
        "steps": STEPS,
        "pairs": PAIRS,
        "learning_rate": LEARNING_RATE,
        "units": UNITS,
    },
    updates=30,
    steps_per_update=CONFIG.num_envs * CONFIG.num_steps,
    run=run,
)
