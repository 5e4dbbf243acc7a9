"""Time rlx's learning from preferences against imitation's, at equal comparisons and environment steps:

  python -m benchmarks.preferences                      everything; writes RESULTS.md and results.json here
  python -m benchmarks.preferences --only pendulum      some workloads
  python -m benchmarks.preferences --no-peers           rlx alone; what is stored of the peer stays
  python -m benchmarks.preferences --quick              few steps, two seeds; prints, writes nothing

Each measurement is a fresh process pinned to one core. The peer runs in an environment of its own under `.peers/`, made
on first use.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from benchmarks.peers.environment import ROOT, run_worker
from benchmarks.preferences import report
from benchmarks.preferences.workloads import WORKLOADS
from benchmarks.speed.report import machine

FOLDER = ROOT / "benchmarks" / "preferences"
SEEDS = {"rlx": 10, "imitation": 5}
MODULES = {"rlx": "own", "imitation": "time_imitation"}
EPISODES = 20


def run_side(name: str, side: str, *, core: int, quick: bool) -> dict[str, Any]:
    """One measurement in a process of its own: its result, or `{"error": line}`."""
    workload = WORKLOADS[name]
    spec = {
        "env": workload.env,
        "steps": 4096 if quick else workload.steps,
        "comparisons": workload.source["sessions"] if quick else workload.comparisons,
        "settings": workload.ppo,
        "source": workload.source,
        "teacher": workload.teacher,
        "seeds": [2000 + i for i in range(min(2, SEEDS[side]) if quick else SEEDS[side])],
        "episodes": EPISODES,
        "device": "cpu",
        "devices": 1,
        "cores": [core],
        **workload.peer,
    }
    return run_worker(f"benchmarks.preferences.{MODULES[side]}", None if side == "rlx" else side, spec)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="WORKLOAD")
    parser.add_argument("--sides", nargs="+", choices=SEEDS, default=list(SEEDS), metavar="SIDE")
    parser.add_argument("--quick", action="store_true", help="few steps, two seeds")
    parser.add_argument("--no-peers", dest="sides", action="store_const", const=["rlx"], help="rlx alone")
    parser.add_argument("--core", type=int, help="the core to pin to; default: the lowest allowed")
    args = parser.parse_args(arguments)
    core = min(os.sched_getaffinity(0)) if args.core is None else args.core
    path = FOLDER / "results.json"
    stored = json.loads(path.read_text())["results"] if path.exists() and not args.quick else {}
    for name in args.only:
        for side in args.sides:
            result = run_side(name, side, core=core, quick=args.quick)
            stored.setdefault(name, {})[side] = result
            print(f"{name} {side}: {report.line(result)}", file=sys.stderr, flush=True)
    results = {name: stored[name] for name in WORKLOADS if name in stored}
    text = report.markdown(results, about := machine())
    print(text)
    if not args.quick:
        path.write_text(json.dumps({"machine": about, "results": results}) + "\n")
        (FOLDER / "RESULTS.md").write_text(text)


if __name__ == "__main__":
    main()
