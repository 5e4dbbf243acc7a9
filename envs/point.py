"""Points on a square: a robot among round obstacles with goals to go to, and a maze of thin walls that pays rarely."""

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
PIXELS = 16  # of an image, along either side
BLUR = 2.0 / PIXELS  # of a spot in it: a pixel
MAP = (20, 20)  # cells of the square, in which visits are counted


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
    `speed` and, with `observe_goal`, the goal's position. `info["place"]` is its cell of `map_shape`.

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

    map_shape = MAP
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
        info = {"factor": factor, "place": _place(position)}
        return self._observe(state, params), state, reward, distance < params.goal_radius, info

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

    def expert(self, obs: Array, params: PointParams | None = None) -> Array:
        """The action straight towards the goal that is observed, `[..., 2]`: optimal without inertia or obstacles.

        Raises:
          ValueError: if the goal is not observed.
        """
        check.require(self.observe_goal, "observe_goal", self.observe_goal, "True, for an expert that reads the goal")
        params = params or self.default_params
        steps = (obs[..., 4:6] - obs[..., :2]) / params.speed
        return steps / jnp.maximum(jnp.linalg.norm(steps, axis=-1, keepdims=True), 1.0)

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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MazeParams:
    wall: Any  # [W, 2, 2], both ends of each
    goal: Any  # [G, 2], centres of the discs that pay
    patrol: Any  # [O, 2, 2], the ends between which each obstacle goes to and fro
    puck: Any  # [2], where it is at first; [0] without one
    start: Any = (0.0, 0.0)  # the middle of where episodes start
    spread: Any = 0.0  # how far from it they do, at most, along either axis
    speed: Any = 0.1  # the fastest, per step along either axis
    radius: Any = 0.06  # of the discs that pay
    patrol_radius: Any = 0.2  # of obstacles
    puck_radius: Any = 0.15  # how near the point comes to the puck before it pushes
    period: Any = 40  # steps in which obstacles go there and back
    max_steps_in_episode: Any = 50  # steps

    def replace(self, **changes: Any) -> MazeParams:
        return dataclasses.replace(self, **changes)


class MazeState(NamedTuple):
    position: Array  # [2] in [-1, 1]
    puck: Array  # [2] in [-1, 1]; [0] without one
    time: Array  # int32 [], steps since the reset


class PointMaze:
    """Moves with `x' = clip(x + speed a, -1, 1)`, and stays where that would cross a wall.

    At the last step before the time limit the reward is `1 - d / radius` of the disc in which the point is, at a
    distance of d from its centre; at all others, and elsewhere, it is 0. A puck is a second point that goes ahead of
    the first, at a distance of `puck_radius` (across walls too); a step that would push it through a wall or out of the
    square is not made. Obstacles go to and fro at a constant speed; to touch one ends the episode. `info` has
    `blocked`, whether the step was not made, `pushed`, whether the puck moved, and `place`, the point's cell of
    `map_shape`.

    Observed are the positions of the point, the puck and the obstacles, one after the other, or an image with a blurred
    spot at each: `[PIXELS, PIXELS, 1 to 3]`, a channel for each kind that there is.

    Known optimum: 1, if the middle of a disc can be reached in time.

    Args:
      wall: `[W, 2, 2]` in [-1, 1], segments without thickness; `W` may be 0.
      goal: `[G, 2]` in [-1, 1], centres of discs that must not overlap; `G` may be 0.
      puck: `[2]` in [-1, 1], where it is at first; None: there is none.
      patrol: `[O, 2, 2]` in [-1, 1]; `O` may be 0.
      image: what is observed.
      params: fields of `MazeParams`.

    Raises:
      ValueError: for shapes that do not fit, points outside of the square, or a puck that a single step could go past.
    """

    map_shape = MAP
    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(
        self,
        wall: Any = (),
        goal: Any = (),
        *,
        puck: Any = None,
        patrol: Any = (),
        image: bool = False,
        **params: Any,
    ):
        wall, goal, patrol = (_points(name, x) for name, x in (("wall", wall), ("goal", goal), ("patrol", patrol)))
        placed = _points("puck", () if puck is None else puck)
        check.require(puck is None or placed.shape == (1, 2), "puck", puck, "of shape [2]")
        for name, x in (("wall", wall), ("patrol", patrol)):
            check.require(len(x) % 2 == 0, name, x.shape, "of shape [N, 2, 2]")
        made = MazeParams(wall.reshape(-1, 2, 2), goal, patrol.reshape(-1, 2, 2), placed.reshape(-1), **params)
        step = float(made.speed) * 2**0.5
        if puck is not None:
            check.require(made.puck_radius > step, "puck_radius", made.puck_radius, f"longer than a step, {step:.3g}")
        self.image = image
        self.default_params: MazeParams = strong(made.replace(start=np.asarray(made.start, np.float32)))

    def reset_env(self, key: Array, params: MazeParams) -> tuple[Array, MazeState]:
        offset = jax.random.uniform(key, (2,), minval=-1.0) * params.spread
        position = jnp.clip(params.start + offset, -1.0, 1.0)
        state = MazeState(position, params.puck, jnp.zeros((), jnp.int32))
        return self._observe(state, params), state

    def step_env(
        self, key: Array, state: MazeState, action: Array, params: MazeParams
    ) -> tuple[Array, MazeState, Array, Array, dict[str, Any]]:
        del key
        position = jnp.clip(state.position + params.speed * jnp.clip(action, -1.0, 1.0), -1.0, 1.0)
        blocked, puck = crosses(state.position, position, params.wall), state.puck
        if puck.size:
            ahead = puck - position
            distance = jnp.maximum(jnp.linalg.norm(ahead), 1e-6)
            puck = position + ahead * jnp.maximum(params.puck_radius / distance, 1.0)
            blocked |= crosses(state.puck, puck, params.wall) | jnp.any(jnp.abs(puck) > 1.0)
            puck = jnp.where(blocked | (distance >= params.puck_radius), state.puck, puck)
        pushed = jnp.any(puck != state.puck)
        state = MazeState(jnp.where(blocked, state.position, position), puck, state.time + 1)
        info = {"blocked": blocked, "pushed": pushed, "place": _place(state.position)}
        distance = jnp.linalg.norm(state.position - _to_and_fro(state.time, params), axis=-1)
        pays = state.time >= params.max_steps_in_episode
        reward = jnp.where(pays, jnp.sum(self.payment(state.position, params)), 0.0)
        return self._observe(state, params), state, reward, jnp.any(distance < params.patrol_radius), info

    def observation_space(self, params: Any = None) -> space.Box:
        del params
        kinds = (1, self.default_params.puck.shape[0] // 2, len(self.default_params.patrol))
        if self.image:
            return space.Box(0.0, 1.0, (PIXELS, PIXELS, sum(n > 0 for n in kinds)))
        return space.Box(-1.0, 1.0, (2 * sum(kinds),))

    def action_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(-1.0, 1.0, (2,))

    def payment(self, position: Array, params: MazeParams | None = None) -> Array:
        """What each disc pays at `position [..., 2]`: `[..., G]`."""
        params = params or self.default_params
        return jax.nn.relu(1 - jnp.linalg.norm(position[..., None, :] - params.goal, axis=-1) / params.radius)

    def _observe(self, state: MazeState, params: MazeParams) -> Array:
        kinds = [state.position[None], state.puck.reshape(-1, 2), _to_and_fro(state.time, params)]
        if self.image:
            return jnp.stack([spots(points) for points in kinds if len(points)], axis=-1)
        return jnp.concatenate(kinds).ravel()


def crosses(start: Array, end: Array, wall: Array) -> Array:
    """Whether the way from `start` to `end`, each `[2]`, leads through one of `wall [W, 2, 2]`: bool `[]`.

    A way crosses a segment if it ends on the other side of its line and the segment ends on the other side of the
    way's. What lies on a line is on its left in either case, so no sequence of ways gets through.
    """
    ends = jnp.stack([start, end])

    def side(point: Array, line: Array) -> Array:
        along, to = line[..., 1, :] - line[..., 0, :], point - line[..., 0, :]
        return along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0] < 0

    apart = side(start, wall) != side(end, wall)
    return jnp.any(apart & (side(wall[..., 0, :], ends) != side(wall[..., 1, :], ends)))


def spots(points: Array) -> Array:
    """An image with a blurred spot at each of `points [N, 2]`: `[PIXELS, PIXELS]`, first axis x, in [0, 1]."""
    middle = (jnp.arange(PIXELS) + 0.5) / PIXELS * 2 - 1
    along = jnp.exp(-0.5 * jnp.square((points[..., None] - middle) / BLUR))  # [N, 2, PIXELS]
    return jnp.max(along[:, 0, :, None] * along[:, 1, None, :], axis=0)


def _place(position: Array) -> Array:
    """The cell of `MAP`, int32 `[2]`."""
    size = jnp.array(MAP)
    return jnp.clip(((position + 1) / 2 * size).astype(jnp.int32), 0, size - 1)


def _to_and_fro(time: Array, params: MazeParams) -> Array:
    """Where obstacles are: `[O, 2]`."""
    share = 1 - jnp.abs(1 - 2 * (time % params.period) / params.period)
    return params.patrol[:, 0] + share * (params.patrol[:, 1] - params.patrol[:, 0])


def _points(name: str, x: Any) -> np.ndarray:
    """`[N, 2]` in the square."""
    points = np.asarray(x, np.float32)
    check.require(points.size == 0 or points.shape[-1] == 2, name, points.shape, "of shape [..., 2]")
    check.in_range(name, points, -1.0, 1.0)
    return points.reshape(-1, 2)


def maze(**options: Any) -> PointMaze:
    """Two rooms, with a passage at the lower end of the wall between them, and a small disc in each; from the left one.

    The best return is 1, in either disc.
    """
    wall, goal = [[[0.0, 1.0], [0.0, -0.5]]], [[0.5, 0.5], [-0.7, -0.7]]
    return PointMaze(wall, goal, **{"start": (-0.5, 0.5), **options})


def puck(**options: Any) -> PointMaze:
    """A puck some way off the start, without walls and without a reward: for skills."""
    return PointMaze(**{"puck": (0.3, 0.3), "start": (-0.3, -0.3), "spread": 0.2, **options})


def patrols(n: int = 1, **options: Any) -> PointMaze:
    """From left to right, across the ways of `n` obstacles that go up and down, to a disc that pays.

    The best return is 1.
    """
    check.count("n", n)
    x = np.linspace(-0.8, 0.8, n + 2)[1:-1]
    up = np.where(np.arange(n) % 2 == 0, 0.8, -0.8)
    patrol = np.stack([np.stack([x, up], 1), np.stack([x, -up], 1)], 1)
    radius = min(0.2, 0.4 / n)
    return PointMaze(
        (), [[0.8, 0.0]], patrol=patrol, **{"start": (-0.8, 0.0), "radius": 0.15, "patrol_radius": radius, **options}
    )
