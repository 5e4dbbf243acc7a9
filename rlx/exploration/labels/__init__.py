"""Bonuses that need a model of what an annotator says."""

from rlx.exploration.labels.source import learned_labels

__all__ = ["learned_labels"]
