"""Tables of results: columns in memory, CSV files on disk that are appended to and can be cut back."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

Value = int | float | str | None


class Table:
    """A small table: `table["seed"]` is a column as an array, `table.rows()` gives dictionaries,
    `table.where(seed=3)` a part.

    A column of numbers is an integer array if all of it is integers, else a float64 one with NaN for empty cells (a
    mean over nothing, such as the return where no episode ended).
    """

    def __init__(self, columns: Sequence[str], rows: Sequence[Mapping[str, Value]] = ()):
        self.columns = tuple(columns)
        self._rows = [dict(row) for row in rows]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Table:
        """The table in a CSV file; one without rows or columns if there is no such file."""
        if not Path(path).exists():
            return cls(())
        with open(path, newline="") as file:
            reader = csv.DictReader(file)
            return cls(reader.fieldnames or (), [{k: _parse(v) for k, v in row.items()} for row in reader])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, column: str) -> np.ndarray:
        if column not in self.columns:
            raise KeyError(f"no column {column!r}; the columns are {', '.join(self.columns)}")
        cells = [row[column] for row in self._rows]
        if cells and all(isinstance(cell, int) for cell in cells):
            return np.asarray(cells, np.int64)
        if any(isinstance(cell, str) for cell in cells):
            return np.asarray(cells, object)
        return np.asarray([np.nan if cell is None else cell for cell in cells], np.float64)

    def rows(self) -> Iterator[dict[str, Any]]:
        return (dict(row) for row in self._rows)

    def where(self, **equal: Value) -> Table:
        """The rows in which every named column has the given value."""
        for column in equal:
            self[column]
        return Table(self.columns, [row for row in self._rows if all(row[k] == v for k, v in equal.items())])

    def append(self, rows: Sequence[Mapping[str, Value]]) -> None:
        self._rows.extend(dict(row) for row in rows)

    def __repr__(self) -> str:
        return f"Table({len(self)} rows: {', '.join(self.columns)})"


class CSVStream:
    """A CSV file that only grows. Its first column, `update`, never falls, so that a resumed run can cut it back.

    Numbers are written so that reading them gives the same ones: equal results make equal bytes.
    """

    def __init__(self, path: str | os.PathLike[str], columns: Sequence[str], keep_until: int):
        """Open for appending after dropping the rows with `update > keep_until`, and a last line that was torn."""
        self.path = Path(path)
        self.columns = tuple(columns)
        kept = [_line(map(_quote, self.columns))]
        if self.path.exists():
            with open(self.path, newline="") as file:
                next(file, None)
                for line in file:
                    if not line.endswith("\n") or int(line.split(",", 1)[0]) > keep_until:
                        break
                    kept.append(line)
        replace_file(self.path, "".join(kept))
        self._file = open(self.path, "a", newline="")  # noqa: SIM115 - closed by close()

    def append(self, rows: Sequence[Mapping[str, Value]]) -> None:
        self._file.write("".join(_line(map(_format, map(row.__getitem__, self.columns))) for row in rows))
        self._file.flush()

    def sync(self) -> None:
        """Return when what was appended has reached the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, Value]]) -> str:
    """A header and a line for each row, numbers as `CSVStream` writes them."""
    lines = [map(_quote, columns), *(map(_format, map(row.__getitem__, columns)) for row in rows)]
    return "".join(map(_line, lines))


def _line(cells: Iterable[str]) -> str:
    return ",".join(cells) + "\n"


def replace_file(path: Path, text: str) -> None:
    """Write a file so that at every moment, also after a kill or on a full disk, the old or the new text is there."""
    with replacing(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of `path` once it is complete; not if there is an exception."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def readable(value: Any) -> str:
    """A cell for people: integers with separators, other numbers to four digits."""
    if isinstance(value, bool | str):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def _format(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _quote(value)
    return repr(value)


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text


def _parse(cell: str) -> Value:
    if cell == "":
        return None
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            pass
    return cell
