"""Resource gathering: fetch gold and diamond past two enemies, or round them."""

from __future__ import annotations

from typing import NamedTuple

from rlx.envs.multi_objective.finite import FiniteEnv, Outcome

_SIZE = 5
_HOME, _GOLD, _DIAMOND, _ENEMIES = (4, 2), (0, 2), (1, 4), ((1, 2), (0, 3))
_MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # up, down, left, right


class Place(NamedTuple):
    """A state of resource gathering."""

    row: int
    column: int
    gold: bool = False
    diamond: bool = False


def resource_gathering(
    *, attack_probability: float = 0.1, max_steps: int = 100, observation: str = "index"
) -> FiniteEnv:
    """A 5 x 5 grid with gold, a diamond and two enemies: `(killed, gold, diamond)`, paid when the episode ends.

    Actions are up, down, left and right; moves out of the grid leave the agent where it is. A step that ends at an
    enemy's cell kills with `attack_probability`: -1 and the end. A step that ends at home brings what is carried, 1
    each, and is the end too, even with empty hands. Features are `(row, column)` scaled to [0, 1] and what is carried.

    Known: three points at discount 0.99, nine at 0.9, and at 1 just `(0, 1, 1)`, since a safe way round takes 18 steps:
    use a discount below 1.

    Source: Barrett, Narayanan, "Learning all optimal policies with multiple criteria" (2008).
    """

    def rules(place: Place, action: int) -> list[Outcome]:
        row = min(max(place.row + _MOVES[action][0], 0), _SIZE - 1)
        column = min(max(place.column + _MOVES[action][1], 0), _SIZE - 1)
        cell = (row, column)
        after = Place(row, column, place.gold or cell == _GOLD, place.diamond or cell == _DIAMOND)
        if cell in _ENEMIES:
            killed = Outcome(after, (-1.0, 0.0, 0.0), terminated=True, probability=attack_probability)
            return [killed, Outcome(after, (0.0, 0.0, 0.0), probability=1 - attack_probability)]
        if cell == _HOME:
            return [Outcome(after, (0.0, float(place.gold), float(place.diamond)), terminated=True)]
        return [Outcome(after, (0.0, 0.0, 0.0))]

    return FiniteEnv(
        Place(*_HOME),
        len(_MOVES),
        rules,
        lambda place: (place.row / (_SIZE - 1), place.column / (_SIZE - 1), place.gold, place.diamond),
        reward_channels=("killed", "gold", "diamond"),
        reference_point=(-1.0, -1.0, -1.0),
        max_steps=max_steps,
        observation=observation,
    )
