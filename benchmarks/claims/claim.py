"""What a claim declares, and how its numbers become a verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from rlx.runtime.statistics import Estimate, bootstrap, difference

Verdict = Literal["reproduced", "not reproduced", "refuted"]
Samples = Mapping[str, Sequence[float]]  # name -> one number for each seed


@dataclasses.dataclass(frozen=True)
class Condition:
    """The effect is the mean of sample `method` less `baseline` (a sample, or a number), positive if the claim holds.

    With `direction` -1 the method's numbers are claimed to be the lower ones, and the effect changes sign.
    """

    statement: str
    method: str
    baseline: str | float
    margin: float = 0.0  # how large the effect is claimed to be at least
    direction: Literal[1, -1] = 1
    paired: bool = False  # both sides of a seed share its problem: resample their differences

    def effect(self, samples: Samples) -> Estimate:
        """The effect with its 95% bootstrap interval over seeds."""
        method = self.direction * np.asarray(samples[self.method], np.float64)
        if not isinstance(self.baseline, str):
            return bootstrap(np.mean, method - self.direction * self.baseline)
        baseline = self.direction * np.asarray(samples[self.baseline], np.float64)
        if self.paired:
            return bootstrap(np.mean, method - baseline)
        return bootstrap(difference(np.mean), method, baseline)


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim. All conditions must be reproduced; one that is refuted refutes it."""

    name: str
    title: str  # of the paper
    year: int
    cards: tuple[int, ...]  # numbers of the paper's methods in the project's catalogue
    environment: str
    baseline: str
    method: str
    metric: str  # what a seed's numbers are
    conditions: tuple[Condition, ...]
    settings: Mapping[str, Any]  # stored with the result
    updates: int  # of the algorithm, for each seed
    steps_per_update: int  # samples that an update draws; 1 where it draws none
    run: Callable[[Sequence[int], int], dict[str, list[float]]]  # (seeds, updates) -> samples, further ones allowed
    seeds: Sequence[int] = range(1000, 1010)  # to judge; settings are chosen on 0 to 9
    history: tuple[str, ...] = ()  # every change that was made after results of judging seeds had been seen


class Judged(NamedTuple):
    condition: Condition
    effect: Estimate
    verdict: Verdict


def judge(claim: Claim, samples: Samples) -> tuple[Verdict, list[Judged]]:
    """The claim's verdict, and each condition's.

    Reproduced: the interval of the effect lies above the margin. Refuted: it lies below zero. Else not reproduced; so
    are the conditions of a single seed, whose interval is unknown.
    """
    judged = []
    for condition in claim.conditions:
        effect = condition.effect(samples)
        judged.append(Judged(condition, effect, _verdict(effect, condition.margin)))
    verdicts = {each.verdict for each in judged}
    if "refuted" in verdicts:
        return "refuted", judged
    return "reproduced" if verdicts == {"reproduced"} else "not reproduced", judged


def _verdict(effect: Estimate, margin: float) -> Verdict:
    if effect.low > margin:
        return "reproduced"
    return "refuted" if effect.high < 0 else "not reproduced"
