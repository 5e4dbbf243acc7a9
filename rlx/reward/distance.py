"""How far apart two reward functions are, whatever is the same to every policy taken out first.

Two steps: a canonical form removes what cannot change which policy is better (potential shaping; for STARC also where
in a step's outcome the reward is paid), and a distance between canonical forms removes scale. Tabular rewards are
`R[s, a, s']`, transitions `P[s, a, s']`; `discount` is the one that shaping is meant with. The distances take any two
arrays of one shape, so canonical values of a batch of transitions too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from rlx import check
from rlx.pareto.scalarise import safe_norm
from rlx.types import Array, PyTree


def epic_canonical(
    reward: Array, discount: Array | float, state_probs: Array | None = None, action_probs: Array | None = None
) -> Array:
    """EPIC's canonical form of a reward, the same for all that differ by potential shaping and a constant.

        C(s, a, s') = R(s, a, s') + discount m(s') - m(s) - discount mean m,   m(s) = E R(s, A, S')

    with actions and states drawn independently of each other and of the dynamics. It is the shaping by the values of a
    process in which every action leads everywhere.

    Shapes: `[S, A, S]`, scalar, `[S]`, `[A]` (both uniform by default) -> `[S, A, S]`. Differentiated: all.

    Usual mistake: it is *not* the same for rewards that differ in which next state pays, at equal expectations, though
    no policy can tell these apart; and transitions that never happen count, unless the distance's weights exclude them.

    >>> shaped = 0.9 * jnp.arange(2.0)[None, None, :] - jnp.arange(2.0)[:, None, None]
    >>> bool(jnp.allclose(epic_canonical(jnp.broadcast_to(shaped, (2, 3, 2)), 0.9), 0.0, atol=1e-6))
    True

    Raises:
      ValueError: for shapes that do not fit, or a discount outside [0, 1].

    Source: Gleave et al., "Quantifying Differences in Reward Functions" (2021).
    """
    states, actions = _sizes(reward)
    check.in_range("discount", discount, 0.0, 1.0)
    p = _weights("state_probs", state_probs, (states,), reward)
    q = _weights("action_probs", action_probs, (actions,), reward)
    mean = jnp.einsum("sat,a,t->s", reward, q, p)
    return _epic(reward, mean[:, None, None], mean, p @ mean, discount)


def epic_canonical_samples(
    reward: Callable[[PyTree, PyTree, PyTree], Array],
    obs: PyTree,
    action: PyTree,
    next_obs: PyTree,
    other_action: PyTree,
    other_obs: PyTree,
    discount: Array | float,
) -> Array:
    """`epic_canonical` at given transitions for any reward function, its means taken over samples.

    Shapes: `reward` takes one observation, action and next observation (without batch) and returns `[]`; leaves
    `[B, ...]` and, of independent draws of actions and states, `[N, ...]` -> `[B]`. It is called `B + 2 B N + N^2`
    times. Differentiated: whatever `reward` depends on.

    With every pair of action and state once among the draws it is exact for uniform ones. Usual mistake: draws of
    actions and states that belong together; shuffle one of them.

    >>> potential = lambda s, a, t: 0.9 * t - s
    >>> s, t = jnp.array([0.0, 1.0]), jnp.array([2.0, 5.0])
    >>> bool(jnp.allclose(epic_canonical_samples(potential, s, s, t, jnp.zeros(3), jnp.arange(3.0), 0.9), 0, atol=1e-5))
    True

    Raises:
      ValueError: for a discount outside [0, 1].

    Source: Gleave et al., "Quantifying Differences in Reward Functions" (2021), section 4.
    """
    check.in_range("discount", discount, 0.0, 1.0)

    def mean(state: PyTree) -> Array:
        """`E R(state, A, S')` for states `[B, ...]`."""
        return jax.vmap(lambda s: jax.vmap(reward, (None, 0, 0))(s, other_action, other_obs).mean())(state)

    taken = jax.vmap(reward)(obs, action, next_obs)
    return _epic(taken, mean(obs), mean(next_obs), mean(other_obs).mean(), discount)


def dard_canonical(
    reward: Array, transition: Array, discount: Array | float, action_probs: Array | None = None
) -> Array:
    """DARD's canonical form: as EPIC's, but with next states that the dynamics lead to.

        C(s, a, s') = R(s, a, s') + E [discount R(s', A, S'') - R(s, A, S') - discount R(S', A, S'')]
        A from action_probs,  S' from P(s, A),  S'' from P(s', A)

    The last term is from the next state of *s* to one of *s'*: that is what makes shaping cancel.

    Shapes: `[S, A, S]`, `[S, A, S]`, scalar, `[A]` (uniform by default) -> `[S, A, S]`. Differentiated: all.

    Usual mistake: `S''` from `P(S', A)` in the last term. Like EPIC's it changes with where the reward is paid.

    >>> shaped = 0.9 * jnp.arange(2.0)[None, None, :] - jnp.arange(2.0)[:, None, None]
    >>> P = jnp.array([[[0.2, 0.8]], [[0.5, 0.5]]])
    >>> bool(jnp.allclose(dard_canonical(jnp.broadcast_to(shaped, (2, 1, 2)), P, 0.9), 0.0, atol=1e-6))
    True

    Raises:
      ValueError: for shapes that do not fit, or a discount outside [0, 1].

    Source: Wulfe et al., "Dynamics-Aware Comparison of Learned Reward Functions" (2022).
    """
    _, actions = _sizes(reward)
    check.same_shape(reward=reward, transition=transition)
    check.in_range("discount", discount, 0.0, 1.0)
    q = _weights("action_probs", action_probs, (actions,), reward)
    leave = jnp.einsum("a,sat,sat->s", q, transition, reward)
    across = jnp.einsum("a,sax,tay,xay->st", q, transition, transition, reward)
    return reward - leave[:, None, None] + discount * (leave - across)[:, None, :]


def starc_canonical(
    reward: Array,
    transition: Array,
    discount: Array | float,
    policy: Array | None = None,
    *,
    kind: Literal["value", "minimal"] = "value",
) -> Array:
    """STARC's canonical form, the same for all rewards that order policies alike by shaping and by where they pay.

        value:    c(s, a) = E [R(s, a, S') + discount V(S')] - V(s),   V the values of `policy` under R
        minimal:  c = the shortest of  E [R(s, a, S') + discount F(S') - F(s)]  over all potentials F

    The first is the policy's advantage, whose mean under it is zero in every state. Two rewards that order all policies
    alike have the same one up to scale.

    Shapes: `[S, A, S]`, `[S, A, S]`, scalar or `[S, A]` (zero where the step ends the episode), `[S, A]` (uniform by
    default, and for `"value"` only) -> `[S, A]`. Differentiated: `reward`, `transition`, `discount`, `policy`.

    Usual mistakes: a policy that leaves actions out (it must not: full support), one of its own for each of the
    rewards, and unreachable states, which count: give `reward_distance` weights.

    >>> P = jnp.array([[[0.5, 0.5]], [[0.0, 1.0]]])
    >>> paid_early = jnp.array([[[1.0, 1.0]], [[0.0, 0.0]]])
    >>> paid_late = jnp.array([[[0.0, 2.0]], [[0.0, 0.0]]])
    >>> same = [starc_canonical(R, P, 0.9, kind="minimal") for R in (paid_early, paid_late)]
    >>> bool(jnp.allclose(*same, atol=1e-6))
    True

    Raises:
      ValueError: for shapes that do not fit, a discount outside [0, 1], an unknown `kind`, or a policy for `"minimal"`.

    Source: Skalse et al., "STARC: A General Framework For Quantifying Differences Between Reward Functions" (2024).
    """
    states, actions = _sizes(reward)
    check.same_shape(reward=reward, transition=transition)
    shape = jnp.shape(discount)
    check.require(shape in ((), (states, actions)), "discount", shape, f"of shape () or {(states, actions)}")
    check.in_range("discount", discount, 0.0, 1.0)
    check.require(kind in ("value", "minimal"), "kind", kind, "'value' or 'minimal'")
    check.require(kind == "value" or policy is None, "policy", policy, "None for kind = 'minimal'")
    dtype = jnp.result_type(reward, float)
    # linear systems have no half precision
    reward, transition = (jnp.asarray(x, jnp.promote_types(dtype, jnp.float32)) for x in (reward, transition))
    expected = jnp.sum(transition * reward, -1)
    step = transition * jnp.asarray(discount, reward.dtype)[..., None]
    if kind == "value":
        policy = jnp.full((states, actions), 1 / actions) if policy is None else policy
        check.require(jnp.shape(policy) == (states, actions), "policy", jnp.shape(policy), f"{(states, actions)}")
        policy = jnp.asarray(policy, reward.dtype)
        flow = jnp.eye(states, dtype=reward.dtype) - jnp.einsum("sa,sat->st", policy, step)
        value = jnp.linalg.solve(flow, jnp.sum(policy * expected, -1))
        return (expected + step @ value - value[:, None]).astype(dtype)
    shaping = (step - jnp.eye(states, dtype=reward.dtype)[:, None]).reshape(states * actions, states)
    basis = jnp.linalg.qr(shaping)[0]
    flat = expected.ravel()
    return (flat - basis @ (basis.T @ flat)).reshape(states, actions).astype(dtype)


def standardise(reward: Array, order: float = 2, weights: Array | None = None) -> Array:
    """A reward divided by its norm; zero stays zero.

    `x / (sum_i w_i |x_i|^order)^(1 / order)`, or by the largest `|x_i|` of positive weight for `order = inf`.

    Shapes: `[...]`, weights of that shape (ones by default) -> `[...]`. Differentiated: `reward`; zero at zero.

    >>> standardise(jnp.array([[3.0, 0.0], [0.0, -4.0]])).ravel().tolist()
    [0.6000000238418579, 0.0, 0.0, -0.800000011920929]

    Raises:
      ValueError: for an order other than 1, 2 and infinity, or weights of another shape.

    Source: Skalse et al., "STARC: A General Framework For Quantifying Differences Between Reward Functions" (2024).
    """
    size = _norm(reward, order, weights)
    return jnp.where(size > 0, reward / jnp.where(size > 0, size, 1), 0)


def reward_distance(first: Array, second: Array, order: float = 2, weights: Array | None = None) -> Array:
    """The distance of two standardised (canonical) rewards, in [0, 2]: 0 for equal up to scale, 2 for opposite.

    `|| x / ||x|| - y / ||y|| ||`. The angle between the two is `2 arcsin(d / 2)` for `order = 2`.

    Shapes: twice `[...]`, weights of that shape (ones by default; zero for what cannot happen) -> `[]`. Differentiated:
    both; zero where they are equal. A reward that no policy can tell from zero is at distance 1 from all others.

    Usual mistake: rewards that are not in canonical form; shaping then counts.

    >>> float(reward_distance(jnp.array([3.0, 4.0]), jnp.array([-6.0, -8.0])))
    2.0

    Raises:
      ValueError: for shapes that differ, or an order other than 1, 2 and infinity.

    Source: Skalse et al., "STARC: A General Framework For Quantifying Differences Between Reward Functions" (2024).
    """
    check.same_shape(first=first, second=second)
    return _norm(standardise(first, order, weights) - standardise(second, order, weights), order, weights)


def pearson_distance(first: Array, second: Array, weights: Array | None = None) -> Array:
    """The distance `sqrt((1 - rho) / 2)` by the correlation rho of two rewards under `weights`, in [0, 1].

    Half the `reward_distance` of the rewards less their means, which is how it is computed: `1 - rho` would cost half
    of the digits. EPIC's and DARD's distances are this one between canonical forms.

    Shapes: twice `[...]`, weights of that shape, the coverage (ones by default) -> `[]`. Differentiated: both; zero
    where they are equal. A constant, whose correlation does not exist, is at distance 1/2 from all that varies.

    >>> float(pearson_distance(jnp.array([0.0, 1.0, 2.0]), jnp.array([5.0, 7.0, 9.0])))
    0.0

    Raises:
      ValueError: for shapes that differ.

    Source: Gleave et al., "Quantifying Differences in Reward Functions" (2021).
    """
    check.same_shape(first=first, second=second)
    probs = _weights("weights", weights, jnp.shape(first), first)
    first, second = (x - jnp.sum(probs * x) / jnp.sum(probs) for x in (first, second))
    return reward_distance(first, second, 2, probs) / 2


def _epic(reward: Array, here: Array, there: Array, overall: Array, discount: Array | float) -> Array:
    return reward + discount * there - here - discount * overall


def _norm(x: Array, order: float, weights: Array | None) -> Array:
    check.require(order in (1, 2, math.inf), "order", order, "1, 2 or infinity")
    weights = jnp.ones_like(x) if weights is None else weights
    check.same_shape(weights=weights, reward=x)
    x, weights = jnp.ravel(x), jnp.ravel(weights)
    if order == 1:
        return jnp.sum(weights * jnp.abs(x))
    if order == 2:
        return safe_norm(jnp.sqrt(weights) * x)
    return jnp.max(jnp.where(weights > 0, jnp.abs(x), 0))


def _sizes(reward: Array) -> tuple[int, int]:
    shape = jnp.shape(reward)
    check.require(len(shape) == 3 and shape[0] == shape[2], "the shape of reward", shape, "[S, A, S]")
    return shape[0], shape[1]


def _weights(name: str, given: Array | None, shape: tuple[int, ...], like: Any) -> Array:
    """The given ones, or uniform."""
    if given is None:
        return jnp.full(shape, 1 / math.prod(shape), jnp.result_type(like))
    check.require(jnp.shape(given) == shape, name, jnp.shape(given), f"of shape {shape}")
    return jnp.asarray(given)
