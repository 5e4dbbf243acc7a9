"""Rows of `rlx.exploration`."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from row import A, B, N, Row, T, grid, integers, mask, normal, targets, uniform

from rlx import exploration


def insert_elites(genome, fitness, descriptor, cell, old_fitness, filled):
    """Into an archive of 4 cells, some of them filled."""
    zeros = jax.tree.map(lambda x: jnp.zeros((4, *x.shape[1:]), x.dtype), (genome, descriptor))
    archive = exploration.EliteArchive(zeros[0], jnp.asarray(old_fitness), zeros[1], jnp.asarray(filled))
    return exploration.insert_elites(archive, genome, fitness, descriptor, cell)


def on_search(kernel):
    """The kernel with the fields of a `GaussianSearch` as arguments."""

    def run(mean, sigma, matrix, path, **others):
        return kernel(exploration.GaussianSearch(mean, sigma, matrix, path), **others)

    return run


SEARCH = dict(mean=normal(A), sigma=uniform(0.1, 1), matrix=normal(A, A), path=normal(A))

ROWS = {
    "distill_loss": Row(
        exploration.distill_loss,
        dict(prediction=normal(T, B, A), target=normal(T, B, A)),
        differentiated=("prediction",),
        stopped=("target",),
        extremes={"prediction": np.full((T, B, A), 1e4)},
    ),
    "distill_bonus": targets(exploration.distill_bonus, prediction=normal(T, B, A), target=normal(T, B, A)),
    "count_bonus": Row(exploration.count_bonus, {"visits": uniform(1, 9, T, B)}),
    "simhash": Row(exploration.simhash, dict(features=normal(T, B, A), projection=normal(A, 5))),
    "nearest_neighbours": targets(
        partial(exploration.nearest_neighbours, k=2), query=normal(B, A), reference=normal(N, A), mask=mask(N)
    ),
    "knn_novelty": targets(
        partial(exploration.knn_novelty, k=2, exclude_self=True),
        query=normal(B, A),
        reference=normal(N, A),
        mask=mask(N),
    ),
    "grid_cell": Row(partial(exploration.grid_cell, low=-1.0, high=1.0, shape=(3, 4)), {"descriptor": normal(B, 2)}),
    "insert_elites": targets(
        insert_elites,
        genome=normal(N, A),
        fitness=grid(N),
        descriptor=normal(N, 2),
        cell=integers(4, N),
        old_fitness=grid(4),
        filled=mask(4),
    ),
    "insert_random": targets(
        lambda seed, **arguments: exploration.insert_random(jax.random.key(seed), **arguments),
        seed=integers(9),
        memory=normal(N, A),
        filled=mask(N),
        new=normal(B, A),
        accept=mask(B),
    ),
    "sample_elites": Row(
        lambda seed, filled: exploration.sample_elites(jax.random.key(seed), filled, 3),
        dict(seed=integers(9), filled=mask(N)),
    ),
    "archive_metrics": Row(
        exploration.archive_metrics,
        dict(fitness=normal(N), filled=mask(N), offset=normal()),
        differentiated=("fitness",),
    ),
    "iso_line": Row(
        lambda seed, **arguments: exploration.iso_line(jax.random.key(seed), **arguments),
        dict(seed=integers(9), first=normal(B, A), second=normal(B, A), iso=uniform(0, 1), line=uniform(0, 1)),
        differentiated=("first", "second"),
    ),
    "emitter_order": Row(exploration.emitter_order, dict(value=normal(N), status=integers(3, N))),
    "search_points": Row(
        on_search(exploration.search_points), {**SEARCH, "noise": normal(N, A)}, differentiated=("mean", "matrix")
    ),
    "adapt_search": targets(
        on_search(exploration.adapt_search),
        **SEARCH,
        noise=normal(N, A),
        order=lambda rng: rng.permutation(N),
        num_parents=integers(N),
    ),
    "emitter_improvement": Row(exploration.emitter_improvement, {"reward": normal(T, B)}),
    "emitter_stagnates": Row(partial(exploration.emitter_stagnates, window=3), {"reward": normal(T, B)}),
    "emitter_schedule": Row(exploration.emitter_schedule, dict(evaluations=integers(5000, B), available=mask(B))),
    "autoencoder_descriptor": Row(
        exploration.autoencoder_descriptor,
        dict(encoding=normal(B, 2, A), reconstruction=normal(B, 2, 3, 3), observation=normal(B, 2, 3, 3)),
        differentiated=("encoding", "reconstruction"),
        stopped=("observation",),
    ),
    "path_signature": Row(
        partial(exploration.path_signature, order=3), {"path": normal(B, T, 2)}, differentiated=("path",)
    ),
}
