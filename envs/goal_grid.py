"""Grid worlds in which every cell can be the goal, and logs of them that were made for no goal in particular.

The observation holds the goal: `{"observation": cell, "goal": cell}`, both numbers `row * W + column`, or places scaled
to [-1, 1]. Distances between all cells are known exactly, `GoalGrid.distances`, and with them the best value of every
state for every goal: `-(1 - gamma^d) / (1 - gamma)` at a cost of 1 a step, `gamma^(d - 1)` for a reward of 1.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from rlx import check, space
from rlx.envs.grid import GridParams, GridState, GridWorld, Layout
from rlx.envs.interface import at_time_limit, reset, step
from rlx.types import Array, Transition
from rlx.value import step_distances

OBSERVATIONS = ("cell", "xy")


class GoalState(NamedTuple):
    cell: Array  # int32 []
    goal: Array  # int32 []
    time: Array  # int32 [], steps since the reset


class GoalGrid:
    """A grid world whose goal is drawn anew in each episode, and shown. Reaching it pays 1 and ends the episode.

    Starts and goals are uniform over the free cells (`task` fixes them); a start is never its goal. Actions: up, down,
    left, right. The optimum takes `distances()[start, goal]` steps where nothing slips.

    Args:
      layout: the maps; its own start and goal are not used. Without key and door.
      observation: `cell` (numbers, one-hot to networks) or `xy` (row and column scaled to [-1, 1]).
      max_steps: the time limit; default: twice as many as the farthest two cells are apart.
      slip: probability that a random action replaces the chosen one.
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(self, layout: Layout, *, observation: str = "cell", max_steps: int | None = None, slip: float = 0.0):
        check.require(observation in OBSERVATIONS, "observation", observation, "one of " + ", ".join(OBSERVATIONS))
        for name in ("key", "door"):
            check.require(not np.any(getattr(layout, name)), f"layout.{name}", getattr(layout, name), "empty")
        free = ~np.asarray(layout.wall)
        check.require(free.sum() >= 2, "the number of free cells", int(free.sum()), "at least 2")
        self.grid = GridWorld(layout._replace(start=free, goal=free), slip=slip)
        self.observation, self.num_actions = observation, self.grid.num_actions
        self.height, self.width = free.shape
        self.map_shape, self.num_cells = self.grid.map_shape, free.size
        apart = self.distances()
        longest = int(apart[np.isfinite(apart)].max())
        max_steps = 2 * longest if max_steps is None else max_steps
        check.count("max_steps", max_steps)
        self.default_params: GridParams = self.grid.default_params.replace(
            max_steps_in_episode=jnp.asarray(max_steps, jnp.int32)
        )

    @functools.cached_property
    def free(self) -> np.ndarray:
        """The cells that are not walls, int `[F]`."""
        return np.flatnonzero(~np.asarray(self.grid.default_params.layout.wall))

    @functools.cached_property
    def after(self) -> np.ndarray:
        """Where each action leads from each cell if it does not slip, int `[H W, A]`."""
        flag, cells = jnp.zeros((), bool), jnp.arange(self.num_cells, dtype=jnp.int32)

        def move(cell: Array, action: Array) -> Array:
            state = GridState(cell, flag, flag, jnp.zeros((), jnp.int32))
            return self.grid._move(state, action, self.grid.default_params)[0].cell

        return np.asarray(jax.vmap(jax.vmap(move, (None, 0)), (0, None))(cells, jnp.arange(self.num_actions)))

    def distances(self) -> np.ndarray:
        """Fewest steps from each cell to each other one, `[H W, H W]`; infinite for walls and where there is no way."""
        apart = np.full((self.num_cells, self.num_cells), np.inf)
        within = np.ix_(self.free, self.free)
        apart[within] = step_distances(np.eye(self.num_cells)[self.after][self.free][..., self.free])
        return apart

    def task(self, start: Array | int | None = None, goal: Array | int | None = None) -> GridParams:
        """Parameters under which every episode begins in one cell, or has one goal.

        Raises:
          ValueError: for a cell outside the grid or in a wall. Traced ones cannot be looked at.
        """
        layout = self.default_params.layout
        for name, cell in (("start", start), ("goal", goal)):
            if cell is None:
                continue
            if not isinstance(cell, jax.core.Tracer):
                check.require(
                    int(cell) in self.free, name, int(cell), f"the number of a free cell, below {self.num_cells}"
                )
            here = (jnp.arange(self.num_cells) == cell).reshape(self.height, self.width)
            layout = layout._replace(**{name: here})
        return self.default_params.replace(layout=layout)

    def reset_env(self, key: Array, params: GridParams) -> tuple[dict[str, Array], GoalState]:
        """A goal, and a start other than it if there is one."""
        start_key, goal_key = jax.random.split(key)
        goal = _draw(goal_key, params.layout.goal.ravel())
        start = params.layout.start.ravel()
        others = start & (jnp.arange(self.num_cells) != goal)
        cell = _draw(start_key, jnp.where(others.any(), others, start))
        state = GoalState(cell, goal, jnp.zeros((), jnp.int32))
        return self.observe(state.cell, state.goal), state

    def step_env(
        self, key: Array, state: GoalState, action: Array, params: GridParams
    ) -> tuple[dict[str, Array], GoalState, Array, Array, dict[str, Any]]:
        flag = jnp.zeros((), bool)
        inner = GridState(state.cell, flag, flag, state.time)
        _, inner, _, _, info = self.grid.step_env(key, inner, action, params)
        state = GoalState(inner.cell, state.goal, inner.time)
        reached = state.cell == state.goal
        info = {"place": info["place"]}
        return self.observe(state.cell, state.goal), state, reached.astype(jnp.float32), reached, info

    def observe(self, cell: Array, goal: Array) -> dict[str, Array]:
        """What is seen in cells `[...]` with goals `[...]`."""
        return {"observation": self.place(cell), space.GOAL: self.place(goal)}

    def place(self, cell: Array) -> Array:
        """A cell `[...]` as it is observed: `[...]`, or `[..., 2]`."""
        if self.observation == "cell":
            return cell
        size = jnp.array([self.height - 1, self.width - 1])
        return 2.0 * jnp.stack(jnp.divmod(cell, self.width), axis=-1) / jnp.maximum(size, 1) - 1.0

    def observation_space(self, params: Any = None) -> space.Dict:
        del params
        part = space.Discrete(self.num_cells) if self.observation == "cell" else space.Box(-1.0, 1.0, (2,))
        return space.Dict({"observation": part, space.GOAL: part})

    def action_space(self, params: Any = None) -> space.Discrete:
        del params
        return space.Discrete(self.num_actions)

    def log(
        self, key: Array, episodes: int, steps: int, *, noise: Array | float = 0.2, reach: int | None = None
    ) -> Transition:
        """A log of shortest paths to random goals with random actions in between: leaves `[steps, episodes, ...]`.

        A new goal is drawn where one is reached, so that nothing terminates; the last step of an episode is truncated.
        `reward` and the observed goal are of what the behaviour was after. Can be jitted, and vmapped over `noise`.

        Args:
          noise: probability of a uniformly random action; 1: a random walk.
          reach: how far from where the episode began a goal may be. With a few steps, no episode shows a long way as a
            whole: it has to be stitched together. None: any distance.

        Raises:
          ValueError: for no episode or step, a probability outside [0, 1], or `reach < 1`.
        """
        check.count("episodes", episodes)
        check.count("steps", steps)
        check.in_range("noise", noise, 0.0, 1.0)
        if reach is not None:
            check.count("reach", reach)
        apart = self.distances()
        allowed = jnp.asarray((apart > 0) & np.isfinite(apart) & (apart <= (np.inf if reach is None else reach)))
        apart, after = jnp.asarray(apart, jnp.float32), jnp.asarray(self.after)
        start_key, goal_key, walk_key = jax.random.split(key, 3)
        start = jax.random.choice(start_key, jnp.asarray(self.free, jnp.int32), (episodes,))

        def one(carry: tuple[Array, Array], keys: Array, first: Array) -> tuple[tuple[Array, Array], Transition]:
            cell, goal = carry
            action_key, tie_key, coin_key, step_key, goal_key = jax.random.split(keys, 5)
            left = apart[after[cell], goal] + 0.5 * jax.random.uniform(tie_key, (self.num_actions,))
            chance = jax.random.randint(action_key, (), 0, self.num_actions)
            action = jnp.where(jax.random.bernoulli(coin_key, noise), chance, jnp.argmin(left)).astype(jnp.int32)
            state = GoalState(cell, goal, jnp.zeros((), jnp.int32))
            obs, (there, _, _), reward, _, _ = self.step_env(step_key, state, action, self.default_params)
            none = jnp.zeros((), bool)
            made = Transition(self.observe(cell, goal), action, jnp.zeros(()), reward, none, none, obs)
            again = _draw(goal_key, allowed[first] & (jnp.arange(self.num_cells) != there))
            return (there, jnp.where(there == goal, again, goal)), made

        def walk(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], Transition]:
            return jax.vmap(one)(carry, jax.random.split(key, episodes), start)

        goal = jax.vmap(_draw)(jax.random.split(goal_key, episodes), allowed[start])
        _, made = jax.lax.scan(walk, (start, goal), jax.random.split(walk_key, steps))
        return made._replace(truncated=made.truncated.at[-1].set(True))


def _draw(key: Array, allowed: Array) -> Array:
    """One of the allowed ones, uniformly; the first of all where none is."""
    total = jnp.cumsum(allowed)
    return jnp.argmax(total > jax.random.randint(key, (), 0, jnp.maximum(total[-1], 1))).astype(jnp.int32)
