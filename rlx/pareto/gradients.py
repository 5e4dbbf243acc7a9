"""How to add `K` gradients up: weights `[K]` from their Gram matrix `M = G G^T` `[K, K]`, the step is `G^T weights`.

The rows of `G` are the objectives' gradients, all ascent or all descent: `M` is the same. With sharded *parameters* sum
the shards' Gram matrices; with sharded *data* average the gradients first: a mean of Gram matrices, like any from noisy
gradients, has the noise's covariance on its diagonal, and min-norm rules then follow noise. Weights are constants to
the gradient. Each rule is exact up to rounding, which a Gram matrix carries into lengths as a square root: in float32
no direction is known better than to 3e-4 of the longest gradient it cancels. On an accelerator ask for full precision
where the Gram matrix is made (`jax.default_matmul_precision("highest")`); inside, these functions do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array

ITERATIONS = 30  # of the interior-point method; about 10 reach float32's limit, ill-posed problems take more
EXACT = jax.default_matmul_precision("highest")  # accelerators multiply in fewer digits unless told
NASH_RIDGE = 1e-6  # relative to each gradient's squared norm; bounds the weights where no Nash solution exists


class _Iterate(NamedTuple):
    """Primal and dual variables of `simplex_program`, scaled; slacks and multipliers are positive."""

    x: Array  # [K]
    slack: Array  # [K + N], of `x >= 0` and of the rows
    multiplier: Array  # [K + N]
    level: Array  # [], the multiplier of the simplex's equation


def simplex_program(quadratic: Array, linear: Array, rows: Array | None = None, bounds: Array | None = None) -> Array:
    """Minimise a convex quadratic (or linear) function over the simplex, under linear inequalities.

        min_a  a^T Q a / 2 + q^T a    subject to  a >= 0,  sum a = 1,  rows a >= bounds

    A primal-dual interior-point method with a fixed limit of 30 iterations, for any `K` and for singular `Q` and
    repeated or dependent rows. Where several points are optimal it goes to the middle of them: equal objectives get
    equal weights. In float32 the value is within 2e-6 of the minimum, relative to the largest entry of `Q` and `q`
    (2e-5 where no point satisfies the rows strictly), and a row is violated by at most 2e-6 of its largest entry. With
    `linear = 0` the value is also accurate relative to the smallest diagonal entry, so that gradients may differ by
    factors of 1e4 in length.

    Shapes: `Q` `[K, K]` symmetric and positive semi-definite, `q` `[K]`, rows `[N, K]`, bounds `[N]` (a row whose bound
    is `-inf` is dropped) -> `[K]`. Stopped: all. Usual mistake: an infeasible program, which is not detected: the
    result then violates a row.

    >>> [round(float(a), 4) for a in simplex_program(jnp.diag(jnp.array([1.0, 3.0])), jnp.zeros(2))]
    [0.75, 0.25]
    >>> least = dict(rows=jnp.array([[0.0, 1.0]]), bounds=jnp.array([0.4]))
    >>> [round(float(a), 4) for a in simplex_program(jnp.zeros((2, 2)), jnp.array([-1.0, 0.0]), **least)]
    [0.6, 0.4]

    Raises:
      ValueError: for arrays that do not fit each other, or numbers that are not finite (bounds apart).

    Source: Mehrotra, "On the Implementation of a Primal-Dual Interior Point Method" (1992).
    """
    quadratic, dtype = _read_gram(quadratic, "quadratic")
    size = quadratic.shape[0]
    rows = jnp.zeros((0, size)) if rows is None else rows
    bounds = jnp.zeros(0) if bounds is None else bounds
    check.require(jnp.shape(linear) == (size,), "linear", jnp.shape(linear), f"of shape ({size},), like `quadratic`")
    fits = jnp.shape(rows) == (*jnp.shape(bounds), size)
    check.require(fits, "rows and bounds", (jnp.shape(rows), jnp.shape(bounds)), f"of shapes [N, {size}] and [N]")
    check.in_range("linear", linear)
    check.in_range("rows", rows)
    linear, rows, bounds = (jax.lax.stop_gradient(jnp.asarray(x, quadratic.dtype)) for x in (linear, rows, bounds))

    # Without a linear term a = unit * x makes Q's diagonal constant. Objective and rows get largest entries of one.
    diagonal = jnp.where(jnp.any(linear != 0), 1.0, jnp.diag(quadratic))
    diagonal = _nonzero(jnp.maximum(diagonal, 1e-12 * diagonal.max()))
    unit = jnp.sqrt(diagonal.min() / diagonal)
    quadratic, linear, rows = quadratic * unit[:, None] * unit, linear * unit, rows * unit
    scale = _nonzero(jnp.maximum(jnp.abs(quadratic).max(), jnp.abs(linear).max()))
    quadratic, linear = quadratic / scale, linear / scale
    kept = bounds > -jnp.inf
    rows, bounds = jnp.where(kept[:, None], rows, 0.0), jnp.where(kept, bounds, -1.0)
    scale = _nonzero(jnp.abs(rows).max(1, initial=0.0))
    weights = unit * _interior_point(quadratic, linear, rows / scale[:, None], bounds / scale, unit)
    return (weights / weights.sum()).astype(dtype)


def min_norm_weights(gram: Array) -> Array:
    """MGDA: the shortest vector in the convex hull of the gradients, `argmin_{a in simplex} a^T M a / 2`.

    No objective gets worse along `d = G^T a`, as `d . g_i >= ||d||^2` for all; `d = 0` exactly where no common
    improvement exists. The weights of orthogonal gradients are as `1 / ||g_i||^2`.

    Shapes: `[K, K]` -> `[K]`. Stopped: all. The tolerance is that of `simplex_program`.

    Usual mistakes: to take a noisy Gram matrix (the shortest gradient wins, which is the one with the weakest signal:
    average over time), and surprise that one zero gradient gets all the weight: its objective is at an optimum.

    >>> [round(float(a), 4) for a in min_norm_weights(jnp.diag(jnp.array([1.0, 4.0])))]
    [0.8, 0.2]

    Raises:
      ValueError: unless `gram` is square and finite.

    Source: Désidéri, "Multiple-Gradient Descent Algorithm (MGDA) for Multiobjective Optimization" (2012).
    """
    gram, dtype = _read_gram(gram)
    return simplex_program(gram, jnp.zeros(gram.shape[0])).astype(dtype)


@EXACT
def pcgrad_weights(key: Array, gram: Array) -> Array:
    """PCGrad: each gradient loses its components against the others, in random order; their *mean* is the step.

        for i: p_i = g_i;  for j != i in random order: if p_i . g_j < 0:  p_i -= (p_i . g_j) / ||g_j||^2 g_j

    Shapes: key, `[K, K]` -> `[K]`. Stopped: all. For `K <= 2` the key makes no difference.

    The paper and other libraries take the sum of the `p_i`, which is `K` times this. A projection takes the *original*
    `g_j`, so with `K > 2` the step may still harm some objective.

    >>> gram = jnp.array([[1.0, -1.0], [-1.0, 4.0]])
    >>> pcgrad_weights(jax.random.key(0), gram).tolist()
    [1.0, 0.625]

    Raises:
      ValueError: unless `gram` is square and finite.

    Source: Yu et al., "Gradient Surgery for Multi-Task Learning" (2020).
    """
    gram, dtype = _read_gram(gram)
    size = gram.shape[0]
    norms = _nonzero(jnp.diag(gram))

    def projected(key: Array, i: Array) -> Array:
        def project(weights: Array, j: Array) -> tuple[Array, None]:
            conflict = jnp.where(i == j, 0.0, jnp.minimum(weights @ gram[:, j], 0.0))
            return weights.at[j].add(-conflict / norms[j]), None

        order = jax.random.permutation(key, size)
        return jax.lax.scan(project, jax.nn.one_hot(i, size, dtype=gram.dtype), order)[0]

    return jax.vmap(projected)(jax.random.split(key, size), jnp.arange(size)).mean(0).astype(dtype)


@EXACT
def cagrad_weights(gram: Array, radius: Array | float = 0.5) -> Array:
    """CAGrad: the direction near the mean gradient along which the worst objective improves most.

        max_d min_i g_i . d   subject to  ||d - g_0|| <= radius ||g_0||,   g_0 = mean_i g_i
        d = g_0 + radius ||g_0|| g_w / ||g_w||,   w = argmin_{w in simplex} g_w . g_0 + radius ||g_0|| ||g_w||

    Shapes: `[K, K]`, scalar -> `[K]`, which sum to more than one. Stopped: all.

    `radius = 0` is the mean, `radius < 1` converges to a stationary point of the mean, a large one turns to the
    direction of `min_norm_weights`. `w` is found as the min-norm point of `g_i + s g_0` with `s = ||g_w|| / (radius
    ||g_0||)`, by bisection over `s`; `||g_w||` counts as at least 3e-4 of the longest gradient. The authors' code
    divides the result by `1 + radius^2`, other libraries normalise `gram`: compare directions.

    >>> [round(float(a), 4) for a in cagrad_weights(jnp.array([[1.0, 0.0], [0.0, 1.0]]), 0.5)]
    [0.75, 0.75]

    Raises:
      ValueError: unless `gram` is square and finite, for a radius that is negative or infinite.

    Source: Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning" (2021).
    """
    check.in_range("radius", radius, 0.0)
    gram, dtype = _read_gram(gram)
    size = gram.shape[0]
    with_mean = gram.mean(1)
    mean_square = jnp.maximum(with_mean.mean(), 0.0)
    reach = jax.lax.stop_gradient(jnp.asarray(radius, gram.dtype)) * jnp.sqrt(mean_square)
    longest = _nonzero(jnp.sqrt(jnp.diag(gram).max()))

    def length_at(norm: Array) -> tuple[Array, Array]:
        """`w` and `||g_w||` under the assumption that `||g_w|| = norm`, in the scale of the longest gradient."""
        shift = norm / _nonzero(reach / longest)
        shifted = (gram + shift * (with_mean[:, None] + with_mean) + shift**2 * mean_square) / (1.0 + shift) ** 2
        weights = simplex_program(shifted, jnp.zeros(size))
        return weights, jnp.sqrt(jnp.maximum(weights @ gram @ weights, 0.0)) / longest

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = jnp.sqrt(low * high)
        above = length_at(middle)[1] > middle
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    ends = jnp.full((), 3e-4, gram.dtype), jnp.ones((), gram.dtype)
    _, norm = jax.lax.fori_loop(0, 20, halve, ends)
    weights, _ = length_at(norm)
    return (1.0 / size + reach / (norm * longest) * weights).astype(dtype)


def nash_mtl_weights(gram: Array) -> Array:
    """Nash-MTL: the Nash bargaining solution, in which each objective's relative gain is the same.

        a > 0  with  M a = 1 / a  (elementwise):   d = G^T a,   a_i (g_i . d) = 1,   ||d||^2 = K

    Shapes: `[K, K]` -> `[K]`. Stopped: all. Orthogonal gradients get `a_i = 1 / ||g_i||`.

    The step is invariant to the gradients' lengths, so rewards need no common scale. But its own length is `sqrt(K)`
    everywhere: it does not shrink near an optimum, so clip it or let the learning rate fall. A zero gradient gets
    weight zero and counts as absent. Where no common improvement exists there is no solution: a ridge of 1e-6 of the
    squared norms then bounds the weights by `1e3 sqrt(K) / ||g_i||`, and the step is shorter.

    >>> [round(float(a), 4) for a in nash_mtl_weights(jnp.diag(jnp.array([1.0, 4.0])))]
    [1.0, 0.5]

    Raises:
      ValueError: unless `gram` is square and finite.

    Source: Navon et al., "Multi-Task Learning as a Bargaining Game" (2022).
    """
    gram, dtype = _read_gram(gram)
    present = jnp.diag(gram) > 0
    norms = jnp.sqrt(_nonzero(jnp.diag(gram)))
    cosines = gram / norms[:, None] / norms
    cosines = jnp.where(jnp.eye(gram.shape[0], dtype=bool), 1.0 + NASH_RIDGE, cosines)

    # Newton's method on the self-concordant y^T C y / 2 - sum log y, with relative steps: y <- y (1 + u).
    def newton(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        i, y, _ = carry
        scaled = y[:, None] * cosines * y
        change = jnp.linalg.solve(scaled + jnp.eye(y.size), 1.0 - scaled.sum(1))
        decrement = jnp.linalg.norm(change)
        return i + 1, y * (1.0 + change / jnp.where(decrement < 0.25, 1.0, 1.0 + decrement)), decrement

    start = jnp.zeros((), jnp.int32), jnp.ones_like(norms), jnp.full((), jnp.inf, gram.dtype)
    tolerance = 4.0 * jnp.finfo(gram.dtype).eps
    _, y, _ = jax.lax.while_loop(lambda carry: (carry[0] < 60) & ~(carry[2] < tolerance), newton, start)
    return jnp.where(present, y / norms, 0.0).astype(dtype)


@EXACT
def guided_weights(
    gram: Array,
    guidance: Array,
    balance: Array | bool,
    anchor: Array | int | None = None,
    *,
    relax: bool = False,
) -> Array:
    """ParetoDA's and EPO's linear program: the mixture that follows a guide, or that improves all objectives.

    With `c = G g`, the gradients' inner products with a guiding gradient `g` (of a validation loss, of unevenness):

        balance:  max a . c          subject to  (M a)_i >= c_i where c_i <= 0,  (M a)_anchor >= 0
                                     (all M a >= 0 where no c_i is positive)
        descent:  max sum_i (M a)_i  subject to  M a >= 0,  a . c >= min(0, max_i c_i)   (not with `relax`)

    `a` in the simplex. While balancing an objective may get worse, in descent none does. Balance is always feasible
    (`min_norm_weights` is), descent without its last row too; where that row cannot hold it is dropped.

    Shapes: `[K, K]`, `[K]`, boolean and index scalars (may be traced) -> `[K]`. Stopped: all. Each row holds up to
    2e-6 of its largest entry.

    Args:
      anchor: the objective that must not get worse while balancing; the one of the largest `c_i` by default.

    Usual mistakes: gradients of heads that not all objectives share, and a step without the factor `K` that the
    authors put before `G^T a`.

    >>> gram = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> [round(float(a), 4) for a in guided_weights(gram, jnp.array([1.0, 0.5]), True)]
    [1.0, 0.0]

    Raises:
      ValueError: unless `gram` is square and finite and `guidance` a finite vector of its size.

    Source: Lv et al., "Pareto Domain Adaptation" (2021); Mahapatra and Rajan, "Multi-Task Learning with User
    Preferences: Gradient Descent with Controlled Ascent in Pareto Optimization" (2020).
    """
    gram, dtype = _read_gram(gram)
    size = gram.shape[0]
    check.require(jnp.shape(guidance) == (size,), "guidance", jnp.shape(guidance), f"of shape ({size},), like `gram`")
    check.in_range("guidance", guidance)
    guidance = jax.lax.stop_gradient(jnp.asarray(guidance, gram.dtype))
    anchor = guidance.argmax() if anchor is None else anchor
    kept = jnp.where(guidance > 0, -jnp.inf, guidance).at[anchor].set(0.0)
    bounds = jnp.where(jnp.asarray(balance) & jnp.any(guidance > 0), kept, 0.0)
    objective = jnp.where(balance, guidance, gram.sum(0))
    flat = jnp.zeros_like(gram)
    if relax:
        return simplex_program(flat, -objective, gram, bounds).astype(dtype)
    attainable = simplex_program(flat, -guidance, gram, jnp.zeros(size)) @ guidance
    last = jnp.minimum(guidance.max(), 0.0)
    dropped = jnp.asarray(balance) | (attainable < last - 1e-5 * jnp.abs(guidance).max())
    bounds = jnp.append(bounds, jnp.where(dropped, -jnp.inf, jnp.minimum(last, attainable)))
    return simplex_program(flat, -objective, jnp.concatenate([gram, guidance[None]]), bounds).astype(dtype)


@EXACT
def epo_weights(
    gram: Array, losses: Array, preference: Array, tolerance: Array | float = 1e-4, *, relax: bool = False
) -> Array:
    """EPO: towards the Pareto-optimal point whose losses satisfy `preference_1 L_1 = ... = preference_K L_K`.

    `guided_weights` with the gradient of the unevenness `mu = KL(p || uniform)`, `p = r L / sum(r L)`, as the guide:

        c = M b,   b_i = r_i (log(K p_i) - mu),   balance while mu > tolerance,   anchor = argmax r L

    Shapes: `[K, K]` of the losses' gradients, `[K]`, `[K]`, scalar -> `[K]`. Stopped: all. Losses are not negative, a
    large preference asks for a small loss. Usual mistake: returns instead of losses; subtract them from an upper bound.

    >>> [round(float(a), 4) for a in epo_weights(jnp.eye(2), jnp.array([3.0, 1.0]), jnp.ones(2))]
    [1.0, 0.0]

    Raises:
      ValueError: unless `gram` is square and finite, losses are vectors of its size and not negative, preferences
        positive, the tolerance not negative.

    Source: Mahapatra and Rajan, "Multi-Task Learning with User Preferences: Gradient Descent with Controlled Ascent in
    Pareto Optimization" (2020).
    """
    matrix, dtype = _read_gram(gram)
    size = matrix.shape[0]
    for name, value in (("losses", losses), ("preference", preference)):
        check.require(jnp.shape(value) == (size,), name, jnp.shape(value), f"of shape ({size},), like `gram`")
    check.in_range("losses", losses, 0.0)
    check.positive("preference", preference)
    check.in_range("tolerance", tolerance, 0.0)
    relative = jnp.asarray(preference * losses)
    total = relative.sum()
    share = jnp.maximum(jnp.where(total > 0, relative / _nonzero(total), 1.0 / size), 1e-12)
    excess = jnp.log(size * share)
    unevenness = share @ excess
    guidance = matrix @ (preference * (excess - unevenness))
    return guided_weights(matrix, guidance, unevenness > tolerance, relative.argmax(), relax=relax).astype(dtype)


def gradnorm_update(
    weights: Array,
    norms: Array,
    losses: Array,
    initial_losses: Array,
    alpha: Array | float = 1.5,
    learning_rate: Array | float = 0.025,
    *,
    floor: float = 1e-3,
) -> Array:
    """GradNorm: one step towards weighted gradients whose norms fit the objectives' progress; the weights sum to `K`.

        target_i = mean_j(w_j n_j) (r_i / mean_j r_j)^alpha,   r_i = L_i / L_i at the start
        w_i <- max(floor, w_i - lr n_i sign(w_i n_i - target_i)),   then w <- K w / sum w

    The step is on `sum_i |w_i n_i - target_i|` with the targets held. Objectives that lag behind get larger targets;
    with `alpha = 0` all the norms become equal.

    Shapes: all `[K]`; scalars. Stopped: all. `norms` are those of the *unweighted* losses, `sqrt(diag M)`.

    Usual mistakes: losses of either sign, as surrogates of policy gradients have (`r_i` means nothing then), and norms
    that already contain the weights. The step does not shrink: the weights end in a band as wide as `lr n_i`.

    >>> one = jnp.ones(2)
    >>> [round(float(w), 4) for w in gradnorm_update(one, jnp.array([1.0, 3.0]), one, one, 1.5, 0.1)]
    [1.2222, 0.7778]

    Raises:
      ValueError: for shapes that differ, initial losses that are not positive, negative losses, norms or learning rate.

    Source: Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks"
    (2018).
    """
    check.rank("weights", weights, 1)
    check.same_shape(weights=weights, norms=norms, losses=losses, initial_losses=initial_losses)
    check.positive("initial_losses", initial_losses)
    for name, value in (("losses", losses), ("norms", norms), ("learning_rate", learning_rate), ("floor", floor)):
        check.in_range(name, value, 0.0)
    rate = jnp.asarray(losses / initial_losses)
    weighted = jnp.asarray(weights * norms)
    target = weighted.mean() * (rate / _nonzero(rate.mean())) ** alpha
    weights = jnp.maximum(weights - learning_rate * norms * jnp.sign(weighted - target), floor)
    return jax.lax.stop_gradient(weights.size * weights / weights.sum())


def _read_gram(gram: Array, name: str = "gram") -> tuple[Array, Any]:
    """The matrix as a constant of at least 32 bits, and the type that the caller gave."""
    shape = jnp.shape(gram)
    check.require(len(shape) == 2 and shape[0] == shape[1] > 0, name, shape, "a square matrix [K, K]")
    check.in_range(name, gram)
    gram = jax.lax.stop_gradient(jnp.asarray(gram))
    return gram.astype(jnp.promote_types(gram.dtype, jnp.float32)), gram.dtype


@jax.jit
@EXACT
def _interior_point(quadratic: Array, linear: Array, rows: Array, bounds: Array, unit: Array) -> Array:
    """`argmin_x x^T Q x / 2 + q^T x` subject to `x >= 0`, `unit x = 1`, `rows x >= bounds`; not a number on failure."""
    size = unit.size
    number = bounds.shape[0]

    def residuals(at: _Iterate) -> tuple[Array, Array]:
        primal = jnp.concatenate([at.x, rows @ at.x - bounds]) - at.slack
        dual = quadratic @ at.x + linear - at.multiplier[:size] - at.multiplier[size:] @ rows - at.level * unit
        return primal, dual

    def error(at: _Iterate) -> Array:
        primal, dual = residuals(at)
        return jnp.maximum(jnp.maximum(jnp.abs(primal).max(), jnp.abs(dual).max()), jnp.mean(at.slack * at.multiplier))

    def iterate(carry: tuple[Array, _Iterate, _Iterate, Array]) -> tuple[Array, _Iterate, _Iterate, Array]:
        i, at, best, least = carry
        primal, dual = residuals(at)
        ratio = at.multiplier / at.slack
        hessian = quadratic + jnp.diag(ratio[:size])
        matrix = jnp.block(
            [
                [hessian, -rows.T, -unit[:, None]],
                [rows, jnp.diag(1.0 / ratio[size:]), jnp.zeros((number, 1))],
                [unit[None], jnp.zeros((1, number + 1))],
            ]
        )
        balance = jnp.concatenate([1.0 / jnp.sqrt(jnp.diag(hessian)), jnp.ones(number + 1)])
        factors = jax.scipy.linalg.lu_factor(matrix * balance[:, None] * balance)

        def newton(excess: Array) -> _Iterate:
            """The step that takes `excess` off the products of slacks and multipliers, and the residuals to zero."""
            wanted = -excess / at.slack - ratio * primal
            right = [
                wanted[:size] - dual,
                -primal[size:] - excess[size:] / at.multiplier[size:],
                1.0 - unit[None] @ at.x,
            ]
            step = balance * jax.scipy.linalg.lu_solve(factors, balance * jnp.concatenate(right))
            slack = jnp.concatenate([step[:size], rows @ step[:size]]) + primal
            first = -excess[:size] / at.slack[:size] - ratio[:size] * slack[:size]
            return _Iterate(step[:size], slack, jnp.concatenate([first, step[size:-1]]), step[-1])

        product = at.slack * at.multiplier
        affine = newton(product)
        length = _longest_step(at, affine, 1.0)
        reached = (at.slack + length * affine.slack) * (at.multiplier + length * affine.multiplier)
        centre = reached.mean() ** 3 / product.mean() ** 2
        step = newton(product - centre + affine.slack * affine.multiplier)
        length = _longest_step(at, step, 0.995)
        new = jax.tree.map(lambda value, change: value + length * change, at, step)
        new_error = error(new)  # not a number once rounding has made the matrix singular: stop
        best = jax.tree.map(lambda a, b: jnp.where(new_error < least, a, b), new, best)
        return jnp.where(jnp.isfinite(new_error), i + 1, ITERATIONS), new, best, jnp.fmin(new_error, least)

    x = jnp.full(size, 1.0 / unit.sum())
    slack = jnp.maximum(jnp.concatenate([x, rows @ x - bounds]), x[0])
    start = _Iterate(x, slack, jnp.ones_like(slack), jnp.zeros((), x.dtype))
    precision = jnp.finfo(x.dtype).eps / 8.0
    _, _, best, least = jax.lax.while_loop(
        lambda carry: (carry[0] < ITERATIONS) & (carry[3] > precision),
        iterate,
        (jnp.zeros((), jnp.int32), start, start, jnp.full((), jnp.inf, x.dtype)),
    )
    return jnp.where(jnp.isfinite(least), best.slack[:size], jnp.nan)


def _nonzero(x: Array) -> Array:
    return jnp.where(x > 0, x, 1.0)


def _longest_step(at: _Iterate, step: _Iterate, share: float) -> Array:
    """Up to one, and to a share of the way to where a slack or multiplier would vanish."""
    value = jnp.concatenate([at.slack, at.multiplier])
    change = jnp.concatenate([step.slack, step.multiplier])
    return jnp.minimum(
        1.0, share * jnp.min(jnp.where(change < 0, -value / jnp.where(change < 0, change, -1.0), jnp.inf))
    )
