"""Distributions of actions over each kind of action space, from the arrays that a network puts out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rlx import check
from rlx.policy import categorical_entropy, gaussian_entropy
from rlx.space import Box, Discrete, MultiDiscrete, Space

LOG_STD_RANGE = (-5.0, 2.0)  # of Gaussian actions in [-1, 1], where a network bounds its deviations; CleanRL
_MASKED = -1e9  # finite, so that entropy and gradients are; its probability is exactly zero in float32


class ActionDistribution(NamedTuple):
    """A family of distributions with parameters `outputs [..., num_outputs]`; log-probabilities and entropies sum over
    dimensions.

    Sampling is split into noise that knows no parameters (Gumbel or normal) and `perturb`, so that a rollout can draw
    all its noise at once, outside its scan.

    For Box the outputs are means and log standard deviations in a row, of actions scaled so that the space is `[-1,
    1]`; `to_env` scales back and clips. A Gaussian's `log_prob` is that of the unclipped action.
    """

    num_outputs: int
    # (key, batch shape) -> [*batch, ...], independent of outputs
    noise: Callable[[jax.Array, tuple[int, ...]], jax.Array]
    perturb: Callable[[jax.Array, jax.Array], jax.Array]  # (noise, outputs) -> action: a sample, for fresh noise
    log_prob: Callable[[jax.Array, jax.Array], jax.Array]  # (outputs, action) -> [...]
    entropy: Callable[[jax.Array], jax.Array]  # outputs -> [...]
    mode: Callable[[jax.Array], jax.Array]  # outputs -> action
    to_env: Callable[[jax.Array], jax.Array]  # action -> what the environment takes
    from_env: Callable[[jax.Array], jax.Array]  # what the environment took, within its bounds -> action

    def sample(self, key: jax.Array, outputs: jax.Array) -> jax.Array:
        """One action for each row of `outputs [..., num_outputs]`."""
        return self.perturb(self.noise(key, outputs.shape[:-1]), outputs)


def mask_logits(logits: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Give masked actions (false) probability zero."""
    return logits if mask is None else jnp.where(mask, logits, _MASKED)


def action_bounds(space: Box) -> tuple[jax.Array, jax.Array]:
    """Lower and upper bounds `[D]` of the actions.

    Raises:
      ValueError: for a space that is not of rank 1, or not bounded.
    """
    check.require(len(space.shape) == 1, "shape of the action space", space.shape, "of rank 1")
    for name, bound in (("lower", space.low), ("upper", space.high)):
        # the "unbounded" of gymnax's classic control is above 1e30
        check.in_range(f"the {name} bound of the action space", bound, -1e30, 1e30)
    low, high = (jnp.broadcast_to(jnp.asarray(bound, jnp.float32), space.shape) for bound in (space.low, space.high))
    return low, high


def action_distribution(space: Space) -> ActionDistribution:
    """The distribution for a space: categorical for Discrete, a product of them for MultiDiscrete, diagonal Gaussian
    for Box.
    """
    if isinstance(space, Discrete | MultiDiscrete):
        return _categorical(space)
    if isinstance(space, Box):
        return _gaussian(space)
    raise TypeError(f"action space must be Discrete, MultiDiscrete or Box; got {space!r}")


def policy_outputs(space: Space, outputs: jax.Array, mask: jax.Array | None) -> jax.Array:
    """A network's numbers as outputs of `action_distribution(space)`: logits that keep to a mask, or means in [-1, 1]
    and bounded deviations.
    """
    if not isinstance(space, Box):
        return mask_logits(outputs, mask)
    mean, spread = jnp.split(outputs, 2, axis=-1)
    return jnp.concatenate([jnp.tanh(mean), bounded_log_std(spread)], axis=-1)


def bounded_log_std(spread: jax.Array) -> jax.Array:
    """Any number as the logarithm of a deviation, within `LOG_STD_RANGE`."""
    low, high = LOG_STD_RANGE
    return low + 0.5 * (high - low) * (jnp.tanh(spread) + 1.0)


def _categorical(space: Discrete | MultiDiscrete) -> ActionDistribution:
    single = isinstance(space, Discrete)
    nvec = (space.n,) if single else space.nvec
    ends = list(np.cumsum(nvec)[:-1])

    def parts(outputs: jax.Array) -> list[jax.Array]:
        return jnp.split(outputs, ends, axis=-1)

    def mode(outputs: jax.Array) -> jax.Array:
        best = [jnp.argmax(logits, axis=-1) for logits in parts(outputs)]
        return best[0] if single else jnp.stack(best, axis=-1)

    def log_prob(outputs: jax.Array, action: jax.Array) -> jax.Array:
        actions = [action] if single else [action[..., i] for i in range(len(nvec))]
        # one-hot: on CPU the gradient of a gather is a loop over samples
        chosen = [jax.nn.one_hot(a, n) for a, n in zip(actions, nvec, strict=True)]
        return -sum(map(optax.softmax_cross_entropy, parts(outputs), chosen), start=jnp.zeros(()))

    return ActionDistribution(
        sum(nvec),
        lambda key, batch: jax.random.gumbel(key, (*batch, sum(nvec))),
        lambda noise, outputs: mode(outputs + noise),
        log_prob,
        lambda outputs: sum(map(categorical_entropy, parts(outputs)), start=jnp.zeros(())),
        mode,
        lambda action: action,
        lambda action: action,
    )


def _gaussian(space: Box) -> ActionDistribution:
    if len(space.shape) != 1:
        raise ValueError(f"a Box action space must have rank 1; got shape {space.shape}")
    low = jnp.broadcast_to(jnp.asarray(space.low, jnp.float32), space.shape)
    high = jnp.broadcast_to(jnp.asarray(space.high, jnp.float32), space.shape)
    bounded = (jnp.abs(low) < 1e30) & (jnp.abs(high) < 1e30)
    low, high = jnp.where(bounded, low, 0.0), jnp.where(bounded, high, 0.0)

    def log_prob(outputs: jax.Array, action: jax.Array) -> jax.Array:
        mean, log_std = jnp.split(outputs, 2, axis=-1)
        return jax.scipy.stats.norm.logpdf(action, mean, jnp.exp(log_std)).sum(-1)

    def perturb(noise: jax.Array, outputs: jax.Array) -> jax.Array:
        mean, log_std = jnp.split(outputs, 2, axis=-1)
        return mean + jnp.exp(log_std) * noise

    def to_env(action: jax.Array) -> jax.Array:
        scaled = low + (jnp.clip(action, -1.0, 1.0) + 1.0) * 0.5 * (high - low)
        return jnp.where(bounded, scaled, action)

    def from_env(action: jax.Array) -> jax.Array:
        return jnp.where(bounded, 2.0 * (action - low) / jnp.where(bounded, high - low, 1.0) - 1.0, action)

    return ActionDistribution(
        2 * space.shape[0],
        lambda key, batch: jax.random.normal(key, (*batch, *space.shape)),
        perturb,
        log_prob,
        lambda outputs: gaussian_entropy(jnp.split(outputs, 2, axis=-1)[1]),
        lambda outputs: jnp.split(outputs, 2, axis=-1)[0],
        to_env,
        from_env,
    )
