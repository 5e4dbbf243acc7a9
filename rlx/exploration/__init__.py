"""Rewards for novelty: errors of distilled networks and of forward models, counts, distances, gains of sets, skills."""

from rlx.exploration.count import count_bonus, elliptical_bonus, elliptical_update, pseudo_count, simhash
from rlx.exploration.curiosity import icm_bonus, icm_loss
from rlx.exploration.distillation import distill_bonus, distill_loss, distill_target, pseudo_count_stat
from rlx.exploration.dynamics import elliptical, icm, novelty
from rlx.exploration.episodic import knn_novelty, nearest_neighbours
from rlx.exploration.memory import EpisodeMemory, episodic_count, ngu_bonus, novelty_gate, remember
from rlx.exploration.skills import diayn_reward
from rlx.exploration.source import diayn, rnd, visit_count
from rlx.exploration.submodular import (
    SetFunction,
    coverage,
    entropy_reduction,
    facility_location,
    information,
    marginal_gains,
)

__all__ = [
    "EpisodeMemory",
    "SetFunction",
    "count_bonus",
    "coverage",
    "diayn",
    "diayn_reward",
    "distill_bonus",
    "distill_loss",
    "distill_target",
    "elliptical",
    "elliptical_bonus",
    "elliptical_update",
    "entropy_reduction",
    "episodic_count",
    "facility_location",
    "icm",
    "icm_bonus",
    "icm_loss",
    "information",
    "knn_novelty",
    "marginal_gains",
    "nearest_neighbours",
    "ngu_bonus",
    "novelty",
    "novelty_gate",
    "pseudo_count",
    "pseudo_count_stat",
    "remember",
    "rnd",
    "simhash",
    "visit_count",
]
