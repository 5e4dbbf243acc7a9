"""C-MORL: constrained extension from the most isolated policies fills the front where a sweep of weighted sums cannot.

Both sides take equal numbers of environment steps, offer every policy on the way to an archive of equal size, and are
measured by fresh episodes of the archived policies, so that luck in the first evaluation does not count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.claims.claim import Claim, Condition
from rlx.algos import cmorl, morld, ppo
from rlx.envs import make as make_env
from rlx.pareto import hypervolume, utility_gradient
from rlx.runtime import evaluate, train
from rlx.runtime.members import policy_state

ENV = "rlx/deep-sea-treasure-concave"
REFERENCE = (0.0, -50.0)
LINE = 4969.0  # hypervolume of the segment from (1, -1) to (124, -19), which expected returns can reach (gamma 1)
EPISODES = 200  # of each archived policy, after training
MEMBER = ppo.Config(num_envs=16, num_steps=64, learning_rate=3e-3, discount=1.0, value_clip=None, hidden=(32,))
SWEEP = morld.Config(population=6, num_updates=5, episodes=32, transfer=False, capacity=50, member=MEMBER)
EXTENSION = cmorl.Config(
    num_selected=3, num_updates=5, episodes=32, first_iterations=20, round_iterations=5, capacity=50, member=MEMBER
)


def measured(module: Any, config: Any, seeds: Sequence[int], updates: int) -> tuple[list[float], list[float]]:
    """Share of the line's hypervolume that the archived and the last policies have, for each seed."""
    env, params = make_env(ENV)
    algorithm = module.make(config, env, params)
    player = ppo.make(MEMBER, env, params, weighting=utility_gradient(lambda v, _: v.sum(), ()))
    reference = jnp.array(REFERENCE)

    def run(seed: jax.Array) -> tuple[jax.Array, jax.Array]:
        train_key, play_key = jax.random.split(jax.random.key(seed))
        state, _ = train(algorithm, train_key, updates)

        def play(row: jax.Array, key: jax.Array) -> jax.Array:
            policy = player.policy(policy_state(player, state.members, state.archive, row))
            return evaluate(policy, env, key, EPISODES, env_params=params, greedy=False).returns.mean(0)

        rows = jnp.arange(config.capacity)
        points = jax.lax.map(lambda pair: play(*pair), (rows, jax.random.split(play_key, len(rows))))
        archived = hypervolume(points, reference, state.archive.front.valid)
        return archived / LINE, hypervolume(state.values, reference) / LINE

    archived, last = jax.device_get(jax.jit(jax.vmap(run))(jnp.asarray(seeds)))
    return list(map(float, archived)), list(map(float, last))


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    samples = {}
    for name, module, config in (("sweep", morld, SWEEP), ("extension", cmorl, EXTENSION)):
        samples[name], samples[f"{name}: last policies"] = measured(module, config, seeds, updates)
    return samples


CLAIM = Claim(
    name="front_extension",
    title="Efficient Discovery of Pareto Front for Multi-Objective Reinforcement Learning",
    year=2025,
    cards=(40,),
    environment=f"{ENV} (gamma 1, expected returns of stochastic policies)",
    baseline="six learners with evenly spaced weights, and the archive of all their policies",
    method="C-MORL: the same learners' first stage, then extension of the three most isolated policies",
    metric=f"hypervolume of the archive, played anew for {EPISODES} episodes a policy, over that of the ideal line",
    conditions=(Condition("hypervolume of the archive", "extension", "sweep", margin=0.01),),
    settings={
        "sweep": dataclasses.asdict(SWEEP),
        "extension": dataclasses.asdict(EXTENSION),
        "reference": REFERENCE,
    },
    updates=40,
    steps_per_update=6 * 5 * 1024,
    run=run,
)
