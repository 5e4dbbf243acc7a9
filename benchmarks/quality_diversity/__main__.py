"""Time MAP-Elites on the planar arm against qdax, and compare archives with those of qdax and ribs:

  python -m benchmarks.quality_diversity             everything, five rounds; writes RESULTS.md and results.json here
  python -m benchmarks.quality_diversity --quick     few updates, one round; prints, writes nothing

Each measurement is a fresh process pinned to one core, and rounds go A B C, A B C, ... The peers run in an environment
of their own under `.peers/`, made on first use.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.environment import ROOT, run_worker
from benchmarks.quality_diversity.workload import (
    ARCHIVES,
    INSERT_BATCHES,
    INSERT_ROWS,
    INSERT_SIDE,
    SIDES,
    WORKLOADS,
)
from benchmarks.speed.report import machine, spread

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

Result = Mapping[str, Any]


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
    rows = [
        f"## {work.genes} genes, {work.side} x {work.side} cells, {work.updates:,} batches of {work.batch:,}\n",
        "| side | evaluations/s | ratio | compile (CPU-s) | peak memory (MiB) | coverage | QD-score |",
        "|---|---|---|---|---|---|---|",
    ]
    first = next(iter(sides.values()))
    for side, rounds in sides.items():
        errors = [result["error"] for result in rounds if "error" in result]
        if errors:
            rows.append(f"| {side} | did not run: {errors[0]} | | | | | |")
            continue
        pairs = [(r["run"]["cpu_s"], f["run"]["cpu_s"]) for r, f in zip(rounds, first, strict=True) if "error" not in f]
        cells = (
            side,
            spread([result["evaluations"] / result["run"]["cpu_s"] for result in rounds]),
            "1" if rounds is first else spread([theirs / ours for theirs, ours in pairs], ".2f"),
            spread([result["compile"]["cpu_s"] for result in rounds], ".1f"),
            spread([result["rss_mib"] for result in rounds]),
            f"{rounds[0]['coverage']:.3f}",
            f"{rounds[0]['qd_score']:,.1f}",
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="few updates, one round")
    parser.add_argument("--no-peers", action="store_true", help="rlx alone; writes nothing")
    parser.add_argument("--core", type=int, help="the core to pin to; default: the lowest allowed")
    args = parser.parse_args(arguments)
    core = min(os.sched_getaffinity(0)) if args.core is None else args.core

    def run(part: str, side: str, updates: int = 0) -> dict[str, Any]:
        module, peer = ("own", None) if side.startswith("rlx") else ("time_qdax", "qdax")
        spec = {"part": part, "side": side, "updates": updates, "device": "cpu", "devices": 1, "cores": [core]}
        return run_worker(f"benchmarks.quality_diversity.{module}", peer, spec)

    def wanted(sides: Sequence[str]) -> list[str]:
        return [side for side in sides if side.startswith("rlx") or not args.no_peers]

    archives = {side: run("archive", side) for side in wanted(ARCHIVES)}
    results: dict[str, dict[str, list[Any]]] = {}
    for part, work in WORKLOADS.items():
        updates = 20 if args.quick else work.updates
        results[part] = {side: [] for side in wanted(SIDES)}
        for number in range(1 if args.quick else args.rounds):
            for side, rounds in results[part].items():
                result = run(part, side, updates)
                rounds.append({**result, "evaluations": updates * work.batch})
                said = result.get("error") or f"{rounds[-1]['evaluations'] / result['run']['cpu_s']:,.0f} a CPU second"
                print(f"{part} round {number + 1} {side}: {said}", file=sys.stderr, flush=True)
    about = machine()
    text = markdown(results, archives, about)
    print(text)
    if not (args.quick or args.no_peers):
        (FOLDER / "results.json").write_text(json.dumps({"machine": about, "results": results}) + "\n")
        (FOLDER / "RESULTS.md").write_text(text)


if __name__ == "__main__":
    main()
