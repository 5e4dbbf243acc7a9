"""Tabular Q-learning behind a key and a door, with rewards from an annotator that labels while it learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx.envs import make
from rlx.envs.grid import DOOR, GOAL, KEY, NONE
from rlx.exploration import Annotator, init_annotations, pop_captions, push_captions, store_labels
from rlx.types import Array

ENV, PARAMS = make("rlx/keydoor-11")
CELLS = ENV.height * ENV.width
CAPTIONS = len(ENV.events) + CELLS  # what is no event is "walked to cell c"
SUBGOALS = (KEY, DOOR, GOAL)
TRUTH = np.arange(CAPTIONS)[:, None] == np.array(SUBGOALS)  # bool [E, 3]
CHUNK = 100  # steps between exchanges with the annotator
EPSILON, DISCOUNT, STEP_SIZE = 0.1, 0.99, 0.5
LAST = 5  # success is counted in the last fifth of the steps


class Memory(NamedTuple):
    """What the reward remembers of an episode."""

    count: Array  # int [E]: how often each caption has come
    achieved: Array  # bool [G]: subgoals


# (memory before the step, with the caption counted; its caption; labels [G]) -> reward, subgoals achieved
Intrinsic = Callable[[Memory, Array, Array], tuple[Array, Array]]


def caption(event: Array, before: Array, cell: Array) -> Array:
    """Going through the door is one each time, not only the first."""
    event = jnp.where(PARAMS.layout.door.ravel()[cell] & (cell != before), DOOR, event)
    return jnp.where(event == NONE, len(ENV.events) + cell, event)


def learn(
    key: Array, annotator: Annotator, intrinsic: Intrinsic, chunks: int, *, rate: int = 1, extrinsic: float = 1.0
) -> Array:
    """The share of the last fifth's episodes that reach the goal, after `chunks` times 100 steps."""
    start_key, annotator_key, loop_key = jax.random.split(key, 3)
    queue = init_annotations(CAPTIONS, annotator.num_labels, CHUNK)
    fresh = Memory(jnp.zeros(CAPTIONS, jnp.int32), jnp.zeros(annotator.num_labels, bool))
    _, first = ENV.reset_env(start_key, PARAMS)

    def index(state: NamedTuple, memory: Memory) -> Array:
        bits = jnp.sum(memory.achieved * 2 ** jnp.arange(memory.achieved.size))
        return ENV.index(state) + 4 * CELLS * bits

    def step(carry: tuple, key: Array) -> tuple[tuple, tuple[Array, Array, Array]]:
        q, state, memory, label = carry
        explore_key, tie_key, step_key = jax.random.split(key, 3)
        here = index(state, memory)
        greedy = jnp.argmax(q[here] + 1e-6 * jax.random.uniform(tie_key, (4,)))
        random = jax.random.bernoulli(explore_key, EPSILON)
        action = jnp.where(random, jax.random.randint(explore_key, (), 0, 4), greedy)
        _, after, reward, terminated, info = ENV.step_env(step_key, state, action, PARAMS)
        said = caption(info["event"], state.cell, after.cell)
        counted = memory._replace(count=memory.count.at[said].add(1))
        paid, achieved = intrinsic(counted, said, label[said])
        counted = counted._replace(achieved=achieved)
        target = extrinsic * reward + paid + DISCOUNT * ~terminated * q[index(after, counted)].max()
        q = q.at[here, action].add(STEP_SIZE * (target - q[here, action]))
        done = terminated | ENV.is_truncated(after, PARAMS)
        state, memory = jax.tree.map(lambda x, y: jnp.where(done, x, y), (first, fresh), (after, counted))
        return (q, state, memory, label), (said, terminated, done)

    def chunk(carry: tuple, key: Array) -> tuple[tuple, tuple[Array, Array]]:
        learner, queue, memory = carry
        learner = *learner, queue.label * queue.known[:, None]
        (*learner, _), (said, reached, ended) = jax.lax.scan(step, learner, jax.random.split(key, CHUNK))
        queue, asked, _ = pop_captions(push_captions(queue, said), rate)
        answers, memory = annotator.ask(memory, asked, None)
        return (tuple(learner), store_labels(queue, answers), memory), (reached.sum(), ended.sum())

    q = jnp.zeros((4 * CELLS * 2**annotator.num_labels, 4))
    start = (q, first, fresh), queue, annotator.init(annotator_key, rate)
    _, (reached, ended) = jax.lax.scan(chunk, start, jax.random.split(loop_key, chunks))
    last = jnp.arange(chunks) >= chunks - max(1, chunks // LAST)
    return jnp.sum(reached * last) / jnp.maximum(jnp.sum(ended * last), 1)
