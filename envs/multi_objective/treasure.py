"""Deep sea treasure: the benchmark whose fronts are known, and concave where linear weights fail."""

from __future__ import annotations

from typing import Any

from rlx import check
from rlx.envs.multi_objective.finite import FiniteEnv, Outcome

# of columns 0 to 9 of the plain maps: rows of open water above the treasure, and its value
_DEPTH = (1, 2, 3, 4, 4, 4, 7, 7, 9, 10)
_CONVEX = (0.7, 8.2, 11.5, 14.0, 15.1, 16.1, 19.6, 20.3, 22.4, 23.7)
_CONCAVE = (1.0, 2.0, 3.0, 5.0, 8.0, 16.0, 24.0, 50.0, 74.0, 124.0)
_LEFT_HALF = (11, 10, 8, 8, 5, 5, 5, 4, 3, 2)  # rows of open water without treasure in the mirrored map
_ROWS = 11
_MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # up, down, left, right

MAPS = ("convex", "concave", "mirrored")


def deep_sea_treasure(layout: str = "concave", *, max_steps: int = 100, observation: str = "index") -> FiniteEnv:
    """A submarine looks for treasure: `(treasure, time)`, the deeper the more valuable, -1 for each step.

    Actions are up, down, left and right; moves out of the map or into rock leave it where it is, and a treasure ends
    the episode. States are `(row, column)`, features these scaled to [0, 1]. The ten treasures make the Pareto front
    (on the convex map for discounts near 1 only): value v after T steps is `(v gamma^(T - 1), -(1 - gamma^T) /
    (1 - gamma))`. Linear weights reach the first and the last alone on the concave map.

    Known: hypervolume from `reference_point` 994.3 (convex) and 4255 (concave, mirrored) at discount 1.

    Args:
      layout: `convex` (treasures 0.7 to 23.7) and `concave` (1 to 124), both 11 x 11; `mirrored`, the concave one in
        the right half of an 11 x 20 map whose left half has none.

    Source: Vamplew et al., "Empirical evaluation methods for multiobjective reinforcement learning algorithms" (2011);
    the convex values are of Yang, Sun, Narasimhan (2019), the mirrored map of Felten et al. (2022).
    """
    check.require(layout in MAPS, "layout", layout, "one of " + ", ".join(MAPS))
    values = _CONVEX if layout == "convex" else _CONCAVE
    if layout == "mirrored":
        depth, start = (*_LEFT_HALF, *_DEPTH), (0, 10)
    else:
        depth, start = (*_DEPTH, _ROWS), (0, 0)
    treasure = {(depth[start[1] + i], start[1] + i): value for i, value in enumerate(values)}

    def rules(cell: tuple[int, int], action: int) -> list[Outcome]:
        row, column = cell[0] + _MOVES[action][0], cell[1] + _MOVES[action][1]
        inside = 0 <= row < _ROWS and 0 <= column < len(depth)
        if not inside or (row >= depth[column] and (row, column) not in treasure):
            row, column = cell
        value = treasure.get((row, column), 0.0)
        return [Outcome((row, column), (value, -1.0), terminated=value > 0)]

    def features(cell: Any) -> list[float]:
        return [cell[0] / (_ROWS - 1), cell[1] / (len(depth) - 1)]

    return FiniteEnv(
        start,
        len(_MOVES),
        rules,
        features,
        reward_channels=("treasure", "time"),
        reference_point=(0.0, -50.0),
        max_steps=max_steps,
        observation=observation,
    )
