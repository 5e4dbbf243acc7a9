"""Set functions whose gains diminish, as what a memory of visits gains by one more: rewards that depend on the past.

A `SetFunction` knows the value of a set only through its gains, `F(A + x) - F(A)`; what it must remember of `A` is a
pytree of fixed size. The gains of a path are its rewards (`marginal_gains`), they add up to the path's value, and
policy gradients follow from them (SubPO):

    grad E[F] = E[sum_i grad log pi(a_i | s_i) (sum_{j >= i} gain_j - b(past))]

which is `rlx.policy.policy_gradient_loss` of the advantage `rlx.value.returns_to_go(gains, discount=1) - b`. With
`discount=0` it is the greedy variant, which asks of an action only what it gains at once. The rewards depend on all of
the past: a critic that sees only the state may serve as a baseline, not to bootstrap from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check


class SetFunction(NamedTuple):
    """A monotone submodular function of sets of elements `x`, which are integers."""

    init: Callable[[], Any]  # () -> memory of the empty set
    gain: Callable[[Any, jax.Array], jax.Array]  # (memory, x []) -> []
    add: Callable[[Any, jax.Array], Any]  # (memory, x []) -> memory


def coverage(covers: jax.Array, weight: jax.Array | None = None) -> SetFunction:
    """The weight of what is covered: the gain of `x` is `sum_m weight_m covers[x, m] (1 - seen_m)`.

    Shapes: bool `[X, M]`, `[M]` (None: ones); the memory is bool `[M]`. With `covers = eye(X)` it pays for first
    visits, with the one-hot kind of each element for every kind once (items to collect).

    >>> function = coverage(jnp.array([[True, True, False], [False, True, True]]))
    >>> marginal_gains(function, jnp.array([0, 1, 0])).tolist()
    [2.0, 1.0, 0.0]

    Raises:
      ValueError: unless `covers` is a matrix with a column for each weight.

    Source: Krause and Golovin, "Submodular Function Maximization" (2014).
    """
    check.rank("covers", covers, 2)
    covers = jnp.asarray(covers, bool)
    weight = jnp.ones(covers.shape[1]) if weight is None else jnp.asarray(weight)
    check.require(weight.shape == covers.shape[1:], "shape of weight", weight.shape, f"{covers.shape[1:]}")
    return SetFunction(
        lambda: jnp.zeros(covers.shape[1], bool),
        lambda seen, x: jnp.sum(jnp.where(covers[x] & ~seen, weight, 0.0)),
        lambda seen, x: seen | covers[x],
    )


def information(covariance: jax.Array, noise: jax.Array | float = 1.0) -> SetFunction:
    """What noisy measurements tell of a Gaussian field, in nats: `1/2 log det(I + Sigma_AA / noise)`.

    The gain of `x` is `1/2 log(1 + Sigma_xx / noise)` with the posterior covariance, which is the memory `[M, M]`;
    repeated measurements count. For `covariance = Phi Phi^T` and `noise = lam` it is half of `log(1 + b)` with the
    `elliptical_bonus` of the rows of `Phi`: the D-optimal design's gain.

    Shapes: `[M, M]`, a scalar, the variance of a measurement.

    >>> [round(float(g), 4) for g in marginal_gains(information(jnp.eye(2)), jnp.array([0, 0, 1]))]
    [0.3466, 0.2027, 0.3466]

    Raises:
      ValueError: unless the covariance is a square matrix, and the noise positive.

    Source: Krause, Singh and Guestrin, "Near-Optimal Sensor Placements in Gaussian Processes" (2008).
    """
    check.rank("covariance", covariance, 2)
    check.require(jnp.shape(covariance)[0] == jnp.shape(covariance)[1], "covariance", jnp.shape(covariance), "square")
    check.positive("noise", noise)

    def add(posterior: jax.Array, x: jax.Array) -> jax.Array:
        column = posterior[:, x]
        return posterior - column[:, None] * column / (column[x] + noise)

    return SetFunction(
        lambda: jnp.asarray(covariance),
        lambda posterior, x: 0.5 * jnp.log1p(jnp.maximum(posterior[x, x], 0.0) / noise),
        add,
    )


def facility_location(similarity: jax.Array) -> SetFunction:
    """How well a set stands for all: `sum_m max_{x in A} similarity[x, m]`, from 0 for the empty one.

    The gain of `x` is `sum_m max(similarity[x, m] - best_m, 0)`; the memory is `best [M]`.

    Shapes: `[X, M]`, not negative.

    >>> marginal_gains(facility_location(jnp.array([[1.0, 0.0], [0.5, 0.5]])), jnp.array([1, 0])).tolist()
    [1.0, 0.5]

    Raises:
      ValueError: unless `similarity` is a matrix without negative entries.

    Source: Krause and Golovin, "Submodular Function Maximization" (2014).
    """
    check.rank("similarity", similarity, 2)
    check.in_range("similarity", similarity, 0.0)
    similarity = jnp.asarray(similarity)
    return SetFunction(
        lambda: jnp.zeros(similarity.shape[1], similarity.dtype),
        lambda best, x: jnp.sum(jnp.maximum(similarity[x] - best, 0.0)),
        lambda best, x: jnp.maximum(best, similarity[x]),
    )


def entropy_reduction(prior: jax.Array, answer: jax.Array) -> SetFunction:
    """What the answers to a set of questions are expected to tell of a hidden thing, in nats: their joint entropy.

    `answer[x, h]` is what question x has as its answer if the hidden thing is h. Answers are certain, so what is left
    of the entropy of h is `H(prior) - F`. The memory says which h the answers so far do not tell apart, bool `[H, H]`.

    Shapes: `[H]`, int `[X, H]`.

    >>> function = entropy_reduction(jnp.full(4, 0.25), jnp.array([[0, 0, 1, 1], [0, 1, 0, 1]]))
    >>> [round(float(g), 4) for g in marginal_gains(function, jnp.array([0, 0, 1]))]
    [0.6931, 0.0, 0.6931]

    Raises:
      ValueError: unless the prior is a distribution over what the answers have columns for.

    Source: Lindley, "On a Measure of the Information Provided by an Experiment" (1956).
    """
    check.rank("answer", answer, 2)
    check.require(
        jnp.shape(prior) == jnp.shape(answer)[1:], "shape of prior", jnp.shape(prior), str(jnp.shape(answer)[1:])
    )
    check.in_range("prior", prior, 0.0, 1.0)
    prior, answer = jnp.asarray(prior), jnp.asarray(answer)

    def refine(alike: jax.Array, x: jax.Array) -> jax.Array:
        return alike & (answer[x][:, None] == answer[x])

    def entropy(alike: jax.Array) -> jax.Array:
        group = jnp.sum(jnp.where(alike, prior, 0.0), axis=1)  # the probability of all that is like h
        return -jnp.sum(prior * jnp.log(jnp.where(prior > 0, group, 1.0)))

    return SetFunction(
        lambda: jnp.ones((prior.size, prior.size), bool),
        lambda alike, x: entropy(refine(alike, x)) - entropy(alike),
        refine,
    )


def marginal_gains(function: SetFunction, xs: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """What each element adds to those before it, `F(x_0 .. x_t) - F(x_0 .. x_{t-1})`: rewards that sum to `F`.

    Shapes: int `[T]`, bool `[T]` (None: all valid) -> `[T]`, 0 where not valid. Differentiated: nothing. For `[T, B]`
    take `jax.vmap(..., 1, 1)`. Where the reward is for the states that actions lead to, the first state goes in too and
    its gain is dropped.

    The module's head says how policies learn from them. Usual mistake: `F({x_t})` as the reward, which pays for the
    same place again and again.

    >>> marginal_gains(coverage(jnp.eye(3)), jnp.array([2, 2, 0]), jnp.array([True, True, False])).tolist()
    [1.0, 0.0, 0.0]

    Raises:
      ValueError: unless `xs` is a vector, and the mask has its shape.

    Source: Prajapat et al., "Submodular Reinforcement Learning" (2024).
    """
    check.rank("xs", xs, 1)
    mask = jnp.ones(jnp.shape(xs), bool) if mask is None else mask
    check.same_shape(xs=xs, mask=mask)

    def step(memory: Any, element: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        x, valid = element
        gain = jnp.where(valid, function.gain(memory, x), 0.0)
        return jax.tree.map(lambda new, old: jnp.where(valid, new, old), function.add(memory, x), memory), gain

    return jax.lax.stop_gradient(jax.lax.scan(step, function.init(), (xs, mask))[1])
