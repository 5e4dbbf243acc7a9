"""MAP-Elites and CMA-ME: archives that are true, wider than random search's, and searches that start anew."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.algos import map_elites
from rlx.envs.scoring import planar_arm, projected_sphere
from rlx.exploration import grid_cell
from rlx.runtime import Table, fit, train
from rlx.runtime.report import report

CONFIG = map_elites.Config(batch_size=64, num_emitters=4, iso=0.02, line=0.1, sigma=0.1, low=0.0, high=1.0, offset=-0.5)


def make(config, num_cells=144, **options):
    return map_elites.make(
        config,
        lambda key, genome: planar_arm(genome),
        lambda key: jax.random.uniform(key, (4,)),
        lambda descriptor: grid_cell(descriptor, 0.0, 1.0, (12, 12)),
        num_cells=num_cells,
        **options,
    )


@pytest.mark.parametrize("emitter", ["iso_line", "random_direction"])
def test_archive_is_true_and_wider_than_that_of_random_genomes(emitter):
    state, metrics = jax.jit(lambda key: train(make(dataclasses.replace(CONFIG, emitter=emitter)), key, 30))(
        jax.random.key(0)
    )
    archive = state.archive
    fitness, descriptor = planar_arm(archive.genome[archive.filled])
    np.testing.assert_allclose(fitness, archive.fitness[archive.filled], atol=1e-6)
    np.testing.assert_array_equal(grid_cell(descriptor, 0.0, 1.0, (12, 12)), np.flatnonzero(archive.filled))
    for name in ("coverage", "qd_score", "maximum"):
        assert np.all(np.diff(metrics[name]) > -1e-4)  # an elite is only replaced by a better one
    drawn = planar_arm(jax.random.uniform(jax.random.key(1), (31 * 64, 4)))
    random = np.full(144, -np.inf)
    np.maximum.at(random, np.asarray(grid_cell(drawn[1], 0.0, 1.0, (12, 12))), np.asarray(drawn[0]))
    assert metrics["qd_score"][-1] > np.sum(random[np.isfinite(random)] + 0.5)
    assert metrics["maximum"][-1] > random.max()


def test_a_search_that_adds_nothing_starts_anew():
    """Fitness and descriptor are the same everywhere, so that after the first elite there is nothing to add."""
    config = dataclasses.replace(CONFIG, emitter="improvement", low=None, high=None)
    algorithm = map_elites.make(
        config,
        lambda key, genome: (jnp.zeros(len(genome)), jnp.zeros((len(genome), 1))),
        lambda key: jax.random.normal(key, (3,)),
        lambda descriptor: jnp.zeros(len(descriptor), int),
        num_cells=2,
    )
    state, _ = jax.jit(lambda key: algorithm.update(algorithm.init(key)))(jax.random.key(0))
    search, _ = state.searches
    np.testing.assert_array_equal(search.mean, np.tile(state.archive.genome[0], (4, 1)))
    np.testing.assert_array_equal(search.sigma, np.full(4, config.sigma, np.float32))


def test_the_archive_of_a_grid_is_drawn(tmp_path):
    run = fit(make(CONFIG, (12, 12)), total_steps=64, out=tmp_path / "run", progress=False)
    archive = run.state.archive
    stored = Table.read(tmp_path / "run" / "archive.csv")
    cell = np.ravel_multi_index((stored["x"].astype(int), stored["y"].astype(int)), (12, 12))
    np.testing.assert_array_equal(cell, np.flatnonzero(archive.filled))
    np.testing.assert_allclose(stored["value"], archive.fitness[archive.filled], rtol=1e-6)
    assert "archive.png" in {file.name for file in report(tmp_path / "run").files}
    with pytest.raises(ValueError, match="num_cells"):
        make(CONFIG, (12, 0))


def test_genomes_may_be_trees_and_the_best_acts():
    algorithm = map_elites.make(
        dataclasses.replace(CONFIG, low=None, high=None),
        lambda key, genome: (-jnp.square(genome["a"]), jnp.sum(genome["b"], axis=1, keepdims=True)),
        lambda key: {"a": jax.random.normal(key), "b": jnp.zeros(2)},
        lambda descriptor: grid_cell(descriptor, -1.0, 1.0, (5,)),
        num_cells=5,
        policy=lambda genome: genome,
    )
    run = fit(algorithm, total_steps=64 * 20, log_every=64 * 20, progress=False)
    best = algorithm.policy(run.state)["a"]
    assert float(best**2) == pytest.approx(-np.max(np.where(run.state.archive.filled, run.state.archive.fitness, -1)))
    with pytest.raises(ValueError, match="policy must be a function"):
        make(CONFIG).policy(None)


def test_projected_sphere_by_hand():
    fitness, place = projected_sphere(jnp.array([[2.048, 2.048], [10.24, -1.0]]))
    np.testing.assert_allclose(fitness, [0.0, -((10.24 - 2.048) ** 2) - 3.048**2], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(place, [[2.048, 2.048], [0.5, -1.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(emitter="random"), "emitter must be one of"),
        (dict(emitter="improvement", num_emitters=5), "num_emitters must divide"),
        (dict(sigma=0.0), "sigma"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **change)
