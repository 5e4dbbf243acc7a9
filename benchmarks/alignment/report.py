"""The table of the frontiers, read off at equal divergence, and their picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.alignment.frontier import GRID, LOSSES, MODES, Settings, figures, optimum, task
from rlx.runtime import plot_frontier
from rlx.runtime.statistics import bootstrap

DISTANCES = (0.25, 0.5, 1.0)  # nats, at which gold is read off
MIDDLE = 0.5  # at which length and entropy are
COLOURED = ("dpo", "ipo", "simpo", "orpo", "kto", "discopop")

HEAD = """# Pair losses at equal divergence

Written by `python -m benchmarks.alignment`. The task is `toy_seq` in its tiny size, four prompts with 1555 answers
each, so that every figure is an exact sum. Policies are small GRUs that start from the same reference: {updates}
gradient steps on {pairs} pairs each, Adam at {rate:g}, labels by Bradley and Terry at {scale:g} times the gold reward.
Offline: pairs of the reference's answers, as many as the run takes, drawn with replacement. Online: the policy's own,
fresh in each step. Each method ran at its default of beta (its weight, tau) times {grid}; {seeds} seeds (from 1000 on),
all runs of a method in one vmapped program, {minutes:.0f} minutes in all on one core that others used too, with
compilation. Nothing was tuned for any method.

A method's frontier of a seed is the line through the reference (divergence 0) and its runs in the order of their
divergence KL(policy || reference), the mean over prompts in nats. Means over seeds with 95 % bootstrap intervals. "no
run near": no beta of the grid went so far from the reference, or the runs on both sides are more than twice the
distance apart, in more than half of the seeds (a rule made after a first look, at which SimPO and SLiC without a
reference, whose runs all end far away, had chords in place of figures). Frontiers are concave, so what is read off
between two runs is on the low side, and more so the further they are apart: differences of one or two hundredths
between methods are within that. A loss that is not in the table has not been run: the command goes on with it.

![frontiers](frontier.png)
"""

Result = Mapping[str, Any]


def read_off(result: Result, reference: Mapping[str, float], name: str, distance: float) -> np.ndarray:
    """A figure `[S]` at a divergence, along each seed's frontier: the line through the reference and its runs in order
    of their divergence. NaN where no beta of the grid went so far, or where the neighbours are more than twice the
    distance apart: a chord so long says nothing of a policy.
    """
    divergence = np.asarray(result["divergence"])
    values = np.asarray(result[name])
    found = []
    for x, y in zip(divergence.T, values.T, strict=True):
        usable = np.isfinite(x) & np.isfinite(y)
        x, y = np.append(0.0, x[usable]), np.append(reference[name], y[usable])
        order = np.argsort(x)
        x, y = x[order], y[order]
        above = np.searchsorted(x, distance)
        near = 0 < above < len(x) and x[above] - x[above - 1] <= 2 * distance
        found.append(np.interp(distance, x, y) if near else np.nan)
    return np.array(found)


def cell(values: np.ndarray) -> str:
    """Mean and 95 % bootstrap interval; how many seeds got there, if not all."""
    there = values[np.isfinite(values)]
    if len(there) < 2 or 2 * len(there) < len(values):
        return "no run near"
    middle, low, high = bootstrap(np.mean, there)
    few = "" if len(there) == len(values) else f" ({len(there)} seeds)"
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]{few}"


def write(folder: Path, settings: Settings) -> None:
    """RESULTS.md and frontier.png from what is in `folder/results`."""
    on = task(settings)
    reference = {name: float(x) for name, x in figures(on, on.log_reference).items()}
    best = optimum(settings, np.geomspace(0.02, 20.0, 200))
    order = np.argsort(best["divergence"])
    ideal = {n: float(np.interp(n, best["divergence"][order], best["gold"][order])) for n in DISTANCES}
    files = {(loss, mode): folder / "results" / f"{loss}-{mode}.json" for loss in LOSSES for mode in MODES}
    results = {key: json.loads(file.read_text()) for key, file in files.items() if file.exists()}
    if not results:
        return
    (folder / "RESULTS.md").write_text(markdown(results, reference, ideal, settings))
    draw(results, reference, {name: best[name][order] for name in best}, folder / "frontier.png")


def markdown(
    results: Mapping[tuple[str, str], Result],
    reference: Mapping[str, float],
    ideal: Mapping[float, float],
    settings: Settings,
) -> str:
    lines = [
        HEAD.format(
            updates=settings.updates,
            pairs=settings.pairs,
            rate=settings.learning_rate,
            scale=settings.label_scale,
            grid=", ".join(f"{x:g}" for x in GRID),
            seeds=len(next(iter(results.values()))["gold"][0]),
            minutes=sum(result["seconds"] for result in results.values()) / 60,
        ),
        "## Gold reward at equal divergence",
        "",
        f"The reference has {reference['gold']:.3f}. The best that any policy can have (the tilted reference): "
        + ", ".join(f"{gold:.3f} at {distance:g}" for distance, gold in ideal.items())
        + ".",
        "",
        "| loss | " + " | ".join(f"{mode}, {d:g}" for mode in MODES for d in DISTANCES) + " |",
        "|" + "---|" * (1 + len(MODES) * len(DISTANCES)),
    ]

    def row(loss: str, cells: list[tuple[str, str, float]]) -> str:
        found = [
            cell(read_off(results[loss, mode], reference, name, d)) if (loss, mode) in results else ""
            for mode, name, d in cells
        ]
        return f"| `{loss}` | " + " | ".join(found) + " |"

    ran = [loss for loss in LOSSES if any((loss, mode) in results for mode in MODES)]
    lines += [row(loss, [(mode, "gold", d) for mode in MODES for d in DISTANCES]) for loss in ran]
    lines += [
        "",
        f"## Length and diversity at divergence {MIDDLE:g}",
        "",
        f"Length in tokens, the end's with them (reference {reference['length']:.2f}), and entropy of answers in nats "
        f"(reference {reference['entropy']:.2f}).",
        "",
        "| loss | " + " | ".join(f"{mode}, {name}" for mode in MODES for name in ("length", "entropy")) + " |",
        "|" + "---|" * (1 + 2 * len(MODES)),
        *(row(loss, [(mode, name, MIDDLE) for mode in MODES for name in ("length", "entropy")]) for loss in ran),
        "",
    ]
    return "\n".join(lines)


def draw(
    results: Mapping[tuple[str, str], Result], reference: Mapping[str, float], best: Mapping[str, Any], path: Path
) -> None:
    """A panel for each mode, under the best there can be; means over seeds, a few methods in colour."""

    def curve(result: Result) -> tuple[Any, ...]:
        return tuple(np.nanmean(np.asarray(result[name]), axis=1) for name in ("divergence", "gold"))

    plot_frontier(
        {mode: {loss: curve(results[loss, mode]) for loss in LOSSES if (loss, mode) in results} for mode in MODES},
        path,
        start=(0.0, reference["gold"]),
        optimum=(best["divergence"], best["gold"]),
        coloured=COLOURED,
        limit=3.0,
        title="Gold reward against divergence, means over seeds",
    )
