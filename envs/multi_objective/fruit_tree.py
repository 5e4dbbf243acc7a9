"""Fruit tree navigation: six objectives, and every leaf of a binary tree a point of the front."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rlx import check
from rlx.envs.multi_objective.finite import FiniteEnv, Outcome

_TABLE = Path(__file__).with_name("fruit_tree.csv")  # a row for each leaf from left to right: depth, six rewards
DEPTHS = (5, 6, 7)


def fruit_tree(depth: int = 6, *, observation: str = "index") -> FiniteEnv:
    """A full binary tree: go left (0) or right (1) `depth` times; the leaf pays its six nutrients.

    States are `(row, index in the row)`, features these scaled to [0, 1]. All leaves have norm 10, so every leaf is in
    the front and also the best for some linear weights: this cannot tell linear scalarisation from others. The front at
    a discount is `leaves gamma^(depth - 1)`.

    Known: hypervolume from zero 8808.42, 12575.87 and 17665.28 at discount 1 for depth 5, 6 and 7.

    Source: Yang, Sun, Narasimhan, "A Generalized Algorithm for Multi-Objective Reinforcement Learning and Policy
    Adaptation" (2019), whose random leaves these are.
    """
    check.require(depth in DEPTHS, "depth", depth, "5, 6 or 7")
    names = _TABLE.read_text().partition("\n")[0].split(",")[1:]
    leaves = np.loadtxt(_TABLE, delimiter=",", skiprows=1)
    leaves = leaves[leaves[:, 0] == depth, 1:]

    def rules(node: tuple[int, int], action: int) -> list[Outcome]:
        row, index = node[0] + 1, 2 * node[1] + action
        reward = leaves[index] if row == depth else np.zeros(len(names))
        return [Outcome((row, index), tuple(reward), terminated=row == depth)]

    return FiniteEnv(
        (0, 0),
        2,
        rules,
        lambda node: (node[0] / depth, node[1] / (2**depth - 1)),
        reward_channels=tuple(names),
        reference_point=(0.0,) * len(names),
        max_steps=depth + 1,  # never met
        observation=observation,
    )
