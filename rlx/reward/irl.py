"""Rewards from behaviour: maximum causal entropy where planning is exact, and discriminators where it is not.

A discriminator's `logit` is `log D - log(1 - D)`, high where an expert's data is more likely than the policy's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from rlx import check
from rlx.pareto.scalarise import safe_norm
from rlx.types import Array, PyTree
from rlx.value.planning import soft_policy_iteration

KINDS = ("gail", "log", "airl", "fairl")


def mce_irl_loss(
    reward: Array,
    expert_visits: Array,
    transition: Array,
    discount: Array | float,
    initial: Array,
    temperature: Array | float = 1.0,
    *,
    start: Array | None = None,
    num_iterations: int = 20,
) -> tuple[Array, tuple[Array, Array]]:
    """How unlikely an expert's behaviour is under the policy of maximum entropy for a reward, and that policy's values.

        loss = (initial . v - sum d_E R) / temperature,   gradient by R  (d_R - d_E) / temperature

    with `v`, `q` the soft optimal values and `d` discounted visits, so that the gradient matches the two. For a reward
    `phi . w` it is the difference of expected features. It is `-sum d_E log pi_R`, the causal log-likelihood, where
    `d_E` are the visits of some policy under these dynamics; from few demonstrations in a random process they are not,
    and the two differ. Convex in the reward.

    Shapes: `[S, A]`, `[S, A]` (as `rlx.value.occupancy`: sums to `1 / (1 - discount)`), `[S, A, S]`, scalar or
    `[S, A]`, `[S]`, scalar -> `[]`, (`[S]`, `[S, A]`). The policy is `exp((q - v) / temperature)`. Differentiated:
    `reward`, and through it whatever made it; not the visits. `start` and `num_iterations` as `soft_policy_iteration`:
    start from the last step's `v`.

    Usual mistakes: visits that leave out the absorbing states after the end, or count them without a discount of zero
    there: the reward then pays for reaching the end, or for never doing so; normalised visits; and the reward taken for
    the only one, when shaping and constants explain the behaviour as well.

    >>> one_state, expert = jnp.ones((1, 2, 1)), jnp.array([[0.5, 1.5]])
    >>> loss = lambda r: mce_irl_loss(r, expert, one_state, 0.5, jnp.ones(1))[0]
    >>> jax.grad(loss)(jnp.zeros((1, 2))).round(4).tolist()
    [[0.5, -0.5]]

    Raises:
      ValueError: for shapes that do not fit, a discount outside [0, 1], or a temperature that is not positive.

    Source: Ziebart, Bagnell and Dey, "Modeling Interaction via the Principle of Maximum Causal Entropy" (2010).
    """
    check.same_shape(reward=reward, expert_visits=expert_visits)
    v, q = soft_policy_iteration(transition, reward, discount, temperature, start=start, num_iterations=num_iterations)
    check.same_shape(initial=initial, v=v)
    earned = jnp.sum(jax.lax.stop_gradient(expert_visits) * reward)
    return (initial @ v - earned) / temperature, (v, q)


def airl_logit(
    reward: Array, potential: Array, next_potential: Array, discount: Array | float, log_prob: Array
) -> Array:
    """AIRL's discriminator: a reward and a shaping term, less the policy's log-probability.

        logit = g + discount h(s') - h(s) - log pi(a | s),   D = exp(f) / (exp(f) + pi),  f = logit + log pi

    Shapes: any that broadcast -> `[...]`; `discount` is zero where the step ends the episode. Differentiated:
    `reward`, `potential`, `next_potential`; not `log_prob`.

    A `g` of the state alone is what carries over to other dynamics: it is then the true reward up to a constant, for
    deterministic dynamics and a reward that is itself of the state. Usual mistakes: `g` of state and action, which
    takes the dynamics in; and log-probabilities of the policy as it is now, in place of the one that acted.

    >>> float(airl_logit(jnp.array(1.0), jnp.array(2.0), jnp.array(4.0), 0.5, jnp.array(-1.0)))
    2.0

    Source: Fu, Luo and Levine, "Learning Robust Rewards with Adversarial Inverse Reinforcement Learning" (2018).
    """
    return reward + discount * next_potential - potential - jax.lax.stop_gradient(log_prob)


def discriminator_loss(logit: Array, expert: Array) -> Array:
    """Cross entropy of telling an expert's data from the policy's: `-log D` on the one, `-log(1 - D)` on the other.

    The best discriminator has `logit = log p_expert - log p_policy` if as many of either are shown.

    Shapes: `[...]`, bool or probabilities `[...]` (0.9 for 1 smooths the labels) -> `[...]`. Differentiated: `logit`.

    Usual mistake: labels the other way round than the reward assumes, as in the paper that named it.

    >>> [round(float(x), 4) for x in discriminator_loss(jnp.array([0.0, 30.0]), jnp.array([True, True]))]
    [0.6931, 0.0]

    Raises:
      ValueError: for shapes that differ.

    Source: Ho and Ermon, "Generative Adversarial Imitation Learning" (2016).
    """
    check.same_shape(logit=logit, expert=expert)
    expert = jax.lax.stop_gradient(jnp.asarray(expert, jnp.result_type(logit)))
    return expert * jax.nn.softplus(-logit) + (1 - expert) * jax.nn.softplus(logit)


def gradient_penalty(
    logit: Callable[[PyTree], Array], expert: PyTree, policy: PyTree, share: Array, target: Array | float = 1.0
) -> Array:
    """How far a discriminator's slope is from a target between the two kinds of data: `(||grad logit(x)|| - target)^2`.

    `x = share expert + (1 - share) policy`. `target = 0` punishes any slope.

    Shapes: `logit` takes one input (without batch) and returns `[]`; leaves `[B, ...]`, shares `[B]` (uniform on
    [0, 1], or ones for the slope at the expert's data) -> `[B]`. Differentiated: whatever `logit` depends on.

    Usual mistake: discrete inputs (one-hot actions), between which nothing ever lies.

    >>> data = jnp.zeros((2, 3)), jnp.ones((2, 3)), jnp.array([0.2, 0.7])
    >>> gradient_penalty(lambda x: 2.0 * x[0], *data).tolist()
    [1.0, 1.0]

    Source: Gulrajani et al., "Improved Training of Wasserstein GANs" (2017).
    """

    def slope(expert: PyTree, policy: PyTree, share: Array) -> Array:
        x = jax.tree.map(lambda e, p: share * e + (1 - share) * p, expert, policy)
        return safe_norm(jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(jax.grad(logit)(x))]))

    return jnp.square(jax.vmap(slope)(expert, policy, share) - target)


def adversarial_reward(logit: Array, kind: Literal["gail", "log", "airl", "fairl"] = "airl") -> Array:
    """The reward that a discriminator gives: high where the expert's data is more likely.

        gail:  -log(1 - D) = softplus(logit)       positive: living longer pays
        log:   log D = -softplus(-logit)           negative: ending soon pays
        airl:  log D - log(1 - D) = logit          either sign; the reverse divergence KL(policy || expert)
        fairl: -logit exp(logit)                   the forward divergence KL(expert || policy)

    Shapes: `[...]` -> `[...]`. Stopped: `logit`.

    Usual mistake: a signed kind chosen without a thought for episodes that end: in a task that punishes falling,
    `"gail"` succeeds even if nothing is learned, and in one that ends at a goal it may never go there.

    >>> [round(float(r), 4) for r in adversarial_reward(jnp.array([0.0, 2.0]), "gail")]
    [0.6931, 2.1269]

    Raises:
      ValueError: for an unknown `kind`.

    Source: Ho and Ermon, "Generative Adversarial Imitation Learning" (2016); Fu, Luo and Levine, "Learning Robust
    Rewards with Adversarial Inverse Reinforcement Learning" (2018); Ghasemipour, Zemel and Gu, "A Divergence
    Minimization Perspective on Imitation Learning Methods" (2020); Kostrikov et al., "Discriminator-Actor-Critic"
    (2019) for the bias of signs.
    """
    check.require(kind in KINDS, "kind", kind, f"one of {', '.join(KINDS)}")
    logit = jax.lax.stop_gradient(logit)
    if kind == "gail":
        return jax.nn.softplus(logit)
    if kind == "log":
        return -jax.nn.softplus(-logit)
    return logit if kind == "airl" else -logit * jnp.exp(logit)
