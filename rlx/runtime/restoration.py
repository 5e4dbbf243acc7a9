"""Reading a trained state back from a run directory, in another program or on other devices."""

from __future__ import annotations

import dataclasses
import os
import typing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from rlx.runtime import checkpoint, metrics
from rlx.runtime.run import stored_description
from rlx.types import Algorithm, PyTree

Config = TypeVar("Config")


class Restored(NamedTuple):
    """The last good checkpoint of a run."""

    state: PyTree  # of the algorithm; of a sweep every leaf has a leading member axis
    update: int  # after which it was saved
    members: list[dict[str, Any]]  # seed and swept hyper-parameters, in the order of the member axis


def restore(path: str | os.PathLike[str], algorithm: Algorithm) -> Restored:
    """The state that `fit` or `sweep` last saved in `path`, on this process's first device.

    `algorithm` gives the structure of the state: make it with the run's own settings (floats may differ). To train on,
    call `fit` or `sweep` with the same arguments instead.

    Raises:
      ValueError: if `path` holds no run or no checkpoint yet, or the state of `algorithm` has another structure.
      CheckpointError: if there are checkpoints and all are damaged.
    """
    path = Path(path).absolute()
    description = _description(path)
    members = description["members"]
    init, keys = algorithm.init, jax.random.key(0)
    if description["kind"] == "sweep":
        init, keys = jax.vmap(init), jax.random.split(keys, len(members))
    like = jax.eval_shape(init, keys)
    found = metrics.leaf_types(like)
    expected = description["state"]
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"algorithm must have the settings of the run in {path}: its state has {name} = "
                f"{found.get(name, '(absent)')}, the saved one {expected.get(name, '(absent)')}"
            )
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    diverged_at = jax.ShapeDtypeStruct((len(members),), np.int32)
    placed = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), (like, diverged_at))
    saved = checkpoint.restore(path / "checkpoints", placed)
    if saved is None:
        raise ValueError(f"{path} has no checkpoint yet")
    update, (state, _) = saved
    return Restored(state, update, members)


def restore_config(path: str | os.PathLike[str], kind: type[Config]) -> Config:
    """The configuration that a run recorded, as an instance of `kind`, the dataclass that it was.

    Fields that were swept have the value of the configuration that `sweep` was given, not those swept over.

    Raises:
      ValueError: if `path` holds no run, or the configuration it recorded has other fields than `kind`.
    """
    description = _description(Path(path).absolute())
    recorded = description["config"] if isinstance(description["config"], dict) else {}
    if differing := set(recorded) ^ _fields(kind):
        names = ", ".join(sorted(differing))
        raise ValueError(
            f"kind must be the configuration of the run in {path}; {kind.__qualname__} differs in: {names}"
        )
    return _restore(kind, recorded)


def _fields(kind: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def _restore(kind: Any, recorded: dict[str, Any]) -> Any:
    """An instance of `kind`, a dataclass; a field that is one too becomes that one of its types with these fields."""
    hints = typing.get_type_hints(kind)
    values = {}
    for name, value in recorded.items():
        kinds = [t for t in typing.get_args(hints[name]) or (hints[name],) if dataclasses.is_dataclass(t)]
        inner = next((t for t in kinds if isinstance(value, dict) and _fields(t) == set(value)), None)
        values[name] = _tuples(value) if inner is None else _restore(inner, value)
    return kind(**values)


def _description(path: Path) -> dict[str, Any]:
    description = stored_description(path)
    if description is None:
        raise ValueError(f"{path} is not a run directory: it has no config.json")
    return description


def _tuples(value: Any) -> Any:
    """JSON has lists for what was a tuple."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
