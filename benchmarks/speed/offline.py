"""Time rlx where it learns from a log: all seeds in one program by `vmap`, or one after the other."""

from __future__ import annotations

from typing import Any

from benchmarks.speed.meter import Meter, time_program, worker
from benchmarks.speed.own import make_algorithm


def measure(spec: dict[str, Any], meter: Meter) -> dict[str, Any]:
    """rlx on the workload. The score is the critics' mean loss in the last tenth of the gradient steps."""
    import jax

    from rlx.runtime import load_log, train

    algorithm = make_algorithm(spec)
    log = jax.tree.map(jax.numpy.asarray, load_log(spec["log"]))
    updates, seeds = spec["updates"], spec["seeds"]

    def program(key: jax.Array, log: Any) -> Any:
        state, metrics = train(algorithm, key, updates, log)
        return state, metrics["loss/critic"][-max(1, updates // 10) :].mean()

    keys = jax.random.split(jax.random.key(0), seeds)
    if spec["seeds_by"] == "vmap":
        together = jax.vmap(program, in_axes=(0, None))
        (_, losses), compile_lap, run_lap = time_program(meter, together, keys, log)
    else:
        meter.lap()
        compiled = jax.jit(program).lower(keys[0], log).compile()
        compile_lap = meter.lap()
        losses = jax.numpy.stack([jax.block_until_ready(compiled(key, log))[1] for key in keys])
        run_lap = meter.lap()
    score = float(losses.mean())
    return {"compile": compile_lap, "run": run_lap, "steps": updates * seeds, "score": score}


if __name__ == "__main__":
    worker(measure)
