"""Labels that come while the agent learns lead it through a maze; without the decay in an episode it farms one of them.

Q-learning on a table, with the reward of the task (10 at the goal) and 0.4 for each helpful caption by its number of
occurrences in the episode, to the power -3. An annotator says which captions are helpful (taking the key, going through
the door, reaching the goal), of one new caption in 100 steps, the newest first. Captions that are no event name the
cell walked to: most of what it is asked about does not matter.

The paper trains networks with PPO on NetHack; here a table learns in a grid with an exact model of the annotator.

Chosen on seeds 0 to 9; nothing was changed after the first run.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.annotated_grid import CHUNK, DISCOUNT, EPSILON, STEP_SIZE, TRUTH, Memory, learn
from benchmarks.claims.claim import Claim, Condition
from rlx.exploration import label_reward, scripted_annotator
from rlx.types import Array

HELPFUL = TRUTH.any(1, keepdims=True)
TASK, LABEL, DECAY = 10.0, 0.4, 3.0
# latency in exchanges, false positives, whether the decay is on, weight of labels
ARMS = {
    "no labels": dict(weight=0.0),
    "labels": dict(),
    "labels without decay": dict(decay=0.0),
    "labels 300 exchanges late": dict(latency=300),
    "labels with 10% false positives": dict(fpr=0.1),
}


def arm(key: Array, chunks: int, *, weight: float = LABEL, decay: float = DECAY, latency: int = 0, fpr: float = 0.0):
    def intrinsic(memory: Memory, said: Array, label: Array) -> tuple[Array, Array]:
        return weight * label_reward(label, memory.count[said][None], decay=decay), jnp.zeros(1, bool)

    return learn(key, scripted_annotator(HELPFUL, fpr=fpr, latency=latency), intrinsic, chunks, extrinsic=TASK)


@functools.partial(jax.jit, static_argnames="chunks")
@functools.partial(jax.vmap, in_axes=(0, None))
def trial(seed: Array, chunks: int) -> dict[str, Array]:
    return {name: arm(jax.random.key(seed), chunks, **options) for name, options in ARMS.items()}


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = trial(np.asarray(seeds, np.uint32), updates)
    return {name: np.asarray(x, np.float64).tolist() for name, x in found.items()}


CLAIM = Claim(
    name="online_labels",
    title="Online Intrinsic Rewards for Decision Making Agents from Large Language Model Feedback",
    year=2024,
    cards=(3,),
    environment="rlx/keydoor-11: key, door and goal, at least 30 steps in a certain order, 100 allowed",
    baseline="Q-learning without labels; with labels that pay each time",
    method="Q-learning with labels that come online and pay less each time in an episode",
    metric="share of episodes in the last fifth of the steps that reach the goal",
    conditions=(
        Condition("success, over no labels", "labels", "no labels", 0.5, paired=True),
        Condition("success, over labels without decay, which are farmed", "labels", "labels without decay", 0.5),
        Condition("labels without decay: success below 0.5", "labels without decay", 0.5, direction=-1),
        Condition("success with labels 300 exchanges late: above 0.5", "labels 300 exchanges late", 0.5),
    ),
    settings={
        "task": TASK,
        "label": LABEL,
        "decay": DECAY,
        "epsilon": EPSILON,
        "discount": DISCOUNT,
        "step_size": STEP_SIZE,
        "arms": {name: dict(options) for name, options in ARMS.items()},
    },
    updates=1500,
    steps_per_update=CHUNK,
    run=run,
)
