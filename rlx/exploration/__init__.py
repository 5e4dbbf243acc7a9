"""Rewards for novelty: prediction error and visit counts."""

from rlx.exploration.count import count_bonus, simhash
from rlx.exploration.distillation import distill_bonus, distill_loss
from rlx.exploration.source import count, rnd

__all__ = ["count", "count_bonus", "distill_bonus", "distill_loss", "rnd", "simhash"]
