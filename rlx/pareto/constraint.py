"""Constraints on expected costs by Lagrange multipliers: maximise `J_r` subject to `J_c <= limit` for each cost `c`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.types import Array, Weighting, WeightingStats

LagrangeProjection = Literal["relu", "softplus", "sigmoid", "tanh"]

_SMOOTH = {"softplus": jax.nn.softplus, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh}


def lagrange_update(
    parameter: Array, cost: Array, limit: Array, learning_rate: Array | float, projection: LagrangeProjection = "relu"
) -> tuple[Array, Array]:
    """One ascent step on the dual: the multiplier `lam` grows while the cost exceeds its limit.

    `relu`: `x <- max(0, x + lr (J_c - d))`, `lam = x`. Others: `x <- x + lr proj'(x) (J_c - d)`, `lam = proj(x)`. `softplus` is
    positive, `sigmoid` lies in (0, 1), and `tanh` in (-1, 1), for equality constraints: a negative multiplier pays for cost.
    A target to exceed, `J >= theta`, is `cost = -J`, `limit = -theta`.

    Args:
      parameter: `x`, any shape.
      cost: measured `J_c`, same shape; no gradient flows anywhere.
      limit: `d`, same shape or scalar, on the scale of `cost`: a limit on undiscounted episode costs needs undiscounted ones.
      learning_rate: per unit of violation; scale it with the costs.
      projection: from parameter to multiplier.

    Returns:
      New parameter and multiplier.

    Raises:
      ValueError: for an unknown projection.

    Source: Ray, Achiam and Amodei, "Benchmarking Safe Exploration in Deep Reinforcement Learning", 2019; the bounded
    projections: Moskovitz et al., "Confronting Reward Model Overoptimization with Constrained RLHF", 2024. The last iterate
    oscillates about the saddle point: report averages over the last part of training, or use the PID form.
    """
    violation = jax.lax.stop_gradient(cost) - limit
    if projection == "relu":
        parameter = jnp.maximum(parameter + learning_rate * violation, 0.0)
        return parameter, parameter
    check.require(projection in _SMOOTH, "projection", projection, "'relu', 'softplus', 'sigmoid' or 'tanh'")
    project = _SMOOTH[projection]
    parameter = jnp.asarray(parameter)
    _, slope = jax.jvp(project, (parameter,), (jnp.ones_like(parameter),))
    parameter = parameter + learning_rate * slope * violation
    return parameter, project(parameter)


def pid_lagrange_update(
    integral: Array,
    previous_cost: Array,
    cost: Array,
    limit: Array,
    *,
    proportional: Array | float,
    integral_gain: Array | float,
    derivative: Array | float,
) -> tuple[Array, Array]:
    """The multiplier as a PID controller of the violation; the integral alone is `lagrange_update` with `relu`.

    `e = J_c - d`, `I <- max(0, I + e)`, `lam = max(0, Kp e + Ki I + Kd max(0, J_c - J_c_previous))`.

    Returns:
      Multiplier and integral. The proportional term damps the oscillation that the integral alone has, and the derivative
      acts on rising costs only. `I` carries no gain: `Ki = lr` makes `Ki I` the multiplier of `lagrange_update`.

    Source: Stooke, Achiam and Abbeel, "Responsive Safety in Reinforcement Learning by PID Lagrangian Methods", 2020.
    """
    cost = jax.lax.stop_gradient(cost)
    error = cost - limit
    integral = jnp.maximum(integral + error, 0.0)
    rise = jnp.maximum(cost - previous_cost, 0.0)
    return jnp.maximum(proportional * error + integral_gain * integral + derivative * rise, 0.0), integral


def mix_advantages(reward_advantage: Array, cost_advantage: Array, multiplier: Array) -> Array:
    """`(A_r - sum_i lam_i A_c,i) / (1 + sum_i |lam_i|)`: the Lagrangian's advantage at a bounded scale.

    Args:
      reward_advantage: `[...]`.
      cost_advantage: `[..., k]`.
      multiplier: `[k]`.

    Both must be in the units of their returns: dividing each by its own deviation first changes what a multiplier means.
    """
    return (reward_advantage - cost_advantage @ multiplier) / (1.0 + jnp.abs(multiplier).sum())


class LagrangianState(NamedTuple):
    """State of `lagrangian`."""

    parameter: Array  # [number of limits]
    multiplier: Array  # [number of limits]


class PIDState(NamedTuple):
    """State of `pid_lagrangian`."""

    integral: Array  # [number of limits]
    previous_cost: Array  # [number of limits]
    multiplier: Array  # [number of limits]
    started: Array  # bool []: a cost has been measured


def lagrangian(
    limits: Mapping[int, float | Array],
    *,
    learning_rate: float | Array = 0.05,
    projection: LagrangeProjection = "relu",
    initial: float | Array = 0.0,
    rewards: Sequence[float] | None = None,
) -> Weighting:
    """Channels with a limit are costs, kept below it by Lagrange multipliers; the others are rewards.

    Weights: `rewards_k / (1 + sum |lam|)` for a reward, `-lam_i / (1 + sum |lam|)` for a cost. Multipliers move by `lagrange_update`
    once for each batch in which an episode ended, and stay otherwise. Metrics, `[number of limits]` each: `multiplier`,
    and `violation`, the cost less its limit (0 when no episode ended).

    The cost is `stats.returns`, the mean *undiscounted* episode cost, so a limit is in those units. A limit on discounted
    cost is the same thing only where discounting is a real chance of termination.

    Args:
      limits: from the channel's index to its limit.
      learning_rate: of `lagrange_update`, per unit of violation. 0.05 suits costs of order one.
      projection: of `lagrange_update`.
      initial: parameter before the first step, scalar or one for each limit.
      rewards: weights of the K - number of limits reward channels in order; 1 by default.

    Raises:
      ValueError: without limits, or (in `init`) for a channel that is not there or a wrong number of `rewards`.

    Advantages must not be normalised channel by channel (only after weighting): else the multiplier is on another scale.
    """
    costs, limit = _read_limits(limits)

    def init(num_channels: int) -> LagrangianState:
        _check_channels(costs, rewards, num_channels)
        parameter = jnp.broadcast_to(jnp.asarray(initial, jnp.float32), limit.shape)
        # a step of length zero: the multiplier that belongs to the initial parameter
        return LagrangianState(*lagrange_update(parameter, limit, limit, 0.0, projection))

    def update(state: LagrangianState, stats: WeightingStats) -> tuple[Array, LagrangianState, dict[str, Any]]:
        cost, ended = stats.returns[costs], stats.episodes > 0
        new = LagrangianState(*lagrange_update(state.parameter, cost, limit, learning_rate, projection))
        state = jax.tree.map(lambda x, y: jnp.where(ended, x, y), new, state)
        return _weights(state.multiplier, costs, rewards, stats.returns.shape[0]), state, _metrics(state.multiplier, cost - limit, ended)

    return Weighting(init, update)


def pid_lagrangian(
    limits: Mapping[int, float | Array],
    *,
    proportional: float | Array = 0.1,
    integral_gain: float | Array = 0.01,
    derivative: float | Array = 0.01,
    rewards: Sequence[float] | None = None,
) -> Weighting:
    """`lagrangian` with the multipliers of `pid_lagrange_update`: less overshoot and oscillation for three gains to set.

    Limits, weights, metrics, errors and the warning about units are those of `lagrangian`.
    """
    costs, limit = _read_limits(limits)

    def init(num_channels: int) -> PIDState:
        _check_channels(costs, rewards, num_channels)
        zeros = jnp.zeros(limit.shape)
        return PIDState(zeros, zeros, zeros, jnp.zeros((), bool))

    def update(state: PIDState, stats: WeightingStats) -> tuple[Array, PIDState, dict[str, Any]]:
        cost, ended = stats.returns[costs], stats.episodes > 0
        multiplier, integral = pid_lagrange_update(
            state.integral,
            jnp.where(state.started, state.previous_cost, cost),
            cost,
            limit,
            proportional=proportional,
            integral_gain=integral_gain,
            derivative=derivative,
        )
        new = PIDState(integral, cost, multiplier, jnp.ones((), bool))
        state = jax.tree.map(lambda x, y: jnp.where(ended, x, y), new, state)
        return _weights(state.multiplier, costs, rewards, stats.returns.shape[0]), state, _metrics(state.multiplier, cost - limit, ended)

    return Weighting(init, update)


def _read_limits(limits: Mapping[int, float | Array]) -> tuple[np.ndarray, Array]:
    check.require(len(limits) > 0, "limits", limits, "a mapping from channel index to limit, with at least one entry")
    return np.array(list(limits)), jnp.stack([jnp.asarray(x, jnp.float32) for x in limits.values()])


def _check_channels(costs: np.ndarray, rewards: Sequence[float] | None, num_channels: int) -> None:
    inside = np.all((costs >= 0) & (costs < num_channels))
    allowed = f"channel indices in [0, {num_channels}) that leave at least one reward channel"
    check.require(bool(inside) and len(costs) < num_channels, "limits", costs.tolist(), allowed)
    if rewards is not None:
        number = num_channels - len(costs)
        check.require(len(rewards) == number, "rewards", rewards, f"one weight for each of the {number} reward channels")


def _weights(multiplier: Array, costs: np.ndarray, rewards: Sequence[float] | None, num_channels: int) -> Array:
    others = np.setdiff1d(np.arange(num_channels), costs)
    weights = jnp.zeros(num_channels).at[others].set(1.0 if rewards is None else jnp.asarray(rewards))
    return weights.at[costs].set(-multiplier) / (1.0 + jnp.abs(multiplier).sum())


def _metrics(multiplier: Array, violation: Array, ended: Array) -> dict[str, Any]:
    return {"multiplier": multiplier, "violation": jnp.where(ended, violation, 0.0)}
