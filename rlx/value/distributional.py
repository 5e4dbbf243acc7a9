"""Distributions of the return: a fixed support with free probabilities, or fixed probabilities with free quantiles.

The categorical loss is `optax.softmax_cross_entropy(logits, target_probs)`; its mean is `probs @ support`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

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
      ValueError: for shapes that do not fit.

    Source: Bellemare et al., "A Distributional Perspective on Reinforcement Learning" (2017).
    """
    check.same_shape(shifted=shifted, probs=probs)
    check.rank("support", support, 1)
    check.require(len(support) >= 2, "the length of support", len(support), "at least 2")
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
      ValueError: for a support of other rank than 1 or fewer than two atoms.

    Source: Schrittwieser et al., "Mastering Atari, Go, Chess and Shogi by Planning with a Learned Model" (2020).
    """
    y = jnp.asarray(y)
    return categorical_project(y[..., None], jnp.ones_like(y)[..., None], support)


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
      ValueError: for shapes that do not fit, or `kappa < 0`.

    Source: Dabney et al., "Distributional Reinforcement Learning with Quantile Regression" (2018).
    """
    check.in_range("kappa", kappa, 0.0)
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
