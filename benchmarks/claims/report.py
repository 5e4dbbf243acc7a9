"""Running claims, their stored results, and the table of them."""

from __future__ import annotations

import datetime
import importlib
import json
import pkgutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

import benchmarks.claims
from benchmarks.claims.claim import Claim, judge

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
TABLE = HERE.parent / "CLAIMS.md"
MACHINERY = (
    "__main__",
    "annotated_grid",
    "arms",
    "claim",
    "descent",
    "goal_maze",
    "point_maze",
    "report",
    "reward_model",
    "ring",
    "segments",
    "task_grid",
    "token_policies",
)


def load_claims() -> dict[str, Claim]:
    """The `CLAIM` of every other module of this package, by name.

    Raises:
      ValueError: if a claim is not named as its module is, or judges by fewer than 10 seeds or by tuning seeds.
    """
    claims = {}
    for module in pkgutil.iter_modules(benchmarks.claims.__path__):
        if module.name in MACHINERY:
            continue
        claim = importlib.import_module(f"benchmarks.claims.{module.name}").CLAIM
        if claim.name != module.name:
            raise ValueError(f"name of the claim must be {module.name!r}, its module's; got {claim.name!r}")
        if len(claim.seeds) < 10 or min(claim.seeds) < 1000:
            raise ValueError(f"seeds of {claim.name} must be at least 10, from 1000 up; got {claim.seeds!r}")
        claims[claim.name] = claim
    return claims


def run_claim(claim: Claim, *, smoke: bool = False) -> dict[str, Any]:
    """Run a claim and store its result, or with `smoke` run two seeds for two updates and store nothing."""
    seeds, updates = (claim.seeds[:2], 2) if smoke else (claim.seeds, claim.updates)
    commit = _commit()
    start = time.perf_counter()
    samples = claim.run(seeds, updates)
    seconds = time.perf_counter() - start
    verdict, judged = judge(claim, samples)
    result = {
        "name": claim.name,
        "verdict": verdict,
        "conditions": [
            {
                "statement": condition.statement,
                "margin": condition.margin,
                "effect": _rounded(effect.value),
                "interval": [_rounded(effect.low), _rounded(effect.high)],
                "verdict": each,
            }
            for condition, effect, each in judged
        ],
        "samples": {name: [_rounded(x) for x in values] for name, values in samples.items()},
        "seeds": list(seeds),
        "updates": updates,
        "steps": updates * claim.steps_per_update,
        "settings": dict(claim.settings),
        "history": list(claim.history),
        "seconds": round(seconds),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit,
    }
    if not smoke:
        RESULTS.mkdir(exist_ok=True)
        path(claim.name).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def path(name: str) -> Path:
    return RESULTS / f"{name}.json"


def stored(claim: Claim) -> dict[str, Any] | None:
    file = path(claim.name)
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def summary(claim: Claim) -> dict[str, Any]:
    """One row of the list: the effect is that of the first condition; None where the claim has not been run."""
    result = stored(claim)
    row: dict[str, Any] = {"name": claim.name, "cards": list(claim.cards)}
    if result is None:
        return row | dict.fromkeys(("verdict", "effect", "interval", "seeds", "seconds", "date"))
    first = result["conditions"][0]
    return row | {
        "verdict": result["verdict"],
        "effect": first["effect"],
        "interval": first["interval"],
        "seeds": len(result["seeds"]),
        "seconds": result["seconds"],
        "date": result["date"],
    }


def interval(of: dict[str, Any]) -> str:
    """`effect [low, high]`."""
    low, high = (float("nan") if x is None else x for x in of["interval"])
    return f"{of['effect']:.3g} [{low:.3g}, {high:.3g}]"


HEAD = """\
# Claims

Written by `python -m benchmarks.claims table` from `claims/results/`; [README.md](README.md) says how to read it.
Effects are means over seeds with 95% bootstrap intervals, positive where the claim holds. A condition is reproduced if
its interval lies above the margin, refuted if it lies below zero, else not reproduced.

| claim | paper | condition | effect | margin | verdict | seeds | steps per seed |
|---|---|---|---|---|---|---|---|
"""


def markdown(claims: dict[str, Claim]) -> str:
    rows, details = [], []
    for claim in claims.values():
        result = stored(claim)
        name, paper = f"[{claim.name}](claims/{claim.name}.py)", f"{claim.title}, {claim.year}"
        if result is None:
            rows.append(f"| {name} | {paper} | | | | not run | | |")
            continue
        for condition in result["conditions"]:
            cells = (
                name,
                paper,
                condition["statement"],
                interval(condition),
                f"{condition['margin']:g}",
                condition["verdict"],
                str(len(result["seeds"])),
                f"{result['steps']:,}",
            )
            rows.append("| " + " | ".join(cells) + " |")
            name = paper = ""
        details.append(_details(claim, result))
    return HEAD + "\n".join([*rows, "", *details])


def _details(claim: Claim, result: dict[str, Any]) -> str:
    lines = [
        f"## {claim.name}: {result['verdict']}",
        "",
        f"- Environment: {claim.environment}",
        f"- Method: {claim.method}",
        f"- Baseline: {claim.baseline}",
        f"- Metric: {claim.metric}",
        f"- Run: {result['date']}, {result['seconds']} s, commit {result['commit']}",
    ]
    lines += [f"- Changed after results had been seen: {change}" for change in result["history"]]
    lines += ["", "| sample | mean | least | most |", "|---|---|---|---|"]
    for name, values in result["samples"].items():
        known = np.asarray([x for x in values if x is not None], float)
        if known.size:
            lines.append(f"| {name} | {known.mean():.3g} | {known.min():.3g} | {known.max():.3g} |")
    return "\n".join([*lines, ""])


def _rounded(x: Any) -> float | None:
    """Six digits; None for a number that is not finite, which JSON cannot hold."""
    return float(f"{x:.6g}") if np.isfinite(x) else None


def _commit() -> str:
    """The short hash of the tree's commit, with `-dirty` where tracked source differs from it."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"
