"""Environments with vector rewards, and their Pareto fronts where these are known."""

from rlx.envs.multi_objective.bottles import bottles
from rlx.envs.multi_objective.finite import FiniteEnv, FiniteParams, Outcome
from rlx.envs.multi_objective.fishwood import fishwood
from rlx.envs.multi_objective.fruit_tree import fruit_tree
from rlx.envs.multi_objective.gathering import resource_gathering
from rlx.envs.multi_objective.lqr import LQR, LQRParams
from rlx.envs.multi_objective.minecart import Minecart, MinecartParams
from rlx.envs.multi_objective.reservoir import WaterReservoir
from rlx.envs.multi_objective.treasure import deep_sea_treasure
from rlx.envs.multi_objective.vector_reward import VectorReward, half_cheetah, hopper, mountain_car

__all__ = [
    "LQR",
    "FiniteEnv",
    "FiniteParams",
    "LQRParams",
    "Minecart",
    "MinecartParams",
    "Outcome",
    "VectorReward",
    "WaterReservoir",
    "bottles",
    "deep_sea_treasure",
    "fishwood",
    "fruit_tree",
    "half_cheetah",
    "hopper",
    "mountain_car",
    "resource_gathering",
]
