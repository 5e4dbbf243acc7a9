"""What to look at while a policy is aligned: length, and how far proxies and gold rewards go together."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.policy.sequence import widened
from rlx.types import Array

NEWTON_STEPS = 50


class LengthReport(NamedTuple):
    """How answers' lengths have changed, and whether the judge pays for them."""

    ratio: Array  # mean length over that of the reference's answers
    correlation: Array  # rank correlation of length and reward


class WinRate(NamedTuple):
    """Of a policy against an opponent."""

    raw: Array
    controlled: Array  # at equal lengths


class Mismatch(NamedTuple):
    """How far a reward model's accuracy, the reward it pays, and the gold reward go together."""

    accuracy_proxy: Array  # rank correlations over runs, at their end
    accuracy_gold: Array
    proxy_gold: Array
    within: Array  # [R] rank correlation of proxy and gold in the course of each run
    peak_gap: Array  # [R] gold reward at its peak, less that where the proxy is at its own


def rank_correlation(first: Array, second: Array, mask: Array | None = None) -> Array:
    """Spearman's rank correlation: that of the ranks, equal values sharing the mean of theirs.

    Shapes: `[..., N]` twice, bool `[..., N]` (which of them count) -> `[...]`; 0 where one of them is constant. Nothing
    is differentiated.

    >>> rank_correlation(jnp.array([1.0, 2.0, 9.0]), jnp.array([3.0, 1.0, 0.0])).item()
    -1.0

    Raises:
      ValueError: for shapes that differ, or no axis.

    Source: Spearman, "The Proof and Measurement of Association between Two Things" (1904).
    """
    mask = jnp.ones(jnp.shape(first), bool) if mask is None else jnp.asarray(mask, bool)
    check.same_shape(first=first, second=second, mask=mask)
    check.require(jnp.ndim(first) >= 1, "first", jnp.shape(first), "of shape [..., N]")
    x, y = (_centred_ranks(jax.lax.stop_gradient(jnp.asarray(a)), mask) for a in (first, second))
    scale = jnp.sqrt(jnp.sum(x * x, -1) * jnp.sum(y * y, -1))
    return (jnp.sum(x * y, -1) / jnp.where(scale > 0, scale, 1)).astype(_float(first))


def length_report(mask: Array, reward: Array, reference_mask: Array) -> LengthReport:
    """Whether a policy's answers have grown longer, and whether longer ones are paid more.

    Shapes: bool `[N, T]`, `[N]`, bool `[M, T']` -> numbers. Nothing is differentiated.

    Usual mistake: a mask without the end token, or with what follows it: lengths then grow by themselves.

    >>> length_report(jnp.array([[True, True], [True, False]]), jnp.array([1.0, 0.0]), jnp.array([[True]]))
    LengthReport(ratio=Array(1.5, dtype=float32), correlation=Array(1., dtype=float32))

    Raises:
      ValueError: for shapes that do not fit.

    Source: "Preference Fine-Tuning for Factuality in Chest X-Ray Interpretation Models Without Human Feedback" (2024).
    """
    for name, array in (("mask", mask), ("reference_mask", reference_mask)):
        check.rank(name, array, 2)
    check.require(jnp.shape(reward) == jnp.shape(mask)[:1], "reward", jnp.shape(reward), f"[{len(mask)}]")
    dtype, reward = _float(reward), widened(reward).astype(jnp.promote_types(_float(reward), jnp.float32))
    length, other = (jnp.sum(jnp.asarray(x, bool), axis=-1).astype(reward.dtype) for x in (mask, reference_mask))
    ratio = jnp.mean(length) / jnp.maximum(jnp.mean(other), jnp.finfo(reward.dtype).tiny)
    return LengthReport(ratio.astype(dtype), rank_correlation(length, reward).astype(dtype))


def length_controlled_win_rate(win: Array, length_difference: Array, ridge: Array | float = 1e-3) -> WinRate:
    """The win rate that a policy would have if its answers were as long as its opponent's.

        P(win) = sigmoid(a + b tanh(difference / std)),   controlled = sigmoid(a)

    a and b maximise the likelihood less `ridge b^2 / 2` times the number of comparisons, which keeps b finite where
    length decides every one of them; a has as little of it as is needed for a policy that wins or loses them all.

    Shapes: `[N]` in [0, 1] (1/2: a tie), `[N]` own length less the opponent's -> two numbers. Nothing is
    differentiated.

    Usual mistake: to read it as causal. It asks what the judge would say of pairs of equal length as they come.

    >>> rate = length_controlled_win_rate(jnp.array([1.0, 1.0, 0.0, 1.0]), jnp.zeros(4))
    >>> round(float(rate.raw), 3), round(float(rate.controlled), 3)
    (0.75, 0.75)

    Raises:
      ValueError: for shapes that differ or are not `[N]`, wins outside [0, 1], or `ridge <= 0`.

    Source: Dubois et al., "Length-Controlled AlpacaEval: A Simple Way to Debias Automatic Evaluators" (2024).
    """
    check.same_shape(win=win, length_difference=length_difference)
    check.rank("win", win, 1)
    check.in_range("win", win, 0.0, 1.0)
    check.positive("ridge", ridge)
    dtype, full = _float(win), jnp.promote_types(_float(win), jnp.float32)
    win, difference = (jax.lax.stop_gradient(jnp.asarray(x, full)) for x in (win, length_difference))
    std = jnp.std(difference)
    column = jnp.where(std > 0, jnp.tanh(difference / jnp.where(std > 0, std, 1)), 0)
    design = jnp.stack([jnp.ones_like(column), column], axis=-1)
    penalty = jnp.stack([jnp.full((), 1e-6, win.dtype), jnp.asarray(ridge, win.dtype)]) * len(win)

    def newton(_: int, weight: jax.Array) -> jax.Array:
        p = jax.nn.sigmoid(design @ weight)
        gradient = design.T @ (win - p) - penalty * weight
        hessian = (design.T * (p * (1 - p))) @ design + jnp.diag(penalty)
        step = jnp.linalg.solve(hessian, gradient)
        return weight + step * jnp.minimum(1, 2 / jnp.maximum(jnp.max(jnp.abs(step)), 1e-12))

    weight = jax.lax.fori_loop(0, NEWTON_STEPS, newton, jnp.zeros(2, win.dtype))
    return WinRate(jnp.mean(win).astype(dtype), jax.nn.sigmoid(weight[0]).astype(dtype))


def objective_mismatch(accuracy: Array, proxy: Array, gold: Array) -> Mismatch:
    """Whether better reward models make better policies, over runs that were each trained on a reward model.

    Shapes: `[R]` the reward models' accuracies, `[R, T]` rewards that they pay in the course of training, `[R, T]` gold
    rewards at the same times -> numbers and `[R]`. Nothing is differentiated.

    Usual mistake: the correlation over runs taken for that within one: proxy and gold may agree on which run is best
    and part in all of them.

    >>> runs = jnp.array([[0.0, 1.0, 2.0], [0.0, 2.0, 4.0]])
    >>> report = objective_mismatch(jnp.array([0.6, 0.7]), runs, runs)
    >>> report.proxy_gold.item(), report.within.tolist(), report.peak_gap.tolist()
    (1.0, [1.0, 1.0], [0.0, 0.0])

    Raises:
      ValueError: for shapes that do not fit.

    Source: Lambert and Calandra, "The Alignment Ceiling: Objective Mismatch in Reinforcement Learning from Human
    Feedback" (2023).
    """
    check.same_shape(proxy=proxy, gold=gold)
    check.rank("proxy", proxy, 2)
    runs = jnp.shape(proxy)[:1]
    check.require(jnp.shape(accuracy) == runs, "accuracy", jnp.shape(accuracy), f"of shape {runs}")
    accuracy, proxy, gold = (jax.lax.stop_gradient(jnp.asarray(x)) for x in (accuracy, proxy, gold))
    chosen = jnp.take_along_axis(gold, jnp.argmax(proxy, axis=1, keepdims=True), axis=1)[:, 0]
    return Mismatch(
        rank_correlation(accuracy, proxy[:, -1]),
        rank_correlation(accuracy, gold[:, -1]),
        rank_correlation(proxy[:, -1], gold[:, -1]),
        rank_correlation(proxy, gold),
        jnp.max(gold, axis=1) - chosen,
    )


def _float(x: Array) -> jnp.dtype:
    """The type of what is computed from it."""
    dtype = jnp.result_type(x)
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.dtype(jnp.float32)


def _centred_ranks(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Twice the ranks among those of the mask, less their mean; 0 for the others."""
    below = jnp.sum((x[..., None, :] < x[..., :, None]) & mask[..., None, :], axis=-1)
    above = jnp.sum((x[..., None, :] > x[..., :, None]) & mask[..., None, :], axis=-1)
    return jnp.where(mask, below - above, 0).astype(jnp.promote_types(jnp.result_type(x), jnp.float32))
