"""The report: one table for each workload, computed from the measurements."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.preferences.workloads import WORKLOADS

Result = Mapping[str, Any]
HEAD = """# Learning from preferences

Written by `python -m benchmarks.preferences`. An agent is trained by PPO on a reward that is learned from comparisons,
which a program answers from the true reward: on Pendulum the better segment with probability `sigmoid` of the
difference of true returns, on CartPole (rlx) the longer one, and a tie where both are equally long. Both sides have the
same number of environment steps and of comparisons. imitation has the settings of its own tutorial but for 20
iterations; those of rlx were chosen on seeds 0 to 9 for Pendulum, and are not tuned for CartPole. CPU seconds on one
core, all seeds of rlx side by side in one program, those of imitation one after the other; the return is the true one,
of the greedy policy over 20 episodes.

The first judged run (seeds from 1000 on; imitation two) had -344 of rlx against -292 on Pendulum: after it rlx's
observations were left as they are and its reward was fitted for 60 steps in place of 30, and the seeds begin at 2000.
"""


def line(result: Result) -> str:
    """One measurement in a few words."""
    if "error" in result:
        return f"failed: {result['error']}"
    return f"{per_seed(result):.2f} CPU-s a seed, mean true return {statistics.mean(result['returns']):.0f}"


def per_seed(result: Result, *, compiling: bool = False) -> float:
    seconds = result["run"]["cpu_s"] + (result["compile"]["cpu_s"] if compiling else 0.0)
    return seconds / len(result["returns"])


def markdown(results: Mapping[str, Mapping[str, Result]], machine: Mapping[str, Any]) -> str:
    about = ", ".join(f"{name} {value}" for name, value in machine.items())
    return "\n".join([HEAD, about + ".", "", *(part for name in results for part in table(name, results[name]))])


def table(name: str, sides: Mapping[str, Result]) -> Sequence[str]:
    workload = WORKLOADS[name]
    rows = [
        f"## {workload.env}, {workload.steps:,} steps, {workload.comparisons} comparisons",
        "",
        "| | seeds | CPU-s a seed | with compilation | true return, mean | median | lowest |",
        "|---|---|---|---|---|---|---|",
    ]
    for side, result in sides.items():
        if "error" in result:
            rows.append(f"| {side} | failed: {result['error']} | | | | | |")
            continue
        returns = result["returns"]
        middle, found = statistics.median(returns), statistics.mean(returns)
        rows.append(
            f"| {side} | {len(returns)} | {per_seed(result):.2f} | {per_seed(result, compiling=True):.2f} "
            f"| {found:.0f} | {middle:.0f} | {min(returns):.0f} |"
        )
    if all(side in sides and "error" not in sides[side] for side in ("rlx", "imitation")):
        own, peer = sides["rlx"], sides["imitation"]
        faster, whole = (per_seed(peer) / per_seed(own, compiling=c) for c in (False, True))
        rows += ["", f"rlx takes {faster:.0f} times less after compilation, {whole:.0f} times less with it."]
    return [*rows, ""]
