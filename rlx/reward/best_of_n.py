"""Optimising a reward over a finite pool of answers, exactly: best of n, the exponential tilt, over-optimisation.

The pool with its probabilities is the reference policy. Each way of optimising gives a distribution over the pool as
log-probabilities `[N]`: its expected reward under any judge is `jnp.exp(log_prob) @ gold`, its distance from the
reference `rlx.policy.categorical_kl(log_prob, log_reference)`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def best_of_n(proxy: Array, n: Array | int, log_reference: Array | None = None, *, replacement: bool = True) -> Array:
    """The distribution of the answer with the highest proxy reward among `n` drawn from a pool.

    - With replacement, from the reference: `F(r)^n - F(r-)^n`, where `F(r)` is the reference's probability of a proxy
      reward of at most r and `F(r-)` that of less.
    - Without, from a pool of N equally likely ones: `binom(i - 1, n - 1) / binom(N, n)` for the i-th lowest, the
      unbiased estimate from a sample of N when the reference is larger than the pool.

    Equal proxy rewards share their probability in proportion to the reference.

    Shapes: `[N]`, n a whole number (an array under vmap, for a curve), `[N]` (uniform if None) -> `[N]`, log. Nothing
    is differentiated.

    Usual mistake: to plot draws without replacement from a small pool against `best_of_n_kl(n)`. Their divergence from
    the pool is larger (log N at n = N, against log N - 1 + 1/N); exact is the law with replacement with its own KL.

    >>> (9 * jnp.exp(best_of_n(jnp.array([0.0, 2.0, 1.0]), 2))).round().tolist()
    [1.0, 5.0, 3.0]
    >>> jnp.exp(best_of_n(jnp.array([0.0, 2.0, 1.0]), 3, replacement=False)).tolist()
    [0.0, 1.0, 0.0]

    Raises:
      ValueError: for shapes that differ or are not `[N]`, `n < 1`, and without replacement for `n > N` or a reference.

    Source: Gao et al., "Scaling Laws for Reward Model Overoptimization" (2023); Beirami et al., "Theoretical Guarantees
    on the Best-of-n Alignment Policy" (2025).
    """
    proxy = jax.lax.stop_gradient(jnp.asarray(proxy))
    check.rank("proxy", proxy, 1)
    size = len(proxy)
    check.in_range("n", n, 1, jnp.inf if replacement else size)
    n = jnp.asarray(n, proxy.dtype)
    order = jnp.argsort(proxy)
    first, last = (jnp.searchsorted(proxy[order], proxy, side) for side in ("left", "right"))
    if not replacement:
        check.require(log_reference is None, "log_reference", log_reference, "None without replacement")
        place = jnp.arange(2, size + 1, dtype=proxy.dtype)
        ratio = jnp.log(jnp.maximum(place - n, 0)) - jnp.log(place - 1)  # of each place's weight to the next one's
        behind = jnp.cumsum(jnp.append(ratio, jnp.log(n / size))[::-1])[::-1]
        together = jax.ops.segment_sum(jnp.exp(behind), first[order], size)
        return jnp.log(together[first]) - jnp.log(last - first).astype(proxy.dtype)
    uniform = jnp.full(size, -jnp.log(size), proxy.dtype)
    log_reference = uniform if log_reference is None else jax.lax.stop_gradient(jnp.asarray(log_reference))
    check.same_shape(proxy=proxy, log_reference=log_reference)
    prob = jnp.exp(log_reference)
    tail = jnp.append(jnp.cumsum(prob[order][::-1])[::-1], 0)
    at_most = 1 - tail[last]  # F(r)
    together = jax.ops.segment_sum(prob[order], first[order], size)[first]
    part = jnp.clip(together / jnp.where(at_most > 0, at_most, 1), 0, 1)
    group = n * jnp.log(at_most) + jnp.log(-jnp.expm1(n * jnp.log1p(-part)))
    return jnp.where(together > 0, group + log_reference - jnp.log(jnp.where(together > 0, together, 1)), -jnp.inf)


def best_of_n_kl(n: Array | float) -> Array:
    """The KL divergence of the best of n from the reference, where no two proxy rewards are equal.

    `log n - (n - 1) / n`

    Exact for a reference without atoms, else an upper bound: for a finite pool take the KL of `best_of_n` itself.

    Shapes: `[...]` -> `[...]`. Differentiated: `n`.

    >>> round(float(best_of_n_kl(4)), 4)
    0.6363

    Raises:
      ValueError: for `n < 1`.

    Source: Stiennon et al., "Learning to Summarize from Human Feedback" (2020); Beirami et al., "Theoretical Guarantees
    on the Best-of-n Alignment Policy" (2025).
    """
    check.in_range("n", n, 1.0)
    n = jnp.asarray(n)
    n = n if jnp.issubdtype(n.dtype, jnp.floating) else n.astype(jnp.float32)
    return jnp.log(n) - (n - 1) / n


def tilt(log_reference: Array, reward: Array, beta: Array | float) -> Array:
    """The optimum of the reward less `beta` times the KL divergence from the reference: `reference exp(r / beta) / Z`.

    Shapes: `[..., N]`, `[..., N]`, `beta` broadcasts to `[...]` -> `[..., N]`, log-probabilities. Differentiated:
    everything.

    Usual mistake: the tilt taken for free of over-optimisation. It is the best policy *for this reward*: a wrong one is
    exploited all the same, and at a smaller distance than by best of n.

    >>> jnp.exp(tilt(jnp.log(jnp.array([0.5, 0.5])), jnp.array([jnp.log(3.0), 0.0]), 1.0)).round(2).tolist()
    [0.75, 0.25]

    Raises:
      ValueError: for shapes that differ, or `beta <= 0`.

    Source: Korbak et al., "RL with KL Penalties is Better Viewed as Bayesian Inference" (2022).
    """
    check.same_shape(log_reference=log_reference, reward=reward)
    check.positive("beta", beta)
    reward = jnp.asarray(reward)
    return jax.nn.log_softmax(log_reference + reward / jnp.asarray(beta, reward.dtype)[..., None], axis=-1)


class OveroptimisationFit(NamedTuple):
    """How the gain in gold reward depends on the distance from the reference."""

    slope: Array  # a: gain per distance near the reference
    decay: Array  # b: how fast that shrinks; the gain is largest where it has halved, or at exp(a / b - 1)
    r2: Array  # share of the gain's squares that is explained


def overoptimisation_fit(
    distance: Array, gain: Array, form: Literal["best_of_n", "policy"] = "best_of_n"
) -> OveroptimisationFit:
    """The law of over-optimisation that fits best by least squares.

    - "best_of_n": `R(d) = d (a - b d)`, largest at `d = a / (2 b)`.
    - "policy": `R(d) = d (a - b log d)`, for policies trained by reinforcement learning, largest at `exp(a / b - 1)`.

    `d` is the square root of the KL divergence from the reference, `R` the gold reward less that of the reference.

    Shapes: `[N]`, `[N]` -> numbers. Differentiated: `gain`. The point d = 0 must be left out of "policy".

    Usual mistake: R in place of R less its value at d = 0: the law goes through the origin.

    >>> distance = jnp.linspace(0.0, 3.0, 7)
    >>> [round(float(x), 3) for x in overoptimisation_fit(distance, distance * (2.0 - 0.5 * distance))]
    [2.0, 0.5, 1.0]

    Raises:
      ValueError: for shapes that differ or are not `[N]`, or an unknown form.

    Source: Gao et al., "Scaling Laws for Reward Model Overoptimization" (2023).
    """
    check.same_shape(distance=distance, gain=gain)
    check.rank("distance", distance, 1)
    check.require(form in ("best_of_n", "policy"), "form", form, "'best_of_n' or 'policy'")
    distance, gain = jax.lax.stop_gradient(jnp.asarray(distance)), jnp.asarray(gain)
    second = distance if form == "best_of_n" else jnp.log(distance)
    columns = jnp.stack([distance, -distance * second], axis=-1)
    gram = columns.T @ columns
    slope, decay = jnp.linalg.solve(gram.astype(jnp.float32), (columns.T @ gain).astype(jnp.float32)).astype(gain.dtype)
    residual = gain - distance * (slope - decay * second)
    r2 = 1 - jnp.sum(jnp.square(residual)) / jnp.sum(jnp.square(gain - jnp.mean(gain)))
    return OveroptimisationFit(slope, decay, r2)
