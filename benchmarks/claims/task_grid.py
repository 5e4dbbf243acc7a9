"""Random grids as a space of tasks, seen by a compass to what is wanted and the walls around."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from rlx import space
from rlx.envs.grid import GridParams, GridState, GridWorld, open_room
from rlx.envs.wrappers import Wrapper
from rlx.types import Array

SIDE = 7
CELLS = SIDE**2
VIEW = 2  # cells seen to each side
AROUND = (2 * VIEW + 1) ** 2


def scatter(key: Array, density: Array | float, num: int) -> tuple[Array, Array]:
    """Random walls bool `[H, W]`, and `num` different cells that are free of them."""
    wall_key, cell_key = jax.random.split(key)
    cells = jax.random.permutation(cell_key, CELLS)[:num]
    wall = jax.random.bernoulli(wall_key, density, (CELLS,)).at[cells].set(False)
    return wall.reshape(SIDE, SIDE), cells


def at(*cells: Array) -> Array:
    """Maps bool `[H, W]` that are true in these cells."""
    return jnp.isin(jnp.arange(CELLS), jnp.stack(cells)).reshape(SIDE, SIDE)


def offset(cell: Array, target: Array) -> Array:
    """Rows and columns from one cell to the other, in widths of the grid: `[2]`."""
    return (jnp.stack(jnp.divmod(target, SIDE)) - jnp.stack(jnp.divmod(cell, SIDE))) / SIDE


def around(blocked: Array, cell: Array) -> Array:
    """Where there is no way, near a cell: `[25]`."""
    padded = jnp.pad(blocked, VIEW, constant_values=True)
    near = jax.lax.dynamic_slice(padded, jnp.divmod(cell, SIDE), (2 * VIEW + 1, 2 * VIEW + 1))
    return near.ravel().astype(jnp.float32)


def distances(blocked: Array, source: Array) -> Array:
    """Steps from every cell to one, `[H, W]`, infinite where there is no way."""

    def relax(_: int, distance: Array) -> Array:
        padded = jnp.pad(distance, 1, constant_values=jnp.inf)
        near = jnp.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
        return jnp.where(blocked, jnp.inf, jnp.minimum(distance, near.min(0) + 1))

    return jax.lax.fori_loop(0, CELLS // 2 + 1, relax, jnp.where(at(source), 0.0, jnp.inf))


class Compass(Wrapper):
    """Observes where goal and key lie, whether the key is there, or held, and where there is no way: `[31]`."""

    def __init__(self, steps: int):
        super().__init__(GridWorld(open_room(SIDE), observation="xy", max_steps=steps))

    def reset_env(self, key: Array, params: GridParams) -> tuple[Array, GridState]:
        _, state = self.env.reset_env(key, params)
        return self.observe(state, params), state

    def step_env(
        self, key: Array, state: GridState, action: Array, params: GridParams
    ) -> tuple[Array, GridState, Array, Array, Any]:
        _, state, reward, terminated, info = self.env.step_env(key, state, action, params)
        return self.observe(state, params), state, reward, terminated, info

    def observe(self, state: GridState, params: GridParams) -> Array:
        layout, cell = params.layout, state.cell
        there = layout.key.any() & ~state.has_key
        ways = [offset(cell, jnp.argmax(layout.goal)), there * offset(cell, jnp.argmax(layout.key))]
        blocked = layout.wall | (layout.door & ~state.has_key)
        return jnp.concatenate([*ways, jnp.stack([there, state.has_key]), around(blocked, cell)])

    def observation_space(self, params: Any) -> space.Box:
        del params
        return space.Box(-1.0, 1.0, (6 + AROUND,))
