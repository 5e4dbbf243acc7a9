"""The host side of a run: between chunks it writes rows, evaluates, saves, and looks for non-finite values and for
signals.

Chunks end at absolute multiples of `log_every`, so a resumed run makes the same calls as one that was never stopped.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlx.runtime import checkpoint, metrics, nonfinite
from rlx.runtime.learner import Evaluator, Fronts, Learner
from rlx.runtime.mesh import any_process, place
from rlx.runtime.nonfinite import Divergence, NonFiniteError
from rlx.runtime.population import describe
from rlx.runtime.progress import Progress
from rlx.runtime.run import Run, RunDirectory, naming
from rlx.runtime.schedule import Schedule
from rlx.runtime.sinks import Sink
from rlx.runtime.table import Table, Value, csv_text, replace_file
from rlx.types import HeatMap, PyTree

# (state, updates done, whether a signal asks to stop) -> the state to train on
Between = Callable[[PyTree, int, Callable[[], bool]], PyTree]
TIMING = ("update", "step", "seconds", "steps_per_second")


class Loop:
    """Takes a learner from where it stands to the end of its schedule."""

    def __init__(
        self,
        learner: Learner,
        evaluator: Evaluator | None,
        fronts: Fronts | None,
        schedule: Schedule,
        steps_per_update: int,
        *,
        has_archive: bool,
        mark_nonfinite: bool,
        path: Path | None,
        keep: int,
        between: Between | None = None,
    ):
        self.learner, self.evaluator, self.fronts, self.has_archive = learner, evaluator, fronts, has_archive
        self.schedule, self.steps_per_update = schedule, steps_per_update
        self.members = learner.population.members
        self.path, self.keep, self.mark_nonfinite, self.between = path, keep, mark_nonfinite, between
        self.update = self.saved = 0
        self.seconds = 0.0
        self.diverged_at = np.zeros(len(self.members), np.int32)  # the update; 0 for members that are finite
        identity = ["update", "step", "seed", *learner.population.hyperparameters]
        marked = ["diverged"] if mark_nonfinite else []
        measured = [] if fronts is None or fronts.ref is None else ["hypervolume"]
        self.metric_columns = _apart(learner.columns, {*identity, "diverged", *measured})
        self.result_columns = {} if evaluator is None else evaluator.columns(learner.state)
        self.tables = {
            "metrics": Table([*identity, *marked, *measured, *_flat(self.metric_columns)]),
            "evaluations": Table([*identity, *_flat(self.result_columns)] if evaluator else ()),
            "timing": Table(TIMING),
        }
        self.front_columns = () if fronts is None else ("seed", *learner.population.hyperparameters, *fronts.names)
        self.directory: RunDirectory | None = None  # of the process that writes
        self.sinks: Sequence[Sink] = ()
        self.progress = Progress(0, 0, enabled=False)

    def restore(self) -> None:
        """Go to the newest good checkpoint, if there is one."""
        if self.path is None:
            return
        found = checkpoint.restore(self.path / "checkpoints", self._checkpoint())
        if found is not None:
            self.update, (self.learner.state, diverged_at) = found
            self.saved = self.update
            self.diverged_at = np.array(diverged_at.addressable_data(0))

    def open_tables(self) -> None:
        """Open the tables of the directory, cut back to where the loop stands."""
        if self.directory is None:
            return
        for name, table in self.tables.items():
            if table.columns:
                self.directory.open_table(name, table.columns, keep_until=self.update or -1)
                self.tables[name] = Table.read(self.directory.path / f"{name}.csv")
        seconds = self.tables["timing"]["seconds"]
        self.seconds = float(seconds[-1]) if len(seconds) else 0.0

    def run(self) -> None:
        with _noting_signals(self.path is not None) as received:
            if self.update < self.schedule.num_updates:
                self.learner.compile()
            if self.update == 0 and self.schedule.evaluates(0):
                self._evaluate()
            while self.update < self.schedule.num_updates:
                interrupted = False  # while `between` waited; in all processes or in none
                if self.between is not None:
                    self.learner.state = self.between(self.learner.state, self.update, lambda: bool(received))
                    interrupted = any_process(bool(received))
                if not interrupted:
                    self._chunk()
                stopping = any_process(bool(received))
                if self.schedule.saves(self.update) or stopping:
                    self._save()
                if stopping and self.update < self.schedule.num_updates:
                    self._stop(received[0] if received else signal.SIGTERM)
        if self.diverged_at.any():
            listed = "; ".join(
                f"{describe(self.members[i])} at update {self.diverged_at[i]}" for i in np.flatnonzero(self.diverged_at)
            )
            self.progress.say(f"{np.count_nonzero(self.diverged_at)} of {len(self.members)} members diverged: {listed}")
        steps = self.update * self.steps_per_update
        where = "" if self.path is None else f"; the run is in {self.path}"
        self.progress.say(f"{self.update:,} updates, {steps:,} steps, {self.seconds:.1f} s of training{where}")

    def result(self) -> Run:
        if self.path is not None and self.directory is None:  # another process writes the tables
            self.tables = {name: Table.read(self.path / f"{name}.csv") for name in self.tables}
        return Run(
            state=self.learner.state,
            table=self.tables["metrics"],
            evaluations=self.tables["evaluations"],
            members=self.members,
            updates=self.update,
            steps=self.update * self.steps_per_update,
            path=self.path,
            front=Table(self.front_columns, [] if self.fronts is None else self.fronts.rows(self.learner.state)),
        )

    def _chunk(self) -> None:
        done, to = self.update, self.schedule.next_log_point(self.update)
        start = time.monotonic()
        reduced = self.learner.advance(done, to)
        seconds = time.monotonic() - start
        self.update = to
        self._check_finite(reduced)
        rows = metrics.rows(reduced.sums, to - done, self.metric_columns, len(self.members))
        if self.fronts is not None and self.fronts.ref is not None:
            measured = self.fronts.hypervolumes(self.learner.state)
            rows = [{"hypervolume": volume, **row} for volume, row in zip(measured, rows, strict=True)]
        diverged = [{"diverged": int(at > 0)} for at in self.diverged_at]
        self._write(
            "metrics", [marks | row if self.mark_nonfinite else row for marks, row in zip(diverged, rows, strict=True)]
        )
        self.seconds += seconds
        rate = (to - done) * self.steps_per_update * len(self.members) / seconds
        timing = {"update": to, "step": to * self.steps_per_update, "seconds": round(self.seconds, 6)}
        self._append("timing", [timing | {"steps_per_second": round(rate, 1)}])
        if self.schedule.evaluates(to):
            self._evaluate()
        self.progress.advance(to * self.steps_per_update, _mean_return(rows, self.metric_columns))

    def _evaluate(self) -> None:
        if self.evaluator is not None:
            results = self.evaluator(self.learner.state, self.update)
            self._write("evaluations", metrics.rows(results, 1, self.result_columns, len(self.members)), "evaluation/")
            if results["visits"] is not None:
                self._save_maps("visits", HeatMap(results["visits"], results["visits"] > 0))

    def _write(self, name: str, rows: Sequence[Mapping[str, Value]], prefix: str = "") -> None:
        """Append one row per member to a table, and send them to the sinks."""
        position: dict[str, Value] = {"update": self.update, "step": self.update * self.steps_per_update}
        self._append(name, [{**position, **member, **row} for member, row in zip(self.members, rows, strict=True)])
        for sink in self.sinks:
            sink.write(
                [
                    {
                        **position,
                        "member": describe(member),
                        **{prefix + column: value for column, value in row.items()},
                    }
                    for member, row in zip(self.members, rows, strict=True)
                ]
            )

    def _append(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self.tables[name].append(rows)
        if self.directory is not None:
            self.directory.append(name, rows)

    def _check_finite(self, reduced: metrics.Reduced) -> None:
        bad_leaves = self.learner.nonfinite_leaves()
        found = nonfinite.find(reduced.first_bad, bad_leaves, self.metric_columns, self.learner.leaf_names, self.update)
        for member, divergence in found.items():
            if not self.mark_nonfinite:
                raise NonFiniteError(self.members[member], divergence, self._advice())
            if not self.diverged_at[member]:
                self.diverged_at[member] = divergence.update
                self.progress.say(f"diverged: {describe(self.members[member])}: {divergence}")
        if self.diverged_at.all():
            member, divergence = next(iter(found.items()), (0, Divergence(int(self.diverged_at[0]), (), ())))
            raise NonFiniteError(self.members[member], divergence, f"No member is finite any more. {self._advice()}")

    def _advice(self) -> str:
        if self.saved:
            return f"The checkpoint of update {self.saved} in {self.path} is the last good one"
        return "No checkpoint was saved before"

    def _checkpoint(self) -> tuple[Any, Any]:
        return self.learner.state, place(self.diverged_at, self.learner.mesh, sharded=False)

    def _save(self) -> None:
        if self.path is None or self.saved == self.update:
            return
        if self.directory is not None:
            self.directory.sync()  # rows first: a checkpoint never is ahead of the tables
        self._save_fronts()
        if self.has_archive:
            self._save_maps("archive", self.learner.heat_map(self.learner.state))
        checkpoint.save(self.path / "checkpoints", self.update, self._checkpoint(), self.keep)
        self.saved = self.update

    def _save_fronts(self) -> None:
        if self.fronts is None:
            return
        rows = self.fronts.rows(self.learner.state)  # all processes take part in this
        if self.directory is not None:
            with naming(self.directory.path):
                replace_file(self.directory.path / "front.csv", csv_text(self.front_columns, rows))

    def _save_maps(self, name: str, maps: HeatMap) -> None:
        """A row for each filled cell of each member; the file is written anew."""
        if self.directory is None:
            return
        columns = ("seed", *self.learner.population.hyperparameters, "width", "height", "x", "y", "value")
        rows = []
        for member, value, filled in zip(self.members, maps.value, maps.filled, strict=True):
            width, height = value.shape
            for x, y in np.argwhere(filled).tolist():
                cell = {"width": width, "height": height, "x": x, "y": y, "value": metrics.number(value[x, y])}
                rows.append({**member, **cell})
        with naming(self.directory.path):
            replace_file(self.directory.path / f"{name}.csv", csv_text(columns, rows))

    def _stop(self, number: int) -> None:
        message = f"stopped after update {self.update:,}, saved in {self.path}; run the same again to continue"
        if number == signal.SIGINT:
            raise KeyboardInterrupt(message)
        self.progress.say(message)
        raise SystemExit(128 + number)


def _apart(columns: Mapping[str, Sequence[str]], taken: set[str]) -> dict[str, list[str]]:
    """Columns of metrics, renamed to `metric/<name>` where a column of another kind has the name."""
    return {key: [f"metric/{name}" if name in taken else name for name in names] for key, names in columns.items()}


def _flat(columns: Mapping[str, Sequence[str]]) -> list[str]:
    return [name for names in columns.values() for name in names]


def _mean_return(rows: Sequence[Mapping[str, Value]], columns: Mapping[str, Sequence[str]]) -> float | None:
    """The latest `episode_return`, in its first channel, as a mean over members that have one."""
    column = columns.get("episode_return", [""])[0]
    values = [value for row in rows if isinstance(value := row.get(column), float)]
    return sum(values) / len(values) if values else None


@contextlib.contextmanager
def _noting_signals(enabled: bool) -> Iterator[list[int]]:
    """SIGINT and SIGTERM are noted in the list for the end of the chunk; a second one has its usual effect at once."""
    received: list[int] = []
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, _: object) -> None:
        received.append(number)
        signal.signal(number, usual[number])

    usual: dict[int, Any] = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
