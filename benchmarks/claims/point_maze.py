"""What the claims about sparse rewards share: searches of the point maze, whose two small discs alone pay."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlx.algos import novelty_search
from rlx.envs import make
from rlx.envs.point import spots
from rlx.exploration import grid_cell
from rlx.runtime import train

GENES = 2 * 8 + 8 + 8 * 2 + 2
CONFIG = novelty_search.Config(generations=25)
CLIMBING = {"emitters": True, "founder_scale": GENES**-0.5}
UPDATES, EVALUATIONS = 20, 2 * CONFIG.population * CONFIG.generations  # in all, and of each
METRIC = "share of 20 x 20 cells in which a kept solution ends; best reward of a kept one, mean of both goals"
SIDE = 20  # cells of the coverage
MAZE, PARAMS = make("rlx/point-maze")
ENVIRONMENT = (
    "rlx/point-maze: a point on a square, 50 steps of at most 0.1 along either axis, blocked by a wall at x = 0 from"
    f" the top to y = -0.5, goals of radius {float(PARAMS.radius):g} beyond it and beside it; a tanh network 2-8-2 of"
    " the position; reward 1 - d / radius at the last step, 0 elsewhere"
)


def final_positions(genome: jax.Array) -> jax.Array:
    """Where the points of genomes `[M, GENES]` are at the end: `[M, 2]`."""

    def play(genome: jax.Array) -> jax.Array:
        inward, bias, outward, shift = (
            x.reshape(shape)
            for x, shape in zip(jnp.split(genome, (16, 24, 40)), ((2, 8), (8,), (8, 2), (2,)), strict=True)
        )
        key = jax.random.key(0)  # nothing is random

        def step(state: Any, _: None) -> tuple[Any, None]:
            action = jnp.tanh(jnp.tanh(state.position @ inward + bias) @ outward + shift)
            return MAZE.step_env(key, state, action, PARAMS)[1], None

        steps = int(PARAMS.max_steps_in_episode)
        return jax.lax.scan(step, MAZE.reset_env(key, PARAMS)[1], length=steps)[0].position

    return jax.vmap(play)(genome)


def image(position: jax.Array) -> jax.Array:
    """One frame of `[M, 1, PIXELS, PIXELS]` with a spot where the point is, `[M, 2]`."""
    return jax.vmap(spots)(position[:, None])[:, None]


def score(images: bool) -> novelty_search.Score:
    """As novelty search calls it: seen are images, or positions."""

    def of(key: jax.Array, genome: jax.Array) -> tuple[jax.Array, jax.Array]:
        position = final_positions(genome)
        return MAZE.payment(position).max(axis=1), image(position) if images else position

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
        best = jnp.max(MAZE.payment(position), axis=0, where=filled[:, None], initial=0.0)
        return visited.mean(), best.mean()

    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    coverage, reward = jax.jit(lambda keys: jax.lax.map(run, keys))(keys)
    return {"coverage": np.asarray(coverage).tolist(), "reward": np.asarray(reward).tolist()}


def compare(
    variants: Mapping[str, tuple[Mapping[str, Any], novelty_search.BehaviourSpace | None]],
    seeds: Sequence[int],
    updates: int,
) -> dict[str, list[float]]:
    """`search` for each of several changes to the settings and behaviour spaces: `"name: measure"` of each seed."""
    return {
        f"{name}: {measure}": values
        for name, (changes, space) in variants.items()
        for measure, values in search(dataclasses.replace(CONFIG, **changes), space, seeds, updates).items()
    }
