"""Rewards: sources and their combinators, running normalisation."""

from rlx.reward.moments import RunningMoments, init_moments, merge_moments, normalise, update_moments
from rlx.reward.source import chain, extrinsic, stack
from rlx.reward.transform import RewardTransform, centre, normalise_by_return

__all__ = [
    "RewardTransform",
    "RunningMoments",
    "centre",
    "chain",
    "extrinsic",
    "init_moments",
    "merge_moments",
    "normalise",
    "normalise_by_return",
    "stack",
    "update_moments",
]
