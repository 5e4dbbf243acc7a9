"""Prediction-guided learning: which policy to train under which weights, by what similar training has brought."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.pareto.front import as_front, match_objectives, nondominated_mask
from rlx.pareto.indicators import hypervolume, sparsity
from rlx.types import Array, Front


class ImprovementModel(NamedTuple):
    """The curve `height tanh(rate (w - centre) / 2) + offset` of an objective's gain over its weight w."""

    height: Array
    rate: Array
    centre: Array
    offset: Array


def predict_improvement(model: ImprovementModel, weight: Array) -> Array:
    """The gain that the model expects under a weight, `A (exp(a (w - b)) - 1) / (exp(a (w - b)) + 1) + c`.

    Shapes: fields `[]` or any that broadcast, `[...]` -> `[...]`. Differentiated: everything.

    >>> float(predict_improvement(ImprovementModel(2.0, 1.0, 0.5, 1.0), jnp.array(0.5)))
    1.0

    Source: Xu et al., "Prediction-Guided Multi-Objective Reinforcement Learning for Continuous Robot Control" (2020).
    """
    return model.height * jnp.tanh(model.rate * (weight - model.centre) / 2.0) + model.offset


def fit_improvement(weight: Array, gain: Array, count: Array, num_iterations: int = 30) -> ImprovementModel:
    """The model of `predict_improvement` that fits records of training best, with outliers counting less.

        min  sum_h count_h 2 (sqrt(1 + r_h^2) - 1) + 1e-3 |parameters - start|^2,   r_h = (prediction_h - gain_h) / size

    `size` is the root mean square of the gains. Height and rate are positive: an objective gains with its own weight.
    Minimised by Levenberg-Marquardt steps, a fixed number of them.

    Shapes: `[H]`, `[H]`, `[H]` (how much a record counts; 0 for none) -> fields `[]`. Differentiated: nothing. Without
    any record the model predicts 0.

    Usual mistake: records of policies far away on the front, whose gains say little about this one.

    >>> w = jnp.linspace(0.0, 1.0, 9)
    >>> model = fit_improvement(w, 3.0 * jnp.tanh(2.0 * (w - 0.4)) + 1.0, jnp.ones(9))
    >>> round(float(predict_improvement(model, 0.4)), 1)
    1.0

    Raises:
      ValueError: for shapes that differ, or fewer than one iteration.

    Source: Xu et al., "Prediction-Guided Multi-Objective Reinforcement Learning for Continuous Robot Control" (2020);
    the penalty, which makes the fit of few records unique, is ours.
    """
    check.rank("weight", weight, 1)
    check.same_shape(weight=weight, gain=gain, count=count)
    check.count("num_iterations", num_iterations)
    kept = jnp.result_type(weight, gain, float)
    weight, gain, count = (jnp.asarray(x, jnp.promote_types(kept, jnp.float32)) for x in (weight, gain, count))
    total = jnp.maximum(jnp.sum(count), 1e-12)
    size = jnp.sqrt(jnp.sum(count * jnp.square(gain)) / total)
    size = jnp.where(size > 0, size, 1.0)
    start = jnp.array([0.0, 1.0, 0.5, 0.0], gain.dtype)  # log height and log rate

    def model_of(x: Array) -> ImprovementModel:
        return ImprovementModel(jnp.exp(x[0]), jnp.exp(x[1]), x[2], x[3])

    def residual(x: Array) -> Array:
        return predict_improvement(model_of(x), weight) - gain / size

    def loss(x: Array) -> Array:
        robust = 2.0 * (jnp.sqrt(1.0 + jnp.square(residual(x))) - 1.0)
        return jnp.sum(count * robust) + 1e-3 * jnp.sum(jnp.square(x - start))

    def step(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        x, damping = carry
        r, jacobian = residual(x), jax.jacfwd(residual)(x)
        importance = count / jnp.sqrt(1.0 + jnp.square(r))
        curvature = jacobian.T @ (importance[:, None] * jacobian) + 1e-3 * jnp.eye(4)
        slope = jacobian.T @ (importance * r) + 1e-3 * (x - start)
        # bounds keep the exponentials finite; the curve is flat or a step well before them
        moved = x - jnp.linalg.solve(curvature + damping * jnp.diag(jnp.diag(curvature)), slope)
        moved = jnp.clip(moved, jnp.array([-10.0, -5.0, -5.0, -20.0]), jnp.array([5.0, 5.0, 5.0, 20.0]))
        better = loss(moved) < loss(x)
        return jnp.where(better, moved, x), damping * jnp.where(better, 0.3, 4.0)

    x, _ = jax.lax.fori_loop(0, num_iterations, step, (start, jnp.asarray(0.1, gain.dtype)))
    height, rate, centre, offset = model_of(x)
    known = jnp.sum(count) > 0
    model = ImprovementModel(jnp.where(known, size * height, 0.0), rate, centre, jnp.where(known, size * offset, 0.0))
    return jax.lax.stop_gradient(jax.tree.map(lambda x: x.astype(kept), model))


def select_by_prediction(
    front: Front, predicted: Array, valid: Array, num: int, ref: Array, spread: Array | float = 0.0
) -> Array:
    """`num` of the candidates, greedily: each makes the predicted front with those before it as good as it can be.

        max over candidates c of  HV(front + chosen + c) - spread * sparsity(the non-dominated of them)

    A candidate is chosen once, as long as there are others; among equals the first.

    Shapes: `Front` of C rows, `[Q, m]`, bool `[Q]`, `[m]` -> int `[num]`. Differentiated: nothing. O(num Q) exact
    hypervolumes of C + num points.

    >>> front = Front(jnp.array([[4.0, 1.0], [1.0, 4.0]]), jnp.ones(2, bool))
    >>> select_by_prediction(front, jnp.array([[4.1, 1.0], [3.0, 3.0]]), jnp.ones(2, bool), 1, jnp.zeros(2)).tolist()
    [1]

    Raises:
      ValueError: for shapes that do not fit, or a `num` that is no count of the candidates.

    Source: Xu et al., "Prediction-Guided Multi-Objective Reinforcement Learning for Continuous Robot Control" (2020).
    """
    front, candidates = as_front(*front, name="front"), as_front(predicted, valid, name="predicted")
    match_objectives("predicted", predicted, front.points)
    check.count("num", num)
    amount = len(candidates.points)
    check.require(num <= amount, "num", num, f"at most {amount}, the number of candidates")
    room = Front(jnp.zeros((num, front.points.shape[1]), front.points.dtype), jnp.zeros(num, bool))
    current = Front(*(jnp.concatenate(pair) for pair in zip(front, room, strict=True)))

    def choose(carry: tuple[Front, Array], slot: Array) -> tuple[tuple[Front, Array], Array]:
        current, left = carry

        def worth(candidate: Array) -> Array:
            points, exists = current.points.at[slot].set(candidate), current.valid.at[slot].set(True)
            best = nondominated_mask(points, exists)
            return hypervolume(points, ref, best) - spread * sparsity(points, best)

        score = jax.vmap(worth)(candidates.points)
        rank = jnp.where(left, score, jnp.where(candidates.valid, jnp.min(score) - 1.0, -jnp.inf))
        chosen = jnp.argmax(rank)
        current = Front(
            current.points.at[slot].set(candidates.points[chosen]), current.valid.at[slot].set(candidates.valid[chosen])
        )
        return (current, left.at[chosen].set(False)), chosen

    slots = jnp.arange(num) + len(front.points)
    return jax.lax.stop_gradient(jax.lax.scan(choose, (current, candidates.valid), slots)[1])


def bin_elites(values: Array, valid: Array, directions: Array) -> tuple[Array, Array]:
    """For each direction the longest of the vectors that lie nearest to it: `(index, found)`.

    A population kept so has policies all along the front, some of which others dominate. Values are measured from a
    reference point that they exceed, in units that make the objectives comparable.

    Shapes: `[N, m]`, bool `[N]`, `[Q, m]` -> int `[Q]`, bool `[Q]`. Differentiated: nothing. Nearest is by angle.

    >>> values = jnp.array([[2.0, 0.1], [3.0, 0.1], [0.0, 1.0]])
    >>> [x.tolist() for x in bin_elites(values, jnp.ones(3, bool), jnp.eye(2))]
    [[1, 2], [True, True]]

    Raises:
      ValueError: for shapes that do not fit.

    Source: Xu et al., "Prediction-Guided Multi-Objective Reinforcement Learning for Continuous Robot Control" (2020),
    which keeps several in each bin.
    """
    front = as_front(values, valid, name="values")
    match_objectives("directions", directions, front.points)
    unit = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    nearest = jnp.argmax(front.points @ unit.T, axis=1)
    length = jnp.linalg.norm(front.points, axis=1)
    mine = front.valid[:, None] & (nearest[:, None] == jnp.arange(len(unit)))
    index = jnp.argmax(jnp.where(mine, length[:, None], -jnp.inf), axis=0)
    return jax.lax.stop_gradient((index, jnp.any(mine, axis=0)))
