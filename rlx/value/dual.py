"""The dual of reinforcement learning: divergences between visitations, through their convex conjugates.

A policy's discounted visitation `d` is a flow; to choose the best one near that of the data, `d_O`, is the convex
problem `max_d E_d[r] - alpha E_{d_O}[f(d / d_O)]`. Its dual has no visitation in it, only values and expectations over
the data, `min_V (1 - gamma) E_{d_0}[V] + alpha E_{d_O}[f*((r + gamma V' - V) / alpha)]`. What f is decides which
known method comes out.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from rlx import check

Divergence = Literal["kl", "chi2", "tv"]
_KINDS = ("kl", "chi2", "tv")


def f_conjugate(y: jax.Array, kind: Divergence) -> jax.Array:
    """The convex conjugate of an f-divergence over density ratios, which are not negative: `max_{w >= 0} w y - f(w)`.

        kl:    f(w) = w log w        exp(y - 1)
        chi2:  f(w) = (w - 1)^2      y + y^2 / 4, and -1 below y = -2
        tv:    f(w) = |w - 1| / 2    max(y, -1/2), and infinite above y = 1/2

    `kl` is `KL(d || d_O)`, which offline reinforcement learning calls the reverse one. The infinity of `tv` is why its
    value loss is a surrogate, `implicit_max_loss(..., "tv", ...)`.

    Shapes: `[...]` -> `[...]`. Differentiated: `y`; the derivative is the ratio that attains it, `dual_weights`.

    Usual mistake: `y + y^2 / 4` everywhere, the conjugate over ratios of either sign, which rewards the *worst* actions
    for being bad.

    >>> f_conjugate(jnp.array([-4.0, 0.0, 2.0]), "chi2").tolist()
    [-1.0, 0.0, 3.0]

    Raises:
      ValueError: for an unknown kind.

    Source: Nachum and Dai, "Reinforcement Learning via Fenchel-Rockafellar Duality" (2020); Sikchi et al., "Dual RL:
    Unification and New Methods for Reinforcement and Imitation Learning" (2024).
    """
    check.require(kind in _KINDS, "kind", kind, f"one of {', '.join(_KINDS)}")
    if kind == "kl":
        return jnp.exp(y - 1)
    if kind == "chi2":
        inside = jnp.maximum(y, -2.0)
        return inside + jnp.square(inside) / 4
    return jnp.where(y > 0.5, jnp.inf, jnp.maximum(y, -0.5))


def dual_weights(y: jax.Array, kind: Divergence) -> jax.Array:
    """The density ratio that is best at `y`: how much more often the optimum does it than the data.

        kl: exp(y - 1)    chi2: max(1 + y / 2, 0)    tv: 1 above -1/2, else 0

    At the optimum of the dual, with `y = (r + gamma V' - V) / alpha`, it is exactly `d* / d_O`; as weights of
    imitation it extracts the optimal policy from the data.

    Shapes: `[...]` -> `[...]`. Stopped: all. With tv any weight in [0, 1] is best at -1/2 and any above 1 at 1/2; here
    0 and 1. Above that no weight is best, and the result is infinite.

    >>> dual_weights(jnp.array([-4.0, 0.0, 2.0]), "chi2").tolist()
    [0.0, 1.0, 2.0]

    Raises:
      ValueError: for an unknown kind.

    Source: Sikchi et al., "Dual RL: Unification and New Methods for Reinforcement and Imitation Learning" (2024).
    """
    check.require(kind in _KINDS, "kind", kind, f"one of {', '.join(_KINDS)}")
    y = jax.lax.stop_gradient(jnp.asarray(y))
    if kind == "kl":
        return jnp.exp(y - 1)
    if kind == "chi2":
        return jnp.maximum(1 + y / 2, 0.0)
    return jnp.where(y > 0.5, jnp.inf, jnp.where(y > -0.5, 1.0, 0.0)).astype(y.dtype)


def recoil_q_loss(
    q: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    discount: jax.Array | float,
    expert: jax.Array,
    share: jax.Array | float,
    *,
    kind: Literal["kl", "chi2", "tv", "chi2_signed"] = "chi2_signed",
    semi_gradient: bool = True,
) -> jax.Array:
    """Loss of action values for imitation from a few expert steps among many others, without rewards or discriminator.

    The policy's visitation d, mixed with the offline one, is to match the expert's, mixed likewise: `D_f(b d + (1 - b)
    d_S || b d_E + (1 - b) d_S)` with `b = share`. Its dual is, in a batch of which a share b is the expert's, the mean
    of

        f*(e) - 1[offline] e + 1[offline] b / (1 - b) (value - discount next_value),   e = discount next_value - q

    where the last part is `b (1 - gamma)` times the mean value of the first states, which the offline visitation gives
    without knowing them. For chi-square with ratios of either sign, `chi2_signed`, the first two are `e^2 / 4 +
    1[expert] e`: pull the expert's actions up, push the policy's down on offline states, and a Bellman error without
    rewards that keeps both bounded.

    Shapes: all `[...]`, `expert` bool. `value` is that of the policy in the state, `Q(s, pi)`, and `next_value` in the
    next; `discount = gamma * (1 - terminated)`. Differentiated: `q`, `value`, and without `semi_gradient` `next_value`
    too. The exact dual needs that; with it the mean of the loss at the minimum is minus the divergence. With
    `semi_gradient` the discounted next value of the last part is a constant, and the published loss comes out.

    Usual mistake: to give a value network of its own as `value`: only `-q` of the expert is then left for Q to change.
    Pass `Q(s, a)` of an action drawn from the policy.

    >>> q, value, after = jnp.array([1.0, 0.0]), jnp.array([1.0, 2.0]), jnp.array([2.0, 0.0])
    >>> recoil_q_loss(q, value, after, 0.5, jnp.array([True, False]), 0.5).tolist()
    [0.0, 2.0]

    Raises:
      ValueError: for shapes that differ, `expert` that is not boolean, a share outside (0, 1), or an unknown kind.

    Source: Sikchi et al., "Dual RL: Unification and New Methods for Reinforcement and Imitation Learning" (2024).
    """
    check.same_shape(q=q, value=value, next_value=next_value, expert=expert)
    check.require(jnp.result_type(expert) == jnp.bool_, "expert", jnp.result_type(expert), "boolean")
    check.in_range("share", share, 0.0, 1.0, open_low=True, open_high=True)
    q, value = jnp.asarray(q), jnp.asarray(value)
    after = discount * (jax.lax.stop_gradient(next_value) if semi_gradient else next_value)
    error = after - q
    both = error + jnp.square(error) / 4 if kind == "chi2_signed" else f_conjugate(error, kind)
    return both + jnp.where(expert, 0.0, share / (1 - share) * (value - after) - error).astype(q.dtype)
