"""Novelty search finds sparse rewards but does not exploit them; emitters do, and leave exploration as it is.

Differs from the thesis: a small maze and 10,000 evaluations; coverage is that of population and archives at the end.
An emitter has as many members as the population, and starts from copies of its founder. Its mutations are a third of
the distance to the nearest genome, divided by the root of the number of genes: as published, without the division, is
reported beside it.

All other settings are those that `novelty_search.Config` begins with. Whether to divide was decided on seeds 0 to 9, in
an earlier maze whose wall of discs let some through; in this one they were run once, with the division.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from benchmarks.claims import point_maze
from benchmarks.claims.claim import Claim, Condition
from rlx.algos import novelty_search

CONFIG = novelty_search.Config(generations=25)
SCALE = point_maze.GENES**-0.5
VARIANTS = {
    "reward only": {"criterion": "reward"},
    "ns": {},
    "serene": {"emitters": True, "founder_scale": SCALE},
    "serene, published step": {"emitters": True},
}


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    samples = {}
    for name, changes in VARIANTS.items():
        found = point_maze.search(dataclasses.replace(CONFIG, **changes), None, seeds, updates)
        samples |= {f"{name}: {measure}": values for measure, values in found.items()}
    samples["ns: nine tenths of the coverage"] = [0.9 * value for value in samples["ns: coverage"]]
    return samples


CLAIM = Claim(
    name="sparse_emitters",
    title="Learning in Sparse Rewards Settings through Quality-Diversity Algorithms",
    year=2021,
    cards=(47,),
    environment=point_maze.ENVIRONMENT,
    baseline="novelty search on final positions, and survival by reward alone",
    method="SERENE: the same novelty search in turn with emitters from rewarded solutions",
    metric="share of 20 x 20 cells in which a kept solution ends; best reward of a kept one, mean of both goals",
    conditions=(
        Condition("coverage of novelty search over that of reward", "ns: coverage", "reward only: coverage", 0.05),
        Condition("reward of SERENE over that of novelty search", "serene: reward", "ns: reward", 0.05),
        Condition(
            "coverage of SERENE over nine tenths of novelty search's",
            "serene: coverage",
            "ns: nine tenths of the coverage",
        ),
    ),
    settings={"config": dataclasses.asdict(CONFIG), "variants": VARIANTS},
    updates=20,
    steps_per_update=2 * CONFIG.population * CONFIG.generations,
    run=run,
)
