"""Non-smooth common descent on problems whose Pareto sets are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.pareto import min_norm_weights, nonsmooth_descent_step

TARGETS = jnp.array([1.0, -1.0])


def crescents(x: jax.Array) -> jax.Array:
    """Pareto set: the parabola `x_2 = x_1^2` for `|x_1| <= 1`, along which both objectives have their kink."""
    return 10.0 * jnp.abs(x[1] - x[0] ** 2) + (x[0] - TARGETS) ** 2


def smooth(x: jax.Array) -> jax.Array:
    return jnp.stack([jnp.sum((x - 1.0) ** 2), jnp.sum((x + 1.0) ** 2 * jnp.arange(1, 4)), jnp.sum(x**2)])


def distance(x: np.ndarray) -> np.ndarray:
    """From each point to the Pareto set of `crescents`."""
    first = np.linspace(-1, 1, 20_001)
    curve = np.stack([first, first**2], 1)
    return np.array([np.linalg.norm(curve - point, axis=1).min() for point in x])


STARTS = jnp.stack(jnp.meshgrid(jnp.linspace(-2, 2, 5), jnp.linspace(-1, 3, 5)), -1).reshape(-1, 2)


def test_reaches_the_pareto_set_where_plain_descent_gets_stuck():
    def descend(x: jax.Array, radius: jax.Array) -> tuple[jax.Array, None]:
        return x + nonsmooth_descent_step(crescents, x, radius, 1e-3, capacity=6)[0], None

    def plain(x: jax.Array, t: jax.Array) -> tuple[jax.Array, None]:
        G = jax.jacobian(crescents)(x)
        v = -min_norm_weights(G @ G.T) @ G
        lengths = 0.5 ** jnp.arange(20)
        falls = jax.vmap(lambda t: jnp.all(crescents(x + t * v) <= crescents(x) - 0.25 * t * v @ v))(lengths)
        return x + jnp.max(jnp.where(falls, lengths, 0.0)) * v, None

    radii = jnp.repeat(jnp.array([1e-1, 1e-2, 1e-3]), 40)
    ends = {
        step: jax.jit(jax.vmap(lambda x, step=step: jax.lax.scan(step, x, radii)[0]))(STARTS)
        for step in (descend, plain)
    }
    found = distance(np.asarray(ends[descend]))
    assert np.median(found) < 3e-4
    assert found.max() < 2e-3
    assert np.mean(distance(np.asarray(ends[plain])) > 1e-2) > 0.2


def test_every_step_lowers_every_objective():
    steps, critical = jax.jit(jax.vmap(lambda x: nonsmooth_descent_step(crescents, x, 0.05, capacity=6)))(STARTS)
    change = jax.vmap(crescents)(STARTS + steps) - jax.vmap(crescents)(STARTS)
    moved = np.linalg.norm(steps, axis=1) > 0
    assert moved.sum() >= 20
    assert np.all(change[moved] < 0)
    assert not np.any(critical[moved])


def test_smooth_objectives_give_the_min_norm_direction():
    x = jnp.array([0.3, 2.0, -0.5])
    G = jax.jacobian(smooth)(x)
    wanted = -min_norm_weights(G @ G.T) @ G
    step, critical = nonsmooth_descent_step(smooth, x, 1e-3)
    assert not critical
    np.testing.assert_allclose(step / jnp.linalg.norm(step), wanted / jnp.linalg.norm(wanted), atol=1e-3)


def test_a_kink_is_critical_although_no_gradient_vanishes():
    """Next to the minimum of `|x| + |y|` all four gradients are needed for the hull to hold zero."""
    step, critical = nonsmooth_descent_step(lambda x: jnp.abs(x).sum()[None], jnp.array([1e-3, -2e-3]), 0.1, 1e-2)
    assert critical
    np.testing.assert_array_equal(step, 0.0)


def test_no_gradient_flows():
    grad = jax.grad(lambda x: nonsmooth_descent_step(smooth, x, 0.01)[0].sum())(jnp.array([0.3, 2.0, -0.5]))
    np.testing.assert_array_equal(grad, 0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nonsmooth_descent_step(smooth, jnp.zeros((1, 3)), 0.1), "x must have rank 1"),
        (lambda: nonsmooth_descent_step(jnp.sum, jnp.zeros(3), 0.1), r"objectives\(x\) must have rank 1"),
        (lambda: nonsmooth_descent_step(smooth, jnp.zeros(3), 0.0), r"radius must be .*got 0.0"),
        (lambda: nonsmooth_descent_step(smooth, jnp.zeros(3), 0.1, -1.0), r"tolerance must be .*got -1.0"),
        (lambda: nonsmooth_descent_step(smooth, jnp.zeros(3), 0.1, armijo=1.0), r"armijo must be .*\(0, 1\); got 1.0"),
        (
            lambda: nonsmooth_descent_step(smooth, jnp.zeros(3), 0.1, capacity=2),
            "capacity must be an integer >= 3; got 2",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
