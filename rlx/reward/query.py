"""Which preferences to ask for: scores of candidate queries by an ensemble's doubt, and the choice of a batch."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array

Doubt = Literal["disagreement", "mean_entropy", "entropy_of_mean", "information_gain"]


def query_score(prob: Array, how: Doubt = "disagreement") -> Array:
    """How much an ensemble doubts its prediction of a preference; larger is more worth asking.

    With `p_m` the probability that member m gives to the first candidate, and `H` the entropy of a choice in nats:

    - "disagreement": the standard deviation of `p_m` over members.
    - "mean_entropy": `mean_m H(p_m)`, doubt within the members: near-equal candidates, and those that stay so.
    - "entropy_of_mean": `H(mean_m p_m)`, all doubt.
    - "information_gain": their difference, what the answer is expected to tell about the member (BALD); at most log 2.

    Shapes: `[M, ...]` -> `[...]`. Differentiated: `prob`, inside (0, 1).

    Usual mistake: entropies in the hope of a query that teaches much. A noisy query has the highest of both and teaches
    nothing; only disagreement and information gain vanish where members agree.

    >>> prob = jnp.array([[0.5, 0.0], [0.5, 1.0]])
    >>> [query_score(prob, how).round(2).tolist() for how in ("mean_entropy", "information_gain")]
    [[0.6899999976158142, 0.0], [0.0, 0.6899999976158142]]

    Raises:
      ValueError: for an unknown `how`, a probability outside [0, 1], or no axis of members.

    Source: Lee et al., "B-Pref: Benchmarking Preference-Based Reinforcement Learning" (2021); Houlsby et al., "Bayesian
    Active Learning for Classification and Preference Learning" (2011).
    """
    allowed = ("disagreement", "mean_entropy", "entropy_of_mean", "information_gain")
    check.require(how in allowed, "how", how, f"one of {allowed}")
    check.in_range("prob", prob, 0.0, 1.0)
    prob = jnp.asarray(prob)
    check.require(prob.ndim > 0, "prob", prob.shape, "of shape [M, ...]")
    mean = jnp.mean(prob, axis=0)
    if how == "disagreement":
        variance = jnp.mean(jnp.square(prob - mean), axis=0)
        return jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1)), 0)
    if how == "entropy_of_mean":
        return _entropy(mean)
    within = jnp.mean(_entropy(prob), axis=0)
    return within if how == "mean_entropy" else jnp.maximum(_entropy(mean) - within, 0)


def select_queries(
    score: Array,
    count: int,
    feature: Array | None = None,
    *,
    pool: int | None = None,
    mask: Array | None = None,
    asked: Array | None = None,
) -> Array:
    """The queries to ask next: those of the highest score, or of those a batch that is spread out.

    Without features the `count` highest. With them, greedy k-centre among the `pool` highest (all of them by default):
    first the highest one, then again and again the query that is farthest from those chosen and from those `asked`
    before, so that a batch does not ask the same thing several times.

    Shapes: `[N]`, features `[N, D]`, bool `[N]` (false for what cannot be asked), asked `[L, D]` -> int `[count]`, in
    the order of choice. With fewer than `count` that can be asked the rest of the answer repeats no rule: mask enough.
    Nothing is differentiated.

    Usual mistake: features in units of which one swamps the rest. Distances are Euclidean: scale first.

    >>> score, feature = jnp.array([3.0, 2.9, 1.0]), jnp.array([[0.0], [0.1], [5.0]])
    >>> select_queries(score, 2).tolist(), select_queries(score, 2, feature).tolist()
    ([0, 1], [0, 2])

    Raises:
      ValueError: for shapes that do not fit, or not `1 <= count <= pool <= N`.

    Source: Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach" (2018); Lee et
    al., "B-Pref: Benchmarking Preference-Based Reinforcement Learning" (2021), whose pools are 5 and 10 times `count`.
    """
    score = jax.lax.stop_gradient(jnp.asarray(score))
    check.rank("score", score, 1)
    pool = len(score) if pool is None else pool
    check.count("count", count)
    check.require(count <= pool <= len(score), "pool", pool, f"in [count, N] = [{count}, {len(score)}]")
    if mask is not None:
        check.same_shape(score=score, mask=mask)
        score = jnp.where(jnp.asarray(mask, bool), score, -jnp.inf)
    _, best = jax.lax.top_k(score, count if feature is None else pool)
    if feature is None:
        return best
    feature = jax.lax.stop_gradient(jnp.asarray(feature))
    check.require(feature.shape[:1] == score.shape, "feature", feature.shape, f"of shape [{len(score)}, D]")
    near, possible = feature[best], jnp.isfinite(score[best])
    distance = jnp.full(pool, jnp.inf, near.dtype)
    if asked is not None:
        distance = jnp.min(jnp.linalg.norm(near[:, None] - jnp.asarray(asked, near.dtype), axis=-1), axis=1)

    def choose(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        distance, possible = carry
        chosen = jnp.argmax(jnp.where(possible, distance, -jnp.inf))  # of equal ones the first, which scores highest
        distance = jnp.minimum(distance, jnp.linalg.norm(near - near[chosen], axis=-1))
        return (distance, possible.at[chosen].set(False)), best[chosen]

    return jax.lax.scan(choose, (distance, possible), None, length=count)[1]


def _entropy(prob: Array) -> Array:
    """Of a choice between two, in nats."""
    return jax.scipy.special.entr(prob) + jax.scipy.special.entr(1 - prob)
