"""A point robot on a square, with goals to go to and round obstacles in the way."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check, space
from rlx.envs.interface import at_time_limit, reset, step, strong
from rlx.types import Array

FACTORS = ("distance", "energy", "clearance", "speed")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PointParams:
    goal: Any  # [G, 2]; an episode's is drawn uniformly
    obstacle: Any  # [O, 2], centres
    radius: Any  # [O]
    start: Any = (0.0, 0.0)  # the middle of where episodes start
    spread: Any = 0.2  # how far from it they do, at most, along either axis
    speed: Any = 0.1  # the fastest, per step
    inertia: Any = 0.0  # share of the velocity that is kept from step to step, below 1: 0 is control of the velocity
    sight: Any = 0.5  # the largest clearance
    weight: Any = (-1.0, 0.0, 0.0, 0.0)  # of the factors in the reward
    goal_radius: Any = 0.0  # an episode ends nearer than this to the goal; 0: never
    max_steps_in_episode: Any = 50  # steps

    def replace(self, **changes: Any) -> PointParams:
        return dataclasses.replace(self, **changes)


class PointState(NamedTuple):
    position: Array  # [2] in [-1, 1]
    velocity: Array  # [2] per step
    goal: Array  # int32 []
    time: Array  # int32 [], steps since the reset


class PointRobot:
    """Moves with `v' = inertia v + (1 - inertia) speed a` and `x' = x + v'`, actions within the unit circle.

    Longer actions are cut to length 1. Obstacles and the border of the square are solid: a robot that would be inside
    is put on the rim, and loses its velocity into it. The reward is `weight @ factor` with four factors of a step, also
    in `info["factor"]`: distance from the goal, energy `|a|^2`, clearance (distance from the nearest rim, at most
    `sight`) and speed `|v|`. By default it is minus the distance. Observed are position, velocity as a share of
    `speed` and, with `observe_goal`, the goal's position.

    Known optimum: with the default weights and without obstacles in between, straight on at full speed and to stop
    there; `bound` has its return, which is reached without inertia (if the last step is a shorter one).

    Args:
      goal: `[G, 2]` in [-1, 1].
      obstacle: `[O, 2]`; `O` may be 0.
      radius: `[O]`. Obstacles must not overlap, and have to be larger than a step.
      observe_goal: False hides the goal: a task, or a user, to be found out.
      params: fields of `PointParams`.

    Raises:
      ValueError: for shapes that do not fit, or a goal outside of the square.
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(self, goal: Any, obstacle: Any = (), radius: Any = (), *, observe_goal: bool = True, **params: Any):
        goal = np.asarray(goal, np.float32)
        obstacle, radius = np.asarray(obstacle, np.float32).reshape(-1, 2), np.asarray(radius, np.float32)
        check.require(goal.ndim == 2 and goal.shape[1] == 2, "goal", goal.shape, "of shape [G, 2]")
        check.in_range("goal", goal, -1.0, 1.0)
        check.require(radius.shape == obstacle.shape[:1], "radius", radius.shape, f"of shape [{len(obstacle)}]")
        self.observe_goal = observe_goal
        made = PointParams(goal, obstacle, radius, **params)
        self.default_params: PointParams = strong(
            made.replace(start=np.asarray(made.start, np.float32), weight=np.asarray(made.weight, np.float32))
        )

    def reset_env(self, key: Array, params: PointParams) -> tuple[Array, PointState]:
        place_key, goal_key = jax.random.split(key)
        offset = jax.random.uniform(place_key, (2,), minval=-1.0) * params.spread
        position, _ = _keep_out(params.start + offset, jnp.zeros(2), params)
        goal = jax.random.randint(goal_key, (), 0, params.goal.shape[0])
        state = PointState(position, jnp.zeros(2), goal, jnp.zeros((), jnp.int32))
        return self._observe(state, params), state

    def step_env(
        self, key: Array, state: PointState, action: Array, params: PointParams
    ) -> tuple[Array, PointState, Array, Array, dict[str, Any]]:
        del key
        action = action / jnp.maximum(jnp.linalg.norm(action), 1.0)
        velocity = params.inertia * state.velocity + (1 - params.inertia) * params.speed * action
        position, velocity = _keep_out(state.position + velocity, velocity, params)
        state = PointState(position, velocity, state.goal, state.time + 1)
        distance = jnp.linalg.norm(position - params.goal[state.goal])
        rims = jnp.linalg.norm(position - params.obstacle, axis=-1) - params.radius
        clearance = jnp.maximum(jnp.min(rims, initial=params.sight), 0.0)
        factor = jnp.stack([distance, jnp.sum(action**2), clearance, jnp.linalg.norm(velocity)])
        reward = params.weight @ factor
        return self._observe(state, params), state, reward, distance < params.goal_radius, {"factor": factor}

    def observation_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(-1.0, 1.0, (6 if self.observe_goal else 4,))

    def action_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(-1.0, 1.0, (2,))

    def bound(self, position: Array, goal: Array, params: PointParams | None = None) -> Array:
        """No undiscounted return from rest at `position [..., 2]` is above this with the default weights: `[...]`.

        `- sum_t max(|g - x| - D_t, 0)`, where `D_t = speed sum_{k <= t} (1 - inertia^k)` is how far the robot gets in t
        steps of full speed.
        """
        params = params or self.default_params
        steps = np.arange(1, int(params.max_steps_in_episode) + 1)
        reached = np.cumsum(float(params.speed) * (1 - float(params.inertia) ** steps))
        distance = jnp.linalg.norm(jnp.asarray(goal) - jnp.asarray(position), axis=-1)
        return -jnp.sum(jax.nn.relu(distance[..., None] - jnp.asarray(reached)), axis=-1)

    def _observe(self, state: PointState, params: PointParams) -> Array:
        parts = [state.position, jnp.clip(state.velocity / params.speed, -1.0, 1.0)]
        return jnp.concatenate([*parts, params.goal[state.goal]] if self.observe_goal else parts)


def _keep_out(position: Array, velocity: Array, params: PointParams) -> tuple[Array, Array]:
    """What would be inside an obstacle or outside of the square goes to the rim, and moves no further into it."""

    def push(robot: tuple[Array, Array], disc: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        (position, velocity), (centre, radius) = robot, disc
        away = position - centre
        distance = jnp.linalg.norm(away)
        normal = jnp.where(distance > 0, away / jnp.where(distance > 0, distance, 1.0), jnp.array([1.0, 0.0]))
        inside = distance < radius
        position = jnp.where(inside, centre + radius * normal, position)
        return (position, jnp.where(inside, velocity - jnp.minimum(velocity @ normal, 0.0) * normal, velocity)), None

    (position, velocity), _ = jax.lax.scan(push, (position, velocity), (params.obstacle, params.radius))
    within = jnp.clip(position, -1.0, 1.0)
    return within, jnp.where(within == position, velocity, 0.0)


def goals(n: int = 4, **options: Any) -> PointRobot:
    """`n` goals on a circle of radius 0.8 around the start, one of them drawn for each episode.

    From the middle the best return is -2.8 at the default speed of 0.1: 0.7 + 0.6 + ... + 0.1.
    """
    check.count("n", n)
    angle = 2 * np.pi * (np.arange(n) + 0.5) / n
    return PointRobot(0.8 * np.stack([np.cos(angle), np.sin(angle)], 1), **options)


def obstacles(n: int = 1, **options: Any) -> PointRobot:
    """From the lower left corner to the upper right one, with `n` round obstacles in a row across the way.

    The best return is below `bound`, by what the detour costs.
    """
    check.count("n", n)
    place = np.linspace(-0.7, 0.7, 2 * n + 1)[1::2]
    centres = np.stack([place, place], 1)
    return PointRobot(
        np.array([[0.8, 0.8]]),
        centres,
        np.full(n, min(0.25, 0.6 / n)),
        **{"start": (-0.8, -0.8), "spread": 0.05, **options},
    )
