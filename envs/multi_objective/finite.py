"""Finite environments with vector rewards, written as rules: their Pareto fronts can be computed exactly.

`rules(state, action)` lists what can happen. All states that can be reached are numbered, and the environment is tables
over their numbers, which are part of its parameters.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check, space
from rlx.envs.interface import at_time_limit, reset, step, strong
from rlx.envs.tabular import TabularMDP, TabularState, draw
from rlx.types import Array
from rlx.value.pareto import convex_coverage_set, pareto_value_iteration


class Outcome(NamedTuple):
    """One thing that can happen in a step."""

    state: Hashable  # that it leads to
    reward: tuple[float, ...]  # K
    terminated: bool = False
    probability: float = 1.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FiniteParams:
    """The tables: at most `O` outcomes for each of `S` states and `A` actions."""

    successor: Any  # int32 [S, A, O]
    probability: Any  # [S, A, O], with sum 1 over the outcomes
    reward: Any  # [S, A, O, K]
    terminated: Any  # bool [S, A, O]
    max_steps_in_episode: Any  # steps

    def replace(self, **changes: Any) -> FiniteParams:
        return dataclasses.replace(self, **changes)


class FiniteEnv:
    """An environment over numbered states, the first of which starts every episode.

    Args:
      start: the first state, anything hashable.
      num_actions: actions are the integers below it.
      rules: `(state, action) -> outcomes`, for states in which an episode goes on.
      features: `state -> vector`, for the observation of that name.
      reward_channels: names of the `K` rewards.
      reference_point: `K` values that hypervolumes of this environment are measured from.
      max_steps: the time limit, which truncates.
      observation: `index` (the state's number, `Discrete`; networks of rlx see it one-hot) or `features`.

    Attributes: `states` (all that can be reached, in the order of their numbers), `reward_channels`, `reference_point`.
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(
        self,
        start: Hashable,
        num_actions: int,
        rules: Callable[[Any, int], Sequence[Outcome]],
        features: Callable[[Any], Sequence[float]],
        *,
        reward_channels: tuple[str, ...],
        reference_point: tuple[float, ...],
        max_steps: int = 100,
        observation: str = "index",
    ):
        check.require(observation in ("index", "features"), "observation", observation, "'index' or 'features'")
        check.count("max_steps", max_steps)
        self.states, table = _enumerate(start, num_actions, rules)
        self.observation, self.num_actions = observation, num_actions
        self.reward_channels, self.reference_point = reward_channels, reference_point
        self.features = np.array([features(state) for state in self.states], np.float32)
        self._exact = _tables(table, len(reward_channels), max_steps)
        exact = self._exact
        self.default_params = strong(
            FiniteParams(
                jnp.asarray(exact.successor, jnp.int32),
                jnp.asarray(exact.probability, jnp.float32),
                jnp.asarray(exact.reward, jnp.float32),
                jnp.asarray(exact.terminated),
                jnp.asarray(max_steps, jnp.int32),
            )
        )

    def reset_env(self, key: Array, params: FiniteParams) -> tuple[Array, TabularState]:
        del key, params
        state = TabularState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
        return self._observe(state), state

    def step_env(
        self, key: Array, state: TabularState, action: Array, params: FiniteParams
    ) -> tuple[Array, TabularState, Array, Array, dict[str, Any]]:
        chosen = (state.index, action, draw(key, params.probability[state.index, action]))
        reward, terminated = params.reward[chosen], params.terminated[chosen]
        state = TabularState(params.successor[chosen], state.time + 1)
        return self._observe(state), state, reward, terminated, {}

    def observation_space(self, params: Any = None) -> space.Discrete | space.Box:
        del params
        if self.observation == "index":
            return space.Discrete(len(self.states))
        return space.Box(self.features.min(0), self.features.max(0), self.features.shape[1:])

    def action_space(self, params: Any = None) -> space.Discrete:
        del params
        return space.Discrete(self.num_actions)

    def index(self, state: TabularState) -> Array:
        """The state's number: the observation `index`, its place in `states` and in `to_mdp`."""
        return state.index

    def to_mdp(self, gamma: float = 0.99, params: FiniteParams | None = None) -> TabularMDP:
        """The exact process; one more state, the last, stands for all ends."""
        P, R, _ = self._arrays(gamma, params)
        end = np.arange(len(P)) == len(P) - 1
        limit = int((params or self.default_params).max_steps_in_episode)
        return TabularMDP(P, R, gamma, np.eye(len(P))[0], end, max_steps=limit, reward_channels=self.reward_channels)

    def pareto_front(self, gamma: float, params: FiniteParams | None = None) -> np.ndarray:
        """Expected discounted returns `[N, K]` (float64) of deterministic policies that no other dominates, exactly.

        Episodes end at the time limit, as they do when a policy is evaluated. The first reward is not discounted. See
        `rlx.value.pareto_value_iteration`.

        Raises:
          RuntimeError: where randomness makes the sets too large; `convex_coverage_set` may still work.
        """
        limit = int((params or self._exact).max_steps_in_episode)
        return pareto_value_iteration(*self._arrays(gamma, params), horizon=limit)[0]

    def convex_coverage_set(self, gamma: float, params: FiniteParams | None = None) -> np.ndarray:
        """Those of the returns `[N, K]` that are the best for some linear weights: `rlx.value.convex_coverage_set`."""
        P, R, discount = self._arrays(gamma, params)
        limit = int((params or self._exact).max_steps_in_episode)
        return convex_coverage_set(P, R, discount, np.eye(len(P))[0], horizon=limit)

    def _observe(self, state: TabularState) -> Array:
        return state.index if self.observation == "index" else jnp.asarray(self.features)[state.index]

    def _arrays(self, gamma: float, params: FiniteParams | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`P [S + 1, A, S + 1]`, expected `R [S + 1, A, K]` and `discount [S + 1, A]`, zero in the last state, the end.

        In double precision: of the rules, unless `params` are given.
        """
        table = jax.tree.map(np.asarray, params) if params is not None else self._exact
        states, actions, _ = table.successor.shape
        probability = np.asarray(table.probability, np.float64)
        probability = probability / probability.sum(-1, keepdims=True)
        P, R = np.zeros((states + 1, actions, states + 1)), np.zeros((states + 1, actions, table.reward.shape[-1]))
        s, a, _ = np.indices(table.successor.shape)
        np.add.at(P, (s, a, np.where(table.terminated, states, table.successor)), probability)
        P[states, :, states] = 1.0
        R[:states] = np.einsum("sao,saok->sak", probability, np.asarray(table.reward, np.float64))
        return P, R, gamma * np.append(np.ones((states, actions)), np.zeros((1, actions)), axis=0)


def _enumerate(
    start: Hashable, num_actions: int, rules: Callable[[Any, int], Sequence[Outcome]]
) -> tuple[tuple[Any, ...], list[list[list[tuple[int, Outcome]]]]]:
    """All states that can be reached, and for each of them and each action its outcomes with their numbers.

    States at which episodes end only have no outcomes.
    """
    number, going_on, outcomes = {start: 0}, [start], {}
    for state in going_on:  # grows meanwhile
        outcomes[state] = [list(rules(state, action)) for action in range(num_actions)]
        for outcome in itertools.chain(*outcomes[state]):
            number.setdefault(outcome.state, len(number))
            if not outcome.terminated and outcome.state not in outcomes and outcome.state not in going_on:
                going_on.append(outcome.state)
    table = [[[(number[o.state], o) for o in row] for row in outcomes.get(state, [])] for state in number]
    return tuple(number), table


def _tables(table: list[list[list[tuple[int, Outcome]]]], channels: int, max_steps: int) -> FiniteParams:
    """The outcomes as arrays in double precision. A state without any stays where it is: nothing ever steps from it."""
    actions, most = len(table[0]), max(len(row) for rows in table for row in rows)
    shape = (len(table), actions, most)
    successor = np.broadcast_to(np.arange(len(table))[:, None, None], shape).copy()
    probability, reward, terminated = np.zeros(shape), np.zeros((*shape, channels)), np.ones(shape, bool)
    probability[..., 0] = 1.0
    for s, rows in enumerate(table):
        for a, row in enumerate(rows):
            for o, (number, outcome) in enumerate(row):
                successor[s, a, o], probability[s, a, o] = number, outcome.probability
                reward[s, a, o], terminated[s, a, o] = outcome.reward, outcome.terminated
    return FiniteParams(successor, probability, reward, terminated, max_steps)
