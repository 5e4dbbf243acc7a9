"""Rewards: sources and their combinators, running normalisation, preference data and choice models, other feedback,
rewards from behaviour, distances between reward functions."""

from rlx.reward.best_of_n import OveroptimisationFit, best_of_n, best_of_n_kl, overoptimisation_fit, tilt
from rlx.reward.choice import centring_loss, plackett_luce_loss, preference_loss, tie_log_prob
from rlx.reward.criterion import (
    borda_score,
    listwise_reward,
    marginal_preference,
    marginal_preference_bound,
    reversal_accuracy,
)
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
from rlx.reward.feedback import (
    correct_prior,
    follow_up_reward,
    hierarchical_preference,
    mine_pairs,
    mix_rewards,
    reaction_loss,
    span_rewards,
)
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
from rlx.reward.regret import regret_score, successor_value
from rlx.reward.source import chain, extrinsic, stack
from rlx.reward.topology import inference_distance, prefix_tree, shared_prefix
from rlx.reward.transform import RewardTransform, centre, normalise_by_return
from rlx.reward.utility import cycle_probability, expected_utility_gap, select_edges, thurstone_fit, thurstone_prob

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
    "borda_score",
    "brme_loss",
    "brme_reward",
    "calibration_error",
    "centre",
    "centring_loss",
    "chain",
    "consistency_filter",
    "correct_prior",
    "cycle_probability",
    "dard_canonical",
    "denoise",
    "discriminator_loss",
    "dynamic_scale",
    "ensemble_reward",
    "epic_canonical",
    "epic_canonical_samples",
    "expected_utility_gap",
    "extrapolate",
    "extrinsic",
    "flip_labels",
    "follow_up_reward",
    "gradient_penalty",
    "hierarchical_preference",
    "inference_distance",
    "init_moments",
    "listwise_reward",
    "marginal_preference",
    "marginal_preference_bound",
    "mce_irl_loss",
    "merge_moments",
    "mine_pairs",
    "mix_rewards",
    "normalise",
    "normalise_by_return",
    "overoptimisation_fit",
    "pair_accuracy",
    "pearson_distance",
    "plackett_luce_loss",
    "preference_loss",
    "preference_strength",
    "prefix_tree",
    "query_score",
    "reaction_loss",
    "regret_score",
    "retrieval_count",
    "retrieve",
    "reversal_accuracy",
    "reward_distance",
    "segment_score",
    "select_edges",
    "select_queries",
    "shared_prefix",
    "span_rewards",
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
