"""Archives against insertion one by one in NumPy, drawing by counting, signatures by geometry."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.exploration import (
    archive_metrics,
    autoencoder_descriptor,
    empty_archive,
    grid_cell,
    insert_elites,
    insert_random,
    iso_line,
    path_signature,
    sample_elites,
)

CELLS = 12


def one_by_one(batches):
    """Fitness and row of each cell's elite, by comparing each row with the cell as it then is."""
    fitness, row = np.full(CELLS, -np.inf), np.full(CELLS, -1)
    for number, (values, cells) in enumerate(batches):
        for i, (value, cell) in enumerate(zip(values, cells, strict=True)):
            if 0 <= cell < CELLS and value > fitness[cell]:
                fitness[cell], row[cell] = value, 100 * number + i
    return fitness, row


def test_a_batch_is_inserted_as_its_rows_would_be_one_by_one():
    """Fitness in few values, so that many rows tie; NaNs and cells that do not exist."""
    rng = np.random.default_rng(0)
    insert = jax.jit(insert_elites)
    archive = empty_archive({"row": jnp.zeros((), int), "genes": jnp.zeros(2)}, CELLS, 1)
    batches = []
    for number in range(6):
        fitness = rng.integers(3 + number, size=40).astype(float)
        fitness[rng.integers(40)] = np.nan
        cell = rng.integers(-1, CELLS + 1 - 4 * (number < 2), size=40)
        row = 100 * number + np.arange(40)
        genome = {"row": jnp.asarray(row), "genes": jnp.stack([jnp.asarray(row), -jnp.asarray(row)], 1).astype(float)}
        before = np.where(archive.filled, archive.fitness, -np.inf)
        archive, made = insert(archive, genome, jnp.asarray(fitness), jnp.asarray(row[:, None] / 2), jnp.asarray(cell))
        batches.append((fitness, cell))
        there = (cell >= 0) & (cell < CELLS) & ~np.isnan(fitness)
        old = np.where(there, before[np.clip(cell, 0, CELLS - 1)], np.inf)
        np.testing.assert_array_equal(made.status, np.where(fitness > old, np.where(np.isinf(old), 2, 1), 0))
        np.testing.assert_allclose(made.gain[there], np.where(np.isinf(old), fitness, fitness - old)[there])
    wanted_fitness, wanted_row = one_by_one(batches)
    filled = np.isfinite(wanted_fitness)
    assert filled.sum() > 0
    np.testing.assert_array_equal(archive.filled, filled)
    np.testing.assert_array_equal(archive.fitness[filled], wanted_fitness[filled])
    np.testing.assert_array_equal(archive.genome["row"][filled], wanted_row[filled])
    np.testing.assert_array_equal(archive.genome["genes"][filled][:, 1], -wanted_row[filled])
    np.testing.assert_array_equal(archive.descriptor[filled][:, 0], wanted_row[filled] / 2)
    metrics = archive_metrics(archive.fitness, archive.filled, offset=-1.0)
    np.testing.assert_allclose(metrics, [filled.mean(), (wanted_fitness[filled] + 1).sum(), wanted_fitness.max()])


def test_cells_are_those_of_numpy():
    descriptor = np.random.default_rng(1).uniform(-1, 1, size=(200, 2))
    shape, low, high = (3, 5), np.array([-1.0, -0.5]), np.array([1.0, 0.5])
    edges = [np.linspace(a, b, n + 1) for a, b, n in zip(low, high, shape, strict=True)]
    columns = zip(descriptor.T, edges, shape, strict=True)
    places = [np.clip(np.searchsorted(edge, x, side="right") - 1, 0, n - 1) for x, edge, n in columns]
    got = grid_cell(jnp.asarray(descriptor), low, high, shape)
    np.testing.assert_array_equal(got, np.ravel_multi_index(places, shape))
    assert grid_cell(jnp.array([[np.nan, 0.0]]), low, high, shape).tolist() == [-1]


def test_elites_are_drawn_uniformly():
    """12,000 draws of 4 cells: standard error of a share 0.004."""
    filled = jnp.array([False, True, True, False, False, True, True, False])
    drawn = sample_elites(jax.random.key(0), filled, 12_000)
    share = np.bincount(drawn, minlength=8) / 12_000
    np.testing.assert_array_equal(share[[0, 3, 4, 7]], 0.0)
    np.testing.assert_allclose(share[[1, 2, 5, 6]], 0.25, atol=0.016)


def test_variation_has_the_moments_of_its_equation():
    """Covariance of a child: iso^2 I + line^2 (x2 - x1)(x2 - x1)^T, over both leaves of a genome."""
    first = {"a": jnp.ones((20_000, 1)), "b": jnp.zeros((20_000, 2))}
    second = {"a": 3 * jnp.ones((20_000, 1)), "b": jnp.tile(jnp.array([0.0, -1.0]), (20_000, 1))}
    child = iso_line(jax.random.key(0), first, second, iso=0.5, line=0.3)
    genes = np.concatenate([child["a"], child["b"]], axis=1)
    along = np.array([2.0, 0.0, -1.0])
    np.testing.assert_allclose(genes.mean(0), [1, 0, 0], atol=0.02)
    np.testing.assert_allclose(np.cov(genes.T), 0.25 * np.eye(3) + 0.09 * np.outer(along, along), atol=0.02)


def test_random_insertion_fills_and_then_overwrites_each_row_alike():
    """4,000 insertions of 2 rows over 5 old ones: each is overwritten with probability 2/5, standard error 0.008."""
    new, accept = jnp.array([10.0, 11.0, 12.0]), jnp.array([True, False, True])
    full = jnp.ones(5, bool)
    insert = jax.jit(jax.vmap(lambda key: insert_random(key, jnp.arange(5.0), full, new, accept)))
    memory, filled = insert(jax.random.split(jax.random.key(0), 4000))
    assert bool(filled.all())
    np.testing.assert_array_equal(np.sort(memory, axis=1)[:, 3:], np.tile([10.0, 12.0], (4000, 1)))
    np.testing.assert_allclose(np.mean(np.asarray(memory) >= 10, axis=0), 0.4, atol=0.035)
    memory, filled = insert_random(
        jax.random.key(1), jnp.arange(2.0), jnp.array([False, True]), jnp.arange(5.0, 9.0), jnp.ones(4, bool)
    )
    assert memory.tolist() == [5.0, 6.0]  # the free row first, then the old one; the rest has no place
    assert filled.tolist() == [True, True]


def test_area_of_a_signature_is_the_shoelace_area():
    rng = np.random.default_rng(2)
    corners = rng.normal(size=(7, 2))
    x, y = np.append(corners, corners[:1], axis=0).T
    shoelace = 0.5 * np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])
    level = np.asarray(path_signature(jnp.stack([jnp.asarray(x), jnp.asarray(y)], 1)))
    np.testing.assert_allclose(level[:2], 0.0, atol=1e-6)
    np.testing.assert_allclose((level[3] - level[4]) / 2, shoelace, rtol=1e-5)


def test_signature_of_joined_paths_is_the_product_and_products_of_entries_are_shuffles():
    rng = np.random.default_rng(3)
    with jax.enable_x64(True):
        path = rng.normal(size=(9, 3))
        parts = [np.asarray(path_signature(jnp.asarray(x), order=3)) for x in (path[:5], path[4:], path)]
    (a1, a2, a3), (b1, b2, b3), (c1, c2, c3) = ((s[:3], s[3:12].reshape(3, 3), s[12:].reshape(3, 3, 3)) for s in parts)
    np.testing.assert_allclose(c1, a1 + b1)
    np.testing.assert_allclose(c2, a2 + np.outer(a1, b1) + b2)
    np.testing.assert_allclose(c3, a3 + np.einsum("ij,k->ijk", a2, b1) + np.einsum("i,jk->ijk", a1, b2) + b3)
    np.testing.assert_allclose(c2 + c2.T, np.outer(c1, c1))
    twice = np.einsum("i,jk->ijk", c1, c2)
    shuffles = c3 + np.einsum("jik->ijk", c3) + np.einsum("jki->ijk", c3)
    np.testing.assert_allclose(shuffles, twice, atol=1e-9)


def test_surprise_is_summed_over_frames():
    rng = np.random.default_rng(4)
    encoding, seen, made = rng.normal(size=(5, 2, 3)), rng.random((5, 2, 4, 4, 1)), rng.random((5, 2, 4, 4, 1))
    descriptor, surprise = autoencoder_descriptor(jnp.asarray(encoding), jnp.asarray(made), jnp.asarray(seen))
    np.testing.assert_allclose(descriptor, encoding.reshape(5, 6), rtol=1e-6)
    np.testing.assert_allclose(surprise, ((seen - made) ** 2).mean((2, 3, 4)).sum(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grid_cell(jnp.zeros((3, 2)), 0.0, 1.0, (4,)), r"descriptor must be \[..., 1\]"),
        (
            lambda: insert_elites(empty_archive(jnp.zeros(2), 3, 1), jnp.zeros((4, 2)), *[jnp.zeros(5)] * 3),
            "genome",
        ),
        (
            lambda: insert_random(jax.random.key(0), *[jnp.zeros(3)] * 3, jnp.ones(3, bool)),
            "filled",
        ),
        (lambda: iso_line(jax.random.key(0), jnp.zeros((2, 3)), {"a": jnp.zeros((2, 3))}), "second"),
        (lambda: path_signature(jnp.zeros(3)), "path"),
        (lambda: path_signature(jnp.zeros((3, 2)), order=0), "order"),
        (lambda: autoencoder_descriptor(jnp.zeros((4, 2)), jnp.zeros((3, 5)), jnp.zeros((3, 5))), "encoding"),
        (lambda: archive_metrics(jnp.zeros(2), jnp.zeros(3, bool)), "same shape"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_empty_archive():
    archive = empty_archive(jnp.zeros(1), 3, 1)
    assert [float(x) for x in archive_metrics(archive.fitness, archive.filled)] == [0.0, 0.0, -np.inf]
