"""Environments of the peers: `.peers/NAME`, made on first use from `NAME.txt`, and measuring processes in them.

With uv where it is on the path, else with venv and pip.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
MARK = "MEASURED "  # before the line of JSON that is a process's result
TIMEOUT = 1800  # seconds for one measurement


class PeerError(Exception):
    """A peer's environment could not be made."""


def python_of(name: str) -> Path:
    """The peer's Python interpreter; makes its environment first, or again when its requirements have changed.

    Raises:
      PeerError: with the installer's last line, where it failed; or if the folder is a link, since what it links to
        may be in use by others.
    """
    folder = ROOT / ".peers" / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    requirements = HERE / f"{name}.txt"
    stamp = folder / "installed.txt"
    if python.exists() and stamp.exists() and stamp.read_text() == requirements.read_text():
        return python
    if folder.is_symlink():
        raise PeerError(f"{folder.relative_to(ROOT)} is a link to an environment that is not up to date: left as it is")
    print(f"Installing {name} into {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
    if uv := shutil.which("uv"):
        _call([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        _call([uv, "pip", "install", "--quiet", "--python", str(python), "--requirement", str(requirements)])
    else:
        _call([sys.executable, "-m", "venv", "--clear", str(folder)])
        _call([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)])
    stamp.write_text(requirements.read_text())
    return python


def run_worker(module: str, peer: str | None, spec: dict[str, Any]) -> dict[str, Any]:
    """The result of a measuring process: `module` with `spec` (JSON) as argument; or `{"error": line}`.

    Args:
      peer: whose Python runs it; None: this one.
    """
    try:
        python = sys.executable if peer is None else str(python_of(peer))
    except PeerError as error:
        return {"error": str(error)}
    command = [python, "-W", "ignore", "-m", module, json.dumps(spec)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_TRACEBACK_FILTERING": "off"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no result within {TIMEOUT} s"}
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
    lines = done.stderr.strip().splitlines()
    return {"error": lines[-1] if lines else f"exit status {done.returncode}"}


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise PeerError(lines[-1] if lines else f"{command[0]} failed with exit status {done.returncode}")
