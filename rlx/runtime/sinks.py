"""Where rows of metrics may go besides the CSV files: TensorBoard, Weights & Biases, or an object of your own.

A sink has `write(rows)` and `close()`. Rows are those of metrics.csv and evaluations.csv as dictionaries, the
latter's results under `evaluation/...`. A run that is resumed writes the rows since its last checkpoint a second time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rlx.runtime.table import Value


class Sink(Protocol):
    """Receives the rows of every log point."""

    def write(self, rows: Sequence[Mapping[str, Value]]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files below `path`, in a folder per member named after its seed and hyper-parameters."""

    def __init__(self, path: str | os.PathLike[str]):
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ImportError("TensorBoard needs tensorboardX: pip install 'rlx[tensorboard]'") from error
        self._path, self._new_writer, self._writers = Path(path), SummaryWriter, {}

    def write(self, rows: Sequence[Mapping[str, Value]]) -> None:
        for row in rows:
            name = row["member"]
            if name not in self._writers:
                self._writers[name] = self._new_writer(str(self._path / str(name)))
            for tag, value in results(row).items():
                self._writers[name].add_scalar(tag, value, row["step"])

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class WandB:
    """A Weights & Biases run; options go to `wandb.init`. A sweep's members are logged as `<member>/<metric>`."""

    def __init__(self, **options: Any):
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError("WandB needs wandb: pip install 'rlx[wandb]'") from error
        self._run = wandb.init(**options)

    def write(self, rows: Sequence[Mapping[str, Value]]) -> None:
        several = len({row["member"] for row in rows}) > 1
        logged: dict[str, Any] = {"step": rows[0]["step"]}
        for row in rows:
            prefix = f"{row['member']}/" if several else ""
            logged.update({prefix + tag: value for tag, value in results(row).items()})
        self._run.log(logged)

    def close(self) -> None:
        self._run.finish()


def results(row: Mapping[str, Value]) -> dict[str, float]:
    """The cells of a row that are results: numbers, without the columns that say whose they are."""
    identity = ("member", "update", "step", "seed")
    return {name: value for name, value in row.items() if name not in identity and isinstance(value, int | float)}
