"""Rewards for novelty: the error of a distilled random network, and visit counts."""

from rlx.exploration.count import count_bonus, simhash
from rlx.exploration.distillation import distill_bonus, distill_loss
from rlx.exploration.source import rnd, visit_count

__all__ = ["count_bonus", "distill_bonus", "distill_loss", "rnd", "simhash", "visit_count"]
