"""rlx's side: MAP-Elites as one compiled program, with cells by the grid or by the nearest centroid."""

from __future__ import annotations

from typing import Any

from benchmarks.quality_diversity import workload
from benchmarks.speed.meter import Meter, time_program, worker


def measure(spec: dict[str, Any], meter: Meter) -> dict[str, Any]:
    """`spec["part"]`: a workload, `spec["updates"]` times by `spec["side"]`; or "archive", the same insertions."""
    import jax
    import jax.numpy as jnp

    from rlx.algos import map_elites
    from rlx.envs.scoring import planar_arm
    from rlx.exploration import empty_archive, grid_cell, insert_elites, nearest_neighbours
    from rlx.runtime import train

    if spec["part"] == "archive":
        side = workload.INSERT_SIDE
        archive = empty_archive(jnp.zeros(1), side**2, 2)
        for genome, fitness, descriptor in workload.insertions():
            place = jnp.asarray(descriptor)
            into = grid_cell(place, 0.0, 1.0, (side, side))
            archive, _ = insert_elites(archive, jnp.asarray(genome), jnp.asarray(fitness), place, into)
        return workload.described(archive.filled, archive.fitness, archive.genome[:, 0])

    genes, batch, side, _ = workload.WORKLOADS[spec["part"]]
    centroids = jnp.asarray(workload.centroids(side))

    def cell(descriptor: jax.Array) -> jax.Array:
        if spec["side"] == "rlx, grid":
            return grid_cell(descriptor, 0.0, 1.0, (side, side))
        return nearest_neighbours(descriptor, centroids, k=1)[1][:, 0]

    config = map_elites.Config(
        batch_size=batch, iso=workload.ISO, line=workload.LINE, low=0.0, high=1.0, offset=workload.OFFSET
    )
    algorithm = map_elites.make(
        config,
        lambda key, genome: planar_arm(genome),
        lambda key: jax.random.uniform(key, (genes,)),
        cell,
        num_cells=side**2,
    )
    program = lambda key: train(algorithm, key, spec["updates"])[1]  # noqa: E731
    metrics, compile_lap, run_lap = time_program(meter, program, jax.random.key(0))
    last = {name: float(value[-1]) for name, value in metrics.items()}
    return {"compile": compile_lap, "run": run_lap, **last}


if __name__ == "__main__":
    worker(measure)
