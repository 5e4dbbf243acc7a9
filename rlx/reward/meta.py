"""Reward models that must tell apart answers of a policy that has moved on: a step ahead, without new labels."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array, PyTree


def reward_spread(reward: Array, mask: Array | None = None) -> Array:
    """How well a reward tells answers to one prompt apart: the mean over pairs of `sigmoid(|r_i - r_j|)`.

    `2 / (k (k - 1)) sum_{i < j} sigmoid(|r_i - r_j|)`

    1/2 where all rewards are equal, near 1 where any two are far apart. No label is needed: the answers are of a policy
    that the preferences are not about.

    Shapes: `[..., k]`, bool `[..., k]` (false for padding) -> `[...]`; 0 with fewer than two answers. Differentiated:
    `reward`; the gradient of a pair that is equal is 0, so that nothing parts it.

    The paper's constant in front is another one, which its step size takes up. Usual mistake: to maximise it by itself,
    which any growing scale of the reward does; it is for `meta_reward_gradient`.

    >>> reward_spread(jnp.array([[1.0, 1.0, 1.0], [0.0, 100.0, -100.0]])).tolist()
    [0.5, 1.0]

    Raises:
      ValueError: for a mask of another shape, or no axis of answers.

    Source: Dou et al., "MetaRM: Shifted Distributions Alignment via Meta-Learning" (2024).
    """
    reward = jnp.asarray(reward)
    check.require(reward.ndim > 0, "reward", reward.shape, "of shape [..., k]")
    valid = jnp.ones(reward.shape, bool) if mask is None else jnp.asarray(mask, bool)
    check.same_shape(reward=reward, mask=valid)
    count = reward.shape[-1]
    pair = valid[..., :, None] & valid[..., None, :] & (jnp.arange(count)[:, None] < jnp.arange(count))
    difference = reward[..., :, None] - reward[..., None, :]
    apart = jax.nn.sigmoid(difference * jnp.sign(difference))  # jnp.abs has gradient 1 at 0
    pairs = jnp.sum(pair, axis=(-2, -1))
    return jnp.sum(jnp.where(pair, apart, 0), axis=(-2, -1)) / jnp.maximum(pairs, 1).astype(reward.dtype)


def meta_reward_gradient(
    params: PyTree,
    spread: Callable[[PyTree], Array],
    loss: Callable[[PyTree], Array],
    rate: Array | float,
) -> PyTree:
    """The gradient of a preference loss where one step towards more spread would lead.

    `g = grad L(theta')`, taken at `theta' = theta + rate grad J(theta)`; then `theta <- theta - alpha g`

    To first order `g = grad L + rate (Hessian of L) grad J`: among steps that fit the labelled pairs it prefers those
    whose fit lasts where the reward spreads on shifted answers. The second derivative of `J` is left out.

    Args:
      params: of the reward model.
      spread: params -> J `[]`, such as the mean of `reward_spread` over prompts, on answers of the shifted policy.
      loss: params -> L `[]`, such as the mean of `preference_loss` over labelled pairs.
      rate: of the step ahead; 0 gives the plain gradient of the loss.

    Returns:
      A pytree like `params`, for any optimiser. Nothing in it is differentiated further.

    Usual mistake: to start the descent from `theta'`.

    >>> meta_reward_gradient(jnp.array(1.0), lambda x: 3.0 * x, lambda x: x**2, 0.5).tolist()
    5.0

    Raises:
      ValueError: for a negative rate.

    Source: Dou et al., "MetaRM: Shifted Distributions Alignment via Meta-Learning" (2024); Wang et al., "Secrets of
    RLHF in Large Language Models Part II: Reward Modeling" (2024).
    """
    check.in_range("rate", rate, 0.0)
    ascent = jax.grad(spread)(params)
    ahead = jax.tree.map(lambda x, g: x + jnp.asarray(rate, g.dtype) * g, params, ascent)
    return jax.lax.stop_gradient(jax.grad(loss)(ahead))
