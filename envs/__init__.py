"""Environments on gymnax 1.0's interface: own ones, and those of gymnax and brax. `make` finds them by name.

`rlx.types.Environment` says what an environment is; `check_env` tests whether something is one.
"""

from __future__ import annotations

from rlx.envs import bandit, diffusion, goal_grid, grid, multi_objective, point, stock, tabular, wrappers
from rlx.envs.adapters import BraxEnv, GymnaxEnv
from rlx.envs.bandit import CategoricalBandit, GoldPool
from rlx.envs.check import check_env
from rlx.envs.diffusion import GaussianChain, Ring
from rlx.envs.goal_grid import GoalGrid
from rlx.envs.grid import GridWorld
from rlx.envs.point import PointMaze, PointRobot
from rlx.envs.registry import make, names
from rlx.envs.stock import Lottery
from rlx.envs.tabular import TabularMDP

__all__ = [
    "BraxEnv",
    "CategoricalBandit",
    "GaussianChain",
    "GoalGrid",
    "GoldPool",
    "GridWorld",
    "GymnaxEnv",
    "Lottery",
    "PointMaze",
    "PointRobot",
    "Ring",
    "TabularMDP",
    "bandit",
    "check_env",
    "diffusion",
    "goal_grid",
    "grid",
    "make",
    "multi_objective",
    "names",
    "point",
    "stock",
    "tabular",
    "wrappers",
]
