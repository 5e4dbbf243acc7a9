"""What a person sees of a run: a bar on a terminal, a line now and then elsewhere. Written to standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Reports steps done, speed, the latest return and the time to go; does nothing if not `enabled`."""

    def __init__(self, total_steps: int, done: int, *, enabled: bool):
        self._total, self._enabled = total_steps, enabled
        self._bar, self._task = None, None
        self._start_steps, self._start_time = done, time.monotonic()
        self._last_line = self._start_time
        self._return = ""
        if enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                BarColumn(),
                TextColumn("{task.completed:,}/{task.total:,} steps"),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task("", total=total_steps, completed=done)

    def say(self, message: str) -> None:
        if self._bar is not None:
            self._bar.console.print(message, highlight=False, markup=False, soft_wrap=True)
        elif self._enabled:
            print(message, file=sys.stderr, flush=True)

    def advance(self, steps: int, mean_return: float | None) -> None:
        """`steps` are done in all; `mean_return` is over members, None if no episode ended since the last call."""
        now = time.monotonic()
        rate = (steps - self._start_steps) / max(now - self._start_time, 1e-9)
        if mean_return is not None:
            self._return = f", return {mean_return:.4g}"
        status = f"{rate:,.0f} steps/s{self._return}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=steps, description=status)
        elif self._enabled and (now - self._last_line > SECONDS_BETWEEN_LINES):
            self._last_line = now
            left = (self._total - steps) / max(rate, 1e-9)
            self.say(f"{steps:,}/{self._total:,} steps, {status}, {left:,.0f} s to go")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None):
        if self._bar is not None:
            self._bar.stop()
