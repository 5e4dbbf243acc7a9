"""Losses of a policy that follows a critic of actions: per element, to be minimised; the caller averages."""

from __future__ import annotations

from typing import Literal

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


def td3_bc_loss(q: jax.Array, action: jax.Array, logged_action: jax.Array, alpha: jax.Array | float) -> jax.Array:
    """The loss of a deterministic policy that follows a critic and stays near the log: TD3+BC.

        - alpha / mean |q| * q + mean_d (action_d - logged_action_d)^2

    Dividing by the mean magnitude makes `alpha` independent of the scale of rewards; the published one is 2.5, for
    actions in [-1, 1] and standardised observations. `alpha = 0` is behaviour cloning.

    Shapes: `q` `[...]`, `Q(s, action)` of one critic; `action` (the policy's) and `logged_action` `[..., D]` ->
    `[...]`. The mean magnitude is over all elements of `q`: vmap over what is no batch. Differentiated: `q`, `action`;
    not the mean magnitude, nor `logged_action`.

    >>> import jax.numpy as jnp
    >>> td3_bc_loss(jnp.array([1.0, -3.0]), jnp.array([[0.5], [0.0]]), jnp.zeros((2, 1)), 2.0).tolist()
    [-0.75, 3.0]

    Raises:
      ValueError: for shapes that do not fit, or a negative `alpha`.

    Source: Fujimoto and Gu, "A Minimalist Approach to Offline Reinforcement Learning" (2021).
    """
    check.same_shape(action=action, logged_action=logged_action)
    check.same_shape(q=q, rows_of_action=action[..., 0])
    check.in_range("alpha", alpha, 0.0)
    scale = jax.lax.stop_gradient(alpha / jnp.maximum(jnp.mean(jnp.abs(q)), 1e-6))
    error = action - jax.lax.stop_gradient(logged_action)
    return jnp.mean(jnp.square(error), -1) - scale * q


def awr_weights(
    advantage: jax.Array,
    inverse_temperature: jax.Array | float,
    max_weight: float = 100.0,
    *,
    kind: Literal["exp", "softmax", "step"] = "exp",
) -> jax.Array:
    """Weights of advantage-weighted regression, `min(exp(inverse_temperature * advantage), max_weight)`.

    The loss of the policy is `-weight * log_prob` on logged actions; its optimum is the behaviour policy tilted by
    the advantage. `inverse_temperature = 0` is behaviour cloning. Implicit Q-learning uses it too; so does
    critic-regularised regression, with `max_weight = 20`, or with its other form, `step`:

        exp:      exp(inverse_temperature * advantage)
        softmax:  the same over its mean, so that weights have the mean 1 whatever the advantages' level
        step:     1[advantage > 0]; the temperature has no part in it

    Shapes: `[...]`. Stopped: all. The mean of `softmax` is over all elements.

    >>> import jax.numpy as jnp
    >>> awr_weights(jnp.array([0.0, 1000.0]), 3.0).tolist()
    [1.0, 100.0]
    >>> awr_weights(jnp.array([-1.0, 2.0]), 3.0, kind="step").tolist()
    [0.0, 1.0]

    Raises:
      ValueError: for an unknown kind, a negative `inverse_temperature`, or `max_weight <= 0`.

    Source: Peng et al., "Advantage-Weighted Regression: Simple and Scalable Off-Policy Reinforcement Learning" (2019);
    Nair et al., "AWAC: Accelerating Online Reinforcement Learning with Offline Datasets" (2020) for `softmax`; Wang et
    al., "Critic Regularized Regression" (2020) for `step`.
    """
    check.require(kind in ("exp", "softmax", "step"), "kind", kind, "'exp', 'softmax' or 'step'")
    check.in_range("inverse_temperature", inverse_temperature, 0.0)
    check.positive("max_weight", max_weight)
    advantage = jax.lax.stop_gradient(jnp.asarray(advantage))
    if kind == "step":
        weight = (advantage > 0).astype(advantage.dtype)
    elif kind == "exp":
        weight = jnp.exp(inverse_temperature * advantage)
    else:
        weight = jax.nn.softmax(inverse_temperature * advantage, axis=None) * advantage.size
    return jax.lax.stop_gradient(jnp.minimum(weight, max_weight))


def tscac_weights(
    log_prob: jax.Array,
    behaviour_log_prob: jax.Array,
    advantage: jax.Array,
    multiplier: jax.Array,
    max_weight: float = 100.0,
) -> jax.Array:
    """Weights of logged actions for the best policy for one reward that stays close to K others.

        min(prod_k pi_k(a|s)^(l_k / L) / pi_b(a|s) exp(advantage / L), max_weight),   L = sum_k l_k

    `max_pi E_pi advantage` with `KL(pi || pi_k) <= eps_k` has the solution `prod_k pi_k^(l_k / L) exp(advantage / L)`,
    normalised; with `-weight * log_prob` as the loss, a policy learns it from the actions that pi_b took. In two
    stages: first a policy for each auxiliary reward, then this. K = 1 with pi_1 = pi_b is advantage-weighted regression
    at inverse temperature `1 / l_1`; small multipliers approach the greedy policy. To act by the closed form instead of
    learning it: `rlx.value.value_guided_logits` with `multiplier / L` and `1 / L`.

    Shapes: `log_prob` `[..., K]`, of the logged action under each policy; `multiplier` `[K]` or `[..., K]`, positive in
    sum; the others `[...]` -> `[...]`. Stopped: all.

    Usual mistake: weights without bound, or of very different mean from batch to batch; divide by their mean. And
    policies of the first stage learned with a shorter discount than the one their reward is judged by.

    >>> import jax.numpy as jnp
    >>> expert, behaviour = jnp.log(jnp.array([[0.5, 0.5], [0.5, 0.25]])), jnp.log(jnp.array([0.5, 0.25]))
    >>> [round(w, 4) for w in tscac_weights(expert, behaviour, jnp.zeros(2), jnp.ones(2)).tolist()]
    [1.0, 1.4142]

    Raises:
      ValueError: for shapes that do not fit, a negative multiplier or none that is positive, or `max_weight <= 0`.

    Source: Cai et al., "Two-Stage Constrained Actor-Critic for Short Video Recommendation" (2023).
    """
    check.same_shape(behaviour_log_prob=behaviour_log_prob, advantage=advantage, policies_of_log_prob=log_prob[..., 0])
    shape, wanted = jnp.shape(multiplier), jnp.shape(log_prob)
    fits = shape in (wanted[-1:], wanted)
    check.require(fits, "the shape of multiplier", shape, f"[K] or [..., K] for log_prob {wanted}")
    check.in_range("multiplier", multiplier, 0.0)
    total = jnp.sum(jnp.asarray(multiplier), axis=-1)
    check.positive("the sum of multiplier", total)
    check.positive("max_weight", max_weight)
    pooled = jnp.sum(jnp.where(multiplier > 0, multiplier * log_prob, 0.0), axis=-1)
    log_weight = (pooled + advantage) / total - behaviour_log_prob
    return jax.lax.stop_gradient(jnp.minimum(jnp.exp(log_weight), max_weight))
