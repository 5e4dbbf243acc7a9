"""Time MAP-Elites on the planar arm against qdax, and compare archives with those of qdax and ribs:

  python -m benchmarks.quality_diversity             everything, five rounds; writes RESULTS.md and results.json here
  python -m benchmarks.quality_diversity --quick     few updates, one round; prints, writes nothing

Each measurement is a fresh process pinned to one core, and rounds go A B C, A B C, ... The peers run in an environment
of their own under `.peers/`, made on first use.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers import turns
from benchmarks.peers.environment import ROOT, run_worker
from benchmarks.quality_diversity.workload import (
    ARCHIVES,
    INSERT_BATCHES,
    INSERT_ROWS,
    INSERT_SIDE,
    SIDES,
    WORKLOADS,
)
from benchmarks.speed.report import machine

FOLDER = ROOT / "benchmarks" / "quality_diversity"
HEAD = """# Quality-diversity

Written by `python -m benchmarks.quality_diversity`; all sides of a table come from one interleaved run on one machine.
MAP-Elites on the planar arm with the same batch, operator, settings and cells, as one compiled program, metrics after
every update. qdax (0.5.0) finds a solution's cell by the nearest of all centroids; rlx does so too, or reads it off
the grid that the centroids are the middles of.

- **evaluations/s** are solutions by CPU time on one core. Median over rounds (lowest to highest).
- **ratio** is that side's CPU time over the first's, each round by itself: above 1, the first is faster.
- **compile** is tracing and compilation.
- **coverage, QD-score** show that all sides do the like; qdax draws other random numbers.
"""

Result = turns.Result


def markdown(
    results: Mapping[str, Mapping[str, Sequence[Result]]], archives: Mapping[str, Result], about: Mapping[str, Any]
) -> str:
    """The report."""
    described = ", ".join(f"{name} {value}" for name, value in about.items())
    tables = (table(part, sides) for part, sides in results.items())
    return "\n".join([HEAD, f"Machine: {described}.\n", *tables, agreement(archives)])


def table(part: str, sides: Mapping[str, Sequence[Result]]) -> str:
    """One workload, a row for each side."""
    work = WORKLOADS[part]
    more = {
        "coverage": lambda rounds: f"{rounds[0]['coverage']:.3f}",
        "QD-score": lambda rounds: f"{rounds[0]['qd_score']:,.1f}",
    }
    title = f"{work.genes} genes, {work.side} x {work.side} cells, {work.updates:,} batches of {work.batch:,}"
    return turns.table(title, sides, "evaluations", "compile", more)


def agreement(archives: Mapping[str, Result]) -> str:
    """Whether all sides hold the same solutions after the same insertions."""
    lines = [
        "## The same solutions\n",
        f"{INSERT_BATCHES} batches of {INSERT_ROWS} solutions into {INSERT_SIDE} x {INSERT_SIDE} cells; no two have the"
        " same fitness.\n",
    ]
    ours = archives["rlx"]
    for side, theirs in archives.items():
        if "error" in theirs:
            lines.append(f"- {side}: did not run: {theirs['error']}")
        elif side != "rlx" and "error" not in ours:
            pairs = zip(ours["fitness"], ours["genome"], theirs["fitness"], theirs["genome"], strict=True)
            differing = sum((a, b) != (c, d) for a, b, c, d in pairs)
            filled = sum(value >= 0 for value in theirs["fitness"])
            lines.append(f"- {side}: {filled} cells filled; {differing} of all cells differ from rlx's")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    options = turns.parse(__doc__, arguments)

    def run(part: str, side: str, updates: int = 0) -> dict[str, Any]:
        module, peer = ("own", None) if side.startswith("rlx") else ("time_qdax", "qdax")
        spec = {"part": part, "side": side, "updates": updates, "device": "cpu", "devices": 1, "cores": [options.core]}
        return run_worker(f"benchmarks.quality_diversity.{module}", peer, spec)

    def wanted(sides: Sequence[str]) -> list[str]:
        return [side for side in sides if side.startswith("rlx") or not options.no_peers]

    archives = {side: run("archive", side) for side in wanted(ARCHIVES)}
    results = {}
    for part, work in WORKLOADS.items():
        updates = 20 if options.quick else work.updates
        measure = functools.partial(run, part, updates=updates)
        results[part] = turns.take_turns(
            part, wanted(SIDES), options.rounds, measure, updates * work.batch, "evaluations"
        )
    about = machine()
    text = markdown(results, archives, about)
    print(text)
    if not (options.quick or options.no_peers):
        (FOLDER / "results.json").write_text(json.dumps({"machine": about, "results": results}) + "\n")
        (FOLDER / "RESULTS.md").write_text(text)


if __name__ == "__main__":
    main()
