"""Losses of a value estimate: per element, to be minimised; the caller averages."""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.value.dual import f_conjugate

IMPLICIT_MAX = ("expectile", "pinball", "gumbel", "tv", "chi2", "chi2_flat", "chi2_conjugate")


def td_loss(prediction: jax.Array, target: jax.Array, *, huber: float | None = None) -> jax.Array:
    """Half the squared error to a fixed target, or its Huber form: linear beyond `huber`.

        1/2 (target - prediction)^2;   with huber = d and |error| > d:   d (|error| - d/2)

    Shapes: both `[...]`. Differentiated: `prediction`. Mind the half: libraries without it need half the coefficient.
    A shape `[B, 1]` against `[B]` would silently average over all pairs, so it is an error here.

    >>> import jax.numpy as jnp
    >>> td_loss(jnp.array([1.0, 5.0]), jnp.array([2.0, 2.0]), huber=1.0).tolist()
    [0.5, 2.5]

    Raises:
      ValueError: for shapes that differ, or `huber <= 0`.

    Source: Mnih et al., "Human-level control through deep reinforcement learning" (2015).
    """
    check.same_shape(prediction=prediction, target=target)
    target = jax.lax.stop_gradient(target)
    if huber is None:
        return optax.l2_loss(prediction, target)
    check.positive("huber", huber)
    return optax.huber_loss(prediction, target, delta=huber)


def clipped_value_loss(
    value: jax.Array, behaviour_value: jax.Array, target: jax.Array, clip: jax.Array | float
) -> jax.Array:
    """PPO's value loss, which keeps a value near the one it had when the data was collected.

        1/2 max((value - target)^2, (behaviour_value + clip(value - behaviour_value, -c, c) - target)^2)

    The maximum is pessimistic: it removes the gradient only where the value has moved more than `clip` *towards* the
    target. `clip` is in units of the return, so it means nothing unless rewards are normalised.

    Shapes: all `[...]`. Differentiated: `value`.

    >>> import jax.numpy as jnp
    >>> clipped_value_loss(jnp.array([1.0]), jnp.array([0.0]), jnp.array([2.0]), 0.5).tolist()
    [1.125]

    Raises:
      ValueError: for shapes that differ, or `clip <= 0`.

    Source: Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation" (2016), as a
    trust region; in this form in the code that came with "Proximal Policy Optimization Algorithms" (2017).
    """
    check.same_shape(value=value, behaviour_value=behaviour_value, target=target)
    check.positive("clip", clip)
    behaviour_value, target = jax.lax.stop_gradient((behaviour_value, target))
    near = behaviour_value + jnp.clip(value - behaviour_value, -clip, clip)
    return jnp.maximum(optax.l2_loss(value, target), optax.l2_loss(near, target))


def implicit_max_loss(
    diff: jax.Array,
    kind: Literal["expectile", "pinball", "gumbel", "tv", "chi2", "chi2_flat", "chi2_conjugate"],
    level: jax.Array | float,
    adv: jax.Array | None = None,
    *,
    gumbel_clip: float = 7.0,
) -> jax.Array:
    """Asymmetric loss whose minimiser lies between the mean and the maximum of the targets.

    With `diff = target - prediction`:

        expectile:  |level - 1[diff < 0]| diff^2             level 1/2: half the squared error, minimiser the mean
        pinball:    |level - 1[diff < 0]| |diff|             minimiser the `level` quantile
        gumbel:     exp(z) - z - 1,  z = diff / level        minimiser level log mean exp(target / level)
        tv:         level max(diff, 0) - (1 - level) diff    `level` times pinball at (2 level - 1) / level
        chi2:       level max(diff + diff^2 / 4, 0) - (1 - level) diff
        chi2_flat:  the same with 0 for every diff < 0
        chi2_conjugate:  level f*(diff) - (1 - level) diff,  f* = `f_conjugate(diff, "chi2")`

    As `level` goes to 1 (gumbel: to 0) it approaches the maximum over the data, without a maximum over actions. Two are
    exceptions. The published chi-square surrogate, `chi2`, grows again below `diff = -4`: targets that far below the
    prediction pull it down, the lower they are the more, so that it approaches the maximum only of targets within 4
    of it; `chi2_flat` has no such limit. The exact conjugate is what the dual problem has but no implicit maximum:
    as `level` goes to 1 its minimiser goes to the maximum plus 2. Both are in units of the value, so rewards need a
    scale.

    `adv`, if given, replaces `diff` in the indicator: several heads then weigh by one advantage, that of a target
    network. Beyond `z = gumbel_clip` the gumbel loss goes on as a straight line: neither overflow nor, as where z is
    clamped, loss of the gradient where the prediction is furthest below its target. Its minimiser is exact while no z
    exceeds that.

    Shapes: `[...]`. Differentiated: `diff` (stop its target yourself); not `adv`.

    >>> import jax.numpy as jnp
    >>> implicit_max_loss(jnp.array([2.0, -2.0]), "expectile", 0.75).tolist()
    [3.0, 1.0]

    Raises:
      ValueError: for an unknown kind; a level outside (0, 1), of tv and both surrogates outside (1/2, 1), of gumbel not
        positive; `adv` with a loss other than expectile and pinball.

    Source: Kostrikov et al., "Offline Reinforcement Learning with Implicit Q-Learning" (2022); Garg et al., "Extreme
    Q-Learning: MaxEnt RL without Entropy" (2023); Sikchi et al., "Dual RL: Unification and New Methods for
    Reinforcement and Imitation Learning" (2024) for tv and chi-square; Park et al., "HIQL: Offline Goal-Conditioned RL
    with Latent States as Actions" (2023) for `adv`.
    """
    check.require(kind in IMPLICIT_MAX, "kind", kind, f"one of {', '.join(IMPLICIT_MAX)}")
    if kind not in ("expectile", "pinball"):
        check.require(adv is None, "adv", adv, "None except with the expectile and pinball losses")
    if kind == "gumbel":
        check.positive("level", level)
        z = diff / level
        inside = jnp.minimum(z, gumbel_clip)
        return jnp.expm1(inside) - z + math.exp(gumbel_clip) * (z - inside)
    least = 0.5 if kind in ("tv", "chi2", "chi2_flat") else 0.0  # at 1/2 and below, constants are not their own maximum
    check.in_range("level", level, least, 1.0, open_low=True, open_high=True)
    if kind in ("expectile", "pinball"):
        adv = diff if adv is None else adv
        check.same_shape(diff=diff, adv=adv)
        weight = jnp.where(adv < 0, 1.0 - level, level)
        return weight * (jnp.square(diff) if kind == "expectile" else jnp.abs(diff))
    if kind == "chi2_conjugate":
        above = f_conjugate(diff, "chi2")
    elif kind == "chi2":
        above = jnp.maximum(diff + jnp.square(diff) / 4, 0.0)
    else:
        positive = jnp.maximum(diff, 0.0)
        above = positive if kind == "tv" else positive + jnp.square(positive) / 4
    return level * above - (1.0 - level) * diff
