"""Weight sets against pymoo, known distributions, vertex enumeration by scipy, and deep sea treasure."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pymoo.util.ref_dirs import get_reference_directions
from scipy import spatial, stats

from rlx.pareto import corner_weights, sample_directions, sample_weights, simplex_grid, unit_direction


def in_order(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(np.round(rows, 6).T[::-1])]


@pytest.mark.parametrize(("m", "divisions"), [(1, 5), (2, 1), (2, 10), (3, 7), (5, 4)])
def test_grid_is_das_and_dennis(m, divisions):
    found = np.asarray(simplex_grid(m, divisions))
    assert found.shape == (math.comb(divisions + m - 1, m - 1), m)
    np.testing.assert_allclose(found, in_order(found), atol=1e-6)
    if m > 1:
        wanted = get_reference_directions("das-dennis", m, n_partitions=divisions)
        np.testing.assert_allclose(found, in_order(wanted), atol=1e-6)
    else:
        np.testing.assert_array_equal(found, [[1.0]])


@pytest.mark.parametrize(
    ("kind", "m", "first"),
    [
        ("uniform", 2, stats.uniform().cdf),
        ("uniform", 4, stats.beta(1, 3).cdf),
        ("gaussian", 2, lambda x: 2 / np.pi * np.arctan(x / (1 - x))),
    ],
)
def test_samples_have_their_distribution(kind, m, first):
    weights = np.asarray(sample_weights(jax.random.key(0), 4000, m, kind))
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    assert weights.min() >= 0
    for column in weights.T:
        assert stats.kstest(column, first).pvalue > 1e-3


@pytest.mark.parametrize(("low", "high"), [(-np.pi / 4, 0.0), (np.array([0.2, -1.0]), np.array([1.5, 0.5]))])
def test_angles_of_sampled_directions_are_uniform(low, high):
    directions = np.asarray(sample_directions(jax.random.key(1), 4000, low, high))
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0, rtol=1e-5)
    tail = np.sqrt(np.cumsum(directions[:, ::-1] ** 2, axis=1))[:, ::-1]
    angles = np.arctan2(tail[:, 1:], directions[:, :-1])
    angles[:, -1] = np.arctan2(directions[:, -1], directions[:, -2])
    for angle, first, last in zip(angles.T, np.atleast_1d(low), np.atleast_1d(high), strict=True):
        assert stats.kstest((angle - first) / (last - first), stats.uniform().cdf).pvalue > 0.01


def test_unit_directions():
    angle = np.random.default_rng(0).uniform(0, np.pi / 2, (50, 3)).astype(np.float32)
    direction = np.asarray(unit_direction(angle))
    assert direction.min() > -1e-6
    np.testing.assert_allclose(np.linalg.norm(direction, axis=-1), 1, rtol=1e-5)
    for k in range(3):  # each angle is that between its axis and the rest
        rest = np.linalg.norm(direction[:, k + 1 :], axis=-1)
        np.testing.assert_allclose(np.arctan2(rest, direction[:, k]), angle[:, k], atol=1e-5)
    np.testing.assert_allclose(unit_direction(jnp.array([0.3])), [np.cos(0.3), np.sin(0.3)], rtol=1e-6)


def vertices(points: np.ndarray) -> np.ndarray:
    """By scipy, in (w_1, ..., w_m-1, u): u >= w.P_i, w >= 0, sum of these w <= 1, u <= a bound that is taken away."""
    n, m = points.shape
    bound = np.abs(points).max() + 10
    slope = points[:, :-1] - points[:, -1:]  # w.P = P_m + w.slope
    rows = [np.hstack([slope, -np.ones((n, 1)), points[:, -1:]])]
    rows.append(np.hstack([-np.eye(m - 1), np.zeros((m - 1, 2))]))
    rows.append(np.append(np.ones(m - 1), [0.0, -1.0])[None])
    rows.append(np.append(np.zeros(m - 1), [1.0, -bound])[None])
    inside = np.append(np.full(m - 1, 1 / m), bound - 1)
    found = spatial.HalfspaceIntersection(np.vstack(rows), inside).intersections
    weights = found[found[:, -1] < bound - 1e-6, :-1]
    weights = np.hstack([weights, 1 - weights.sum(axis=1, keepdims=True)])
    return in_order(np.unique(np.round(weights, 8), axis=0))


@pytest.mark.parametrize(("m", "n", "number"), [(2, 10, 300), (3, 8, 150), (4, 5, 60)])
@pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-7), ("float32", 2e-3)])
def test_corners_equal_vertex_enumeration(m, n, number, dtype, atol):
    rng = np.random.default_rng(m)
    points = rng.normal(size=(number, n, m))
    points[::2] /= np.linalg.norm(points[::2], axis=-1, keepdims=True) / 100
    points[::3, -2:] = points[::3, :2]  # equal rows
    valid = rng.random((number, n)) < 0.8
    valid[:, 0] = True
    with jax.enable_x64(dtype == "float64"):
        weights, found = jax.jit(jax.vmap(corner_weights))(points.astype(dtype), valid)
    weights, found = np.asarray(weights, float), np.asarray(found)
    assert weights.shape[1] == math.comb(n + m, m)
    assert np.all(weights >= 0)
    for i in range(number):
        rows, wanted = points[i][valid[i]], vertices(points[i][valid[i]])
        if dtype == "float64":
            assert len(wanted) == found[i].sum()
            np.testing.assert_allclose(in_order(weights[i][found[i]]), wanted, atol=atol)
        else:  # near parallel planes meet anywhere: what is found must be close to the surface's vertices in value
            value = (weights[i][found[i]] @ rows.T).max(axis=1)
            nearest = np.abs(weights[i][found[i]][:, None] - wanted).max(axis=-1).argmin(axis=1)
            np.testing.assert_allclose(value, (wanted[nearest] @ rows.T).max(axis=1), atol=atol * np.abs(rows).max())
            assert set(nearest.tolist()) == set(range(len(wanted)))


def test_two_rows_tie_at_a_corner():
    """Closed form: w_1 = (b_2 - a_2) / ((b_2 - a_2) + (a_1 - b_1))."""
    a, b = np.array([5.0, 1.0]), np.array([2.0, 2.0])
    weights, valid = corner_weights(jnp.array([a, b]))
    first = (b[1] - a[1]) / ((b[1] - a[1]) + (a[0] - b[0]))
    np.testing.assert_allclose(in_order(np.asarray(weights[valid])), [[0, 1], [first, 1 - first], [1, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "gamma", "number"),
    [
        ("convex", 1.0, 9),
        ("convex", 0.99, 10),
        ("convex", 0.95, 6),
        ("concave", 1.0, 2),
        ("concave", 0.99, 2),
        ("concave", 0.95, 2),
    ],
)
def test_how_many_rows_of_deep_sea_treasure_are_best_for_some_weight(deep_sea_treasure, shape, gamma, number):
    """Between neighbouring corners one row is best, so there are as many as corners, less one."""
    with jax.enable_x64(True):
        _, valid = jax.jit(corner_weights)(deep_sea_treasure(shape, gamma))
    assert int(valid.sum()) - 1 == number


def test_degenerate_sets():
    simplex = np.eye(3)[::-1]
    for points, mask in ((np.ones((4, 3)), None), (np.zeros((2, 3)), None), (np.eye(3), [True, False, False])):
        weights, valid = jax.jit(corner_weights)(points, None if mask is None else np.array(mask))
        np.testing.assert_allclose(in_order(np.asarray(weights[valid])), simplex, atol=1e-6)
    assert not jax.jit(corner_weights)(jnp.eye(3), jnp.zeros(3, bool))[1].any()
    line = jnp.stack([jnp.arange(6.0), 5 - jnp.arange(6.0)], axis=1)  # all tie at (1/2, 1/2): one corner
    weights, valid = jax.jit(corner_weights)(line)
    np.testing.assert_allclose(in_order(np.asarray(weights[valid])), [[0, 1], [0.5, 0.5], [1, 0]], atol=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="num_objectives must be an integer >= 1; got 0"):
        simplex_grid(0, 3)
    with pytest.raises(ValueError, match=r"divisions must be an integer >= 1; got 0\.5"):
        simplex_grid(2, 0.5)
    with pytest.raises(ValueError, match="num must be an integer >= 1; got 0"):
        sample_weights(jax.random.key(0), 0, 3)
    with pytest.raises(ValueError, match="kind must be 'uniform' or 'gaussian'; got 'normal'"):
        sample_weights(jax.random.key(0), 2, 3, "normal")
    with pytest.raises(ValueError, match=r"angle must be of shape .*got \(\)"):
        unit_direction(jnp.array(0.5))
    with pytest.raises(ValueError, match="low"):
        sample_directions(jax.random.key(0), 3, jnp.zeros(2), 1.0)
    with pytest.raises(ValueError, match="points must have rank 2"):
        corner_weights(jnp.zeros(3))
