"""Values of several policies at once: acting by the best of them, and learning towards it.

Action values are `[..., R, A, K]`: of R policies (each for its own preference over K channels), A actions, K channels.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.value.target import greedy_action, q_target


def gpi_action(q: jax.Array, weights: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Generalised policy improvement: the action that the best of R policies would value highest.

        argmax_a max_r sum_k weights_k q[r, a, k]

    For exact values the resulting policy is at least as good for `weights` as each of the R.

    Shapes: `q` `[..., R, A, K]`, `weights` `[K]` or `[..., K]`, `mask` bool `[..., R, A]` -> int `[...]`. The mask is
    for policies that do not exist as well as for actions that are not legal.

    Usual mistake: the values of the R policies under one fixed preference input; each needs its own.

    >>> q = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 3.0], [2.0, 0.0]]])  # [R, A, K]
    >>> int(gpi_action(q, jnp.array([1.0, 0.0]))), int(gpi_action(q, jnp.array([0.0, 1.0])))
    (1, 0)

    Raises:
      ValueError: for weights of another number of channels, or a mask that is not boolean or of another shape.

    Source: Barreto et al., "Successor Features for Transfer in Reinforcement Learning" (2017); Alegre et al.,
    "Sample-Efficient Multi-Objective Learning via Generalized Policy Improvement Prioritization" (2023).
    """
    union, mask = _union(q), None if mask is None else mask.reshape(*mask.shape[:-2], -1)
    return greedy_action(union, mask, weights=weights) % q.shape[-2]


def envelope_target(
    next_q_online: jax.Array,
    next_q_target: jax.Array,
    reward: jax.Array,
    discount: jax.Array | float,
    weights: jax.Array,
    double: bool = True,
    mask: jax.Array | None = None,
) -> jax.Array:
    """The target of envelope Q-learning: `r + discount Q_target(s', a*, w*)` for each preference `w`.

        (a*, w*) = argmax over actions a and the set of preferences w' of  w . Q_online(s', a, w')

    With one preference, `q_target`.

    Shapes: `next_q_*` `[..., R, A, K]`, `weights` `[..., R, K]`, `reward` `[..., K]`, `discount` broadcasts to it,
    `mask` bool `[..., R, A]` -> `[..., R, K]`. Stopped: all. `double`: choose with the online network, else with the
    target's.

    Usual mistake: acting by the envelope but evaluating it at `w*`: a policy is for the preference it is asked for.

    >>> q = jnp.array([[[1.0, 0.0]], [[0.0, 3.0]]])  # two preferences, one action, two channels
    >>> envelope_target(q, q, jnp.zeros(2), 0.5, jnp.array([[1.0, 0.0], [0.0, 1.0]])).tolist()
    [[0.5, 0.0], [0.0, 1.5]]

    Raises:
      ValueError: for shapes that do not fit, or a mask that is not boolean.

    Source: Yang, Sun and Narasimhan, "A Generalized Algorithm for Multi-Objective Reinforcement Learning and Policy
    Adaptation" (2019).
    """
    check.same_shape(next_q_online=next_q_online, next_q_target=next_q_target)
    preferences = next_q_online.shape[-3]
    shape = (*next_q_online.shape[:-2], next_q_online.shape[-1])
    check.require(jnp.shape(weights) == shape, "the shape of weights", jnp.shape(weights), f"[..., R, K], here {shape}")
    check.require(jnp.shape(reward) == (*shape[:-2], shape[-1]), "the shape of reward", jnp.shape(reward), "[..., K]")

    def for_each(x: jax.Array, axis: int) -> jax.Array:
        return jnp.repeat(jnp.expand_dims(x, axis), preferences, axis=axis)

    union = None if mask is None else for_each(mask.reshape(*mask.shape[:-2], -1), -2)
    online, target = (for_each(_union(q), -3) for q in (next_q_online, next_q_target))
    discount = jnp.expand_dims(jnp.broadcast_to(discount, jnp.shape(reward)), -2)
    return q_target(online, target, for_each(reward, -2), discount, double, union, weights=weights)


def _union(q: jax.Array) -> jax.Array:
    """`[..., R, A, K]` -> `[..., R A, K]`: the actions of all policies in a row."""
    check.require(jnp.ndim(q) >= 3, "the shape of q", jnp.shape(q), "[..., R, A, K]")
    return q.reshape(*q.shape[:-3], -1, q.shape[-1])
