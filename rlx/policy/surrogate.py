"""Policy-gradient losses from log-probabilities: per element, to be minimised; the caller averages.

Log-probabilities are natural and of whole actions: sum over an action's components first. `behaviour_log_prob` is
that of the policy that acted, as stored with the data. Advantages and stored log-probabilities are constants to the
gradient.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from rlx import check

MAX_LOG_RATIO = 20.0  # exp(20) = 5e8: beyond it a sample has no sensible weight, and exp soon overflows


def policy_gradient_loss(log_prob: jax.Array, advantage: jax.Array) -> jax.Array:
    """`-log_prob * advantage`: its gradient is the policy gradient where the policy that acted is the current one.

    Shapes: both `[...]`. Differentiated: `log_prob`.

    >>> import jax.numpy as jnp
    >>> policy_gradient_loss(jnp.array([-0.5]), jnp.array([2.0])).tolist()
    [1.0]

    Raises:
      ValueError: for shapes that differ.

    Source: Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning"
    (1992).
    """
    check.same_shape(log_prob=log_prob, advantage=advantage)
    return -log_prob * jax.lax.stop_gradient(advantage)


def normalise_advantage(
    advantage: jax.Array,
    mask: jax.Array | None = None,
    *,
    per_channel: bool = False,
    axis_name: str | None = None,
) -> jax.Array:
    """Advantages with mean 0 and deviation 1 over the batch: `(A - mean A) / (sd A + 1e-8)`.

    Shapes: `[...]`, bool mask of its shape -> `[...]`, 0 where masked. With `per_channel` they are `[..., K]` and
    `[...]`, and each of the K channels has moments of its own; with `axis_name` moments are over the shards of that
    mapped axis too. Differentiated: nothing.

    Channels that are normalised *before* they are weighted and summed have a say in proportion to their weights,
    however large their rewards are: multi-critic learning. Normalised after, the largest rewards decide. Usual
    mistakes: multipliers of constraints on channels that were normalised, which then no longer mean a price; and a
    channel of noise, or one that is nearly constant, which is blown up to be as large as the others.

    >>> import jax.numpy as jnp
    >>> normalise_advantage(jnp.array([[1.0, 0.0], [3.0, 0.5]]), per_channel=True).round(3).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]

    Raises:
      ValueError: for a mask of another shape.

    Source: "SLIM: Skill Learning with Multiple Critics" (2024) for channels.
    """
    advantage = jax.lax.stop_gradient(jnp.asarray(advantage))
    samples = jnp.shape(advantage)[:-1] if per_channel else jnp.shape(advantage)
    valid = jnp.ones(samples, bool) if mask is None else jnp.asarray(mask)
    check.require(valid.shape == samples, "shape of mask", valid.shape, str(samples))
    axes, valid = tuple(range(len(samples))), valid[..., None] if per_channel else valid

    def mean(x: jax.Array) -> jax.Array:
        total, count = jnp.sum(jnp.where(valid, x, 0.0), axes), jnp.sum(valid, axes)
        if axis_name is not None:
            total, count = jax.lax.psum((total, count), axis_name)
        return total / jnp.maximum(count, 1).astype(total.dtype)

    centred = advantage - mean(advantage)
    return jnp.where(valid, centred / (jnp.sqrt(mean(jnp.square(centred))) + 1e-8), 0.0)


def ppo_clip_loss(
    log_prob: jax.Array, behaviour_log_prob: jax.Array, advantage: jax.Array, clip: jax.Array | float
) -> jax.Array:
    """PPO's clipped surrogate.

        -min(ratio A, clip(ratio, 1 - clip, 1 + clip) A),   ratio = exp(log_prob - behaviour_log_prob)

    The gradient vanishes where the ratio has left the interval in the direction that A asks for, and only there. The
    log ratio is capped at 20, so that nothing overflows.

    Shapes: `[...]`, channels already combined. Differentiated: `log_prob`.

    >>> import jax.numpy as jnp
    >>> old, new = jnp.zeros(2), jnp.log(jnp.array([1.5, 1.5]))
    >>> ppo_clip_loss(new, old, jnp.array([1.0, -1.0]), 0.25).tolist()
    [-1.25, 1.5]

    Raises:
      ValueError: for shapes that differ, or `clip <= 0`.

    Source: Schulman et al., "Proximal Policy Optimization Algorithms" (2017).
    """
    check.same_shape(log_prob=log_prob, behaviour_log_prob=behaviour_log_prob, advantage=advantage)
    check.positive("clip", clip)
    advantage = jax.lax.stop_gradient(advantage)
    ratio = _ratio(log_prob, behaviour_log_prob)
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1.0 - clip, 1.0 + clip) * advantage)


def ppo_kl_loss(
    log_prob: jax.Array,
    behaviour_log_prob: jax.Array,
    advantage: jax.Array,
    kl: jax.Array,
    coefficient: jax.Array | float,
) -> jax.Array:
    """PPO's penalised surrogate, `-ratio A + coefficient KL(old || new)`.

    `kl` is exact (`categorical_kl(old, new)`, `gaussian_kl`) or an estimate (`kl_estimate(behaviour_log_prob,
    log_prob)`); either way old first, and the gradient must reach the new policy through it. `adapt_kl_coefficient`
    moves the coefficient between iterations.

    Shapes: `[...]`. Differentiated: `log_prob`, `kl`.

    >>> import jax.numpy as jnp
    >>> one = jnp.ones(1)
    >>> ppo_kl_loss(-one, -one, one, 0.1 * one, 5.0).tolist()
    [-0.5]

    Raises:
      ValueError: for shapes that differ, or a negative coefficient.

    Source: Schulman et al., "Proximal Policy Optimization Algorithms" (2017).
    """
    check.same_shape(log_prob=log_prob, behaviour_log_prob=behaviour_log_prob, advantage=advantage, kl=kl)
    check.in_range("coefficient", coefficient, 0.0)
    ratio = _ratio(log_prob, behaviour_log_prob)
    return coefficient * kl - ratio * jax.lax.stop_gradient(advantage)


def adapt_kl_coefficient(coefficient: jax.Array | float, kl: jax.Array | float, target: jax.Array | float) -> jax.Array:
    """Doubles the penalty's coefficient where the mean KL exceeded 1.5 times its target, halves it below target / 1.5.

    Once for each iteration, with the mean KL(old || new) at its end (of its last epoch, where that is all there is).
    The coefficient stays in [1e-6, 1e6]: a long run on one side of the target would take it to 0 or infinity for good.

    Shapes: scalars, or any that broadcast. Stopped: all.

    >>> [float(adapt_kl_coefficient(1.0, kl, 0.01)) for kl in (0.005, 0.01, 0.02)]
    [0.5, 1.0, 2.0]

    Raises:
      ValueError: for a target that is not positive.

    Source: Schulman et al., "Proximal Policy Optimization Algorithms" (2017).
    """
    check.positive("target", target)
    factor = jnp.where(kl > 1.5 * target, 2.0, jnp.where(kl < target / 1.5, 0.5, 1.0))
    return jax.lax.stop_gradient(jnp.clip(coefficient * factor, 1e-6, 1e6))


def kl_estimate(log_prob: jax.Array, other_log_prob: jax.Array, kind: Literal["k1", "k2", "k3"] = "k3") -> jax.Array:
    """Per-sample estimate of `KL(p || q)` from actions drawn from p, the *first* argument.

    With `u = other_log_prob - log_prob = log q - log p`:

        k1 = -u                 unbiased, high variance, either sign
        k2 = u^2 / 2            biased to third order, never negative
        k3 = exp(u) - 1 - u     unbiased, low variance, never negative: the one to watch

    PPO's divergence from the policy that acted is `kl_estimate(behaviour_log_prob, log_prob)`. Estimating KL(pi ||
    reference) with actions of pi, `kl_estimate(log_prob, reference_log_prob)`, mind that the *gradient* with respect
    to pi is not that of the divergence: k1 gives zero in expectation, k2 the right one, k3 that of the reverse
    divergence. `u` is capped at 20, where the gradient ends.

    Shapes: both `[...]`. Differentiated: both.

    >>> import jax.numpy as jnp
    >>> [round(float(kl_estimate(jnp.log(0.5), jnp.log(0.25), k)), 4) for k in ("k1", "k2", "k3")]
    [0.6931, 0.2402, 0.1931]

    Raises:
      ValueError: for shapes that differ, or an unknown kind.

    Source: Schulman, "Approximating KL Divergence" (2020).
    """
    check.same_shape(log_prob=log_prob, other_log_prob=other_log_prob)
    check.require(kind in ("k1", "k2", "k3"), "kind", kind, "'k1', 'k2' or 'k3'")
    u = other_log_prob - log_prob
    if kind == "k1":
        return -u
    if kind == "k2":
        return 0.5 * jnp.square(u)
    u = jnp.minimum(u, MAX_LOG_RATIO)
    return jnp.expm1(u) - u


def clip_fraction(log_prob: jax.Array, behaviour_log_prob: jax.Array, clip: jax.Array | float) -> jax.Array:
    """1 where the probability ratio lies outside `[1 - clip, 1 + clip]`, else 0: its mean is PPO's usual diagnostic.

    Shapes: `[...]`. Stopped: all.

    >>> import jax.numpy as jnp
    >>> clip_fraction(jnp.log(jnp.array([1.5, 1.1])), jnp.zeros(2), 0.2).tolist()
    [1.0, 0.0]

    Raises:
      ValueError: for shapes that differ, or `clip <= 0`.

    Source: Schulman et al., "Proximal Policy Optimization Algorithms" (2017).
    """
    check.same_shape(log_prob=log_prob, behaviour_log_prob=behaviour_log_prob)
    check.positive("clip", clip)
    ratio = jax.lax.stop_gradient(_ratio(log_prob, behaviour_log_prob))
    return (jnp.abs(ratio - 1.0) > clip).astype(ratio.dtype)


def _ratio(log_prob: jax.Array, behaviour_log_prob: jax.Array) -> jax.Array:
    return jnp.exp(jnp.minimum(log_prob - jax.lax.stop_gradient(behaviour_log_prob), MAX_LOG_RATIO))
