"""Rewards scaled by the gain in hypervolume do not find a better front: the scale is a step size.

The bandit and the learner are those of `gradient_weighting`. The scale is put on the normalised advantage; on the
reward, as published, normalisation by the group's deviation takes it out again ("on the reward"). A scale common to all
rewards leaves their balance alone, so it is compared with fixed weights, and with those at other step sizes.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.gradient_weighting import BATCH, GROUP, LEARNING_RATE, PREFERENCES, REFERENCE, train
from rlx.pareto import hypervolume_guided
from rlx.types import Array

PREFERENCE = PREFERENCES["equal"]
UNIT = 0.01  # a gain that counts as large; the published 1 is out of reach where the hypervolume is at most 1


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    def trained(low: Array, high: Array, unit: Array, scaled: Array, seed: Array) -> tuple[Array, Array]:
        weighting = hypervolume_guided(PREFERENCE, REFERENCE, low=low, high=high, unit=unit)
        return train(weighting, seed, updates, scaled)

    arms = {  # least and largest scale, unit, whether it is put on the advantage
        "fixed": (1.0, 1.0, UNIT, True),
        "guided": (0.5, 2.0, UNIT, True),
        "guided, unit 1": (0.5, 2.0, 1.0, True),
        "guided, on the reward": (0.5, 2.0, UNIT, False),
        "fixed, half the step": (0.5, 0.5, UNIT, True),
        "fixed, twice the step": (2.0, 2.0, UNIT, True),
    }
    over_seeds = jax.vmap(trained, (None, None, None, None, 0))
    over_arms = jax.jit(jax.vmap(over_seeds, (0, 0, 0, 0, None)))
    found = over_arms(*map(jnp.array, zip(*arms.values(), strict=True)), np.asarray(seeds, np.uint32))
    samples = {}
    for name, archive, last in zip(arms, *found, strict=True):
        samples |= {name: archive.tolist(), f"{name}: last policy": last.tolist()}
    return samples


CLAIM = Claim(
    name="hypervolume_weighting",
    title="Learning to Optimize Multi-Objective Alignment Through Dynamic Reward Weighting",
    year=2025,
    cards=(13,),
    environment="the bandit of gradient_weighting",
    baseline="group-relative policy gradients on rewards with fixed equal weights",
    method="the same, the advantage scaled between 0.5 and 2 by the batch's gain in hypervolume",
    metric="hypervolume, from zero, of the exact expected rewards of all policies that a run visits",
    conditions=(
        Condition("hypervolume, over that of fixed weights", "guided", "fixed", paired=True),
        Condition("the last policy's, too", "guided: last policy", "fixed: last policy", paired=True),
    ),
    settings={
        "learning_rate": LEARNING_RATE,
        "batch": BATCH,
        "group": GROUP,
        "preference": PREFERENCE,
        "unit": UNIT,
    },
    updates=400,
    steps_per_update=BATCH * GROUP,
    run=run,
    seeds=range(1000, 1020),
)
