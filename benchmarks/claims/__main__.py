"""Run claims, list their verdicts, write the table.

python -m benchmarks.claims run rnd_keydoor        or --all, or --cards 85,49; --smoke: tiny and not stored
python -m benchmarks.claims list                   or --json
python -m benchmarks.claims table                  writes benchmarks/CLAIMS.md
"""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks.claims import report
from benchmarks.claims.claim import Claim


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.claims", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run and judge claims, and store what came out")
    run.add_argument("names", nargs="*", metavar="NAME")
    run.add_argument("--all", action="store_true")
    run.add_argument("--cards", type=_numbers, default=(), help="claims of these methods, as in 5,13")
    run.add_argument("--smoke", action="store_true", help="two seeds and two updates, nothing stored")
    listing = commands.add_parser("list", help="what is stored")
    listing.add_argument("--json", action="store_true")
    commands.add_parser("table", help="write CLAIMS.md")
    options = parser.parse_args(arguments)

    claims = report.load_claims()
    if options.command == "run":
        for claim in _chosen(parser, claims, options):
            _print(report.run_claim(claim, smoke=options.smoke))
    elif options.command == "list":
        rows = [report.summary(claim) for claim in claims.values()]
        print(json.dumps(rows, indent=1) if options.json else "\n".join(map(_line, rows)))
    else:
        report.TABLE.write_text(report.markdown(claims), encoding="utf-8")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _chosen(parser: argparse.ArgumentParser, claims: dict[str, Claim], options: argparse.Namespace) -> list[Claim]:
    unknown = [name for name in options.names if name not in claims]
    if unknown:
        parser.error(f"no claim named {', '.join(unknown)}; there are {', '.join(claims)}")
    missing = [card for card in options.cards if not any(card in claim.cards for claim in claims.values())]
    if missing:
        parser.error(f"no claim of method {', '.join(map(str, missing))}")
    chosen = [
        claim
        for claim in claims.values()
        if options.all or claim.name in options.names or set(options.cards) & set(claim.cards)
    ]
    if not chosen:
        parser.error("give names of claims, --cards or --all")
    return chosen


def _print(result: dict) -> None:
    print(f"{result['name']}: {result['verdict']} ({len(result['seeds'])} seeds, {result['seconds']} s)")
    for condition in result["conditions"]:
        print(f"  {condition['verdict']:>14}  {condition['statement']}: {report.interval(condition)}")


def _line(row: dict) -> str:
    cards = ",".join(map(str, row["cards"]))
    if row["verdict"] is None:
        return f"{row['name']:20} {cards:8} not run"
    cost = f"{row['seeds']} seeds {row['seconds']} s {row['date']}"
    return f"{row['name']:20} {cards:8} {row['verdict']:15} {report.interval(row):28} {cost}"


if __name__ == "__main__":
    main(sys.argv[1:])
