"""A behaviour space learned from images explores nearly as well as the true one, and emitters work in it.

Differs from the paper: a small maze, 10,000 evaluations, images of 16 x 16 of the last step, a perceptron with one
hidden layer on either side; the autoencoder learns after every 500 evaluations, from when on all of the archive is
encoded anew. Coverage, and the step of emitters, are those of `sparse_emitters`. Nothing was tuned: TAXONS and STAX
were run once on seeds 0 to 9, in an earlier maze whose wall let some through.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from benchmarks.claims import point_maze
from benchmarks.claims.claim import Claim, Condition
from rlx.algos import novelty_search

LEARNED = {"criterion": "either"}
AUTOENCODER = {"code": 10, "hidden": 64, "learning_rate": 1e-3, "num_steps": 50, "batch_size": 64}
VARIANTS = {
    "true positions": ({}, None),
    "random code": ({}, novelty_search.autoencoder(**AUTOENCODER, trained=False)),
    "taxons": (LEARNED, novelty_search.autoencoder(**AUTOENCODER)),
    "stax": (LEARNED | point_maze.CLIMBING, novelty_search.autoencoder(**AUTOENCODER)),
}


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    samples = point_maze.compare(VARIANTS, seeds, updates)
    samples["true positions: 0.8 of the coverage"] = [0.8 * x for x in samples["true positions: coverage"]]
    return samples


CLAIM = Claim(
    name="learned_behaviour",
    title="Discovering and Exploiting Sparse Rewards in a Learned Behavior Space",
    year=2023,
    cards=(61, 47),
    environment=point_maze.ENVIRONMENT,
    baseline="novelty search on final positions; TAXONS, which has no emitters",
    method="STAX: novelty or surprise in the code of an autoencoder of images, in turn with emitters",
    metric=point_maze.METRIC,
    conditions=(
        Condition(
            "coverage of TAXONS over 0.8 of novelty search's on true positions",
            "taxons: coverage",
            "true positions: 0.8 of the coverage",
        ),
        Condition("reward of STAX over that of TAXONS", "stax: reward", "taxons: reward", 0.05),
    ),
    settings={
        "config": dataclasses.asdict(point_maze.CONFIG),
        "learned": LEARNED | point_maze.CLIMBING,
        "autoencoder": AUTOENCODER,
    },
    updates=point_maze.UPDATES,
    steps_per_update=point_maze.EVALUATIONS,
    run=run,
)
