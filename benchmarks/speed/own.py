"""Time rlx through its public functions: `train` under `jit`, or `fit` with everything that it does between updates."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.speed.meter import Lap, Meter, over_seeds, time_program, worker


def measure(spec: dict[str, Any], meter: Meter) -> dict[str, Any]:
    """rlx on the workload. The score is the mean return of the episodes that ended in the last twentieth of the run."""
    algorithm = make_algorithm(spec)
    steps = spec["updates"] * algorithm.steps_per_update * spec["seeds"]
    if spec["driver"] == "fit":
        return measure_fit(algorithm, steps, meter)

    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    from rlx.runtime import make_mesh, train

    last = max(1, spec["updates"] // 20)

    def program(key: jax.Array) -> tuple[Any, Any]:
        state, metrics = train(algorithm, key, spec["updates"])
        return state, jax.tree.map(lambda x: x[-last:].sum(), metrics["episode_return"])

    program, keys = over_seeds(program, jax.random.key, spec["seeds"])
    if spec["devices"] > 1:
        keys = jax.device_put(keys, NamedSharding(make_mesh(spec["devices"]), PartitionSpec("member")))
    (_, returns), compile_lap, run_lap = time_program(meter, program, keys)
    score = float(returns.total.sum() / returns.count.sum())
    return {"compile": compile_lap, "run": run_lap, "steps": steps, "score": score}


def make_algorithm(spec: dict[str, Any]) -> Any:
    """The algorithm of the workload, on its environment."""
    from rlx.envs import make

    module = importlib.import_module(f"rlx.algos.{spec['algorithm']}")
    env, params = make(spec["env"])
    return module.make(module.Config(**spec["settings"]), env, params)


class Laps:
    """A sink that takes a lap at each row that the driver writes."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.laps: list[Lap] = []
        self.rows: list[Mapping[str, Any]] = []

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.laps.append(self.meter.lap())
        self.rows.append(rows[0])

    def close(self) -> None:
        pass


def measure_fit(algorithm: Any, steps: int, meter: Meter) -> dict[str, Any]:
    """`fit` with a hundred log points, ten checkpoints and the check for non-finite values.

    The chunk before the first log point counts as compilation, less what the others take on average.
    """
    from rlx.runtime import fit

    with tempfile.TemporaryDirectory() as folder:
        sink = Laps(meter)
        meter.lap()
        fit(algorithm, total_steps=steps, out=folder, progress=False, sinks=[sink])
    first, rest = sink.laps[0], sink.laps[1:]
    run: Lap = {}
    compile_lap: Lap = {}
    for key, value in first.items():
        values = [lap[key] for lap in rest]
        run[key] = None if value is None else sum(v for v in values if v is not None)
        compile_lap[key] = None if value is None else value - (run[key] or 0.0) / len(rest)
    steps = sink.rows[-1]["step"] - sink.rows[0]["step"]
    return {"compile": compile_lap, "run": run, "steps": steps, "score": sink.rows[-1]["episode_return"]}


if __name__ == "__main__":
    worker(measure)
