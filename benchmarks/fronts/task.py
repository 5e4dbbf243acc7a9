"""The tasks, and the one judge of both sides: return vectors of policies that are given as tables of actions.

A policy is its greedy actions at `inputs`: at all states of a finite environment, whose returns are then exact; at some
levels of the water reservoir, between which actions are interpolated, and whose returns are means over episodes with
the same random numbers for all policies.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlx.envs import make
from rlx.envs.multi_objective import FiniteEnv
from rlx.envs.wrappers import Wrapper
from rlx.pareto import hypervolume, nondominated_mask, simplex_grid
from rlx.runtime import evaluate
from rlx.types import Array, Policy, PyTree

DISCOUNT = 0.99
EPISODES = 100  # of the judge, where chance plays a part
LEVELS = np.linspace(0.0, 300.0, 61, dtype=np.float32)  # of the reservoir
SCALES = {"water-reservoir": (100.0, 10.0)}  # of observations and rewards: what learners see is divided by these


class Scaled(Wrapper):
    """Observations and rewards divided by constants, for learners that expect them near 1."""

    def __init__(self, env: Any, observation: float, reward: float):
        super().__init__(env)
        self.scales = observation, reward

    def reset_env(self, key: Array, params: Any) -> tuple[PyTree, PyTree]:
        obs, state = self.env.reset_env(key, params)
        return obs / self.scales[0], state

    def step_env(self, key: Array, state: PyTree, action: Array, params: Any) -> tuple[Any, ...]:
        obs, state, reward, terminated, info = self.env.step_env(key, state, action, params)
        return obs / self.scales[0], state, reward / self.scales[1], terminated, info


class Task:
    """An environment of rlx by name, with what both sides are told of it.

    Attributes: `env` that rlx learns on, `params`, `inputs` `[N, ...]` (observations at which policies are read),
    `weights` `[R, K]` that policies are asked for, `reference` `[K]`, `discount` of the returns that count.
    """

    def __init__(self, name: str, observation: str | None = None, discount: float = DISCOUNT):
        self.discount = discount
        self.judge: Any
        self.judge, self.params = make(f"rlx/{name}", **({"observation": observation} if observation else {}))
        self.env = Scaled(self.judge, *SCALES[name]) if name in SCALES else self.judge
        self.reference = np.asarray(self.judge.reference_point)
        count = len(self.reference)
        self.weights = np.asarray(simplex_grid(count, {2: 49, 3: 9}[count]))  # 50 or 55
        if isinstance(self.judge, FiniteEnv):
            index = np.arange(len(self.judge.states))
            self.inputs = index if observation == "index" else self.judge.features
        else:
            self.inputs = LEVELS[:, None] / SCALES[name][0]

    @property
    def exact(self) -> np.ndarray | None:
        """The exact front, where it is known."""
        return self.judge.pareto_front(self.discount) if isinstance(self.judge, FiniteEnv) else None

    def returns(self, tables: Sequence[Any]) -> np.ndarray:
        """Discounted return vectors `[P, K]` of policies that act by `tables`, `[P, N]` or `[P, N, D]`."""
        actions = np.asarray(tables)
        if not len(actions):
            return np.zeros((0, len(self.reference)))
        if isinstance(self.judge, FiniteEnv):
            return exact_returns(self.judge, actions, self.discount)
        return np.asarray(self._play(jnp.asarray(actions, jnp.float32)[..., 0]))

    @functools.cached_property
    def _play(self) -> Any:
        def one(table: Array) -> Array:
            def act(key: Array, obs: Array, carry: Any, reset: Array, greedy: bool = False) -> tuple[Array, Any]:
                del key, reset, greedy
                return jnp.interp(obs[:, 0], LEVELS, table)[:, None], carry

            policy = Policy(lambda batch_size: (), act)
            return evaluate(policy, self.judge, jax.random.key(0), EPISODES, discount=self.discount).returns.mean(0)

        return jax.jit(lambda tables: jax.lax.map(one, tables))

    def hypervolume(self, points: np.ndarray, reference: Sequence[float] | None = None) -> float:
        """Of return vectors `[P, K]`, above `reference` (by default the environment's)."""
        points = np.asarray(points, np.float64).reshape(-1, len(self.reference))
        if not len(points):
            return 0.0
        kept = points[np.asarray(nondominated_mask(jnp.asarray(points)))]
        return float(hypervolume(jnp.asarray(kept), jnp.asarray(self.reference if reference is None else reference)))


def exact_returns(env: FiniteEnv, actions: np.ndarray, discount: float) -> np.ndarray:
    """Expected discounted returns `[P, K]` until the time limit, of policies with `actions [P, S]`."""
    P, R, _, _ = env.to_mdp(discount).arrays()
    states = np.arange(actions.shape[1])
    P, R = P[states, actions], R[states, actions]  # [P, S, S + 1] and [P, S, K]
    at = np.zeros(actions.shape)
    at[:, 0] = 1.0
    total = np.zeros((len(actions), R.shape[-1]))
    for t in range(int(env.default_params.max_steps_in_episode)):
        total += discount**t * np.einsum("ps,psk->pk", at, R)
        at = np.einsum("ps,psn->pn", at, P)[:, :-1]
    return total
