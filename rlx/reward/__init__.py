"""Rewards: sources and their combinators, running normalisation, preference data and choice models, rewards from
behaviour, distances between reward functions."""

from rlx.reward.best_of_n import OveroptimisationFit, best_of_n, best_of_n_kl, overoptimisation_fit, tilt
from rlx.reward.choice import centring_loss, plackett_luce_loss, preference_loss, tie_log_prob
from rlx.reward.curation import (
    consistency_filter,
    denoise,
    dynamic_scale,
    preference_strength,
    retrieval_count,
    retrieve,
)
from rlx.reward.distance import (
    dard_canonical,
    epic_canonical,
    epic_canonical_samples,
    pearson_distance,
    reward_distance,
    standardise,
    starc_canonical,
)
from rlx.reward.ensemble import brme_loss, brme_reward, ensemble_reward, extrapolate
from rlx.reward.irl import adversarial_reward, airl_logit, discriminator_loss, gradient_penalty, mce_irl_loss
from rlx.reward.metric import auroc, best_of_k_accuracy, calibration_error, pair_accuracy, ties_score
from rlx.reward.moments import RunningMoments, init_moments, merge_moments, normalise, update_moments
from rlx.reward.moral_graph import EdgeStats, edge_stats, pagerank
from rlx.reward.perceptual import perceptual_reward, segment_demo, select_features
from rlx.reward.preference import (
    bootstrap_indices,
    flip_labels,
    segment_score,
    swap_candidates,
    synthetic_teacher,
    to_pairs,
)
from rlx.reward.query import query_score, select_queries
from rlx.reward.regret import regret_score, successor_value
from rlx.reward.source import chain, extrinsic, stack
from rlx.reward.transform import RewardTransform, centre, normalise_by_return
from rlx.reward.utility import cycle_probability, expected_utility_gap, select_edges, thurstone_fit, thurstone_prob

__all__ = [
    "EdgeStats",
    "OveroptimisationFit",
    "RewardTransform",
    "RunningMoments",
    "adversarial_reward",
    "airl_logit",
    "auroc",
    "best_of_k_accuracy",
    "best_of_n",
    "best_of_n_kl",
    "bootstrap_indices",
    "brme_loss",
    "brme_reward",
    "calibration_error",
    "centre",
    "centring_loss",
    "chain",
    "consistency_filter",
    "cycle_probability",
    "dard_canonical",
    "denoise",
    "discriminator_loss",
    "dynamic_scale",
    "edge_stats",
    "ensemble_reward",
    "epic_canonical",
    "epic_canonical_samples",
    "expected_utility_gap",
    "extrapolate",
    "extrinsic",
    "flip_labels",
    "gradient_penalty",
    "init_moments",
    "mce_irl_loss",
    "merge_moments",
    "normalise",
    "normalise_by_return",
    "overoptimisation_fit",
    "pagerank",
    "pair_accuracy",
    "pearson_distance",
    "perceptual_reward",
    "plackett_luce_loss",
    "preference_loss",
    "preference_strength",
    "query_score",
    "regret_score",
    "retrieval_count",
    "retrieve",
    "reward_distance",
    "segment_demo",
    "segment_score",
    "select_edges",
    "select_features",
    "select_queries",
    "stack",
    "standardise",
    "starc_canonical",
    "successor_value",
    "swap_candidates",
    "synthetic_teacher",
    "thurstone_fit",
    "thurstone_prob",
    "tie_log_prob",
    "ties_score",
    "tilt",
    "to_pairs",
    "update_moments",
]
