"""Subgoals that an annotator recognises let an agent solve a maze that it does not solve by its reward alone.

Q-learning on a table, whose state says which subgoals have been achieved: taking the key, going through the door,
reaching the goal. Each pays 1, once in an episode, when the annotator says so of the step's caption. Annotators err:
some do not recognise half of what is true; others take captions for subgoals that are none, so many that their F1 is
the same, 2/3 in expectation.

The paper measures how well language models recognise subgoals without training; here the errors are given, and what
they do to learning is measured.

Chosen on seeds 0 to 9 in one round. The method card guesses that false positives do more harm than false negatives at
equal F1. On the tuning seeds it was the reverse: who does not see the key ever pays nothing on the way to the door,
while a subgoal that is paid too early costs its own bonus only. It is no claim of the paper; both figures are given
without a verdict.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.annotated_grid import CAPTIONS, CHUNK, DISCOUNT, EPSILON, STEP_SIZE, TRUTH, Memory, learn
from benchmarks.claims.claim import Claim, Condition
from rlx.exploration import scripted_annotator, subgoal_automaton_reward
from rlx.types import Array

RATE = 5  # captions to the annotator in 100 steps
ARMS = {  # true and false positive rates; of F1 = 2 tpr p / (tpr p + fpr (1 - p) + p), p = 1 / CAPTIONS
    "no subgoals": None,
    "subgoals": (1.0, 0.0),
    "subgoals, half not seen": (0.5, 0.0),
    "subgoals, others seen too": (1.0, 1.0 / (CAPTIONS - 1)),
}


def arm(key: Array, chunks: int, rates: tuple[float, float] | None) -> Array:
    def intrinsic(memory: Memory, said: Array, label: Array) -> tuple[Array, Array]:
        del said
        if rates is None:
            return jnp.zeros(()), memory.achieved
        reward, state = subgoal_automaton_reward(
            (label > 0)[None, None], jnp.zeros((1, 1), bool), memory.achieved[None]
        )
        return reward[0, 0], state[1, 0]

    tpr, fpr = rates or (1.0, 0.0)
    return learn(key, scripted_annotator(TRUTH, tpr=tpr, fpr=fpr), intrinsic, chunks, rate=RATE)


@functools.partial(jax.jit, static_argnames="chunks")
@functools.partial(jax.vmap, in_axes=(0, None))
def trial(seed: Array, chunks: int) -> dict[str, Array]:
    return {name: arm(jax.random.key(seed), chunks, rates) for name, rates in ARMS.items()}


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = trial(np.asarray(seeds, np.uint32), updates)
    return {name: np.asarray(x, np.float64).tolist() for name, x in found.items()}


CLAIM = Claim(
    name="subgoal_labels",
    title="Assessing the Zero-Shot Capabilities of LLMs for Action Evaluation in RL",
    year=2024,
    cards=(133,),
    environment="rlx/keydoor-11: key, door and goal, at least 30 steps in a certain order, 100 allowed",
    baseline="Q-learning with the reward of the task",
    method="Q-learning with 1 more for each subgoal that the annotator recognises, once in an episode",
    metric="share of episodes in the last fifth of the steps that reach the goal",
    conditions=(Condition("success, over no subgoals", "subgoals", "no subgoals", 0.5, paired=True),),
    settings={
        "rate": RATE,
        "epsilon": EPSILON,
        "discount": DISCOUNT,
        "step_size": STEP_SIZE,
        "arms": {name: list(rates or ()) for name, rates in ARMS.items()},
    },
    updates=600,
    steps_per_update=CHUNK,
    run=run,
    seeds=range(1000, 1020),
)
