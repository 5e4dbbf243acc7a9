"""Exploration: rewards for what is new, gains of sets, skills; and quality-diversity, many good solutions that differ."""

from rlx.exploration.count import count_bonus, elliptical_bonus, elliptical_update, pseudo_count, simhash
from rlx.exploration.curiosity import icm_bonus, icm_loss
from rlx.exploration.descriptor import autoencoder_descriptor, path_signature
from rlx.exploration.distillation import distill_bonus, distill_loss, distill_target, pseudo_count_stat
from rlx.exploration.emitter import (
    GaussianSearch,
    adapt_search,
    emitter_improvement,
    emitter_order,
    emitter_schedule,
    emitter_stagnates,
    search_points,
)
from rlx.exploration.episodic import knn_novelty, nearest_neighbours
from rlx.exploration.memory import EpisodeMemory, episodic_count, ngu_bonus, novelty_gate, remember
from rlx.exploration.quality_diversity import (
    ArchiveMetrics,
    EliteArchive,
    Insertion,
    archive_metrics,
    empty_archive,
    grid_cell,
    insert_elites,
    insert_random,
    iso_line,
    sample_elites,
)
from rlx.exploration.skills import diayn_reward
from rlx.exploration.source import rnd, visit_count
from rlx.exploration.submodular import (
    SetFunction,
    coverage,
    entropy_reduction,
    facility_location,
    information,
    marginal_gains,
)

__all__ = [
    "ArchiveMetrics",
    "EliteArchive",
    "EpisodeMemory",
    "GaussianSearch",
    "Insertion",
    "SetFunction",
    "adapt_search",
    "archive_metrics",
    "autoencoder_descriptor",
    "count_bonus",
    "coverage",
    "diayn_reward",
    "distill_bonus",
    "distill_loss",
    "distill_target",
    "elliptical_bonus",
    "elliptical_update",
    "emitter_improvement",
    "emitter_order",
    "emitter_schedule",
    "emitter_stagnates",
    "empty_archive",
    "entropy_reduction",
    "episodic_count",
    "facility_location",
    "grid_cell",
    "icm_bonus",
    "icm_loss",
    "information",
    "insert_elites",
    "insert_random",
    "iso_line",
    "knn_novelty",
    "marginal_gains",
    "nearest_neighbours",
    "ngu_bonus",
    "novelty_gate",
    "path_signature",
    "pseudo_count",
    "pseudo_count_stat",
    "remember",
    "rnd",
    "sample_elites",
    "search_points",
    "simhash",
    "visit_count",
]
