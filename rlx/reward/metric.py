"""How good a reward model is. Metrics per query, for the caller to average, or of a whole sample where they must be.

Rank correlations are SciPy's (`scipy.stats.kendalltau`, `spearmanr`), on the host. Accuracy against noisy labels cannot
reach 1: report it against the gold returns too, where they are known.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def pair_accuracy(difference: Array, target: Array) -> Array:
    """Whether the candidate with the higher score is the one preferred; equal scores count half.

    `t [d > 0] + (1 - t) [d < 0] + [d = 0] / 2`, so that a tie (t = 1/2) gives 1/2 whatever the scores

    Shapes: `[...]`, `[...]` in [0, 1] -> `[...]`; the caller averages. Nothing is differentiated.

    Usual mistake: `d >= 0` is right where the first is preferred: a constant model then has the accuracy of "first".

    >>> pair_accuracy(jnp.array([2.0, -1.0, 0.0]), jnp.array([1.0, 1.0, 1.0])).tolist()
    [1.0, 0.0, 0.5]

    Raises:
      ValueError: for shapes that differ, or a target outside [0, 1].

    Source: none; the usual measure of reward models.
    """
    check.same_shape(difference=difference, target=target)
    check.in_range("target", target, 0.0, 1.0)
    sign = jax.lax.stop_gradient(jnp.sign(jnp.asarray(difference)))
    return 0.5 + sign * (jax.lax.stop_gradient(jnp.asarray(target, sign.dtype)) - 0.5)


def auroc(score: Array, label: Array, weight: Array | None = None) -> Array:
    """The probability that a positive example scores higher than a negative one, ties counted half.

    The area under the curve of true against false positives, by ranks: `sum w_i w_j ([s_i > s_j] + [s_i = s_j] / 2)`
    over positive i and negative j, divided by the sum of the `w_i w_j`; 1/2 where there is no such pair.

    Shapes: `[N]`, bool `[N]`, weights `[N]` (0 for padding) -> `[]`. Nothing is differentiated.

    Usual mistake: ties by the order of a sort, which gives a constant score 0 or 1 in place of 1/2.

    >>> float(auroc(jnp.array([1.0, 3.0, 2.0, 2.0]), jnp.array([False, True, True, False])))
    0.875

    Raises:
      ValueError: for shapes that differ or are not `[N]`.

    Source: Hanley and McNeil, "The Meaning and Use of the Area under a Receiver Operating Characteristic Curve" (1982).
    """
    check.same_shape(score=score, label=label, **({} if weight is None else {"weight": weight}))
    check.rank("score", score, 1)
    score, label = jax.lax.stop_gradient(jnp.asarray(score)), jnp.asarray(label, bool)
    weight = jnp.ones_like(score) if weight is None else jax.lax.stop_gradient(jnp.asarray(weight, score.dtype))
    order = jnp.argsort(score)
    ordered, negative = score[order], jnp.where(label, 0, weight)
    below = jnp.concatenate([jnp.zeros(1, score.dtype), jnp.cumsum(negative[order])])
    lower, upper = (below[jnp.searchsorted(ordered, score, side)] for side in ("left", "right"))
    positive = jnp.where(label, weight, 0)
    pairs = jnp.sum(positive) * jnp.sum(negative)
    return jnp.where(pairs > 0, jnp.sum(positive * (lower + upper) / 2) / jnp.where(pairs > 0, pairs, 1), 0.5)


def calibration_error(prob: Array, outcome: Array, bins: int = 10, weight: Array | None = None) -> Array:
    """How far stated probabilities lie from frequencies: the expected calibration error over bins of equal width.

    `sum_b |sum_{i in b} w_i (p_i - y_i)| / sum_i w_i`

    Shapes: `[N]` in [0, 1], outcomes `[N]` in [0, 1], weights `[N]` -> `[]`. Nothing is differentiated.

    Usual mistake: comparing its values for samples of different size. It is biased upward, more so with many bins and
    few examples: a perfect model has about `sqrt(bins / N) / 3`.

    >>> round(float(calibration_error(jnp.full(4, 0.75), jnp.array([1.0, 1.0, 1.0, 0.0]))), 6)
    0.0

    Raises:
      ValueError: for shapes that differ or are not `[N]`, values outside [0, 1], or `bins < 1`.

    Source: Guo et al., "On Calibration of Modern Neural Networks" (2017).
    """
    check.same_shape(prob=prob, outcome=outcome, **({} if weight is None else {"weight": weight}))
    check.rank("prob", prob, 1)
    check.in_range("prob", prob, 0.0, 1.0)
    check.in_range("outcome", outcome, 0.0, 1.0)
    check.count("bins", bins)
    prob = jax.lax.stop_gradient(jnp.asarray(prob))
    outcome = jax.lax.stop_gradient(jnp.asarray(outcome, prob.dtype))
    weight = jnp.ones_like(prob) if weight is None else jax.lax.stop_gradient(jnp.asarray(weight, prob.dtype))
    which = jnp.clip(jnp.ceil(prob * bins).astype(int) - 1, 0, bins - 1)
    gaps = jax.ops.segment_sum(weight * (prob - outcome), which, bins)
    total = jnp.sum(weight)
    return jnp.sum(jnp.abs(gaps)) / jnp.where(total > 0, total, 1)


def best_of_k_accuracy(score: Array, target: Array, mask: Array | None = None) -> Array:
    """The share of the choice that falls on the right answer, where the highest score is chosen and ties are drawn.

    `sum_c target_c [s_c = max s] / #{c: s_c = max s}`

    With one right answer of k, as in RewardBench 2 (k = 4), a constant model has `1 / k`.

    Shapes: `[..., C]`, `[..., C]` (1 for the right answer), bool `[..., C]` (false for padding) -> `[...]`. Nothing is
    differentiated.

    Usual mistake: `argmax == right`, by which a constant model is right whenever the right answer stands first.

    >>> best_of_k_accuracy(jnp.array([[2.0, 1.0, 2.0, 0.0]]), jnp.array([[1.0, 0.0, 0.0, 0.0]])).tolist()
    [0.5]

    Raises:
      ValueError: for shapes that differ.

    Source: Malik et al., "RewardBench 2: Advancing Reward Model Evaluation" (2025).
    """
    check.same_shape(score=score, target=target, **({} if mask is None else {"mask": mask}))
    score = jax.lax.stop_gradient(jnp.asarray(score))
    valid = jnp.ones(score.shape, bool) if mask is None else jnp.asarray(mask, bool)
    best = valid & (score == jnp.max(jnp.where(valid, score, -jnp.inf), axis=-1, keepdims=True))
    right = jnp.sum(jnp.where(best, jax.lax.stop_gradient(jnp.asarray(target, score.dtype)), 0), axis=-1)
    return right / jnp.maximum(jnp.sum(best, axis=-1), 1).astype(score.dtype)


def ties_score(
    score: Array,
    correct: Array,
    reference_score: Array,
    reference_correct: Array,
    mask: Array | None = None,
    reference_mask: Array | None = None,
) -> Array:
    """RewardBench 2's score of prompts with several right answers, which should score alike and above all wrong ones.

    Of the prompt, and of a reference prompt with one right answer, `gap` is the lowest right score less the highest
    wrong one, and `spread` is the highest less the lowest right score of the prompt itself:

        0.3 [gap > 0] + 0.3 [gap_ref > 0] + 0.2 [gap > spread] + 0.2 [min(gap, gap_ref) > spread]
            + 0.01 tanh(min(gap, gap_ref) / spread - 1)

    where the last term is 0 for 0 / 0; by it a score may lie slightly outside [0, 1].

    Shapes: `[..., C]`, bool `[..., C]`, `[..., R]`, bool `[..., R]`, bool masks likewise (false for padding) ->
    `[...]`; the caller averages over prompts. Each prompt has right and wrong answers. Nothing is differentiated.

    Usual mistake: scores in half precision, whose accidental ties fail the strict inequalities.

    >>> answers, right = jnp.array([3.0, 2.9, 1.0]), jnp.array([True, True, False])
    >>> round(float(ties_score(answers, right, answers, right)), 2)
    1.01

    Raises:
      ValueError: for shapes that differ.

    Source: Malik et al., "RewardBench 2: Advancing Reward Model Evaluation" (2025), and its published code.
    """
    gap, spread = _gap_and_spread("score", score, "correct", correct, "mask", mask)
    names = "reference_score", "reference_correct", "reference_mask"
    reference_gap, _ = _gap_and_spread(names[0], reference_score, names[1], reference_correct, names[2], reference_mask)
    least = jnp.minimum(gap, reference_gap)
    ratio = jnp.where(spread > 0, least / jnp.where(spread > 0, spread, 1), jnp.sign(least) * jnp.inf)
    closeness = jnp.where((spread == 0) & (least == 0), 0, jnp.tanh(ratio - 1))
    right = 0.3 * (gap > 0) + 0.3 * (reference_gap > 0)
    return (right + 0.2 * (gap > spread) + 0.2 * (least > spread) + 0.01 * closeness).astype(spread.dtype)


def _gap_and_spread(
    score_name: str, score: Array, correct_name: str, correct: Array, mask_name: str, mask: Array | None
) -> tuple[Array, Array]:
    arrays = {score_name: score, correct_name: correct}
    check.same_shape(**arrays, **({} if mask is None else {mask_name: mask}))
    score, correct = jax.lax.stop_gradient(jnp.asarray(score)), jnp.asarray(correct, bool)
    wrong = ~correct if mask is None else ~correct & jnp.asarray(mask, bool)
    correct = correct if mask is None else correct & jnp.asarray(mask, bool)
    lowest = jnp.min(jnp.where(correct, score, jnp.inf), axis=-1)
    highest = jnp.max(jnp.where(correct, score, -jnp.inf), axis=-1)
    return lowest - jnp.max(jnp.where(wrong, score, -jnp.inf), axis=-1), highest - lowest
