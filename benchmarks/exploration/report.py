"""The table of steps and overheads, and its picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exploration.comparison import BONUSES, CODE, SEEDS, STEPS_PER_UPDATE, TASKS, UPDATES
from benchmarks.speed.report import machine
from rlx.runtime.figure import COLOURS, GREY, STYLE
from rlx.runtime.statistics import Estimate, bootstrap

BUDGET = UPDATES * STEPS_PER_UPDATE
TIMED = "key and door"  # the task on which overheads are measured

HEAD = """# Exploration bonuses side by side

Written by `python -m benchmarks.exploration`. PPO with each bonus as a channel of its own, on tasks that pay at their
end only; the same settings everywhere, the sources' defaults (`comparison.py`), nothing tuned. {seeds} seeds (from 1000
on), all seeds of a cell in one vmapped program, at most {budget:,} environment steps each; {minutes:.0f} minutes in
all on two cores that others used too, with compilation.

**Steps** are those until the first update ({update:,} steps) in which the episodes that end have a mean return above
half of the best there is. Means over seeds in thousands, with 95 % bootstrap intervals; seeds that did not get there
count with the whole budget, and how many did is said. **Overhead** is what the bonus adds to the processor time of an
update of PPO alone (one seed, `rlx/keydoor-11`, one core): median over {rounds} interleaved rounds (lowest to highest).

![steps to solve](steps.png)

DeepSea is gymnax's, with its one map of actions; each of its cells is observed as {code} random signs of its own, in
place of a picture that is up to 20 times as large. `rlx/keydoor-11` needs 30 steps in a certain order of 100 allowed;
the noisy television adds 32 random bits to each of its observations. The vehicle crosses the ways of two obstacles that
go to and fro, whose touch ends the episode, and is paid at the last step for how near it is to a place behind them
(`rlx/point-patrols-2`; continuous actions, radius .5).
"""

Result = Mapping[str, Any]


def estimate(steps: Sequence[int | None]) -> Estimate:
    """Mean over seeds of the steps to solve, at most the budget."""
    return bootstrap(np.mean, np.array([BUDGET if x is None else x for x in steps], float))


def cell(result: Result | None) -> str:
    if result is None:
        return ""
    count = sum(x is not None for x in result["steps"])
    if count == 0:
        return "none"
    value, low, high = (x / 1e3 for x in estimate(result["steps"]))
    few = "" if count == len(result["steps"]) else f" ({count} of {len(result['steps'])})"
    return f"{value:.0f} [{low:.0f}, {high:.0f}]{few}"


def added(taken: Mapping[str, Sequence[float]], bonus: str) -> str:
    """Overhead in per cent, each round against PPO alone in the same round."""
    if bonus == "none":
        return ""
    ratios = 100 * (np.asarray(taken[bonus]) / np.asarray(taken["none"]) - 1)
    return f"{np.median(ratios):.0f} % ({ratios.min():.0f} to {ratios.max():.0f})"


def write(folder: Path) -> None:
    """RESULTS.md and steps.png from what is in `folder/results`."""
    cells = [(bonus, task) for task in TASKS for bonus in BONUSES]
    files = {names: folder / "results" / f"{file_name(*names)}.json" for names in cells}
    results = {key: json.loads(file.read_text()) for key, file in files.items() if file.exists()}
    timing = folder / "results" / "overhead.json"
    taken = json.loads(timing.read_text())["taken"] if timing.exists() else {}
    (folder / "RESULTS.md").write_text(markdown(results, taken))
    draw(results, folder / "steps.png")


def file_name(bonus: str, task: str) -> str:
    return f"{bonus}-{task}".replace(" ", "_")


def markdown(results: Mapping[tuple[str, str], Result], taken: Mapping[str, Sequence[float]]) -> str:
    head = HEAD.format(
        seeds=len(SEEDS),
        budget=BUDGET,
        minutes=sum(result["seconds"] for result in results.values()) / 60,
        update=STEPS_PER_UPDATE,
        code=CODE,
        rounds=len(next(iter(taken.values()), ())),
    )
    rows = [
        f"| `{bonus}` | "
        + " | ".join(cell(results.get((bonus, task))) for task in TASKS)
        + f" | {added(taken, bonus) if taken else ''} |"
        for bonus in BONUSES
    ]
    described = ", ".join(f"{name} {value}" for name, value in machine().items())
    return "\n".join(
        [
            head,
            "| bonus | " + " | ".join(TASKS) + " | overhead |",
            "|" + "---|" * (len(TASKS) + 2),
            *rows,
            "",
            f"Machine: {described}.",
            "",
        ]
    )


def draw(results: Mapping[tuple[str, str], Result], path: Path) -> None:
    """A panel for each task, a row for each bonus: mean and interval, grey where not all seeds got there."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: Any = {**STYLE, "axes.grid.axis": "both"}
    columns = 3
    rows = -(-len(TASKS) // columns)
    with mpl.rc_context(style):
        figure = Figure(figsize=(3.1 * columns + 1, 0.28 * len(BONUSES) * rows + 1.6 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axis in axes.flat[len(TASKS) :]:
            axis.set_visible(False)
        for axis, task in zip(axes.flat, TASKS, strict=False):
            for height, bonus in enumerate(BONUSES):
                if (bonus, task) not in results:
                    continue
                steps = results[bonus, task]["steps"]
                count = sum(x is not None for x in steps)
                value, low, high = (x / 1e3 for x in estimate(steps))
                colour = COLOURS[0] if count == len(steps) else GREY
                axis.plot([low, high], [height, height], color=colour, linewidth=2)
                axis.plot(value, height, "o", color=colour, markersize=5)
                if count < len(steps):
                    left = 2e3 * value > BUDGET
                    axis.annotate(
                        f"{count} of {len(steps)}",
                        (low if left else high, height),
                        (-6 if left else 6, 0),
                        textcoords="offset points",
                        ha="right" if left else "left",
                        va="center",
                        fontsize=8,
                        color="#777777",
                    )
            axis.set_title(task)
            axis.set_xlim(0, BUDGET / 1e3 * 1.03)
            axis.set_yticks(range(len(BONUSES)), list(BONUSES))
        axes[0, 0].invert_yaxis()
        figure.suptitle("Steps to solve, thousands", x=0.01, ha="left", fontsize=13, color="#222222")
        note = f"Means of {len(SEEDS)} seeds, 95 % bootstrap intervals; grey: not solved by all within the budget."
        figure.supxlabel(note, x=0.01, ha="left", fontsize=9.5, color="#777777")
        figure.savefig(path)
