"""Losses of a policy that follows a critic of actions: per element, to be minimised; the caller averages."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check


def sac_policy_loss(log_prob: jax.Array, q: jax.Array, alpha: jax.Array | float) -> jax.Array:
    """The soft actor-critic policy's loss, `alpha log pi(a|s) - Q(s, a)`, for a reparametrised action a.

    Both terms must depend on the policy's parameters through the sampled action. `q` is the least of the critics, and
    with channels already combined; the critics' own parameters are not to be updated by it.

    Shapes: `log_prob`, `q` `[...]`. Differentiated: `log_prob`, `q`; not `alpha`.

    >>> import jax.numpy as jnp
    >>> sac_policy_loss(jnp.array([-2.0]), jnp.array([1.0]), 0.5).tolist()
    [-2.0]

    Raises:
      ValueError: for shapes that differ.

    Source: Haarnoja et al., "Soft Actor-Critic Algorithms and Applications" (2018).
    """
    check.same_shape(log_prob=log_prob, q=q)
    return jax.lax.stop_gradient(alpha) * log_prob - q


def sac_temperature_loss(log_alpha: jax.Array, log_prob: jax.Array, target_entropy: jax.Array | float) -> jax.Array:
    """The temperature's loss, `-log_alpha (log pi(a|s) + target_entropy)`.

    Alpha grows while the entropy is below its target.

    In `log_alpha`, as most code has it; the paper's `-alpha (...)` has the same root and a step that scales with
    alpha. For a Box action of D components the usual target is `-D`, of the *squashed* action.

    Shapes: `log_alpha` scalar, `log_prob` `[...]`. Differentiated: `log_alpha`.

    >>> import jax.numpy as jnp
    >>> sac_temperature_loss(jnp.array(0.5), jnp.array([3.0]), -1.0).tolist()
    [-1.0]

    Raises:
      ValueError: for a `log_alpha` that is not a scalar.

    Source: Haarnoja et al., "Soft Actor-Critic Algorithms and Applications" (2018).
    """
    check.rank("log_alpha", log_alpha, 0)
    return -log_alpha * jax.lax.stop_gradient(log_prob + target_entropy)


def smooth_action(
    action: jax.Array,
    noise: jax.Array,
    noise_clip: jax.Array | float,
    low: jax.Array | float,
    high: jax.Array | float,
) -> jax.Array:
    """TD3's target action: `clip(action + clip(noise, -noise_clip, noise_clip), low, high)`.

    `noise` is drawn by the caller, usually `0.2 * normal` with `noise_clip` 0.5 for actions in [-1, 1]. For the
    *target* policy in the critic's target only; exploration noise is not clipped.

    Shapes: `action`, `noise` `[..., D]`; bounds scalar or `[D]`. Differentiated: `action`, where nothing clips.

    >>> import jax.numpy as jnp
    >>> smooth_action(jnp.array([0.75, 0.0]), jnp.array([0.5, -2.0]), 0.5, -1.0, 1.0).tolist()
    [1.0, -0.5]

    Raises:
      ValueError: for shapes that differ, or a negative `noise_clip`.

    Source: Fujimoto et al., "Addressing Function Approximation Error in Actor-Critic Methods" (2018).
    """
    check.same_shape(action=action, noise=noise)
    check.in_range("noise_clip", noise_clip, 0.0)
    return jnp.clip(action + jnp.clip(noise, -noise_clip, noise_clip), low, high)


def awr_weights(advantage: jax.Array, inverse_temperature: jax.Array | float, max_weight: float = 100.0) -> jax.Array:
    """Weights of advantage-weighted regression, `min(exp(inverse_temperature * advantage), max_weight)`.

    The loss of the policy is `-weight * log_prob` on logged actions; its optimum is the behaviour policy tilted by
    the advantage. `inverse_temperature = 0` is behaviour cloning. Implicit Q-learning uses it too.

    Shapes: `[...]`. Stopped: all.

    >>> import jax.numpy as jnp
    >>> awr_weights(jnp.array([0.0, 1000.0]), 3.0).tolist()
    [1.0, 100.0]

    Raises:
      ValueError: for a negative `inverse_temperature`, or `max_weight <= 0`.

    Source: Peng et al., "Advantage-Weighted Regression: Simple and Scalable Off-Policy Reinforcement Learning" (2019).
    """
    check.in_range("inverse_temperature", inverse_temperature, 0.0)
    check.positive("max_weight", max_weight)
    return jax.lax.stop_gradient(jnp.minimum(jnp.exp(inverse_temperature * advantage), max_weight))
