"""Constraints on expected costs: maximise `J_r` subject to `J_c <= limit` for each cost `c`.

By Lagrange multipliers, a barrier, a penalty, or a step that keeps the linearised cost below its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.sparse.linalg
import numpy as np

from rlx import check
from rlx.policy import ppo_clip_loss
from rlx.types import Array, Mean, Weighting, WeightingStats

Projection = Literal["relu", "softplus", "sigmoid", "tanh"]

_SMOOTH = {"softplus": jax.nn.softplus, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh}


def lagrange_update(
    parameter: Array, cost: Array, limit: Array | float, learning_rate: Array | float, projection: Projection = "relu"
) -> tuple[Array, Array]:
    """One ascent step on the dual: `(parameter, multiplier)`; the multiplier grows while the cost exceeds its limit.

    "relu": `x <- max(0, x + lr (J_c - d))`, `lam = x`. Others: `x <- x + lr proj'(x) (J_c - d)`, `lam = proj(x)`.

    Shapes: all `[...]`; limit and learning rate may be scalars. Differentiated: nothing.

    "softplus" is positive and "sigmoid" in (0, 1); "tanh", in (-1, 1), is for `J_c = d`: below the limit it pays for
    cost. A return to be exceeded, `J >= theta`, is the cost `-J` with limit `-theta`. Usual mistakes: a limit on
    discounted costs and a measurement of undiscounted ones, and trust in the last iterate, which circles the saddle
    point (average over the last part of training, or use `pid_lagrange_update`).

    >>> _, multiplier = lagrange_update(jnp.array([0.5]), jnp.array([3.0]), 2.0, 0.25)
    >>> multiplier.tolist()
    [0.75]

    Raises:
      ValueError: for an unknown projection.

    Source: Ray, Achiam and Amodei, "Benchmarking Safe Exploration in Deep Reinforcement Learning" (2019); Moskovitz et
    al., "Confronting Reward Model Overoptimization with Constrained RLHF" (2024) for the bounded projections.
    """
    violation = cost - limit
    if projection == "relu":
        parameter = jnp.maximum(parameter + learning_rate * violation, 0.0)
        return jax.lax.stop_gradient((parameter, parameter))
    check.require(projection in _SMOOTH, "projection", projection, "'relu', 'softplus', 'sigmoid' or 'tanh'")
    project = _SMOOTH[projection]
    _, slope = jax.jvp(project, (parameter,), (jnp.ones_like(parameter),))
    parameter = parameter + learning_rate * slope * violation
    return jax.lax.stop_gradient((parameter, project(parameter)))


def pid_lagrange_update(
    integral: Array,
    previous_cost: Array,
    cost: Array,
    limit: Array | float,
    proportional: Array | float,
    integral_gain: Array | float,
    derivative: Array | float,
) -> tuple[Array, Array]:
    """A multiplier that is a PID controller of the violation: `(integral, multiplier)`.

    `e = J_c - d`, `I <- max(0, I + e)`, `lam = max(0, Kp e + Ki I + Kd max(0, J_c - previous J_c))`.

    Shapes: all `[...]`; limit and gains may be scalars. Differentiated: nothing.

    The proportional term damps the oscillation that the integral has alone, the derivative acts on rising costs only.
    With `Kp = Kd = 0` it is `lagrange_update` with learning rate `Ki`, whose parameter is `Ki I`.

    >>> integral, multiplier = pid_lagrange_update(
    ...     jnp.array([1.0]), jnp.array([2.5]), jnp.array([3.0]), 2.0, 0.5, 0.25, 2.0
    ... )
    >>> integral.tolist(), multiplier.tolist()
    ([2.0], [2.0])

    Source: Stooke, Achiam and Abbeel, "Responsive Safety in Reinforcement Learning by PID Lagrangian Methods" (2020).
    """
    error = cost - limit
    integral = jnp.maximum(integral + error, 0.0)
    rise = jnp.maximum(cost - previous_cost, 0.0)
    multiplier = jnp.maximum(proportional * error + integral_gain * integral + derivative * rise, 0.0)
    return jax.lax.stop_gradient((integral, multiplier))


def mix_advantages(reward_advantage: Array, cost_advantage: Array, multiplier: Array) -> Array:
    """The Lagrangian's advantage at a bounded scale, `(A_r - sum_i lam_i A_c,i) / (1 + sum_i |lam_i|)`.

    Shapes: `[...]`, `[..., k]`, `[k]` -> `[...]`. Differentiated: nothing is stopped.

    Usual mistake: to divide each advantage by its own deviation first, which changes what a multiplier means.

    >>> mix_advantages(jnp.array([4.0]), jnp.array([[2.0]]), jnp.array([1.0])).tolist()
    [1.0]

    Source: Stooke, Achiam and Abbeel, "Responsive Safety in Reinforcement Learning by PID Lagrangian Methods" (2020).
    """
    return (reward_advantage - cost_advantage @ multiplier) / (1.0 + jnp.abs(multiplier).sum())


def interior_point_barrier(
    cost: Array, limit: Array | float, sharpness: Array | float = 20.0, *, margin: Array | float = 0.01
) -> Array:
    """IPO's logarithmic barrier, a loss that keeps each cost below its limit: `-log(d - J_c) / sharpness`.

    Where less than `margin` is left to the limit, and beyond it, its tangent at the margin takes over: a point outside
    is pulled back with slope `1 / (sharpness margin)` instead of being undefined. Unless that slope exceeds the limit's
    multiplier in the loss, the optimum of the sum lies outside the limit.

    Shapes: `[...]`, one loss for each cost; the rest may be scalars. Differentiated: `cost`.

    In PPO `cost` is `J_c + mean(ratio A_c) / (1 - gamma)`, with the discounted `J_c` of the policy that acted, and the
    sum over costs is added to the loss. The optimum then stays `1 / (sharpness multiplier)` below the limit. Usual
    mistake: a large sharpness from the start, whose gradient comes from the margin only.

    >>> [round(float(x), 4) for x in interior_point_barrier(jnp.array([0.0, 1.0]), 1.0, 10.0, margin=0.1)]
    [-0.0, 0.3303]

    Raises:
      ValueError: for a sharpness or margin that is not positive.

    Source: Liu, Ding and Liu, "IPO: Interior-Point Policy Optimization under Constraints" (2020); the tangent is ours.
    """
    check.positive("sharpness", sharpness)
    check.positive("margin", margin)
    left = limit - cost
    inside = jnp.log(jnp.maximum(left, margin))
    return -(inside + jnp.minimum(left - margin, 0.0) / margin) / sharpness


def penalised_ppo_penalty(
    log_prob: Array,
    behaviour_log_prob: Array,
    cost_advantage: Array,
    cost: Array,
    limit: Array | float,
    discount: Array | float,
    clip: Array | float = 0.2,
    penalty: Array | float = 20.0,
) -> Array:
    """P3O's exact penalty: what each clipped cost surrogate exceeds its limit by, to be added to the mean PPO loss.

        penalty * max(0, mean max(ratio A_c, clip(ratio, 1 - clip, 1 + clip) A_c) + (1 - discount) (J_c - d))

    Shapes: `[...]`, `[...]`, `[..., k]`, `[k]`, `[k]` or scalar -> `[k]`: the mean lies inside the maximum, so this is
    no loss per sample. Differentiated: `log_prob`. `J_c` is the discounted cost of the policy that acted. With a
    penalty above the largest multiplier the constrained optimum minimises the penalised loss: none has to be learned.

    Usual mistakes: an undiscounted `J_c`; minibatches so small that the mean is noise, of which the maximum keeps the
    positive part; cost advantages that were centred for each minibatch.

    >>> same = jnp.zeros(2)
    >>> penalised_ppo_penalty(same, same, jnp.ones((2, 1)), jnp.array([3.0]), 2.0, 0.5).tolist()
    [30.0]

    Raises:
      ValueError: for shapes that do not fit, a discount outside [0, 1], a clip or penalty that is not positive.

    Source: Zhang et al., "Penalized Proximal Policy Optimization for Safe Reinforcement Learning" (2022).
    """
    check.in_range("discount", discount, 0.0, 1.0)
    check.positive("penalty", penalty)
    shape = (*jnp.shape(log_prob), *jnp.shape(cost))
    fits = jnp.ndim(cost) == 1 and jnp.shape(cost_advantage) == shape
    shapes = jnp.shape(cost_advantage), jnp.shape(cost)
    check.require(fits, "cost_advantage and cost", shapes, f"of shapes [{jnp.shape(log_prob)}, k] and [k]")
    surrogate = jax.vmap(ppo_clip_loss, (None, None, -1, None), -1)(
        log_prob, behaviour_log_prob, -jnp.asarray(cost_advantage), clip
    )
    excess = jax.lax.stop_gradient((1.0 - discount) * (cost - limit))
    return penalty * jax.nn.relu(surrogate.reshape(-1, shape[-1]).mean(0) + excess)


def constrained_policy_step(
    gradient: Array,
    cost_gradient: Array,
    violation: Array | float,
    fisher_product: Callable[[Array], Array],
    radius: Array | float = 0.01,
    *,
    iterations: int = 10,
) -> Array:
    """CPO's step: the most reward in a trust region that keeps a linearised cost below its limit.

        max_x g . x   subject to  c + b . x <= 0,  x^T H x / 2 <= radius

    With `H^-1 g` and `H^-1 b` from conjugate gradients, `q = g H^-1 g`, `r = g H^-1 b`, `s = b H^-1 b`:

        x = sqrt(2 radius / q) H^-1 g                                                   if that keeps the limit
        x = -c / s H^-1 b + sqrt((2 radius - c^2 / s) / (q - r^2 / s)) H^-1 (g - r / s b)   on the limit
        x = -sqrt(2 radius / s) H^-1 b                                     if no step keeps it: straight back

    Shapes: `[P]`, `[P]`, scalar; `fisher_product(v) = H v` `[P] -> [P]`, positive definite -> `[P]`, to be *added* to
    the parameters. Stopped: all. `g` and `b` are the gradients of reward and cost, `c = J_c - d` in units of `b . x`.

    Usual mistakes: `c` undiscounted or not divided like the cost surrogate, and no line search: the step is right for
    the linear and quadratic model only. A cost without gradient that is violated gives no step. At least `P` iterations
    make the inverse exact.

    >>> step = constrained_policy_step(jnp.array([1.0, 1.0]), jnp.array([0.0, 1.0]), 0.0, lambda v: v, 0.5)
    >>> [round(float(x), 4) for x in step]
    [1.0, 0.0]

    Raises:
      ValueError: for gradients that are not vectors of one size, a radius that is not positive, no iterations.

    Source: Achiam et al., "Constrained Policy Optimization" (2017); there with the dual's multipliers, the same step.
    """
    check.rank("gradient", gradient, 1)
    check.same_shape(gradient=gradient, cost_gradient=cost_gradient)
    check.positive("radius", radius)
    check.count("iterations", iterations)
    g, b = jax.lax.stop_gradient((jnp.asarray(gradient), jnp.asarray(cost_gradient)))
    violation, radius = jax.lax.stop_gradient((jnp.asarray(violation, g.dtype), jnp.asarray(radius, g.dtype)))
    natural, cost_natural = (
        jax.scipy.sparse.linalg.cg(fisher_product, v, tol=1e-6, maxiter=iterations)[0] for v in (g, b)
    )
    q, r, s = g @ natural, g @ cost_natural, b @ cost_natural
    inverse = jnp.where(s > 0, 1.0 / jnp.where(s > 0, s, 1.0), 0.0)
    free = natural * _root_of_ratio(2.0 * radius, q)
    left = 2.0 * radius - violation**2 * inverse
    along = natural - r * inverse * cost_natural
    gain = q - r**2 * inverse
    gain = jnp.where(gain > 4.0 * jnp.finfo(g.dtype).eps * q, gain, 0.0)  # parallel gradients
    on_limit = along * _root_of_ratio(jnp.maximum(left, 0.0), gain) - violation * inverse * cost_natural
    back = -cost_natural * _root_of_ratio(2.0 * radius, s)
    within = jnp.where((left >= 0) & (s > 0), on_limit, back)
    return jax.lax.stop_gradient(jnp.where(violation + b @ free <= 0, free, within))


class LagrangianState(NamedTuple):
    """State of `lagrangian`; `[number of limits]` each."""

    parameter: Array
    multiplier: Array


class PIDLagrangianState(NamedTuple):
    """State of `pid_lagrangian`; `[number of limits]` each."""

    integral: Array
    multiplier: Array
    previous_cost: Array  # infinite before the first measurement: no rise


def lagrangian(
    limits: Mapping[int, Array | float],
    *,
    learning_rate: Array | float = 0.05,
    projection: Projection = "relu",
    initial: Array | float = 0.0,
    rewards: Sequence[float] | None = None,
) -> Weighting:
    """Channels with a limit are costs, which Lagrange multipliers keep below it; the others are rewards.

    Weights are those of `mix_advantages`: `rewards_k / (1 + sum |lam|)` for a reward, `-lam_i / (1 + sum |lam|)` for a
    cost. The multipliers make a step of `lagrange_update` with each batch in which an episode ended. Metrics, one
    number for each limit: `multiplier`, and `violation`, the cost less its limit (a mean over episodes that ended).

    A cost is measured by the mean *undiscounted* return of the channel over the episodes that ended; limits are in
    those units. A limit on a discounted cost is the same only where discounting is a real chance that the episode ends.

    Args:
      limits: from the index of a channel to its limit.
      learning_rate: of the multipliers, per unit of violation; 0.05 suits costs of order one.
      projection: from parameter to multiplier, see `lagrange_update`.
      initial: parameters at the start.
      rewards: weights of the other channels, in their order; 1 by default.

    Raises:
      ValueError: without limits; (in `init`) for a channel that does not exist, if no channel is left as a reward, or
        if their number is not that of `rewards`.

    Source: Ray, Achiam and Amodei, "Benchmarking Safe Exploration in Deep Reinforcement Learning" (2019).
    """
    costs, limit = _read_limits(limits)

    def init(num_channels: int) -> LagrangianState:
        _check_channels(costs, rewards, num_channels)
        parameter = jnp.broadcast_to(jnp.asarray(initial, jnp.float32), limit.shape)
        return LagrangianState(*lagrange_update(parameter, limit, limit, 0.0, projection))

    def step(state: LagrangianState, cost: Array) -> LagrangianState:
        return LagrangianState(*lagrange_update(state.parameter, cost, limit, learning_rate, projection))

    return Weighting(init, _update(step, costs, limit, rewards))


def pid_lagrangian(
    limits: Mapping[int, Array | float],
    *,
    proportional: Array | float = 0.1,
    integral_gain: Array | float = 0.01,
    derivative: Array | float = 0.01,
    rewards: Sequence[float] | None = None,
) -> Weighting:
    """`lagrangian` with the multipliers of `pid_lagrange_update`, which oscillate less for three gains to be set.

    Limits, weights, metrics, errors and the units of costs are those of `lagrangian`; gains are per unit of cost.

    Source: Stooke, Achiam and Abbeel, "Responsive Safety in Reinforcement Learning by PID Lagrangian Methods" (2020).
    """
    costs, limit = _read_limits(limits)

    def init(num_channels: int) -> PIDLagrangianState:
        _check_channels(costs, rewards, num_channels)
        zeros = jnp.zeros(limit.shape)
        return PIDLagrangianState(zeros, zeros, jnp.full(limit.shape, jnp.inf))

    def step(state: PIDLagrangianState, cost: Array) -> PIDLagrangianState:
        gains = proportional, integral_gain, derivative
        return PIDLagrangianState(*pid_lagrange_update(state.integral, state.previous_cost, cost, limit, *gains), cost)

    return Weighting(init, _update(step, costs, limit, rewards))


def _update(
    step: Callable[[Any, Array], Any], costs: np.ndarray, limit: Array, rewards: Sequence[float] | None
) -> Callable[[Any, WeightingStats], tuple[Array, Any, dict[str, Any]]]:
    """`Weighting.update` that lets `step(state, cost)` move the multipliers where an episode ended."""

    def update(state: Any, stats: WeightingStats) -> tuple[Array, Any, dict[str, Any]]:
        cost, ended = stats.returns[costs], stats.episodes > 0
        state = jax.tree.map(lambda new, old: jnp.where(ended, new, old), step(state, cost), state)
        others = np.setdiff1d(np.arange(stats.returns.shape[0]), costs)
        weights = jnp.zeros_like(stats.returns).at[others].set(1.0 if rewards is None else jnp.asarray(rewards))
        weights = weights.at[costs].set(-state.multiplier) / (1.0 + jnp.abs(state.multiplier).sum())
        violation = Mean(stats.episodes * (cost - limit), jnp.full(limit.shape, stats.episodes))
        return weights, state, {"multiplier": state.multiplier, "violation": violation}

    return update


def _read_limits(limits: Mapping[int, float | Array]) -> tuple[np.ndarray, Array]:
    check.require(len(limits) > 0, "limits", limits, "a mapping from channel index to limit, with at least one entry")
    return np.array(list(limits)), jnp.stack([jnp.asarray(x, jnp.float32) for x in limits.values()])


def _check_channels(costs: np.ndarray, rewards: Sequence[float] | None, num_channels: int) -> None:
    inside = np.all((costs >= 0) & (costs < num_channels))
    allowed = f"channel indices in [0, {num_channels}) that leave at least one reward channel"
    check.require(bool(inside) and len(costs) < num_channels, "limits", costs.tolist(), allowed)
    if rewards is not None:
        number = num_channels - len(costs)
        check.require(
            len(rewards) == number, "rewards", rewards, f"one weight for each of the {number} reward channels"
        )


def _root_of_ratio(value: Array, over: Array) -> Array:
    """`sqrt(value / over)`, and zero where `over` is not positive."""
    return jnp.where(over > 0, jnp.sqrt(value / jnp.where(over > 0, over, 1.0)), 0.0)
