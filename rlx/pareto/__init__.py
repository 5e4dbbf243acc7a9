"""Many objectives at once: sets of value vectors, weightings of reward channels, constraints."""

from rlx.pareto.constraint import lagrange_update, lagrangian, mix_advantages, pid_lagrange_update, pid_lagrangian
from rlx.pareto.front import crowding_distance, dominates, nondominated_mask, nondominated_rank
from rlx.pareto.weighting import linear

__all__ = [
    "crowding_distance",
    "dominates",
    "lagrange_update",
    "lagrangian",
    "linear",
    "mix_advantages",
    "nondominated_mask",
    "nondominated_rank",
    "pid_lagrange_update",
    "pid_lagrangian",
]
