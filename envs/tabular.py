"""Finite Markov decision processes given by their arrays: environments whose optimum can be computed exactly.

`P[s, a, s']` are transition probabilities, `R[s, a]` (or `[s, a, K]`, one entry for each reward channel) expected
rewards, `rho0[s]` the distribution of the first state. A terminal state is absorbing and pays nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check, space
from rlx.envs.interface import at_time_limit, reset, step
from rlx.types import Array, PreferenceBatch
from rlx.value.tabular import value_iteration


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TabularParams:
    """The arrays, so that a batch of processes of one size can be vmapped over."""

    P: Any  # [S, A, S]
    R: Any  # [S, A] or [S, A, K]
    rho0: Any  # [S]
    terminal: Any  # bool [S]
    max_steps_in_episode: Any  # steps

    def replace(self, **changes: Any) -> TabularParams:
        return dataclasses.replace(self, **changes)


class TabularState(NamedTuple):
    index: Array  # int32 []
    time: Array  # int32 [], steps since the reset


class TabularMDP:
    """An environment over the states of a Markov decision process; observations are one-hot `[S]`.

    `gamma` is the discount that the process was made for; exact solutions use it, episodes are not affected by it. The
    time limit truncates, so with bootstrapping the infinite-horizon optimum is the right one.

    Args:
      P: probabilities `[S, A, S]`, each row a distribution.
      R: `[S, A]`, or `[S, A, K]` for a vector reward.
      rho0: `[S]`.
      terminal: bool `[S]`, none by default; these rows of `P` and `R` are overwritten.
      reward_channels: names of the `K` rewards; required for, and only for, a vector reward.

    Raises:
      ValueError: for shapes that do not fit, or rows that are not distributions.
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(
        self,
        P: Any,
        R: Any,
        gamma: float,
        rho0: Any,
        terminal: Any = None,
        *,
        max_steps: int = 100,
        reward_channels: tuple[str, ...] | None = None,
    ):
        check.rank("P", P, 3)
        check.rank("R", R, 2, 3)
        check.in_range("gamma", gamma, 0.0, 1.0)
        check.count("max_steps", max_steps)
        states, actions = np.shape(P)[:2]
        terminal = np.zeros(states, bool) if terminal is None else np.asarray(terminal, bool)
        for name, array, shape in (
            ("P", P, (states, actions, states)),
            ("R", R, (states, actions, *np.shape(R)[2:])),
            ("rho0", rho0, (states,)),
            ("terminal", terminal, (states,)),
        ):
            check.require(np.shape(array) == shape, f"shape of {name}", np.shape(array), str(shape))
        P = np.where(terminal[:, None, None], np.eye(states)[:, None, :], np.asarray(P, np.float64))
        R = np.asarray(R, np.float64) * ~terminal.reshape(-1, *(1,) * (np.ndim(R) - 1))
        for name, rows in (("P", P), ("rho0", np.asarray(rho0, np.float64))):
            good = bool(np.all(rows >= 0) and np.allclose(rows.sum(-1), 1.0, atol=1e-5))
            check.require(
                good, f"{name} (sums over its last axis)", rows.sum(-1), "distributions: non-negative with sum 1"
            )
        channels = None if R.ndim == 2 else R.shape[2]
        named = None if reward_channels is None else len(reward_channels)
        check.require(
            named == channels, "reward_channels", reward_channels, f"None for R [S, A], else {channels} names"
        )
        if reward_channels is not None:
            self.reward_channels = reward_channels
        self.gamma = gamma
        self.default_params = TabularParams(
            jnp.asarray(P, jnp.float32),
            jnp.asarray(R, jnp.float32),
            jnp.asarray(rho0, jnp.float32),
            jnp.asarray(terminal),
            jnp.asarray(max_steps, jnp.int32),
        )

    def reset_env(self, key: Array, params: TabularParams) -> tuple[Array, TabularState]:
        state = TabularState(draw(key, params.rho0), jnp.zeros((), jnp.int32))
        return self._observe(state), state

    def step_env(
        self, key: Array, state: TabularState, action: Array, params: TabularParams
    ) -> tuple[Array, TabularState, Array, Array, dict[str, Any]]:
        reward = params.R[state.index, action]
        state = TabularState(draw(key, params.P[state.index, action]), state.time + 1)
        return self._observe(state), state, reward, params.terminal[state.index], {}

    def observation_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(0.0, 1.0, (self.default_params.P.shape[0],))

    def action_space(self, params: Any = None) -> space.Discrete:
        del params
        return space.Discrete(self.default_params.P.shape[1])

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """`(P, R, discount [S, A], rho0)` in float64, as the solvers of `rlx.value.tabular` take them.

        `discount` is `gamma`, and zero in terminal states, which makes undiscounted episodic processes solvable too.
        """
        params = self.default_params
        P, R, rho0 = (np.asarray(x, np.float64) for x in (params.P, params.R, params.rho0))
        discount = self.gamma * np.repeat(~np.asarray(params.terminal)[:, None], P.shape[1], axis=1)
        return P / P.sum(-1, keepdims=True), R, discount, rho0 / rho0.sum()

    def optimal_return(self) -> float:
        """The highest expected discounted return from `rho0`, by value iteration; of the first of several channels."""
        P, R, discount, rho0 = self.arrays()
        v, _ = value_iteration(P, R if R.ndim == 2 else R[..., 0], discount)
        return float(rho0 @ v)

    def _observe(self, state: TabularState) -> Array:
        return jax.nn.one_hot(state.index, self.default_params.P.shape[0])


def draw(key: Array, probabilities: Array) -> Array:
    """An index drawn from `probabilities [S]`: never one of probability zero, even if rounding keeps the sum from 1."""
    cumulative = jnp.cumsum(probabilities)
    return jnp.argmax(cumulative > jax.random.uniform(key) * cumulative[-1]).astype(jnp.int32)


def chain(n: int = 10, *, gamma: float = 0.99, small: float = 0.2, max_steps: int = 100) -> TabularMDP:
    """A corridor with a lure: action 0 ends the episode with reward `small`, action 1 moves right; the right end pays
    1.

    States 0 to n - 1 and one terminal state; start in 0. Going right all the way is worth `gamma ** (n - 1)`: the
    optimum is the larger of that and `small`.
    """
    check.count("n", n, 2)
    P, R = np.zeros((n + 1, 2, n + 1)), np.zeros((n + 1, 2))
    P[:, 0, n], R[:, 0] = 1.0, small
    P[np.arange(n), 1, np.arange(1, n + 1)], R[n - 1, 1] = 1.0, 1.0
    P[n, 1, n] = 1.0
    return TabularMDP(P, R, gamma, np.eye(n + 1)[0], np.arange(n + 1) == n, max_steps=max_steps)


def random_walk(n: int = 19, *, gamma: float = 1.0, max_steps: int = 10_000) -> TabularMDP:
    """`n` states in a row, left and right; falling off the left end pays -1, off the right end 1. Start in the middle.

    Under the uniform policy the value of the i-th state from the left (from 1) is `2 i / (n + 1) - 1`.
    Source: Reinforcement Learning: An Introduction (Sutton and Barto, 2018), example 7.1.
    """
    check.count("n", n)
    P, R, inner = np.zeros((n + 2, 2, n + 2)), np.zeros((n + 2, 2)), np.arange(1, n + 1)
    P[inner, 0, inner - 1], P[inner, 1, inner + 1] = 1.0, 1.0
    R[1, 0], R[n, 1] = -1.0, 1.0
    terminal = np.isin(np.arange(n + 2), (0, n + 1))
    return TabularMDP(P, R, gamma, np.eye(n + 2)[(n + 1) // 2], terminal, max_steps=max_steps)


def garnet(
    key: Array, states: int = 20, actions: int = 4, branching: int = 3, *, gamma: float = 0.95, max_steps: int = 100
) -> TabularMDP:
    """A random process: each state and action leads to `branching` states, drawn without replacement, with uniform
    random weights.

    Rewards are standard normal, the first state is uniform, no state is terminal.
    Source: On the Generation of Markov Decision Processes (Archibald, McKinnon, Thomas, 1995).
    """
    P, R, rho0 = _garnet_arrays(key, states, actions, branching)
    return TabularMDP(P, R[..., 0], gamma, rho0, max_steps=max_steps)


def constrained(
    key: Array, states: int = 10, actions: int = 3, branching: int = 3, *, gamma: float = 0.9, max_steps: int = 50
) -> TabularMDP:
    """A random constrained process: a `garnet` whose reward and cost are uniform on [0, 1], independent.

    Channels `("reward", "cost")`. The task is to maximise the discounted reward with a discounted cost of at most a
    limit; `cost_range` tells which limits bind and `constrained_optimum` solves it.
    """
    P, normal, rho0 = _garnet_arrays(key, states, actions, branching)
    R = jax.scipy.stats.norm.cdf(normal)  # standard normal to uniform
    return TabularMDP(P, R, gamma, rho0, max_steps=max_steps, reward_channels=("reward", "cost"))


USER_CHANNELS = ("watch", "like", "follow", "share")


def user_mdp(
    key: Array,
    states: int = 20,
    actions: int = 10,
    branching: int = 3,
    *,
    shares: tuple[float, float, float] = (0.1, 0.05, 0.02),
    gamma: float = 0.9,
    max_steps: int = 50,
) -> TabularMDP:
    """A user to whom something is recommended at each step: time watched, and three responses that are rare.

    A `garnet` over the user's states with channels `USER_CHANNELS`: the first uniform on [0, 1] in every state and
    action, the others 1 in shares of all states and actions and 0 elsewhere, at least one each, independent. The most
    watched policy with a floor under the responses is known from `floor_optimum`.

    Raises:
      ValueError: for counts below 1, more branches than states, or shares outside (0, 1].
    """
    check.in_range("shares", shares, 0.0, 1.0, open_low=True)
    garnet_key, *keys = jax.random.split(key, 1 + len(shares))
    P, normal, rho0 = _garnet_arrays(garnet_key, states, actions, branching)
    R = [jax.scipy.stats.norm.cdf(normal[..., 0])]  # standard normal to uniform
    for share, share_key in zip(shares, keys, strict=True):
        rank = jax.random.permutation(share_key, states * actions).reshape(states, actions)
        R.append((rank < max(1, round(share * states * actions))).astype(jnp.float32))
    return TabularMDP(P, jnp.stack(R, -1), gamma, rho0, max_steps=max_steps, reward_channels=USER_CHANNELS)


def corner(size: int = 5, *, gamma: float = 0.95, max_steps: int = 100) -> TabularMDP:
    """A `size x size` grid without an end: each step that ends in the last corner pays 1; start anywhere.

    Moves are up, down, left and right; against the edge one stays. Since nothing ends, a constant added to the reward
    changes no policy, and a reward learned from preferences need not know it.
    """
    check.count("size", size, 2)
    after = _grid_moves(size)
    R = (after == size**2 - 1).astype(np.float64)
    return TabularMDP(np.eye(size**2)[after], R, gamma, np.full(size**2, 1 / size**2), max_steps=max_steps)


def windy_walk(width: int = 7, alpha: float = 0.0, *, gamma: float = 0.99, max_steps: int = 1000) -> TabularMDP:
    """Three corridors between the same two ends, the shorter the windier; each step costs 1.

    Rows 0, 2 and 4 of `width` cells are joined by single cells at both ends; from the left end of row 0 to its right
    end. Moves are up, down, left and right; in the inner cells of the rows the wind moves one left instead with
    probability `alpha`, `alpha^3` and `alpha^6`. Without wind the top row takes `width - 1` steps; rows 2 and 4 take 4
    and 8 more.

    Where all of alpha = 0 to 0.5 are possible, the best worst return of a policy is -10.9936 at width 7 and -24.9863
    at 21, where that of the windless policy is -88.36 (`rlx.value.iwocs`). Source: after Solving robust MDPs as a
    sequence of static RL problems (Zouitine et al., 2024).
    """
    check.count("width", width, 3)
    check.in_range("alpha", alpha, 0.0, 1.0)
    rows, ends = (0, 2, 4), (0, width - 1)
    cells = [(row, column) for row in rows for column in range(width)] + [(row, c) for row in (1, 3) for c in ends]
    number = {cell: i for i, cell in enumerate(cells)}
    P = np.zeros((len(cells), 4, len(cells)))
    for (row, column), i in number.items():
        wind = {0: alpha, 2: alpha**3, 4: alpha**6}[row] if row in rows and column not in ends else 0.0
        for action, (down, right) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
            P[i, action, number.get((row + down, column + right), i)] += 1.0 - wind
            P[i, action, number.get((row, column - 1), i)] += wind
    goal = np.arange(len(cells)) == number[0, width - 1]
    start = np.eye(len(cells))[number[0, 0]]
    return TabularMDP(P, np.full((len(cells), 4), -1.0), gamma, start, goal, max_steps=max_steps)


def segment_queries(
    key: Array,
    transition: Array,
    policy: Array,
    score: Array,
    queries: int,
    length: int = 8,
) -> PreferenceBatch:
    """Pairs of segments of a process, from uniform states, and which was preferred by the sum of its scores.

    The policy of each segment is a mixture, with a random weight, of `policy` and the uniform one. `score` is what
    people are taken to care for: the reward (partial returns) or the advantage of the best policy (regret). Labels
    follow Bradley and Terry's law.

    Shapes: `[S, A, S]`, `[S, A]` probabilities, `[S, A]`. States are in `obs`, int `[B, 2, length]`, `gold` has the
    sums.
    """
    check.count("queries", queries)
    check.count("length", length)
    states, actions = jnp.shape(policy)
    start_key, weight_key, label_key, walk_key = jax.random.split(key, 4)
    state = jax.random.randint(start_key, (queries, 2), 0, states, jnp.int32)
    weight = jax.random.uniform(weight_key, (queries, 2, 1))

    def move(state: Array, key: Array) -> tuple[Array, tuple[Array, Array]]:
        action_key, state_key = jax.random.split(key)
        prob = weight * policy[state] + (1 - weight) / actions
        action = jax.random.categorical(action_key, jnp.log(prob)).astype(jnp.int32)
        after = jax.random.categorical(state_key, jnp.log(transition[state, action])).astype(jnp.int32)
        return after, (state, action)

    last, visited = jax.lax.scan(move, state, jax.random.split(walk_key, length))
    state, action = (jnp.moveaxis(x, 0, -1) for x in visited)
    total = score[state, action].sum(-1)
    first = jax.random.bernoulli(label_key, jax.nn.sigmoid(total[:, 0] - total[:, 1])).astype(total.dtype)
    return PreferenceBatch(
        obs=state,
        action=action,
        mask=jnp.ones(state.shape, bool),
        target=jnp.stack([first, 1 - first], 1),
        next_obs=last,
        weight=jnp.ones(queries),
        gold=total,
    )


DELIVERY = {"road": -1.0, "brick": -2.0, "coin": 1.0, "roadblock": -1.0, "sheep": -50.0, "destination": 50.0}


def delivery(
    key: Array,
    size: int = 10,
    *,
    features: bool = False,
    coins: int = 5,
    roadblocks: int = 5,
    sheep: int = 3,
    gamma: float = 0.999,
    max_steps: int = 100,
) -> TabularMDP:
    """A van on a `size x size` grid of roads and bricks, with coins, roadblocks, sheep and one destination.

    A step up, down, left or right costs what it leads onto: 1 for road, 2 for the fifth of the cells that is brick,
    there 1 less for a coin and 1 more for a roadblock (neither is used up). Sheep (-50) and the destination (50) end
    the episode. Bumping into the edge is a step onto the same cell. All places are random; the start is any other cell.

    With `features`, the reward is a vector, how often each entry of `DELIVERY` applies: the scalar one is that times
    its values. After Models of Human Preference for Learning Reward Functions (Knox et al., 2024), without houses.
    """
    check.count("size", size, 2)
    for name, number in (("coins", coins), ("roadblocks", roadblocks), ("sheep", sheep)):
        check.count(name, number, 0)
    special = coins + roadblocks + sheep + 1
    check.require(special < size**2, "coins + roadblocks + sheep", special - 1, f"below {size**2 - 1}, the other cells")
    place_key, brick_key = jax.random.split(key)
    place = np.asarray(jax.random.permutation(place_key, size**2))
    splits = np.split(place[:special], np.cumsum([coins, roadblocks, sheep]))
    cells = dict(zip(tuple(DELIVERY)[2:], splits, strict=True))
    here = {name: np.isin(np.arange(size**2), where) for name, where in cells.items()}
    terminal = here["sheep"] | here["destination"]
    here["brick"] = np.asarray(jax.random.bernoulli(brick_key, 0.2, (size**2,))) & ~terminal
    here["road"] = ~here["brick"] & ~terminal
    after = _grid_moves(size)
    R = np.stack([here[name] for name in DELIVERY], -1)[after].astype(np.float64)
    start = ~terminal / np.sum(~terminal)
    return TabularMDP(
        np.eye(size**2)[after],
        R if features else R @ np.array(list(DELIVERY.values())),
        gamma,
        start,
        terminal,
        max_steps=max_steps,
        reward_channels=tuple(DELIVERY) if features else None,
    )


def _grid_moves(size: int) -> np.ndarray:
    """`[S, 4]`, where a step up, down, left or right leads."""
    row, column = np.divmod(np.arange(size**2), size)
    moves = ((-1, 0), (1, 0), (0, -1), (0, 1))
    onto = [np.clip(row + i, 0, size - 1) * size + np.clip(column + j, 0, size - 1) for i, j in moves]
    return np.stack(onto, 1)


def _garnet_arrays(key: Array, states: int, actions: int, branching: int) -> tuple[Array, Array, Array]:
    """`P`, standard normal `[S, A, 2]`, and a uniform `rho0`."""
    check.count("states", states)
    check.count("actions", actions)
    check.count("branching", branching)
    check.require(branching <= states, "branching", branching, f"at most states = {states}")
    successor_key, weight_key, reward_key = jax.random.split(key, 3)
    order = jnp.argsort(jax.random.uniform(successor_key, (states, actions, states)), axis=-1)
    weights = jax.random.uniform(weight_key, (states, actions, branching), minval=1e-3)
    weights = weights / weights.sum(-1, keepdims=True)
    P = jnp.einsum("sab,sabt->sat", weights, jax.nn.one_hot(order[..., :branching], states))
    return P, jax.random.normal(reward_key, (states, actions, 2)), jnp.full(states, 1.0 / states)


class ConstrainedOptimum(NamedTuple):
    """Solution of a constrained process; discounted sums start with the first reward undiscounted."""

    value: float  # discounted reward
    cost: float  # discounted cost
    policy: np.ndarray  # [S, A]; uniform in states that the optimum never visits
    occupancy: np.ndarray  # [S, A], sums to 1 / (1 - gamma)
    multiplier: float  # value lost for each unit by which the limit is lowered


def constrained_optimum(mdp: TabularMDP, cost_limit: float) -> ConstrainedOptimum:
    """The best policy whose discounted cost is at most `cost_limit`, exactly, by linear programming over occupancies.

        max_mu sum mu[s,a] R[s,a,0]   with   sum mu[s,a] R[s,a,1] <= cost_limit,   mu >= 0,
        sum_a mu[s,a] = rho0[s] + gamma sum_{s',a'} P[s',a',s] mu[s',a']   for every s.

    The optimum is in general a stochastic policy. Needs SciPy. Source: Constrained Markov Decision Processes (Altman,
    1999).

    Raises:
      ValueError: if the reward of `mdp` does not have exactly two channels, or no policy meets the limit.
    """
    reward, cost = _reward_and_cost(mdp)
    occupancy, multiplier = _occupancy_program(mdp, reward, cost[..., None], [cost_limit])
    if occupancy is None:
        lowest, _ = cost_range(mdp)
        raise ValueError(f"cost_limit must be at least {lowest:g}, the lowest attainable cost; got {cost_limit!r}")
    value, spent = float((occupancy * reward).sum()), float((occupancy * cost).sum())
    return ConstrainedOptimum(value, spent, _policy_of(occupancy), occupancy, float(multiplier[0]))


def _policy_of(occupancy: np.ndarray) -> np.ndarray:
    """Uniform where nothing goes."""
    visits = occupancy.sum(1, keepdims=True)
    uniform = np.full_like(occupancy, 1.0 / occupancy.shape[1])
    return np.where(visits > 1e-9, occupancy / np.maximum(visits, 1e-9), uniform)


def cost_range(mdp: TabularMDP) -> tuple[float, float]:
    """Lowest discounted cost of any policy, and the cost of one with the highest reward: limits in between bind."""
    reward, cost = _reward_and_cost(mdp)
    cheapest, _ = _occupancy_program(mdp, -cost, cost[..., None], [np.inf])
    best, _ = _occupancy_program(mdp, reward, cost[..., None], [np.inf])
    return float((cheapest * cost).sum()), float((best * cost).sum())


def floor_optimum(mdp: TabularMDP, floor: Any) -> tuple[np.ndarray, np.ndarray]:
    """`(returns [K], policy [S, A])`: the highest discounted sum of the first channel with the others at least `floor`.

    Exactly, by the linear program of `constrained_optimum`, with `floor [K - 1]` for the discounted sums of the other
    channels. Floors of minus infinity, or far below, do not bind.

    Raises:
      ValueError: if the reward has no channels, `floor` another number of them, or no policy reaches it.
    """
    _, R, _, _ = mdp.arrays()
    check.require(R.ndim == 3, "shape of R", R.shape, "[S, A, K]")
    floor = np.asarray(floor, np.float64)
    check.require(floor.shape == (R.shape[2] - 1,), "floor", floor, f"{R.shape[2] - 1} numbers")
    occupancy, _ = _occupancy_program(mdp, R[..., 0], -R[..., 1:], -floor)
    if occupancy is None:
        raise ValueError(f"floor must be attainable by some policy; got {floor!r}")
    return np.einsum("sa,sak->k", occupancy, R), _policy_of(occupancy)


def _reward_and_cost(mdp: TabularMDP) -> tuple[np.ndarray, np.ndarray]:
    _, R, _, _ = mdp.arrays()
    check.require(R.ndim == 3 and R.shape[2] == 2, "shape of R", R.shape, "[S, A, 2]: reward and cost")
    check.require(mdp.gamma < 1, "gamma", mdp.gamma, "below 1, for discounted occupancies to exist")
    return R[..., 0], R[..., 1]


def _occupancy_program(mdp: TabularMDP, reward: np.ndarray, cost: np.ndarray, limit: Any) -> tuple[Any, np.ndarray]:
    """Occupancy `[S, A]` of the best policy within limits `[N]` of costs `[S, A, N]` (None: there is none), and the
    multipliers `[N]` of the limits, which may be infinite."""
    from scipy.optimize import linprog

    P, _, _, rho0 = mdp.arrays()
    states, actions = reward.shape
    flow = np.repeat(np.eye(states), actions, axis=1) - mdp.gamma * P.reshape(states * actions, states).T
    limit = np.asarray(limit, np.float64)
    binds = np.isfinite(limit)
    result = linprog(
        -reward.ravel(),
        A_ub=cost.reshape(states * actions, -1).T[binds] if binds.any() else None,
        b_ub=limit[binds] if binds.any() else None,
        A_eq=flow,
        b_eq=rho0,
        method="highs",
    )
    multiplier = np.zeros(len(limit))
    if result.status == 2:
        return None, multiplier
    if result.status != 0:
        raise RuntimeError(f"linear program not solved: {result.message}")
    if binds.any():
        multiplier[binds] = -result.ineqlin.marginals
    return result.x.reshape(states, actions), multiplier
