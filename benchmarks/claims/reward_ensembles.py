"""Cautious aggregates of reward models are over-optimised less than one model or the mean of several.

Five small networks learn a gold reward from 1024 preferences, a quarter of them wrong, and differ in initialisation and
order of the data alone. Their standardised scores are optimised by best of n in pools that are the reference policy, so
gold rewards and KL divergences are exact (`rlx.envs.GoldPool`, which says why its gold reward has a bad and rare tail).

Control: the variance penalty with each answer's variance replaced by another answer's, which has the same distribution
but says nothing. The paper finds that cautious aggregates practically eliminate over-optimisation; how much of the drop
from the peak is left is reported here, and not judged. The exact optimum of reward less KL penalty is reported too.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import (
    BEST_OF,
    ENSEMBLE,
    PAIRS,
    SIZES,
    Problem,
    best_of_n_curve,
    pose,
    score_members,
    standardised,
    train_members,
)
from rlx.policy import categorical_kl
from rlx.reward import ensemble_reward, tilt
from rlx.types import Array

NOISE = 0.25
BETA = 0.5  # of the KL penalty


def ensemble(seed: Array, mistake: float, steps: int) -> tuple[Problem, Array]:
    """A problem and its members' scores `[M, X, N]`."""
    problem_key, member_key = jax.random.split(jax.random.key(seed))
    problem = pose(problem_key, mistake)
    return problem, score_members(train_members(member_key, problem.pairs, steps), problem.features)


def aggregates(scores: Array) -> dict[str, Array]:
    """What is optimised, `[X, N]` each."""
    elsewhere = ensemble_reward(scores) - jnp.roll(scores.var(0), 1, -1)
    return {
        "single": scores[0],
        "mean": ensemble_reward(scores),
        "worst case": ensemble_reward(scores, "worst_case"),
        "variance 0.5": ensemble_reward(scores, "uncertainty_weighted", 0.5),
        "variance 1": ensemble_reward(scores, "uncertainty_weighted", 1.0),
        "variance 1 of another answer": elsewhere,
    }


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {}

    def one(seed: Array, mistake: float) -> dict[str, Array]:
        problem, scores = ensemble(seed, mistake, updates)
        uniform = jnp.full(problem.gold.shape, -jnp.log(problem.gold.shape[1]))
        found = {}
        for name, proxy in {**aggregates(scores), "gold itself": problem.gold}.items():
            values = jnp.stack([problem.gold, standardised(proxy)])
            (gold, proxied), _ = best_of_n_curve(proxy, values, BEST_OF)
            found[name] = gold[-1]
            found[f"{name}: peak"] = gold.max()
            found[f"{name}: drop"] = gold.max() - gold[-1]
            found[f"{name}: proxy"] = proxied[-1]
            policy = tilt(uniform, standardised(proxy), BETA)
            found[f"{name}: tilt"] = (jnp.exp(policy) * problem.gold).sum(1).mean()
            found[f"{name}: tilt, KL"] = categorical_kl(policy, uniform).mean()
        return found

    for noise in (NOISE, 0.0):
        found = jax.jit(lambda seeds, noise=noise: jax.lax.map(lambda seed: one(seed, noise), seeds))(
            jnp.asarray(seeds, jnp.uint32)
        )
        for name, values in found.items():
            if noise == NOISE:
                samples[name] = np.asarray(values, np.float64).tolist()
            elif name in ("single", "mean", "worst case", "variance 1"):
                samples[f"{name}, no wrong labels"] = np.asarray(values, np.float64).tolist()
    return samples


CLAIM = Claim(
    name="reward_ensembles",
    title="Reward Model Ensembles Help Mitigate Overoptimization",
    year=2024,
    cards=(54,),
    environment=f"32 prompts with pools of {BEST_OF[-1]} answers, gold reward with a bad and rare tail; {PAIRS}"
    f" preferences, {NOISE:.0%} of them labelled wrong",
    baseline="one reward model; the mean of five",
    method="the worst case of five, and their mean less a multiple of their variance",
    metric=f"gold reward of the best of {BEST_OF[-1]}, in deviations of the reference policy's answers",
    conditions=(
        *(
            Condition(f"{name}: above {other}", name, other, margin, paired=True)
            for name in ("worst case", "variance 0.5")
            for other, margin in (("single", 0.5), ("mean", 0.4))
        ),
        Condition(
            "variance 1: above the same with another answer's variance",
            "variance 1",
            "variance 1 of another answer",
            0.5,
            paired=True,
        ),
        Condition(
            "worst case: above single, no wrong labels",
            "worst case, no wrong labels",
            "single, no wrong labels",
            0.4,
            paired=True,
        ),
        Condition("worst case: smaller drop from the peak than mean", "worst case: drop", "mean: drop", 0.4, -1, True),
    ),
    settings={
        "members": ENSEMBLE,
        "network": SIZES,
        "pairs": PAIRS,
        "batch": 64,
        "learning_rate": 1e-3,
        "kl_penalty": BETA,
        "margins": "about half of the effects on the tuning seeds",
    },
    updates=1000,
    steps_per_update=64,
    run=run,
    seeds=range(1000, 1020),
)
