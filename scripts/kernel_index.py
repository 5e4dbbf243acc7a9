"""Write `rlx/README.md`, the index of kernels, from their docstrings.

python scripts/kernel_index.py            write it
python scripts/kernel_index.py --check    exit with status 1 if it is not current
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

INDEX = Path(__file__).resolve().parent.parent / "rlx" / "README.md"
PACKAGES = ("value", "policy", "reward", "reward.learned", "exploration", "pareto", "optim")
HEAD = """\
# Kernels

Pure functions of arrays, importable one by one (`from rlx.value import gae`); their docstrings give equation, shapes,
gradient flow, errors and an example. Written by `scripts/kernel_index.py`: edit the docstrings, not this file.
"""


def index() -> str:
    return "\n".join([HEAD, *filter(None, map(section, PACKAGES))])


def section(package: str) -> str:
    """A folder's first docstring line and a table of the public functions in its `__all__`; nothing without any."""
    module = importlib.import_module(f"rlx.{package}")
    functions = [(name, getattr(module, name)) for name in getattr(module, "__all__", ())]
    rows = [row(name, f) for name, f in functions if inspect.isfunction(f)]
    if not rows:
        return ""
    heading = [f"## rlx.{package}", "", first_sentence(module), ""]
    return "\n".join([*heading, "| kernel | what it is | source |", "|---|---|---|", *rows, ""])


def row(name: str, function: Any) -> str:
    cells = f"`{name}({parameters(function)})`", first_sentence(function), source(function)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def parameters(function: Any) -> str:
    """Names and defaults, without annotations; functions by their names, as their `repr` differs between processes."""
    signature = inspect.signature(function)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    text = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    return re.sub(r"<function (\S+) at \w+>", r"\1", text)[1:-1]


def first_sentence(thing: Any) -> str:
    """The docstring's first paragraph, up to the end of its first sentence."""
    paragraph = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", paragraph)[0]


def source(function: Any) -> str:
    """The paragraph that begins with "Source:" (or "Sources:", "Paper:"), without that word."""
    match = re.search(r"^(?:Sources?|Papers?):\s*(.+?)(?=\n\n|\Z)", inspect.getdoc(function) or "", re.M | re.S)
    return " ".join(match[1].split()) if match else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only; exit with status 1 if not current")
    text = index()
    if parser.parse_args().check:
        if not INDEX.exists() or INDEX.read_text(encoding="utf-8") != text:
            sys.exit(f"{INDEX.name} is not current: run python scripts/kernel_index.py")
    else:
        INDEX.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
