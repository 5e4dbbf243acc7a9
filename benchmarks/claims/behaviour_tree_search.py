"""Behaviour trees found by mutation and selection come near the optimum, and carry over to grids they never saw.

Grids of 7 x 7 cells with random hazards, a random goal and a random start. A tree's conditions say in which direction
the goal lies and where the next cell is a hazard or out of bounds; its actions are the four moves. A score is the
discounted reward of the goal less a fifth for each hazard entered. Of each generation the best trees, those of before
among them, are kept, and mutated with parts of each other or of random trees; random search scores as many fresh trees.

The paper has a language model write and improve the trees, for games in three dimensions, with networks in some leaves;
here mutation stands in for it, and leaves are rules. PPO, which the method card wants beside it, is left out.

Chosen on seeds 0 to 3 in two rounds: 30 generations of trees with 32 nodes in 48 grids reached 0.70 of the optimum, 60
of trees with 24 nodes in 24 grids, which cost half as much, 0.79, with one search of four stuck at 0.55. Judged are 120
generations with 32 trees kept instead of 16, which were not tried before; that is 7,680 trees, where the method card
hopes for 2,000.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.envs.grid import GridParams, GridWorld, hazards
from rlx.policy import BehaviourTree, bt_mutate, bt_random, bt_tick
from rlx.types import Array

SIDE, STEPS, DISCOUNT, COST = 7, 20, 0.97, 0.2
DENSITY = 0.2  # share of cells that are hazards
LAYOUTS = 24  # to select by; as many others to test on
CAPACITY, KEPT, BORN = 24, 32, 64  # nodes; trees kept and made in each generation
CONDITIONS, ACTIONS, BRANCHES = 12, 4, 4
ENV = GridWorld(hazards(SIDE), costs=True, observation="xy", max_steps=STEPS)
MOVES = jnp.array([[-1, 0], [1, 0], [0, -1], [0, 1]])  # as the environment has them
SIZES = {"conditions": CONDITIONS, "actions": ACTIONS}


def draw_grid(key: Array) -> GridParams:
    hazard_key, place_key = jax.random.split(key)
    hazard = jax.random.bernoulli(hazard_key, DENSITY, (SIDE, SIDE))
    start, goal = (jnp.arange(SIDE**2) == x for x in jax.random.choice(place_key, SIDE**2, (2,), replace=False))
    layout = ENV.default_params.layout._replace(
        start=start.reshape(SIDE, SIDE),
        goal=goal.reshape(SIDE, SIDE),
        hazard=hazard & ~(start | goal).reshape(SIDE, SIDE),
    )
    return ENV.default_params.replace(layout=layout)


def neighbours(cell: Array) -> tuple[Array, Array]:
    """The cells next to one, `[4]`, and whether they exist."""
    place = jnp.stack(jnp.divmod(cell, SIDE)) + MOVES
    inside = jnp.all((place >= 0) & (place < SIDE), axis=-1)
    return jnp.clip(place, 0, SIDE - 1) @ jnp.array([SIDE, 1]), inside


def conditions(cell: Array, params: GridParams) -> Array:
    """bool `[12]`: the goal lies up, down, left, right of here; hazard there; no cell there."""
    goal = jnp.argmax(params.layout.goal.ravel())
    ahead = jnp.stack(jnp.divmod(goal, SIDE)) - jnp.stack(jnp.divmod(cell, SIDE))
    near, inside = neighbours(cell)
    return jnp.concatenate([MOVES @ ahead > 0, params.layout.hazard.ravel()[near], ~inside])


def score(tree: BehaviourTree, key: Array, params: GridParams) -> tuple[Array, Array]:
    """Of an episode in one grid: the score, and whether the goal was reached. No action claimed: up."""

    def step(carry: tuple, xs: tuple[Array, Array]) -> tuple[tuple, Array]:
        state, alive = carry
        key, discount = xs
        _, action = bt_tick(tree, conditions(state.cell, params), jnp.zeros(1, jnp.int32))
        _, after, reward, ended, _ = ENV.step_env(key, state, jnp.maximum(action, 0), params)
        paid = alive * discount * (reward[0] - COST * reward[1])
        return (after, alive & ~ended), paid

    _, state = ENV.reset_env(key, params)
    xs = jax.random.split(key, STEPS), DISCOUNT ** jnp.arange(STEPS)
    (_, alive), paid = jax.lax.scan(step, (state, jnp.ones((), bool)), xs)
    return paid.sum(), ~alive


def optimum(params: GridParams) -> Array:
    """The highest score in a grid, by dynamic programming back from the last step."""
    near, inside = jax.vmap(neighbours)(jnp.arange(SIDE**2))
    near = jnp.where(inside, near, jnp.arange(SIDE**2)[:, None])
    moved = near != jnp.arange(SIDE**2)[:, None]
    goal, hazard = params.layout.goal.ravel(), params.layout.hazard.ravel()
    reward = goal[near] - COST * (hazard[near] & moved)

    def back(value: Array, _: None) -> tuple[Array, None]:
        return jnp.where(goal, 0.0, jnp.max(reward + DISCOUNT * value[near], axis=-1)), None

    value, _ = jax.lax.scan(back, jnp.zeros(SIDE**2), length=STEPS)
    return value[jnp.argmax(params.layout.start.ravel())]


def rows(tree: Any, index: Any) -> Any:
    return jax.tree.map(lambda x: x[index], tree)


def search(key: Array, grids: GridParams, generations: int) -> tuple[BehaviourTree, BehaviourTree]:
    """The best tree of the search, and the best of as many random ones."""
    start_key, loop_key, play_key = jax.random.split(key, 3)
    grow = jax.vmap(lambda key: bt_random(key, CAPACITY, **SIZES, branches=BRANCHES))
    mutate = jax.vmap(lambda key, a, b: bt_mutate(key, a, b, **SIZES))
    play_keys = jax.random.split(play_key, LAYOUTS)

    def fitness(trees: BehaviourTree) -> Array:
        return jax.vmap(lambda tree: jax.vmap(score, (None, 0, 0))(tree, play_keys, grids)[0].mean())(trees)

    def generation(carry: tuple, key: Array) -> tuple[tuple, None]:
        kept, fit, best, best_fit = carry
        parent_key, donor_key, mix_key, fresh_key, first_key, second_key = jax.random.split(key, 6)
        fresh = grow(jax.random.split(fresh_key, BORN))
        parents, others = (rows(kept, jax.random.randint(k, (BORN,), 0, KEPT)) for k in (parent_key, donor_key))
        mixed = jax.random.bernoulli(mix_key, 0.5, (BORN, 1))
        donors = jax.tree.map(lambda x, y: jnp.where(mixed, x, y), others, fresh)
        born = mutate(jax.random.split(first_key, BORN), parents, donors)
        born = mutate(jax.random.split(second_key, BORN), born, donors)
        scores = fitness(jax.tree.map(lambda x, y: jnp.concatenate([x, y]), born, fresh))
        everything = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), kept, born)
        all_fit = jnp.concatenate([fit, scores[:BORN]])
        fit, order = jax.lax.top_k(all_fit, KEPT)
        luckiest = jnp.argmax(scores[BORN:])
        better = scores[BORN + luckiest] > best_fit
        best = jax.tree.map(lambda x, y: jnp.where(better, x, y), rows(fresh, luckiest), best)
        return (rows(everything, order), fit, best, jnp.maximum(best_fit, scores[BORN + luckiest])), None

    first = grow(jax.random.split(start_key, KEPT))
    fit = fitness(first)
    best = jnp.argmax(fit)
    start = first, fit, rows(first, best), fit[best]
    (kept, fit, lucky, _), _ = jax.lax.scan(generation, start, jax.random.split(loop_key, generations))
    return rows(kept, jnp.argmax(fit)), lucky


@functools.partial(jax.jit, static_argnames="generations")
def trial(seed: Array, generations: int) -> dict[str, Array]:
    grid_key, search_key, play_key = jax.random.split(jax.random.key(seed), 3)
    grids = jax.vmap(draw_grid)(jax.random.split(grid_key, 2 * LAYOUTS))
    seen, new = rows(grids, slice(LAYOUTS)), rows(grids, slice(LAYOUTS, None))
    best = jax.vmap(optimum)
    found = {}
    for name, tree in zip(("search", "random"), search(search_key, seen, generations), strict=True):
        for where, part in (("seen", seen), ("new", new)):
            scores, reached = jax.vmap(score, (None, 0, 0))(tree, jax.random.split(play_key, LAYOUTS), part)
            found[f"{name}, {where} grids: share of the optimum"] = scores.mean() / best(part).mean()
            found[f"{name}, {where} grids: success"] = reached.mean()
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.lax.map(lambda seed: trial(seed, updates), jnp.asarray(np.asarray(seeds, np.uint32)))
    return {name: np.asarray(x, np.float64).tolist() for name, x in found.items()}


CLAIM = Claim(
    name="behaviour_tree_search",
    title="Agents Play Thousands of 3D Video Games",
    year=2025,
    cards=(100,),
    environment=f"{SIDE} x {SIDE} grids with random hazards, goal and start, {STEPS} steps",
    baseline="the best of as many random trees; the optimum of each grid by dynamic programming",
    method=f"behaviour trees of at most {CAPACITY} nodes, mutated and selected by their scores in {LAYOUTS} grids",
    metric="mean score in grids as a share of the optimum's",
    conditions=(
        Condition("seen grids: at least 0.9 of the optimum", "search, seen grids: share of the optimum", 0.9),
        Condition(
            "seen grids: above random search",
            "search, seen grids: share of the optimum",
            "random, seen grids: share of the optimum",
            0.05,
            paired=True,
        ),
        Condition(
            "new grids: at most 0.1 below the seen ones",
            "search, new grids: share of the optimum",
            "search, seen grids: share of the optimum",
            -0.1,
            paired=True,
        ),
    ),
    settings={
        "kept": KEPT,
        "born": BORN,
        "branches": BRANCHES,
        "density": DENSITY,
        "cost": COST,
        "discount": DISCOUNT,
    },
    updates=120,
    steps_per_update=2 * BORN * LAYOUTS * STEPS,
    run=run,
)
