"""Dominance, ranks and crowding against moocore and pymoo on a thousand sets, and against their definitions."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import moocore
import numpy as np
import pytest
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance

from rlx.pareto import crowding_distance, dominates, nondominated_mask, nondominated_rank

OBJECTIVES = (1, 2, 3, 4, 5)
DTYPES = ("float64", "float32")


def test_dominates_is_a_strict_partial_order():
    vectors = np.array(list(itertools.product(range(3), repeat=3)), float)
    found = np.asarray(dominates(vectors[:, None], vectors))
    for a, b in itertools.product(range(len(vectors)), repeat=2):
        pairs = list(zip(vectors[a], vectors[b], strict=True))
        assert found[a, b] == (all(x >= y for x, y in pairs) and any(x > y for x, y in pairs))
    assert not np.any(found & found.T)
    assert not np.any((found @ found) & ~found)


def test_nan_neither_dominates_nor_is_dominated():
    nan, best = jnp.array([jnp.nan, 9.0]), jnp.array([9.0, 9.0])
    assert not bool(dominates(nan, jnp.zeros(2)))
    assert not bool(dominates(best, nan))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", OBJECTIVES)
def test_mask_equals_moocore(random_sets, m, dtype):
    sets = random_sets(m, dtype)
    for keep in (False, True):
        with jax.enable_x64(dtype == "float64"):
            found = jax.jit(jax.vmap(lambda p, v, keep=keep: nondominated_mask(p, v, keep_duplicates=keep)))(
                sets.points, sets.valid
            )
        assert not np.any(found & ~sets.valid)
        for mask, valid, rows in zip(np.asarray(found), sets.valid, sets.rows, strict=True):
            if len(rows):
                wanted = moocore.is_nondominated(rows, maximise=True, keep_weakly=keep)
                np.testing.assert_array_equal(mask[valid], wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", OBJECTIVES)
def test_rank_equals_moocore(random_sets, m, dtype):
    sets = random_sets(m, dtype)
    with jax.enable_x64(dtype == "float64"):
        found = np.asarray(jax.jit(jax.vmap(nondominated_rank))(sets.points, sets.valid))
    assert np.all(found[~sets.valid] == sets.points.shape[1])
    for rank, valid, rows in zip(found, sets.valid, sets.rows, strict=True):
        if len(rows):
            np.testing.assert_array_equal(rank[valid], moocore.pareto_rank(rows, maximise=True))


@pytest.mark.parametrize("m", [2, 3])
def test_rank_of_thousands_of_rows(m):
    points = np.random.default_rng(m).normal(size=(3000, m)).astype(np.float32)
    wanted = moocore.pareto_rank(points.astype(float), maximise=True)
    np.testing.assert_array_equal(jax.jit(nondominated_rank)(points), wanted)


def test_rank_of_a_chain():
    order = np.random.default_rng(0).permutation(500)
    np.testing.assert_array_equal(nondominated_rank(-jnp.stack([order, order], axis=1)), order)


@pytest.mark.parametrize("m", OBJECTIVES)
def test_rank_zero_is_the_mask_with_duplicates(random_sets, m):
    points, valid = random_sets(m, "float32")
    rank = jax.jit(jax.vmap(nondominated_rank))(points, valid)
    mask = jax.jit(jax.vmap(lambda p, v: nondominated_mask(p, v, keep_duplicates=True)))(points, valid)
    np.testing.assert_array_equal(rank == 0, mask)


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-9), ("float32", 1e-5)])
@pytest.mark.parametrize("m", OBJECTIVES)
def test_crowding_of_each_front_equals_pymoo(random_sets, m, dtype, rtol):
    sets = random_sets(m, dtype)
    with jax.enable_x64(dtype == "float64"):
        rank = jax.jit(jax.vmap(nondominated_rank))(sets.points, sets.valid)
        found = np.asarray(jax.jit(jax.vmap(crowding_distance))(sets.points, sets.valid, rank))
        rank = np.asarray(rank)
    compared = 0
    for i in range(len(rank)):
        assert np.all(found[i][~sets.valid[i]] == 0)
        for front in np.unique(rank[i][sets.valid[i]]):
            inside = rank[i] == front
            if inside.sum() == 1:
                assert found[i][inside] == np.inf  # pymoo says 0
            else:
                wanted = m * calc_crowding_distance(sets.points[i, inside].astype(float))
                np.testing.assert_allclose(found[i][inside], wanted, rtol=rtol, atol=rtol)
                compared += 1
    assert compared > 50 or m == 1


def test_crowding_does_not_see_units_or_order():
    rng = np.random.default_rng(0)
    points = jnp.asarray(rng.normal(size=(30, 3)))
    order = rng.permutation(30)
    distance = crowding_distance(points)
    scaled = points * jnp.array([2.0, 0.25, 10.0]) + jnp.array([1.0, -3.0, 0.5])
    np.testing.assert_allclose(crowding_distance(scaled), distance, rtol=1e-4)
    np.testing.assert_allclose(crowding_distance(points[order]), distance[order], rtol=1e-4)


def test_rows_with_nan_do_not_count():
    points = jnp.array([[1.0, 2.0], [jnp.nan, 9.0], [2.0, 1.0], [0.0, 0.0], [1.5, 1.5]])
    without = points[jnp.array([0, 2, 3, 4])]
    for kernel, nothing in ((nondominated_mask, False), (nondominated_rank, 5), (crowding_distance, 0.0)):
        found = kernel(points)
        assert found[1] == nothing
        np.testing.assert_array_equal(jnp.delete(found, 1), kernel(without))


@pytest.mark.parametrize("kernel", [nondominated_mask, nondominated_rank, crowding_distance])
def test_what_does_not_fit_is_refused(kernel):
    points = jnp.zeros((4, 2))
    with pytest.raises(ValueError, match=r"points must have rank 2; got shape \(4,\)"):
        kernel(jnp.zeros(4))
    with pytest.raises(ValueError, match=r"points must be .*at least one row.*got"):
        kernel(jnp.zeros((0, 2)))
    with pytest.raises(ValueError, match=r"valid of points must be bool \(4,\); got .*\(3,\)"):
        kernel(points, jnp.ones(3, bool))
    with pytest.raises(ValueError, match=r"valid of points must be bool \(4,\); got 'float32"):
        kernel(points, jnp.ones(4))


def test_what_does_not_fit_one_kernel_is_refused():
    with pytest.raises(ValueError, match=r"rank must be integers \(4,\); got 'float32"):
        crowding_distance(jnp.zeros((4, 2)), None, jnp.zeros(4))
    with pytest.raises(ValueError, match=r"b must be of shape \[..., 2\].*got \(3,\)"):
        dominates(jnp.zeros(2), jnp.zeros(3))
    with pytest.raises(ValueError, match=r"b must be of shape \[..., m\].*got \(\)"):
        dominates(1.0, 2.0)
