"""Many objectives at once: weightings of reward channels, constraints."""

from rlx.pareto.constraint import lagrange_update, lagrangian, mix_advantages, pid_lagrange_update, pid_lagrangian
from rlx.pareto.weighting import linear

__all__ = ["lagrange_update", "lagrangian", "linear", "mix_advantages", "pid_lagrange_update", "pid_lagrangian"]
