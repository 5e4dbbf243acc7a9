"""Policies by imitation: what was done well is made more probable."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def filtered_bc_loss(log_prob: Array, success: Array, mask: Array | None = None) -> Array:
    """Behaviour cloning of the episodes that succeeded.

        loss_tb = -log_prob_tb s_b m_tb (T B) / max(sum_tb s_b m_tb, 1)

    so that the *mean* of all elements is the mean over the steps that count; with weights s in [0, 1] it is weighted.
    On episodes of the present policy its gradient points along that of REINFORCE without a baseline, longer by the
    number of valid steps per step that counts.

    Shapes: `[T, B]`, `[B]` (booleans, or weights in [0, 1]), bool `[T, B]` (valid steps) -> `[T, B]`. Differentiated:
    `log_prob`.

    Usual mistake: the mean over all steps, failed ones included, whose step size falls with the success rate.

    >>> log_prob = jnp.array([[-1.0, -3.0], [-2.0, -5.0]])
    >>> float(filtered_bc_loss(log_prob, jnp.array([True, False])).mean())
    1.5

    Raises:
      ValueError: for shapes that do not fit.

    Source: Zhou et al., "Proposer-Agent-Evaluator (PAE): Autonomous Skill Discovery for Foundation Model Internet
    Agents" (2024).
    """
    check.rank("log_prob", log_prob, 2)
    log_prob = jnp.asarray(log_prob)
    mask = jnp.ones(log_prob.shape, bool) if mask is None else jnp.asarray(mask)
    check.same_shape(log_prob=log_prob, mask=mask)
    wanted = log_prob.shape[1:]
    check.require(jnp.shape(success) == wanted, "the shape of success", jnp.shape(success), f"{wanted}")
    weight = jax.lax.stop_gradient(jnp.where(mask, jnp.asarray(success, jnp.float32), 0.0))
    share = weight * (weight.size / jnp.maximum(weight.sum(), 1.0))
    # what does not count may hold anything, -inf too
    return jnp.where(share > 0, -log_prob * share.astype(log_prob.dtype), 0)
