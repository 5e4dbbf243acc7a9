"""Pessimism about actions that the data does not hold."""

from __future__ import annotations

import jax

from rlx import check


def cql_penalty(
    q: jax.Array, q_data: jax.Array, temperature: jax.Array | float, log_prob: jax.Array | None = None
) -> jax.Array:
    """Conservative Q-learning's penalty: how far the soft maximum over actions lies above the logged action's value.

        temperature logsumexp_a(q_a / temperature - log_prob_a) - q_data

    Without `log_prob`, `q` holds every discrete action. With it, `q` holds sampled actions of those log densities:
    the ratio corrects for where they were drawn (`- temperature log(count)` would make it the integral's estimate,
    and is constant). The correction stands outside the division; dividing `q - log_prob` by the temperature is right
    at 1 only.

    Calibrated Q-learning: give `jnp.maximum(q, behaviour_value)` for the policy's samples.

    Shapes: `q` and `log_prob` `[..., A]`, `q_data` `[...]`. Differentiated: `q`, `q_data`; not `log_prob`.

    >>> import jax.numpy as jnp
    >>> round(float(cql_penalty(jnp.array([2.0, 2.0]), jnp.array(2.0), 1.0)), 4)
    0.6931

    Raises:
      ValueError: for shapes that do not fit, or a temperature that is not positive.

    Source: Kumar et al., "Conservative Q-Learning for Offline Reinforcement Learning" (2020); Nakamoto et al., "Cal-QL:
    Calibrated Offline RL Pre-Training for Efficient Online Fine-Tuning" (2023).
    """
    check.positive("temperature", temperature)
    check.same_shape(states_of_q=q[..., 0], q_data=q_data)
    score = q / temperature
    if log_prob is not None:
        check.same_shape(q=q, log_prob=log_prob)
        score = score - jax.lax.stop_gradient(log_prob)
    return temperature * jax.nn.logsumexp(score, axis=-1) - q_data
