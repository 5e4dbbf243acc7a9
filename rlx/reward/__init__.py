"""Rewards: sources and their combinators, running normalisation, preference data and choice models."""

from rlx.reward.choice import centring_loss, plackett_luce_loss, preference_loss, tie_log_prob
from rlx.reward.moments import RunningMoments, init_moments, merge_moments, normalise, update_moments
from rlx.reward.preference import (
    bootstrap_indices,
    flip_labels,
    segment_score,
    swap_candidates,
    synthetic_teacher,
    to_pairs,
)
from rlx.reward.source import chain, extrinsic, stack
from rlx.reward.transform import RewardTransform, centre, normalise_by_return

__all__ = [
    "RewardTransform",
    "RunningMoments",
    "bootstrap_indices",
    "centre",
    "centring_loss",
    "chain",
    "extrinsic",
    "flip_labels",
    "init_moments",
    "merge_moments",
    "normalise",
    "normalise_by_return",
    "plackett_luce_loss",
    "preference_loss",
    "segment_score",
    "stack",
    "swap_candidates",
    "synthetic_teacher",
    "tie_log_prob",
    "to_pairs",
    "update_moments",
]
