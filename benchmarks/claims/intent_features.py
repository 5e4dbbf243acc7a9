"""Features learned from watching others, who move in other ways, keep more of what acting needs than others do.

Four rooms. Others move there like kings, in eight directions, to goals of their own, and only their places are seen:
intention-conditioned values of what they might be after, without any action, learn a vector for each cell. Then an
agent that moves in four directions has twenty labelled ways to a goal, of which half the actions are random, and learns
from them alone by implicit Q-learning, with critics, value and policy linear in the frozen vectors. Judged is from how
many starts it gets to the goal in time. The baselines have vectors as they are drawn, which is what an autoencoder of
cells keeps, and vectors learned from the same episodes by telling what comes soon after a cell from what does not.

In the paper others are people in videos, and the agent is a robot with a network that goes on learning.

Tuned on seeds 0 and 1. With three labelled ways in place of twenty, and with the cell itself (one-hot) beside its
vector, no vectors made a difference: 0.72 to 0.77 for all. An agent that sees the cell itself reaches 0.98 from twenty
ways, so what is compared is how much of that a vector of sixteen numbers keeps: 0.80, 0.70 and 0.50 with 6000 updates
before the labels, 0.77, 0.70 and 0.50 with 3000, which was kept, to be quick, as was the agent's number of updates.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.claims.claim import Claim, Condition
from rlx.envs import GoalGrid
from rlx.envs.grid import four_rooms
from rlx.policy import awr_weights
from rlx.types import Array, PyTree
from rlx.value import (
    gc_value_loss,
    goal_advantage,
    implicit_max_loss,
    multilinear_value,
    relabel_goals,
    step_distances,
    take_action,
    td_loss,
)

ENV = GoalGrid(four_rooms(9))
CELLS = ENV.num_cells
WATCHED, LENGTH = 100, 60  # episodes of others, and their steps
LABELLED, STEPS = 20, 30  # episodes to each goal, and their steps; as many has the agent
GOALS = 8  # of a seed
SIZE = 16  # of the vectors
NOISE = 0.5  # share of random actions, of all
SETTINGS = {"discount": 0.95, "level": 0.9, "learning_rate": 1e-2, "tau": 0.01, "batch": 256, "same": 0.5}
AGENT = {
    "expectile": 0.9,
    "inverse_temperature": 10.0,
    "learning_rate": 1e-2,
    "tau": 0.02,
    "batch": 64,
    "updates": 1000,
}
AFTER, APART = jnp.asarray(ENV.after), jnp.asarray(ENV.distances(), jnp.float32)


def king_moves() -> np.ndarray:
    """Where eight steps lead, int `[S, 8]`; not round a corner of a wall."""
    side = ENV.width
    free = np.zeros((side + 2, side + 2), bool)
    free[1:-1, 1:-1] = np.isin(np.arange(CELLS), ENV.free).reshape(side, side)
    row, column = np.divmod(np.arange(CELLS), side)
    moves = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    possible = [
        free[row + 1 + i, column + 1 + j] & free[row + 1 + i, column + 1] & free[row + 1, column + 1 + j]
        for i, j in moves
    ]
    return np.stack(
        [
            np.where(p, (row + i) * side + column + j, np.arange(CELLS))
            for p, (i, j) in zip(possible, moves, strict=True)
        ],
        1,
    )


KING = king_moves()
KING_APART = jnp.asarray(np.minimum(step_distances(np.eye(CELLS)[KING]), 1e6), jnp.float32)


def walk(key: Array, after: Array, apart: Array, goal: Array, length: int) -> tuple[Array, Array]:
    """Cells `[length + 1]` on a noisy way to a goal from any start, and the actions `[length]`."""
    start_key, key = jax.random.split(key)
    start = jax.random.choice(start_key, jnp.asarray(ENV.free, jnp.int32))

    def step(cell: Array, key: Array) -> tuple[Array, tuple[Array, Array]]:
        coin_key, action_key, tie_key = jax.random.split(key, 3)
        actions = after.shape[1]
        best = jnp.argmin(apart[after[cell], goal] + 0.5 * jax.random.uniform(tie_key, (actions,)))
        chance = jax.random.randint(action_key, (), 0, actions)
        action = jnp.where(jax.random.bernoulli(coin_key, NOISE), chance, best)
        return after[cell, action], (after[cell, action], action)

    _, (cells, action) = jax.lax.scan(step, start, jax.random.split(key, length))
    return jnp.concatenate([start[None], cells]), action


def drawn(key: Array) -> Array:
    return jax.random.normal(key, (CELLS, SIZE)) / SIZE**0.5


def fit(key: Array, params: PyTree, loss: Any, updates: int, settings: dict[str, Any]) -> PyTree:
    """Adam on `loss(params, target, key)`, with a slow copy of the parameters."""
    optimiser = optax.adam(settings["learning_rate"])

    def update(carry: tuple, key: Array) -> tuple[tuple, None]:
        params, target, state = carry
        change, state = optimiser.update(jax.grad(loss)(params, target, key), state)
        params = optax.apply_updates(params, change)
        return (params, optax.incremental_update(params, target, settings["tau"]), state), None

    carry = (params, params, optimiser.init(params))
    return jax.lax.scan(update, carry, jax.random.split(key, updates))[0][0]


def watched_rows(key: Array, cells: Array) -> tuple[Array, Array, Array, Array]:
    """Cells, next cells, outcomes and intents `[N]` of episodes `[E, LENGTH + 1]`."""
    row_key, goal_key, intent_key, same_key = jax.random.split(key, 4)
    length = LENGTH + 1
    row = jax.random.randint(row_key, (SETTINGS["batch"],), 0, WATCHED * LENGTH)
    row = row // LENGTH * length + row % LENGTH
    last = row // length * length + LENGTH
    flat = cells.ravel()

    def relabelled(key: Array) -> Array:
        return relabel_goals(key, row, last, flat.size, SETTINGS["discount"])

    intent = relabelled(intent_key)
    same = jax.random.bernoulli(same_key, SETTINGS["same"], row.shape)
    outcome = jnp.where(same, intent, relabelled(goal_key))
    return flat[row], flat[row + 1], flat[outcome], flat[intent]


def intent_features(key: Array, cells: Array, updates: int) -> Array:
    """The vectors of cells from intention-conditioned values, `[S, SIZE]`."""
    keys = jax.random.split(key, 6)

    def twice(key: Array, *shape: int) -> Array:
        return jax.random.normal(key, (2, *shape)) / SIZE**0.5

    params = {
        "phi": twice(keys[0], CELLS, SIZE),
        "psi": twice(keys[1], CELLS, SIZE),
        "gate": twice(keys[2], SIZE, SIZE),
        "left": twice(keys[3], SIZE, SIZE),
        "right": twice(keys[4], SIZE, SIZE),
    }

    def values(params: PyTree, cell: Array, outcome: Array, intent: Array) -> Array:
        def head(p: PyTree) -> Array:
            gate = 1.0 + p["psi"][intent] @ p["gate"]
            return multilinear_value(p["phi"][cell], p["psi"][outcome], gate, p["left"], p["right"])

        return jax.vmap(head)(params)

    def loss(params: PyTree, target: PyTree, key: Array) -> Array:
        cell, after, outcome, intent = watched_rows(key, cells)
        gamma = SETTINGS["discount"]
        own = values(target, cell, intent, intent), values(target, after, intent, intent)
        advantage = goal_advantage(*own, cell == intent, gamma)
        there = values(target, after, outcome, intent)
        here = values(params, cell, outcome, intent)
        return gc_value_loss(here, there, cell == outcome, SETTINGS["level"], gamma, advantage).mean()

    return fit(keys[5], params, loss, updates, SETTINGS)["phi"][0]


def contrastive_features(key: Array, cells: Array, updates: int) -> Array:
    """The vectors of cells that tell what comes soon after one from what does not, `[S, SIZE]`."""
    phi_key, psi_key, key = jax.random.split(key, 3)

    def loss(params: PyTree, target: PyTree, key: Array) -> Array:
        del target
        row_key, goal_key = jax.random.split(key)
        row = jax.random.randint(row_key, (SETTINGS["batch"],), 0, cells.size - 1)
        last = row // (LENGTH + 1) * (LENGTH + 1) + LENGTH
        later = relabel_goals(goal_key, row, last, cells.size, SETTINGS["discount"], current=0, future=1, random=0)
        flat = cells.ravel()
        logits = params["phi"][flat[row]] @ params["psi"][flat[later]].T
        return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.arange(len(row))).mean()

    return fit(key, {"phi": drawn(phi_key), "psi": drawn(psi_key)}, loss, updates, SETTINGS)["phi"]


def success(key: Array, phi: Array, cells: Array, action: Array, goal: Array) -> Array:
    """Share of starts from which implicit Q-learning on episodes `[E, STEPS + 1]` gets to the goal in time, `[]`."""
    scale = jnp.sqrt(jnp.mean(jnp.sum(phi[ENV.free] ** 2, 1)))
    inputs = jnp.concatenate([phi / scale, jnp.ones((CELLS, 1))], 1)
    size, actions = inputs.shape[1], ENV.num_actions
    params = {"value": jnp.zeros(size), "critic": jnp.zeros((size, actions)), "policy": jnp.zeros((size, actions))}
    here, there, taken = cells[:, :-1].ravel(), cells[:, 1:].ravel(), action.ravel()
    gamma = SETTINGS["discount"]

    def loss(params: PyTree, target: PyTree, key: Array) -> Array:
        row = jax.random.randint(key, (AGENT["batch"],), 0, here.size)
        before, after, chosen = inputs[here[row]], inputs[there[row]], taken[row]
        reached = there[row] == goal
        value = before @ params["value"]
        slow = take_action(before @ target["critic"], chosen)
        value_loss = implicit_max_loss(jax.lax.stop_gradient(slow) - value, "expectile", AGENT["expectile"])
        aim = jnp.where(reached, 1.0, gamma * (after @ params["value"]))
        critic_loss = td_loss(take_action(before @ params["critic"], chosen), aim)
        weight = awr_weights(slow - value, AGENT["inverse_temperature"])
        log_prob = take_action(jax.nn.log_softmax(before @ params["policy"]), chosen)
        outside = here[row] != goal
        return jnp.mean(outside * (value_loss + critic_loss - weight * log_prob))

    policy = jax.nn.softmax(inputs @ fit(key, params, loss, AGENT["updates"], AGENT)["policy"])
    there_by = AFTER

    def back(chance: Array, _: None) -> tuple[Array, None]:
        return jnp.where(jnp.arange(CELLS) == goal, 1.0, jnp.sum(policy * chance[there_by], 1)), None

    chance, _ = jax.lax.scan(back, (jnp.arange(CELLS) == goal).astype(jnp.float32), length=STEPS)
    starts = jnp.asarray(np.isin(np.arange(CELLS), ENV.free)) & (jnp.arange(CELLS) != goal)
    return jnp.sum(jnp.where(starts, chance, 0)) / starts.sum()


@functools.partial(jax.jit, static_argnames="updates")
@functools.partial(jax.vmap, in_axes=(0, None))
def trial(seed: Array, updates: int) -> dict[str, Array]:
    keys = jax.random.split(jax.random.key(seed), 8)
    free = jnp.asarray(ENV.free, jnp.int32)
    wanted = jax.random.choice(keys[0], free, (WATCHED,))
    king = jnp.asarray(KING, jnp.int32)
    watched, _ = jax.vmap(walk, (0, None, None, 0, None))(
        jax.random.split(keys[1], WATCHED), king, KING_APART, wanted, LENGTH
    )
    features = {
        "intents": intent_features(keys[2], watched, updates),
        "contrast": contrastive_features(keys[3], watched, updates),
        "as drawn": drawn(keys[4]),
        "cells": jnp.eye(CELLS),
    }
    goals = jax.random.choice(keys[5], free, (GOALS,), replace=False)

    def labelled(key: Array, goal: Array) -> tuple[Array, Array]:
        each = jax.random.split(key, LABELLED)
        return jax.vmap(walk, (0, None, None, None, None))(each, AFTER.astype(jnp.int32), APART, goal, STEPS)

    cells, action = jax.vmap(labelled)(jax.random.split(keys[6], GOALS), goals)
    each = jax.random.split(keys[7], GOALS)
    return {
        name: jax.vmap(success, (0, None, 0, 0, 0))(each, phi, cells, action, goals).mean()
        for name, phi in features.items()
    }


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = trial(np.asarray(seeds, np.uint32), updates)
    return {name: np.asarray(x, np.float64).tolist() for name, x in found.items()}


CLAIM = Claim(
    name="intent_features",
    title="Robotic Offline RL from Internet Videos via Value-Function Pre-Training",
    year=2023,
    cards=(152,),
    environment="rlx/goal-fourrooms-9, watched with eight directions and acted in with four",
    baseline="vectors as drawn; vectors by contrast of what follows and what does not",
    method="vectors from intention-conditioned values of what was watched",
    metric=f"share of starts from which the goal is reached in {STEPS} steps, over {GOALS} goals",
    conditions=(
        Condition("success, over vectors as drawn", "intents", "as drawn", 0.15, paired=True),
        Condition("success, over vectors by contrast", "intents", "contrast", paired=True),
    ),
    settings={**SETTINGS, "agent": AGENT, "size": SIZE, "watched": (WATCHED, LENGTH), "labelled": (LABELLED, STEPS)},
    updates=3000,
    steps_per_update=256,
    run=run,
)
