"""Choice models: how likely a preference, a ranking or a tie is under scores. Losses are per query, not averaged."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from rlx import check
from rlx.policy.link import Link, corrected_target, link_loss
from rlx.types import Array


def preference_loss(
    difference: Array,
    target: Array,
    *,
    link: Link = "logistic",
    margin: Array | float = 0.0,
    scale: Array | float = 1.0,
    weight: Array | float = 1.0,
    smoothing: Array | float = 0.0,
    flip_prob: Array | float | None = None,
    unbiased: bool = False,
) -> Array:
    """The loss of which of two candidates was preferred, given the difference of their scores.

        z = scale d - margin sign(2t - 1),   t' = (1 - smoothing) t + smoothing (1 - t)
        loss = weight (t' l(z) + (1 - t') l(-z))

    `d` is the first score less the second, `t` the probability that the first is preferred, and `l` the link's loss
    (`rlx.policy.link_loss`): `-log sigmoid(z)` by default, that is Bradley and Terry's model.

    What it becomes: `margin` by how much the preferred one has to be ahead (Llama 2); `weight` the strength of the
    preference (scaled Bradley-Terry) or 0 to leave a row out; `scale` an inverse temperature, of each row if it likes
    (`dynamic_scale`), or `1 / sqrt(s1^2 + s2^2)` for "probit", Thurstone's model; `target` 0.5 for a tie. Against
    labels of which a share `e` is wrong: `flip_prob = e` is the likelihood of noisy labels, or with `unbiased`
    `(l(z) - e (l(z) + l(-z))) / (1 - 2e)`, whose mean over the flips is the loss of the clean label, for every link.

    Args:
      difference: `[...]`, score of the first candidate less that of the second.
      target: `[...]` in [0, 1], `batch.target[:, 0]`.
      link: see `link_loss`.
      margin, scale, weight, smoothing, flip_prob: numbers, or arrays that broadcast to `[...]`.
      unbiased: see above.

    Returns:
      The loss, `[...]`. Its gradient goes to `difference` alone; for noise that is to be learned, divide `difference`
      by it beforehand.

    Usual mistakes: to divide by the sum of weights that are strengths, which takes the scaling away again (the mean
    over rows keeps it); a margin that ignores which one was preferred; smoothing towards 1/2 by `e`, which here is
    `smoothing = e / 2`; and to train to the end with `unbiased`, which has no lower bound.

    >>> bool(jnp.isclose(preference_loss(jnp.array(2.0), jnp.array(1.0)), jnp.log1p(jnp.exp(-2.0))))
    True
    >>> preference_loss(jnp.array([2.0, -2.0]), jnp.array([1.0, 0.0]), link="hinge", margin=1.5).tolist()
    [0.5, 0.5]

    Raises:
      ValueError: for shapes that differ, a probability out of range, an unknown link, `unbiased` without `flip_prob`
        below 0.5, or `flip_prob` without `unbiased` for a link that has no probability.

    Source: Bradley and Terry, "Rank Analysis of Incomplete Block Designs" (1952); Natarajan et al., "Learning with
    Noisy Labels" (2013) for `unbiased`; Touvron et al., "Llama 2: Open Foundation and Fine-Tuned Chat Models" (2023)
    for the margin; Wang et al., "HelpSteer2-Preference: Complementing Ratings with Preferences" (2025) for the weight.
    """
    check.same_shape(difference=difference, target=target)
    check.in_range("target", target, 0.0, 1.0)
    check.in_range("smoothing", smoothing, 0.0, 1.0)
    difference = jnp.asarray(difference)
    dtype = difference.dtype
    target, margin, scale, weight, smoothing = (
        jax.lax.stop_gradient(jnp.asarray(x, dtype)) for x in (target, margin, scale, weight, smoothing)
    )
    z = scale * difference - margin * jnp.sign(2 * target - 1)
    noise = jnp.zeros((), dtype)
    if unbiased:
        if flip_prob is None:
            raise ValueError("flip_prob must be given with unbiased; got None")
        check.in_range("flip_prob", flip_prob, 0.0, 0.5, open_high=True)
        noise = jax.lax.stop_gradient(jnp.asarray(flip_prob, dtype))
        flip_prob = None
    label = corrected_target(target, smoothing, noise)
    return weight * (label * link_loss(z, link, flip_prob) + (1 - label) * link_loss(-z, link, flip_prob))


def plackett_luce_loss(score: Array, rank: Array, mask: Array | None = None, top: int | None = None) -> Array:
    """Minus the log-likelihood of a ranking, drawn one after the other without replacement by `softmax(score)`.

    `- sum_i (s_i - log sum_{j not ahead of i} exp s_j)`, over the ranked candidates `i`

    Candidates of rank -1 are not ranked: behind all others, in the sums but without a term of their own. Ties take
    Efron's approximation: the `l`-th of `m` tied candidates has `l / m` of the tied ones' weight, `l = 0 .. m - 1`,
    taken out of its sum; so no order within a tie is preferred and the order of candidates does not matter. With
    `top = k` only the first k places count, and k = 1 is the cross-entropy of the choice.

    Shapes: `[..., C]`, int `[..., C]`, bool `[..., C]` (false for padding) -> `[...]`. Differentiated: `score`. It
    takes O(C^2), and no sorting.

    Usual mistakes: to drop unranked candidates, which were there to be chosen and were not; and ties broken by
    position, which teaches the position.

    >>> float(plackett_luce_loss(jnp.zeros(3), jnp.array([0, 1, 2])))  # log 3!
    1.7917594909667969

    Raises:
      ValueError: for shapes that differ or have no axis, ranks that are not integers, or `top < 1`.

    Source: Plackett, "The Analysis of Permutations" (1975); Luce, "Individual Choice Behavior" (1959); Efron, "The
    Efficiency of Cox's Likelihood Function for Censored Data" (1977) for ties.
    """
    check.same_shape(score=score, rank=rank, **({} if mask is None else {"mask": mask}))
    score, rank = jnp.asarray(score), jnp.asarray(rank)
    check.require(score.ndim > 0, "score", score.shape, "of shape [..., C]")
    check.require(jnp.issubdtype(rank.dtype, jnp.integer), "rank", rank.dtype, "of an integer type")
    if top is not None:
        check.count("top", top)
    valid = jnp.ones(rank.shape, bool) if mask is None else jnp.asarray(mask, bool)
    score, ranked = jnp.where(valid, score, 0), valid & (rank >= 0)
    own, other = rank[..., :, None], rank[..., None, :]
    itself = jnp.eye(rank.shape[-1], dtype=bool)  # so that rows of padding stay finite; they are left out at the end
    behind = (valid[..., None, :] & ((other >= own) | (other < 0))) | itself
    tied = (ranked[..., None, :] & (other == own)) | itself
    ties = jnp.sum(tied, axis=-1)
    earlier = jnp.sum(jnp.tril(tied, -1), axis=-1)
    across = jnp.broadcast_to(score[..., None, :], tied.shape)
    remaining, among = (jax.nn.logsumexp(across, axis=-1, where=which) for which in (behind, tied))
    removed = (earlier / ties).astype(score.dtype) * jnp.exp(jnp.minimum(among - remaining, 0))  # below 1
    group_mean = jnp.sum(jnp.where(tied, across, 0), axis=-1) / ties.astype(score.dtype)
    term = remaining + jnp.log1p(-removed) - group_mean
    if top is not None:
        ahead = jnp.sum(ranked[..., None, :] & (other < own), axis=-1)
        ranked &= ahead + earlier < top
    return jnp.sum(jnp.where(ranked, term, 0), axis=-1)


def tie_log_prob(
    difference: Array, threshold: Array | float, model: Literal["rao_kupper", "davidson"] = "rao_kupper"
) -> Array:
    """Log-probabilities that the first of two is preferred, that they are held equal, and that the second is.

    - "rao_kupper": `sigmoid(d - h)`, the rest, `sigmoid(-d - h)`: who is not ahead by more than about `h` ties.
    - "davidson": `softmax(d / 2, h, -d / 2)`: a tie is a third choice, worth the mean of the two scores plus `h`.

    Cross-entropy with what was said is the loss: `-sum(outcome * tie_log_prob(d, h), -1)`, with `h` learned if it is
    not known. Unlike `preference_loss` at target 0.5 it says how near two candidates must be to tie.

    Shapes: `[...]`, `threshold` broadcasts -> `[..., 3]`. Differentiated: both.

    Usual mistake: Rao and Kupper's `theta = exp(h) >= 1` or Davidson's `nu = exp(h)` passed for `h`.

    >>> import numpy as np
    >>> np.exp(tie_log_prob(jnp.array(0.0), 0.0, "davidson")).round(3).tolist()
    [0.3330000042915344, 0.3330000042915344, 0.3330000042915344]

    Raises:
      ValueError: for an unknown model, or a threshold of Rao and Kupper's that is not above 0.

    Source: Rao and Kupper, "Ties in Paired-Comparison Experiments" (1967); Davidson, "On Extending the Bradley-Terry
    Model to Accommodate Ties in Paired Comparison Experiments" (1970).
    """
    check.require(model in ("rao_kupper", "davidson"), "model", model, "'rao_kupper' or 'davidson'")
    difference = jnp.asarray(difference)
    threshold = jnp.asarray(threshold, difference.dtype)
    if model == "davidson":
        logits = jnp.broadcast_arrays(difference / 2, threshold, -difference / 2)
        return jax.nn.log_softmax(jnp.stack(logits, axis=-1), axis=-1)
    check.positive("threshold", threshold)
    first, second = jax.nn.log_sigmoid(difference - threshold), jax.nn.log_sigmoid(-difference - threshold)
    tie = first + second + 2 * threshold + jnp.log(-jnp.expm1(-2 * threshold))  # P1 P2 (e^2h - 1)
    return jnp.stack([first, tie, second], axis=-1)


def centring_loss(score: Array, mask: Array | None = None) -> Array:
    """The square of the sum of a query's scores, which a small multiple of it in the loss keeps near zero.

    `(sum_c s_c)^2`

    A choice says nothing about a constant added to all scores; this says that it be 0, without a word about
    differences between two candidates. Usual multiple: 0.01.

    Shapes: `[..., C]`, bool `[..., C]` (false for padding) -> `[...]`. Differentiated: `score`.

    Usual mistake: `sum_c s_c^2` in its place, which also shrinks the differences and so changes the choice model.

    >>> centring_loss(jnp.array([[1.0, -1.0], [1.0, 1.0]])).tolist()
    [0.0, 4.0]

    Raises:
      ValueError: for a mask of another shape.

    Source: Eisenstein et al., "Helping or Herding? Reward Model Ensembles Mitigate but do not Eliminate Reward Hacking"
    (2024).
    """
    score = jnp.asarray(score)
    if mask is not None:
        check.same_shape(score=score, mask=mask)
        score = jnp.where(jnp.asarray(mask, bool), score, 0)
    return jnp.square(jnp.sum(score, axis=-1))
