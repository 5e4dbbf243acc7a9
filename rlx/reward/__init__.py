"""Rewards: sources and their combinators, running normalisation."""

from rlx.reward.moments import RunningMoments, init_moments, merge_moments, normalise, update_moments
from rlx.reward.source import RewardTransform, chain, extrinsic, normalise_by_return, stack

__all__ = [
    "RewardTransform",
    "RunningMoments",
    "chain",
    "extrinsic",
    "init_moments",
    "merge_moments",
    "normalise",
    "normalise_by_return",
    "stack",
    "update_moments",
]
