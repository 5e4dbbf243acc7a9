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
from rlx.reward.preference import (
    bootstrap_indices,
    flip_labels,
    segment_score,
    swap_candidates,
    synthetic_teacher,
    to_pairs,
)
from rlx.reward.query import query_score, select_queries
from rlx.reward.representation import (
    centroid_distance,
    goal_contrastive_loss,
    goal_steps,
    goal_value,
    info_nce_loss,
    most_similar_pair,
    prune_step,
    reference_scaled_reward,
    triplet_loss,
    unit_norm_loss,
)
from rlx.reward.source import chain, extrinsic, stack
from rlx.reward.transform import RewardTransform, centre, normalise_by_return

__all__ = [
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
    "centroid_distance",
    "chain",
    "consistency_filter",
    "dard_canonical",
    "denoise",
    "discriminator_loss",
    "dynamic_scale",
    "ensemble_reward",
    "epic_canonical",
    "epic_canonical_samples",
    "extrapolate",
    "extrinsic",
    "flip_labels",
    "goal_contrastive_loss",
    "goal_steps",
    "goal_value",
    "gradient_penalty",
    "info_nce_loss",
    "init_moments",
    "mce_irl_loss",
    "merge_moments",
    "most_similar_pair",
    "normalise",
    "normalise_by_return",
    "overoptimisation_fit",
    "pair_accuracy",
    "pearson_distance",
    "plackett_luce_loss",
    "preference_loss",
    "preference_strength",
    "prune_step",
    "query_score",
    "reference_scaled_reward",
    "retrieval_count",
    "retrieve",
    "reward_distance",
    "segment_score",
    "select_queries",
    "stack",
    "standardise",
    "starc_canonical",
    "swap_candidates",
    "synthetic_teacher",
    "tie_log_prob",
    "ties_score",
    "tilt",
    "to_pairs",
    "triplet_loss",
    "unit_norm_loss",
    "update_moments",
]
