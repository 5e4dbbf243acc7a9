"""Novelty as visit counts, of states or of hashes of states."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check


def count_bonus(visits: jax.Array) -> jax.Array:
    """`1 / sqrt(n)` for the n-th visit: `visits [...]` include the present one, so they are at least 1.

    >>> count_bonus(jnp.array([1, 4])).tolist()
    [1.0, 0.5]

    Source: Strehl and Littman, "An Analysis of Model-Based Interval Estimation for Markov Decision Processes" (2008).
    """
    return jax.lax.rsqrt(1.0 * jnp.asarray(visits))


def simhash(features: jax.Array, projection: jax.Array) -> jax.Array:
    """A number in `[0, 2^k)` that similar vectors tend to share: the signs of `k` projections, as bits.

    Shapes: `features [..., D]`, `projection [D, k]` with k at most 31 -> int32 `[...]`.

    Of a projection drawn from a standard normal, each bit of two vectors at an angle `a` differs with probability
    `a / pi`, whatever their lengths. Features that share a large constant part all fall together: centre them first.

    >>> simhash(jnp.array([[1.0, -2.0], [-1.0, 2.0]]), jnp.eye(2)).tolist()
    [1, 2]

    Raises:
      ValueError: if `projection` is not a matrix, or has more than 31 columns.

    Source: Charikar, "Similarity Estimation Techniques from Rounding Algorithms" (2002); Tang et al., "#Exploration: A
    Study of Count-Based Exploration for Deep Reinforcement Learning" (2017).
    """
    check.rank("projection", projection, 2)
    bits = projection.shape[1]
    check.require(bits <= 31, "projection.shape[1]", bits, "at most 31")
    return jnp.sum((features @ projection > 0) * 2 ** jnp.arange(bits), axis=-1, dtype=jnp.int32)


def pseudo_count(
    log_density: jax.Array, next_log_density: jax.Array, gain_scale: jax.Array | float | None = None
) -> jax.Array:
    """How often a density model seems to have seen something: the count that explains how much one more visit adds.

        N = rho (1 - rho') / (rho' - rho) = (1 - rho') / (exp(g) - 1),   g = log rho' - log rho

    `rho` is the model's probability of `x`, and `rho'` that after one more update on it. With `gain_scale` it is
    `1 / (exp(gain_scale max(g, 0)) - 1)` in place of that, for models whose densities mean little and whose gains decay
    as their step size does: `0.1 / sqrt(t)` after t updates in the paper.

    Shapes: `[...]` each, broadcast -> `[...]`. Differentiated: nothing. A model of frequencies `n / N` gives n exactly,
    visits before the present one: the bonus of the papers is `1 / sqrt(N + 0.01)`.

    Usual mistakes: to update the model for good before asking; and a model that loses probability at `x` by learning
    it, for which the first form is negative and the second infinite.

    >>> density, after = jnp.array([0.25, 0.5]), jnp.array([2 / 5, 3 / 5])  # 1 and 2 of 4 visits
    >>> [round(float(n), 4) for n in pseudo_count(jnp.log(density), jnp.log(after))]
    [1.0, 2.0]

    Source: Bellemare et al., "Unifying Count-Based Exploration and Intrinsic Motivation" (2016); Ostrovski et al.,
    "Count-Based Exploration with Neural Density Models" (2017) for the second form.
    """
    log_density, next_log_density = map(jax.lax.stop_gradient, (log_density, next_log_density))
    gain = next_log_density - log_density
    if gain_scale is None:
        return -jnp.expm1(next_log_density) / jnp.expm1(gain)
    return jax.lax.stop_gradient(1.0 / jnp.expm1(gain_scale * jnp.maximum(gain, 0.0)))


def elliptical_bonus(features: jax.Array, inverse: jax.Array) -> jax.Array:
    """How far features lie outside of what was seen, `b = phi^T C^-1 phi` with `C = lam I + sum phi phi^T`.

    Shapes: `[..., D]`, `[..., D, D]` -> `[...]`. Differentiated: nothing.

    `inverse` is `C^-1`: `eye(D) / lam` before anything was seen, then `elliptical_update`. One-hot features make it a
    count, `1 / (n + lam)` after n visits, of which `count_bonus` is the square root; `log(1 + b)` is what a visit adds
    to `log det C`. The "lifelong" bonus keeps one matrix, E3B begins a new one with every episode.

    Usual mistake: features of any scale. Where they are much smaller than `sqrt(lam)` the bonus is their squared length
    over lam and nothing is ever known.

    >>> elliptical_bonus(jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.diag(jnp.array([0.25, 4.0]))).tolist()
    [0.25, 4.0]

    Raises:
      ValueError: unless `inverse` is a stack of square matrices of the features' size.

    Source: Henaff et al., "Exploration via Elliptical Episodic Bonuses" (2022).
    """
    _match(features, inverse)
    return jax.lax.stop_gradient(jnp.einsum("...i,...ij,...j->...", features, inverse, features))


def elliptical_update(inverse: jax.Array, features: jax.Array) -> jax.Array:
    """`C^-1` after one more visit, without a factorisation: `C^-1 - u u^T / (1 + phi^T u)` with `u = C^-1 phi`.

    Shapes: `[..., D, D]`, `[..., D]` -> `[..., D, D]`. Differentiated: nothing. It costs `D^2`, and keeps the matrix
    symmetric; in float32 the error after many thousand visits is that of the few directions that are known best.

    >>> elliptical_update(jnp.eye(2), jnp.array([1.0, 0.0])).tolist()
    [[0.5, 0.0], [0.0, 1.0]]

    Raises:
      ValueError: unless `inverse` is a stack of square matrices of the features' size.

    Source: Sherman and Morrison, "Adjustment of an Inverse Matrix Corresponding to a Change in One Element of a Given
    Matrix" (1950).
    """
    _match(features, inverse)
    inverse, features = map(jax.lax.stop_gradient, (jnp.asarray(inverse), jnp.asarray(features)))
    known = jnp.einsum("...ij,...j->...i", inverse, features)
    scale = 1.0 + jnp.sum(known * features, axis=-1)
    return inverse - known[..., :, None] * known[..., None, :] / scale[..., None, None]


def _match(features: jax.Array, inverse: jax.Array) -> None:
    size = jnp.shape(features)[-1]
    check.require(
        jnp.shape(inverse)[-2:] == (size, size), "shape of inverse", jnp.shape(inverse), f"[..., {size}, {size}]"
    )
