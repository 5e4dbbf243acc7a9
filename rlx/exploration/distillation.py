"""Novelty as the error of a network that learns to imitate random targets on the states visited.

The target is a choice. One fixed random network leaves an error that says how much was *learned*; fresh noise at every
visit, of which a converged predictor is the mean, leaves one that says how *often*.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from rlx import check

Target = Literal["fixed", "gaussian", "mixture", "coin_flip"]
TARGETS = ("fixed", "gaussian", "mixture", "coin_flip")


def distill_target(
    key: jax.Array, features: jax.Array, kind: Target = "fixed", *, scale: jax.Array | float = 1.0
) -> jax.Array:
    """What the predictor is to learn for the states of a batch.

    - "fixed": the features `m` of a random network that is never trained (RND).
    - "gaussian": `m + scale eps` with standard normal `eps` (RDD); with `scale = 0` it is "fixed".
    - "mixture": those of one of M random networks, drawn uniformly for each row (DRND).
    - "coin_flip": -1 or 1 with equal probability (coin-flip network); of the features only the shape counts.

    Shapes: `features [..., D]`, for "mixture" `[M, ..., D]` -> `[..., D]`. Differentiated: nothing.

    Usual mistake: to keep the draw with the state, which makes it "fixed". It belongs to a *visit*: what is replayed
    with a fresh draw counts as visited again.

    >>> distill_target(jax.random.key(0), jnp.ones((2, 3)), "gaussian", scale=0.0).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]

    Raises:
      ValueError: for an unknown kind.

    Source: see `distill_bonus`.
    """
    features = jax.lax.stop_gradient(jnp.asarray(features))
    check.require(kind in TARGETS, "kind", kind, f"one of {TARGETS}")
    if kind == "gaussian":
        return features + jnp.asarray(scale, features.dtype) * jax.random.normal(key, features.shape, features.dtype)
    if kind == "mixture":
        chosen = jax.random.randint(key, features.shape[1:-1], 0, features.shape[0])
        return jnp.take_along_axis(features, chosen[None, ..., None], axis=0)[0]
    if kind == "coin_flip":
        return jax.random.rademacher(key, features.shape, features.dtype)
    return features


def distill_loss(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Squared error of the predictor, `(1 / D) sum_d (prediction_d - target_d)^2`, of each row.

    Shapes: both `[..., D]` -> `[...]`. Differentiated: `prediction`, not `target`.

    The target is what `distill_target` draws, whatever its kind. With many environments the predictor learns on a
    random part of the rows, or the bonus vanishes too soon: average over the rows kept, not over all.

    >>> distill_loss(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0]])).tolist()
    [2.5]

    Raises:
      ValueError: for shapes that differ.

    Source: Burda et al., "Exploration by Random Network Distillation" (2018).
    """
    check.same_shape(prediction=prediction, target=target)
    return jnp.mean(jnp.square(prediction - jax.lax.stop_gradient(target)), axis=-1)


def distill_bonus(
    prediction: jax.Array,
    features: jax.Array,
    kind: Target = "fixed",
    *,
    alpha: jax.Array | float = 0.95,
    floor: jax.Array | float = 1e-6,
) -> jax.Array:
    """A reward that is large where the predictor `f` has seen little that is similar. Means are over the D features.

    - "fixed", "gaussian": `mean (f - m)^2`, from the features `m` that the noise is added to.
    - "mixture": `alpha mean (f - mu)^2 + (1 - alpha) mean sqrt(clip(|f^2 - mu^2| / (B - mu^2), floor, 1))`, with `mu`
      and `B` the means of the M networks' features and of their squares.
    - "coin_flip": `sqrt(mean f^2)`.

    Of a predictor that is the mean of n targets they have the expectations 0; `scale^2 / n`; about `n^-1/2` in the
    second term; about `n^-1/2`.

    Shapes: `prediction [..., D]`, `features [..., D]`, for "mixture" `[M, ..., D]` -> `[...]`. Differentiated: nothing.

    Both are of the *next* observation. The bonus has the scale of the features and falls during training, so divide it
    by the running deviation of its return (`rlx.reward.normalise_by_return`); observations must be normalised first, or
    it is nearly the same everywhere. Usual mistake: the error against the *drawn* target, which never falls below its
    variance. A network that is still learning adds an error of its own to all of these, which may be the larger part.

    >>> distill_bonus(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0]])).tolist()
    [2.5]

    Raises:
      ValueError: for shapes that differ, an unknown kind, fewer than two networks of a mixture, or an `alpha` or
        `floor` outside [0, 1].

    Source: Burda et al., "Exploration by Random Network Distillation" (2018); "Exploration by Random Distribution
    Distillation" (2025) for "gaussian"; Yang et al., "Exploration and Anti-Exploration with Distributional Random
    Network Distillation" (2024) for "mixture", whose code takes sums over features; Lobel, Bagaria and Konidaris,
    "Flipping Coins to Estimate Pseudocounts for Exploration in Reinforcement Learning" (2023).
    """
    check.require(kind in TARGETS, "kind", kind, f"one of {TARGETS}")
    check.in_range("alpha", alpha, 0.0, 1.0)
    check.in_range("floor", floor, 0.0, 1.0)
    prediction, features = map(jax.lax.stop_gradient, (jnp.asarray(prediction), jnp.asarray(features)))
    if kind == "coin_flip":
        return jnp.sqrt(jnp.mean(jnp.square(prediction), axis=-1))
    if kind != "mixture":
        return distill_loss(prediction, features)
    check.require(len(features) > 1, "len(features)", len(features), "at least 2, the networks of a mixture")
    mean = features.mean(0)
    check.same_shape(prediction=prediction, features=mean)
    excess = jnp.abs(jnp.square(prediction) - jnp.square(mean))
    share = jnp.clip(excess / jnp.maximum(features.var(0), 1e-12), floor, 1.0)
    return alpha * distill_loss(prediction, mean) + (1.0 - alpha) * jnp.mean(jnp.sqrt(share), axis=-1)


def pseudo_count_stat(prediction: jax.Array, mean: jax.Array, scale: jax.Array | float = 1.0) -> jax.Array:
    """An estimate of `1 / n` after n visits: `mean_d (f_d - m_d)^2 / scale^2`, for targets "gaussian".

    Shapes: `[..., D]` twice -> `[...]`. Differentiated: nothing. Unbiased where the predictor is the mean of its
    targets; `n D` times it then has a chi-squared distribution with D degrees of freedom. A network in training adds
    its own error.

    >>> pseudo_count_stat(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0]]), 2.0).tolist()
    [0.625]

    Raises:
      ValueError: for shapes that differ, or a scale that is not positive.

    Source: "Exploration by Random Distribution Distillation" (2025).
    """
    check.positive("scale", scale)
    return distill_bonus(prediction, mean, "gaussian") / jnp.square(scale)
