"""Rewards for novelty: the error of a distilled random network, visit counts, distances from a memory; and search for
many good solutions that differ: archives, emitters and descriptors of quality-diversity.
"""

from rlx.exploration.count import count_bonus, simhash
from rlx.exploration.descriptor import autoencoder_descriptor, path_signature
from rlx.exploration.distillation import distill_bonus, distill_loss
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
from rlx.exploration.source import rnd, visit_count

__all__ = [
    "ArchiveMetrics",
    "EliteArchive",
    "GaussianSearch",
    "Insertion",
    "adapt_search",
    "archive_metrics",
    "autoencoder_descriptor",
    "count_bonus",
    "distill_bonus",
    "distill_loss",
    "emitter_improvement",
    "emitter_order",
    "emitter_schedule",
    "emitter_stagnates",
    "empty_archive",
    "grid_cell",
    "insert_elites",
    "insert_random",
    "iso_line",
    "knn_novelty",
    "nearest_neighbours",
    "path_signature",
    "rnd",
    "sample_elites",
    "search_points",
    "simhash",
    "visit_count",
]
