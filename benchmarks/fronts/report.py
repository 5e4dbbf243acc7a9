"""The report: one table for each workload, computed from the measurements."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.fronts.workloads import PEER, WORKLOADS
from benchmarks.speed.report import machine as machine
from benchmarks.speed.report import spread

Result = Mapping[str, Any]
HEAD = """# Fronts

Written by `python -m benchmarks.fronts`; all figures of one workload come from one interleaved run on one core.

- **front** is the hypervolume at equal environment steps over that of the exact front (for the reservoir: of all policies that
  any side of the workload ever had). Mean over seeds (lowest to highest). Policies are asked for 50 evenly spaced weights (55 for three
  objectives), or all those of the archive; one judge plays the greedy actions of both sides: exactly where the environment
  is finite, else for 100 episodes with the same random numbers. Discount 0.99.
- **steps/s** and **seconds** are processor time of a run of one seed, without compilation (of the peer: without imports) and
  without the judge; on an idle core that is wall time, which **wall** has. Median over seeds (lowest to highest).
- **to 95%** is the time to the first checkpoint with that share of the hypervolume, **to the peer's** that to the mean front
  that the peer has at its end: median over the seeds that got there, of which there are so many. rlx goes on for twice
  the steps to find out. Checkpoints are a tenth of the steps apart.
- **ratio** is the peer's seconds over rlx's for equal steps.
- **compile** is tracing and compilation; **peak memory** includes imports and compilation.

Both sides see the same features, and have the same networks, batch sizes, replay, exploration and numbers of gradient
steps for each environment step. What differs: rlx steps four environments side by side; the peer's GPI-LS has two networks,
prioritised replay and layers without bias towards our architecture (state and weights are multiplied), as it is written;
its CAPQL has one entropy bonus in each objective. "rlx, no envelope" and "rlx, no support" are plain DQN
under preferences that are drawn anew for every replayed step. Settings were chosen on seeds 0 to 9.
"""


def total(result: Result) -> float:
    """Median CPU seconds of a whole run."""
    return statistics.median(run[-1]["used"]["cpu_s"] for run in result["runs"])


def runs_of(results: Sequence[Result]) -> list[Any]:
    return [run for result in results for run in result["runs"]]


def at(run: Sequence[Any], steps: int) -> Any:
    """The last checkpoint that has no more than so many steps."""
    return [checkpoint for checkpoint in run if checkpoint["steps"] <= steps][-1]


def time_to(runs: Sequence[Any], hypervolume: float) -> str:
    """`median seconds (k of n)` to the first checkpoint that is as good."""
    first = [next((c["used"]["cpu_s"] for c in run if c["hypervolume"] >= hypervolume), None) for run in runs]
    reached = [seconds for seconds in first if seconds is not None]
    if not reached:
        return f"never (0 of {len(runs)})"
    return f"{statistics.median(reached):.2f} ({len(reached)} of {len(runs)})"


def markdown(results: Mapping[str, Any], machine: Mapping[str, Any]) -> str:
    """The whole report."""
    described = ", ".join(f"{name} {value}" for name, value in machine.items())
    parts = [HEAD, f"Machine: {described}.\n"]
    parts += [population(r) if name == "population" else table(name, r) for name, r in results.items()]
    return "\n".join(parts)


def table(name: str, result: Mapping[str, Any]) -> str:
    """The table of one workload."""
    steps, full, sides, enough = result["steps"], result["full"], result["sides"], result["enough"]
    rows = [
        f"## {name}: {WORKLOADS[name].title}\n",
        f"Fronts at {steps:,} environment steps; hypervolume of {'the exact front' if result['exact'] else 'all found'} "
        f"{full:,.6g}. Load average {result.get('load', '?')}.\n",
        f"| side | seeds | front | steps/s | ratio | seconds | wall | to {enough:.0%} | to the peer's | compile | "
        "peak memory (MiB) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    good = {side: each for side, each in sides.items() if each and not any("error" in r for r in each)}
    used = {
        side: [at(run, steps)["used"]["cpu_s"] / at(run, steps)["steps"] * steps for run in runs_of(each)]
        for side, each in good.items()
    }
    peer = statistics.median(used[PEER]) if PEER in used else None
    theirs = [at(run, steps)["hypervolume"] for run in runs_of(good[PEER])] if PEER in good else []
    for side, each in sides.items():
        if side not in good:
            error = next((r["error"] for r in each if "error" in r), "not run")
            rows.append(f"| {side} | did not run: {error} |" + " |" * 9)
            continue
        runs, seconds = runs_of(each), used[side]
        shares = [at(run, steps)["hypervolume"] / full for run in runs]
        wall = [at(run, steps)["used"]["wall_s"] / at(run, steps)["steps"] * steps for run in runs]
        cells = (
            side,
            str(len(runs)),
            f"{statistics.mean(shares):.3f} ({min(shares):.3f}-{max(shares):.3f})",
            f"{steps / statistics.median(seconds):,.0f}",
            "1" if side == PEER else f"{peer / statistics.median(seconds):.0f}" if peer else "",
            spread(seconds, ".2f"),
            spread(wall, ".2f"),
            time_to(runs, enough * full),
            time_to(runs, statistics.mean(theirs)) if theirs else "",
            "" if side == PEER else spread([r["compile"]["cpu_s"] for r in each], ".1f"),
            spread([r["rss_mib"] for r in each]),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def population(result: Mapping[str, Any]) -> str:
    """The table of the populations."""
    rows = [
        "## population: PPO learners in one program, each with a weight vector of its own\n",
        "Deep sea treasure (convex), networks 2 x 64. **for each learner** is the time of one in the population over that "
        "of one alone.\n",
        "| side | environment steps | steps/s | CPU-s | wall | for each learner | compile | peak memory (MiB) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    alone = None
    for side, each in result["sides"].items():
        if not each or any("error" in r for r in each):
            rows.append(f"| {side} | did not run: {next((r['error'] for r in each if 'error' in r), '')} |" + " |" * 6)
            continue
        seconds = [r["run"]["cpu_s"] for r in each]
        steps = each[0]["steps"]
        alone = alone or (statistics.median(seconds), steps)
        cells = (
            side,
            f"{steps:,}",
            f"{steps / statistics.median(seconds):,.0f}",
            spread(seconds, ".2f"),
            spread([r["run"]["wall_s"] for r in each], ".2f"),
            f"{statistics.median(seconds) / alone[0] * alone[1] / steps:.2f}",
            spread([r["compile"]["cpu_s"] for r in each], ".1f"),
            spread([r["rss_mib"] for r in each]),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"
