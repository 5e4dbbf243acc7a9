"""All exploration bonuses on the same tasks, with equal budgets:

  python -m benchmarks.exploration                    what is missing of results/, then RESULTS.md and steps.png
  python -m benchmarks.exploration --only rnd icm     some bonuses; some tasks: --tasks "key and door"
  python -m benchmarks.exploration --quick            one update, two seeds, no timing; prints, writes nothing
  python -m benchmarks.exploration --report           the report of what there is

A run that was stopped goes on with what is missing; results of other settings are made again.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from benchmarks.exploration import report
from benchmarks.exploration.comparison import (
    BONUSES,
    CONFIG,
    ROUNDS,
    SEEDS,
    SOLVED,
    TASKS,
    UPDATES,
    WEIGHTS,
    overhead,
    run,
)
from benchmarks.stored import is_stored, store

FOLDER = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exploration", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", nargs="+", choices=tuple(BONUSES), default=tuple(BONUSES), metavar="BONUS")
    parser.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=tuple(TASKS), metavar="TASK")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    shared = {"config": dataclasses.asdict(CONFIG), "weights": WEIGHTS}
    for task in () if options.report else options.tasks:
        for bonus in options.only:
            if options.quick:
                print(f"{task}, {bonus}: {run(bonus, task, 1, SEEDS[:2]).seconds:.0f} s", flush=True)
                continue
            said = {**shared, "task": TASKS[task], "updates": UPDATES, "solved": SOLVED, "seeds": SEEDS}
            file = FOLDER / "results" / f"{report.file_name(bonus, task)}.json"
            if not is_stored(file, said):
                cell = run(bonus, task)
                store(file, said, cell._asdict())
                print(f"{task}, {bonus}: {cell.seconds:.0f} s, {cell.steps}", flush=True)
    if options.quick:
        return
    said = {**shared, "task": TASKS[report.TIMED], "bonuses": tuple(BONUSES), "rounds": ROUNDS}
    file = FOLDER / "results" / "overhead.json"
    if set(options.tasks) == set(TASKS) and not options.report and not is_stored(file, said):
        store(file, said, {"taken": overhead(report.TIMED)})
    report.write(FOLDER)


if __name__ == "__main__":
    main()
