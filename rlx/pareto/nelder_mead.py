"""Nelder and Mead's search for a few numbers that only whole evaluations can judge: thresholds, weights, settings."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array

VERTEX, REFLECTION, EXPANSION, OUTSIDE, INSIDE = range(5)  # what `point` is


class NelderMeadState(NamedTuple):
    """A simplex, and the point whose value it waits for."""

    point: Array  # [N] to be evaluated next
    simplex: Array  # [N + 1, N], best vertex first but for those that are still to be evaluated
    values: Array  # [N + 1], infinite where not evaluated yet
    stage: Array  # int []
    vertex: Array  # int []: which vertex `point` is
    reflected: Array  # []: value of the reflected worst vertex


def nelder_mead_init(simplex: Array) -> NelderMeadState:
    """The start of a search: its `point` is the first vertex of the simplex, and `nelder_mead_update` takes its value.

    Shapes: `[N + 1, N]` -> `NelderMeadState`. Stopped: all. A usual simplex is a guess and the guess moved along each
    coordinate by what would be a clear change of it.

    >>> nelder_mead_init(jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).point.tolist()
    [0.0, 0.0]

    Raises:
      ValueError: unless `simplex` has `N + 1` rows of `N` finite numbers.

    Source: Nelder and Mead, "A Simplex Method for Function Minimization" (1965).
    """
    check.rank("simplex", simplex, 2)
    rows, size = jnp.shape(simplex)
    check.require(rows == size + 1 > 1, "simplex", jnp.shape(simplex), "of shape [N + 1, N]")
    check.in_range("simplex", simplex)
    simplex = jax.lax.stop_gradient(jnp.asarray(simplex))
    simplex = simplex.astype(jnp.result_type(simplex, float))
    unknown = jnp.full(rows, jnp.inf, simplex.dtype)
    start = jnp.zeros((), jnp.int32)
    return NelderMeadState(simplex[0], simplex, unknown, start + VERTEX, start, unknown[0])


def nelder_mead_update(state: NelderMeadState, value: Array | float) -> NelderMeadState:
    """Take the value of `state.point`, to be *minimised*, and name the next point.

        reflection   c + (c - w)       of the worst vertex w at the centre c of the others, if not the worst again
        expansion    c + 2 (c - w)     if the reflection is the best so far: the better of the two is kept
        contraction  c +- (c - w) / 2  if the reflection is not kept: to the better of the two, kept if better
        shrinking    b + (v - b) / 2   of all vertices v to the best one b, if the contraction is not kept

    Shapes: `NelderMeadState`, `[]` -> `NelderMeadState`. Stopped: all. The best vertex is `simplex[values.argmin()]`;
    after the first `N + 1` values `simplex[0]`. The points are those of SciPy's `minimize(method="Nelder-Mead")`.

    Usual mistakes: noisy values, of which the search keeps the luckiest and contracts around it (average, or evaluate
    the best vertex again and put the new value into `values`); more than about ten numbers; and a value that is not a
    number, which never is better: pass infinity where an evaluation fails.

    >>> state = nelder_mead_init(jnp.array([[2.0], [3.0]]))
    >>> for _ in range(4):
    ...     state = nelder_mead_update(state, (state.point[0] - 0.25) ** 2)
    >>> state.simplex[0].tolist(), state.point.tolist()
    ([0.0], [-2.0])

    Source: Nelder and Mead, "A Simplex Method for Function Minimization" (1965), in the variant of Lagarias et al.,
    "Convergence Properties of the Nelder-Mead Simplex Method in Low Dimensions" (1998); Moskovitz et al., "Confronting
    Reward Model Overoptimization with Constrained RLHF" (2024) for thresholds of constraints.
    """
    point, simplex, values, stage, vertex, reflected = state
    value = jax.lax.stop_gradient(jnp.asarray(value, values.dtype))
    last = len(simplex) - 1
    centre, worst = simplex[:-1].mean(0), simplex[-1]
    is_vertex, is_reflection = stage == VERTEX, stage == REFLECTION

    # Which stage comes next; VERTEX with vertex <= last means that evaluations of vertices go on.
    expand = is_reflection & (value < values[0])
    contract = is_reflection & ~(value < values[last - 1]) & ~expand
    outside = contract & (value < values[last])
    shrink = ((stage == OUTSIDE) & ~(value <= reflected)) | ((stage == INSIDE) & ~(value < values[last]))
    accept = ~(is_vertex | expand | contract | shrink)

    back = (stage == EXPANSION) & ~(value < reflected)  # to the reflection
    row = jnp.where(is_vertex, vertex, last)
    new_row = jnp.where(back, 2.0 * centre - worst, point), jnp.where(back, reflected, value)
    placed = simplex.at[row].set(new_row[0]), values.at[row].set(new_row[1])
    simplex, values = (
        jnp.where(is_vertex | accept, new, old) for new, old in zip(placed, (simplex, values), strict=True)
    )
    simplex = jnp.where(shrink, simplex[0] + (simplex - simplex[0]) / 2.0, simplex)
    vertex = jnp.where(is_vertex, vertex + 1, jnp.where(shrink, 1, last + 1))

    complete = accept | (is_vertex & (vertex > last))
    order = jnp.where(complete, jnp.argsort(values, stable=True), jnp.arange(last + 1))
    simplex, values = simplex[order], values[order]
    going_on = (is_vertex & ~complete) | shrink
    stage = jnp.select([going_on, expand, outside, contract], [VERTEX, EXPANSION, OUTSIDE, INSIDE], REFLECTION)

    centre, worst = simplex[:-1].mean(0), simplex[-1]
    along = jnp.array([0.0, 1.0, 2.0, 0.5, -0.5], simplex.dtype)[stage]
    following = jnp.where(stage == VERTEX, simplex[jnp.minimum(vertex, last)], centre + along * (centre - worst))
    reflected = jnp.where(is_reflection, value, reflected)
    return NelderMeadState(following, simplex, values, stage.astype(jnp.int32), vertex, reflected)
