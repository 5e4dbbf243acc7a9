"""When a run logs, evaluates and saves, in whole updates."""

from __future__ import annotations

import math
from typing import NamedTuple

from rlx import check

LOG_POINTS = 100  # in a run, by default
LOG_POINTS_PER_CHECKPOINT = 10  # by default


class Schedule(NamedTuple):
    """Intervals in updates. Log points are multiples of `log_every`, and the end; the rest happens at log points."""

    num_updates: int
    log_every: int
    eval_every: int | None  # None: only at the end
    checkpoint_every: int

    def evaluates(self, update: int) -> bool:
        return update == self.num_updates or (self.eval_every is not None and update % self.eval_every == 0)

    def saves(self, update: int) -> bool:
        return update == self.num_updates or update % self.checkpoint_every == 0

    def next_log_point(self, update: int) -> int:
        return min(self.num_updates, (update // self.log_every + 1) * self.log_every)


def make_schedule(
    steps_per_update: int,
    total_steps: int,
    log_every: int | None = None,
    eval_every: int | None = None,
    checkpoint_every: int | None = None,
) -> Schedule:
    """The schedule for a budget and intervals in environment steps, each rounded up."""
    check.count("total_steps", total_steps)
    intervals = {"log_every": log_every, "eval_every": eval_every, "checkpoint_every": checkpoint_every}
    for name, value in intervals.items():
        if value is not None:
            check.count(name, value)
    num_updates = math.ceil(total_steps / steps_per_update)
    log = math.ceil(num_updates / LOG_POINTS) if log_every is None else math.ceil(log_every / steps_per_update)

    def in_log_points(steps: int) -> int:
        return math.ceil(steps / (log * steps_per_update)) * log

    return Schedule(
        num_updates,
        log,
        None if eval_every is None else in_log_points(eval_every),
        LOG_POINTS_PER_CHECKPOINT * log if checkpoint_every is None else in_log_points(checkpoint_every),
    )
