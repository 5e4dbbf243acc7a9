"""The same search in qdax, and the same insertions in qdax and ribs. Run by the peer's Python with a specification
(JSON) as argument.

qdax's own MAP-Elites, arm, operator and metrics, as one compiled scan; its archive finds cells by the nearest centroid.
"""

from __future__ import annotations

from typing import Any

from benchmarks.quality_diversity import workload
from benchmarks.speed.meter import Meter, time_program, worker


def insert(side: str) -> dict[str, Any]:
    """The archive of `qdax` or `ribs` after the insertions."""
    import numpy as np

    cells = workload.INSERT_SIDE
    if side == "ribs":
        from ribs.archives import GridArchive  # pyright: ignore[reportMissingImports]

        archive = GridArchive(solution_dim=1, dims=(cells, cells), ranges=[(0, 1)] * 2, dtype=np.float32)
        for genome, fitness, descriptor in workload.insertions():
            archive.add(genome, fitness, descriptor)
        held = archive.data(["index", "objective", "solution"], return_type="dict")
        filled = np.zeros(cells**2, bool)
        filled[held["index"]] = True
        fitness, gene = np.zeros(cells**2), np.zeros(cells**2)
        fitness[held["index"]], gene[held["index"]] = held["objective"], held["solution"][:, 0]
        return workload.described(filled, fitness, gene)

    import jax.numpy as jnp
    from qdax.core.containers.mapelites_repertoire import MapElitesRepertoire  # pyright: ignore[reportMissingImports]

    archive = None
    for batch in workload.insertions():
        genome, fitness, descriptor = map(jnp.asarray, batch)
        if archive is None:
            centroids = jnp.asarray(workload.centroids(cells))
            archive = MapElitesRepertoire.init(genome, fitness[:, None], descriptor, centroids)
        else:
            archive = archive.add(genome, descriptor, fitness[:, None])
    assert archive is not None
    fitness = jnp.ravel(archive.fitnesses)
    return workload.described(
        jnp.isfinite(fitness), jnp.where(jnp.isfinite(fitness), fitness, 0), archive.genotypes[:, 0]
    )


def measure(spec: dict[str, Any], meter: Meter) -> dict[str, Any]:
    if spec["part"] == "archive":
        return insert(spec["side"])

    import functools

    import jax
    import jax.numpy as jnp
    from qdax.core.emitters.mutation_operators import isoline_variation  # pyright: ignore[reportMissingImports]
    from qdax.core.emitters.standard_emitters import MixingEmitter  # pyright: ignore[reportMissingImports]
    from qdax.core.map_elites import MAPElites  # pyright: ignore[reportMissingImports]
    from qdax.tasks.arm import arm_scoring_function  # pyright: ignore[reportMissingImports]
    from qdax.utils.metrics import default_qd_metrics  # pyright: ignore[reportMissingImports]

    genes, batch, side, _ = workload.WORKLOADS[spec["part"]]
    vary = functools.partial(
        isoline_variation, iso_sigma=workload.ISO, line_sigma=workload.LINE, minval=0.0, maxval=1.0
    )
    emitter = MixingEmitter(mutation_fn=None, variation_fn=vary, variation_percentage=1.0, batch_size=batch)
    search = MAPElites(arm_scoring_function, emitter, functools.partial(default_qd_metrics, qd_offset=-workload.OFFSET))
    centroids = jnp.asarray(workload.centroids(side))

    def program(key: Any) -> Any:
        genome_key, init_key, key = jax.random.split(key, 3)
        genome = jax.random.uniform(genome_key, (batch, genes))
        repertoire, emitter_state, _ = search.init(genome, centroids, init_key)
        carry = (repertoire, emitter_state, key)
        return jax.lax.scan(search.scan_update, carry, None, length=spec["updates"])[1]

    metrics, compile_lap, run_lap = time_program(meter, program, jax.random.key(0))
    last = {name: float(jnp.ravel(value[-1])[0]) for name, value in metrics.items()}
    return {
        "compile": compile_lap,
        "run": run_lap,
        "coverage": last["coverage"] / 100,
        "qd_score": last["qd_score"],
        "maximum": last["max_fitness"],
    }


if __name__ == "__main__":
    worker(measure)
