"""The model that alignment begins with: the reader's, or one that imitated demonstrations and is the reference then."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal

import jax

from rlx import check
from rlx.nets.language import GRULM, LanguageModel, TransformerLM, init, sft
from rlx.types import PyTree


@dataclasses.dataclass(frozen=True)
class ReferenceConfig:
    """What is made where no model and no reference are given."""

    network: Literal["transformer", "gru"] = "gru"  # of the model that is made where none is given
    width: int = 64  # of that model
    depth: int = 2  # its layers
    reference_steps: int = 500  # of supervised training on demonstrations, which make its reference
    reference_batch: int = 128  # demonstrations in each
    reference_seed: int = 0  # of these, the same for all members of a sweep

    def __post_init__(self) -> None:
        for name in ("width", "depth", "reference_steps", "reference_batch"):
            check.count(name, getattr(self, name))


def choose_model(config: ReferenceConfig, env: Any, model: LanguageModel | None, reference: PyTree) -> LanguageModel:
    """The model that was given, if it fits the token environment, or one of the configuration's sizes.

    Raises:
      ValueError: for a model of another vocabulary or of several heads, or a `reference` without its model.
    """
    size = env.task.vocabulary
    check.require(model is not None or reference is None, "model", model, "given with reference")
    if model is None:
        return (TransformerLM if config.network == "transformer" else GRULM)(size, config.width, config.depth)
    check.require(size == model.vocabulary, "model.vocabulary", model.vocabulary, f"the environment's, {size}")
    check.require(model.heads == 1, "model.heads", model.heads, "1")
    return model


def choose_reference(
    config: ReferenceConfig, env: Any, env_params: Any, model: LanguageModel, reference: PyTree, condition: int = 0
) -> PyTree:
    """The parameters that were given, or those of `model` trained to imitate the environment's demonstrations.

    `condition` is the size of what the model is told beside the tokens; see `init`.
    """
    if reference is not None:
        return reference
    init_key, sft_key = jax.random.split(jax.random.key(config.reference_seed))
    draw = functools.partial(env.demonstrations, count=config.reference_batch, params=env_params)
    fresh = init(model, init_key, condition=condition)
    return sft(model, fresh, sft_key, draw, config.reference_steps)[0]
