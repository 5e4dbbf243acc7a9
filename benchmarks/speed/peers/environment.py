"""Environments of the peers: `.peers/NAME`, made on first use from `NAME.txt`.

With uv where it is on the path, else with venv and pip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
NAMES = ("rejax", "brax")


class PeerError(Exception):
    """A peer's environment could not be made."""


def python_of(name: str) -> Path:
    """The peer's Python interpreter; makes its environment first, or again when its requirements have changed.

    Raises:
      PeerError: with the installer's last line, where it failed.
    """
    folder = ROOT / ".peers" / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    requirements = HERE / f"{name}.txt"
    stamp = folder / "installed.txt"
    if python.exists() and stamp.exists() and stamp.read_text() == requirements.read_text():
        return python
    print(f"Installing {name} into {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
    if uv := shutil.which("uv"):
        _call([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        _call([uv, "pip", "install", "--quiet", "--python", str(python), "--requirement", str(requirements)])
    else:
        _call([sys.executable, "-m", "venv", "--clear", str(folder)])
        _call([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)])
    stamp.write_text(requirements.read_text())
    return python


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise PeerError(lines[-1] if lines else f"{command[0]} failed with exit status {done.returncode}")
