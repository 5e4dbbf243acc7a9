"""Rewards for novelty: the error of a distilled random network, visit counts, distances from a memory."""

from rlx.exploration.count import count_bonus, simhash
from rlx.exploration.distillation import distill_bonus, distill_loss
from rlx.exploration.episodic import knn_novelty, nearest_neighbours
from rlx.exploration.source import rnd, visit_count

__all__ = [
    "count_bonus",
    "distill_bonus",
    "distill_loss",
    "knn_novelty",
    "nearest_neighbours",
    "rnd",
    "simhash",
    "visit_count",
]
