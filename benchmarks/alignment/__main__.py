"""Frontiers of gold reward against divergence, for every pair loss, offline and online:

  python -m benchmarks.alignment                      what is missing of results/, then RESULTS.md and frontier.png
  python -m benchmarks.alignment --only dpo ipo       some losses
  python -m benchmarks.alignment --quick              few updates, two seeds; prints, writes nothing
  python -m benchmarks.alignment --report             the report of what there is

A run that was stopped goes on with what is missing; results of other settings are made again.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from benchmarks.alignment import report
from benchmarks.alignment.frontier import GRID, LOSSES, MODES, SEEDS, Settings, run
from benchmarks.stored import is_stored, store

FOLDER = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alignment", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", nargs="+", choices=tuple(LOSSES), default=tuple(LOSSES), metavar="LOSS")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    settings = Settings(updates=10) if options.quick else Settings()
    said = {"settings": dataclasses.asdict(settings), "grid": list(GRID), "seeds": list(SEEDS)}
    results = FOLDER / "results"
    for loss in () if options.report else options.only:
        for mode in MODES:
            file = results / f"{loss}-{mode}.json"
            if not options.quick and is_stored(file, said):
                continue
            found = run(loss, mode, settings, SEEDS[:2] if options.quick else SEEDS)
            print(f"{loss} {mode}: {found['seconds']:.0f} s", flush=True)
            if not options.quick:
                store(file, said, found)
    if not options.quick:
        report.write(FOLDER, settings)


if __name__ == "__main__":
    main()
