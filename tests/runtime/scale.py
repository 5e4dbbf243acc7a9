"""Programs that `test_scale` runs in processes with other numbers of devices; each prints one line of JSON."""

from __future__ import annotations

import functools
import json
import sys

import jax
import numpy as np
import toy

from rlx import runtime
from rlx.runtime.mesh import fetch

STEPS = toy.Config().batch
SWEEP = {"total_steps": 12 * STEPS, "seeds": 4, "over": {"learning_rate": [0.05, 0.1]}, "log_every": 4 * STEPS}


def leaves(state) -> list:
    plain = jax.tree.map(
        lambda x: jax.random.key_data(x) if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key) else x, state
    )
    return [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(fetch(plain))]


def sweep(out: str, total_updates: int) -> dict:
    run = runtime.sweep(
        toy.make,
        toy.Config(),
        env=toy.Walk(),
        out=out,
        progress=False,
        checkpoint_every=4 * STEPS,
        **{**SWEEP, "total_steps": total_updates * STEPS},
    )
    spread = len(run.state.momentum.sharding.device_set)
    return {
        "devices": spread,
        "rows": [*run.table.rows()],
        "evaluations": [*run.evaluations.rows()],
        "state": leaves(run.state),
    }


def one_learner(out: str, total_updates: int) -> dict:
    """A data-parallel learner over all devices, resumed once."""
    make = functools.partial(toy.make, toy.Config())
    algorithm = runtime.data_parallel(make, runtime.make_mesh(axis="data"))
    options = {"out": out, "progress": False, "env": toy.Walk(), "log_every": algorithm.steps_per_update}
    runtime.fit(algorithm, total_steps=3 * algorithm.steps_per_update, **options)
    run = runtime.fit(algorithm, total_steps=total_updates * algorithm.steps_per_update, **options)
    return {"rows": [*run.table.rows()], "evaluations": [*run.evaluations.rows()], "state": leaves(run.state)}


if __name__ == "__main__":
    function, out, total_updates, port, num_processes, process = sys.argv[1:]
    if int(num_processes) > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", int(num_processes), int(process))
    result = {"sweep": sweep, "one_learner": one_learner}[function](out, int(total_updates))
    print(json.dumps(result))
    if int(num_processes) > 1:
        jax.distributed.shutdown()
