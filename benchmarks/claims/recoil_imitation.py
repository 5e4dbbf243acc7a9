"""A few expert steps are imitated with the help of many others, which tell how to get back to them.

Four rooms with a goal; one expert's way from the corner, and the ways of a robot that wanders at random from anywhere,
without rewards. To imitate the expert alone is to be lost where it has not been, to imitate everything is to wander.
ReCOIL (`rlx.algos.recoil`) has to find the ways that lead to the expert's. Judged from random starts in all cells.

Imitation is by the same networks (`rlx.algos.conditioned` with nothing told). All policies draw their actions.

Tried on seeds 0 to 3 with 3,000 updates, where the settings below, and others with inverse temperature 10, level 0.9
and discount 0.9, succeed in 0.94 to 1 of the episodes in the mean; imitation (1,500 updates) in 0.57 and 0.19. Judged
with 2,000 updates for all.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.algos import conditioned, recoil
from rlx.envs import make
from rlx.runtime import evaluate, record, scripted, train
from rlx.types import Algorithm, Array, Transition

ENV, PARAMS = make("rlx/fourrooms-9", random_start=True)
ONE_START, _ = make("rlx/fourrooms-9")  # in the corner
STEPS, WANDERERS, EPISODES, LIMIT = 60, 50, 64, 60
COMMON: dict[str, Any] = dict(batch_size=128, hidden=(64,), learning_rate=1e-3)
RECOIL: dict[str, Any] = dict(discount=0.95, tau=0.02, level=0.8, inverse_temperature=3.0)
ARMS = ("ReCOIL", "expert alone", "everything")


def shortest(params: Any) -> np.ndarray:
    """An action of a shortest way, for each cell."""
    mdp = ENV.to_mdp(params=params.replace(slip=0.0)).default_params
    successor = np.argmax(mdp.P, axis=-1)
    distance = np.where(mdp.terminal, 0.0, np.inf)
    for _ in range(len(distance)):
        distance = np.minimum(distance, 1 + distance[successor].min(1))
    return distance[successor].argmin(1)


BEST = jnp.asarray(shortest(PARAMS))


def logs(key: Array) -> recoil.Logs:
    expert_key, offline_key = jax.random.split(key)

    def best(key: Array, obs: Array) -> Array:
        del key
        return BEST[jnp.argmax(obs[..., : ENV.height * ENV.width], axis=-1)]

    length = 2 * (ENV.height - 1)  # of the way from the corner
    expert = record(scripted(best), ONE_START, expert_key, length)
    wander = record(None, ENV, offline_key, STEPS, num_envs=WANDERERS, env_params=PARAMS)
    return recoil.Logs(expert, wander)


def joined(data: recoil.Logs) -> Transition:
    """All steps in a row, the expert's among the others."""
    flat = jax.tree.map(lambda x: x.reshape(-1, 1, *x.shape[2:]), data)
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y]), flat.expert, flat.offline)


@functools.partial(jax.jit, static_argnames=("arm", "steps"))
@functools.partial(jax.vmap, in_axes=(0, None, None))
def trial(seed: Array, arm: str, steps: int) -> Array:
    log_key, train_key, play_key = jax.random.split(jax.random.key(seed), 3)
    data = logs(log_key)
    algorithm: Algorithm
    given: Any
    if arm == "ReCOIL":
        algorithm, given = recoil.make(recoil.Config(**COMMON, **RECOIL), ENV, PARAMS), data
    else:
        algorithm = conditioned.make(conditioned.Config(**COMMON, outcome="none"), ENV, PARAMS)
        given = data.expert if arm == "expert alone" else joined(data)
    state, _ = train(algorithm, train_key, steps, given)
    play = evaluate(algorithm.policy(state), ENV, play_key, EPISODES, env_params=PARAMS, max_steps=LIMIT, greedy=False)
    return jnp.mean(play.returns > 0)


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    return {arm: np.asarray(trial(np.asarray(seeds, np.uint32), arm, updates), np.float64).tolist() for arm in ARMS}


CLAIM = Claim(
    name="recoil_imitation",
    title="Dual RL: Unification and New Methods for Reinforcement and Imitation Learning",
    year=2024,
    cards=(69,),
    environment=f"rlx/fourrooms-9 from random starts; one expert's way from the corner, {WANDERERS} random ones",
    baseline="behaviour cloning of the expert's way alone, and of all steps",
    method="ReCOIL",
    metric="share of episodes that reach the goal",
    conditions=(
        Condition("success, over cloning the expert", "ReCOIL", "expert alone", 0.2, paired=True),
        Condition("success, over cloning everything", "ReCOIL", "everything", 0.4, paired=True),
    ),
    settings={"common": COMMON, "recoil": RECOIL, "steps": STEPS},
    updates=2000,
    steps_per_update=COMMON["batch_size"],
    run=run,
    seeds=range(1010, 1020),
    history=(
        "the logs are drawn by rlx.runtime.record: the same walks, other random numbers, and new seeds (before: "
        "reproduced as well)",
    ),
)
