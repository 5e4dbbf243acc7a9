"""Imagined frames become a policy without any learning: the nearest real states, and the mean of their features.

A room, and a log of random steps without any reward. Forward and backward features learn the successor measures of the
best policies for all tasks at once. Then goals are given: by their reward, for which the task is its mean with the
backward features; and by frames of an expert on its way, as someone would imagine them. Frames are random vectors, one
for each cell, and imagined ones have noise added; they are matched to the nearest frames of the log, and the task is
the mean of their backward features. Judged is what the policy for that task returns of the goal's reward, as a share
of the optimum, from all starts; the baseline is a task at random. The imitator is rewarded for the whole way of the
expert, so its share of the goal's reward understates it.

A language model and a video model imagine in the paper; here the look of frames is all there is to it.

Tried once, on seeds 0 and 1, and nothing was changed but the noise of frames that are not part of the conditions: at
1.0, 99 in 100 of them were still matched.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.claims.claim import Claim, Condition
from rlx.envs import GoalGrid
from rlx.envs.grid import open_room
from rlx.types import Array, PyTree
from rlx.value import forward_backward_loss, orthonormality_loss, project_nearest, take_action, task_vector

ENV = GoalGrid(open_room(6))
CELLS, ACTIONS = ENV.num_cells, ENV.num_actions
EPISODES, LENGTH = 100, 100  # of the log
SIZE, WIDTH = 24, 64  # of the features, of the hidden layer
GOALS, WAYS, FRAMES = 12, 6, 10  # of a seed; of the expert, to each goal, and on each way
LOOK = 32  # numbers in a frame
NOISE = {"clear": 0.1, "noisy": 2.0, "very noisy": 4.0}  # of what is imagined, to numbers of unit variance
SETTINGS = {"discount": 0.9, "learning_rate": 3e-3, "tau": 0.02, "orthonormality": 1.0, "batch": 64, "mix": 0.5}
AFTER = jnp.asarray(ENV.after)
RADIUS = SIZE**0.5


def forward(params: PyTree, cell: Array, z: Array) -> Array:
    """`[2, N, A, SIZE]`."""
    hidden = jax.nn.relu(params["cell"][:, cell] + jnp.einsum("nd,hdw->hnw", z, params["task"]))
    return jnp.einsum("hnw,hwk->hnk", hidden, params["out"]).reshape(2, len(cell), ACTIONS, SIZE)


def choose(params: PyTree, cell: Array, z: Array) -> Array:
    """The best action for the task."""
    return jnp.einsum("hnad,nd->na", forward(params, cell, z), z).argmax(-1)


def on_sphere(x: Array) -> Array:
    return task_vector(x[..., None, :], radius=RADIUS)


def learn(key: Array, cell: Array, action: Array, after: Array, updates: int) -> PyTree:
    keys = jax.random.split(key, 5)
    params = {
        "cell": jax.random.normal(keys[0], (2, CELLS, WIDTH)),
        "task": jax.random.normal(keys[1], (2, SIZE, WIDTH)) / RADIUS,
        "out": 0.1 * jax.random.normal(keys[2], (2, WIDTH, ACTIONS * SIZE)),
        "backward": jax.random.normal(keys[3], (CELLS, SIZE)),
    }
    optimiser = optax.adam(SETTINGS["learning_rate"])
    size = SETTINGS["batch"]

    def update(carry: tuple, key: Array) -> tuple[tuple, None]:
        params, target, state = carry
        row_key, z_key, other_key, mix_key = jax.random.split(key, 4)
        row = jax.random.randint(row_key, (size,), 0, len(cell))
        other = after[jax.random.randint(other_key, (size,), 0, len(cell))]
        mixed = jax.random.bernoulli(mix_key, SETTINGS["mix"], (size, 1))
        z = on_sphere(jnp.where(mixed, params["backward"][other], jax.random.normal(z_key, (size, SIZE))))
        here, taken, there = cell[row], action[row], after[row]
        best = choose(target, there, z)

        def of(params: PyTree, at: Array, chosen: Array) -> Array:
            found = forward(params, at, z)
            return jnp.take_along_axis(found, chosen[None, :, None, None], axis=2)[:, :, 0]

        def loss(params: PyTree) -> Array:
            back = params["backward"][there]
            fixed = of(target, there, best), target["backward"][there]
            measure = forward_backward_loss(of(params, here, taken), back, *fixed, SETTINGS["discount"])
            return (measure + SETTINGS["orthonormality"] * orthonormality_loss(back)).mean()

        change, state = optimiser.update(jax.grad(loss)(params), state)
        params = optax.apply_updates(params, change)
        return (params, optax.incremental_update(params, target, SETTINGS["tau"]), state), None

    carry = (params, params, optimiser.init(params))
    return jax.lax.scan(update, carry, jax.random.split(key, updates))[0][0]


def returned(action: Array, goal: Array) -> Array:
    """Discounted number of steps that end at the goal, of actions `[S]`, mean over starts."""

    def back(value: Array, _: None) -> tuple[Array, None]:
        return take_action(jnp.where(goal == AFTER, 1.0, 0.0) + SETTINGS["discount"] * value[AFTER], action), None

    return jax.lax.scan(back, jnp.zeros(CELLS), length=150)[0].mean()


def best_actions(goal: Array) -> Array:
    def back(value: Array, _: None) -> tuple[Array, None]:
        return (jnp.where(goal == AFTER, 1.0, 0.0) + SETTINGS["discount"] * value[AFTER]).max(1), None

    value, _ = jax.lax.scan(back, jnp.zeros(CELLS), length=150)
    return (jnp.where(goal == AFTER, 1.0, 0.0) + SETTINGS["discount"] * value[AFTER]).argmax(1)


def expert(key: Array, goal: Array) -> Array:
    """Cells that it comes to from a few starts, `[WAYS FRAMES]`."""
    start = jax.random.randint(key, (WAYS,), 0, CELLS)
    action = best_actions(goal)

    def step(cell: Array, _: None) -> tuple[Array, Array]:
        cell = AFTER[cell, action[cell]]
        return cell, cell

    return jax.lax.scan(step, start, length=FRAMES)[1].ravel()


@functools.partial(jax.jit, static_argnames="updates")
@functools.partial(jax.vmap, in_axes=(0, None))
def trial(seed: Array, updates: int) -> dict[str, Array]:
    log_key, learn_key, goal_key, look_key, key = jax.random.split(jax.random.key(seed), 5)
    log = ENV.log(log_key, EPISODES, LENGTH, noise=1.0)
    cell, after = (x["observation"].ravel() for x in (log.obs, log.next_obs))
    params = learn(learn_key, cell, log.action.ravel(), after, updates)
    look = jax.random.normal(look_key, (CELLS, LOOK))  # of each cell
    backward = params["backward"]

    def for_goal(key: Array, goal: Array) -> dict[str, Array]:
        expert_key, random_key, *keys = jax.random.split(key, 2 + len(NOISE))
        best = returned(best_actions(goal), goal)

        def share(z: Array) -> Array:
            tasks = jnp.broadcast_to(on_sphere(z), (CELLS, SIZE))
            return returned(choose(params, jnp.arange(CELLS), tasks), goal) / best

        visited = expert(expert_key, goal)
        found = {
            "reward": share(task_vector(backward[after], (after == goal).astype(jnp.float32))),
            "random task": share(jax.random.normal(random_key, (SIZE,))),
            "frames of the expert themselves": share(task_vector(backward[visited])),
        }
        for key, (name, noise) in zip(keys, NOISE.items(), strict=True):
            imagined = look[visited] + noise * jax.random.normal(key, (len(visited), LOOK))
            nearest = after[:1000][project_nearest(imagined, look[after[:1000]])]
            found[f"{name} frames"] = share(task_vector(backward[nearest]))
            found[f"{name} frames: matched"] = jnp.mean(nearest == visited)
        return found

    goals = jax.random.choice(goal_key, CELLS, (GOALS,), replace=False)
    return jax.tree.map(jnp.mean, jax.lax.map(lambda x: for_goal(*x), (jax.random.split(key, GOALS), goals)))


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = trial(np.asarray(seeds, np.uint32), updates)
    return {name: np.asarray(x, np.float64).tolist() for name, x in found.items()}


CLAIM = Claim(
    name="imagined_imitation",
    title="RL Zero: Zero-Shot Language to Behaviors without any Supervision",
    year=2024,
    cards=(212,),
    environment="an empty room of 6 x 6 cells (GoalGrid)",
    baseline="a task at random",
    method="the task of rewards, and of imagined frames by way of the nearest real ones",
    metric=f"discounted return of a goal's reward as a share of the optimum's, over {GOALS} goals and all starts",
    conditions=(
        Condition("return for a reward, over 0.85", "reward", 0.85),
        Condition("return for imagined frames, over 0.4", "clear frames", 0.4),
        Condition("imagined frames, over a random task", "clear frames", "random task", 0.25, paired=True),
    ),
    settings={**SETTINGS, "size": SIZE, "width": WIDTH, "noise": NOISE, "ways": (WAYS, FRAMES)},
    updates=3000,
    steps_per_update=64,
    run=run,
)
