"""Non-smooth common descent, and covers, on problems whose Pareto sets are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.pareto import box_subdivision, min_norm_weights, nonsmooth_descent_step

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
    assert found.max() < 1e-2
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


CORNERS = np.array([[0.11, 0.23, 0.5], [0.83, 0.37, 0.2], [0.41, 0.89, 0.9]])


def nearest(x: jax.Array, corners: np.ndarray) -> jax.Array:
    """On the convex hull of the corners, by the norm that `min_norm_weights` minimises."""
    differences = jnp.asarray(corners) - x
    return min_norm_weights(differences @ differences.T) @ jnp.asarray(corners)


@pytest.mark.parametrize(("size", "number", "depth"), [(2, 2, 9), (2, 3, 8), (3, 2, 10), (3, 3, 9)])
def test_boxes_cover_the_pareto_set_of_squared_distances(size, number, depth):
    """That set is the hull of the targets: by samples of it, all of it is covered, and no box is farther than one."""
    corners = CORNERS[:number, :size]
    cover = jax.jit(lambda: box_subdivision(lambda x: nearest(x, corners), np.zeros(size), np.ones(size), depth))()
    assert cover.complete
    np.testing.assert_allclose(cover.width, 0.5 ** np.array([(depth + size - 1 - j) // size for j in range(size)]))
    centres = np.asarray(cover.centre)[cover.valid]
    weights = np.random.default_rng(0).dirichlet(np.ones(number), 40_000)
    gap = np.abs((weights @ corners)[:, None] - centres) / np.asarray(cover.width)
    covered = np.any(np.all(gap <= 0.5 + 1e-5, -1), 1)
    assert covered.mean() > 0.99  # boxes that the set barely touches may have no image of a test point
    assert np.all(gap.max(-1).min(0) < 1.0)
    assert len(np.unique(centres, axis=0)) == len(centres)


def test_a_set_in_two_pieces_and_outside():
    cover = box_subdivision(lambda x: jnp.sign(x), np.array([-1.5]), np.array([1.5]), 5, capacity=4)
    np.testing.assert_allclose(np.sort(cover.centre[cover.valid, 0]), [-0.984375, 0.984375])
    assert not box_subdivision(lambda x: x + 10.0, np.zeros(2), np.ones(2), 2).valid.any()


def test_a_capacity_that_is_too_small_is_told():
    stay = box_subdivision(lambda x: x, np.zeros(2), np.ones(2), 4, capacity=8)
    assert not stay.complete
    assert stay.valid.all()
    assert box_subdivision(lambda x: x, np.zeros(2), np.ones(2), 4, capacity=16).complete


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
        (lambda: box_subdivision(jnp.sin, jnp.zeros(2), jnp.zeros(2), 3), "high - low must be"),
        (lambda: box_subdivision(jnp.sin, jnp.zeros(2), jnp.ones(3), 3), r"high \(3,\)"),
        (lambda: box_subdivision(jnp.sin, jnp.zeros(2), jnp.ones(2), 25), "depth must be at most 24; got 25"),
        (lambda: box_subdivision(jnp.sin, jnp.zeros(2), jnp.ones(2), 3, points=0), "points must be an integer >= 1"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
