"""A training run: what `fit` and `sweep` return, and the directory that it lives in.

Layout of a run directory::

    config.json              what is run, see below; written before training starts
    metrics.csv              update, step, seed, <hyper-parameters>, [diverged], <metrics>
    evaluations.csv          update, step, seed, <hyper-parameters>, return, return_std, length, finished
    timing.csv               update, step, seconds, steps_per_second
    front.csv                seed, <hyper-parameters>, <channels>; of algorithms that keep a front
    visits.csv               seed, <hyper-parameters>, width, height, x, y, value; of environments with a map
    archive.csv              the same; of algorithms that keep an archive of elites
    checkpoints/<update>/    algorithm state after that update, in orbax's format
    checkpoints/<update>.json    sizes and checksums of its files, written when it is complete
    lock                     held (flock) by the process that writes the run

`metrics.csv` is tidy: one row per member (seed x hyper-parameters) per log point. `update` counts updates done and
`step` environment steps; a metric is its mean over the updates since the previous log point, empty where it averages
over nothing (`episode_return` if no episode ended). A metric with one entry per reward channel has the columns
`name/<channel>`, or plain `name` if there is one channel. `diverged` (0 or 1) is there if non-finite members are
marked instead of stopping the run. `evaluations.csv` has one row per member per evaluation: mean and standard
deviation of the raw return over its episodes (`return/<channel>` and `return_std/<channel>` if the environment's
reward is a vector), mean length, and the fraction of episodes that ended within the bound. Both are the same bytes
however often the run was killed and resumed; wall-clock figures are in `timing.csv` alone: seconds spent in training
since the start of the run, without compilation, evaluation and checkpoints.

An algorithm that has `front` gets `front.csv`, written anew at every checkpoint: a row for each non-dominated vector of
returns that a member has found. If the environment also has a `reference_point` with an entry for each channel,
`metrics.csv` has the column `hypervolume`, that of the front at the log point (an estimate where the front is too
large, see `rlx.runtime.front.measure`), and `config.json` has the `reference_point`.

An environment that has a `map_shape`, the width and height of a map, and `info["place"]` (see `rlx.runtime.evaluate`)
gets `visits.csv`, written anew at every evaluation: how many steps of its episodes led to each cell, counted from the
left and from below. An algorithm with `heat_map` gets `archive.csv`, written anew at every checkpoint: the fitness in
each filled cell.

`config.json`::

    {"format": 1, "kind": "fit" or "sweep", "rlx": version, "jax": version,
     "environment": name or null, "config": {...} or null, "channels": [names],
     "hyperparameters": [swept Config fields], "members": [{"seed": 0, "learning_rate": 0.001}, ...],
     "steps_per_update": 512, "total_steps": 100352, "log_every": 1024, "eval_every": 10240 or null,
     "eval_episodes": 32, "on_nonfinite": "stop" or "mark", "state": {path of each leaf: its type}}

Intervals are in environment steps, in whole updates. A run is finished when its last checkpoint is at
`total_steps / steps_per_update`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlx.runtime.table import CSVStream, Table, replace_file
from rlx.types import PyTree

FORMAT = 1
# What may differ between the run in the directory and the one asked for: these do not change its results.
MAY_DIFFER = ("rlx", "jax", "total_steps")


class RunError(RuntimeError):
    """A run directory cannot be used: it holds another run, or another process is writing it."""


@dataclasses.dataclass(frozen=True)
class Run:
    """The outcome of `fit` or `sweep`."""

    state: PyTree  # the algorithm's state; in a sweep every leaf has a leading member axis
    table: Table  # as metrics.csv
    evaluations: Table  # as evaluations.csv
    members: list[dict[str, Any]]  # seed and swept hyper-parameters, in the order of the member axis
    updates: int  # done
    steps: int  # environment steps done by each member
    path: Path | None  # the run directory, if there is one
    front: Table  # as front.csv; without rows and columns if the algorithm keeps none


class RunDirectory:
    """The files of one run, held open and locked; a context manager."""

    def __init__(self, path: str | os.PathLike[str], description: Mapping[str, Any], *, resume: bool):
        """Make the directory, or check that the run in it is the one described. Nothing is changed if it is not.

        Raises:
          RunError: if the directory holds a run and `resume` is false, holds a run that differs, or is locked.
          OSError: if it cannot be written.
        """
        self.path = Path(path).absolute()
        self.description = json.loads(json.dumps(description))
        self._streams: dict[str, CSVStream] = {}
        self._lock: int | None = None
        stored = stored_description(self.path)
        if stored is not None:
            if not resume:
                raise RunError(f"{self.path} already holds a run; choose another directory or resume it (resume=True)")
            _check_same(self.path, stored, self.description)
        with naming(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._acquire()
            try:
                if stored != self.description:
                    replace_file(self.path / "config.json", json.dumps(self.description, indent=1) + "\n")
            except OSError:
                self.close()
                raise

    def _acquire(self) -> None:
        import fcntl

        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise RunError(f"another process is writing the run in {self.path}") from None
        except OSError as error:  # some network file systems have no locks
            warnings.warn(
                f"{self.path} cannot be locked ({error.strerror}): see that one process writes it", stacklevel=2
            )
        self._lock = lock  # the kernel releases it when this process ends, however it ends

    def open_table(self, name: str, columns: Sequence[str], keep_until: int) -> None:
        with naming(self.path):
            self._streams[name] = CSVStream(self.path / f"{name}.csv", columns, keep_until)

    def append(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        with naming(self.path):
            self._streams[name].append(rows)

    def sync(self) -> None:
        with naming(self.path):
            for stream in self._streams.values():
                stream.sync()

    def close(self) -> None:
        for stream in self._streams.values():
            with contextlib.suppress(OSError):  # what could not be flushed was reported by append
                stream.close()
        self._streams.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def stored_description(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The contents of `config.json` in a run directory; None if there is none."""
    file = Path(path) / "config.json"
    try:
        text = file.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise RunError(f"{file} is not a run's configuration: {error}") from error


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an `OSError` say which run directory could not be written, and that what it held is intact."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"cannot write the run directory: {reason}; checkpoints already in it are intact"
        raise OSError(error.errno, message, str(path)) from error


def as_json(value: Any) -> Any:
    """Configuration values as JSON: dataclasses as objects, arrays as lists, functions by their qualified name."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return np.asarray(value).tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)


def digest(data: PyTree) -> str:
    """A short name for arrays, by their places, types, shapes and values."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(data):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        found.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:16]


def _check_same(path: Path, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    old, new = (
        dict(_flatten({k: v for k, v in description.items() if k not in MAY_DIFFER})) for description in (stored, asked)
    )
    missing = "(absent)"
    differing = [
        f"  {name}: {old.get(name, missing)!r} in the run, {new.get(name, missing)!r} asked for"
        for name in [*old, *(name for name in new if name not in old)]
        if name not in old or name not in new or old[name] != new[name]
    ]
    if differing:
        raise RunError(
            f"{path} holds a run with another configuration; choose another directory or ask for the same run:\n"
            + "\n".join(differing)
        )


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value
