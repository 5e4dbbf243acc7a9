"""What comparisons with a peer share whose sides take turns: options, rounds, and the table of a part."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.speed.report import spread

Result = Mapping[str, Any]


def parse(description: str | None, arguments: Sequence[str] | None) -> argparse.Namespace:
    """`rounds`, `quick` (then one round), `no_peers` and `core`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="little work, one round")
    parser.add_argument("--no-peers", action="store_true", help="rlx alone; writes nothing")
    parser.add_argument("--core", type=int, help="the core to pin to; default: the lowest allowed")
    options = parser.parse_args(arguments)
    options.core = min(os.sched_getaffinity(0)) if options.core is None else options.core
    options.rounds = 1 if options.quick else options.rounds
    return options


def take_turns(
    part: str, sides: Sequence[str], rounds: int, measure: Callable[[str], dict[str, Any]], work: int, unit: str
) -> dict[str, list[dict[str, Any]]]:
    """The results of each side, round by round, each with the `work` that it did in units of that name."""
    results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for number in range(rounds):
        for side, found in results.items():
            result = {**measure(side), unit: work}
            found.append(result)
            said = result.get("error") or f"{work / result['run']['cpu_s']:,.0f} {unit} a CPU second"
            print(f"{part} round {number + 1} {side}: {said}", file=sys.stderr, flush=True)
    return results


def table(
    title: str,
    sides: Mapping[str, Sequence[Result]],
    unit: str,
    compiling: str,
    more: Mapping[str, Callable[[Sequence[Result]], str]],
    ratio: str = ".2f",
) -> str:
    """One part, a row for each side.

    Args:
      title: of the part.
      sides: the rounds of each; ratios are over the first side in the same round.
      unit: what is counted, and the results' entry with how many there were.
      compiling: heading of the time before the run.
      more: further columns, heading -> cell of a side's rounds.
      ratio: format of the ratios.
    """
    rows = [
        f"## {title}\n",
        f"| side | {unit}/s | ratio | {compiling} (CPU-s) | peak memory (MiB) | " + " | ".join(more) + " |",
        "|" + "---|" * (5 + len(more)),
    ]
    first = next(iter(sides.values()))
    for side, rounds in sides.items():
        errors = [result["error"] for result in rounds if "error" in result]
        if errors:
            rows.append(f"| {side} | did not run: {errors[0]} |" + " |" * (3 + len(more)))
            continue
        pairs = [(r["run"]["cpu_s"], f["run"]["cpu_s"]) for r, f in zip(rounds, first, strict=True) if "error" not in f]
        cells = (
            side,
            spread([result[unit] / result["run"]["cpu_s"] for result in rounds]),
            "1" if rounds is first else spread([theirs / ours for theirs, ours in pairs], ratio),
            spread([result["compile"]["cpu_s"] for result in rounds], ".1f"),
            spread([result["rss_mib"] for result in rounds]),
            *(cell(rounds) for cell in more.values()),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"
