"""rlx: reinforcement-learning objectives as pure functions, rewards as channels.

Everything loads on first use, so `import rlx` costs nothing, and no part pays for another.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlx import algos, envs, exploration, nets, optim, pareto, policy, reward, runtime, space, types, value

__version__ = "0.1.0"

__all__ = [
    "algos",
    "envs",
    "exploration",
    "nets",
    "optim",
    "pareto",
    "policy",
    "reward",
    "runtime",
    "space",
    "types",
    "value",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"rlx.{name}")
    raise AttributeError(f"module 'rlx' has no attribute {name!r}; it has {', '.join(__all__)}")
