"""rlx: reinforcement-learning objectives as pure functions, rewards as channels.

Sub-packages load on first use, so `import rlx` costs little more than `import jax`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rlx import space, types

if TYPE_CHECKING:
    from rlx import algos, envs, exploration, nets, pareto, policy, reward, runtime, value

__version__ = "0.1.0"

_SUBPACKAGES = ("algos", "envs", "exploration", "nets", "pareto", "policy", "reward", "runtime", "value")

__all__ = [*_SUBPACKAGES, "space", "types"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"rlx.{name}")
    raise AttributeError(f"module 'rlx' has no attribute {name!r}; it has {', '.join(__all__)}")
