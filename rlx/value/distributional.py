"""Distributions of the return: a fixed support with free probabilities, or fixed probabilities with free quantiles.

A support must hold the returns: what lies beyond is moved to its end without a trace, and bootstrapping then learns the
end. Watch `clipped_mass`. It should also be centred on the returns, since fresh logits decode to its middle.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax

from rlx import check


def categorical_project(shifted: jax.Array, probs: jax.Array, support: jax.Array) -> jax.Array:
    """Move the mass of atoms anywhere onto a fixed support, shared between the two neighbours of each atom.

        p_i = sum_j probs_j (1 - |z_j - support_i| / gap)_+,   z_j = clip(shifted_j, support_0, support_{M-1})

    `gap` is the distance from `support_i` to its neighbour on the side of `z_j`. With `shifted = r + discount *
    support` it is the Bellman target of C51. The mean is kept unless mass is clipped: watch how much is.

    Shapes: `shifted` and `probs` `[..., J]`, `support` `[M]`, increasing, M >= 2. Result `[..., M]`. Stopped: all.

    >>> import jax.numpy as jnp
    >>> categorical_project(jnp.array([0.25, 9.0]), jnp.array([0.5, 0.5]), jnp.array([0.0, 1.0, 2.0])).tolist()
    [0.375, 0.125, 0.5]

    Raises:
      ValueError: for shapes that do not fit, or a support that does not increase.

    Source: Bellemare et al., "A Distributional Perspective on Reinforcement Learning" (2017).
    """
    check.same_shape(shifted=shifted, probs=probs)
    _check_support(support)
    gap = jnp.diff(support)
    above = jnp.concatenate([gap, gap[-1:]])  # the outermost two are never divided by: nothing lies outside
    below = jnp.concatenate([gap[:1], gap])
    offset = jnp.clip(shifted, support[0], support[-1])[..., None, :] - support[:, None]
    share = jnp.maximum(1.0 - jnp.maximum(offset / above[:, None], -offset / below[:, None]), 0.0)
    return jax.lax.stop_gradient(jnp.sum(share * probs[..., None, :], axis=-1))


def two_hot(y: jax.Array, support: jax.Array) -> jax.Array:
    """A scalar as probabilities of its two neighbours on a fixed support, whose mean it is.

    `categorical_project` of one atom; values beyond the support become its end.

    Shapes: `y` `[...]`, `support` `[M]`, increasing. Result `[..., M]`. Stopped: all.

    >>> import jax.numpy as jnp
    >>> two_hot(jnp.array(0.25), jnp.array([0.0, 1.0, 2.0])).tolist()
    [0.75, 0.25, 0.0]

    Raises:
      ValueError: for a support of other rank than 1, of fewer than two atoms, or that does not increase.

    Source: Schrittwieser et al., "Mastering Atari, Go, Chess and Shogi by Planning with a Learned Model" (2020).
    """
    y = jnp.asarray(y)
    return categorical_project(y[..., None], jnp.ones_like(y)[..., None], support)


def hl_gauss(y: jax.Array, support: jax.Array, sigma: jax.Array | float | None = None) -> jax.Array:
    """A scalar as a Gaussian histogram over a fixed support: a target for cross-entropy in place of a squared error.

        p_i = (F(e_{i+1}) - F(e_i)) / (F(e_M) - F(e_0)),   F = normal cdf of mean clip(y) and deviation sigma

    The edges `e` lie halfway between the atoms, the outermost half a gap beyond. Near an end the histogram is cut and
    its mean drawn inwards (with the default sigma by 0.37 gaps at the last atom, 0.05 one gap before it, 1e-5 three
    before): leave a margin. Sigma to 0: the nearest atom.

    Shapes: `y` `[...]`, `support` `[M]`, evenly spaced and increasing, `sigma` in units of `y`, broadcasts to it; None:
    0.75 gaps. Result `[..., M]`. Stopped: all.

    >>> import jax.numpy as jnp
    >>> hl_gauss(jnp.array(0.1), jnp.array([-1.0, 0.0, 1.0]), sigma=0.01).round(3).tolist()
    [0.0, 1.0, 0.0]

    Raises:
      ValueError: for a support that is not evenly spaced and increasing, or a sigma that is not positive.

    Source: Farebrother et al., "Stop Regressing: Training Value Functions via Classification for Scalable Deep RL"
    (2024); Imani and White, "Improving Regression Performance with Distributional Losses" (2018).
    """
    _check_support(support, evenly=True)
    gap = support[1] - support[0]
    sigma = 0.75 * gap if sigma is None else sigma
    check.positive("sigma", sigma)
    edges = jnp.concatenate([support - 0.5 * gap, support[-1:] + 0.5 * gap])
    mean = jnp.clip(y, support[0], support[-1])
    below = jax.lax.erf((edges - mean[..., None]) / (jnp.sqrt(2.0).astype(edges.dtype) * jnp.asarray(sigma)[..., None]))
    return jax.lax.stop_gradient(jnp.diff(below) / (below[..., -1:] - below[..., :1]))


def categorical_target(
    y: jax.Array,
    support: jax.Array,
    kind: Literal["c51", "two_hot", "hl_gauss"],
    *,
    probs: jax.Array | None = None,
    sigma: jax.Array | float | None = None,
) -> jax.Array:
    """Probabilities on a fixed support to learn, from a scalar return or from a distribution of returns.

    With `probs` `[..., J]`, `y` `[..., J]` are the places of its atoms, as `r + discount * support`:

        c51:       the distribution, projected           two_hot:   its mean, shared between two neighbours
        hl_gauss:  its mean, as a Gaussian histogram

    Without, `y` is the scalar, such as `r + discount v'`; c51, which learns a distribution, then has none to learn.

    Shapes: `y` `[...]`, or `[..., J]` with `probs`; `support` `[M]`; `sigma` as for `hl_gauss`. Result `[..., M]`.
    Stopped: all.

    >>> import jax.numpy as jnp
    >>> shifted, probs, support = jnp.array([0.0, 2.0]), jnp.array([0.5, 0.5]), jnp.array([0.0, 1.0, 2.0])
    >>> categorical_target(shifted, support, "c51", probs=probs).tolist()
    [0.5, 0.0, 0.5]
    >>> categorical_target(shifted, support, "two_hot", probs=probs).tolist()
    [0.0, 1.0, 0.0]

    Raises:
      ValueError: for an unknown kind, c51 without `probs`, sigma with another kind than hl_gauss, and as the three
        kernels do.

    Source: Farebrother et al., "Stop Regressing: Training Value Functions via Classification for Scalable Deep RL"
    (2024), which compares the three.
    """
    check.require(kind in ("c51", "two_hot", "hl_gauss"), "kind", kind, "'c51', 'two_hot' or 'hl_gauss'")
    check.require(sigma is None or kind == "hl_gauss", "sigma", sigma, f"None with kind {kind!r}")
    if kind == "c51":
        if probs is None:
            raise ValueError("probs must be given with kind 'c51', which learns a distribution; got None")
        return categorical_project(y, probs, support)
    if probs is not None:
        check.same_shape(y=y, probs=probs)
        y = jnp.sum(y * probs, axis=-1)
    return two_hot(y, support) if kind == "two_hot" else hl_gauss(y, support, sigma)


def categorical_loss(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Cross-entropy of predicted logits to fixed probabilities: `-sum_i target_i log softmax(logits)_i`.

    Its minimiser over i.i.d. targets is their mean, so the decoded value is the mean of the returns: unlike with the
    Huber loss, robustness to outliers costs no bias.

    Shapes: both `[..., M]`. Result `[...]`. Differentiated: `logits`.

    >>> import jax.numpy as jnp
    >>> round(float(categorical_loss(jnp.zeros(4), jnp.array([0.0, 1.0, 0.0, 0.0]))), 4)  # log 4
    1.3863

    Raises:
      ValueError: for shapes that differ.

    Source: Bellemare et al., "A Distributional Perspective on Reinforcement Learning" (2017).
    """
    check.same_shape(logits=logits, target=target)
    return optax.softmax_cross_entropy(logits, jax.lax.stop_gradient(target))


def categorical_mean(logits: jax.Array, support: jax.Array) -> jax.Array:
    """The value that logits on a support stand for: `softmax(logits) @ support`.

    Shapes: `logits` `[..., M]`, `support` `[M]`. Result `[...]`. Differentiated: `logits`.

    >>> import jax.numpy as jnp
    >>> categorical_mean(jnp.zeros(3), jnp.array([0.0, 1.0, 5.0])).tolist()
    2.0

    Raises:
      ValueError: for shapes that do not fit, or a support that does not increase.

    Source: Bellemare et al., "A Distributional Perspective on Reinforcement Learning" (2017).
    """
    _check_support(support)
    check.require(logits.shape[-1:] == support.shape, "the shape of logits", logits.shape, f"[..., {len(support)}]")
    return jax.nn.softmax(logits) @ support


def clipped_mass(
    y: jax.Array, support: jax.Array, probs: jax.Array | None = None, *, limit: float | None = None
) -> jax.Array:
    """The share of a target's mass that lies beyond a support, where projecting moves it to the end.

    Anything but nearly 0 says that the support is too narrow: the values learned are then those of clipped returns.
    With a `limit` a mean share above it is an error, for returns that are known before learning (those of a log); under
    `jit` there is nothing to look at, and nothing is raised.

    Shapes: `y` `[...]`, or `[..., J]` with `probs` `[..., J]`; `support` `[M]`. Result `[...]`. Stopped: all.

    >>> import jax.numpy as jnp
    >>> clipped_mass(jnp.array([0.5, 9.0]), jnp.array([0.0, 1.0]), jnp.array([0.75, 0.25])).tolist()
    0.25

    Raises:
      ValueError: for shapes that do not fit, a support that does not increase, or more mass beyond it than `limit`.
    """
    _check_support(support)
    outside = ((y < support[0]) | (y > support[-1])).astype(y.dtype)
    if probs is not None:
        check.same_shape(y=y, probs=probs)
        outside = jnp.sum(outside * probs, axis=-1)
    if limit is not None:
        check.in_range("limit", limit, 0.0, 1.0)
        if not isinstance(outside, jax.core.Tracer):
            share, ends = float(outside.mean()), f"[{float(support[0]):g}, {float(support[-1]):g}]"
            allowed = f"wide enough for all but {limit:.1%} of the returns; they go from {y.min():g} to {y.max():g}"
            check.require(share <= limit, f"support, {share:.1%} of the returns beyond it,", ends, allowed)
    return jax.lax.stop_gradient(outside)


def quantile_midpoints(count: int) -> jax.Array:
    """The levels `(2 i + 1) / (2 count)` at which `count` quantiles stand for equal shares of a distribution.

    These are the quantiles whose uniform mixture is nearest in Wasserstein's first distance. Result `[count]`.

    >>> quantile_midpoints(2).tolist()
    [0.25, 0.75]

    Raises:
      ValueError: for a count below 1.

    Source: Dabney et al., "Distributional Reinforcement Learning with Quantile Regression" (2018), lemma 2.
    """
    check.count("count", count)
    return (jnp.arange(count) + 0.5) / count


def cosine_features(tau: jax.Array, count: int) -> jax.Array:
    """Quantile levels as inputs of a network, `cos(pi i tau)` for i from 0 to `count - 1`.

    An implicit quantile network puts a layer on them and multiplies its outputs into the features of the observation.

    Shapes: `tau` `[...]` in (0, 1). Result `[..., count]`. Differentiated: `tau`.

    >>> import jax.numpy as jnp
    >>> cosine_features(jnp.array(0.75), 3).round(1).tolist()
    [1.0, -0.699999988079071, 0.0]

    Raises:
      ValueError: for a count below 1, or levels outside (0, 1).

    Source: Dabney et al., "Implicit Quantile Networks for Distributional Reinforcement Learning" (2018).
    """
    check.count("count", count)
    check.in_range("tau", tau, 0.0, 1.0, open_low=True, open_high=True)
    return jnp.cos(jnp.pi * jnp.arange(count, dtype=tau.dtype) * tau[..., None])


def cvar(outcome: jax.Array, level: jax.Array | float, probs: jax.Array | None = None) -> jax.Array:
    """Conditional value at risk: the mean of the worst `level` share of outcomes.

        CVaR = max_c c + E min(outcome - c, 0) / level

    Level 1 is the mean, level to 0 the least. Of quantiles at midpoints give no `probs`: they are equally likely. An
    atom that straddles the level counts in part, so it is exact, and continuous in `level`.

    Shapes: `outcome` and `probs` `[..., N]`, in any order, `level` broadcasts to `[...]`. Result `[...]`.
    Differentiated: `outcome`.

    >>> import jax.numpy as jnp
    >>> cvar(jnp.array([4.0, 0.0, 2.0, 6.0]), 0.5).tolist()
    1.0

    Raises:
      ValueError: for a level outside (0, 1], or shapes that differ.

    Source: Rockafellar and Uryasev, "Optimization of Conditional Value-at-Risk" (2000).
    """
    check.in_range("level", level, 0.0, 1.0, open_low=True)
    if probs is None:
        probs = jnp.full_like(outcome, 1 / outcome.shape[-1])
    check.same_shape(outcome=outcome, probs=probs)
    order = jnp.argsort(outcome, axis=-1)
    outcome, probs = (jnp.take_along_axis(x, order, axis=-1) for x in (outcome, probs))
    level = jnp.asarray(level, outcome.dtype)[..., None]
    before = jnp.cumsum(probs, axis=-1) - probs
    share = jnp.clip(level - before, 0.0, probs) / level
    return jnp.sum(jax.lax.stop_gradient(share) * outcome, axis=-1)


def quantile_huber_loss(quantile: jax.Array, tau: jax.Array, target: jax.Array, kappa: float = 1.0) -> jax.Array:
    """Regression of quantiles on samples (or quantiles) of the target.

        mean_j sum_i |tau_i - 1[u_ij < 0]| H(u_ij),   u_ij = target_j - quantile_i

    `H(u) = Huber_kappa(u) / kappa`, or `|u|` at `kappa = 0`, where alone the minimiser is the exact quantile. Summed
    over the predicted, averaged over the targets: the other way round scales the loss with their number. rlax does
    not divide by kappa.

    Shapes: `quantile` `[..., N]`, `tau` `[N]` or `[..., N]`, `target` `[..., M]`. Result `[...]`. Differentiated:
    `quantile`.

    >>> import jax.numpy as jnp
    >>> float(quantile_huber_loss(jnp.array([0.0]), jnp.array([0.75]), jnp.array([2.0, -2.0]), kappa=0.0))
    1.0

    Raises:
      ValueError: for shapes that do not fit, `kappa < 0`, or levels outside (0, 1).

    Source: Dabney et al., "Distributional Reinforcement Learning with Quantile Regression" (2018).
    """
    check.in_range("kappa", kappa, 0.0)
    check.in_range("tau", tau, 0.0, 1.0, open_low=True, open_high=True)
    check.require(
        jnp.shape(tau)[-1:] == jnp.shape(quantile)[-1:],
        "the shape of tau",
        jnp.shape(tau),
        "[N] or [..., N] as quantile",
    )
    check.same_shape(quantile_batch=quantile[..., 0], target_batch=target[..., 0])
    error = jax.lax.stop_gradient(target)[..., None, :] - quantile[..., :, None]
    weight = jnp.where(error < 0, 1.0 - tau[..., :, None], tau[..., :, None])
    size = jnp.abs(error)
    if kappa > 0:
        inside = jnp.minimum(size, kappa)
        size = inside * (size - 0.5 * inside) / kappa
    return jnp.sum(weight * size, axis=-2).mean(-1)


def _check_support(support: jax.Array, *, evenly: bool = False) -> None:
    check.rank("support", support, 1)
    check.require(len(support) >= 2, "the length of support", len(support), "at least 2")
    if isinstance(support, jax.core.Tracer):
        return
    gap = np.diff(np.asarray(support, np.float64))
    check.require(bool((gap > 0).all()), "support", support, "increasing")
    if evenly:
        check.require(bool(np.allclose(gap, gap.mean(), rtol=1e-2)), "support", support, "evenly spaced")
