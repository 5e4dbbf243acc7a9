"""An agent that names what it has done and composes new goals of what it masters can do more than one with given goals.

Twelve events, entering certain cells of two rooms, of which the door and all behind it need the key. In each episode
the agent draws a goal of its library by learning progress, repeats the shortest actions that have led to it, or, if
none has, to the largest part of it, and goes on at random. With relabelling all goals that the episode has reached are
recorded, whatever it was after, and events that happen for the first time become goals: the library begins empty.
With the generator, goals of two mastered ones are added. Without relabelling the twelve events are given, and only the
goal that was pursued is recorded.

All are judged by the same list, of all sets of one to three events: those count that a fresh replay of some stored
actions reaches.

In the paper language models name, compose and judge goals in a text game, and a policy is trained; here sets of events
take the place of sentences, nobody errs, and replay with random steps that of the policy.

Tried on seeds 0 to 4 with 100 and 600 episodes; nothing was changed after that.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.envs import make
from rlx.exploration import GoalLibrary, add_goal, compose_goal, goal_prob, goals_reached, init_goals, record_goal
from rlx.types import Array

ENV, PARAMS = make("rlx/keydoor-11")
LANDMARKS = (  # row, column
    *((10, 0), (5, 5)),  # key and door
    *((0, 4), (5, 0), (10, 4), (3, 2), (7, 3)),
    *((0, 6), (5, 10), (10, 10), (10, 6), (2, 8)),
)
ATOMS = len(LANDMARKS)
LISTED = np.array([np.isin(np.arange(ATOMS), c) for n in (1, 2, 3) for c in itertools.combinations(range(ATOMS), n)])
STEPS = 100  # of an episode
CAPACITY, WINDOW = 256, 10
COMPOSE = 0.5  # share of episodes after which a goal is composed
REPEAT = 0.5  # probability that a random step is the same as the one before
HINDSIGHT = 8  # goals recorded after an episode, those that were never reached before first
ARMS = {  # whether episodes are relabelled, and goals composed
    "full": (True, True),
    "no generator": (True, False),
    "no relabelling": (False, False),
}


def atom_of(cell: Array) -> Array:
    """The event of entering a cell, -1 for none."""
    places = jnp.array([row * ENV.width + column for row, column in LANDMARKS])
    hit = cell[..., None] == places
    return jnp.where(hit.any(-1), jnp.argmax(hit, axis=-1), -1)


def play(action: Array) -> Array:
    """The events `[T]` of actions `[T]` from the start."""
    _, first = ENV.reset_env(jax.random.key(0), PARAMS)

    def step(carry: tuple, action: Array) -> tuple[tuple, Array]:
        state, ended = carry
        _, after, _, terminated, _ = ENV.step_env(jax.random.key(0), state, action, PARAMS)
        atom = jnp.where(ended | (after.cell == state.cell), -1, atom_of(after.cell))
        return (after, ended | terminated), atom

    return jax.lax.scan(step, (first, jnp.zeros((), bool)), action)[1]


def explore(key: Array) -> Array:
    """Random actions `[T]`, often repeated."""
    repeat_key, action_key = jax.random.split(key)
    repeat = jax.random.bernoulli(repeat_key, REPEAT, (STEPS,)).at[0].set(False)
    since = jax.lax.cummax(jnp.where(repeat, 0, jnp.arange(STEPS)))
    return jax.random.randint(action_key, (STEPS,), 0, ENV.num_actions)[since]


def nearest_part(library: GoalLibrary, goal: Array) -> Array:
    """The reached goal with the most atoms among those that are part of `goal`, itself if it was reached."""
    part = library.valid & (library.length > 0) & jnp.all(~library.atoms | library.atoms[goal], axis=-1)
    return jnp.argmax(jnp.where(part, library.atoms.sum(-1), -1))


def mastered(library: GoalLibrary) -> Array:
    rate = library.outcomes.sum(-1) / jnp.clip(library.tries, 1, WINDOW)
    return library.valid & (rate > 0.5)


def episode(library: GoalLibrary, key: Array, relabel: bool, generate: bool) -> tuple[GoalLibrary, None]:
    goal_key, explore_key, hindsight_key, compose_key, coin_key = jax.random.split(key, 5)
    prob = goal_prob(library.outcomes, library.tries, library.valid)
    goal = jax.random.categorical(goal_key, jnp.log(prob))  # of an empty library: 0, which has no way either
    start = nearest_part(library, goal)
    known = library.valid[start] & (library.length[start] > 0)
    known &= jnp.all(~library.atoms[start] | library.atoms[goal])
    length = jnp.where(known, library.length[start], 0)
    action = jnp.where(jnp.arange(STEPS) < length, library.action[start], explore(explore_key))
    atom = play(action)

    if relabel:

        def name(library: GoalLibrary, i: Array) -> tuple[GoalLibrary, None]:
            return add_goal(library, jnp.arange(ATOMS) == i, jnp.any(atom == i))[0], None

        library, _ = jax.lax.scan(name, library, jnp.arange(ATOMS))
    reached, steps = goals_reached(library.atoms, atom)
    library = record_goal(library, jnp.where(library.valid[goal], goal, -1), reached[goal], action, steps[goal])
    if relabel:
        others = reached & library.valid & (jnp.arange(CAPACITY) != goal)
        order = others * (1.0 + (library.length == 0) + jax.random.uniform(hindsight_key, others.shape))
        _, rows = jax.lax.top_k(order, HINDSIGHT)

        def record(library: GoalLibrary, row: Array) -> tuple[GoalLibrary, None]:
            return record_goal(library, jnp.where(others[row], row, -1), others[row], action, steps[row]), None

        library, _ = jax.lax.scan(record, library, rows)
    if generate:
        atoms, possible = compose_goal(compose_key, library.atoms, mastered(library))
        library, _ = add_goal(library, atoms, possible & jax.random.bernoulli(coin_key, COMPOSE))
    return library, None


def arm(key: Array, episodes: int, relabel: bool, generate: bool) -> dict[str, Array]:
    library = init_goals(CAPACITY, ATOMS, window=WINDOW, horizon=STEPS)
    if not relabel:
        given = jnp.arange(CAPACITY) < ATOMS
        library = library._replace(atoms=jnp.eye(CAPACITY, ATOMS, dtype=bool), valid=given)
    keys = jax.random.split(key, episodes)
    library, _ = jax.lax.scan(lambda library, key: episode(library, key, relabel, generate), library, keys)

    def replayed(action: Array, length: Array) -> Array:  # bool [listed]
        atom = play(action)
        return goals_reached(jnp.asarray(LISTED), atom, jnp.arange(STEPS) < length)[0]

    reached = jax.vmap(replayed)(library.action, library.length)
    can = jnp.any(reached & library.valid[:, None], axis=0)
    return {"": can.sum(), ": events": can[:ATOMS].sum(), ": goals in the library": library.valid.sum()}


@functools.partial(jax.jit, static_argnames="episodes")
@functools.partial(jax.vmap, in_axes=(0, None))
def trial(seed: Array, episodes: int) -> dict[str, dict[str, Array]]:
    return {name: arm(jax.random.key(seed), episodes, *switches) for name, switches in ARMS.items()}


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = trial(np.asarray(seeds, np.uint32), updates)
    return {
        name + what: np.asarray(x, np.float64).tolist() for name, parts in found.items() for what, x in parts.items()
    }


CLAIM = Claim(
    name="autotelic_goals",
    title="Augmenting Autotelic Agents with Large Language Models",
    year=2023,
    cards=(14,),
    environment="rlx/keydoor-11 with twelve events, entering certain cells; episodes of 100 steps",
    baseline="the same without the generator of goals; with neither, for the twelve events as given goals",
    method="a library of goals that grows by relabelling episodes and composing mastered goals",
    metric=f"how many of the {len(LISTED)} sets of one to three events a replay of stored actions reaches",
    conditions=(
        Condition("goals mastered, over no generator", "full", "no generator", paired=True),
        Condition("goals mastered without generator, over no relabelling", "no generator", "no relabelling"),
    ),
    settings={
        "capacity": CAPACITY,
        "window": WINDOW,
        "compose": COMPOSE,
        "repeat": REPEAT,
        "hindsight": HINDSIGHT,
        "landmarks": LANDMARKS,
    },
    updates=2000,
    steps_per_update=STEPS,
    run=run,
    seeds=range(1000, 1020),
)
