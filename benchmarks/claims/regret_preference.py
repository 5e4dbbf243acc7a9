"""A reward learned from preferences as if people meant regret is good where they do; as if partial return, it is not.

Labels compare random segments of three steps in random delivery grids, by regret or by partial return, with logistic
noise. Either label set is fitted by both models, whose reward is linear in six features: one differentiates regret
through soft planning, the other partial return. What is compared is how good the best policy for the learned reward is,
with labels of either kind: a partial return tells rewards that differ by a constant apart only by segments that end
early, so that it is bad even at its own labels. It may also be read as an advantage, and followed greedily without
planning. Random labels are the control.

Differs from the paper: grids of 36 cells without houses, a discount of 0.99, synthetic labels only, and planning in
place of a set of policies with successor features.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.claims.claim import Claim, Condition
from rlx.envs.tabular import DELIVERY, delivery
from rlx.reward import preference_loss, regret_score, segment_score
from rlx.types import Array
from rlx.value import soft_policy_iteration

SIZE, GAMMA = 6, 0.99
PLACES = {"coins": 2, "roadblocks": 2, "sheep": 1}
LENGTH = 3
FEW, MANY = 100, 1000  # labelled pairs
WEIGHTS = jnp.array(list(DELIVERY.values()))
TEMPERATURE = 0.1  # of planning while learning
GREEDY = 1e-2  # of planning for labels and at the end
LEARNING_RATE = 0.1  # the best one for partial returns
LABELS, MODELS = ("regret", "return", "random"), ("regret", "return")
FLOOR = -1.0  # of a normalised return; a van that never arrives would count without bound


class Task(NamedTuple):
    """A delivery grid; `discount` is zero where the episode has ended."""

    transition: Array  # [S, A, S]
    features: Array  # [S, A, 6]
    discount: Array  # [S, A]
    start: Array  # [S]


class Pairs(NamedTuple):
    """Two segments each."""

    state: Array  # int [N, 2, LENGTH]
    action: Array  # int [N, 2, LENGTH]
    after: Array  # int [N, 2]


def draw(seed: int) -> Task:
    grid = delivery(jax.random.key(seed), SIZE, features=True, gamma=GAMMA, **PLACES)
    return Task(*(jnp.asarray(x, jnp.float32) for x in grid.arrays()))


def walk(key: Array, task: Task) -> Pairs:
    """Random behaviour from random cells."""
    start_key, *keys = jax.random.split(key, LENGTH + 1)
    state = jax.random.categorical(start_key, jnp.log(task.start), shape=(MANY, 2))
    visited, taken = [], []
    for each in keys:
        action = jax.random.randint(each, (MANY, 2), 0, task.discount.shape[1])
        visited.append(state)
        taken.append(action)
        state = jnp.argmax(task.transition[state, action], -1)
    return Pairs(jnp.stack(visited, -1), jnp.stack(taken, -1), state)


def plan(task: Task, weights: Array, temperature: float, start: Array | None = None) -> tuple[Array, Array]:
    reward, iterations = task.features @ weights, 20 if start is None else 3
    return soft_policy_iteration(
        task.transition, reward, task.discount, temperature, start=start, num_iterations=iterations
    )


def margin(task: Task, pairs: Pairs, weights: Array, v: Array | None) -> Array:
    """The first segment's score less the second's: by regret if there are values, else by partial return."""
    reward, mask = task.features @ weights, jnp.ones(pairs.state.shape, bool)
    if v is None:
        score = segment_score(reward[pairs.state, pairs.action], mask, GAMMA)
    else:
        score = regret_score(pairs.state, pairs.action, mask, v, GAMMA, reward=reward, next_state=pairs.after)
    return score[:, 0] - score[:, 1]


def fit(task: Task, pairs: Pairs, target: Array, counted: Array, model: str, steps: int) -> Array:
    """The weights of features that make the labels likely."""
    optimiser = optax.adam(LEARNING_RATE)

    def loss(weights: Array, v: Array) -> tuple[Array, Array]:
        if model == "regret":
            v, _ = plan(task, weights, TEMPERATURE, v)
        each = preference_loss(margin(task, pairs, weights, v if model == "regret" else None), target, weight=counted)
        return each.sum() / counted.sum(), v

    def step(carry: tuple[Array, Array, optax.OptState], _: None) -> tuple[tuple[Array, Array, optax.OptState], None]:
        weights, v, state = carry
        gradient, v = jax.grad(loss, has_aux=True)(weights, v)
        change, state = optimiser.update(gradient, state)
        return (jnp.asarray(optax.apply_updates(weights, change)), v, state), None

    weights = jnp.zeros(len(WEIGHTS))
    carry = weights, plan(task, weights, TEMPERATURE)[0], optimiser.init(weights)
    return jax.lax.scan(step, carry, length=steps)[0][0]


def value(task: Task, policy: Array) -> Array:
    """The policy's true return."""
    step = jnp.einsum("sa,sat->st", policy * task.discount, task.transition)
    reward = jnp.sum(policy * (task.features @ WEIGHTS), -1)
    return task.start @ jnp.linalg.solve(jnp.eye(len(step)) - step, reward)


def greedy(preference: Array) -> Array:
    return jax.nn.one_hot(jnp.argmax(preference, -1), preference.shape[-1])


@functools.partial(jax.jit, static_argnames="steps")
@functools.partial(jax.vmap, in_axes=(0, 0, None))
def trial(seed: Array, task: Task, steps: int) -> dict[str, Array]:
    """Normalised returns, 0 for uniform play and 1 for optimal, by labels, model and number of pairs."""
    walk_key, label_key = jax.random.split(jax.random.key(seed))
    pairs = walk(walk_key, task)
    v, q = plan(task, WEIGHTS, GREEDY)
    uniform, best = value(task, jnp.full(q.shape, 1 / q.shape[1])), value(task, greedy(q))
    margins = jnp.stack([margin(task, pairs, WEIGHTS, v), margin(task, pairs, WEIGHTS, None), jnp.zeros(MANY)])
    target = jax.random.bernoulli(label_key, jax.nn.sigmoid(margins)).astype(q.dtype)
    counted = (jnp.arange(MANY) < jnp.array([[FEW], [MANY]])).astype(q.dtype)

    def normalised(policy: Array) -> Array:
        return jnp.maximum((value(task, policy) - uniform) / (best - uniform), FLOOR)

    found = {}
    for model in MODELS:
        learn = functools.partial(fit, task, pairs, model=model, steps=steps)
        weights = jax.vmap(jax.vmap(learn, (None, 0)), (0, None))(target, counted)  # [labels, pairs, 6]
        for i, labels in enumerate(LABELS):
            for j, number in enumerate((FEW, MANY)):
                learned = plan(task, weights[i, j], GREEDY)[1]
                found[f"{labels} labels, {model} model, {number}"] = normalised(greedy(learned))
                if model == "return":
                    reading = greedy(task.features @ weights[i, j])
                    found[f"{labels} labels, return model read as advantage, {number}"] = normalised(reading)
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    tasks = jax.tree.map(lambda *x: jnp.stack(x), *map(draw, seeds))
    found = trial(np.asarray(seeds, np.uint32), tasks, updates)
    return {name: np.asarray(values).tolist() for name, values in found.items()}


CLAIM = Claim(
    name="regret_preference",
    title="Models of Human Preference for Learning Reward Functions",
    year=2024,
    cards=(185,),
    environment=f"random delivery grids of {SIZE} x {SIZE} cells with six features, segments of {LENGTH} steps",
    baseline="segments scored by partial return",
    method="segments scored by regret, which is differentiated through soft planning",
    metric="true return of the best policy for the learned reward, 0 for uniform play and 1 for optimal, at least -1;"
    f" labels by regret, by partial return, or random, for {FEW} and {MANY} pairs",
    conditions=(
        Condition(
            f"labels by regret, {FEW} pairs: regret above partial return",
            f"regret labels, regret model, {FEW}",
            f"regret labels, return model, {FEW}",
            0.2,
            paired=True,
        ),
        Condition("and above 0.9", f"regret labels, regret model, {FEW}", 0.9),
        Condition(
            "and above random labels",
            f"regret labels, regret model, {FEW}",
            f"random labels, regret model, {FEW}",
            0.2,
            paired=True,
        ),
        Condition(
            f"labels of one's own kind, {FEW} pairs: regret above partial return",
            f"regret labels, regret model, {FEW}",
            f"return labels, return model, {FEW}",
            0.2,
            paired=True,
        ),
    ),
    settings={
        "size": SIZE,
        "discount": GAMMA,
        **PLACES,
        "length": LENGTH,
        "temperature": TEMPERATURE,
        "learning_rate": LEARNING_RATE,
    },
    updates=1000,
    steps_per_update=MANY,
    run=run,
    seeds=range(1000, 1020),
)
