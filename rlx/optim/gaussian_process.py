"""Gaussian processes over several fidelities of one function: a few costly values, helped by many cheap ones.

Fidelities are numbered from 0, the cheapest, to F - 1, the one that counts. With F = 1 it is the textbook process.
Observations are rows `x [N, d]`, `fidelity [N]`, `y [N]`, of which those with `valid [N]` count, so that a growing set
keeps one shape.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.types import Array

JITTER = 1e-5  # on the diagonal, in parts of the mean variance: float32 needs it where rows are close together


class CoKriging(NamedTuple):
    """Parameters: `f_z = rho_z f_(z-1) + delta_z`, and each `delta_z` a process with a squared exponential kernel."""

    amplitude: Array  # [F] standard deviations of the deltas
    length: Array  # [F, d] length scales of the deltas
    rho: Array  # [F - 1]: what a fidelity takes over from the one below
    noise: Array  # [F] standard deviations of the noise of observations
    mean: Array  # [F] prior means of the fidelities


def cokriging_posterior(
    model: CoKriging, x: Array, fidelity: Array, y: Array, query: Array, valid: Array | None = None
) -> tuple[Array, Array]:
    """What the observations say of all fidelities at other places: means, and covariances between the fidelities.

    With `f_z = sum_(k <= z) c_zk delta_k`, `c_zk = rho_(k+1) ... rho_z`, the prior covariance is

        K((x, z), (x', z')) = sum_(k <= min(z, z')) c_zk c_z'k amplitude_k^2 exp(-|(x - x') / length_k|^2 / 2)

    and the posterior `m + k* (K + noise^2 I)^-1 (y - m)`, `k** - k* (K + noise^2 I)^-1 k*^T`.

    Shapes: `[N, d]`, integers `[N]`, `[N]`, `[Q, d]`, bool `[N]` -> `[Q, F]`, `[Q, F, F]`. The covariance is that of
    the function itself: add `noise^2` to its diagonal for another observation. Differentiated: everything but
    fidelities and the mask. O(N^3 + N^2 Q F) operations. In half precision it is computed in float32.

    Usual mistakes: one noise for all fidelities (a short training run is biased *and* has other noise than a long one),
    and places in their own units, when length scales start out for the unit cube.

    >>> model = CoKriging(jnp.ones(2), jnp.ones((2, 1)), jnp.array([0.5]), jnp.zeros(2), jnp.zeros(2))
    >>> x = jnp.array([[0.0]])
    >>> mean, covariance = cokriging_posterior(model, x, jnp.array([0]), jnp.array([2.0]), x)
    >>> mean.round(2).tolist(), covariance.round(2).tolist()  # f_1 = f_0 / 2 + delta_1
    ([[2.0, 1.0]], [[[0.0, 0.0], [0.0, 1.0]]])

    Raises:
      ValueError: if shapes do not fit together.

    Source: Kennedy and O'Hagan, "Predicting the Output from a Complex Computer Code When Fast Approximations Are
    Available" (2000).
    """
    dtype = jnp.asarray(y).dtype
    model, x, y, query = _in_full(model, x, y, query)
    check.rank("query", query, 2)
    factor, residual, valid = _factor(model, x, fidelity, y, valid)
    levels = jnp.arange(len(model.amplitude))
    places = jnp.repeat(query, len(levels), axis=0)
    cross = _covariance(model, places, jnp.tile(levels, len(query)), x, fidelity)
    cross = jnp.where(valid, cross, 0).reshape(len(query), len(levels), len(x))
    half = jax.scipy.linalg.solve_triangular(factor, cross.reshape(-1, len(x)).T, lower=True).T.reshape(cross.shape)
    mean = model.mean + half @ jax.scipy.linalg.solve_triangular(factor, residual, lower=True)
    mix = _mix(model)
    prior = mix @ jnp.diag(model.amplitude**2) @ mix.T
    return mean.astype(dtype), (prior - half @ half.swapaxes(1, 2)).astype(dtype)


def cokriging_log_likelihood(
    model: CoKriging, x: Array, fidelity: Array, y: Array, valid: Array | None = None
) -> Array:
    """The log density of the observations, to be maximised over the parameters.

    `-(y - m)^T (K + noise^2 I)^-1 (y - m) / 2 - log det (K + noise^2 I) / 2 - n log(2 pi) / 2`

    Shapes: `[N, d]`, integers `[N]`, `[N]`, bool `[N]` -> `[]`, of the n valid rows. Differentiated: the model, `x` and
    `y`. O(N^3) operations.

    Usual mistake: its maximum from a handful of rows, which may explain all of them as noise, or none. `fit_cokriging`
    has priors against that.

    >>> model = CoKriging(jnp.ones(1), jnp.ones((1, 1)), jnp.zeros(0), jnp.zeros(1), jnp.zeros(1))
    >>> value = cokriging_log_likelihood(model, jnp.zeros((1, 1)), jnp.zeros(1, int), jnp.zeros(1))
    >>> bool(jnp.allclose(value, -jnp.log(2 * jnp.pi) / 2, atol=1e-4))
    True

    Raises:
      ValueError: if shapes do not fit together.

    Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006), chapter 5.
    """
    dtype = jnp.asarray(y).dtype
    model, x, y = _in_full(model, x, y)
    factor, residual, valid = _factor(model, x, fidelity, y, valid)
    white = jax.scipy.linalg.solve_triangular(factor, residual, lower=True)
    log_det = 2 * jnp.sum(jnp.where(valid, jnp.log(jnp.diag(factor)), 0))
    return (-(white @ white + log_det + jnp.sum(valid) * jnp.log(2 * jnp.pi)) / 2).astype(dtype)


def fit_cokriging(
    key: Array,
    x: Array,
    fidelity: Array,
    y: Array,
    num_fidelities: int,
    valid: Array | None = None,
    *,
    restarts: int = 4,
    steps: int = 100,
    learning_rate: float = 0.05,
) -> CoKriging:
    """The most probable parameters, by Adam from several starts drawn from the prior, the best of them.

    For `x` in the unit cube and `y` of mean 0 and standard deviation 1. The prior is log-normal, in medians and log
    deviations: amplitude 1 and below (0.3 for the deltas above the cheapest), 0.7; length 0.3, 0.7; noise 0.01, 1, at
    least 0.001; normal for rho (1, 0.5) and mean (0, 0.5).

    Shapes: as `cokriging_posterior`. Differentiated: nothing. O(restarts steps N^3) operations.

    >>> x = jnp.linspace(0, 1, 8)[:, None]
    >>> model = fit_cokriging(jax.random.key(0), x, jnp.zeros(8, int), jnp.sin(6 * x[:, 0]), 1)
    >>> 0.1 < float(model.length[0, 0]) < 0.6, float(model.noise[0]) < 0.05
    (True, True)

    Raises:
      ValueError: if shapes do not fit together, or a number is not an integer of at least 1.

    Source: Forrester, Sobester and Keane, "Multi-Fidelity Optimization via Surrogate Modelling" (2007); the prior is
    ours.
    """
    for name, value in (("num_fidelities", num_fidelities), ("restarts", restarts), ("steps", steps)):
        check.count(name, value)
    dtype = jnp.asarray(y).dtype
    x, y = jax.lax.stop_gradient(_in_full(x, y))
    check.rank("x", x, 2)
    levels, dims = num_fidelities, x.shape[1]
    above = jnp.arange(levels) > 0
    middle = CoKriging(
        jnp.zeros(levels),
        jnp.where(above[:, None], jnp.log(0.5), jnp.log(0.3)) + jnp.zeros((levels, dims)),
        jnp.ones(levels - 1),
        jnp.full(levels, jnp.log(0.01)),
        jnp.zeros(levels),
    )
    spread = CoKriging(*(jnp.full_like(part, s) for part, s in zip(middle, (0.7, 0.7, 1.0, 1.0, 1.0), strict=True)))

    def model_of(unit: CoKriging) -> CoKriging:
        a, length, rho, noise, mean = jax.tree.map(lambda m, s, u: m + s * u, middle, spread, unit)
        return CoKriging(jnp.exp(a), jnp.exp(length), rho, 1e-3 + jnp.exp(noise), mean)

    def loss(unit: CoKriging) -> Array:
        prior = sum(jnp.sum(part**2) for part in unit) / 2
        return prior - cokriging_log_likelihood(model_of(unit), x, fidelity, y, valid)

    optimiser = optax.adam(learning_rate)

    def descend(key: Array) -> tuple[Array, CoKriging]:
        keys = jax.random.split(key, len(middle))
        start = CoKriging(
            *(0.5 * jax.random.normal(k, part.shape, y.dtype) for k, part in zip(keys, middle, strict=True))
        )

        def step(carry: tuple[CoKriging, optax.OptState], _: None) -> tuple[tuple[CoKriging, optax.OptState], None]:
            unit, state = carry
            change, state = optimiser.update(jax.grad(loss)(unit), state)
            return (jax.tree.map(jnp.add, unit, change), state), None

        (unit, _), _ = jax.lax.scan(step, (start, optimiser.init(start)), length=steps)
        return loss(unit), unit

    losses, units = jax.vmap(descend)(jax.random.split(key, restarts))
    best = jnp.argmin(jnp.where(jnp.isfinite(losses), losses, jnp.inf))
    return jax.tree.map(lambda part: part.astype(dtype), model_of(jax.tree.map(lambda part: part[best], units)))


def _in_full(*trees: CoKriging | Array) -> tuple:
    """Floats in float32 at least: Cholesky factors have no half precision."""
    dtype = jnp.promote_types(jnp.result_type(*jax.tree.leaves(trees), float), jnp.float32)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), trees)


def _mix(model: CoKriging) -> Array:
    """`c [F, F]`: what each fidelity has of each delta."""
    levels = len(model.amplitude)
    rows = [jnp.zeros(levels, model.rho.dtype).at[0].set(1)]
    for z in range(1, levels):
        rows.append((model.rho[z - 1] * rows[-1]).at[z].set(1))
    return jnp.stack(rows)


def _covariance(model: CoKriging, x: Array, fidelity: Array, other: Array, other_fidelity: Array) -> Array:
    """The prior covariance `[N, M]` between values of the functions."""
    mix = _mix(model) * model.amplitude
    total = jnp.zeros((len(x), len(other)), mix.dtype)
    for k, length in enumerate(model.length):
        squared = jnp.sum(((x[:, None] - other) / length) ** 2, axis=-1)
        total += mix[fidelity, k][:, None] * mix[other_fidelity, k] * jnp.exp(-squared / 2)
    return total


def _factor(model: CoKriging, x: Array, fidelity: Array, y: Array, valid: Array | None) -> tuple[Array, Array, Array]:
    """The Cholesky factor of the observations' covariance, with the identity where rows do not count, and `y - m`."""
    check.rank("x", x, 2)
    fidelity = jnp.asarray(fidelity)
    valid = jnp.ones(len(x), bool) if valid is None else jnp.asarray(valid, bool)
    shapes = {"fidelity": fidelity.shape, "y": y.shape, "valid": valid.shape}
    check.require(set(shapes.values()) == {(len(x),)}, "fidelity, y and valid", shapes, f"of shape ({len(x)},)")
    levels = len(model.amplitude)
    parts = [part.shape for part in model]
    wanted = [(levels,), (levels, x.shape[1]), (levels - 1,), (levels,), (levels,)]
    check.require(parts == wanted, "model", parts, f"of shapes {wanted}")
    covariance = _covariance(model, x, fidelity, x, fidelity)
    ridge = JITTER * jnp.mean(model.amplitude**2) + model.noise[fidelity] ** 2
    covariance = jnp.where(valid & valid[:, None], covariance + jnp.diag(ridge), jnp.eye(len(x), dtype=y.dtype))
    return jnp.linalg.cholesky(covariance), jnp.where(valid, y - model.mean[fidelity], 0), valid
