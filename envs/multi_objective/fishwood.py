"""Fish-wood: two states, and returns whose whole distribution is known."""

from __future__ import annotations

from rlx import check
from rlx.envs.multi_objective.finite import FiniteEnv, Outcome


def fishwood(
    *,
    fish_probability: float = 0.1,
    wood_probability: float = 0.9,
    max_steps: int = 200,
    observation: str = "index",
) -> FiniteEnv:
    """At the river (state 0) or in the woods (1, where episodes start): `(fish, wood)`, 1 with the place's probability.

    The action is the place to be in at the next step; the reward is that of the place it is taken in. Nothing but the
    time limit ends an episode. The only feature is the place.

    Known at discount 1: with n of the last 199 steps at the river, `(0.1 n, 0.9 (200 - n))`, which for n = 0 to 199 is
    the front. Amounts are independent and binomial, so that expected utilities of returns, such as `min(fish, wood /
    2)`, are finite sums: a test of utility-of-expectation against expectation-of-utility.

    Source: Roijers, Steckelmacher, Nowé, "Multi-objective Reinforcement Learning for the Expected Utility of the
    Return" (2018).
    """
    check.in_range("fish_probability", fish_probability, 0.0, 1.0)
    check.in_range("wood_probability", wood_probability, 0.0, 1.0)
    probability = (fish_probability, wood_probability)

    def rules(place: int, action: int) -> list[Outcome]:
        found = (float(place == 0), float(place == 1))
        return [
            Outcome(action, found, probability=probability[place]),
            Outcome(action, (0.0, 0.0), probability=1 - probability[place]),
        ]

    return FiniteEnv(
        1,
        2,
        rules,
        lambda place: (place,),
        reward_channels=("fish", "wood"),
        reference_point=(0.0, 0.0),
        max_steps=max_steps,
        observation=observation,
    )
