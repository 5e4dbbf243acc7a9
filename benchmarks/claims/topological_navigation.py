"""An agent that maps its way and picks where to go next by novelty covers more of four rooms than a flat learner.

Q-learning on tables. The two-level agent draws a graph of landmarks, each within 1.5 cells of the cells that belong to
it. Every 25 steps it picks one by novelty, closeness to the goal once that is known, and the cost of the way; it goes
from landmark to landmark along the shortest way known, by a table that learns from each step to reach every landmark,
and when it is there, on at random. The flat learners have one table for the reward of the task, one of them with a
bonus for cells by their number of visits.

The paper navigates a robot with images by deep networks; here a grid stands in for both.

Chosen on seeds 0 to 3. A first version learned from each step once: neither level got anywhere, and the flat learners
covered more. Now all tables learn from the steps of a choice backwards when it is over. Of the cost of the way, 0.1 and
0.02, the second covered more (0.42 and 0.66 of the cells); a weight for landmarks with a single edge added nothing
(0.68). Of the counts, bonuses of 0.1 and 0.01 with optimistic first values and 0.1 without, the best is the baseline.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.envs import make
from rlx.envs.grid import GridState
from rlx.exploration import TopologicalGraph, count_bonus, init_graph, shortest_paths, subgoal_score, topo_graph_update
from rlx.types import Array

ENV, PARAMS = make("rlx/fourrooms-21")
CELLS, FREE = ENV.height * ENV.width, int(np.sum(~np.asarray(PARAMS.layout.wall)))
OPTION = 25  # steps between choices of a landmark
NODES, RADIUS = 120, 1.5
EPSILON, DISCOUNT = 0.1, 0.99
NOVELTY, GOAL, COST, FRONTIER = 1.0, 0.5, 0.02, 0.0  # weights of the score of a landmark
BONUS, OPTIMISM = 0.01, 1.0  # of the learner with counts, for the first visit
LAST = 5  # success is counted in the last fifth of the steps


class Step(NamedTuple):
    cell: Array  # int [], before
    action: Array  # int []
    after: Array  # int [], the cell come to
    paid: Array  # the reward of a flat learner, or the landmark that `after` belongs to
    at_goal: Array  # bool []
    done: Array  # bool [], at the goal or out of time


def follow(
    key: Array, choices: int, novelty: Array | float, cost: Array | float = COST, frontier: Array | float = FRONTIER
) -> Step:
    """`choices` times `OPTION` steps of the two-level agent: leaves `[T]`."""

    def place(cell: Array) -> Array:
        return jnp.stack(jnp.divmod(cell, ENV.width)).astype(jnp.float32)

    def choose(graph: TopologicalGraph, node: Array, goal: Array) -> Array:
        """The landmark to go to from each one on the way to the chosen one: `[N]`."""
        distance, first = shortest_paths(graph.cost)
        apart = jnp.where(goal < 0, jnp.inf, distance[:, goal])
        degree = jnp.isfinite(graph.cost).sum(-1) - 1
        weights = dict(novelty=novelty, goal=GOAL, cost=cost, frontier=frontier)
        score = subgoal_score(graph.visits, degree, distance[node], apart, graph.mask, **weights)
        return first[:, jnp.argmax(score)]

    def step(carry: tuple, key: Array) -> tuple[tuple, Step]:
        q, graph, state, node, goal, way = carry
        there = (way[node] == node) | (way[node] < 0)
        action_key, step_key = jax.random.split(key)
        action = choose_action(action_key, q[way[node], state.cell], jnp.where(there, 1.0, EPSILON))
        after, at_goal, done, following = act(step_key, state, action)
        graph, here, _ = topo_graph_update(graph, place(after.cell), node, radius=RADIUS)
        goal = jnp.where(at_goal, here, goal)
        again, start, _ = topo_graph_update(graph, place(following.cell), -1, radius=RADIUS)
        graph, node = jax.tree.map(lambda x, y: jnp.where(done, x, y), (again, start), (graph, here))
        return (q, graph, following, node, goal, way), Step(state.cell, action, after.cell, here, at_goal, done)

    def learn(q: Array, seen: Step) -> tuple[Array, None]:
        reached = jnp.arange(NODES) == seen.paid
        target = jnp.where(reached, 1.0, DISCOUNT * q[:, seen.after].max(-1))
        return q.at[:, seen.cell, seen.action].set(target), None

    def option(carry: tuple, key: Array) -> tuple[tuple, Step]:
        _, graph, _, node, goal = carry
        way = choose(graph, node, goal)
        (q, *others, _), seen = jax.lax.scan(step, (*carry, way), jax.random.split(key, OPTION))
        q, _ = jax.lax.scan(learn, q, seen, reverse=True)
        return (q, *others), seen

    _, first = ENV.reset_env(key, PARAMS)
    graph, node, _ = topo_graph_update(init_graph(NODES, 2), place(first.cell), -1)
    start = jnp.zeros((NODES, CELLS, 4)), graph, first, node, jnp.full((), -1, jnp.int32)
    return flatten(jax.lax.scan(option, start, jax.random.split(key, choices))[1])


def flat(key: Array, choices: int, bonus: Array | float, optimism: Array | float = 0.0) -> Step:
    """The same of a learner with one table, whose first values are `optimism` times the highest that they can be."""

    def step(carry: tuple, key: Array) -> tuple[tuple, Step]:
        q, visits, state = carry
        action_key, step_key = jax.random.split(key)
        action = choose_action(action_key, q[state.cell], EPSILON)
        after, at_goal, done, following = act(step_key, state, action)
        visits = visits.at[after.cell].add(1.0)
        paid = at_goal + bonus * count_bonus(visits[after.cell])
        return (q, visits, following), Step(state.cell, action, after.cell, paid, at_goal, done)

    def learn(q: Array, seen: Step) -> tuple[Array, None]:
        target = seen.paid + DISCOUNT * ~seen.at_goal * q[seen.after].max()
        return q.at[seen.cell, seen.action].set(target), None

    def option(carry: tuple, key: Array) -> tuple[tuple, Step]:
        (q, *others), seen = jax.lax.scan(step, carry, jax.random.split(key, OPTION))
        q, _ = jax.lax.scan(learn, q, seen, reverse=True)
        return (q, *others), seen

    _, first = ENV.reset_env(key, PARAMS)
    start = jnp.full((CELLS, 4), optimism * bonus / (1 - DISCOUNT)), jnp.zeros(CELLS), first
    return flatten(jax.lax.scan(option, start, jax.random.split(key, choices))[1])


def choose_action(key: Array, q: Array, epsilon: Array | float) -> Array:
    explore_key, action_key, tie_key = jax.random.split(key, 3)
    greedy = jnp.argmax(q + 1e-6 * jax.random.uniform(tie_key, (4,)))
    return jnp.where(jax.random.bernoulli(explore_key, epsilon), jax.random.randint(action_key, (), 0, 4), greedy)


def act(key: Array, state: GridState, action: Array) -> tuple[GridState, Array, Array, GridState]:
    """The state after a step, whether it is the goal, whether the episode ended, and the state to go on from."""
    _, after, _, at_goal, _ = ENV.step_env(key, state, action, PARAMS)
    done = at_goal | ENV.is_truncated(after, PARAMS)
    _, first = ENV.reset_env(key, PARAMS)
    return after, at_goal, done, jax.tree.map(lambda x, y: jnp.where(done, x, y), first, after)


def flatten(seen: Step) -> Step:
    return jax.tree.map(jnp.ravel, seen)


ARMS = {
    "two levels": functools.partial(follow, novelty=NOVELTY),
    "two levels without novelty": functools.partial(follow, novelty=0.0),
    "count bonus": functools.partial(flat, bonus=BONUS, optimism=OPTIMISM),
    "flat": functools.partial(flat, bonus=0.0),
}


def measures(seen: Step) -> dict[str, Array]:
    at_goal, done, steps = seen.at_goal, seen.done, seen.cell.size
    last = jnp.arange(steps) >= steps - steps // LAST
    return {
        ": coverage": jnp.zeros(CELLS).at[seen.after].set(1.0).sum() / FREE,
        ": steps to the goal": jnp.where(at_goal.any(), jnp.argmax(at_goal) + 1, steps),
        ": success": jnp.sum(at_goal & last) / jnp.maximum(jnp.sum(done & last), 1),
    }


@functools.partial(jax.jit, static_argnames="choices")
@functools.partial(jax.vmap, in_axes=(0, None))
def trial(seed: Array, choices: int) -> dict[str, dict[str, Array]]:
    return {name: measures(arm(jax.random.key(seed), choices)) for name, arm in ARMS.items()}


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = trial(np.asarray(seeds, np.uint32), updates)
    return {
        name + what: np.asarray(x, np.float64).tolist() for name, parts in found.items() for what, x in parts.items()
    }


CLAIM = Claim(
    name="topological_navigation",
    title="TopoNav: Topological Navigation for Efficient Exploration in Sparse Reward Environments",
    year=2024,
    cards=(9,),
    environment="rlx/fourrooms-21: the goal 40 steps away, 150 allowed",
    baseline="Q-learning with a count bonus; without; two levels without novelty",
    method="a graph of landmarks, of which the next to go to is picked by novelty, goal and cost",
    metric="share of cells visited in 5000 steps",
    conditions=(
        Condition("coverage, over a count bonus", "two levels: coverage", "count bonus: coverage"),
        Condition("coverage, over a flat learner", "two levels: coverage", "flat: coverage"),
        Condition("coverage, over no novelty", "two levels: coverage", "two levels without novelty: coverage"),
    ),
    settings={
        "option": OPTION,
        "nodes": NODES,
        "radius": RADIUS,
        "epsilon": EPSILON,
        "discount": DISCOUNT,
        "weights": (NOVELTY, GOAL, COST, FRONTIER),
        "bonus": BONUS,
    },
    updates=200,
    steps_per_update=OPTION,
    run=run,
)
