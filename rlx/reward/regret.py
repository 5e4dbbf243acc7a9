"""Segments judged by regret, what they fall short of optimal play by: a score for choice models of people who do so.

Tables are of states `[S]` and of states and actions `[S, A]`; segments are indices `[..., T]`, as in a
`PreferenceBatch` whose observations are states. `rlx.value.soft_policy_iteration` plans for a reward that is learned.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from rlx import check
from rlx.reward.preference import segment_score
from rlx.types import Array


def regret_score(
    state: Array,
    action: Array,
    mask: Array,
    v: Array,
    discount: Array | float = 1.0,
    *,
    q: Array | None = None,
    reward: Array | None = None,
    next_state: Array | None = None,
) -> Array:
    """Minus the regret of segments: how much worse they are than optimal play from their first state.

        with q:       sum_t gamma^t (q(s_t, a_t) - v(s_t)),                          expected over what might follow
        with reward:  sum_t gamma^t r(s_t, a_t) + gamma^T v(s_T) - v(s_0),           of what did follow

    Equal where the dynamics are deterministic and `q = r + gamma v(s')`. Not above 0 for the first, and 0 for optimal
    actions, if `v` and `q` are optimal values; soft ones are off by up to `temperature log A` a step, absorbing states
    included. Where dynamics are random the second form counts luck, and may be positive. The first is
    `segment_score` of the advantage: partial return is to a reward what regret is to its advantage.

    Args:
      state, action, mask: int and bool `[..., T]`; the mask is a prefix.
      v: `[S]`; terminal states have value 0.
      discount: scalar.
      q: `[S, A]`, for the first form.
      reward, next_state: `[S, A]`, and int `[...]` what the last valid step led to; for the second form.

    Returns:
      `[...]`, 0 for a segment without a step. Differentiated: `v`, `q`, `reward`: let the gradient pass through
      planning.

    Usual mistakes: constant values, which leave a partial return; and segments without what comes after the end, where
    optimal play would not have stayed.

    >>> v, reward = jnp.array([1.0, 2.0]), jnp.array([[0.0], [1.0]])
    >>> state, action, mask = jnp.array([0, 1]), jnp.array([0, 0]), jnp.array([True, True])
    >>> float(regret_score(state, action, mask, v, 0.5, reward=reward, next_state=jnp.array(1)))
    0.0

    Raises:
      ValueError: for shapes that differ, or unless either `q` or both of `reward` and `next_state` are given.

    Source: Knox et al., "Models of Human Preference for Learning Reward Functions" (2024).
    """
    check.same_shape(state=state, action=action, mask=mask)
    check.rank("v", v, 1)
    given = [name for name, x in (("q", q), ("reward", reward), ("next_state", next_state)) if x is not None]
    check.require(given in (["q"], ["reward", "next_state"]), "given arguments", given, "q, or reward and next_state")
    table: Any = q if reward is None else reward
    check.require(
        jnp.ndim(table) == 2 and jnp.shape(table)[0] == jnp.shape(v)[0],
        "the shape of q or reward",
        jnp.shape(table),
        f"[S, A] with S = {jnp.shape(v)[0]}",
    )
    v, table = jnp.asarray(v), jnp.asarray(table)
    if q is not None:
        return segment_score((table - v[:, None])[state, action], mask, discount)
    length = jnp.sum(jnp.asarray(mask, bool), -1)
    later = jnp.asarray(discount, v.dtype) ** length * v[next_state] - v[jnp.asarray(state)[..., 0]]
    return segment_score(table[state, action], mask, discount) + jnp.where(length > 0, later, 0)


def successor_value(successor: Array, weights: Array, temperature: Array | float) -> Array:
    """Approximately optimal values for a reward that is linear in features: the best of a set of policies, smoothly.

        sum_i softmax_i(psi_i . w / temperature) psi_i . w

    with `psi_i` what policy i collects of each feature, discounted, from a state (for `v`) or a state and action (for
    `q`). No planning: the set decides how close to optimal it is, and it is never above.

    Shapes: `[N, ..., F]`, `[F]`, scalar -> `[...]`. Differentiated: all.

    Usual mistake: a set that has no good policy for some of the weights on the way.

    >>> psi = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> round(float(successor_value(psi, jnp.array([3.0, 5.0]), 0.1)), 4)
    5.0

    Raises:
      ValueError: for weights of another size than the features, or a temperature that is not positive.

    Source: Knox et al., "Models of Human Preference for Learning Reward Functions" (2024); Barreto et al., "Successor
    Features for Transfer in Reinforcement Learning" (2017).
    """
    check.positive("temperature", temperature)
    check.require(
        jnp.ndim(successor) >= 2 and jnp.shape(weights) == jnp.shape(successor)[-1:],
        "the shape of weights",
        jnp.shape(weights),
        f"[F] for successor features {jnp.shape(successor)} = [N, ..., F]",
    )
    each = jnp.asarray(successor) @ jnp.asarray(weights)
    return jnp.sum(jax.nn.softmax(each / temperature, axis=0) * each, axis=0)
