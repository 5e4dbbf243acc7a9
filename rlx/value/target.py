"""Values of actions, and the one-step targets made of them.

Action values are `[..., A]`; with K reward channels `[..., A, K]`, and then `weights` (`[K]`, or `[..., K]` for each
state) says which action is greedy: the one of the highest `sum_k weights_k q[..., a, k]`. Giving `weights` is what
says that the last axis is channels. A `mask` is bool `[..., A]`; a masked action is never chosen.

Slowly moving target networks need nothing from here: `optax.incremental_update(online, target, step_size)` is Polyak
averaging.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from rlx import check


def greedy_action(q: jax.Array, mask: jax.Array | None = None, *, weights: jax.Array | None = None) -> jax.Array:
    """The action of the highest value, among those that the mask allows; the first of them on a tie.

    Shapes: `q` `[..., A]`, or `[..., A, K]` with `weights` `[K]` or `[..., K]`; `mask` `[..., A]`. Result: int
    `[...]`, 0 where the mask allows nothing.

    >>> import jax.numpy as jnp
    >>> q = jnp.array([[1.0, 0.0], [0.0, 3.0], [2.0, 2.0]])  # [A, K]
    >>> int(greedy_action(q, weights=jnp.array([1.0, 0.0])))
    2
    >>> int(greedy_action(q, jnp.array([True, True, False]), weights=jnp.array([1.0, 0.0])))
    0

    Raises:
      ValueError: for a mask that is not boolean or not of the actions' shape, or weights of another number of channels.
    """
    score = q
    if weights is not None:
        shape = jnp.shape(weights)
        fits = q.ndim >= 2 and len(shape) in (1, q.ndim - 1) and shape[-1] == q.shape[-1]
        check.require(fits, "the shape of weights", shape, f"[K] or [..., K] for q {q.shape} = [..., A, K]")
        score = jnp.sum(q * weights[..., None, :], axis=-1)
    if mask is not None:
        check.require(jnp.result_type(mask) == jnp.bool_, "mask", jnp.result_type(mask), "boolean")
        check.same_shape(mask=mask, action_values=score)
        score = jnp.where(mask, score, -jnp.inf)
    return jnp.argmax(score, axis=-1)


def take_action(q: jax.Array, action: jax.Array) -> jax.Array:
    """The value of the given actions, `q[..., action]`.

    Shapes: `action` int `[...]`; `q` `[..., A]` gives `[...]`, `[..., A, K]` gives `[..., K]`. Differentiated: `q`.

    >>> import jax.numpy as jnp
    >>> take_action(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([1, 0])).tolist()
    [2.0, 3.0]

    Raises:
      ValueError: for a rank of `q` that is neither one nor two above that of `action`.
    """
    rank = jnp.ndim(action)
    check.rank("q", q, rank + 1, rank + 2)
    index = jnp.expand_dims(action, tuple(range(rank, jnp.ndim(q))))
    return jnp.take_along_axis(q, index, axis=rank).squeeze(rank)


def q_target(
    next_q_online: jax.Array,
    next_q_target: jax.Array,
    reward: jax.Array,
    discount: jax.Array | float,
    double: bool,
    mask: jax.Array | None = None,
    *,
    weights: jax.Array | None = None,
) -> jax.Array:
    """The one-step target of Q-learning, `r + discount Q_target(s', a*)`, double or not.

    `a*` is greedy in `next_q_online` if `double`, else in `next_q_target`: the maximum of one noisy estimate is too
    high, and choosing with one network and evaluating with another takes most of that away.

    Any policy's logits may stand for `next_q_online`: with those of a frozen policy the target evaluates its greedy
    version, a contraction without a maximum of what is being learned (B-Coder's conservative operator).

    Shapes: `next_q_*` `[..., A]`, `reward` `[...]`; with `weights`, `[..., A, K]` and `[..., K]`. `mask` is that of
    the *next* state. `discount` broadcasts to the reward. Stopped: all.

    >>> import jax.numpy as jnp
    >>> online, target = jnp.array([0.0, 1.0]), jnp.array([5.0, 2.0])
    >>> float(q_target(online, target, jnp.array(1.0), 0.5, double=True))
    2.0

    Raises:
      ValueError: for shapes that do not fit, or a mask that is not boolean.

    Source: Mnih et al., "Human-level control through deep reinforcement learning" (2015); van Hasselt et al., "Deep
    Reinforcement Learning with Double Q-learning" (2016).
    """
    check.same_shape(next_q_online=next_q_online, next_q_target=next_q_target)
    action = greedy_action(next_q_online if double else next_q_target, mask, weights=weights)
    next_value = take_action(next_q_target, action)
    check.same_shape(reward=reward, next_value=next_value)
    return jax.lax.stop_gradient(reward + discount * next_value)


def dueling(
    value: jax.Array, advantage: jax.Array, *, axis: int = -1, baseline: Literal["mean", "max"] = "mean"
) -> jax.Array:
    """Action values from a state value and advantages: `Q = V + A - mean_a A`, or with the maximum for the mean.

    The baseline makes the split unique: with the mean, the "advantage" is one against the uniform policy; with the
    maximum V is the value of the greedy action, and no advantage is positive. Given `temperature * logits` of a
    language model as advantages and "max", values start where `softmax(Q / temperature)` is that model, and V is all
    that has to be learned first (B-Coder).

    Shapes: `value` `[...]`, `advantage` `[..., A]`; with channels `[..., K]`, `[..., A, K]` and `axis=-2`.
    Differentiated: both.

    >>> import jax.numpy as jnp
    >>> dueling(jnp.array(10.0), jnp.array([1.0, 3.0])).tolist()
    [9.0, 11.0]

    Raises:
      ValueError: for shapes that do not fit, or another baseline.

    Source: Wang et al., "Dueling Network Architectures for Deep Reinforcement Learning" (2016); Yu et al., "B-Coder:
    Value-Based Deep Reinforcement Learning for Program Synthesis" (2024).
    """
    check.require(baseline in ("mean", "max"), "baseline", baseline, "'mean' or 'max'")
    zero = advantage.mean(axis) if baseline == "mean" else advantage.max(axis)
    check.same_shape(value=value, baseline_of_advantage=zero)
    return advantage + jnp.expand_dims(value - zero, axis)


def inverse_bellman_reward(q: jax.Array, next_value: jax.Array, discount: jax.Array | float) -> jax.Array:
    """The reward that action values imply, `Q(s, a) - discount V(s')`: the one-step target, solved for the reward.

    Exact for the fixed point of `q_target`, if `next_value` is what that target bootstrapped from: for B-Coder, whose
    backups follow a frozen policy, `Q(s', argmax_a policy(a|s'))`. With `max_a Q(s', a)`, what a dueling network gives
    for nothing, it is exact where both actions are the same. The sum over a sequence ranks candidates without a test.

    Shapes: `q` and `next_value` `[...]`, `discount` broadcasts (0 where the step ended the episode). Differentiated:
    both.

    >>> import jax.numpy as jnp
    >>> inverse_bellman_reward(jnp.array([2.0, 3.0]), jnp.array([2.0, 7.0]), jnp.array([0.5, 0.0])).tolist()
    [1.0, 3.0]

    Raises:
      ValueError: for shapes that differ.

    Source: Yu et al., "B-Coder: Value-Based Deep Reinforcement Learning for Program Synthesis" (2024).
    """
    check.same_shape(q=q, next_value=next_value)
    return q - discount * next_value


def twin_min_target(
    next_q: jax.Array,
    next_log_prob: jax.Array,
    reward: jax.Array,
    discount: jax.Array | float,
    alpha: jax.Array | float,
    *,
    weights: jax.Array | None = None,
) -> jax.Array:
    """The soft actor-critic target: the least of several critics, plus the entropy bonus.

        r + discount (min_n Q_n(s', a') - alpha log pi(a'|s')),   a' ~ pi(.|s')

    N = 2 is clipped double Q-learning, more members SAC-N; `alpha = 0` gives the target of TD3.

    Shapes: `next_q` `[N, ...]` over critics, `reward` `[...]`, `next_log_prob` and `alpha` broadcast to it. With
    channels `[..., K]` and `weights` `[K]` or `[..., K]`, all channels are those of the critic whose weighted sum is
    the least (without, the minimum is of each channel, which is optimistic about a cost), and `alpha` `[K]` says in
    which the bonus counts (usually one). Stopped: all.

    >>> import jax.numpy as jnp
    >>> float(twin_min_target(jnp.array([3.0, 2.0]), jnp.array(-1.0), jnp.array(1.0), 0.5, 1.0))
    2.5

    Raises:
      ValueError: for shapes that do not fit.

    Source: Fujimoto et al., "Addressing Function Approximation Error in Actor-Critic Methods" (2018); Haarnoja et
    al., "Soft Actor-Critic Algorithms and Applications" (2018).
    """
    if weights is None:
        least = next_q.min(axis=0)
    else:
        critic = greedy_action(jnp.moveaxis(-next_q, 0, -2), weights=weights)
        least = take_action(jnp.moveaxis(next_q, 0, -2), critic)
    check.same_shape(least_next_q=least, reward=reward)
    check.rank("next_log_prob", next_log_prob, jnp.ndim(reward))
    return jax.lax.stop_gradient(reward + discount * (least - alpha * next_log_prob))


def soft_value(q: jax.Array, log_base: jax.Array | float, temperature: jax.Array | float) -> jax.Array:
    """The best value of acting when leaving a base policy costs: `temperature log sum_a base_a exp(q_a / temperature)`.

    It is `max_pi E_pi q - temperature KL(pi || base)`, reached by `pi = base exp((q - soft_value) / temperature)`.
    `log_base = 0` (not normalised) gives the maximum-entropy value; `-inf` excludes an action. Temperature to 0: the
    maximum; to infinity: the mean under the base policy.

    Shapes: `q` `[..., A]`, `log_base` broadcasts to it. Result `[...]`. Differentiated: all.

    >>> import jax.numpy as jnp
    >>> float(soft_value(jnp.array([1.0, 7.0]), jnp.array([0.0, -jnp.inf]), 1.0))
    1.0

    Raises:
      ValueError: for a temperature that is not positive.

    Source: Haarnoja et al., "Reinforcement Learning with Deep Energy-Based Policies" (2017).
    """
    check.positive("temperature", temperature)
    return temperature * jax.nn.logsumexp(q / temperature + log_base, axis=-1)
