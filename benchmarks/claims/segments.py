"""Trajectories of the point robot, and a training loop whose loss is random: what several claims share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from rlx.envs import PointRobot
from rlx.envs.point import PointParams
from rlx.types import Array, PyTree

Policy = Callable[[Array, Array], Array]  # (key, obs) -> action


def trajectory(env: PointRobot, params: PointParams, key: Array, policy: Policy, steps: int) -> dict[str, Array]:
    """`steps` steps from a random start: what was observed before and after each one, the action, and the factors."""
    start_key, run_key = jax.random.split(key)

    def forward(carry: Any, key: Array) -> tuple[Any, dict[str, Array]]:
        obs, state = carry
        action_key, step_key = jax.random.split(key)
        action = policy(action_key, obs)
        next_obs, state, _, _, info = env.step_env(step_key, state, action, params)
        return (next_obs, state), {"obs": obs, "action": action, "next_obs": next_obs, "factor": info["factor"]}

    return jax.lax.scan(forward, env.reset_env(start_key, params), jax.random.split(run_key, steps))[1]


def wander(env: PointRobot, params: PointParams, key: Array, steps: int) -> dict[str, Array]:
    """A trajectory in one random direction, more or less."""
    direction_key, key = jax.random.split(key)
    direction = jax.random.normal(direction_key, (2,))
    return trajectory(env, params, key, lambda key, _: direction + 0.5 * jax.random.normal(key, (2,)), steps)


def minimise(
    key: Array, parameters: PyTree, loss: Callable[[Any, Array], Array], steps: int, learning_rate: Array | float = 1e-3
) -> PyTree:
    """Adam on a scalar `loss(parameters, key)`, which draws its own samples."""
    optimiser = optax.adam(learning_rate)

    def step(carry: tuple[PyTree, PyTree], key: Array) -> tuple[tuple[PyTree, PyTree], None]:
        parameters, state = carry
        updates, state = optimiser.update(jax.grad(loss)(parameters, key), state, parameters)
        return (optax.apply_updates(parameters, updates), state), None

    return jax.lax.scan(step, (parameters, optimiser.init(parameters)), jax.random.split(key, steps))[0][0]
