"""Rewards: sources and their combinators, running normalisation, preference data and choice models, rewards from
behaviour, distances between reward functions."""

from rlx.reward.choice import centring_loss, plackett_luce_loss, preference_loss, tie_log_prob
from rlx.reward.distance import (
    dard_canonical,
    epic_canonical,
    epic_canonical_samples,
    pearson_distance,
    reward_distance,
    standardise,
    starc_canonical,
)
from rlx.reward.irl import adversarial_reward, airl_logit, discriminator_loss, gradient_penalty, mce_irl_loss
from rlx.reward.moments import RunningMoments, init_moments, merge_moments, normalise, update_moments
from rlx.reward.preference import (
    bootstrap_indices,
    flip_labels,
    segment_score,
    swap_candidates,
    synthetic_teacher,
    to_pairs,
)
from rlx.reward.regret import regret_score, successor_value
from rlx.reward.source import chain, extrinsic, stack
from rlx.reward.transform import RewardTransform, centre, normalise_by_return

__all__ = [
    "RewardTransform",
    "RunningMoments",
    "adversarial_reward",
    "airl_logit",
    "bootstrap_indices",
    "centre",
    "centring_loss",
    "chain",
    "dard_canonical",
    "discriminator_loss",
    "epic_canonical",
    "epic_canonical_samples",
    "extrinsic",
    "flip_labels",
    "gradient_penalty",
    "init_moments",
    "mce_irl_loss",
    "merge_moments",
    "normalise",
    "normalise_by_return",
    "pearson_distance",
    "plackett_luce_loss",
    "preference_loss",
    "regret_score",
    "reward_distance",
    "segment_score",
    "stack",
    "standardise",
    "starc_canonical",
    "successor_value",
    "swap_candidates",
    "synthetic_teacher",
    "tie_log_prob",
    "to_pairs",
    "update_moments",
]
