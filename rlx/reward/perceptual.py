"""Rewards from a few demonstrations without labels: split into steps, features that mark each, closeness to them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array

FLOOR = 1e-3  # of standard deviations


def segment_demo(features: Array, num_segments: int, min_length: int = 1) -> Array:
    """A demonstration split where its features change, so that they vary as little as possible within a part.

        min over splits of  sum over segments of  mean_j std(features[segment, j])

    exactly, by dynamic programming over where each segment ends: O(n T^2) steps in place of trying all splits.

    Shapes: `[T, D]` -> int `[num_segments + 1]`: segment i is `features[bounds[i] : bounds[i + 1]]`, from 0 to T.
    Differentiated: nothing. Among equal splits the one with the latest last bounds.

    Usual mistake: features of very different scale, of which the largest decides: standardise them first.

    >>> segment_demo(jnp.array([[0.0], [0.0], [5.0], [5.0], [5.0]]), 2).tolist()
    [0, 2, 5]

    Raises:
      ValueError: unless features are a matrix, or for more segments of that length than fit.

    Source: Sermanet, Xu and Levine, "Unsupervised Perceptual Rewards for Imitation Learning" (2017); dynamic
    programming in place of its recursion is ours.
    """
    check.rank("features", features, 2)
    check.count("num_segments", num_segments)
    check.count("min_length", min_length)
    length = jnp.shape(features)[0]
    check.require(
        num_segments * min_length <= length,
        "num_segments * min_length",
        num_segments * min_length,
        f"at most T = {length}",
    )
    features = jnp.asarray(features)
    x = features.astype(jnp.promote_types(features.dtype, jnp.float32))  # sums of squares need digits
    x = x - x.mean(0)
    start, end = jnp.arange(length + 1)[:, None], jnp.arange(length + 1)
    number = jnp.maximum(end - start, 1)[..., None]
    first, second = (jnp.pad(jnp.cumsum(y, 0), ((1, 0), (0, 0))) for y in (x, x**2))
    mean = (first - first[:, None]) / number
    variance = (second - second[:, None]) / number - mean**2
    cost = jnp.sqrt(jnp.maximum(variance, 0)).mean(-1)  # [T + 1, T + 1], of the segment from row to column
    cost = jnp.where(end - start >= min_length, cost, jnp.inf)

    def extend(best: Array, _: None) -> tuple[Array, Array]:
        total = best[:, None] + cost
        last = length - jnp.argmin(total[::-1], 0)
        return jnp.min(total, 0), last

    origin = jnp.where(jnp.arange(length + 1) == 0, 0.0, jnp.inf).astype(x.dtype)
    _, last = jax.lax.scan(extend, origin, length=num_segments)

    def trace(bound: Array, last: Array) -> tuple[Array, Array]:
        return last[bound], bound

    zero, bounds = jax.lax.scan(trace, jnp.asarray(length), last, reverse=True)
    return jnp.concatenate([zero[None], bounds])


def select_features(
    mean: Array, std: Array, other_mean: Array, other_std: Array, num: int, alpha: Array | float = 5.0
) -> Array:
    """The features that mark a step best: far from what they are elsewhere, and steady in both places.

        score_j = alpha |mean_j - other_mean_j| - (std_j + other_std_j)

    Shapes: `[..., D]` each, of the step's frames and of all others, scalar -> bool `[..., D]`, true for the `num` best.
    Stopped: all.

    Usual mistake: means over demonstrations that were split at different places; split each on its own, then pool.

    >>> zero = jnp.zeros(3)
    >>> select_features(jnp.array([3.0, 0.1, 2.0]), zero, zero, jnp.array([0.0, 0.0, 20.0]), 1).tolist()
    [True, False, False]

    Raises:
      ValueError: for shapes that differ, or more features than there are.

    Source: Sermanet, Xu and Levine, "Unsupervised Perceptual Rewards for Imitation Learning" (2017).
    """
    check.same_shape(mean=mean, std=std, other_mean=other_mean, other_std=other_std)
    size = jnp.shape(mean)[-1]
    check.count("num", num)
    check.require(num <= size, "num", num, f"at most {size}, the number of features")
    mean, std, other_mean, other_std = (jnp.asarray(x) for x in (mean, std, other_mean, other_std))
    score = alpha * jnp.abs(mean - other_mean) - (std + other_std)
    return jnp.argsort(jnp.argsort(score, descending=True), -1) < num


def perceptual_reward(features: Array, mean: Array, std: Array, chosen: Array) -> Array:
    """How close what is seen comes to the steps of a task, later ones counting twice as much as the one before.

        sum_{i >= 2} 2^(i - 1) R_i,   R_i = - 1/k sum_{j chosen} (features_j - mean_ij)^2 / std_ij^2

    `R_i` is, up to constants, the log-density of step i by independent normal features. The first step pays nothing:
    that is where one starts.

    Shapes: `[..., D]`; `[N, D]`, `[N, D]`, bool `[N, D]` of N steps -> `[...]`, at most 0. Differentiated: `features`,
    `mean`, `std`. Deviations are taken as 0.001 at least.

    Usual mistake: exponentials of it, which are zero in float32 wherever one is not yet close.

    >>> mean, std = jnp.array([[0.0], [1.0], [2.0]]), jnp.ones((3, 1))
    >>> perceptual_reward(jnp.array([[0.0], [2.0]]), mean, std, jnp.ones((3, 1), bool)).tolist()
    [-18.0, -2.0]

    Raises:
      ValueError: for shapes that do not fit, or a single step.

    Source: Sermanet, Xu and Levine, "Unsupervised Perceptual Rewards for Imitation Learning" (2017).
    """
    check.rank("mean", mean, 2)
    check.same_shape(mean=mean, std=std, chosen=chosen)
    steps, size = jnp.shape(mean)
    check.require(steps > 1, "number of steps", steps, "at least 2")
    check.require(jnp.shape(features)[-1:] == (size,), "the shape of features", jnp.shape(features), f"[..., {size}]")
    features, mean, std = jnp.asarray(features), jnp.asarray(mean), jnp.asarray(std)
    z = (features[..., None, :] - mean) / jnp.maximum(std, FLOOR)
    close = -jnp.sum(jnp.where(chosen, z**2, 0), -1) / jnp.maximum(jnp.sum(chosen, -1), 1).astype(z.dtype)
    return close[..., 1:] @ jnp.asarray(2.0 ** jnp.arange(1, steps), z.dtype)
