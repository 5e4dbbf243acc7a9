"""Users who see an answer and are not asked about it: they leave a heart now and then, and say something next.

What they do depends on how good the answer is (`rlx.envs.bandit` has answers with gold rewards), and on tricks that
please without being good.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array

# Of eight things to say next; who is not satisfied has the reverse.
FOLLOW_UPS = (0.2, 0.2, 0.15, 0.15, 0.1, 0.1, 0.05, 0.05)


def reaction_prob(gold: Array, trick: Array | float = 0.0, *, slope: float = 1.5, level: float = -5.0) -> Array:
    """The probability of a heart: `sigmoid(slope gold + trick + level)`, elementwise.

    Hearts are rare: with the defaults one answer in 55 has one, if gold rewards are standard normal. `trick` is
    what else pleases, in units of the logit: what a policy that is rewarded by hearts learns to do.
    """
    return jax.nn.sigmoid(slope * gold + trick + level)


def satisfied(key: Array, gold: Array, *, slope: float = 2.0) -> Array:
    """Who is satisfied, with probability `sigmoid(slope gold)`: bool, of the shape of `gold`."""
    return jax.random.bernoulli(key, jax.nn.sigmoid(slope * gold))


def follow_up(key: Array, satisfied: Array, prob: tuple[float, ...] = FOLLOW_UPS) -> Array:
    """What each user says next, int `[N]`: by `prob` if satisfied (bool `[N]`), else by its reverse.

    Raises:
      ValueError: if `prob` is no distribution over at least two.
    """
    check.require(len(prob) > 1, "prob", prob, "at least two probabilities")
    check.in_range("the sum of prob", sum(prob), 1 - 1e-6, 1 + 1e-6)
    of_each = jnp.where(satisfied[:, None], jnp.array(prob), jnp.array(prob[::-1]))
    return jax.random.categorical(key, jnp.log(of_each))
