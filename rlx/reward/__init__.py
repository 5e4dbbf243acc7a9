"""Rewards: sources and their combinators, running normalisation, distances between reward functions, rewards
from behaviour."""

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
from rlx.reward.source import chain, extrinsic, stack
from rlx.reward.transform import RewardTransform, centre, normalise_by_return

__all__ = [
    "RewardTransform",
    "RunningMoments",
    "adversarial_reward",
    "airl_logit",
    "centre",
    "chain",
    "dard_canonical",
    "discriminator_loss",
    "epic_canonical",
    "epic_canonical_samples",
    "extrinsic",
    "gradient_penalty",
    "init_moments",
    "mce_irl_loss",
    "merge_moments",
    "normalise",
    "normalise_by_return",
    "pearson_distance",
    "reward_distance",
    "stack",
    "standardise",
    "starc_canonical",
    "update_moments",
]
