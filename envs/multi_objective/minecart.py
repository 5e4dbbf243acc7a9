"""Minecart: drive to mines, dig two ores, come back; sparse rewards for ore, dense ones for fuel."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import space
from rlx.envs.interface import at_time_limit, reset, step, strong
from rlx.types import Array

ACTIONS = ("mine", "left", "right", "accelerate", "brake", "none")
_MINE, _LEFT, _RIGHT, _ACCELERATE, _BRAKE, _ = range(len(ACTIONS))
_SUB_STEPS = 4  # of one step, all with the same action
_TURN = 10.0  # degrees in a sub-step
_ACCELERATION, _DECELERATION = 0.0075, 1.0  # change of speed in a sub-step
_AT_REST = 0.001  # speed below which the cart stands, and can mine
_BASE_RADIUS, _MINE_RADIUS = 0.15, 0.14
_ROUNDING = 1e-6
_FUEL_IDLE, _FUEL_ACCELERATE, _FUEL_MINE = 0.005, 0.025, 0.05  # in a sub-step; the last two on top of the first
_MINES = ((0.16, 0.84), (0.5, 0.84), (0.84, 0.84), (0.84, 0.5), (0.84, 0.16))
_ORE = ((0.2, 0.0), (0.15, 0.1), (0.2, 0.2), (0.1, 0.15), (0.0, 0.2))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MinecartParams:
    mines: Any = _MINES  # [M, 2]: places, in the unit square
    ore: Any = _ORE  # [M, 2]: mean amounts of each ore that a sub-step of mining gives
    ore_deviation: Any = 0.05  # their standard deviation; negative amounts count as none
    capacity: Any = 1.5  # ore that the cart holds
    max_steps_in_episode: Any = 1000  # steps

    def replace(self, **changes: Any) -> MinecartParams:
        return dataclasses.replace(self, **changes)


class MinecartState(NamedTuple):
    position: Array  # [2]
    speed: Array  # []
    angle: Array  # [], degrees
    content: Array  # [2]: of each ore
    departed: Array  # bool []: has left the base
    time: Array  # int32 [], steps since the reset


class Minecart:
    """A cart in the unit square with five mines: `(ore 1, ore 2, fuel)`; ore is paid on return to the base, the end.

    Actions, each repeated for four sub-steps: mine, turn left, turn right, accelerate, brake, none. Mining needs a
    standing cart within 0.14 of a mine, and gives from the nearest a random amount of each ore, scaled down to what the
    cart still holds. Fuel is -0.005 a sub-step, and another -0.025 to accelerate or -0.05 to mine. At a wall the cart
    slides along and turns by ten degrees. The base is at the origin; the episode ends when the cart comes back to
    within 0.15 of it. Observation: position, speed, sine and cosine of the angle, content over capacity.

    `deterministic` mines give their mean amounts. The exact front is not known.

    Source: Abels et al., "Dynamic Weights in Multi-Objective Deep Reinforcement Learning" (2019).
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    reward_channels = ("ore 1", "ore 2", "fuel")
    reference_point = (-1.0, -1.0, -200.0)  # 1000 steps of accelerating cost 120, of mining 220

    def __init__(self, deterministic: bool = False):
        params = MinecartParams(mines=jnp.asarray(_MINES), ore=jnp.asarray(_ORE))
        self.default_params = strong(params.replace(ore_deviation=0.0) if deterministic else params)

    def reset_env(self, key: Array, params: MinecartParams) -> tuple[Array, MinecartState]:
        del key
        zero = jnp.zeros(())
        state = MinecartState(
            jnp.zeros(2), zero, zero + 45.0, jnp.zeros(2), jnp.zeros((), bool), jnp.zeros((), jnp.int32)
        )
        return _observe(state, params), state

    def step_env(
        self, key: Array, state: MinecartState, action: Array, params: MinecartParams
    ) -> tuple[Array, MinecartState, Array, Array, dict[str, Any]]:
        def sub_step(carry: tuple[MinecartState, Array], key: Array) -> tuple[tuple[MinecartState, Array], None]:
            state, home = carry
            after = _move(_act(key, state, action, params))
            inside = jnp.linalg.norm(after.position) < _BASE_RADIUS
            after = after._replace(departed=after.departed | ~inside)
            return jax.tree.map(
                lambda old, new: jnp.where(home, old, new), carry, (after, inside & after.departed)
            ), None

        keys = jax.random.split(key, _SUB_STEPS)
        (state, home), _ = jax.lax.scan(sub_step, (state, jnp.zeros((), bool)), keys)
        fuel = _FUEL_IDLE + _FUEL_ACCELERATE * (action == _ACCELERATE) + _FUEL_MINE * (action == _MINE)
        sold = jnp.where(home, state.content, 0.0)
        reward = jnp.append(sold, -_SUB_STEPS * fuel)
        state = state._replace(content=state.content - sold, time=state.time + 1)
        return _observe(state, params), state, reward, home, {}

    def observation_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(-1.0, 1.0, (7,))

    def action_space(self, params: Any = None) -> space.Discrete:
        del params
        return space.Discrete(len(ACTIONS))


def _observe(state: MinecartState, params: MinecartParams) -> Array:
    angle = jnp.deg2rad(state.angle)
    direction = jnp.stack([state.speed, jnp.sin(angle), jnp.cos(angle)])
    return jnp.concatenate([state.position, direction, state.content / params.capacity])


def _act(key: Array, state: MinecartState, action: Array, params: MinecartParams) -> MinecartState:
    """Turn, change speed or mine."""
    turn = _TURN * ((action == _RIGHT) * 1.0 - (action == _LEFT))
    push = _ACCELERATION * (action == _ACCELERATE) - _DECELERATION * (action == _BRAKE)
    distance = jnp.linalg.norm(params.mines - state.position, axis=-1)
    nearest = jnp.argmin(distance)
    mining = (action == _MINE) & (state.speed < _AT_REST) & (distance[nearest] <= _MINE_RADIUS)
    ore = jnp.maximum(params.ore[nearest] + params.ore_deviation * jax.random.normal(key, (2,)), 0.0)
    free = params.capacity - jnp.sum(state.content)
    ore = ore * jnp.minimum(1.0, free / jnp.maximum(jnp.sum(ore), 1e-9))
    return state._replace(
        angle=jnp.where(turn == 0, state.angle, (state.angle + turn) % 360.0),
        speed=jnp.clip(state.speed + push, 0.0, 1.0),
        content=state.content + mining * ore,
    )


def _move(state: MinecartState) -> MinecartState:
    """One sub-step of motion; a cart that stands stays."""
    angle = jnp.deg2rad(state.angle)
    velocity = state.speed * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    # single precision may miss a wall that it returns to
    on_low, on_high = state.position <= _ROUNDING, state.position >= 1.0 - _ROUNDING
    into_wall = (on_high & (velocity > 0)) * 1.0 - (on_low & (velocity < 0))  # [2], 1 and -1: high and low walls
    # along a wall of one coordinate the other one moves, unless it is in a corner
    slides = ~(on_low | on_high)[::-1] & (jnp.abs(velocity[::-1]) > _AT_REST)
    turn = into_wall * slides * jnp.sign(velocity[::-1])
    position = jnp.clip(state.position + velocity, 0.0, 1.0)
    moved = state._replace(
        position=position,
        speed=jnp.linalg.norm(position - state.position),
        angle=state.angle + _TURN * (turn[0] - turn[1]),
    )
    return jax.tree.map(lambda old, new: jnp.where(state.speed < _AT_REST, old, new), state, moved)
