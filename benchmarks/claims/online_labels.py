"""Labels that come while the agent learns lead it through a maze; without the decay in an episode it farms one of them.

PPO with the reward of the task and, as a second channel, one for what an annotator calls helpful: taking the key, going
through the door (each time, not only the first), reaching the goal, and being near the key, the unlocked door or the
goal. All other captions name the cell: most of what the annotator is asked about does not matter. It answers at most 64
questions in an update of 4096 steps, about labels of captions ("retrieval": kept in a table; "classification": by a
model) or about which of two is better ("ranking"). A caption pays less each time in an episode, by its number to the
power -3.

The paper trains on NetHack with a language model as the annotator; here the annotator is exact.

Chosen on seeds 0 to 2, in several rounds. With weights 10 and 0.4, as in the paper's sparse tasks, the error of the
task's critic, whose reward is still 0, drowned the labels. With the three events alone as what is helpful, and with 8
questions in an update, most seeds took the key or went through the door and no further. With what is near as well, but
the door helpful before the key is taken, one of two seeds solved the maze; as it is now, both in 20 updates. Ranking
with a learning rate of 1e-3 reached the goal on neither in 60 updates. The two models of answers are not judged here:
`run` takes them as arms.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from benchmarks.claims import rnd_keydoor
from benchmarks.claims.claim import Claim, Condition
from rlx.algos import ppo
from rlx.envs import make as make_env
from rlx.envs.grid import DOOR, GOAL, KEY
from rlx.exploration import labelled_events, scripted_annotator, scripted_comparer
from rlx.exploration.labels import learned_labels
from rlx.pareto import linear
from rlx.reward import extrinsic, stack
from rlx.runtime import sweep
from rlx.types import Algorithm, Array, RewardSource, Transition

ENV = rnd_keydoor.ENV
CONFIG = dataclasses.replace(rnd_keydoor.CONFIG, entropy_coefficient=0.03)
GRID, PARAMS = make_env(ENV)
CELLS, EVENTS = GRID.height * GRID.width, len(GRID.events)
SEEN = ("key", "door", "goal")  # captions of being near them, the last that applies
CAPTIONS = EVENTS + len(SEEN) + CELLS  # what is none of these is "walked to cell c"
HELPFUL = np.isin(np.arange(CAPTIONS), [KEY, DOOR, GOAL, *range(EVENTS, EVENTS + len(SEEN))])
SIGHT = 3  # cells, along either axis
LEARNING_RATE = 3e-3  # of models of labels
WEIGHTS = (2.0, 1.0)  # of the task's reward and of labels
RATE, QUEUE, DECAY = 64, 256, 3.0
WINDOW = 10  # updates: success is the mean over the last ones
ARMS = ("ppo", "retrieval", "retrieval without decay")  # also known: "classification", "ranking"


def near(name: str) -> np.ndarray:
    """bool `[cells]`."""
    place = np.argwhere(getattr(PARAMS.layout, name))[0]
    return (np.abs(np.argwhere(np.ones((GRID.height, GRID.width))) - place).max(1) <= SIGHT).astype(bool)


def caption(batch: Transition) -> Array:
    """Going through the door is one each time; the key is seen until it is taken, the door after that."""
    event = GRID.event(batch.obs, batch.action, PARAMS)
    before, cell = (jnp.argmax(obs[..., :CELLS], axis=-1) for obs in (batch.obs, batch.next_obs))
    event = jnp.where(PARAMS.layout.door.ravel()[cell] & (cell != before), DOOR, event)
    said = EVENTS + len(SEEN) + cell
    for i, name in enumerate(SEEN):
        there = jnp.asarray(near(name))[cell]
        if name != "goal":
            there &= (batch.next_obs[..., CELLS] > 0.5) == (name == "door")
        said = jnp.where(there, EVENTS + i, said)
    return jnp.where(jnp.isin(event, jnp.array((KEY, DOOR, GOAL))), event, said)


def features() -> np.ndarray:
    """`[E, D]` of captions: which one, or that it is a cell and where."""
    place = 2.0 * np.stack(np.divmod(np.arange(CELLS), GRID.width), axis=1) / (GRID.width - 1) - 1.0
    others = CAPTIONS - CELLS
    kind = np.eye(others + 1)[np.minimum(np.arange(CAPTIONS), others)]
    return np.concatenate([kind, np.concatenate([np.zeros((others, 2)), place])], axis=1)


def labels(arm: str) -> RewardSource:
    decay = 0.0 if "without decay" in arm else DECAY
    model = functools.partial(
        learned_labels,
        caption,
        CAPTIONS,
        features=jnp.asarray(features()),
        learning_rate=LEARNING_RATE,
        rate=RATE,
        capacity=QUEUE,
        decay=decay,
    )
    annotator = scripted_annotator(jnp.asarray(HELPFUL)[:, None])
    if arm == "ranking":
        return model(scripted_comparer(jnp.asarray(HELPFUL)), model="ranking")
    if arm == "classification":
        return model(annotator)
    return labelled_events(caption, CAPTIONS, annotator, rate=RATE, capacity=QUEUE, decay=decay)


def maker(arm: str):
    def make(config: ppo.Config) -> Algorithm:
        if arm == "ppo":
            return rnd_keydoor.alone(config)
        return ppo.make(config, GRID, PARAMS, rewards=stack(extrinsic(), labels(arm)), weighting=linear(WEIGHTS))

    return make


def run(seeds: Sequence[int], updates: int, arms: Sequence[str] = ARMS) -> dict[str, list[float]]:
    samples = {}
    steps = CONFIG.num_envs * CONFIG.num_steps
    for arm in arms:
        table = sweep(
            maker(arm), CONFIG, total_steps=updates * steps, seeds=seeds, batch="map", log_every=steps, progress=False
        ).table
        column = "episode_return" if arm == "ppo" else "episode_return/reward"
        curves = [np.nan_to_num(table.where(seed=seed)[column]) for seed in seeds]
        samples[arm] = [float(curve[-WINDOW:].mean()) for curve in curves]
        first = [int(np.argmax(curve > 0.5)) + 1 if (curve > 0.5).any() else np.inf for curve in curves]
        samples[f"{arm}: first update with success above 0.5"] = first
    return samples


CLAIM = Claim(
    name="online_labels",
    title="Online Intrinsic Rewards for Decision Making Agents from Large Language Model Feedback",
    year=2024,
    cards=(3,),
    environment=f"{ENV}: key, door and goal, at least 42 steps in a certain order, 120 allowed",
    baseline="PPO without labels; with labels that pay each time",
    method="PPO with labels that come while it learns and pay less each time in an episode, as a second channel",
    metric=f"share of episodes that reach the goal, in the last {WINDOW} updates",
    conditions=(
        Condition("success, over no labels", "retrieval", "ppo", 0.5),
        Condition("success, over labels without decay, which are farmed", "retrieval", "retrieval without decay", 0.5),
    ),
    settings={
        "config": dataclasses.asdict(CONFIG),
        "weights": WEIGHTS,
        "rate": RATE,
        "queue": QUEUE,
        "decay": DECAY,
        "sight": SIGHT,
        "learning_rate": LEARNING_RATE,
    },
    updates=40,
    steps_per_update=CONFIG.num_envs * CONFIG.num_steps,
    run=run,
)
