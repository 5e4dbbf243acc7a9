"""Noisy comparisons show the utilities behind them, asked for cleverly or not; and choices can be trained to others.

Sixty-four items have normal utilities, their means linear in eight features, and a chooser that draws both afresh for
each answer. Ten answers an edge, for 2 N log2 N or half as many edges, are fitted by normal utilities of unequal
variance. Edges are drawn at random, or chosen in rounds where fitted utilities are close and items seldom compared. The
majority of ten fresh answers to held-out edges is predicted. A chooser without utilities, whose answers are coin
flips, is the control: nothing can be predicted, and its choices go round in circles.

Control of utilities: a network of an item's features that has learned the utilities' choices is tuned to other ones,
on comparisons among half of the items, and asked about pairs of the other half. With target utilities that do not
depend on features, which nobody could generalise, it should fail.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.claims.claim import Claim, Condition
from rlx.envs.items import ItemGraph, compare, item_graph
from rlx.reward import (
    cycle_probability,
    preference_loss,
    select_edges,
    thurstone_fit,
    thurstone_prob,
)
from rlx.types import Array, PyTree

ITEMS, FEATURES, SAMPLES = 64, 8, 10
EDGES = 2 * ITEMS * 6  # 2 N log2 N
ROUND = EDGES // 6  # edges chosen at a time
HELD_OUT = 100  # pairs
HIDDEN = 32
LEARNING_RATE = 3e-3  # of the network
FIRST, SECOND = np.triu_indices(ITEMS, 1)
Edges = tuple[Array, Array, Array]  # items, items, share of answers in which the first was chosen


def fit(edges: Edges, steps: int) -> tuple[Array, Array]:
    return thurstone_fit(*edges, ITEMS, steps=steps)[:2]


def ask(key: Array, items: ItemGraph, first: Array, second: Array) -> Edges:
    return first, second, compare(key, items, first, second, SAMPLES)


def random_edges(key: Array, items: ItemGraph, free: Array, num: int) -> Edges:
    order_key, ask_key = jax.random.split(key)
    chosen = jnp.argsort(jax.random.uniform(order_key, free.shape) + ~free)[:num]
    return ask(ask_key, items, jnp.asarray(FIRST)[chosen], jnp.asarray(SECOND)[chosen])


def active_edges(key: Array, items: ItemGraph, free: Array, num: int, steps: int) -> Edges:
    """A circle through all items, then rounds of pairs that the fit so far calls close."""
    start_key, *keys = jax.random.split(key, 2 + (num - ITEMS) // ROUND + 1)
    order = jax.random.permutation(start_key, ITEMS)
    pair = order, jnp.roll(order, 1)
    edges = ask(keys[0], items, jnp.minimum(*pair), jnp.maximum(*pair))
    for each in keys[1:]:
        size = min(ROUND, num - len(edges[0]))
        if size <= 0:
            break
        mean, _ = fit(edges, steps)
        taken = jnp.zeros((ITEMS, ITEMS), bool).at[FIRST, SECOND].set(~free).at[edges[0], edges[1]].set(True)
        degree = jnp.bincount(jnp.concatenate(edges[:2]), length=ITEMS)
        select_key, ask_key = jax.random.split(each)
        more = ask(ask_key, items, *select_edges(select_key, mean, degree, taken, size)[:2])
        edges = tuple(jnp.concatenate(x) for x in zip(edges, more, strict=True))
    return edges


def judged(key: Array, items: ItemGraph, edges: Edges, held: Array, steps: int) -> dict[str, Array]:
    """Accuracy on the majority of fresh answers to held-out pairs, and how like the true utilities the fitted are."""
    mean, variance = fit(edges, steps)
    first, second = jnp.asarray(FIRST)[held], jnp.asarray(SECOND)[held]
    majority = compare(key, items, first, second, SAMPLES) - 0.5
    right = jnp.where(majority == 0, 0.5, (mean[first] > mean[second]) == (majority > 0))
    return {
        "accuracy": right.mean(),
        "correlation": jnp.corrcoef(mean, items.mean)[0, 1],
        "circles": cycle_probability(thurstone_prob(mean, variance)),
    }


def network(params: PyTree, x: Array) -> Array:
    return jnp.tanh(x @ params["in"] + params["bias"]) @ params["out"]


def tune(params: PyTree, feature: Array, prob: Array, counted: Array, steps: int) -> PyTree:
    """Choices of the network made like `prob [N, N]` on the pairs that count."""
    optimiser = optax.adam(LEARNING_RATE)

    def loss(params: PyTree) -> Array:
        utility = network(params, feature)
        each = preference_loss(utility[:, None] - utility, prob, weight=counted)
        return each.sum() / counted.sum()

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        params, state = carry
        change, state = optimiser.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, change), state), None

    return jax.lax.scan(step, (params, optimiser.init(params)), length=steps)[0][0]


def control(key: Array, depends: bool, steps: int) -> dict[str, Array]:
    """Accuracy on pairs of new items, before and after the network was tuned to other utilities of the same items."""
    old_key, new_key, in_key, out_key = jax.random.split(key, 4)
    items, target = item_graph(old_key, ITEMS, FEATURES), item_graph(new_key, ITEMS, FEATURES, depends=depends)
    # the same features under both: those of the target, by which its utilities may depend on them
    weights = jnp.linalg.lstsq(items.feature, items.mean)[0]
    old = target.feature @ weights
    old = (old - old.mean()) / old.std()
    seen = jnp.arange(ITEMS) < ITEMS // 2
    pairs, new = (seen[:, None] & seen).astype(jnp.float32), ~seen[:, None] & ~seen & ~jnp.eye(ITEMS, dtype=bool)
    params = {
        "in": jax.random.normal(in_key, (FEATURES, HIDDEN)) / FEATURES**0.5,
        "bias": jnp.zeros(HIDDEN),
        "out": jax.random.normal(out_key, (HIDDEN,)) / HIDDEN**0.5,
    }
    wanted = target.mean[:, None] > target.mean

    def accuracy(params: PyTree) -> Array:
        utility = network(params, target.feature)
        return jnp.sum(((utility[:, None] > utility) == wanted) & new) / new.sum()

    everything = 1.0 - jnp.eye(ITEMS)
    before = tune(params, target.feature, thurstone_prob(old, items.variance), everything, steps)
    after = tune(before, target.feature, thurstone_prob(target.mean, target.variance), pairs, steps)
    return {"before": accuracy(before), "after": accuracy(after)}


@functools.partial(jax.jit, static_argnames="steps")
@functools.partial(jax.vmap, in_axes=(0, None))
def trial(seed: Array, steps: int) -> dict[str, Array]:
    graph_key, hold_key, flip_key, judge_key, edge_key, control_key = jax.random.split(jax.random.key(seed), 6)
    items = item_graph(graph_key, ITEMS, FEATURES)
    order = jax.random.permutation(hold_key, len(FIRST))
    held, free = order[:HELD_OUT], jnp.zeros(len(FIRST), bool).at[order[HELD_OUT:]].set(True)
    arms = {
        f"{name}, {part}": edges
        for part, num in (("all edges", EDGES), ("half", EDGES // 2))
        for name, edges in (
            ("random", random_edges(edge_key, items, free, num)),
            ("active", active_edges(edge_key, items, free, num, steps)),
        )
    }
    found = {
        f"{name}: {figure}": x
        for name, edges in arms.items()
        for figure, x in judged(judge_key, items, edges, held, steps).items()
    }

    first, second, _ = arms["random, all edges"]
    coins = jnp.mean(jax.random.bernoulli(flip_key, 0.5, (SAMPLES, EDGES)), 0)
    without = ItemGraph(items.feature, jnp.zeros(ITEMS), jnp.ones(ITEMS))
    found["no utilities: accuracy"] = judged(judge_key, without, (first, second, coins), held, steps)["accuracy"]
    asked = jnp.mean(jax.random.bernoulli(flip_key, 0.5, (SAMPLES, ITEMS, ITEMS)), 0)
    found["no utilities: circles of answers"] = cycle_probability(jnp.triu(asked, 1) + jnp.tril(1 - asked.T, -1))

    for name, depends in (("of features", True), ("of nothing", False)):
        for when, x in control(control_key, depends, steps).items():
            found[f"control, utilities {name}: {when}"] = x
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = {name: np.asarray(x, np.float64) for name, x in trial(np.asarray(seeds, np.uint32), updates).items()}
    for part in ("all edges", "half"):
        found[f"lead of active, {part}"] = found[f"active, {part}: accuracy"] - found[f"random, {part}: accuracy"]
    return {name: values.tolist() for name, values in found.items()}


CLAIM = Claim(
    name="utility_engineering",
    title="Utility Engineering: Analyzing and Controlling Emergent Value Systems in AIs",
    year=2025,
    cards=(34,),
    environment=f"{ITEMS} items with normal utilities of {FEATURES} features, {SAMPLES} answers for each of {EDGES} edges"
    " (or half as many)",
    baseline="a chooser without utilities; for control, target utilities that do not depend on features",
    method="utilities fitted to a chooser's answers; a network tuned to other utilities on half of the items",
    metric=f"correlation with the true utilities; accuracy on the majority of fresh answers to {HELD_OUT} held-out pairs;"
    " for control, on pairs of the other half of the items",
    conditions=(
        Condition("correlation, random edges: above 0.97", "random, all edges: correlation", 0.97),
        Condition("accuracy, random edges: above 0.93", "random, all edges: accuracy", 0.93),
        Condition("accuracy, active edges: at most 0.01 lower", "lead of active, all edges", -0.01),
        Condition(
            "accuracy: above that without utilities", "random, all edges: accuracy", "no utilities: accuracy", 0.3
        ),
        Condition(
            "probability of a circle: below that without utilities",
            "random, all edges: circles",
            "no utilities: circles of answers",
            0.15,
            direction=-1,
        ),
        Condition("control, new items: above 0.9", "control, utilities of features: after", 0.9),
        Condition(
            "control: above utilities that depend on nothing",
            "control, utilities of features: after",
            "control, utilities of nothing: after",
            0.3,
        ),
    ),
    settings={"samples": SAMPLES, "edges": EDGES, "round": ROUND, "hidden": HIDDEN, "learning_rate": LEARNING_RATE},
    updates=1000,  # steps of every fit
    steps_per_update=EDGES,
    run=run,
    seeds=range(1000, 1020),
)
