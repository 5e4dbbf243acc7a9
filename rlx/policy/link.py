"""Links: what a preference loss makes of a score difference, for reward models and direct alignment alike.

A link F turns the logit `z` of "the first is better than the second" into its probability; its loss is `-log F(z)`.
"hinge" and "square" are losses of `z` without a probability.
"""

from __future__ import annotations

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array

Link = Literal["logistic", "probit", "hinge", "square"]


def link_loss(z: Array, link: Link = "logistic", flip_prob: Array | float | None = None) -> Array:
    """The loss of a logit `z` where the first was preferred; for the second it is the loss of `-z`.

    - "logistic": `-log sigmoid(z)` (Bradley and Terry)
    - "probit": `-log Phi(z)` (Thurstone)
    - "hinge": `max(0, 1 - z)`
    - "square": `(z - 1)^2`

    With `flip_prob = e` the first two are `-log((1 - 2e) F(z) + e)`: the likelihood where a share `e` of the
    preferences is reported the wrong way round. It is bounded by `-log e`, so mislabelled pairs lose their pull.

    Shapes: `[...]`, `flip_prob` broadcasts -> `[...]`. Differentiated: `z`.

    Usual mistake: `log(sigmoid(z) + 1e-5)`, which has hardly a gradient where the model is most wrong.

    >>> [round(float(link_loss(jnp.zeros(()), link)), 3) for link in ("logistic", "probit", "hinge", "square")]
    [0.693, 0.693, 1.0, 1.0]

    Raises:
      ValueError: for an unknown link, a `flip_prob` outside [0, 0.5], or one for a link without a probability.

    Source: Bradley and Terry, "Rank Analysis of Incomplete Block Designs" (1952); Thurstone, "A Law of Comparative
    Judgment" (1927); Christiano et al., "Deep Reinforcement Learning from Human Preferences" (2017) for `flip_prob`.
    """
    check.require(link in get_args(Link), "link", link, f"one of {get_args(Link)}")
    z = jnp.asarray(z)
    if link in ("hinge", "square"):
        check.require(flip_prob is None, "flip_prob", flip_prob, f"None for link {link!r}, which has no probability")
        return jax.nn.relu(1 - z) if link == "hinge" else jnp.square(z - 1)
    log_prob = jax.nn.log_sigmoid(z) if link == "logistic" else _log_normal_cdf(z)
    if flip_prob is None:
        return -log_prob
    check.in_range("flip_prob", flip_prob, 0.0, 0.5)
    flip_prob = jax.lax.stop_gradient(jnp.asarray(flip_prob, z.dtype))
    return -jnp.logaddexp(jnp.log1p(-2 * flip_prob) + log_prob, jnp.log(flip_prob))


def link_prob(z: Array, link: Link = "logistic") -> Array:
    """The probability `F(z)` that the first is preferred: `sigmoid(z)` for "logistic", `Phi(z)` for "probit".

    Shapes: `[...]` -> `[...]`. Differentiated: `z`.

    Usual mistake: its logarithm in a loss, which overflows; `link_loss` does not.

    >>> link_prob(jnp.array([0.0, 100.0])).tolist()
    [0.5, 1.0]

    Raises:
      ValueError: for a link without a probability.

    Source: as `link_loss`.
    """
    check.require(link in ("logistic", "probit"), "link", link, "'logistic' or 'probit'")
    z = jnp.asarray(z)
    return jax.nn.sigmoid(z) if link == "logistic" else jnp.exp(_log_normal_cdf(z))


def corrected_target(target: Array, smoothing: Array, flip_prob: Array) -> Array:
    """The target by which a loss of both orders is weighed: smoothed, and cleared in the mean of flipped labels.

        t' = (1 - smoothing) t + smoothing (1 - t),   (t' - flip_prob) / (1 - 2 flip_prob)

    Natarajan et al., "Learning with Noisy Labels" (2013): in the mean over flips the loss is that of the clean label.
    """
    smoothed = (1 - smoothing) * target + smoothing * (1 - target)
    return (smoothed - flip_prob) / (1 - 2 * flip_prob)


def _log_normal_cdf(z: Array) -> Array:
    wide = z.astype(jnp.promote_types(z.dtype, jnp.float32))  # log_ndtr takes no half precision
    return jax.scipy.special.log_ndtr(wide).astype(z.dtype)
