"""Non-finite values: which member, at which update, in which metric, channel and parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rlx.runtime.metrics import NEVER


class Divergence(NamedTuple):
    """Where a member's values first stopped being finite."""

    update: int  # the first with a non-finite metric; if all metrics were finite, the last of the chunk
    columns: tuple[str, ...]  # the metrics (by column, so with the channel) that were not finite at that update
    parameters: tuple[str, ...]  # paths of the leaves of the state that were not finite at the end of the chunk

    def __str__(self) -> str:
        parts = []
        if self.columns:
            parts.append(f"{', '.join(self.columns)} became non-finite at update {self.update}")
        if self.parameters:
            shown = ", ".join(self.parameters[:3]) + (" and others" if len(self.parameters) > 3 else "")
            parts.append(
                f"non-finite in the state after it: {shown}"
                if parts
                else f"{shown} became non-finite by update {self.update}"
            )
        return "; ".join(parts)


class NonFiniteError(FloatingPointError):
    """A metric or an array of the algorithm's state became NaN or infinite.

    Attributes `update`, `columns` and `parameters` are those of `Divergence`; `member` has the seed and
    hyper-parameters.
    """

    def __init__(self, member: Mapping[str, Any], divergence: Divergence, advice: str):
        name = ", ".join(f"{key}={value}" for key, value in member.items())
        super().__init__(f"member {name}: {divergence}. {advice}")
        self.member = dict(member)
        self.update, self.columns, self.parameters = divergence


def find(
    first_bad: Mapping[str, Any],
    bad_leaves: np.ndarray,
    names: Mapping[str, Sequence[str]],
    leaf_names: Sequence[str],
    last_update: int,
) -> dict[int, Divergence]:
    """Members that are not finite after a chunk.

    `first_bad` maps metrics to the update at which each entry `[M]` or `[M, K]` was first non-finite, `names` maps
    them to columns; `bad_leaves` is bool `[M, L]`.
    """
    entries = [
        (column, entry) for name, updates in first_bad.items() for column, entry in _entries(names[name], updates)
    ]
    found = {}
    for member in range(len(bad_leaves)):
        parameters = tuple(name for name, bad in zip(leaf_names, bad_leaves[member], strict=True) if bad)
        update = min((int(updates[member]) for _, updates in entries), default=NEVER)
        if update < NEVER:
            columns = tuple(column for column, updates in entries if updates[member] == update)
            found[member] = Divergence(update, columns, parameters)
        elif parameters:
            found[member] = Divergence(last_update, (), parameters)
    return found


def _entries(columns: Sequence[str], values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Each column of a metric with its values `[M]`."""
    return list(zip(columns, values.reshape(len(values), -1).T, strict=True))
