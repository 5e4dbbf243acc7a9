"""Time rlx against rejax, brax's own PPO, PyTorch and the limit, in one interleaved run:

  python -m benchmarks.speed                       everything, five rounds; writes RESULTS.md and results.json here
  python -m benchmarks.speed --only narrow wide    some workloads
  python -m benchmarks.speed --quick               a hundredth of the steps, one round; prints, writes nothing
  python -m benchmarks.speed --device gpu          with CUDA JAX installed: no pinning, wall time only

Each measurement is a fresh process pinned to one core. Rounds go A B C, A B C, ..., so that a machine whose speed
drifts slows all sides alike. Peers run in environments of their own under `.peers/`, made on first use.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers.environment import ROOT, run_worker
from benchmarks.speed import report
from benchmarks.speed.workloads import SIDES, WORKLOADS, Workload

FOLDER = ROOT / "benchmarks" / "speed"


def run_side(
    workload: Workload, side: str, *, device: str, cores: list[int], quick: bool, log: Path | None = None
) -> dict[str, Any]:
    """One measurement in a process of its own: its result, or `{"error": line}`."""
    module, peer, options = SIDES[side]
    spec = {"devices": 1, **dict(options)}
    spec |= {
        "algorithm": workload.algorithm,
        "env": workload.env,
        "settings": workload.settings,
        "seeds": workload.seeds,
        "updates": max(1, workload.updates // 100) if quick else workload.updates,
        "device": device,
        "cores": cores[: spec["devices"]],
        "log": str(log),
    }
    return run_worker(module, peer, spec)


def measure(
    names: list[str], *, rounds: int, device: str, cores: list[int], quick: bool
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Results `[workload][side][round]`. A side that failed is not run again."""
    results: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            workload = WORKLOADS[name]
            log = Path(folder) / f"{name}.npz"
            if workload.log_steps:
                collect(workload, log)
            results[name] = {side: [] for side in workload.sides}
            for number in range(rounds):
                for side in workload.sides:
                    if any("error" in result for result in results[name][side]):
                        continue
                    result = run_side(workload, side, device=device, cores=cores, quick=quick, log=log)
                    results[name][side].append(result)
                    print(f"{name} round {number + 1} {side}: {report.line(result)}", file=sys.stderr, flush=True)
    return results


def collect(workload: Workload, path: Path) -> None:
    """The log of a workload that learns from one."""
    words = ["collect", "--env", workload.env, "--steps", str(workload.log_steps), "--out", str(path)]
    subprocess.run([sys.executable, "-m", "rlx", *words], check=True, cwd=ROOT, stdout=sys.stderr)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="WORKLOAD")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the steps, one round")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--core", type=int, help="the first core to pin to; default: the lowest allowed")
    args = parser.parse_args(arguments)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    if args.core is not None:
        cores = [args.core, *(core for core in cores if core != args.core)]
    rounds = 1 if args.quick else args.rounds
    results = measure(args.only, rounds=rounds, device=args.device, cores=cores, quick=args.quick)
    machine = report.machine()
    text = report.markdown(results, machine, device=args.device)
    print(text)
    if args.quick or args.device == "gpu":
        return
    path = FOLDER / "results.json"
    stored = json.loads(path.read_text())["results"] if path.exists() else {}
    results = {name: {**stored, **results}[name] for name in WORKLOADS if name in {**stored, **results}}
    path.write_text(json.dumps({"machine": machine, "results": results}) + "\n")
    (FOLDER / "RESULTS.md").write_text(report.markdown(results, machine, device=args.device))


if __name__ == "__main__":
    main()
