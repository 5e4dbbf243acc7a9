"""Rewards learned from preferences, as sources: while the agent trains, or beforehand, from a log, and then frozen.

Apart from `rlx.reward`, which needs no networks.
"""

from rlx.reward.learned.offline import draw_queries, fit_reward_model
from rlx.reward.learned.source import (
    PreferenceState,
    RewardModel,
    answer,
    init_reward_model,
    learned_reward,
    predict_reward,
    preference_reward,
    propose,
)

__all__ = [
    "PreferenceState",
    "RewardModel",
    "answer",
    "draw_queries",
    "fit_reward_model",
    "init_reward_model",
    "learned_reward",
    "predict_reward",
    "preference_reward",
    "propose",
]
