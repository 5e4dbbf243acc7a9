"""One grid world for every task on cells: walls, a key and doors, hazards, teleports, goals.

A `Layout` is a set of maps `[H, W]`. It is part of the environment's parameters, so a batch can hold different layouts
of one size. Moves are deterministic unless `slip > 0`; reward 1 is paid on entering a goal, which ends the episode; the
time limit truncates. `GridWorld.to_mdp` turns any layout into exact arrays through the same transition function that
the environment steps with.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check, space
from rlx.envs.interface import at_time_limit, reset, step, strong
from rlx.envs.tabular import TabularMDP
from rlx.types import Array, PyTree

ACTIONS = ("up", "down", "left", "right", "stay")
_MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))
EVENTS = ("none", "bump", "key", "door", "hazard", "teleport", "goal")  # then one for each room: entered it
NONE, BUMP, KEY, DOOR, HAZARD, TELEPORT, GOAL = range(len(EVENTS))
PLANES = ("agent", "wall", "goal", "hazard", "key", "door", "teleport", "has_key")
OBSERVATIONS = ("onehot", "xy", "patch", "image")


class Layout(NamedTuple):
    """Maps `[H, W]`, boolean where nothing else is said. One key opens every door and is not used up."""

    wall: Any
    start: Any  # the first cell is drawn uniformly from these
    goal: Any
    hazard: Any  # entering costs 1
    key: Any
    door: Any  # passable with the key only
    teleport: (
        Any  # int32: the index (row * W + column) of the cell to which entering this one leads; elsewhere its own index
    )
    room: Any  # int32: the room that a cell belongs to; -1: none


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GridParams:
    layout: Layout
    max_steps_in_episode: Any  # steps
    slip: Any  # probability that the action is replaced by a uniformly random one

    def replace(self, **changes: Any) -> GridParams:
        return dataclasses.replace(self, **changes)


class GridState(NamedTuple):
    cell: Array  # int32 []: row * W + column
    has_key: Array  # bool []
    door_open: Array  # bool []: a door has been passed in this episode; only a record, it opens nothing
    time: Array  # int32 [], steps since the reset


class GridWorld:
    """The grid world of a layout. Actions: up, down, left, right (and stay, if `stay`).

    `info["event"]` is the id of the most notable thing that happened in the step: an index into `events`;
    `info["place"]` is where it has led, cells from the left and from below.

    Args:
      layout: the maps.
      observation: `onehot` (cell, then the two flags: has the key, has passed a door), `xy` (row and column scaled to
        [-1, 1], then the flags), `image` (`[H, W, 8]`, one plane for each of `PLANES`), or `patch` (the part of the
        image within `view` cells of the agent, `[2 view + 1, 2 view + 1, 8]`; outside is wall).
      max_steps: the time limit; default `5 max(H, W) + 45`.
      slip: probability that a random action replaces the chosen one.
      stay: whether there is a fifth action that does nothing.
      noise: number of random bits in the observation, redrawn at every step ("noisy TV"): further entries of a vector,
        planes of random pixels of an image.
      mask_actions: observe `{"observation": ..., "action_mask": ...}`, moves into walls and locked doors being illegal.
      costs: vector reward `(reward, cost)`, cost 1 for entering a hazard.
      view: radius of the patch.
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(
        self,
        layout: Layout,
        *,
        observation: str = "onehot",
        max_steps: int | None = None,
        slip: float = 0.0,
        stay: bool = False,
        noise: int = 0,
        mask_actions: bool = False,
        costs: bool = False,
        view: int = 3,
    ):
        check.require(observation in OBSERVATIONS, "observation", observation, "one of " + ", ".join(OBSERVATIONS))
        check.in_range("slip", slip, 0.0, 1.0)
        check.count("noise", noise, 0)
        check.count("view", view)
        check.same_shape(**layout._asdict())
        check.rank("layout.wall", layout.wall, 2)
        free = ~np.asarray(layout.wall)
        for name in ("start", "goal"):
            cells = np.asarray(getattr(layout, name))
            check.require(
                bool(cells.any() and free[cells].all()),
                f"layout.{name}",
                cells,
                "cells that are not walls, at least one",
            )
        self.height, self.width = free.shape
        self.map_shape = (self.width, self.height)
        max_steps = 5 * max(free.shape) + 45 if max_steps is None else max_steps
        check.count("max_steps", max_steps)
        self.num_actions = 5 if stay else 4
        self.observation, self.noise, self.mask_actions, self.costs, self.view = (
            observation,
            noise,
            mask_actions,
            costs,
            view,
        )
        rooms = int(np.max(layout.room)) + 1
        self.events = EVENTS + tuple(f"room {i}" for i in range(rooms))
        if costs:
            self.reward_channels = ("reward", "cost")
        self.default_params: GridParams = strong(GridParams(Layout(*map(jnp.asarray, layout)), max_steps, float(slip)))

    def reset_env(self, key: Array, params: GridParams) -> tuple[PyTree, GridState]:
        start_key, noise_key = jax.random.split(key)
        starts = jnp.cumsum(params.layout.start.ravel())
        chosen = jax.random.randint(start_key, (), 0, starts[-1])
        cell = jnp.argmax(starts > chosen).astype(jnp.int32)
        state = GridState(cell, jnp.zeros((), bool), jnp.zeros((), bool), jnp.zeros((), jnp.int32))
        return self._observe(noise_key, state, params), state

    def step_env(
        self, key: Array, state: GridState, action: Array, params: GridParams
    ) -> tuple[PyTree, GridState, Array, Array, dict[str, Any]]:
        slip_key, action_key, noise_key = jax.random.split(key, 3)
        slipped = jax.random.bernoulli(slip_key, params.slip)
        action = jnp.where(slipped, jax.random.randint(action_key, (), 0, self.num_actions), action)
        state, reward, terminated, event = self._move(state, action, params)
        row, column = jnp.divmod(state.cell, self.width)
        info = {"event": event, "place": jnp.stack([column, self.height - 1 - row])}
        return self._observe(noise_key, state, params), state, reward, terminated, info

    def observation_space(self, params: Any = None) -> space.Box | space.Dict:
        del params
        if self.observation in ("onehot", "xy"):
            cells = self.height * self.width if self.observation == "onehot" else 2
            part = space.Box(0.0 if self.observation == "onehot" else -1.0, 1.0, (cells + 2 + self.noise,))
        else:
            side = 2 * self.view + 1
            height, width = (side, side) if self.observation == "patch" else (self.height, self.width)
            part = space.Box(0.0, 1.0, (height, width, len(PLANES) + self.noise))
        if not self.mask_actions:
            return part
        return space.Dict(
            {"observation": part, space.ACTION_MASK: space.Box(False, True, (self.num_actions,), jnp.bool_)}
        )

    def action_space(self, params: Any = None) -> space.Discrete:
        del params
        return space.Discrete(self.num_actions)

    def to_mdp(self, gamma: float = 0.99, params: GridParams | None = None) -> TabularMDP:
        """The exact process, `slip` included. State `index(state)`; observation, noise and the mask play no part.

        The states of a layout without key and door are its cells; with them there are four for each cell.
        """
        params = self.default_params if params is None else params
        states = self._all_states(params)
        actions = jnp.arange(self.num_actions)
        move = jax.jit(jax.vmap(jax.vmap(self._move, (None, 0, None)), (0, None, None)))
        after, R, _, _ = move(states, actions, params)
        P = np.eye(states.cell.size)[np.asarray(self.index(after))]  # [S, A, S]
        slip, R = float(params.slip), np.asarray(R, np.float64)
        P, R = ((1 - slip) * x + slip * x.mean(1, keepdims=True) for x in (P, R))
        rho0 = np.zeros(states.cell.size)
        rho0[: self.height * self.width] = np.asarray(params.layout.start).ravel() / np.sum(params.layout.start)
        terminal = np.asarray(params.layout.goal).ravel()[np.asarray(states.cell)]
        channels = getattr(self, "reward_channels", None)
        return TabularMDP(
            P, R, gamma, rho0, terminal, max_steps=int(params.max_steps_in_episode), reward_channels=channels
        )

    def optimal_return(self, gamma: float = 0.99, params: GridParams | None = None) -> float:
        """The highest expected discounted return (of the reward, not the cost), by value iteration; no time limit."""
        return self.to_mdp(gamma, params).optimal_return()

    def index(self, state: GridState) -> Array:
        """The state's index in `to_mdp`: `cell + H W (has_key + 2 door_open)`."""
        flags = state.has_key.astype(jnp.int32) + 2 * state.door_open.astype(jnp.int32)
        return state.cell + self.height * self.width * flags

    def event(self, obs: PyTree, action: Array, params: GridParams | None = None) -> Array:
        """The `info["event"]` of steps, from what a batch of transitions keeps of them: int `[...]`.

        For one-hot observations `[..., D]` and actions `[...]`. With slip it is that of the action that was chosen.

        Raises:
          ValueError: for observations of another kind.
        """
        check.require(self.observation == "onehot", "observation", self.observation, "'onehot' to tell events")
        params = self.default_params if params is None else params
        vector = obs["observation"] if self.mask_actions else obs
        size = self.height * self.width
        cell = jnp.argmax(vector[..., :size], axis=-1).astype(jnp.int32)
        state = GridState(cell, vector[..., size] > 0.5, vector[..., size + 1] > 0.5, jnp.zeros_like(cell))
        flat = jax.tree.map(jnp.ravel, (state, action))
        return jax.vmap(self._move, (0, 0, None))(*flat, params)[3].reshape(cell.shape)

    def steps_to_goal(self, params: GridParams | None = None) -> np.ndarray:
        """Length of the shortest path from each start cell, `[number of start cells]`; infinite where there is none.

        Without slip the optimal discounted return from a start at distance d is `gamma ** (d - 1)`.
        """
        params = self.default_params if params is None else params
        mdp = self.to_mdp(params=params.replace(slip=0.0))
        successor = np.argmax(mdp.default_params.P, axis=-1)  # [S, A]
        distance = np.where(mdp.default_params.terminal, 0.0, np.inf)
        for _ in range(len(distance)):
            shorter = np.minimum(distance, 1 + distance[successor].min(1))
            if np.array_equal(shorter, distance):
                break
            distance = shorter
        return distance[: self.height * self.width][np.asarray(params.layout.start).ravel()]

    def _all_states(self, params: GridParams) -> GridState:
        flags = 4 if np.any(params.layout.key) or np.any(params.layout.door) else 1
        flag, cell = jnp.divmod(jnp.arange(flags * self.height * self.width), self.height * self.width)
        return GridState(cell, flag % 2 == 1, flag >= 2, jnp.zeros_like(cell))

    def _target(self, state: GridState, action: Array, params: GridParams) -> tuple[Array, Array]:
        """The cell next to the agent's in the direction of the action, and whether it can be entered."""
        row, column = jnp.divmod(state.cell, self.width)
        delta = jnp.asarray(_MOVES)[action]
        row, column = row + delta[0], column + delta[1]
        inside = (row >= 0) & (row < self.height) & (column >= 0) & (column < self.width)
        cell = jnp.clip(row, 0, self.height - 1) * self.width + jnp.clip(column, 0, self.width - 1)
        locked = params.layout.door.ravel()[cell] & ~state.has_key
        return cell, inside & ~params.layout.wall.ravel()[cell] & ~locked

    def _move(self, state: GridState, action: Array, params: GridParams) -> tuple[GridState, Array, Array, Array]:
        """The deterministic transition: `(state, reward, terminated, event)`."""
        maps = Layout(*(x.ravel() for x in params.layout))
        entered, passable = self._target(state, action, params)
        entered = jnp.where(passable, entered, state.cell)
        moved = entered != state.cell
        cell = jnp.where(moved, maps.teleport[entered], state.cell)
        took_key = maps.key[cell] & ~state.has_key
        opened = maps.door[cell] & ~state.door_open
        goal, hazard = maps.goal[cell], maps.hazard[cell] & moved
        new_room = (maps.room[cell] != maps.room[state.cell]) & (maps.room[cell] >= 0)

        event = jnp.where(passable, NONE, BUMP)
        event = jnp.where(new_room, len(EVENTS) + maps.room[cell], event)
        # the last that applies counts
        for happened, name in (
            (cell != entered, TELEPORT),
            (hazard, HAZARD),
            (opened, DOOR),
            (took_key, KEY),
            (goal, GOAL),
        ):
            event = jnp.where(happened, name, event)

        reward = goal.astype(jnp.float32)
        if self.costs:
            reward = jnp.stack([reward, hazard.astype(jnp.float32)])
        state = GridState(cell, state.has_key | took_key, state.door_open | opened, state.time + 1)
        return state, reward, goal, event.astype(jnp.int32)

    def _observe(self, key: Array, state: GridState, params: GridParams) -> PyTree:
        if self.observation in ("onehot", "xy"):
            if self.observation == "onehot":
                place = jax.nn.one_hot(state.cell, self.height * self.width)
            else:
                size = jnp.array([self.height - 1, self.width - 1])
                place = 2.0 * jnp.stack(jnp.divmod(state.cell, self.width)) / jnp.maximum(size, 1) - 1.0
            obs = jnp.concatenate([place, jnp.stack([state.has_key, state.door_open]).astype(jnp.float32)])
        else:
            obs = self._image(state, params.layout)
            if self.observation == "patch":
                obs = self._patch(obs, state)
        if self.noise:
            bits = jax.random.bernoulli(key, 0.5, (*obs.shape[:-1], self.noise))
            obs = jnp.concatenate([obs, bits.astype(jnp.float32)], axis=-1)
        if not self.mask_actions:
            return obs
        _, legal = jax.vmap(self._target, (None, 0, None))(state, jnp.arange(self.num_actions), params)
        # an agent with no way out may bump in any direction: a policy needs one legal action
        return {"observation": obs, space.ACTION_MASK: legal | ~jnp.any(legal)}

    def _image(self, state: GridState, layout: Layout) -> Array:
        """`[H, W, 8]`, in the order of `PLANES`."""
        cells = jnp.arange(self.height * self.width).reshape(self.height, self.width)
        planes = {
            "agent": cells == state.cell,
            "wall": layout.wall,
            "goal": layout.goal,
            "hazard": layout.hazard,
            "key": layout.key & ~state.has_key,
            "door": layout.door & ~state.has_key,
            "teleport": layout.teleport != cells,
            "has_key": jnp.broadcast_to(state.has_key, cells.shape),
        }
        return jnp.stack([planes[name] for name in PLANES], axis=-1).astype(jnp.float32)

    def _patch(self, image: Array, state: GridState) -> Array:
        row, column = jnp.divmod(state.cell, self.width)
        margin = ((self.view, self.view), (self.view, self.view))
        outside = 1.0 - jnp.pad(jnp.ones(image.shape[:2]), margin)
        padded = jnp.pad(image, (*margin, (0, 0))).at[..., PLANES.index("wall")].max(outside)
        side = 2 * self.view + 1
        return jax.lax.dynamic_slice(padded, (row, column, 0), (side, side, len(PLANES)))


def parse(text: str) -> Layout:
    """A layout drawn with one character for each cell, rows on lines.

    `#` wall, `.` floor, `S` start, `G` goal, `K` key, `D` door, `X` hazard; two cells with the same digit teleport into
    each other. Rooms are the parts into which walls and doors divide the floor, numbered in reading order.

        >>> GridWorld(parse('''
        ... S..#G
        ... ...D.
        ... K..#.
        ... ''')).steps_to_goal()
        array([8.])
    """
    rows = text.split()
    check.require(len({len(row) for row in rows}) == 1, "text", text, "rows of equal length")
    cells = np.array([list(row) for row in rows])
    unknown = set(cells.ravel()) - set("#.SGKDX0123456789")
    check.require(not unknown, "text", "".join(sorted(unknown)), "made of the characters # . S G K D X and digits")
    return _layout(cells)


def keydoor(n: int = 15) -> Layout:
    """Two rooms of an `n x n` grid, `n` odd, joined by a door in the middle; the key and the goal are far from each
    other.

    Start top left, key bottom left, goal top right. The shortest solution takes `3 (n - 1)` steps.
    """
    check.require(isinstance(n, int) and n >= 3 and n % 2 == 1, "n", n, "an odd integer >= 3")
    cells = _floor(n, n)
    cells[:, n // 2] = "#"
    cells[n // 2, n // 2] = "D"
    cells[0, 0], cells[n - 1, 0], cells[0, n - 1] = "S", "K", "G"
    return _layout(cells)


def four_rooms(n: int = 11, *, random_start: bool = False) -> Layout:
    """Four rooms of an `n x n` grid, `n` odd and >= 5, with a gap in each of the four inner walls; goal bottom right.

    Start top left, `2 (n - 1)` steps from the goal, or with `random_start` anywhere but on the goal. After Between MDPs
    and semi-MDPs (Sutton, Precup, Singh, 1999), made symmetric.
    """
    check.require(isinstance(n, int) and n >= 5 and n % 2 == 1, "n", n, "an odd integer >= 5")
    cells, middle, gaps = _floor(n, n), n // 2, (n // 4, n - 1 - n // 4)
    cells[middle, :] = cells[:, middle] = "#"
    for gap in gaps:
        cells[middle, gap] = cells[gap, middle] = "."
    cells[0, 0], cells[-1, -1] = "S", "G"
    layout = _layout(cells, doorways=[(middle, gap) for gap in gaps] + [(gap, middle) for gap in gaps])
    return layout._replace(start=~layout.wall & ~layout.goal) if random_start else layout


def two_rooms() -> Layout:
    """Two rooms on a `7 x 14` grid joined by a corridor: row 3 of columns 4 to 9. Start (3, 1), goal (3, 12)."""
    cells = _floor(7, 14)
    cells[:, 4:10] = "#"
    cells[3, 4:10] = "."
    cells[3, 1], cells[3, 12] = "S", "G"
    return _layout(cells, doorways=[(3, 4), (3, 9)])


def corridor(n: int = 20) -> Layout:
    """`n` cells in a row, start left, goal right: `n - 1` steps."""
    check.count("n", n, 2)
    cells = _floor(1, n)
    cells[0, 0], cells[0, -1] = "S", "G"
    return _layout(cells)


def open_room(n: int = 8) -> Layout:
    """An empty `n x n` room, start top left, goal bottom right: `2 (n - 1)` steps."""
    check.count("n", n, 2)
    cells = _floor(n, n)
    cells[0, 0], cells[-1, -1] = "S", "G"
    return _layout(cells)


def u_maze(n: int = 9) -> Layout:
    """Two rooms of an `n x n` grid, `n` odd and >= 5, one above the other, joined at the right end alone.

    Start top left, goal bottom left: `3 (n - 1)` steps.
    """
    check.require(isinstance(n, int) and n >= 5 and n % 2 == 1, "n", n, "an odd integer >= 5")
    cells = _floor(n, n)
    cells[n // 2, :-1] = "#"
    cells[0, 0], cells[-1, 0] = "S", "G"
    return _layout(cells)


def serpentine(n: int = 9) -> Layout:
    """One long corridor that winds through an `n x n` grid, `n` odd and >= 3; start and goal at its ends.

    `(n - 1) (n + 3) / 2` steps.
    """
    check.require(isinstance(n, int) and n >= 3 and n % 2 == 1, "n", n, "an odd integer >= 3")
    cells = _floor(n, n)
    cells[1::4, :-1] = cells[3::4, 1:] = "#"
    cells[0, 0], cells[-1, -1 if n % 4 == 1 else 0] = "S", "G"
    return _layout(cells)


def hazards(n: int = 7) -> Layout:
    """An `n x n` room, start bottom left, goal bottom right, hazards in between on all rows but the top one.

    The shortest path, `n - 1` steps, crosses `n - 2` hazards; the shortest one without cost takes `3 (n - 1)`.
    """
    check.count("n", n, 3)
    cells = _floor(n, n)
    cells[1:, 1:-1] = "X"
    cells[-1, 0], cells[-1, -1] = "S", "G"
    return _layout(cells)


def _floor(height: int, width: int) -> np.ndarray:
    return np.full((height, width), ".")


def _layout(cells: np.ndarray, doorways: list[tuple[int, int]] | None = None) -> Layout:
    """A layout from characters; `doorways` divide rooms as doors do."""
    index = np.arange(cells.size).reshape(cells.shape)
    teleport = index.astype(np.int32)
    for digit in sorted(set(cells.ravel()) & set("0123456789")):
        pair = index[cells == digit]
        check.require(len(pair) == 2, f"number of cells {digit!r}", len(pair), "2: a pair that teleports")
        teleport.flat[pair] = pair[::-1]
    divides = (cells == "#") | (cells == "D")
    for doorway in doorways or []:
        divides[doorway] = True
    wall, start, goal, hazard, key, door = (cells == character for character in "#SGXKD")
    return Layout(wall, start, goal, hazard, key, door, teleport, _rooms(~divides))


def _rooms(floor: np.ndarray) -> np.ndarray:
    """Connected parts of `floor`, numbered from 0 in reading order; -1 elsewhere."""
    room = np.full(floor.shape, -1, np.int32)
    count = 0
    for cell in zip(*np.nonzero(floor), strict=True):
        if room[cell] >= 0:
            continue
        frontier = [cell]
        while frontier:
            row, column = frontier.pop()
            if (
                0 <= row < floor.shape[0]
                and 0 <= column < floor.shape[1]
                and floor[row, column]
                and room[row, column] < 0
            ):
                room[row, column] = count
                frontier += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
        count += 1
    return room
