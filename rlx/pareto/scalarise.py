"""Utilities of value vectors: a number for each vector, given a weight for each objective. Larger is better."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from rlx import check
from rlx.pareto.front import match_objectives
from rlx.types import Array

Kind = Literal["linear", "chebyshev", "smooth_chebyshev", "pbi"]


def scalarise(
    value: Array,
    weight: Array,
    kind: Kind = "linear",
    ideal: Array | None = None,
    *,
    rho: Array | float = 0.0,
    mu: Array | float = 0.05,
    theta: Array | float = 5.0,
) -> Array:
    """The utility of a value vector.

    With `gap_i = w_i (z_i - v_i)`, where `z` is the ideal:

    - "linear": `sum_i w_i v_i`.
    - "chebyshev": `- max_i gap_i - rho sum_i gap_i`.
    - "smooth_chebyshev": `- mu log sum_i exp(gap_i / mu) - rho sum_i gap_i`, from 0 to `mu log m` below "chebyshev".
    - "pbi": `- d1 - theta d2`: `d1` is the length of `z - v` along `w`, `d2` that across it.

    Shapes: `[..., m]` for value, weight and ideal, broadcast -> `[...]`; `rho`, `mu`, `theta` broadcast to the result.
    Differentiated: everything; "chebyshev" has the gradient of its worst objective alone, for which "smooth_chebyshev"
    is the remedy.

    Weights are not negative and not all 0. The ideal must be no worse than any value in any objective (best values
    seen, plus a margin): a value beyond it makes its gap negative, where other libraries take the absolute value.
    `rho > 0` (1e-3 to 1e-2) rules out values that are better in no objective but worse in some; the original
    augmentation does not multiply by the weights. Usual mistakes: any kind but "linear" on objectives of different
    units (normalise them first), an ideal that moves at every step, and a utility of per-step rewards, which is
    neither that of the expected return (`ser_advantage`) nor the expected utility of the return.

    >>> value, weight, ideal = jnp.array([1.0, 2.0]), jnp.array([0.5, 0.5]), jnp.array([3.0, 3.0])
    >>> float(scalarise(value, weight)), float(scalarise(value, weight, "chebyshev", ideal))
    (1.5, -1.0)

    Raises:
      ValueError: for an unknown kind, a kind other than "linear" without an ideal, or another number of objectives in
        `weight` or `ideal` than in `value`.

    Source: Miettinen, "Nonlinear Multiobjective Optimization" (1999); Lin et al., "Smooth Tchebycheff Scalarization for
    Multi-Objective Optimization" (2024); Zhang and Li, "MOEA/D: A Multiobjective Evolutionary Algorithm Based on
    Decomposition" (2007) for "pbi".
    """
    value, weight = jnp.asarray(value), jnp.asarray(weight)
    match_objectives("weight", weight, value)
    if kind == "linear":
        return jnp.sum(weight * value, axis=-1)
    allowed = "'linear', 'chebyshev', 'smooth_chebyshev' or 'pbi'"
    check.require(kind in ("chebyshev", "smooth_chebyshev", "pbi"), "kind", kind, allowed)
    if ideal is None:
        raise ValueError(f"ideal must be an array [..., m] for kind {kind!r}; got None")
    match_objectives("ideal", ideal, value)
    shortfall = jnp.asarray(ideal) - value
    if kind == "pbi":
        direction = weight / jnp.linalg.norm(weight, axis=-1, keepdims=True)
        along = jnp.sum(shortfall * direction, axis=-1)
        return -along - theta * safe_norm(shortfall - along[..., None] * direction)
    gap = weight * shortfall
    if kind == "chebyshev":
        worst = jnp.max(gap, axis=-1)
    else:
        worst = mu * jax.nn.logsumexp(gap / jnp.asarray(mu)[..., None], axis=-1)
    return -worst - rho * jnp.sum(gap, axis=-1)


def safe_norm(x: Array) -> Array:
    """The Euclidean length of `[..., m]`, with gradient 0 where it is 0."""
    squared = jnp.sum(x**2, axis=-1)
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def ser_advantage(advantage: Array, expected: Array, utility: Callable[[Array], Array]) -> Array:
    """The advantage that improves a utility of the *expected* return: `sum_i du/dv_i(J) A_i`.

    The policy gradient of `u(J)` is, by the chain rule, that of `sum_i du/dv_i(J) J_i` with the factors held fixed.

    Shapes: `[..., m]`, `[m]` -> `[...]`. Differentiated: `advantage`; the factors are not.

    Usual mistakes: `u` of the rewards or of each return, which is another objective unless `u` is linear; and `J` from
    few episodes, since a non-linear utility of a noisy mean is biased.

    >>> utility = lambda v: jnp.prod(v)
    >>> ser_advantage(jnp.array([[1.0, -1.0]]), jnp.array([2.0, 3.0]), utility).tolist()
    [1.0]

    Raises:
      ValueError: if `expected` is not a vector with one entry for each objective of `advantage`.

    Source: Roijers et al., "A Survey of Multi-Objective Sequential Decision-Making" (2013) for the criterion.
    """
    advantage, expected = jnp.asarray(advantage), jnp.asarray(expected)
    check.rank("expected", expected, 1)
    match_objectives("expected", expected, advantage)
    return advantage @ jax.lax.stop_gradient(jax.grad(utility)(expected))
