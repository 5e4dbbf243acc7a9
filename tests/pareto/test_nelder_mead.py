"""Nelder and Mead's points against SciPy's, one by one."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from rlx.pareto import nelder_mead_init, nelder_mead_update

RNG = np.random.default_rng(0)


def rosenbrock(x):
    return ((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2).sum()


def ripples(x):
    return (x**2).sum() - 0.7 * jnp.cos(5 * x[0]) * jnp.cos(3 * x[-1])


def terraces(x):
    """Nearly flat in pieces, where simplices shrink; without the slope SciPy's order of equal values is undefined."""
    return jnp.floor(jnp.abs(x) * 2).sum() + 1e-3 * (x * jnp.arange(1, x.size + 1)).sum()


def visited(objective: Callable, simplex: np.ndarray, evaluations: int) -> np.ndarray:
    def step(state, _):
        return nelder_mead_update(state, objective(state.point)), state.point

    return np.asarray(jax.lax.scan(step, nelder_mead_init(jnp.asarray(simplex)), length=evaluations)[1])


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("objective", [rosenbrock, ripples, terraces])
def test_the_points_are_scipys(objective, size):
    if objective is rosenbrock and size == 1:
        pytest.skip("has at least two coordinates")
    with jax.enable_x64(True):
        for _ in range(3):
            simplex = RNG.normal(size=(size + 1, size)) * 2
            points = []

            def record(x, points=points):
                points.append(x.copy())
                return float(objective(jnp.asarray(x)))

            scipy.optimize.minimize(
                record,
                simplex[0],
                method="Nelder-Mead",
                options=dict(initial_simplex=simplex, maxfev=80, xatol=1e-9, fatol=1e-9),
            )
            found = visited(objective, simplex, len(points))
            np.testing.assert_allclose(found, points, rtol=1e-7, atol=1e-9)


def test_every_move_was_compared():
    """On the last problems each kind of move happens."""
    seen = set()
    for objective in (rosenbrock, terraces):
        state = nelder_mead_init(jnp.asarray(RNG.normal(size=(3, 2)) * 2))
        for i in range(60):
            state = nelder_mead_update(state, objective(state.point))
            seen.add(int(state.stage) if i > 2 else 0)
    assert seen == {0, 1, 2, 3, 4}


def test_a_failed_evaluation_is_never_the_best():
    state = nelder_mead_init(jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    for _ in range(60):
        x = state.point
        state = nelder_mead_update(state, jnp.where(x[0] < 0.2, jnp.nan, jnp.sum((x - 0.3) ** 2)))
    np.testing.assert_allclose(state.simplex[state.values.argmin()], 0.3, atol=1e-2)


@pytest.mark.parametrize("simplex", [np.zeros((2, 2)), np.zeros(3), np.full((3, 2), np.nan), np.zeros((1, 0))])
def test_what_is_no_simplex_is_refused(simplex):
    with pytest.raises(ValueError, match="simplex must"):
        nelder_mead_init(simplex)
