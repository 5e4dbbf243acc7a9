"""What the claims about sparse rewards share: a point maze whose two small discs alone pay, and its measures."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rlx.algos import novelty_search
from rlx.exploration import grid_cell
from rlx.runtime import train

ENVIRONMENT = (
    "point on a square, 50 steps of at most 0.1 along either axis, blocked by a wall at x = 0 from the top to y = -0.5,"
    " goals of radius {radius} beyond it and beside it; a tanh network 2-8-2 of the position; reward 1 - d / radius at"
    " the last step, 0 elsewhere"
)
START = (-0.5, 0.5)
GOALS = ((0.5, 0.5), (-0.7, -0.7))
RADIUS = 0.06
STEPS, SPEED = 50, 0.1
WALL = -0.5  # its lower end
GENES = 2 * 8 + 8 + 8 * 2 + 2
SIDE, PIXELS = 20, 16
BLUR = 0.125  # of the point's spot in an image: a pixel


def move(position: jax.Array, action: jax.Array) -> jax.Array:
    """A step `[2]`, which is not made if it would cross the wall."""
    moved = jnp.clip(position + SPEED * action, -1.0, 1.0)
    share = position[0] / jnp.where(moved[0] == position[0], 1.0, position[0] - moved[0])  # of the step, at x = 0
    height = position[1] + share * (moved[1] - position[1])
    crossed = ((position[0] < 0) != (moved[0] < 0)) & (height > WALL)
    return jnp.where(crossed, position, moved)


def final_positions(genome: jax.Array) -> jax.Array:
    """Where the points of genomes `[M, GENES]` are at the end: `[M, 2]`."""

    def play(genome: jax.Array) -> jax.Array:
        inward, bias, outward, shift = (
            x.reshape(shape)
            for x, shape in zip(jnp.split(genome, (16, 24, 40)), ((2, 8), (8,), (8, 2), (2,)), strict=True)
        )

        def step(position: jax.Array, _: None) -> tuple[jax.Array, None]:
            action = jnp.tanh(jnp.tanh(position @ inward + bias) @ outward + shift)
            return move(position, action), None

        return jax.lax.scan(step, jnp.array(START), length=STEPS)[0]

    return jax.vmap(play)(genome)


def rewards(position: jax.Array) -> jax.Array:
    """`[M, 2]` -> the reward of either goal `[M, G]`."""
    distance = jnp.linalg.norm(position[:, None] - jnp.array(GOALS), axis=-1)
    return jax.nn.relu(1 - distance / RADIUS)


def image(position: jax.Array) -> jax.Array:
    """A spot where the point is: `[M, 2]` -> one frame of `[M, 1, PIXELS, PIXELS]`."""
    middle = (jnp.arange(PIXELS) + 0.5) / PIXELS * 2 - 1
    along = jnp.exp(-0.5 * jnp.square((position[..., None] - middle) / BLUR))  # [M, 2, PIXELS]
    return (along[:, 0, :, None] * along[:, 1, None, :])[:, None]


def score(images: bool) -> novelty_search.Score:
    """As novelty search calls it: seen are images, or positions."""

    def of(key: jax.Array, genome: jax.Array) -> tuple[jax.Array, jax.Array]:
        position = final_positions(genome)
        return rewards(position).max(axis=1), image(position) if images else position

    return of


def search(
    config: novelty_search.Config,
    space: novelty_search.BehaviourSpace | None,
    seeds: Sequence[int],
    updates: int,
) -> dict[str, list[float]]:
    """Of each seed: `coverage`, cells of 20 x 20 where a solution ended, and `reward`, the mean best of both goals."""
    algorithm = novelty_search.make(
        config,
        score(images=space is not None),
        lambda key: jax.random.uniform(key, (GENES,), minval=-1.0, maxval=1.0),
        space,
    )

    def run(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        state, _ = train(algorithm, key, updates)
        memories = (state.archive, state.rewarded)
        genome = jnp.concatenate([*(memory.solutions.genome for memory in memories), state.population.genome])
        filled = jnp.concatenate([*(memory.filled for memory in memories), jnp.ones(config.population, bool)])
        position = final_positions(genome)
        cell = jnp.where(filled, grid_cell(position, -1.0, 1.0, (SIDE, SIDE)), SIDE**2)
        visited = jnp.zeros(SIDE**2 + 1).at[cell].set(1.0)[: SIDE**2]
        best = jnp.max(rewards(position), axis=0, where=filled[:, None], initial=0.0)
        return visited.mean(), best.mean()

    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    coverage, reward = jax.jit(lambda keys: jax.lax.map(run, keys))(keys)
    return {"coverage": np.asarray(coverage).tolist(), "reward": np.asarray(reward).tolist()}
