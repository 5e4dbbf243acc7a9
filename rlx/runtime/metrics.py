"""Metrics of many updates reduced on the device, and named for a table on the host.

An update returns scalars, vectors with one entry per reward channel, or `Mean`s of those. Within a chunk of updates
only running sums are kept, so the memory for metrics does not grow with the length of a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx.runtime.table import Value
from rlx.types import Mean, PyTree

NEVER = np.iinfo(np.int32).max


class Reduced(NamedTuple):
    """Metrics of the updates so far."""

    sums: dict[str, Any]  # sums over updates; `Mean`s hold the sums of total and count
    first_bad: dict[str, jax.Array]  # int32, for each entry: the first update at which it was not finite, or NEVER


def empty(metrics: Mapping[str, Any]) -> Reduced:
    """The reduction of no update; `metrics` may be abstract (from `jax.eval_shape`).

    Raises:
      ValueError: if a metric is neither a scalar, nor a vector, nor a `Mean` of one.
    """
    for name, value in metrics.items():
        parts = [value] if hasattr(value, "shape") else list(value) if isinstance(value, Mean) else None
        if parts is None or any(len(part.shape) > 1 for part in parts):
            raise ValueError(f"metric {name!r} must be a scalar, a vector or a Mean of one; got {value!r}")
    sums = {
        name: Mean(_zeros(value.total), jnp.zeros(value.count.shape, value.count.dtype))
        if isinstance(value, Mean)
        else _zeros(value)
        for name, value in metrics.items()
    }
    first_bad = {name: jnp.full(_numerator(value).shape, NEVER, jnp.int32) for name, value in metrics.items()}
    return Reduced(sums, first_bad)


def accumulate(reduced: Reduced, metrics: Mapping[str, Any], update: jax.Array) -> Reduced:
    """Add the metrics of the update with this index."""
    sums = jax.tree.map(lambda total, value: total + value.astype(total.dtype), reduced.sums, dict(metrics))
    first_bad = {
        name: jnp.where(jnp.isfinite(_numerator(metrics[name])), first, jnp.minimum(first, update))
        for name, first in reduced.first_bad.items()
    }
    return Reduced(sums, first_bad)


def _zeros(value: Any) -> jax.Array:
    return jnp.zeros(value.shape, jnp.float32)


def _numerator(value: Any) -> Any:
    return value.total if isinstance(value, Mean) else value


def column_names(name: str, value: Any, channels: Sequence[str]) -> list[str]:
    """The columns of one metric: `name`, or `name/<channel>` for each entry of a vector."""
    shape = _numerator(value).shape
    if shape in ((), (1,)):
        return [name]
    return [f"{name}/{label}" for label in (channels if shape == (len(channels),) else range(shape[0]))]


def rows(
    sums: Mapping[str, Any], num_updates: int, names: Mapping[str, Sequence[str]], num_members: int
) -> list[dict[str, Value]]:
    """A row of means for each member, from sums over updates whose leaves have a leading member axis.

    `names` maps each metric to its columns. A `Mean` over nothing makes an empty cell.
    """
    result: list[dict[str, Value]] = [{} for _ in range(num_members)]
    for name, columns in names.items():
        value = sums[name]
        total = np.asarray(_numerator(value), np.float64).reshape(num_members, -1)
        count = np.full(total.shape, num_updates)
        if isinstance(value, Mean):
            count = np.broadcast_to(np.reshape(value.count, (num_members, -1)), total.shape)
        for member, row in enumerate(result):
            for column, t, n in zip(columns, total[member], count[member], strict=True):
                row[column] = number(t / n) if n else None
    return result


def number(value: Any) -> float:
    """The shortest decimal that stands for a float32: written to a file and read again it is the same."""
    return float(str(np.float32(value)))


def nonfinite_leaves(state: PyTree) -> jax.Array:
    """Bool `[L]`: which leaves of the state, in the order of `jax.tree.leaves`, hold a NaN or an infinity."""
    return jnp.stack([_holds_nonfinite(leaf) for leaf in jax.tree.leaves(state)] or [jnp.bool_(False)])


def _holds_nonfinite(leaf: Any) -> jax.Array:
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
        return jnp.bool_(False)
    return ~jnp.all(jnp.isfinite(leaf))


def leaf_names(state: PyTree) -> list[str]:
    """Paths of the leaves, such as `params.policy.kernel`."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]


def leaf_types(state: PyTree) -> dict[str, str]:
    """Path of each leaf of a state, concrete or abstract -> its type and shape."""
    types = (f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]" for leaf in jax.tree.leaves(state))
    return dict(zip(leaf_names(state), types, strict=True))
