"""Many objectives at once: weightings of reward channels."""

from rlx.pareto.weighting import linear

__all__ = ["linear"]
