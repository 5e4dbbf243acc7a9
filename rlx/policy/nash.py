"""Playing against oneself: policies for preferences that no reward explains.

`preference[a, b]` is the probability that a is preferred to b, so that `P + P^T = 1`. The game in which both players
pay `temperature KL(policy || reference)` has one equilibrium, the same for both: the Nash policy.
"""

from __future__ import annotations

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from rlx import check
from rlx.policy.sequence import widened
from rlx.types import Array

SequenceKL = Literal["token", "sequence", "to_go"]


def geometric_reference(reference: Array, log_prob: Array, weight: Array | float) -> Array:
    """The log-probabilities of a geometric mixture, up to a constant: `weight log r + (1 - weight) log p`.

    As the reference of a pair loss, where the constant cancels. INPO is IPO with such a reference, of the policy before
    this iteration and `weight = temperature / eta`, and pairs that this policy sampled.

    Shapes: `[...]` twice, `weight` broadcasts -> `[...]`. Nothing is differentiated.

    Usual mistake: to sample from it; that needs the probabilities of all tokens, `mixture_logits`.

    >>> geometric_reference(jnp.array([-1.0]), jnp.array([-3.0]), 0.25).tolist()
    [-2.5]

    Raises:
      ValueError: for shapes that differ, or a weight outside [0, 1].

    Source: Munos et al., "Nash Learning from Human Feedback" (2024); Zhang et al., "Iterative Nash Policy Optimization:
    Aligning LLMs with General Preferences via No-Regret Learning" (2025).
    """
    check.same_shape(reference=reference, log_prob=log_prob)
    mixed = _mixture(reference, log_prob, weight)
    return jax.lax.stop_gradient(mixed).astype(jnp.result_type(reference, log_prob))


def mixture_logits(reference_logits: Array, logits: Array, weight: Array | float) -> Array:
    """The geometric mixture of two policies as log-probabilities, to sample from.

        log softmax(weight reference + (1 - weight) policy)

    Logits may stand for log-probabilities: constants cancel. What one of two mixed policies rules out, the mixture
    rules out.

    Shapes: `[..., V]` twice, `weight` broadcasts to `[...]` -> `[..., V]`. Nothing is differentiated.

    Usual mistake: the weight on the wrong one of the two; here, as in TRL, it is the reference's.

    >>> [round(x, 3) for x in mixture_logits(jnp.log(jnp.array([0.8, 0.2])), jnp.zeros(2), 0.5).tolist()]
    [-0.405, -1.099]

    Raises:
      ValueError: for shapes that differ, or a weight outside [0, 1].

    Source: Munos et al., "Nash Learning from Human Feedback" (2024).
    """
    check.same_shape(reference_logits=reference_logits, logits=logits)
    mixed = _mixture(reference_logits, logits, jnp.asarray(weight)[..., None])
    return jax.lax.stop_gradient(jax.nn.log_softmax(mixed)).astype(jnp.result_type(reference_logits, logits))


def win_rate(preference: Array) -> Array:
    """How often each of a group of answers is preferred to the others of the group.

        w_i = sum_(j != i) P_ij / (G - 1)

    The reward of direct Nash optimisation, where preferences may go in circles. For a group sampled from a policy it is
    an unbiased estimate of how often the answer beats that policy.

    Shapes: `[..., G, G]` -> `[..., G]`. Nothing is differentiated. The diagonal is not read.

    Usual mistake: the answer's comparison with itself counted, which draws all rates to 1/2.

    >>> win_rate(jnp.array([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.5, 0.5]])).tolist()
    [0.5, 0.5, 0.75]

    Raises:
      ValueError: for shapes other than `[..., G, G]`, or a group of one.

    Source: Rosset et al., "Direct Nash Optimization: Teaching Language Models to Self-Improve with General Preferences"
    (2024).
    """
    wide = jax.lax.stop_gradient(widened(preference))
    square = wide.ndim >= 2 and wide.shape[-1] == wide.shape[-2] >= 2
    check.require(square, "preference", wide.shape, "of shape [..., G, G] with G >= 2")
    group = wide.shape[-1]
    others = jnp.where(jnp.eye(group, dtype=bool), 0, wide)
    dtype = jnp.result_type(preference)
    dtype = dtype if jnp.issubdtype(dtype, jnp.floating) else wide.dtype
    return (jnp.sum(others, axis=-1) / (group - 1)).astype(dtype)


def nash_md_loss(
    log_prob: Array,
    mask: Array,
    reference: Array,
    win_prob: Array,
    *,
    beta: Array | float = 0.1,
    kl: SequenceKL = "sequence",
) -> Array:
    """Nash mirror descent: a policy gradient on winning against a mixture of oneself and the reference.

        -(w - 1/2) sum_t log p_t + beta sum_t d_t log p_t

    w is the probability that the sequence, drawn from the policy, beats one drawn from `mixture_logits`. With `x_t =
    log p_t - log r_t`, held constant, `d_t` is the sum of all `x` ("sequence"), that of those from t on ("to_go", the
    same gradient in the mean with less variance), or `x_t` alone ("token", as in TRL), which misses what a token does
    to later divergence and is not the gradient of `KL(policy || reference)`.

    Shapes: `[..., T]`, bool `[..., T]`, `[..., T]`, `[...]` in [0, 1] -> `[...]`; `beta` broadcasts to `[...]`.
    Differentiated: `log_prob`. The value means nothing, its gradient does.

    Usual mistake: both sequences from the policy, which is self-play without the regularised opponent.

    >>> log_prob, mask = jnp.array([-1.0, -1.0]), jnp.ones(2, bool)
    >>> nash_md_loss(log_prob, mask, log_prob - 1.0, jnp.array(1.0)).item()
    0.6000000238418579

    Raises:
      ValueError: for shapes that do not fit, an unknown `kl`, or a number out of range.

    Source: Munos et al., "Nash Learning from Human Feedback" (2024).
    """
    check.require(kl in get_args(SequenceKL), "kl", kl, f"one of {get_args(SequenceKL)}")
    shape = jnp.shape(log_prob)
    check.require(len(shape) >= 1, "log_prob", shape, "of shape [..., T]")
    check.same_shape(log_prob=log_prob, mask=mask, reference=reference)
    check.require(jnp.shape(win_prob) == shape[:-1], "win_prob", jnp.shape(win_prob), f"of shape {shape[:-1]}")
    check.in_range("win_prob", win_prob, 0.0, 1.0)
    check.in_range("beta", beta, 0.0)
    mask = jnp.asarray(mask, bool)
    used, base = (jnp.where(mask, widened(x), 0) for x in (log_prob, reference))
    price = jax.lax.stop_gradient(used - base)
    if kl == "sequence":
        price = jnp.sum(price, axis=-1, keepdims=True)
    elif kl == "to_go":
        price = jnp.flip(jnp.cumsum(jnp.flip(price, -1), axis=-1), -1)
    win_prob, beta = (jax.lax.stop_gradient(jnp.asarray(x, used.dtype))[..., None] for x in (win_prob, beta))
    return jnp.sum((beta * price - (win_prob - 0.5)) * used, axis=-1).astype(jnp.result_type(log_prob))


def duality_gap(log_policy: Array, preference: Array, log_reference: Array, temperature: Array | float = 0.0) -> Array:
    """How much a best response gains against a policy, over both seats: 0 at the Nash policy and nowhere else.

        J(p, q) = p P q - tau KL(p || r) + tau KL(q || r),   gap = max_p J(p, pi) - min_q J(pi, q)

    Best responses in closed form: `max_p p u - tau KL(p || r) = tau log sum_a r_a exp(u_a / tau)`, and the largest u
    that the reference allows at `tau = 0`.

    Shapes: `[..., A]`, `[..., A, A]`, `[..., A]`, `temperature` broadcasts to `[...]` -> `[...]`. Differentiated:
    `log_policy`, `preference`, `log_reference`.

    Usual mistake: the gap at another temperature than that of the game which the policy was trained for.

    >>> rock_paper_scissors = jnp.array([[0.5, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.5]])
    >>> uniform = jnp.log(jnp.full(3, 1 / 3))
    >>> round(float(duality_gap(uniform, rock_paper_scissors, uniform)), 6)
    0.0

    Raises:
      ValueError: for shapes that do not fit, or a negative temperature.

    Source: Zhang et al., "Iterative Nash Policy Optimization: Aligning LLMs with General Preferences via No-Regret
    Learning" (2025).
    """
    _game(log_policy, preference, log_reference)
    check.in_range("temperature", temperature, 0.0)
    dtype = jnp.result_type(log_policy)
    log_policy, preference, log_reference = (widened(x) for x in (log_policy, preference, log_reference))
    temperature = jnp.asarray(temperature, log_policy.dtype)
    policy = jnp.exp(log_policy)
    seen = policy > 0
    ratio = jnp.where(seen, jnp.where(seen, log_policy, 0) - jnp.where(seen, log_reference, 0), 0)
    price = jnp.where(temperature > 0, temperature * jnp.sum(policy * ratio, axis=-1), 0)
    cold = temperature == 0
    divisor = jnp.where(cold, 1, temperature)[..., None]

    def best_response(u: jax.Array) -> jax.Array:
        soft = jax.nn.logsumexp(u / divisor + log_reference, axis=-1) * divisor[..., 0]
        return jnp.where(cold, jnp.max(jnp.where(jnp.isneginf(log_reference), -jnp.inf, u), axis=-1), soft)

    against = jnp.einsum("...ab,...b->...a", preference, policy, precision="highest")
    behind = jnp.einsum("...ab,...a->...b", preference, policy, precision="highest")
    return (best_response(against) + best_response(-behind) + 2 * price).astype(dtype)


def nash_step(
    log_policy: Array,
    preference: Array,
    log_reference: Array,
    *,
    eta: Array | float,
    temperature: Array | float = 0.0,
) -> Array:
    """One exact step of mirror descent towards the Nash policy, in self-play.

        p'(a) = p(a)^(1 - tau / eta) r(a)^(tau / eta) exp(P(a beats p) / eta) / Z

    What INPO's loss has as its minimum, and at `tau = 0` (where `r` is not used) DNO's, with eta as its temperature.
    With `tau > 0` and a large enough eta the last policy converges; without, only the average of the policies does.

    Shapes: `[..., A]`, `[..., A, A]`, `[..., A]`, numbers broadcast to `[...]` -> `[..., A]`, log-probabilities.
    Differentiated: `log_policy`, `preference`, `log_reference`.

    Usual mistake: an eta below the temperature, for which the last policy would count negatively.

    >>> preference = jnp.array([[0.5, 1.0], [0.0, 0.5]])
    >>> uniform = jnp.log(jnp.full(2, 0.5))
    >>> [round(x, 3) for x in jnp.exp(nash_step(uniform, preference, uniform, eta=1.0)).tolist()]  # wins 3/4, 1/4
    [0.622, 0.378]

    Raises:
      ValueError: for shapes that do not fit, `eta <= 0`, or a temperature outside [0, eta].

    Source: Zhang et al., "Iterative Nash Policy Optimization: Aligning LLMs with General Preferences via No-Regret
    Learning" (2025); Rosset et al., "Direct Nash Optimization: Teaching Language Models to Self-Improve with General
    Preferences" (2024).
    """
    _game(log_policy, preference, log_reference)
    check.positive("eta", eta)
    check.in_range("temperature", temperature, 0.0)
    share = jnp.asarray(temperature) / jnp.asarray(eta)
    dtype = jnp.result_type(log_policy)
    log_policy, preference, log_reference = (widened(x) for x in (log_policy, preference, log_reference))
    eta, share = (jax.lax.stop_gradient(jnp.asarray(x, log_policy.dtype))[..., None] for x in (eta, share))
    reward = jnp.einsum("...ab,...b->...a", preference, jnp.exp(log_policy), precision="highest")
    mixed = _mixture(log_reference, log_policy, share, name="temperature / eta")
    return jax.nn.log_softmax(mixed + reward / eta).astype(dtype)


def _mixture(first: Array, second: Array, weight: Array | float, name: str = "weight") -> jax.Array:
    """`weight first + (1 - weight) second`, where no part of minus infinity is nothing."""
    check.in_range(name, weight, 0.0, 1.0)
    first, second = widened(first), widened(second)
    weight = jnp.asarray(weight, jnp.result_type(first, second))
    return jnp.where(weight == 0, 0, weight * first) + jnp.where(weight == 1, 0, (1 - weight) * second)


def _game(log_policy: Array, preference: Array, log_reference: Array) -> None:
    check.same_shape(log_policy=log_policy, log_reference=log_reference)
    shape = jnp.shape(log_policy)
    check.require(len(shape) >= 1, "log_policy", shape, "of shape [..., A]")
    square = (*shape, shape[-1])
    check.require(jnp.shape(preference) == square, "preference", jnp.shape(preference), f"of shape {square}")
