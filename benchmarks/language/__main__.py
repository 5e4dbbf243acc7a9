"""Time sampling from a small language model, and training it on preferences, against plain PyTorch:

  python -m benchmarks.language             everything, five rounds; writes RESULTS.md and results.json here
  python -m benchmarks.language --quick     few steps, one round; prints, writes nothing

Each measurement is a fresh process pinned to one core, and rounds go A B, A B, ... The peer runs in an environment of
its own under `.peers/`, made on first use.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.language.workload import (
    BATCH,
    BETAS,
    DEPTH,
    HEADS,
    LENGTH,
    PAIRS,
    PARTS,
    PROMPT,
    STEPS,
    VOCABULARY,
    WIDTH,
)
from benchmarks.peers.environment import ROOT, run_worker
from benchmarks.speed.report import machine, spread

FOLDER = ROOT / "benchmarks" / "language"
TITLES = {
    "sampling": f"Sampling: {BATCH} completions at once, token by token from a cache",
    "dpo": f"DPO: a gradient step on {BATCH} pairs",
    "betas": f"{len(BETAS)} values of beta as one vmapped program, and one after the other",
}
HEAD = f"""# Small language models

Written by `python -m benchmarks.language`; the sides of a table come from one interleaved run on one machine. A
decoder of width {WIDTH}, depth {DEPTH} and {HEADS} attention heads, {VOCABULARY} tokens, prompts of {PROMPT} and
completions of {LENGTH}; {PAIRS} pairs, whose reference log-probabilities are computed before. PyTorch runs eagerly,
with its own attention kernel, Adam and a cache that grows; parameters are random on both sides, and a completion goes
on to its last token, so that both do the same work.

- **tokens/s** are of completions, by CPU time on one core. Median over rounds (lowest to highest).
- **ratio** is that side's CPU time over the first's, each round by itself: above 1, the first is faster.
- **first** is the time before the steps that count: tracing and compilation, or PyTorch's first step.
- **score** shows that both do the like: the mean log-probability of sampled tokens, or the loss at the end.
"""

Result = Mapping[str, Any]


def markdown(results: Mapping[str, Mapping[str, Sequence[Result]]], about: Mapping[str, Any]) -> str:
    """The report."""
    described = ", ".join(f"{name} {value}" for name, value in about.items())
    return "\n".join([HEAD, f"Machine: {described}.\n", *(table(part, sides) for part, sides in results.items())])


def table(part: str, sides: Mapping[str, Sequence[Result]]) -> str:
    """One part, a row for each side."""
    rows = [
        f"## {TITLES[part]}\n",
        "| side | tokens/s | ratio | first (CPU-s) | peak memory (MiB) | score |",
        "|---|---|---|---|---|---|",
    ]
    first = next(iter(sides.values()))
    for side, rounds in sides.items():
        errors = [result["error"] for result in rounds if "error" in result]
        if errors:
            rows.append(f"| {side} | did not run: {errors[0]} | | | | |")
            continue
        pairs = [(r["run"]["cpu_s"], f["run"]["cpu_s"]) for r, f in zip(rounds, first, strict=True) if "error" not in f]
        cells = (
            side,
            spread([result["tokens"] / result["run"]["cpu_s"] for result in rounds]),
            "1" if rounds is first else spread([theirs / ours for theirs, ours in pairs], ".1f"),
            spread([result["compile"]["cpu_s"] for result in rounds], ".1f"),
            spread([result["rss_mib"] for result in rounds]),
            spread([result["score"] for result in rounds], ".3f"),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="few steps, one round")
    parser.add_argument("--no-peers", action="store_true", help="rlx alone; writes nothing")
    parser.add_argument("--core", type=int, help="the core to pin to; default: the lowest allowed")
    args = parser.parse_args(arguments)
    core = min(os.sched_getaffinity(0)) if args.core is None else args.core
    steps = 3 if args.quick else STEPS
    results: dict[str, dict[str, list[Any]]] = {}
    for part, (sides, tokens) in PARTS.items():
        results[part] = {side: [] for side in sides if side != "pytorch" or not args.no_peers}
        for number in range(1 if args.quick else args.rounds):
            for side, rounds in results[part].items():
                module, peer = ("time_torch", "torch") if side == "pytorch" else ("own", None)
                spec = {"part": part, "side": side, "steps": steps, "device": "cpu", "devices": 1, "cores": [core]}
                result = run_worker(f"benchmarks.language.{module}", peer, spec)
                rounds.append({**result, "tokens": tokens * steps})
                said = result.get("error") or f"{tokens * steps / result['run']['cpu_s']:,.0f} tokens a CPU second"
                print(f"{part} round {number + 1} {side}: {said}", file=sys.stderr, flush=True)
    about = machine()
    text = markdown(results, about)
    print(text)
    if not (args.quick or args.no_peers):
        (FOLDER / "results.json").write_text(json.dumps({"machine": about, "results": results}) + "\n")
        (FOLDER / "RESULTS.md").write_text(text)


if __name__ == "__main__":
    main()
