"""Checkpoints of a whole state: `save`, `restore`, `updates`. What reads and writes arrays is orbax.

A checkpoint is the directory `<update>` and, once that is complete, the file `<update>.json` with the size and
checksum of each of its files. A kill at any moment leaves the older ones as they are, and an incomplete one without
that file; damage done later is found before the state is read. (Orbax's format finds truncated files but not every
flipped bit.)
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import warnings
import zlib
from pathlib import Path

import jax

from rlx.runtime.mesh import any_process, barrier
from rlx.runtime.table import replace_file
from rlx.types import PyTree


class CheckpointError(RuntimeError):
    """There are checkpoints, but none can be read."""


def updates(directory: Path) -> list[int]:
    """The updates with a complete checkpoint, ascending."""
    return sorted(int(file.stem) for file in directory.glob("*.json") if file.stem.isdigit())


def save(directory: Path, update: int, state: PyTree, keep: int) -> None:
    """Write a checkpoint, then remove all but the newest `keep`. Every process must call it.

    Raises:
      OSError: if it cannot be written; older checkpoints are intact.
    """
    from orbax.checkpoint import v1 as ocp

    target, manifest = directory / str(update), directory / f"{update}.json"
    try:
        if jax.process_index() == 0:
            directory.mkdir(parents=True, exist_ok=True)
            _remove(directory, update)
        barrier("rlx checkpoint begins")
        ocp.save(str(target), state)
        if jax.process_index() == 0:
            replace_file(manifest, json.dumps({"files": _checksums(target)}))
            for old in updates(directory)[:-keep]:
                _remove(directory, old)
        barrier("rlx checkpoint is complete")
    except Exception as error:  # orbax reports a full disk as a ValueError, with the system's code in its text
        code = re.search(r"os_error_code='(\d+)'", str(error))
        number = int(code[1]) if code else getattr(error, "errno", None) or errno.EIO
        reason = os.strerror(number) if code or isinstance(error, OSError) else str(error)
        if jax.process_index() == 0:
            with contextlib.suppress(OSError):
                _remove(directory, update)
        message = f"cannot write the checkpoint of update {update}: {reason}; older checkpoints are intact"
        raise OSError(number, message, str(target)) from error


def restore(directory: Path, like: PyTree) -> tuple[int, PyTree] | None:
    """The newest checkpoint that is undamaged, as (update, state); None if there is none at all.

    `like` is the state or its abstract form: what is restored has its types, shapes and shardings. A damaged
    checkpoint is passed over with a warning.

    Raises:
      CheckpointError: if there are checkpoints and all of them are damaged.
    """
    found = updates(directory)
    for update in reversed(found):
        damage = damage_of(directory, update) if jax.process_index() == 0 else None
        if any_process(damage is not None):
            if damage is not None:
                warnings.warn(f"checkpoint {directory / str(update)} is damaged ({damage}): passed over", stacklevel=2)
            continue
        from orbax.checkpoint import v1 as ocp

        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
        state = ocp.load(str(directory / str(update)), abstract)
        barrier("rlx checkpoint is restored")
        return update, state
    if found:
        raise CheckpointError(f"all checkpoints in {directory} are damaged; remove the run directory to start again")
    return None


def damage_of(directory: Path, update: int) -> str | None:
    """What is wrong with the files of a checkpoint; None if they are as they were written."""
    try:
        expected = json.loads((directory / f"{update}.json").read_text())["files"]
    except (ValueError, KeyError, TypeError, OSError):
        return f"{update}.json cannot be read"
    found = _checksums(directory / str(update))
    for name, size_and_checksum in expected.items():
        if name not in found:
            return f"{name} is missing"
        if found[name] != size_and_checksum:
            return f"{name} has changed"
    return None


def _checksums(directory: Path) -> dict[str, list[int]]:
    """Size and CRC-32 of every file below a directory."""
    result = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            size, checksum = 0, 0
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    size, checksum = size + len(block), zlib.crc32(block, checksum)
            result[path.relative_to(directory).as_posix()] = [size, checksum]
    return result


def _remove(directory: Path, update: int) -> None:
    """Remove a checkpoint, its mark of completeness first, and what a save of it that was killed has left."""
    (directory / f"{update}.json").unlink(missing_ok=True)
    for path in [directory / str(update), *directory.glob(f"{update}.*")]:
        if path.is_dir():
            shutil.rmtree(path)
