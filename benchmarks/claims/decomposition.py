"""Decomposition: learners that begin from their neighbours cover the front sooner, and a non-linear utility covers a
concave one.

Two halves, as the paper's framework has two choices. On a linear-quadratic regulator, whose front is exact, transfer
in a first sweep is compared with independent learners after equal numbers of environment steps. On the concave deep sea
treasure the smooth Chebyshev utility is compared with weighted sums; the expected returns of stochastic policies reach
a straight line there, of which weighted sums find the ends. The archive keeps what learners pass on their way, so the
learners' last policies are compared, and archives are reported. Transfer on deep sea treasure is reported too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.algos import morld, ppo
from rlx.envs import make as make_env
from rlx.pareto import hypervolume

REGULATOR, TREASURE = "rlx/lqr", "rlx/deep-sea-treasure-concave"
REGULATOR_REFERENCE = (-3.0, -3.0)  # just below the front, which ends at -2.72
LINE = 4969.0  # hypervolume of the segment from (1, -1) to (124, -19) over (0, -50), gamma 1
ON_REGULATOR = morld.Config(
    num_updates=5,
    episodes=8,
    greedy=True,
    discount=0.9,
    transfer=False,
    member=ppo.Config(
        num_envs=4,
        num_steps=50,
        learning_rate=3e-3,
        discount=0.9,
        value_clip=None,
        entropy_coefficient=0.0,
        hidden=(16,),
    ),
)
ON_TREASURE = morld.Config(
    num_updates=5,
    episodes=32,
    transfer=False,
    capacity=50,
    member=ppo.Config(
        num_envs=16,
        num_steps=64,
        learning_rate=3e-3,
        discount=1.0,
        value_clip=None,
        hidden=(32,),
    ),
)


def curves(env_name: str, config: morld.Config, ref: tuple[float, ...], seeds: Sequence[int], updates: int) -> Any:
    """Hypervolume of archive and of last policies after each sweep `[seeds, updates]`, the first with transfer too."""
    algorithm = morld.make(config, *make_env(env_name))

    def both(state: morld.State) -> tuple[jax.Array, jax.Array]:
        front, reference = state.archive.front, jnp.array(ref)
        return hypervolume(front.points, reference, front.valid), hypervolume(state.values, reference)

    def run(seed: jax.Array) -> Any:
        def step(state: Any, _: None) -> Any:
            state = algorithm.update(state)[0]
            return state, both(state)

        state = algorithm.init(jax.random.key(seed))
        _, rest = jax.lax.scan(step, state, length=updates - config.transfer)
        if not config.transfer:
            return rest
        return jax.tree.map(lambda x, y: jnp.concatenate([x[None], y]), both(state), rest)

    return jax.device_get(jax.jit(jax.vmap(run))(jnp.asarray(seeds)))


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    samples = {}
    env, _ = make_env(REGULATOR)
    exact = float(hypervolume(jnp.asarray(env.pareto_front(0.9)), jnp.array(REGULATOR_REFERENCE)))
    for name, transfer in (("independent", False), ("transfer", True)):
        config = dataclasses.replace(ON_REGULATOR, transfer=transfer)
        archive, last = curves(REGULATOR, config, REGULATOR_REFERENCE, seeds, updates)
        samples[name] = list(map(float, np.mean(archive, axis=1) / exact))
        samples[f"{name}: at the end"] = list(map(float, last[:, -1] / exact))
    sides = (
        ("linear", "linear", False),
        ("chebyshev", "smooth_chebyshev", False),
        ("linear, transfer", "linear", True),
    )
    for name, kind, transfer in sides:
        config = dataclasses.replace(ON_TREASURE, kind=kind, transfer=transfer)
        archive, last = curves(TREASURE, config, (0.0, -50.0), seeds, 3 * updates)
        samples[name] = list(map(float, last[:, -1] / LINE))
        samples[f"{name}: archive at the end"] = list(map(float, archive[:, -1] / LINE))
        samples[f"{name}: archive, mean over training"] = list(map(float, np.mean(archive, axis=1) / LINE))
    return samples


CLAIM = Claim(
    name="decomposition",
    title="Multi-Objective Reinforcement Learning Based on Decomposition: A Taxonomy and Framework",
    year=2024,
    cards=(44,),
    environment=f"{REGULATOR} (two objectives, gamma .9) and {TREASURE} (gamma 1, expected returns)",
    baseline="six independent learners; weighted sums",
    method="six learners that begin from their neighbours; smooth Chebyshev utilities",
    metric="hypervolume over the exact one: of the archive, mean over training (regulator); of the last policies",
    conditions=(
        Condition("regulator: transfer over independent learners", "transfer", "independent"),
        Condition("treasure: Chebyshev over weighted sums", "chebyshev", "linear", margin=0.05),
    ),
    settings={
        "regulator": dataclasses.asdict(ON_REGULATOR),
        "treasure": dataclasses.asdict(ON_TREASURE),
        "reference": REGULATOR_REFERENCE,
    },
    updates=15,
    steps_per_update=ON_REGULATOR.population * ON_REGULATOR.num_updates * 200,
    run=run,
)
