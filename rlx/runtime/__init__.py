"""Driving an algorithm: rollouts, replay, training in chunks, sweeps, evaluation, checkpoints, reports.

Names load on first use, so that `import rlx.runtime` imports neither orbax nor matplotlib nor rich.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlx.runtime.checkpoint import CheckpointError as CheckpointError
    from rlx.runtime.comparison import plot_frontier as plot_frontier
    from rlx.runtime.comparison import win_rate_table as win_rate_table
    from rlx.runtime.driver import fit as fit
    from rlx.runtime.driver import sweep as sweep
    from rlx.runtime.driver import train as train
    from rlx.runtime.elites import plot_archive as plot_archive
    from rlx.runtime.evaluation import Evaluation as Evaluation
    from rlx.runtime.evaluation import evaluate as evaluate
    from rlx.runtime.evaluation import scripted as scripted
    from rlx.runtime.front import front_table as front_table
    from rlx.runtime.front import plot_front as plot_front
    from rlx.runtime.front import plot_hypervolume as plot_hypervolume
    from rlx.runtime.log import check_log as check_log
    from rlx.runtime.log import load_log as load_log
    from rlx.runtime.log import load_minari as load_minari
    from rlx.runtime.log import log_of_episodes as log_of_episodes
    from rlx.runtime.log import record as record
    from rlx.runtime.log import save_log as save_log
    from rlx.runtime.mesh import data_parallel as data_parallel
    from rlx.runtime.mesh import make_mesh as make_mesh
    from rlx.runtime.nonfinite import NonFiniteError as NonFiniteError
    from rlx.runtime.restoration import Restored as Restored
    from rlx.runtime.restoration import restore as restore
    from rlx.runtime.restoration import restore_config as restore_config
    from rlx.runtime.reward_file import load_reward as load_reward
    from rlx.runtime.reward_file import save_reward as save_reward
    from rlx.runtime.run import Run as Run
    from rlx.runtime.run import RunError as RunError
    from rlx.runtime.sinks import TensorBoard as TensorBoard
    from rlx.runtime.sinks import WandB as WandB
    from rlx.runtime.table import Table as Table

# No module has the name of a function listed here: importing it would put the module in the function's place.
_MODULE_OF = {
    "CheckpointError": "checkpoint",
    "Evaluation": "evaluation",
    "NonFiniteError": "nonfinite",
    "Restored": "restoration",
    "Run": "run",
    "RunError": "run",
    "Table": "table",
    "TensorBoard": "sinks",
    "WandB": "sinks",
    "check_log": "log",
    "data_parallel": "mesh",
    "evaluate": "evaluation",
    "fit": "driver",
    "front_table": "front",
    "load_log": "log",
    "load_minari": "log",
    "load_reward": "reward_file",
    "log_of_episodes": "log",
    "make_mesh": "mesh",
    "plot_archive": "elites",
    "plot_front": "front",
    "plot_frontier": "comparison",
    "plot_hypervolume": "front",
    "record": "log",
    "restore": "restoration",
    "restore_config": "restoration",
    "save_log": "log",
    "save_reward": "reward_file",
    "scripted": "evaluation",
    "sweep": "driver",
    "train": "driver",
    "win_rate_table": "comparison",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"rlx.runtime.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'rlx.runtime' has no attribute {name!r}; it has {', '.join(__all__)}")
