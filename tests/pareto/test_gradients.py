"""Combinations of gradients against scipy, enumerated optima, closed forms and their definitions."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from rlx.pareto import (
    cagrad_weights,
    epo_weights,
    gradnorm_update,
    guided_weights,
    min_norm_weights,
    nash_mtl_weights,
    pcgrad_weights,
    simplex_program,
)

INSTANCES = 100
DEGENERATE = {
    "none": lambda G, rng: G,
    "lengths over four decades": lambda G, rng: G * 10 ** rng.uniform(-2, 2, (*G.shape[:2], 1)),
    "duplicates": lambda G, rng: np.concatenate([G[:, :1], G[:, :1], G[:, 2:]], 1),
    "opposed": lambda G, rng: np.concatenate([G[:, :1], -G[:, :1], G[:, 2:]], 1),
    "zero": lambda G, rng: np.concatenate([np.zeros_like(G[:, :1]), G[:, 1:]], 1),
    "rank 1": lambda G, rng: G * np.eye(G.shape[2])[0],
    "all zero": lambda G, rng: np.zeros_like(G),
    "agreeing": lambda G, rng: G + 1.5,
}
SIZES = [(2, 10), (3, 10), (5, 4), (5, 30)]  # objectives and parameters; four parameters hold no five free directions


def gradients(kind: str, objectives: int, parameters: int, seed: int = 0) -> np.ndarray:
    """`[INSTANCES, K, P]`"""
    rng = np.random.default_rng(seed)
    return DEGENERATE[kind](rng.normal(size=(INSTANCES, objectives, parameters)), rng)


def grams(G: np.ndarray) -> np.ndarray:
    return G @ G.swapaxes(1, 2)


@functools.cache
def compiled(kernel: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """As it is compiled elsewhere: without fused products, which the tests do without, rows are missed by more."""
    return jax.jit(jax.vmap(kernel), compiler_options={"xla_backend_optimization_level": 2})


def batched(kernel: Callable[..., jax.Array], *arrays: np.ndarray) -> np.ndarray:
    """One program for all instances of a size, in float32; the result in float64."""
    return np.asarray(compiled(kernel)(*map(jnp.asarray, arrays)), np.float64)


def assert_on_simplex(weights: np.ndarray) -> None:
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-6)


def least_by_enumeration(Q: np.ndarray, q: np.ndarray) -> float:
    """The exact minimum of a convex quadratic on the simplex: the least over the stationary points of all faces."""
    size, values = len(q), []
    for number in range(1, size + 1):
        for face in map(list, itertools.combinations(range(size), number)):
            one = np.ones((number, 1))
            system = np.block([[Q[np.ix_(face, face)], -one], [one.T, np.zeros((1, 1))]])
            a = np.linalg.lstsq(system, np.append(-q[face], 1.0), rcond=1e-12)[0][:number]
            if a.min() > -1e-12 and abs(a.sum() - 1) < 1e-9:
                values.append(a @ Q[np.ix_(face, face)] @ a / 2 + q[face] @ a)
    return min(values)


@pytest.mark.parametrize("kind", DEGENERATE)
@pytest.mark.parametrize(("objectives", "parameters"), SIZES)
def test_quadratic_programs_reach_the_enumerated_minimum(kind, objectives, parameters):
    M = grams(gradients(kind, objectives, parameters))
    q = np.random.default_rng(1).normal(size=M.shape[:2]) * np.arange(INSTANCES)[:, None] % 3
    found = batched(simplex_program, M, q)
    assert_on_simplex(found)
    for Q, linear, a in zip(M, q, found, strict=True):
        gap = a @ Q @ a / 2 + linear @ a - least_by_enumeration(Q, linear)
        assert gap <= 2e-6 * max(np.abs(Q).max(), np.abs(linear).max())


@pytest.mark.parametrize("kind", DEGENERATE)
@pytest.mark.parametrize(("objectives", "parameters"), SIZES)
def test_min_norm_point(kind, objectives, parameters):
    G = gradients(kind, objectives, parameters)
    found = batched(min_norm_weights, grams(G))
    assert_on_simplex(found)
    for g, a in zip(G, found, strict=True):
        M = g @ g.T
        square = a @ M @ a
        assert square - 2 * least_by_enumeration(M, np.zeros(len(M))) <= 2e-6 * np.diag(M).min() + 1e-12 * M.max()
        # common improvement: d . g_i >= ||d||^2, up to the tolerance in units of both lengths
        slack = 2e-3 * np.sqrt(np.diag(M).min() * np.diag(M))
        assert np.all(M @ a >= square - slack - 1e-6 * M.max())


def test_min_norm_of_two_and_of_orthogonal_gradients():
    G = gradients("none", 2, 3)
    difference = G[:, 0] - G[:, 1]
    first = np.clip(-np.sum(G[:, 1] * difference, 1) / np.sum(difference**2, 1), 0, 1)
    np.testing.assert_allclose(batched(min_norm_weights, grams(G))[:, 0], first, atol=1e-5)
    squares = 10 ** np.random.default_rng(0).uniform(-3, 3, (INSTANCES, 4))
    wanted = (1 / squares) / (1 / squares).sum(1, keepdims=True)
    np.testing.assert_allclose(batched(lambda x: min_norm_weights(jnp.diag(x)), squares), wanted, rtol=2e-4, atol=1e-6)


def test_equal_objectives_share_equally():
    np.testing.assert_allclose(min_norm_weights(jnp.ones((3, 3))), 1 / 3, atol=1e-6)
    np.testing.assert_allclose(min_norm_weights(jnp.zeros((4, 4))), 0.25, atol=1e-6)
    np.testing.assert_allclose(min_norm_weights(jnp.full((1, 1), 7.0)), 1.0)


def test_the_quadratic_solver_agrees_with_slsqp():
    """A foreign solver, with rows: maximal tracking of a target mixture under floors on two combinations."""
    rng = np.random.default_rng(0)
    M = grams(rng.normal(size=(30, 4, 6)))
    q, rows = rng.normal(size=(30, 4)), rng.normal(size=(30, 2, 4))
    bounds = rows.mean(2) - 0.05  # the middle of the simplex is feasible
    found = batched(simplex_program, M, q, rows, bounds)
    for Q, linear, R, b, a in zip(M, q, rows, bounds, found, strict=True):
        limits = [{"type": "eq", "fun": lambda x: x.sum() - 1}, {"type": "ineq", "fun": lambda x, R=R, b=b: R @ x - b}]
        value = lambda x, Q=Q, linear=linear: x @ Q @ x / 2 + linear @ x  # noqa: E731
        wanted = minimize(value, np.full(4, 0.25), bounds=[(0, 1)] * 4, constraints=limits, options={"ftol": 1e-12})
        np.testing.assert_allclose(value(a), wanted.fun, atol=1e-5)
        np.testing.assert_allclose(a, wanted.x, atol=2e-3)
        assert np.all(R @ a >= b - 1e-5)


@pytest.mark.parametrize("kind", DEGENERATE)
def test_linear_programs_agree_with_linprog(kind):
    """Rows `M a >= 0` of five gradients in four dimensions: often no point satisfies them strictly."""
    M = grams(gradients(kind, 5, 4))
    q = np.random.default_rng(1).normal(size=(INSTANCES, 5))
    found = batched(simplex_program, np.zeros_like(M), q, M, np.zeros_like(q))
    assert_on_simplex(found)
    for linear, R, a in zip(q, M, found, strict=True):
        wanted = linprog(linear, A_ub=-R, b_ub=np.full(5, 1e-9), A_eq=np.ones((1, 5)), b_eq=[1])
        assert np.all(R @ a >= -2e-6 * np.abs(R).max(1))
        np.testing.assert_allclose(linear @ a, wanted.fun, atol=2e-5 * np.abs(linear).max())


def test_double_precision_is_used_where_it_is_on():
    with jax.enable_x64(True):
        for M in grams(gradients("lengths over four decades", 4, 8))[:5]:
            a = np.asarray(min_norm_weights(jnp.asarray(M)))
            assert a @ M @ a / 2 == pytest.approx(least_by_enumeration(M, np.zeros(4)), rel=1e-12)


def test_matrix_products_keep_every_digit_on_accelerators():
    """Their default is a faster, coarser product, in which a linear program misses its rows by a hundredth."""
    M = jnp.eye(3)
    for weights in (min_norm_weights, cagrad_weights, lambda M: epo_weights(M, M[0] + 1.0, M[1] + 1.0)):
        program = jax.jit(weights).lower(M).as_text()
        products = [line for line in program.splitlines() if "stablehlo.dot_general" in line]
        assert products
        assert all("HIGHEST" in line for line in products)


def test_sixteen_objectives():
    M = grams(gradients("none", 16, 64))
    found = batched(min_norm_weights, M)
    slope = np.einsum("nij,nj->ni", M, found)
    square = np.einsum("ni,ni->n", slope, found)  # optimality: slopes are no smaller than their weighted mean
    assert np.all(slope.min(1) >= square - 1e-4 * square)


def test_pcgrad_of_two_in_closed_form():
    G = gradients("none", 2, 3)
    M = grams(G)
    keys = jax.random.split(jax.random.key(0), INSTANCES)
    weights = np.asarray(jax.vmap(pcgrad_weights)(keys, jnp.asarray(M)))
    conflict = np.minimum(M[:, 0, 1], 0)
    wanted = (1 - np.stack([conflict / M[:, 0, 0], conflict / M[:, 1, 1]], 1)) / 2
    np.testing.assert_allclose(weights, wanted, rtol=1e-5)


def test_pcgrad_takes_every_order_equally_often():
    """Of three objectives each has two orders of the others: eight results, each from an eighth of the keys."""
    G = next(g for g in gradients("none", 3, 3) if np.all((g @ g.T)[np.triu_indices(3, 1)] < 0))
    results = []
    for orders in itertools.product((0, 1), repeat=3):
        total = np.zeros(3)
        for i, reverse in enumerate(orders):
            p, others = G[i], [j for j in range(3) if j != i]
            for j in reversed(others) if reverse else others:
                p = p - min(p @ G[j], 0) / (G[j] @ G[j]) * G[j]
            total += p / 3
        results.append(total)
    keys = jax.random.split(jax.random.key(1), 4000)
    steps = jax.vmap(lambda key: pcgrad_weights(key, jnp.asarray(G @ G.T)))(keys) @ G
    distance = np.linalg.norm(np.asarray(steps)[:, None] - np.array(results), axis=2)
    assert distance.min(1).max() < 1e-5
    frequency = np.bincount(distance.argmin(1), minlength=8) / 4000
    np.testing.assert_allclose(frequency, 1 / 8, atol=5 * np.sqrt(1 / 8 * 7 / 8 / 4000))


def test_pcgrad_without_conflict_is_the_mean():
    gram = jnp.diag(jnp.array([1.0, 4.0, 0.0]))
    np.testing.assert_allclose(pcgrad_weights(jax.random.key(0), gram), 1 / 3, rtol=1e-6)


def test_cagrad_without_radius_is_the_mean():
    found = batched(cagrad_weights, grams(gradients("none", 3, 5)), np.zeros(INSTANCES))
    np.testing.assert_allclose(found, 1 / 3, rtol=1e-6)


@pytest.mark.parametrize("radius", [0.4, 2.0])
@pytest.mark.parametrize("kind", DEGENERATE)
def test_cagrad_meets_its_dual(kind, radius):
    """Within the ball, the worst gain equals the least of the dual over a grid and the foreign solver's descent."""
    G = gradients(kind, 3, 5)
    found = batched(cagrad_weights, grams(G), np.full(INSTANCES, radius))
    grid = np.array([(i, j, 40 - i - j) for i in range(41) for j in range(41 - i)]) / 40
    for g, a in zip(G, found, strict=True):
        mean, step = g.mean(0), a @ g
        reach, longest = radius * np.linalg.norm(mean), np.linalg.norm(g, axis=1).max()
        assert np.linalg.norm(step - mean) <= reach * (1 + 1e-3) + 2e-4 * longest
        dual = grid @ g @ mean + reach * np.linalg.norm(grid @ g, axis=1)
        # by weak duality no gain exceeds any value of the dual; a coarse grid's least lies above the optimum
        assert (g @ step).min() <= dual.min() + 1e-3 * longest * max(reach, 1e-9)
        fine = minimize(
            lambda w, g=g, mean=mean, reach=reach: w @ g @ mean + reach * np.sqrt(w @ g @ g.T @ w + 1e-18),
            grid[dual.argmin()],
            bounds=[(0, 1)] * 3,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            options={"ftol": 1e-14},
        )
        least = min(fine.fun, dual.min())
        assert (g @ step).min() >= least - 1e-3 * longest * (reach + np.linalg.norm(mean)) - 1e-12


def test_cagrad_of_a_large_radius_points_along_the_min_norm_vector():
    G = gradients("agreeing", 3, 5)
    G = G / np.linalg.norm(G, axis=2, keepdims=True)
    wanted = np.einsum("nk,nkp->np", batched(min_norm_weights, grams(G)), G)
    step = np.einsum("nk,nkp->np", batched(cagrad_weights, grams(G), np.full(INSTANCES, 1e4)), G)
    cosine = np.sum(wanted * step, 1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(step, axis=1)
    assert cosine.min() > 1 - 1e-5


@pytest.mark.parametrize("kind", ["none", "agreeing", "lengths over four decades", "duplicates"])
@pytest.mark.parametrize(("objectives", "parameters"), [(2, 10), (3, 10), (5, 30)])
def test_nash_solution_solves_its_equation(kind, objectives, parameters):
    M = grams(gradients(kind, objectives, parameters))
    found = batched(nash_mtl_weights, M)
    np.testing.assert_allclose(found * np.einsum("nij,nj->ni", M, found), 1.0, atol=1e-3)


def test_nash_solution_is_the_bargain():
    """It maximises the sum of log gains in a ball of its own length: against random directions and a foreign solver."""
    G = gradients("agreeing", 3, 4)[:20]
    found = np.einsum("nk,nkp->np", batched(nash_mtl_weights, grams(G)), G)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.sqrt(3), rtol=1e-5)
    for g, step in zip(G, found, strict=True):
        wanted = minimize(
            lambda x, g=g: -np.log(np.maximum(g @ x, 1e-12)).sum(),
            step + 0.05,
            constraints={"type": "ineq", "fun": lambda x: 3 - x @ x},
            options={"ftol": 1e-12},
        )
        np.testing.assert_allclose(step, wanted.x, atol=2e-3)


def test_nash_closed_forms():
    squares = np.array([1.0, 4.0, 0.01])
    np.testing.assert_allclose(nash_mtl_weights(jnp.diag(squares)), 1 / np.sqrt(squares), rtol=1e-5)
    # two: equal relative gains, a_i = 1 / (||g_i|| sqrt(1 + cos))
    G = gradients("none", 2, 5)
    norms = np.linalg.norm(G, axis=2)
    cosine = np.sum(G[:, 0] * G[:, 1], 1) / norms.prod(1)
    wanted = 1 / norms / np.sqrt(1 + cosine)[:, None]
    np.testing.assert_allclose(batched(nash_mtl_weights, grams(G)), wanted, rtol=1e-3)


@pytest.mark.parametrize("kind", ["opposed", "zero", "rank 1", "all zero"])
def test_nash_stays_bounded_without_a_solution(kind):
    G = gradients(kind, 3, 4)
    found = batched(nash_mtl_weights, grams(G))
    assert np.all(np.isfinite(found))
    assert np.all(found >= 0)
    norms = np.linalg.norm(G, axis=2)
    assert np.all(found * norms <= 1.1e3 * np.sqrt(3))
    np.testing.assert_array_equal(found[norms == 0], 0.0)


def guides(G: np.ndarray) -> np.ndarray:
    guide = np.random.default_rng(2).normal(size=(INSTANCES, G.shape[2]))
    return np.einsum("nkp,np->nk", G, guide)


def guided_program(
    M: np.ndarray, c: np.ndarray, balance: bool, relax: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Objective, rows and bounds, written as the authors' code does, without the rows that have no bound."""
    if balance:
        bounds = np.where(c > 0, -np.inf, c) if np.any(c > 0) else np.zeros_like(c)
        bounds[c.argmax()] = 0.0
        return c, M[np.isfinite(bounds)], bounds[np.isfinite(bounds)]
    if relax:
        return M.sum(0), M, np.zeros(len(c))
    return M.sum(0), np.vstack([M, c]), np.append(np.zeros(len(c)), -max(0.0, -c.max()))


RELAXED = functools.partial(guided_weights, relax=True)


@pytest.mark.parametrize("kind", [kind for kind in DEGENERATE if kind != "all zero"])
@pytest.mark.parametrize(("balance", "relax"), [(True, False), (False, False), (False, True)])
def test_guided_weights_agree_with_linprog(kind, balance, relax):
    G = gradients(kind, 4, 4)
    M, c = grams(G), guides(G)
    found = batched(RELAXED if relax else guided_weights, M, c, np.full(INSTANCES, balance))
    assert_on_simplex(found)
    solved = 0
    for gram, guidance, a in zip(M, c, found, strict=True):
        for relaxed in (relax, True):
            objective, R, b = guided_program(gram, guidance, balance, relaxed)
            wanted = linprog(-objective, A_ub=-R, b_ub=-b + 1e-9, A_eq=np.ones((1, 4)), b_eq=[1])
            if wanted.success:
                solved += relaxed == relax
                assert np.all(R @ a >= b - 4e-6 * np.maximum(np.abs(R).max(1), np.abs(b)))
                np.testing.assert_allclose(objective @ a, -wanted.fun, atol=1e-4 * np.abs(objective).max())
                break
        else:
            raise AssertionError("no program is feasible")
    assert solved >= (INSTANCES if balance or relax else INSTANCES // 4)


def test_guided_by_one_of_the_objectives():
    """Balancing then improves it at least as much as its own gradient would; descent makes no objective worse."""
    M = grams(gradients("none", 4, 4))
    worse = 0
    for k in range(4):
        a = batched(guided_weights, M, M[:, :, k], np.full(INSTANCES, True))
        gains = np.einsum("nij,nj->ni", M, a)
        assert np.all(gains[:, k] >= M[:, k, k] * (1 - 1e-5))
        worse += np.sum(gains.min(1) < -1e-4)
    assert worse > 0
    a = batched(guided_weights, M, M[:, :, 0], np.full(INSTANCES, False))
    assert np.einsum("nij,nj->ni", M, a).min() > -1e-4


def unevenness(losses: np.ndarray, preference: np.ndarray) -> np.ndarray:
    share = preference * losses / (preference * losses).sum()
    return np.sum(share * np.log(len(share) * share))


def test_epo_guide_is_the_gradient_of_unevenness():
    """A guide from finite differences, and the program of the authors' code with its anchor, give the same weights."""
    rng = np.random.default_rng(0)
    M = grams(gradients("none", 3, 8))
    losses, preference = rng.uniform(0.2, 2, (2, INSTANCES, 3))
    found = batched(epo_weights, M, losses, preference)
    for gram, L, r, a in zip(M, losses, preference, found, strict=True):
        steps = 1e-6 * np.eye(3)
        slope = np.array([unevenness(L + h, r) - unevenness(L - h, r) for h in steps]) / 2e-6 * (r * L).sum()
        c = gram @ slope
        bounds = np.where(c > 0, -np.inf, c) if np.any(c > 0) else np.zeros(3)
        bounds[(r * L).argmax()] = 0.0
        kept = np.isfinite(bounds)
        wanted = linprog(-c, A_ub=-gram[kept], b_ub=-bounds[kept], A_eq=np.ones((1, 3)), b_eq=[1])
        np.testing.assert_allclose(c @ a, -wanted.fun, atol=1e-4 * np.abs(c).max())
        assert np.all(gram[kept] @ a >= bounds[kept] - 1e-5 * np.abs(gram).max())


def test_epo_reaches_the_preferred_point():
    """Two convex losses whose Pareto set is a segment: descent ends where the weighted losses are equal."""
    ends = jnp.array([[1.0, 0.0], [-1.0, 0.0]])

    def losses(x: jax.Array) -> jax.Array:
        return jnp.sum((x - ends) ** 2, 1)

    def solve(preference: jax.Array) -> jax.Array:
        def step(x: jax.Array, rate: jax.Array) -> tuple[jax.Array, None]:
            G = jax.jacobian(losses)(x)
            return x - rate * epo_weights(G @ G.T, losses(x), preference) @ G, None

        return jax.lax.scan(step, jnp.array([0.3, 1.5]), jnp.geomspace(0.1, 1e-3, 150))[0]

    preference = jnp.array([[1.0, 1.0], [1.0, 4.0], [9.0, 1.0]])
    x = jax.jit(jax.vmap(solve))(preference)
    weighted = preference * jax.vmap(losses)(x)
    np.testing.assert_allclose(weighted[:, 0], weighted[:, 1], rtol=0.03)
    np.testing.assert_allclose(x[:, 1], 0.0, atol=0.01)
    # on the segment (1 - x)^2 r_1 = (1 + x)^2 r_2
    root = np.sqrt(np.asarray(preference[:, 1] / preference[:, 0]))
    np.testing.assert_allclose(x[:, 0], (1 - root) / (1 + root), atol=0.01)


def test_gradnorm_follows_the_derivative_of_its_loss():
    rng = np.random.default_rng(0)
    for _ in range(20):
        w, norms, losses, initial = rng.uniform(0.5, 2, (4, 3))
        rate = losses / initial
        target = (w * norms).mean() * (rate / rate.mean()) ** 1.5
        slope = jax.grad(lambda w, norms=norms, target=target: jnp.abs(w * norms - target).sum())(jnp.asarray(w))
        moved = w - 0.01 * np.asarray(slope)
        wanted = 3 * moved / moved.sum()
        np.testing.assert_allclose(gradnorm_update(w, norms, losses, initial, 1.5, 0.01), wanted, rtol=1e-5)


def test_gradnorm_equalises_norms_and_keeps_its_floor():
    norms, one = jnp.array([1.0, 2.0, 4.0]), jnp.ones(3)
    step = jax.jit(lambda w, rate: gradnorm_update(w, norms, one, one, 0.0, rate))
    weights = one
    for rate in np.geomspace(0.02, 1e-4, 400):
        weights = step(weights, rate)
    np.testing.assert_allclose(weights, 3 * np.array([4, 2, 1]) / 7, rtol=2e-3)
    lowest = gradnorm_update(one, jnp.array([100.0, 1.0, 1.0]), one, one, 1.5, 1.0, floor=0.5)
    np.testing.assert_allclose(lowest, 3 * np.array([0.5, 2.0, 2.0]) / 4.5, rtol=1e-6)


ONE = jnp.ones(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: min_norm_weights(jnp.ones((2, 3))), r"gram must be a square matrix \[K, K\]; got \(2, 3\)"),
        (lambda: simplex_program(jnp.ones((2, 3)), ONE), r"quadratic must be a square matrix \[K, K\]; got \(2, 3\)"),
        (lambda: epo_weights(jnp.ones(()), ONE, ONE), r"gram must be a square matrix \[K, K\]; got \(\)"),
        (lambda: nash_mtl_weights(jnp.ones(2)), r"gram must be a square matrix \[K, K\]; got \(2,\)"),
        (lambda: cagrad_weights(jnp.full((2, 2), jnp.nan)), "gram must be a finite number"),
        (lambda: cagrad_weights(jnp.eye(2), -0.5), r"radius must be a finite number in \[0, inf\); got -0.5"),
        (lambda: pcgrad_weights(jax.random.key(0), jnp.eye(2)[None]), "gram must be a square matrix"),
        (lambda: simplex_program(jnp.eye(2), jnp.ones(3)), r"linear must be of shape \(2,\).*got \(3,\)"),
        (lambda: simplex_program(jnp.eye(2), ONE, jnp.ones((1, 3)), ONE[:1]), r"rows and bounds must be of shapes"),
        (
            lambda: simplex_program(jnp.eye(2), ONE, jnp.ones((1, 2))),
            r"rows and bounds must be .*got \(\(1, 2\), \(0,\)\)",
        ),
        (lambda: guided_weights(jnp.eye(2), jnp.ones(3), True), r"guidance must be of shape \(2,\)"),
        (lambda: epo_weights(jnp.eye(2), -ONE, ONE), r"losses must be a finite number in \[0, inf\)"),
        (lambda: epo_weights(jnp.eye(2), ONE, 0 * ONE), r"preference must be a finite number in \(0, inf\)"),
        (lambda: epo_weights(jnp.eye(2), ONE, jnp.ones(3)), r"preference must be of shape \(2,\).*got \(3,\)"),
        (lambda: epo_weights(jnp.eye(2), ONE, ONE, -1.0), "tolerance must be"),
        (lambda: gradnorm_update(ONE, ONE, ONE, 0 * ONE), "initial_losses must be"),
        (lambda: gradnorm_update(ONE, -ONE, ONE, ONE), "norms must be"),
        (lambda: gradnorm_update(ONE, jnp.ones(3), ONE, ONE), r"norms \(3,\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
