"""Environments with vector rewards, and their Pareto fronts where these are known."""

from rlx.envs.multi_objective.finite import FiniteEnv, FiniteParams, Outcome
from rlx.envs.multi_objective.treasure import deep_sea_treasure

__all__ = ["FiniteEnv", "FiniteParams", "Outcome", "deep_sea_treasure"]
