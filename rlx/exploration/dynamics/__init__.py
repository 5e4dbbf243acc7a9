"""Bonuses that need a model of what actions do: curiosity, ellipses in its features, novelty within an episode."""

from rlx.exploration.dynamics.source import elliptical, icm, novelty

__all__ = ["elliptical", "icm", "novelty"]
