"""Results in files of their own, so that a comparison which was stopped goes on with what is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def is_stored(file: Path, said: Mapping[str, Any]) -> bool:
    """Whether the file holds a result of these settings."""
    return file.exists() and json.loads(file.read_text())["said"] == json.loads(json.dumps(said))


def store(file: Path, said: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """The result under its settings, written whole or not at all."""
    file.parent.mkdir(exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps({"said": said, **found}) + "\n")
    part.replace(file)
