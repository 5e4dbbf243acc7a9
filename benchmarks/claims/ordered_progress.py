"""A judge of shuffled frames tells successes from failures by the order of what it sees; one of ordered ones cannot.

Grids of 7 x 7 cells with random walls. A judge learns progress, from the first frame to the last, on noisy shortest
ways to goals in some grids. It sees, for each frame of an episode, the way to the goal and the walls around, those of
the first frame, and the mean of what it makes of all frames. One judge gets frames in random order; another gets them
in their order, with their times. On other grids both judge successes and random walks, each by the rank correlation of
their values with time: the first should tell them apart, the second finds all of them in order. Then a policy is cloned
from a half-and-half mixture, in each grid: from all episodes, or from those that the first judge finds in order.

In the paper the judge is a vision-language model that was trained on neither; here a small network of sets stands in,
and frames are features. Success of a clone is exact, of its frequencies of actions in each cell.

Tried on seeds 0 and 1 with 300 updates, where the judges could tell 0.88 and 0.54 apart, and with 1000 (0.93 and 0.50);
nothing was changed.
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
from benchmarks.claims.task_grid import AROUND, CELLS, SIDE, around, distances, offset, scatter
from rlx.nets.network import MLP
from rlx.reward import auroc
from rlx.types import Array, PyTree
from rlx.value import shuffled_progress_batch, td_loss, value_order_correlation

FRAMES = 16  # of an episode
DENSITY = 0.2  # of walls
NOISE = 0.2  # share of random actions on a success
GRIDS, EPISODES = 8, 16  # to judge by, and of each kind in each grid
BATCH = 32  # episodes in an update
THRESHOLD = 0.5  # of the correlation, to keep an episode
SHUFFLES = 3  # orders that an episode is judged in
STEPS = 3 * SIDE  # that a clone has
WIDTH = 32  # of layers
LEARNING_RATE = 3e-3
FRAME = 2 + AROUND
NETWORK = MLP((WIDTH, WIDTH), "relu")
MOVES = jnp.array([[-1, 0], [1, 0], [0, -1], [0, 1]])


def leads(wall: Array) -> Array:
    """The cell that each action leads to from each cell, int `[S, A]`."""
    place = jnp.stack(jnp.divmod(jnp.arange(CELLS), SIDE), -1)
    there = place[:, None] + MOVES
    cell = jnp.clip(there[..., 0], 0, SIDE - 1) * SIDE + jnp.clip(there[..., 1], 0, SIDE - 1)
    possible = jnp.all((there >= 0) & (there < SIDE), -1) & ~wall.ravel()[cell]
    return jnp.where(possible, cell, jnp.arange(CELLS)[:, None])


def draw_grid(key: Array) -> tuple[Array, Array, Array]:
    """Walls, the goal, and where each action leads."""
    wall, (goal,) = scatter(key, DENSITY, 1)
    return wall, goal, leads(wall)


def play(key: Array, grid: tuple, random: Array | bool) -> tuple[Array, Array]:
    """Cells `[FRAMES]` and actions from a start that is not near: towards the goal with noise, or at random.

    A success stays at its goal once it is there.
    """
    wall, goal, after = grid
    start_key, walk_key = jax.random.split(key)
    apart = distances(wall, goal).ravel()
    far = jnp.isfinite(apart) & (apart >= 4)
    start = jax.random.categorical(start_key, jnp.where(far, 0.0, jnp.where(jnp.isfinite(apart), -20.0, -1e9)))

    def step(cell: Array, key: Array) -> tuple[Array, tuple[Array, Array]]:
        coin_key, action_key, tie_key = jax.random.split(key, 3)
        best = jnp.argmin(apart[after[cell]] + 0.5 * jax.random.uniform(tie_key, (4,)))
        chance = random | jax.random.bernoulli(coin_key, NOISE)
        action = jnp.where(chance, jax.random.randint(action_key, (), 0, 4), best)
        there = jnp.where((cell == goal) & ~jnp.asarray(random), cell, after[cell, action])
        return there, (cell, action)

    _, (cell, action) = jax.lax.scan(step, start, jax.random.split(walk_key, FRAMES))
    return cell, action


def frames_of(cell: Array, grid: tuple) -> Array:
    """`[FRAMES, FRAME]`."""
    wall, goal, _ = grid
    see = jax.vmap(lambda cell: jnp.concatenate([offset(cell, goal), around(wall, cell)]))
    return see(cell)


def judged(params: PyTree, frames: Array, time: Array) -> Array:
    """Progress `[FRAMES]`, of frames and times in any order."""
    inputs = jnp.concatenate([frames, time[:, None]], -1)
    each: Any = NETWORK.apply(params["each"], inputs)
    context = jnp.broadcast_to(jnp.concatenate([each.mean(0), each[0]]), (len(frames), 2 * WIDTH))
    joint: Any = NETWORK.apply(params["joint"], jnp.concatenate([each, context], -1))
    return (joint @ params["out"])[:, 0]


def asked(key: Array, frames: Array, ordered: bool) -> tuple[Array, Array, Array, Array]:
    """Frames, the times that are shown, where frames were, and the progress that is right."""
    if ordered:
        order = jnp.arange(FRAMES)
        return frames, order / (FRAMES - 1), order, order / (FRAMES - 1)
    shuffled, order, progress = shuffled_progress_batch(key, frames)
    return shuffled, jnp.zeros(FRAMES), order, progress


def train(key: Array, updates: int, ordered: bool) -> PyTree:
    each_key, joint_key, out_key, key = jax.random.split(key, 4)
    params = {
        "each": NETWORK.init(each_key, jnp.zeros(FRAME + 1)),
        "joint": NETWORK.init(joint_key, jnp.zeros(3 * WIDTH)),
        "out": 0.1 * jax.random.normal(out_key, (WIDTH, 1)),
    }
    optimiser = optax.adam(LEARNING_RATE)

    def episode(key: Array) -> Any:
        grid_key, play_key, ask_key = jax.random.split(key, 3)
        grid = draw_grid(grid_key)
        return asked(ask_key, frames_of(play(play_key, grid, False)[0], grid), ordered)

    def update(carry: tuple, key: Array) -> tuple[tuple, None]:
        params, state = carry
        frames, time, _, progress = jax.vmap(episode)(jax.random.split(key, BATCH))

        def loss(params: PyTree) -> Array:
            return td_loss(jax.vmap(judged, (None, 0, 0))(params, frames, time), progress).mean()

        change, state = optimiser.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, change), state), None

    (params, _), _ = jax.lax.scan(update, (params, optimiser.init(params)), jax.random.split(key, updates))
    return params


def correlation(params: PyTree, key: Array, frames: Array, ordered: bool) -> Array:
    """Of the values of an episode with time, over a few orders, `[]`."""

    def once(key: Array) -> Array:
        shown, time, order, _ = asked(key, frames, ordered)
        return value_order_correlation(judged(params, shown, time)[jnp.argsort(order)])

    return jax.vmap(once)(jax.random.split(key, SHUFFLES)).mean()


def clone(cell: Array, action: Array, weight: Array, grid: tuple) -> Array:
    """How often the clone of weighted episodes `[E]` gets to the goal in time, from all starts, `[]`."""
    wall, goal, after = grid
    count = jnp.zeros((CELLS, 4)).at[cell, action].add(weight[:, None] * (cell != goal))
    seen = count.sum(1, keepdims=True)
    policy = jnp.where(seen > 0, count / jnp.where(seen > 0, seen, 1), 0.25)
    reach = jnp.arange(CELLS) == goal

    def back(chance: Array, _: None) -> tuple[Array, None]:
        return jnp.where(reach, 1.0, jnp.sum(policy * chance[after], axis=1)), None

    chance, _ = jax.lax.scan(back, reach.astype(jnp.float32), length=STEPS)
    start = jnp.isfinite(distances(wall, goal).ravel()) & ~reach
    return jnp.sum(jnp.where(start, chance, 0)) / jnp.maximum(start.sum(), 1)


@functools.partial(jax.jit, static_argnames="updates")
@functools.partial(jax.vmap, in_axes=(0, None))
def trial(seed: Array, updates: int) -> dict[str, Array]:
    train_key, grid_key, key = jax.random.split(jax.random.key(seed), 3)
    grids = jax.vmap(draw_grid)(jax.random.split(grid_key, GRIDS))
    random = jnp.arange(2 * EPISODES) >= EPISODES

    def in_grid(key: Array, grid: tuple) -> tuple[Array, Array, Array]:
        cell, action = jax.vmap(play, (0, None, 0))(jax.random.split(key, 2 * EPISODES), grid, random)
        return cell, action, jax.vmap(frames_of, (0, None))(cell, grid)

    cell, action, frames = jax.vmap(in_grid)(jax.random.split(key, GRIDS), grids)
    flat = frames.reshape(-1, FRAMES, FRAME)
    keys = jax.random.split(key, len(flat))
    failed = jnp.tile(random, GRIDS)
    found, order = {}, {}
    for name, ordered in (("shuffled", False), ("ordered", True)):
        params = train(train_key, updates, ordered)
        order[name] = jax.vmap(correlation, (None, 0, 0, None))(params, keys, flat, ordered)
        found[f"{name}: successes"] = jnp.mean(order[name], where=~failed)
        found[f"{name}: random walks"] = jnp.mean(order[name], where=failed)
        found[f"{name}: told apart"] = auroc(order[name], ~failed)
    kept = (order["shuffled"] > THRESHOLD).astype(jnp.float32).reshape(GRIDS, -1)
    found["clone of what is in order"] = jax.vmap(clone)(cell, action, kept, grids).mean()
    found["clone of all"] = jax.vmap(clone)(cell, action, jnp.ones_like(kept), grids).mean()
    truth = jnp.broadcast_to(~random, kept.shape).astype(jnp.float32)
    found["clone of successes"] = jax.vmap(clone)(cell, action, truth, grids).mean()
    return found | {"share kept": kept.mean()}


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = trial(np.asarray(seeds, np.uint32), updates)
    return {name: np.asarray(x, np.float64).tolist() for name, x in found.items()}


CLAIM = Claim(
    name="ordered_progress",
    title="Vision Language Models are In-Context Value Learners",
    year=2024,
    cards=(153,),
    environment=f"{SIDE} x {SIDE} grids with random walls, episodes of {FRAMES} frames",
    baseline="a judge of ordered frames; cloning of all episodes",
    method="a judge of shuffled frames; cloning of the episodes that it finds in order",
    metric="rank correlation of values with time; area under the curve; share of starts from which a clone succeeds",
    conditions=(
        Condition(
            "order of successes, over random walks", "shuffled: successes", "shuffled: random walks", 0.4, paired=True
        ),
        Condition("told apart, over 0.85", "shuffled: told apart", 0.85),
        Condition("told apart, over ordered frames", "shuffled: told apart", "ordered: told apart", 0.25, paired=True),
        Condition(
            "success of the clone, over all episodes", "clone of what is in order", "clone of all", 0.1, paired=True
        ),
    ),
    settings={
        "frames": FRAMES,
        "density": DENSITY,
        "noise": NOISE,
        "threshold": THRESHOLD,
        "width": WIDTH,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
    },
    updates=1000,
    steps_per_update=BATCH * FRAMES,
    run=run,
)
