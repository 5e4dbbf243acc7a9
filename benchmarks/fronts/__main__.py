"""Time rlx's multi-objective algorithms against morl-baselines', to fronts that one judge measures for both:

  python -m benchmarks.fronts                            everything; writes RESULTS.md and results.json here
  python -m benchmarks.fronts --only treasure-gpi        some workloads (`population` is one)
  python -m benchmarks.fronts --quick                    few steps, one seed of the peer; prints, writes nothing
  python -m benchmarks.fronts --no-peers                 rlx alone; prints, writes nothing

Each measurement is a fresh process pinned to one core. Sides take turns, round by round, with seeds of their own in
each round: ten of rlx's, and two to five of the slow peer's, from 1000 on. The peer runs in an environment of its own
under `.peers/`, made on first use.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from typing import Any

import numpy as np

from benchmarks.fronts import report
from benchmarks.fronts.task import SCALES, Task
from benchmarks.fronts.workloads import PEERS, POPULATION, WORKLOADS, Side, Workload
from benchmarks.peers.environment import ROOT, run_worker

FOLDER = ROOT / "benchmarks" / "fronts"
SEEDS = 10  # of rlx in a round
LEARNERS = (1, 256)
Results = dict[str, Any]


def run_side(workload: Workload, task: Task, side: Side, number: int, core: int) -> dict[str, Any]:
    """One measurement in a process of its own, with return vectors in place of tables; or `{"error": line}`."""
    seeds = workload.peer_seeds if side.peer else SEEDS
    spec = {
        **side.spec,
        "task": workload.task,
        "observation": workload.observation,
        "steps": workload.steps * (1 if side.peer else workload.longer),
        "every": workload.every,
        "seeds": [1000 + seeds * number + i for i in range(seeds)],
        "device": "cpu",
        "devices": 1,
        "cores": [core],
    }
    if side.peer:
        name, options, scale = PEERS[workload.task]
        spec |= {
            "env": name,
            "env_options": options,
            "observation_scale": scale,
            "reward_scale": SCALES[workload.task][1] if workload.task in SCALES else 1.0,
            "continuous": workload.task in SCALES,
            "reference": task.reference.tolist(),
            "inputs": task.inputs.tolist(),
            "weights": task.weights.tolist(),
        }
    result = run_worker(side.module, side.peer, spec)
    for checkpoint in (checkpoint for run in result.get("runs", []) for checkpoint in run):
        tables = checkpoint.pop("tables", None)
        points = checkpoint.pop("points", None) if tables is None else task.returns(tables)
        checkpoint["points"] = np.asarray(points).reshape(-1, len(task.reference))
    return result


def compare(workload: Workload, rounds: int, core: int, label: str) -> Results:
    """All rounds of a workload: what fronts are measured by, and for each side its results, with hypervolumes."""
    task = Task(workload.task, workload.observation, workload.discount)
    sides: dict[str, list[dict[str, Any]]] = {name: [] for name in workload.sides}
    for number in range(rounds):
        for name, side in workload.sides.items():
            if any("error" in result for result in sides[name]):
                continue
            result = run_side(workload, task, side, number, core)
            sides[name].append(result)
            told = result.get("error") or f"{report.total(result):.1f} CPU-s a seed"
            print(f"{label} round {number + 1} {name}: {told}", file=sys.stderr, flush=True)
    checkpoints = [c for results in sides.values() for r in results for run in r.get("runs", []) for c in run]
    exact = task.exact
    best = np.concatenate([c["points"] for c in checkpoints]) if exact is None and checkpoints else exact
    for checkpoint in checkpoints:
        checkpoint["hypervolume"] = task.hypervolume(checkpoint.pop("points"), workload.reference)
    return {
        "full": None if best is None else task.hypervolume(best, workload.reference),
        "exact": exact is not None,
        "enough": workload.enough,
        "steps": workload.steps,
        "sides": sides,
    }


def populations(rounds: int, core: int) -> Results:
    """One learner, and many in one program."""
    names = {count: f"{count} learner{'s' if count > 1 else ''}" for count in LEARNERS}
    sides: dict[str, list[dict[str, Any]]] = {name: [] for name in names.values()}
    for _ in range(rounds):
        for count, name in names.items():
            spec = {**POPULATION, "learners": count, "device": "cpu", "devices": 1, "cores": [core]}
            sides[name].append(run_worker("benchmarks.fronts.population", None, spec))
            print(f"population {name}: {'error' not in sides[name][-1]}", file=sys.stderr, flush=True)
    return {"sides": sides}


def main(arguments: list[str] | None = None) -> None:
    names = [*WORKLOADS, "population"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="WORKLOAD")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few steps, one seed of the peer")
    parser.add_argument("--no-peers", action="store_true", help="rlx alone")
    parser.add_argument("--core", type=int, help="the core to pin to; default: the lowest allowed")
    args = parser.parse_args(arguments)
    core = min(os.sched_getaffinity(0)) if args.core is None else args.core
    rounds = 1 if args.quick else args.rounds
    path = FOLDER / "results.json"
    writes = not (args.quick or args.no_peers)
    stored = json.loads(path.read_text())["results"] if writes and path.exists() else {}
    machine = report.machine()
    results: Results = {}

    def store() -> None:
        merged = {**stored, **results}
        merged = {name: merged[name] for name in names if name in merged}
        path.write_text(json.dumps({"machine": machine, "results": merged}) + "\n")
        (FOLDER / "RESULTS.md").write_text(report.markdown(merged, machine))

    for name in args.only:
        if name == "population":
            results[name] = populations(rounds, core)
            if writes:
                store()
            continue
        workload = WORKLOADS[name]
        if args.quick:
            workload = dataclasses.replace(workload, steps=2 * workload.every, longer=1, peer_seeds=1)
        if args.no_peers:
            own = {side: each for side, each in workload.sides.items() if each.peer is None}
            workload = dataclasses.replace(workload, sides=own)
        results[name] = compare(workload, rounds, core, name)
        results[name]["load"] = round(os.getloadavg()[0], 1)
        if writes:
            store()
    print(report.markdown(results, machine))


if __name__ == "__main__":
    main()
