"""Rewards: sources and their combinators, running normalisation, distances between reward functions."""

from rlx.reward.distance import (
    dard_canonical,
    epic_canonical,
    epic_canonical_samples,
    pearson_distance,
    reward_distance,
    standardise,
    starc_canonical,
)
from rlx.reward.moments import RunningMoments, init_moments, merge_moments, normalise, update_moments
from rlx.reward.source import chain, extrinsic, stack
from rlx.reward.transform import RewardTransform, centre, normalise_by_return

__all__ = [
    "RewardTransform",
    "RunningMoments",
    "centre",
    "chain",
    "dard_canonical",
    "epic_canonical",
    "epic_canonical_samples",
    "extrinsic",
    "init_moments",
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
