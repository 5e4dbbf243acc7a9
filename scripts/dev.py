#!/usr/bin/env python3
"""Set up the project's own environment in `.venv` and run something in it; needs nothing but Python.

    python3 scripts/dev.py demo    train PPO on CartPole with eight seeds, draw the learning curve
    python3 scripts/dev.py test    run the tests (further arguments go to pytest)
    python3 scripts/dev.py check   run the linter, the formatter's check and the type checker

The first call installs, with uv where it is on the path, else with venv and pip; later ones start at once, until
`pyproject.toml` or the constraints change.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
CONSTRAINTS = ROOT / "scripts" / "constraints.txt"
EXTRAS = ("", "[test]", "[dev]")  # each holds the one before it
DEMO = "train ppo --env CartPole-v1 --total-steps 300000 --seeds 8 --out runs/demo"
NEEDS = {"demo": "", "test": "[test]", "check": "[dev]"}


def installed() -> str | None:
    """The extra that `.venv` was last completed with for today's pyproject.toml and constraints, or None."""
    try:
        digest, _, extra = (VENV / "installed").read_text().partition(" ")
    except OSError:
        return None
    return extra if digest == requirements_digest() and PYTHON.exists() else None


def requirements_digest() -> str:
    files = (ROOT / "pyproject.toml", CONSTRAINTS)
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def install(extra: str) -> None:
    """Make `.venv` or bring it up to date, with uv where there is one and it works, else with venv and pip."""
    print(f"Installing rlx{extra} into {VENV}: about a minute, once.", flush=True)
    fresh = [] if PYTHON.exists() else ["--clear"]
    what = ["--quiet", "--constraint", str(CONSTRAINTS), "--editable", f"{ROOT}{extra}"]
    ways = []
    uv = shutil.which("uv")
    if uv:
        make = [[uv, "venv", "--quiet", *fresh, "--python", sys.executable, str(VENV)]] if fresh else []
        ways.append([*make, [uv, "pip", "install", "--python", str(PYTHON), *what]])
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", *what]
        ways.append([[sys.executable, "-m", "venv", *fresh, str(VENV)], pip])
    if not ways:
        sys.exit(
            f"{sys.executable} lacks the modules venv and ensurepip, and there is no uv on the path. "
            "Install one of them (on Debian and Ubuntu: apt-get install python3-venv) and run this again."
        )
    if not any(all(run(*command) for command in commands) for commands in ways):
        sys.exit("The installation failed; the reason is above. It needs a package index within reach, once.")
    (VENV / "installed").write_text(f"{requirements_digest()} {extra}")


def run(*command: str) -> bool:
    return subprocess.run(command, cwd=ROOT).returncode == 0


def require_python() -> None:
    """Go on under a newer Python if the one at hand is too old and there is one on the path."""
    if sys.version_info >= (3, 11):  # noqa: UP036, whoever runs this file may have an older one
        return
    for minor in (13, 12, 11, 14):
        newer = shutil.which(f"python3.{minor}")
        if newer and subprocess.run([newer, "-c", ""], capture_output=True).returncode == 0:
            os.execv(newer, [newer, *sys.argv])
    sys.exit(
        f"rlx needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]} and no newer one is on the path."
    )


def main() -> None:
    require_python()
    command, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    if command not in NEEDS:
        print(__doc__)
        sys.exit(0 if command in ("-h", "--help") else 2)
    present = installed()
    if present is None or EXTRAS.index(present) < EXTRAS.index(NEEDS[command]):
        install(NEEDS[command])
    os.chdir(ROOT)
    if command == "demo":
        execute("-m", "rlx", *DEMO.split(), *arguments)
    elif command == "test":
        execute("-m", "pytest", "-n", "2", "--dist", "loadfile", *arguments)
    else:
        for tool in (("ruff", "check"), ("ruff", "format", "--check"), ("pyright", "--pythonpath", str(PYTHON))):
            print("$", *tool, flush=True)
            if not run(str(BIN / tool[0]), *tool[1:]):
                sys.exit(f"{' '.join(tool)} failed")


def execute(*arguments: str) -> None:
    """Become the environment's Python."""
    os.execv(PYTHON, [str(PYTHON), *arguments])


if __name__ == "__main__":
    main()
