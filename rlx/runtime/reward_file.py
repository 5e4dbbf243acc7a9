"""Learned rewards on disk, from the program that learned one to the programs that use it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import jax

from rlx.runtime import checkpoint
from rlx.runtime.table import replace_file
from rlx.space import Box, Dict

if TYPE_CHECKING:
    from rlx.reward.learned import RewardModel

SETTINGS = ("hidden", "activation", "bounded")


def save_reward(path: str | os.PathLike[str], model: RewardModel) -> None:
    """Write a model to the folder `path`: a checkpoint of its arrays, and `reward.json` with its sizes.

    A model that is there already is replaced once the new one is complete.

    Raises:
      OSError: if it cannot be written; an older one is intact.
    """
    folder = Path(path).absolute()
    number = max(checkpoint.updates(folder), default=0) + 1
    about = {name: getattr(model, name) for name in SETTINGS}
    about |= {"members": model.offset.shape[0], "shapes": [part.mean.shape for part in model.inputs]}
    if model.offset.ndim != 1:
        raise ValueError(f"model must be one ensemble, not one for each seed; its offsets have {model.offset.shape}")
    folder.mkdir(parents=True, exist_ok=True)
    if number > 1 and json.loads((folder / "reward.json").read_text()) != json.loads(json.dumps(about)):
        raise ValueError(f"{folder} holds a reward of other sizes; choose another path")
    replace_file(folder / "reward.json", json.dumps(about))
    checkpoint.save(folder, number, model, keep=1)


def load_reward(path: str | os.PathLike[str]) -> RewardModel:
    """The model that `save_reward` wrote, for `rlx.reward.learned.learned_reward`.

    Raises:
      ValueError: if there is none.
      CheckpointError: if it is damaged.
    """
    from rlx.reward.learned import init_reward_model

    folder = Path(path).absolute()
    if not (folder / "reward.json").exists():
        raise ValueError(f"{folder} holds no reward: it has no reward.json")
    about = json.loads((folder / "reward.json").read_text())
    *parts, action = (
        Box(-1.0, 1.0, tuple(shape)) for shape in about["shapes"]
    )  # boxes of these shapes: the same model
    space = Dict({f"{number:03}": part for number, part in enumerate(parts)})
    settings = {"members": about["members"], "activation": about["activation"], "bounded": about["bounded"]}
    like = jax.eval_shape(
        lambda key: init_reward_model(key, space, action, hidden=tuple(about["hidden"]), **settings), jax.random.key(0)
    )
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    found = checkpoint.restore(
        folder, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), like)
    )
    if found is None:
        raise ValueError(f"{folder} holds no complete reward yet")
    return found[1]
