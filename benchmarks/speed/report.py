"""The report: one table for each workload, computed from the measurements."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.speed.workloads import WORKLOADS

Result = Mapping[str, Any]
HEAD = """# Speed

Written by `python -m benchmarks.speed`; all figures of one workload come from one interleaved run on one machine.

- **cost** is what one environment step takes of the processor in the compiled run{cost}. Median over rounds (lowest
  to highest).
- **ratio** is the other side's cost over rlx's, each round by itself: above 1, rlx is cheaper. Median (lowest to
  highest).
- **compile** is tracing and compilation, apart from the run; **peak memory** includes imports (350 to 450 MiB) and
  compilation.
- **environment** steps the environments with random actions and nothing else; **network** runs the forward and
  backward passes on batches of the same sizes and nothing else. **limit** in the line below a table is rlx over the
  sum of the two.
- **return** shows that the program learns; rlx's is of the training episodes at the end, rejax's of an evaluation
  after it. Where the data is a log, a step is a gradient step of one seed, and the critics' loss in the last tenth of
  them shows that all sides compute the same.

Other processes on the machine (the load average tells) lengthen wall time, so steps/s, far more than CPU time; compare
ratios.

Notes on the peers. rejax 0.1.3 runs on gymnax 0.0.9 and rlx on gymnax 1; rejax's evaluation is left out of its time;
it clips gradients by element, not by norm, and has separate optimisers for actor and critic. brax's own PPO (0.14.2)
needs a jax that still has `device_put_replicated` and runs on 0.9.2; its environments restart from their first
states, rlx's from fresh ones; it has neither a clipped value loss nor vmapped seeds.
"""


def machine() -> dict[str, Any]:
    """Processor, cores, load over the last quarter of an hour and versions; nothing that identifies the host."""
    from importlib.metadata import version

    model = platform.processor()
    try:
        with open("/proc/cpuinfo") as file:
            model = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    packages = ("jax", "flax", "optax", "gymnax")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load average": round(os.getloadavg()[2], 1) if hasattr(os, "getloadavg") else None,
        "Python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def cost(result: Result, device: str) -> float:
    """Cycles for an environment step where they are counted, else nanoseconds of CPU time (on a GPU: of wall time)."""
    run, steps = result["run"], result["steps"]
    if device != "cpu":
        return run["wall_s"] / steps * 1e9
    return run["cycles"] / steps if run["cycles"] else run["cpu_s"] / steps * 1e9


def line(result: Result) -> str:
    """A measurement in one line, for progress."""
    if "error" in result:
        return f"failed: {result['error']}"
    score = "" if result["score"] is None else f", return {result['score']:.3g}"
    return (
        f"{cost(result, 'cpu'):,.0f} a step, {result['run']['cpu_s']:.2f} CPU-s, "
        f"compile {result['compile']['cpu_s']:.1f} CPU-s, {result['rss_mib']:.0f} MiB{score}"
    )


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """`median (lowest-highest)`."""
    middle = statistics.median(values)
    if len(values) == 1:
        return format(middle, form)
    return f"{middle:{form}} ({min(values):{form}}-{max(values):{form}})"


def markdown(results: Mapping[str, Mapping[str, Sequence[Result]]], machine: Mapping[str, Any], *, device: str) -> str:
    """The whole report."""
    good = [r for sides in results.values() for rounds in sides.values() for r in rounds if "error" not in r]
    if device != "cpu":
        unit, means = "wall ns", " (wall time)"
    elif good and all(r["run"]["cycles"] for r in good):
        unit, means = "cycles", ": user-mode cycles by the hardware counter, all threads"
    else:
        unit, means = "CPU ns", " (user and system time; this machine offers no cycle counter)"
    described = ", ".join(f"{name} {value}" for name, value in machine.items())
    parts = [HEAD.format(cost=means), f"Machine: {described}. One core per measurement, unless said.\n"]
    parts += [table(name, sides, unit, device) for name, sides in results.items()]
    return "\n".join(parts)


def table(name: str, sides: Mapping[str, Sequence[Result]], unit: str, device: str) -> str:
    """The table of one workload."""
    workload = WORKLOADS[name]
    kind = "gradient" if workload.log_steps else "environment"
    total = next((r["steps"] for rounds in sides.values() for r in rounds if "error" not in r), 0)
    rows = [
        f"## {name}: {workload.title}\n",
        f"{total:,} {kind} steps in all.\n",
        f"| side | cost ({unit}/step) | ratio | steps/s | CPU-s | compile CPU-s | peak memory (MiB) "
        f"| {workload.score} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    first = next(iter(sides))
    costs = {
        side: [cost(r, device) for r in rounds]
        for side, rounds in sides.items()
        if rounds and not any("error" in r for r in rounds)
    }
    for side, rounds in sides.items():
        if side not in costs:
            error = next((r["error"] for r in rounds if "error" in r), "not run")
            rows.append(f"| {side} | did not run: {error} | | | | | | |")
            continue
        ratios = [theirs / ours for theirs, ours in zip(costs[side], costs.get(first, []), strict=False)]
        scores = [r["score"] for r in rounds if r["score"] is not None]
        cells = (
            side,
            spread(costs[side]),
            "1" if side == first else spread(ratios, ".2f") if ratios else "",
            spread([r["steps"] / r["run"]["wall_s"] for r in rounds]),
            spread([r["run"]["cpu_s"] for r in rounds], ".2f"),
            spread([r["compile"]["cpu_s"] for r in rounds], ".1f"),
            spread([r["rss_mib"] for r in rounds]),
            f"{statistics.median(scores):.3g}" if scores else "",
        )
        rows.append("| " + " | ".join(cells) + " |")
    if {"environment", "network", first} <= costs.keys():
        limits = [
            ours / (env + net)
            for ours, env, net in zip(costs[first], costs["environment"], costs["network"], strict=True)
        ]
        rows.append(f"\n{first} over environment + network: {spread(limits, '.2f')}.")
    return "\n".join(rows) + "\n"
