"""Skills: behaviours that are told apart by where they lead."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check


def diayn_reward(logits: jax.Array, skill: jax.Array, log_prior: jax.Array | None = None) -> jax.Array:
    """How much a state tells of the skill that led there, in nats: `log q(z | s') - log p(z)`.

    Shapes: logits `[..., Z]` of the discriminator, int `[...]`, `[Z]` (None: uniform) -> `[...]`. Differentiated:
    nothing. Its mean over states bounds the mutual information of skill and state from below: `log Z` where skills
    never meet, 0 where the discriminator knows nothing.

    The discriminator learns by the cross-entropy of the skill. What it may see decides what skills are: with the whole
    state they may differ in the agent's posture alone. Usual mistake: to leave the prior out, which makes all rewards
    negative and short episodes the best.

    >>> [round(float(r), 4) for r in diayn_reward(jnp.array([[0.0, 0.0], [30.0, -30.0]]), jnp.array([0, 0]))]
    [0.0, 0.6931]

    Raises:
      ValueError: if `skill` does not have the shape of the logits but for their last axis.

    Source: Eysenbach et al., "Diversity is All You Need: Learning Skills without a Reward Function" (2019).
    """
    *shape, skills = jnp.shape(logits)
    check.require(jnp.shape(skill) == tuple(shape), "shape of skill", jnp.shape(skill), str(tuple(shape)))
    log_q = jax.nn.log_softmax(jax.lax.stop_gradient(jnp.asarray(logits)))
    log_prior = jnp.full(skills, -jnp.log(skills)) if log_prior is None else jax.lax.stop_gradient(log_prior)
    return jnp.take_along_axis(log_q - log_prior.astype(log_q.dtype), skill[..., None], axis=-1)[..., 0]
