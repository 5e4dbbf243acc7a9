"""An agent that maps its way and picks where to go next by novelty covers more of four rooms than a flat learner.

Q-learning on tables. The two-level agent draws a graph of landmarks, each within 1.5 cells of the cells that belong to
it. Every 25 steps it picks one by novelty, closeness to the goal once that is known, and the cost of the way; it goes
from landmark to landmark along the shortest way known, by a table that learns from each step to reach every landmark,
and when it is there, on at random. The flat learners have one table for the reward of the task, one of them with a
bonus for cells by their number of visits.

The paper navigates a robot with images by deep networks; here a grid stands in for both.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.envs import make
from rlx.envs.grid import GridState
from rlx.exploration import count_bonus, init_graph, shortest_paths, subgoal_score, topo_graph_update
from rlx.types import Array

ENV, PARAMS = make("rlx/fourrooms-21")
CELLS, FREE = ENV.height * ENV.width, int(np.sum(~np.asarray(PARAMS.layout.wall)))
OPTION = 25  # steps between choices of a landmark
NODES, RADIUS = 120, 1.5
EPSILON, DISCOUNT, STEP_SIZE = 0.1, 0.99, 0.5
NOVELTY, GOAL, COST = 1.0, 0.5, 0.1  # weights of the score of a landmark
BONUS = 0.1  # of the learner with counts, for the first visit
LAST = 5  # success is counted in the last fifth of the steps


def follow(key: Array, choices: int, novelty: Array | float) -> tuple[Array, Array, Array]:
    """`choices` times 25 steps of the two-level agent: cells come to `[T]`, whether at the goal, and episode's end."""

    def place(cell: Array) -> Array:
        return jnp.stack(jnp.divmod(cell, ENV.width)).astype(jnp.float32)

    def choose(graph: tuple, node: Array, goal: Array) -> Array:
        """The landmark to go to from each one: `[N]`."""
        distance, first = shortest_paths(graph.cost)
        apart = jnp.where(goal < 0, jnp.inf, distance[:, goal])
        edge = jnp.isfinite(graph.cost)
        score = subgoal_score(
            graph.visits, edge.sum(-1) - 1, distance[node], apart, graph.mask, novelty=novelty, goal=GOAL, cost=COST
        )
        return first[:, jnp.argmax(score)]

    def step(carry: tuple, key: Array) -> tuple[tuple, tuple[Array, Array, Array]]:
        q, graph, state, node, goal, way = carry
        explore_key, action_key, tie_key, step_key = jax.random.split(key, 4)
        target = way[node]
        there = (target == node) | (target < 0)
        greedy = jnp.argmax(q[target, state.cell] + 1e-6 * jax.random.uniform(tie_key, (4,)))
        at_random = there | jax.random.bernoulli(explore_key, EPSILON)
        action = jnp.where(at_random, jax.random.randint(action_key, (), 0, 4), greedy)
        after, _, terminated, done, following = act(step_key, state, action)
        graph, here, _ = topo_graph_update(graph, place(after.cell), node, radius=RADIUS)
        reached = jnp.arange(NODES) == here
        target = jnp.where(reached, 1.0, DISCOUNT * q[:, after.cell].max(-1))
        q = q.at[:, state.cell, action].add(STEP_SIZE * (target - q[:, state.cell, action]))
        goal = jnp.where(terminated, here, goal)
        graph, start, _ = jax.tree.map(
            lambda x, y: jnp.where(done, x, y),
            topo_graph_update(graph, place(following.cell), -1, radius=RADIUS),
            (graph, here, jnp.zeros((), bool)),
        )
        return (q, graph, following, start, goal, way), (after.cell, terminated, done)

    def option(carry: tuple, key: Array) -> tuple[tuple, tuple[Array, Array, Array]]:
        _, graph, _, node, goal = carry
        way = choose(graph, node, goal)
        (*carry, _), seen = jax.lax.scan(step, (*carry, way), jax.random.split(key, OPTION))
        return tuple(carry), seen

    _, first = ENV.reset_env(key, PARAMS)
    graph, node, _ = topo_graph_update(init_graph(NODES, 2), place(first.cell), -1)
    start = jnp.zeros((NODES, CELLS, 4)), graph, first, node, jnp.full((), -1, jnp.int32)
    _, seen = jax.lax.scan(option, start, jax.random.split(key, choices))
    return tuple(x.ravel() for x in seen)


def act(key: Array, state: GridState, action: Array) -> tuple[GridState, Array, Array, Array, GridState]:
    """The state after a step, reward, whether at the goal, whether the episode ended, and the state to go on from."""
    _, after, reward, terminated, _ = ENV.step_env(key, state, action, PARAMS)
    done = terminated | ENV.is_truncated(after, PARAMS)
    _, first = ENV.reset_env(key, PARAMS)
    return after, reward, terminated, done, jax.tree.map(lambda x, y: jnp.where(done, x, y), first, after)


def flat(key: Array, choices: int, bonus: Array | float) -> tuple[Array, Array, Array]:
    """The same of a learner with one table."""

    def step(carry: tuple, key: Array) -> tuple[tuple, tuple[Array, Array, Array]]:
        q, visits, state = carry
        explore_key, action_key, tie_key, step_key = jax.random.split(key, 4)
        greedy = jnp.argmax(q[state.cell] + 1e-6 * jax.random.uniform(tie_key, (4,)))
        at_random = jax.random.bernoulli(explore_key, EPSILON)
        action = jnp.where(at_random, jax.random.randint(action_key, (), 0, 4), greedy)
        after, reward, terminated, done, following = act(step_key, state, action)
        visits = visits.at[after.cell].add(1.0)
        paid = reward + bonus * count_bonus(visits[after.cell])
        target = paid + DISCOUNT * ~terminated * q[after.cell].max()
        q = q.at[state.cell, action].add(STEP_SIZE * (target - q[state.cell, action]))
        return (q, visits, following), (after.cell, terminated, done)

    _, first = ENV.reset_env(key, PARAMS)
    start = jnp.zeros((CELLS, 4)), jnp.zeros(CELLS), first
    return jax.lax.scan(step, start, jax.random.split(key, choices * OPTION))[1]


ARMS = {
    "two levels": functools.partial(follow, novelty=NOVELTY),
    "two levels without novelty": functools.partial(follow, novelty=0.0),
    "count bonus": functools.partial(flat, bonus=BONUS),
    "flat": functools.partial(flat, bonus=0.0),
}


def measures(cell: Array, at_goal: Array, done: Array) -> dict[str, Array]:
    steps = cell.size
    last = jnp.arange(steps) >= steps - steps // LAST
    return {
        ": coverage": jnp.zeros(CELLS).at[cell].set(1.0).sum() / FREE,
        ": steps to the goal": jnp.where(at_goal.any(), jnp.argmax(at_goal) + 1, steps),
        ": success": jnp.sum(at_goal & last) / jnp.maximum(jnp.sum(done & last), 1),
    }


@functools.partial(jax.jit, static_argnames="choices")
@functools.partial(jax.vmap, in_axes=(0, None))
def trial(seed: Array, choices: int) -> dict[str, dict[str, Array]]:
    return {name: measures(*arm(jax.random.key(seed), choices)) for name, arm in ARMS.items()}


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
        "step_size": STEP_SIZE,
        "weights": (NOVELTY, GOAL, COST),
        "bonus": BONUS,
    },
    updates=200,
    steps_per_update=OPTION,
    run=run,
    seeds=range(1000, 1020),
)
