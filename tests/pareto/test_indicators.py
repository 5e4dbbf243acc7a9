"""Indicators against moocore on a thousand sets, against their definitions, and where their values are known."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import moocore
import numpy as np
import pytest

from rlx.pareto import (
    additive_epsilon,
    expected_utility,
    hypervolume,
    hypervolume_contributions,
    hypervolume_monte_carlo,
    igd_plus,
    maximum_utility_loss,
    nondominated_mask,
    scalarise,
    simplex_grid,
    sparsity,
)

OBJECTIVES = (1, 2, 3, 4, 5)
PRECISION = pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-9), ("float32", 1e-5)])


def over_sets(kernel, *arrays):
    """The kernel on each set, in the precision of the arrays."""
    with jax.enable_x64(arrays[0].dtype == np.float64):
        return np.asarray(jax.jit(jax.vmap(kernel))(*arrays))


def reference_sets(random_sets, m, dtype):
    """Other sets, none of them empty."""
    sets = random_sets(m, dtype, seed=1)
    sets.valid[:, 0] = True
    return sets


@PRECISION
@pytest.mark.parametrize("m", OBJECTIVES)
@pytest.mark.parametrize("low", [0.0, -3.0])
def test_hypervolume_equals_moocore(random_sets, m, low, dtype, rtol):
    sets = random_sets(m, dtype)
    ref = np.full(m, low, dtype) + np.arange(m, dtype=dtype) / 8
    found = over_sets(lambda p, v: hypervolume(p, ref, v), *sets)
    wanted = [moocore.hypervolume(rows, ref=ref, maximise=True) if len(rows) else 0.0 for rows in sets.rows]
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=1e-12)


@PRECISION
@pytest.mark.parametrize("m", OBJECTIVES)
def test_contributions_equal_moocore(random_sets, m, dtype, rtol):
    sets = random_sets(m, dtype)
    ref = np.full(m, -0.125, dtype)
    found = over_sets(lambda p, v: hypervolume_contributions(p, ref, v), *sets)
    total = over_sets(lambda p, v: hypervolume(p, ref, v), *sets)
    assert np.all(found >= 0)
    assert np.all(found[~sets.valid] == 0)
    for contribution, volume, valid, rows in zip(found, total, sets.valid, sets.rows, strict=True):
        if len(rows) > 1:  # `moocore.hv_contributions` itself takes what is below 1.5e-8 for 0
            rest = [moocore.hypervolume(np.delete(rows, i, axis=0), ref=ref, maximise=True) for i in range(len(rows))]
            wanted = moocore.hypervolume(rows, ref=ref, maximise=True) - np.array(rest)
            np.testing.assert_allclose(contribution[valid], wanted, rtol=rtol, atol=rtol * volume + 1e-12)
        elif len(rows):
            np.testing.assert_allclose(contribution[valid], volume, rtol=rtol)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_contributions_among_the_non_dominated(random_sets, m):
    sets = random_sets(m, "float64")

    def kernel(points, valid):
        return hypervolume_contributions(points, jnp.zeros(m), valid & nondominated_mask(points, valid))

    for found, valid, rows in zip(over_sets(kernel, *sets), sets.valid, sets.rows, strict=True):
        distinct = len(np.unique(rows, axis=0)) == len(rows)  # of equal rows the mask leaves one, moocore none
        if len(rows) > 1 and distinct:
            wanted = moocore.hv_contributions(rows, ref=np.zeros(m), maximise=True)
            np.testing.assert_allclose(found[valid], wanted, rtol=1e-9, atol=2e-8)


def test_small_contributions_keep_their_digits():
    points = np.array([[1.0, 1.0, 1.0], [1.0 + 2**-12, 2**-12, 2**-12]], np.float32)
    found = jax.jit(hypervolume_contributions)(points, jnp.zeros(3))
    assert found[1] == pytest.approx(2**-36, rel=1e-5)  # the difference of two float32 hypervolumes is 0


@pytest.mark.parametrize(
    ("shape", "gamma", "wanted"),
    [
        ("convex", 1.0, 994.3),
        ("convex", 0.99, 854.8504),
        ("convex", 0.98, 731.6139),
        ("concave", 1.0, 4255.0),
        ("concave", 0.99, 3688.3771),
        ("concave", 0.98, 3175.1971),
    ],
)
def test_hypervolume_of_deep_sea_treasure(deep_sea_treasure, shape, gamma, wanted):
    assert hypervolume(deep_sea_treasure(shape, gamma), jnp.array([0.0, -50.0])) == pytest.approx(wanted, rel=1e-6)


def test_hypervolume_of_a_mixture_of_two_policies():
    """The segment between the ends of the concave front, in the limit of many points: 49 + 123 * 40."""
    share = np.linspace(0, 1, 4001)[:, None]
    points = (1 - share) * np.array([1.0, -1.0]) + share * np.array([124.0, -19.0])
    with jax.enable_x64(True):
        assert hypervolume(points, jnp.array([0.0, -50.0])) == pytest.approx(4969.0, abs=0.5)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_an_equal_objective_only_scales(random_sets, m):
    """With one more objective, 2 above the reference in all rows, volumes double."""
    points, valid = (x[:50] for x in random_sets(m, "float64"))
    more = np.concatenate([points, np.full((*points.shape[:2], 1), 5.0)], axis=-1)
    ref = np.append(np.zeros(m), 3.0)
    turns = range(m + 1)  # whichever objective it is
    turned = np.concatenate([np.roll(more, turn, axis=-1) for turn in turns])
    refs = np.repeat([np.roll(ref, turn) for turn in turns], 50, axis=0)
    for kernel in (hypervolume, hypervolume_contributions):
        flat = over_sets(kernel, points, np.zeros((50, m)), valid)
        found = over_sets(kernel, turned, refs, np.tile(valid, (m + 1, 1)))
        np.testing.assert_allclose(found, np.concatenate([2 * flat] * (m + 1)), rtol=1e-9, atol=1e-12)


def test_integers_and_tuples_are_taken():
    points = np.array([[3, 1], [1, 2]])
    assert hypervolume(points, (-0.5, 0.5)) == 3.5 * 0.5 + 1.5 * 1.0
    assert igd_plus(points, points + 1) == pytest.approx(np.sqrt(2))
    np.testing.assert_array_equal(hypervolume_contributions(points, (-0.5, 0.5)), [1.0, 1.5])


def test_hypervolume_scales_with_units_and_order():
    rng = np.random.default_rng(0)
    points, scale = rng.normal(size=(12, 4)), np.array([2.0, 0.5, 3.0, 1.0])
    with jax.enable_x64(True):
        volume = hypervolume(points, -jnp.ones(4))
        assert hypervolume(points * scale + 7, scale * -1 + 7) == pytest.approx(3 * volume)
        assert hypervolume(rng.permutation(points), -jnp.ones(4)) == pytest.approx(volume)
        assert hypervolume(points[:, [2, 0, 3, 1]], -jnp.ones(4)) == pytest.approx(volume)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_gradient_is_the_area_of_the_faces(m):
    """Of one row: the product of the other sides. In two dimensions: from the neighbours. Elsewhere: 0."""
    row = jnp.arange(2.0, 2.0 + m)
    grad = jax.jit(jax.grad(hypervolume))(jnp.stack([row, row / 2, jnp.full(m, jnp.nan)]), jnp.zeros(m))
    np.testing.assert_allclose(grad, [jnp.prod(row) / row, jnp.zeros(m), jnp.zeros(m)], rtol=1e-6)


def test_gradient_of_a_staircase():
    points = jnp.array([[1.0, 6.0], [3.0, 5.0], [7.0, 2.0], [-1.0, 9.0], [2.0, 1.0]])
    grad = jax.jit(jax.grad(hypervolume))(points, jnp.zeros(2))
    np.testing.assert_array_equal(grad, [[1.0, 1.0], [3.0, 2.0], [2.0, 4.0], [0.0, 0.0], [0.0, 0.0]])
    kept = jax.jit(jax.grad(lambda p: hypervolume_contributions(p, jnp.zeros(2))[1]))(points)
    assert kept[1].tolist() == [3.0, 2.0]  # its own rectangle (3 - 1) (5 - 2)
    assert kept[0].tolist() == [-3.0, 0.0]


@pytest.mark.parametrize("m", [1, 2, 3, 6])
def test_monte_carlo_is_unbiased_and_knows_its_error(m):
    rng = np.random.default_rng(m)
    points = rng.uniform(-0.2, 1, (9, m)).astype(np.float32)
    valid = np.arange(9) < 7
    points[8] = 9.0  # not valid: must not stretch the box
    ref, keys = jnp.zeros(m), jax.random.split(jax.random.key(m), 400)
    kernel = jax.jit(jax.vmap(lambda key: hypervolume_monte_carlo(key, points, ref, 500, valid)))
    estimate, error = map(np.asarray, kernel(keys))
    exact = float(hypervolume(points, ref, valid))
    if m == 1:  # the box is the set
        np.testing.assert_allclose(estimate, exact, rtol=1e-6)
        np.testing.assert_array_equal(error, 0.0)
    else:
        assert abs(estimate.mean() - exact) < 4 * estimate.std() / 20
        assert error.mean() == pytest.approx(estimate.std(), rel=0.15)


def test_monte_carlo_in_a_given_box():
    points, key = jnp.array([[4.0, 1.0], [1.0, 4.0]]), jax.random.key(0)
    half, error = hypervolume_monte_carlo(key, points, jnp.zeros(2), 20000, ideal=jnp.array([2.0, 8.0]))
    assert abs(half - (4.0 + 1.0)) < 4 * error  # what lies beyond 2 in the first objective is cut off
    outside, error = hypervolume_monte_carlo(key, points, jnp.zeros(2), 10, ideal=jnp.array([-1.0, 8.0]))
    assert (outside, error) == (0.0, 0.0)
    nothing, error = hypervolume_monte_carlo(key, points, jnp.zeros(2), 10, jnp.zeros(2, bool))
    assert (nothing, error) == (0.0, 0.0)


@PRECISION
@pytest.mark.parametrize("m", OBJECTIVES)
@pytest.mark.parametrize(
    ("kernel", "oracle"), [(igd_plus, moocore.igd_plus), (additive_epsilon, moocore.epsilon_additive)]
)
def test_distances_equal_moocore(random_sets, m, dtype, rtol, kernel, oracle):
    sets, references = random_sets(m, dtype), reference_sets(random_sets, m, dtype)
    found = over_sets(
        lambda p, r, v, w: kernel(p, r, v, w), sets.points, references.points, sets.valid, references.valid
    )
    wanted = [
        oracle(rows, ref=reference, maximise=True) if len(rows) else np.inf
        for rows, reference in zip(sets.rows, references.rows, strict=True)
    ]
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol)


def test_a_set_that_covers_the_reference_is_at_no_distance():
    reference = np.random.default_rng(0).normal(size=(7, 3))
    points = np.concatenate([reference + np.array([0.0, 0.5, 1.0]), reference - 2])
    assert igd_plus(points, reference) == 0
    assert additive_epsilon(points, reference) == 0
    grad = jax.grad(igd_plus)(jnp.asarray(points), jnp.asarray(reference))
    np.testing.assert_array_equal(grad, 0.0)  # and no NaN of a root at 0


def test_gradients_ignore_rows_that_do_not_count():
    points, reference = jnp.array([[1.0, 0.0], [jnp.nan, 3.0], [2.0, 2.0]]), jnp.array([[4.0, 4.0], [jnp.nan, 0.0]])
    valid, weights = jnp.array([True, True, False]), jnp.array([[1.0, 3.0]])
    for kernel in (
        lambda p: igd_plus(p, reference, valid),
        lambda p: additive_epsilon(p, reference, valid),
        lambda p: maximum_utility_loss(p, reference, weights, valid),
        lambda p: -expected_utility(p, weights, valid),
        lambda p: -hypervolume(p, -jnp.ones(2), valid),
        lambda p: -hypervolume_contributions(p, -jnp.ones(2), valid).sum(),
    ):
        grad = jax.jit(jax.grad(kernel))(points)
        assert grad[0].min() < 0
        np.testing.assert_array_equal(grad[1:], 0.0)


def test_empty_references():
    points, none = jnp.ones((2, 2)), jnp.zeros(2, bool)
    assert igd_plus(points, points, None, none) == 0
    assert additive_epsilon(points, points, None, none) == -jnp.inf


@PRECISION
@pytest.mark.parametrize("m", OBJECTIVES)
def test_utilities_are_their_definitions(random_sets, m, dtype, rtol):
    sets, references = random_sets(m, dtype), reference_sets(random_sets, m, dtype)
    weights = np.random.default_rng(m).dirichlet(np.ones(m), 30).astype(dtype)
    arrays = sets.points, references.points, sets.valid, references.valid
    found = over_sets(lambda p, v: expected_utility(p, weights, v), sets.points, sets.valid)
    loss = over_sets(lambda p, r, v, w: maximum_utility_loss(p, r, weights, v, w), *arrays)
    for i, (rows, reference) in enumerate(zip(sets.rows, references.rows, strict=True)):
        offered = (rows @ weights.T.astype(float)).max(axis=0, initial=-np.inf)
        best = (reference @ weights.T.astype(float)).max(axis=0)
        np.testing.assert_allclose(found[i], offered.mean(), rtol=rtol, atol=rtol)
        np.testing.assert_allclose(loss[i], (best - offered).max(), rtol=rtol, atol=rtol)


def test_expected_chebyshev_utility_is_minus_r2(random_sets):
    """moocore integrates over all weights exactly; a fine midpoint rule must agree."""
    share = (np.arange(4000) + 0.5) / 4000
    weights = np.stack([share, 1 - share], axis=1)
    ideal = np.full(2, 5.0)
    utility = partial(scalarise, kind="chebyshev", ideal=ideal)
    points, valid = (x[:40] for x in random_sets(2, "float64"))
    found = over_sets(lambda p, v: expected_utility(p, weights, v, utility=utility), points, valid)
    for i in range(40):
        if valid[i].any():
            wanted = moocore.r2_exact(points[i][valid[i]], ref=ideal, maximise=True)
            assert -found[i] == pytest.approx(wanted, rel=1e-5)


def test_utility_loss_of_a_set_against_itself_and_a_part():
    points = np.random.default_rng(0).normal(size=(20, 3))
    weights = simplex_grid(3, 12)
    assert maximum_utility_loss(points, points, weights) == 0
    assert maximum_utility_loss(points[:5], points, weights) > 0
    assert maximum_utility_loss(points, points[:5], weights) <= 0


@PRECISION
@pytest.mark.parametrize("m", OBJECTIVES)
def test_sparsity_is_its_definition(random_sets, m, dtype, rtol):
    sets = random_sets(m, dtype)
    wanted = [
        np.square(np.diff(np.sort(rows, axis=0), axis=0)).sum() / (len(rows) - 1) if len(rows) > 1 else 0.0
        for rows in sets.rows
    ]
    np.testing.assert_allclose(over_sets(sparsity, *sets), wanted, rtol=rtol, atol=1e-9)


def test_sparsity_of_an_even_line():
    points = jnp.stack([jnp.arange(11.0), -2 * jnp.arange(11.0)], axis=1)
    assert sparsity(points) == 5.0  # 1 + 4 for each of ten gaps, over ten
    assert sparsity(jnp.where(jnp.arange(11)[:, None] == 4, jnp.nan, points)) == pytest.approx(5 * 12 / 9)


def test_what_does_not_fit_is_refused():
    points, weights, key = jnp.zeros((4, 2)), jnp.zeros((3, 2)), jax.random.key(0)
    for kernel in (hypervolume, hypervolume_contributions, lambda p, ref: hypervolume_monte_carlo(key, p, ref, 9)):
        with pytest.raises(ValueError, match="points must have rank 2"):
            kernel(jnp.zeros(4), jnp.zeros(2))
        with pytest.raises(ValueError, match=r"ref must be of shape \[..., 2\].*got \(3,\)"):
            kernel(points, jnp.zeros(3))
        with pytest.raises(ValueError, match="ref must have rank 1"):
            kernel(points, jnp.zeros((4, 2)))
    with pytest.raises(ValueError, match="num_samples must be an integer >= 2; got 1"):
        hypervolume_monte_carlo(key, points, jnp.zeros(2), 1)
    with pytest.raises(ValueError, match="ideal must be of shape"):
        hypervolume_monte_carlo(key, points, jnp.zeros(2), 9, ideal=jnp.zeros(3))
    for kernel in (igd_plus, additive_epsilon):
        with pytest.raises(ValueError, match=r"reference must be of shape \[..., 2\].*got \(2, 3\)"):
            kernel(points, jnp.zeros((2, 3)))
        with pytest.raises(ValueError, match="reference must have rank 2"):
            kernel(points, jnp.zeros(2))
    with pytest.raises(ValueError, match="reference must have rank 2"):
        maximum_utility_loss(points, jnp.zeros(2), weights)
    with pytest.raises(ValueError, match="valid of reference must be bool"):
        igd_plus(points, points, None, jnp.zeros(4))
    with pytest.raises(ValueError, match="weights must have rank 2"):
        expected_utility(points, jnp.zeros(2))
    with pytest.raises(ValueError, match=r"weights must be of shape \[..., 2\]"):
        expected_utility(points, jnp.zeros((5, 3)))
