"""Ratings from comparisons, and how agents are compared over tasks whose scores are not comparable."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from rlx import check
from rlx.types import Array

PERCENTILES = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0)


class Ratings(NamedTuple):
    """Of the two sides of a comparison: normal beliefs about their skills."""

    mean: Array  # [..., 2]
    deviation: Array  # [..., 2]


def trueskill_update(
    mean: Array,
    deviation: Array,
    draw: Array,
    *,
    beta: Array | float = 25 / 6,
    tau: Array | float = 25 / 300,
    draw_prob: Array | float = 0.1,
) -> Ratings:
    """What is believed of two skills after one comparison: the winner comes first, of a draw in either order.

    A performance is normal around the skill with deviation `beta`; the first wins if it is ahead by more than a margin
    e, by which two equal skills draw with probability `draw_prob`. With `s^2 = deviation^2 + tau^2`,
    `c^2 = 2 beta^2 + s_1^2 + s_2^2`, `t = (mean_1 - mean_2) / c` and e in units of c:

        win:  v = N(t - e) / Phi(t - e),                            w = v (v + t - e)
        draw: v = (N(-e - t) - N(e - t)) / (Phi(e - t) - Phi(-e - t)),
              w = v^2 + ((e - t) N(e - t) + (e + t) N(e + t)) / (Phi(e - t) - Phi(-e - t))
        mean_1 += v s_1^2 / c,  mean_2 -= v s_2^2 / c,  deviation^2 = s^2 (1 - w s^2 / c^2)

    Shapes: `[..., 2]`, `[..., 2]`, bool `[...]` -> `[..., 2]`, `[..., 2]`. Nothing is differentiated.

    Comparisons one after the other depend on their order: go through them several times, or in several orders.

    Usual mistake: a margin for teams of other sizes; this one is `sqrt(2) beta Phi^-1((draw_prob + 1) / 2)`.

    >>> rating = trueskill_update(jnp.array([25.0, 25.0]), jnp.full(2, 25 / 3), jnp.asarray(False))
    >>> [round(float(x), 2) for x in (*rating.mean, *rating.deviation)]
    [29.4, 20.6, 7.17, 7.17]

    Raises:
      ValueError: for shapes that do not fit, or coefficients out of range.

    Source: Herbrich, Minka and Graepel, "TrueSkill: A Bayesian Skill Rating System" (2006).
    """
    check.same_shape(mean=mean, deviation=deviation)
    shape = jnp.shape(mean)
    check.require(len(shape) > 0 and shape[-1] == 2, "the shape of mean", shape, "[..., 2]")
    check.require(jnp.shape(draw) == shape[:-1], "the shape of draw", jnp.shape(draw), f"{shape[:-1]}")
    check.positive("beta", beta)
    check.in_range("tau", tau, 0.0)
    check.in_range("draw_prob", draw_prob, 0.0, 1.0, open_high=True)
    dtype = jnp.result_type(mean, float)
    full = jnp.promote_types(dtype, jnp.float32)
    mean = jax.lax.stop_gradient(jnp.asarray(mean, full))
    deviation = jax.lax.stop_gradient(jnp.asarray(deviation, full))
    variance = jnp.square(deviation) + jnp.square(jnp.asarray(tau, full))
    c = jnp.sqrt(2 * jnp.square(jnp.asarray(beta, full)) + variance.sum(-1))
    t = (mean[..., 0] - mean[..., 1]) / c
    margin = 2**0.5 * jnp.asarray(beta, full) * norm.ppf((jnp.asarray(draw_prob, full) + 1) / 2) / c
    v, w = _won(t - margin)
    v_draw, w_draw = _drawn(t, margin)
    v, w = jnp.where(draw, v_draw, v)[..., None], jnp.where(draw, w_draw, w)[..., None]
    share = variance / c[..., None]
    moved = mean + v * share * jnp.array([1.0, -1.0], full)
    narrowed = jnp.sqrt(variance * (1 - w * share / c[..., None]))
    return Ratings(moved.astype(dtype), narrowed.astype(dtype))


def _won(x: Array) -> tuple[Array, Array]:
    """Mean and reduction of variance of a standard normal truncated to more than `-x`."""
    v = jnp.exp(norm.logpdf(x) - norm.logcdf(x))
    # far out the product is a difference of what is nearly equal: v = -x - 1/x + 2/x^3 - ... there
    far = x < -30
    return v, jnp.where(far, 1 - 1 / jnp.square(jnp.where(far, x, -30.0)), v * (v + x))


def _drawn(t: Array, margin: Array) -> tuple[Array, Array]:
    """The same, truncated to less than `margin` on either side of 0, by the symmetry in t on the side t >= 0."""
    away = jnp.abs(t)
    near, far = margin - away, -margin - away
    # in units of the density at `near`, which cannot underflow
    log_near = norm.logpdf(near)
    ratio = jnp.exp(norm.logpdf(far) - log_near)
    log_cdf = norm.logcdf(near)
    mass = jnp.exp(log_cdf - log_near) * -jnp.expm1(jnp.minimum(norm.logcdf(far) - log_cdf, 0.0))
    mass = jnp.maximum(mass, jnp.finfo(mass.dtype).tiny)
    v = (ratio - 1) / mass
    w = jnp.square(v) + (near - far * ratio) / mass
    return v * jnp.where(t < 0, -1.0, 1.0), jnp.clip(w, 0.0, 1.0)


def normalised_task_scores(score: Array) -> Array:
    """Each agent's score over tasks: the mean of its z-scores among the agents.

        mean over tasks of (x_ta - mean_a x_ta) / sd_a x_ta

    Shapes: `[tasks, agents]` -> `[agents]`. Differentiated: `score`. A task in which all are equal counts as 0.

    Usual mistake: ratings averaged as they are, so that the task with the widest ones decides.

    >>> [round(float(x), 3) for x in normalised_task_scores(jnp.array([[1.0, 3.0], [30.0, 10.0], [0.0, 7.0]]))]
    [-0.333, 0.333]

    Raises:
      ValueError: for scores that are not a matrix.

    Source: Shah et al., "The MineRL BASALT Competition on Learning from Human Feedback" (2021).
    """
    check.rank("score", score, 2)
    x = jnp.asarray(score) - jnp.mean(score, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    return jnp.mean(x * jnp.where(variance > 0, jax.lax.rsqrt(jnp.where(variance > 0, variance, 1)), 0), axis=0)


def normalised_percentiles(
    returns: Array, scale: Array, percentiles: tuple[float, ...] = PERCENTILES
) -> tuple[Array, Array]:
    """How an agent does on its worst tasks: percentiles over tasks of scores as shares of the best, and participation.

        percentile_q over tasks of clip(R / scale, 0, 1),   share of tasks with R > 0

    Shapes: `[..., N]` returns in N tasks, `[N]` the best that is known of each (of the population that is evaluated) ->
    `[..., Q]`, `[...]`. Between two tasks percentiles are linear, as NumPy's. A task whose best is not positive scores
    0. Differentiated: `returns`.

    An agent improves on another if its percentiles dominate the other's (`rlx.pareto.dominates`).

    Usual mistake: the mean, by which an agent may gain while it gives up tasks altogether.

    >>> returns, best = jnp.array([0.0, 1.0, 4.0]), jnp.array([1.0, 2.0, 2.0])
    >>> scores, participation = normalised_percentiles(returns, best, (0, 25, 50))
    >>> scores.tolist(), round(float(participation), 3)
    ([0.0, 0.25, 0.5], 0.667)

    Raises:
      ValueError: for shapes that do not fit, or percentiles outside [0, 100].

    Source: Open Ended Learning Team, "Open-Ended Learning Leads to Generally Capable Agents" (2021).
    """
    check.in_range("percentiles", percentiles, 0.0, 100.0)
    returns, scale = jnp.asarray(returns), jnp.asarray(scale)
    wanted = returns.shape[-1:]
    check.require(scale.shape == wanted, "the shape of scale", scale.shape, f"{wanted}")
    dtype = jnp.result_type(returns, float)
    score = jnp.where(scale > 0, jnp.clip(returns / jnp.where(scale > 0, scale, 1), 0, 1), 0)
    found = jnp.percentile(score.astype(jnp.promote_types(dtype, jnp.float32)), jnp.array(percentiles), axis=-1)
    return jnp.moveaxis(found, 0, -1).astype(dtype), jnp.mean(returns > 0, axis=-1, dtype=dtype)
