"""Preference data: scores of segments, pairs from rankings and demonstrations, relabelling, a teacher made of code."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.types import Array, PreferenceBatch

CANDIDATE_FIELDS = (
    "obs",
    "action",
    "mask",
    "target",
    "next_obs",
    "rank",
    "factor",
    "factor_mask",
    "step_label",
    "step_mask",
    "binary",
    "binary_mask",
    "behaviour_log_prob",
    "reference_log_prob",
    "gold",
)  # those of a PreferenceBatch with a candidate axis after the queries


def segment_score(
    reward: Array,
    mask: Array,
    discount: Array | float = 1.0,
    how: Literal["sum", "mean", "last"] = "sum",
) -> Array:
    """The score of a segment, from the rewards of its steps.

    - "sum": `sum_t gamma^t r_t`, the first step undiscounted.
    - "mean": that over `sum_t gamma^t`, so that long segments are not better for being long.
    - "last": the reward of the last valid step, as answers are scored at their end.

    Shapes: `[..., T]`, bool `[..., T]` -> `[...]`; 0 for a segment without a valid step. Differentiated: `reward` at
    valid steps.

    Usual mistakes: sums over padding; and "mean" in place of "sum" at the same learning rate, which divides the logits
    of a preference by the length.

    >>> reward, mask = jnp.array([1.0, 2.0, 9.0]), jnp.array([True, True, False])
    >>> [float(segment_score(reward, mask, 0.5, how)) for how in ("sum", "mean", "last")]
    [2.0, 1.3333333730697632, 2.0]

    Raises:
      ValueError: for shapes that differ, a discount outside [0, 1] or an unknown `how`.

    Source: Christiano et al., "Deep Reinforcement Learning from Human Preferences" (2017).
    """
    check.same_shape(reward=reward, mask=mask)
    check.in_range("discount", discount, 0.0, 1.0)
    check.require(how in ("sum", "mean", "last"), "how", how, "'sum', 'mean' or 'last'")
    reward, mask = jnp.asarray(reward), jnp.asarray(mask, bool)
    steps = jnp.arange(mask.shape[-1])
    if how == "last":
        weight = mask & (steps == jnp.max(jnp.where(mask, steps, -1), axis=-1, keepdims=True))
        return jnp.sum(jnp.where(weight, reward, 0), axis=-1)
    weight = jnp.where(mask, jnp.asarray(discount, reward.dtype) ** steps, 0).astype(reward.dtype)
    total = jnp.sum(weight * jnp.where(mask, reward, 0), axis=-1)
    if how == "sum":
        return total
    norm = jnp.sum(weight, axis=-1)
    return total / jnp.where(norm > 0, norm, 1)


def length_normalise(score: Array, length: Array) -> Array:
    """A score by the logarithm of how long the answer is, so that length alone wins no comparison.

    `r / log(1 + n)`

    Shapes: `[...]`, number of valid steps `[...]` -> `[...]`; 0 where there is none. Differentiated: `score`.

    Without effect in the study that names it, whose form is not given: this one is inferred. `how="mean"` of
    `segment_score` is the strict one, `r / n`.

    Usual mistake: scores below zero, which it pushes up the longer the answer is. Give them a floor of 0 first.

    >>> [round(float(r), 3) for r in length_normalise(jnp.array([2.0, -2.0, 1.0]), jnp.array([3, 3, 0]))]
    [1.443, -1.443, 0.0]

    Raises:
      ValueError: for shapes that differ or a negative length.

    Source: Zhang et al., "BaseReward: A Strong Baseline for Multimodal Reward Model" (2025).
    """
    check.same_shape(score=score, length=length)
    check.in_range("length", length, 0)
    score = jnp.asarray(score)
    scale = jax.lax.stop_gradient(jnp.log1p(jnp.asarray(length, score.dtype)))
    return jnp.where(scale > 0, score / jnp.where(scale > 0, scale, 1), 0)


def to_pairs(batch: PreferenceBatch, key: Array | None = None, pairs: int | None = None) -> PreferenceBatch:
    """The pairs of candidates within each query, as queries with two candidates.

    All `C (C - 1) / 2` pairs, or `pairs` different ones of them, drawn for each query with the key. A pair's target
    comes from `rank` where there is one (equal ranks tie), else from the choice: `t_i / (t_i + t_j)`, which is Luce's
    conditional probability. Pairs of which nothing is known (a rank of -1, no share of the choice, a padded candidate)
    get weight 0.

    Shapes: a batch of `B` queries -> one of `B pairs`, those of a query next to each other; `rank` becomes None.

    Usual mistake: to shuffle the pairs of one query into training and test data, which then share candidates.

    >>> rank = jnp.array([[0, 1, -1]])
    >>> batch = PreferenceBatch(None, None, jnp.ones((1, 3, 1), bool), jnp.array([[1.0, 0.0, 0.0]]), rank=rank)
    >>> made = to_pairs(batch)
    >>> made.target.tolist(), made.weight.tolist()
    ([[1.0, 0.0], [0.5, 0.5], [0.5, 0.5]], [1.0, 0.0, 0.0])

    Raises:
      ValueError: for fewer than two candidates, more pairs than there are, or `pairs` without a key.

    Source: Ouyang et al., "Training Language Models to Follow Instructions with Human Feedback" (2022).
    """
    queries, candidates = batch.target.shape
    check.require(candidates >= 2, "batch.target", batch.target.shape, "of shape [B, C] with C >= 2")
    index = np.array(list(itertools.combinations(range(candidates), 2)))  # [P, 2]
    chosen = jnp.broadcast_to(index, (queries, *index.shape))
    if pairs is not None:
        check.require(1 <= pairs <= len(index), "pairs", pairs, f"in [1, {len(index)}]")
        if key is None:
            raise ValueError("key must be given with pairs, which are drawn; got None")
        order = jnp.argsort(jax.random.uniform(key, chosen.shape[:2]), axis=1)[:, :pairs]
        chosen = jnp.take_along_axis(chosen, order[..., None], axis=1)
    count = chosen.shape[1]

    def pick(x: Array) -> Array:
        """`[B, C, ...]` -> `[B P, 2, ...]`."""
        taken = jax.vmap(lambda row, i: row[i])(jnp.asarray(x), chosen)
        return taken.reshape(queries * count, 2, *taken.shape[3:])

    per_pair = {
        name: jax.tree.map(pick if name in CANDIDATE_FIELDS else lambda x: jnp.repeat(x, count, axis=0), value)
        for name, value in batch._asdict().items()
    }
    made = PreferenceBatch(**per_pair)
    if made.rank is None:
        total = jnp.sum(made.target, axis=1)
        known = total > 0
        target = made.target / jnp.where(known, total, 1)[:, None]
    else:
        first, second = made.rank[:, 0], made.rank[:, 1]
        known = (first >= 0) & (second >= 0)
        better = jnp.where(first == second, 0.5, first < second).astype(made.target.dtype)
        target = jnp.stack([better, 1 - better], axis=1)
    known &= jnp.all(jnp.any(made.mask, axis=2), axis=1)
    weight = jnp.ones(len(known), target.dtype) if made.weight is None else made.weight
    return made._replace(
        target=jnp.where(known[:, None], target, 0.5),
        rank=None,
        weight=jnp.where(known, weight, 0).astype(weight.dtype),
    )


def trex_pairs(key: Array, batch: PreferenceBatch, pairs: int, length: int) -> PreferenceBatch:
    """Pairs of pieces of ranked demonstrations: the piece of the better demonstration is taken for the better one.

    Two ranked demonstrations are drawn for each pair, and a piece of `length` steps of each. The better one's piece
    begins no earlier than the other's, since in demonstrations that get somewhere the end is worth more than the
    beginning. A reward fitted to the pairs can be higher beyond the best demonstration.

    Args:
      key: for the draws.
      batch: demonstrations as candidates, `T` steps long with padding, and their `rank`. Candidates of rank -1 or
        without a step are never drawn. Equal ranks make a tie.
      pairs: to be drawn in each query, with replacement.
      length: of a piece; demonstrations that are shorter give all they have.

    Returns:
      A batch of `B pairs` queries with two candidates of `length` steps, those of a query next to each other, with
      weight 0 where fewer than two demonstrations can be drawn. What is said of whole demonstrations (`gold`, `factor`,
      `binary`, `strength`) is not true of pieces, and None.

    Usual mistake: demonstrations told apart by their end alone, pieces of which are mostly the same.

    >>> obs, rank = jnp.arange(6.0).reshape(1, 2, 3, 1), jnp.array([[0, 1]])
    >>> demonstrations = PreferenceBatch(obs, None, jnp.ones((1, 2, 3), bool), jnp.ones((1, 2)) / 2, rank=rank)
    >>> made = trex_pairs(jax.random.key(0), demonstrations, 5, 2)
    >>> made.obs.shape, bool(jnp.all((made.obs[:, 0, 0, 0] < 3) == (made.target[:, 0] == 1)))
    ((5, 2, 2, 1), True)

    Raises:
      ValueError: without `rank`, for fewer than two candidates, or a `length` outside [1, T].

    Source: Brown et al., "Extrapolating Beyond Suboptimal Demonstrations via Inverse Reinforcement Learning from
    Observations" (2019).
    """
    check.count("pairs", pairs)
    if batch.rank is None:
        raise ValueError("batch.rank must be int [B, C], of the demonstrations; got None")
    steps = batch.mask.shape[2]
    check.require(batch.rank.shape[1] >= 2, "batch.rank", batch.rank.shape, "of shape [B, C] with C >= 2")
    check.require(1 <= length <= steps, "length", length, f"in [1, {steps}], the steps of a demonstration")
    rank, count = jnp.asarray(batch.rank), jnp.sum(jnp.asarray(batch.mask, bool), axis=2)
    drawable = (rank >= 0) & (count > 0)

    def draw(key: Array, rank: Array, count: Array, drawable: Array) -> tuple[Array, Array, Array]:
        """Of one query: candidates and beginnings `[P, 2]`, and whether each candidate is the better one."""
        pair_key, *start_keys = jax.random.split(key, 3)
        noise = jnp.where(drawable, jax.random.uniform(pair_key, (pairs, len(rank))), -1.0)
        chosen = jax.lax.top_k(noise, 2)[1]
        better = rank[chosen] < rank[chosen[:, ::-1]]
        ahead = better.at[:, 1].set(~better[:, 0])  # of two equals, one has to be
        room = jnp.maximum(count[chosen] - length, 0)
        limit = jnp.sum(jnp.where(ahead, room, 0), axis=1)  # the latest beginning of the one ahead
        late = jax.random.randint(start_keys[0], (pairs,), 0, jnp.min(room, axis=1) + 1)
        later = jax.random.randint(start_keys[1], (pairs,), late, limit + 1)
        return chosen, jnp.where(ahead, later[:, None], late[:, None]), better

    keys = jax.random.split(key, len(rank))
    chosen, start, better = jax.vmap(draw)(keys, rank, count, drawable)
    step = start[..., None] + jnp.arange(length)  # [B, P, 2, length]

    def cut(x: Array) -> Array:
        """`[B, C, T, ...]` -> `[B P, 2, length, ...]`."""
        at = jnp.minimum(step, steps - 1)
        return jax.vmap(lambda row, i, t: row[i[..., None], t])(jnp.asarray(x), chosen, at).reshape(
            -1, 2, length, *jnp.shape(x)[3:]
        )

    per_step = ("obs", "action", "behaviour_log_prob", "reference_log_prob", "step_label", "step_mask")
    per_query = ("prompt", "prompt_mask", "annotator", "principle", "source")
    fields: dict[str, Any] = {name: jax.tree.map(cut, getattr(batch, name)) for name in per_step}
    fields |= {name: jax.tree.map(lambda x: jnp.repeat(x, pairs, axis=0), getattr(batch, name)) for name in per_query}
    dtype = jnp.result_type(batch.target, float)
    weight = jnp.ones(len(rank), dtype) if batch.weight is None else jnp.asarray(batch.weight)
    target = jnp.where(better == better[..., ::-1], 0.5, better).astype(dtype)
    return PreferenceBatch(
        **fields,
        mask=(step < jnp.take_along_axis(count[:, None], chosen, axis=2)[..., None]).reshape(-1, 2, length),
        target=target.reshape(-1, 2),
        weight=jnp.repeat(jnp.where(jnp.sum(drawable, axis=1) >= 2, weight, 0).astype(weight.dtype), pairs),
    )


def swap_candidates(batch: PreferenceBatch, where: Array | None = None) -> PreferenceBatch:
    """Candidates in reversed order, in every field that has them; `where` bool `[B]` names the queries it is done to.

    No loss may change by it. What needs the preferred one of two first (biases, pointwise links) gets it by
    `swap_candidates(batch, batch.target[:, 1] > batch.target[:, 0])`.

    >>> batch = PreferenceBatch(None, None, jnp.ones((2, 2, 1), bool), jnp.array([[1.0, 0.0], [0.2, 0.8]]))
    >>> [round(float(x), 1) for x in swap_candidates(batch, jnp.array([False, True])).target[:, 0]]
    [1.0, 0.8]

    Raises:
      ValueError: for a `where` of another shape than `[B]`.

    Source: none; the symmetry of every choice model.
    """
    where = jnp.ones(batch.target.shape[0], bool) if where is None else jnp.asarray(where, bool)
    check.require(where.shape == batch.target.shape[:1], "where", where.shape, f"of shape {batch.target.shape[:1]}")

    def reverse(x: Array) -> Array:
        return jnp.where(where.reshape(-1, *[1] * (x.ndim - 1)), x[:, ::-1], x)

    swapped = {name: jax.tree.map(reverse, getattr(batch, name)) for name in CANDIDATE_FIELDS}
    return batch._replace(**swapped)


def flip_labels(batch: PreferenceBatch, where: Array) -> PreferenceBatch:
    """The same candidates with the opposite verdict, for the queries named by `where` bool `[B]`.

    `target` (and `rank`, if there is one) are exchanged between the two candidates; twice is the identity.

    >>> batch = PreferenceBatch(None, None, jnp.ones((2, 2, 1), bool), jnp.array([[1.0, 0.0], [1.0, 0.0]]))
    >>> flip_labels(batch, jnp.array([False, True])).target.tolist()
    [[1.0, 0.0], [0.0, 1.0]]

    Raises:
      ValueError: for more than two candidates, or a `where` of another shape than `[B]`.

    Source: none; label noise as in Coste et al., "Reward Model Ensembles Help Mitigate Overoptimization" (2024).
    """
    check.require(batch.target.shape[1] == 2, "batch.target", batch.target.shape, "of shape [B, 2]")
    turned = swap_candidates(batch, where)
    return batch._replace(target=turned.target, rank=turned.rank)


def bootstrap_indices(key: Array, size: int, members: int) -> Array:
    """Rows with which to train each member of an ensemble, drawn with replacement: int `[members, size]`.

    Index the batch with them inside the member's loss instead of copying the data `members` times.

    >>> bootstrap_indices(jax.random.key(0), 5, 3).shape
    (3, 5)

    Raises:
      ValueError: for a size or a number of members that is no positive integer.

    Source: Efron, "Bootstrap Methods: Another Look at the Jackknife" (1979).
    """
    check.count("size", size)
    check.count("members", members)
    return jax.random.randint(key, (members, size), 0, size)


def synthetic_teacher(
    key: Array,
    reward: Array,
    mask: Array,
    beta: Array | float = jnp.inf,
    discount: Array | float = 1.0,
    *,
    mistake: Array | float = 0.0,
    skip: Array | float | None = None,
    equal: Array | float | None = None,
) -> tuple[Array, Array]:
    """Answers a query as a fallible person would, from the true rewards of its candidates.

    With `G_c = sum_t gamma^(T_c - 1 - t) r_t`, where `T_c` is the candidate's length, the choice is drawn from
    `softmax(beta G)`; infinite `beta` (the default) takes the best. Later steps weigh more where the discount is below
    1: the teacher is short-sighted *backwards*. With probability `mistake` another candidate is named. With the plain
    sums `U_c`, candidates that differ by less than `equal` are a tie, and a query of which none exceeds `skip` is not
    answered (weight 0).

    Shapes: `[B, C, T]`, bool `[B, C, T]` -> target `[B, C]`, weight `[B]`. Candidates without a valid step are padding,
    and never chosen. Nothing is differentiated.

    The original sets both thresholds to a share of the agent's running mean return, over the segment's length; where
    returns are negative that means nothing, so take a share of their range. Usual mistake: to score a reward model
    against these labels: with mistakes it cannot reach 1, so report its accuracy on the true returns too.

    >>> reward = jnp.array([[[1.0, 1.0], [0.0, 1.0]]])
    >>> synthetic_teacher(jax.random.key(0), reward, jnp.ones((1, 2, 2), bool))[0].tolist()
    [[1.0, 0.0]]

    Raises:
      ValueError: for shapes that differ or lack a candidate axis, `beta <= 0`, or a probability outside [0, 1].

    Source: Lee et al., "B-Pref: Benchmarking Preference-Based Reinforcement Learning" (2021).
    """
    check.same_shape(reward=reward, mask=mask)
    check.rank("reward", reward, 3)
    check.in_range("discount", discount, 0.0, 1.0)
    check.in_range("mistake", mistake, 0.0, 1.0)
    if not isinstance(beta, jax.core.Tracer):
        check.require(bool(np.all(np.asarray(beta) > 0)), "beta", beta, "above 0; infinite for no noise")
    reward, mask = jax.lax.stop_gradient(jnp.asarray(reward)), jnp.asarray(mask, bool)
    dtype, candidates = reward.dtype, reward.shape[1]
    there = jnp.any(mask, axis=2)
    reward = jnp.where(mask, reward, 0)
    remaining = jnp.cumsum(mask[..., ::-1], axis=-1)[..., ::-1] - 1
    felt = jnp.sum(reward * jnp.asarray(discount, dtype) ** jnp.maximum(remaining, 0), axis=-1)
    total = jnp.sum(reward, axis=-1)

    draw_key, mistake_key, other_key = jax.random.split(key, 3)
    noise = jax.random.gumbel(draw_key, felt.shape, dtype) / jnp.asarray(beta, dtype)
    choice = jnp.argmax(jnp.where(there, felt + noise, -jnp.inf), axis=1)
    wrong = jax.random.bernoulli(mistake_key, jnp.asarray(mistake, jnp.float32), choice.shape)
    others = there & (jnp.arange(candidates) != choice[:, None])
    other = jnp.argmax(jnp.where(others, jax.random.uniform(other_key, others.shape), -1.0), axis=1)
    choice = jnp.where(wrong & jnp.any(others, axis=1), other, choice)
    target = jax.nn.one_hot(choice, candidates, dtype=dtype)

    highest = jnp.max(jnp.where(there, total, -jnp.inf), axis=1)
    weight = jnp.any(there, axis=1)
    if equal is not None:
        tied = highest - jnp.min(jnp.where(there, total, jnp.inf), axis=1) < equal
        share = there / jnp.maximum(jnp.sum(there, axis=1, keepdims=True), 1)
        target = jnp.where(tied[:, None], share.astype(dtype), target)
    if skip is not None:
        weight &= highest > skip
    return target, weight.astype(dtype)
