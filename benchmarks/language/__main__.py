"""Time sampling from a small language model, and training it on preferences, against plain PyTorch:

  python -m benchmarks.language             everything, five rounds; writes RESULTS.md and results.json here
  python -m benchmarks.language --quick     few steps, one round; prints, writes nothing

Each measurement is a fresh process pinned to one core, and rounds go A B, A B, ... The peer runs in an environment of
its own under `.peers/`, made on first use.
"""

from __future__ import annotations

import functools
import json
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
    VOCABULARY,
    WIDTH,
)
from benchmarks.peers import turns
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

Result = turns.Result


def markdown(results: Mapping[str, Mapping[str, Sequence[Result]]], about: Mapping[str, Any]) -> str:
    """The report."""
    described = ", ".join(f"{name} {value}" for name, value in about.items())
    return "\n".join([HEAD, f"Machine: {described}.\n", *(table(part, sides) for part, sides in results.items())])


def table(part: str, sides: Mapping[str, Sequence[Result]]) -> str:
    """One part, a row for each side."""
    more = {"score": lambda rounds: spread([result["score"] for result in rounds], ".3f")}
    return turns.table(TITLES[part], sides, "tokens", "first", more, ".1f")


def main(arguments: list[str] | None = None) -> None:
    options = turns.parse(__doc__, arguments)

    def run(part: str, steps: int, side: str) -> dict[str, Any]:
        module, peer = ("time_torch", "torch") if side == "pytorch" else ("own", None)
        spec = {"part": part, "side": side, "steps": steps, "device": "cpu", "devices": 1, "cores": [options.core]}
        return run_worker(f"benchmarks.language.{module}", peer, spec)

    results = {}
    for part, (sides, tokens, steps) in PARTS.items():
        steps = 3 if options.quick else steps
        wanted = [side for side in sides if side != "pytorch" or not options.no_peers]
        measure = functools.partial(run, part, steps)
        results[part] = turns.take_turns(part, wanted, options.rounds, measure, tokens * steps, "tokens")
    about = machine()
    text = markdown(results, about)
    print(text)
    if not (options.quick or options.no_peers):
        (FOLDER / "results.json").write_text(json.dumps({"machine": about, "results": results}) + "\n")
        (FOLDER / "RESULTS.md").write_text(text)


if __name__ == "__main__":
    main()
