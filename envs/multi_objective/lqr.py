"""Multi-objective linear-quadratic regulator: continuous states and actions with an exact front."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check, space
from rlx.envs.interface import at_time_limit, reset, step, strong
from rlx.pareto import simplex_grid
from rlx.types import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LQRParams:
    start: Any = 1.0  # of every coordinate
    xi: Any = 0.1  # share of an objective's cost that other objectives' coordinates have; below 0.5
    max_steps_in_episode: Any = 50  # steps

    def replace(self, **changes: Any) -> LQRParams:
        return dataclasses.replace(self, **changes)


class LQRState(NamedTuple):
    x: Array  # [m]
    time: Array  # int32 [], steps since the reset


class LQR:
    """`x' = x + a` with a coordinate for each of m objectives: `-(1 - xi) (x_i^2 + sum_{j != i} a_j^2) - xi (a_i^2 +
    sum_{j != i} x_j^2)`.

    Objective i wants coordinate i at zero and cheap actions elsewhere; so policies are linear, `a_j = -k_j x_j`, and
    weights trade the gains k_j off. Actions lie in [-1, 1], which is no restriction from the default start; nothing but
    the time limit ends an episode, and nothing is random. Meant for a discount of 0.9.

    Source: Parisi, Pirotta, Restelli, "Multi-objective Reinforcement Learning through Continuous Pareto Manifold
    Approximation" (2016).
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(self, num_objectives: int = 2):
        check.count("num_objectives", num_objectives, 2)
        self.num_objectives = m = num_objectives
        self.reward_channels = tuple(f"x{i}" for i in range(m))
        self.reference_point = (-9.0 - (m - 1.0),) * m  # to do nothing, at discount 0.9
        self.default_params: LQRParams = strong(LQRParams())

    def reset_env(self, key: Array, params: LQRParams) -> tuple[Array, LQRState]:
        del key
        x = jnp.full(self.num_objectives, params.start)
        return x, LQRState(x, jnp.zeros((), jnp.int32))

    def step_env(
        self, key: Array, state: LQRState, action: Array, params: LQRParams
    ) -> tuple[Array, LQRState, Array, Array, dict[str, Any]]:
        del key
        action = jnp.clip(action, -1.0, 1.0)
        reward = _objectives(state.x**2, action**2, params.xi)
        state = LQRState(state.x + action, state.time + 1)
        return state.x, state, reward, jnp.zeros((), bool), {}

    def observation_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(-jnp.inf, jnp.inf, (self.num_objectives,))

    def action_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(-1.0, 1.0, (self.num_objectives,))

    def returns(self, gains: Any, gamma: float, params: LQRParams | None = None) -> np.ndarray:
        """Discounted returns `[..., m]` of `a = -gains x`, `[..., m]`, without a time limit, in double precision.

        `sum_t gamma^t x_j^2 = start^2 / (1 - gamma (1 - k_j)^2)`, and `k_j^2` times that for the actions; minus
        infinity where it does not converge.
        """
        params = params or self.default_params
        gains = np.asarray(gains, np.float64)
        decay = 1.0 - gamma * (1.0 - gains) ** 2
        squares = float(params.start) ** 2 / np.where(decay > 0, decay, 1.0)
        finite = np.all(decay > 0, axis=-1, keepdims=True)
        return np.where(finite, _objectives(squares, gains**2 * squares, float(params.xi)), -np.inf)

    def optimal_gains(self, weights: Any, gamma: float, params: LQRParams | None = None) -> np.ndarray:
        """Gains `[..., m]` that maximise `sum_i w_i return_i` for `weights [..., m]`: a Riccati equation a coordinate.

        Coordinate j costs `A x_j^2 + B a_j^2` with `A = (1 - xi) w_j + xi (1 - w_j)` and `B = 1 - A` (for weights that
        sum to 1); its value `-P x_j^2` has `gamma P^2 + (B - gamma A - gamma B) P - A B = 0`, and
        `k_j = gamma P / (B + gamma P)`.
        """
        weights = np.asarray(weights, np.float64)
        xi = float((params or self.default_params).xi)
        A = (1 - xi) * weights + xi * (weights.sum(-1, keepdims=True) - weights)
        B = weights.sum(-1, keepdims=True) - A
        half = (B - gamma * (A + B)) / 2
        P = (np.sqrt(half**2 + gamma * A * B) - half) / gamma
        return gamma * P / (B + gamma * P)

    def pareto_front(self, gamma: float, params: LQRParams | None = None, divisions: int = 100) -> np.ndarray:
        """Points `[N, m]` (float64) of the front, one for each weight vector with entries that are multiples of
        `1 / divisions`.

        Returns are those without a time limit, of the best of all policies: the front is a smooth surface, and the
        upper boundary of a convex set. Valid while actions stay within their bounds: `|start| <= 1`.
        """
        weights = np.asarray(simplex_grid(self.num_objectives, divisions), np.float64)
        weights = weights / weights.sum(1, keepdims=True)
        return self.returns(self.optimal_gains(weights, gamma, params), gamma, params)


def _objectives(x_squares: Any, a_squares: Any, xi: Any) -> Any:
    """All objectives from the squares of the coordinates and of the actions, `[..., m]`, or from sums of them."""
    own = x_squares + (a_squares.sum(-1, keepdims=True) - a_squares)
    other = a_squares + (x_squares.sum(-1, keepdims=True) - x_squares)
    return -(1 - xi) * own - xi * other
