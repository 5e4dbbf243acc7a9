"""PageRank over votes on which value is wiser finds the wisest values; counting votes finds the popular ones.

Sixty-four values stand on eight levels of wisdom. Upgrades from one value to another are proposed to 500 simulated
voters, forty to each, and popular values, which are those of low levels, are asked about more often. A voter is right
about whether the second value is the wiser with a probability, else gives another answer. Votes for an edge make its
weight, and the value of highest rank should be of the top level. Counting how often a value was called the wiser one
finds values that were asked about often. Voters who answer at random are the control.

Differs from the paper: simulated voters in place of people, one context, no text. Proposed circles (a low value offered
as an upgrade of the highest ones, with voters who mostly agree) are reported only: the paper leaves them open.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.reward import edge_stats, pagerank
from rlx.types import Array

LEVELS, WIDTH = 8, 8
VALUES = LEVELS * WIDTH
LEVEL = np.repeat(np.arange(LEVELS), WIDTH)
PROPOSALS = 4  # upgrades proposed from each value
UPWARD = 0.7  # share of proposals to a wiser value
VOTERS, VOTES = 500, 40
POPULARITY = 0.2  # by how much a level lowers the logarithm of how often a value is asked about
ACCURACY = (0.7, 0.55, 1 / 3)  # of voters; the last one is chance
CIRCLES = 16  # values of the top level from which a low one is proposed


def propose(key: Array) -> Array:
    """Values that are offered as upgrades of each value, int `[VALUES, PROPOSALS]`: one or two levels up or down."""
    way_key, far_key, which_key = jax.random.split(key, 3)
    shape = VALUES, PROPOSALS
    level, far = LEVEL[:, None], jax.random.randint(far_key, shape, 1, 3)
    up = (jax.random.bernoulli(way_key, UPWARD, shape) & (level < LEVELS - 1)) | (level == 0)
    level = jnp.clip(jnp.where(up, level + far, level - far), 0, LEVELS - 1)
    return level * WIDTH + jax.random.randint(which_key, shape, 0, WIDTH)


def ask(key: Array, offered: Array, accuracy: Array, circles: Array) -> Array:
    """Votes `[VALUES, VALUES, 3]`: wiser, not wiser, unsure."""
    shown_key, which_key, right_key, other_key = jax.random.split(key, 4)
    number = VOTERS * VOTES
    value = jax.random.categorical(shown_key, -POPULARITY * jnp.asarray(LEVEL), shape=(number,))
    other = offered[value, jax.random.randint(which_key, (number,), 0, PROPOSALS)]
    wiser = jnp.asarray(LEVEL)[other] > jnp.asarray(LEVEL)[value]
    wiser |= circles & (value >= VALUES - CIRCLES) & (other < WIDTH)
    truth = jnp.where(wiser, 0, 1)
    wrong = (truth + jax.random.randint(other_key, (number,), 1, 3)) % 3
    answer = jnp.where(jax.random.bernoulli(right_key, accuracy, (number,)), truth, wrong)
    return jnp.zeros((VALUES, VALUES, 3)).at[value, other, answer].add(1.0)


def winners(key: Array, accuracy: Array, circles: Array) -> dict[str, Array]:
    """The level of the first value by PageRank and by counting, and how far the former leads the other levels."""
    propose_key, ask_key = jax.random.split(key)
    back = circles & (jnp.arange(VALUES) >= VALUES - CIRCLES)
    offered = jnp.where(back[:, None], jnp.arange(PROPOSALS), propose(propose_key))
    counts = ask(ask_key, offered, accuracy, circles)
    found = edge_stats(counts)
    rank = pagerank(jnp.where(found.kept, found.likelihood, 0))
    votes = counts[..., 0].sum(0)
    level, top = jnp.asarray(LEVEL), jnp.asarray(LEVEL == LEVELS - 1)
    return {
        "PageRank": level[jnp.argmax(rank)] == LEVELS - 1,
        "counting": level[jnp.argmax(votes)] == LEVELS - 1,
        "margin": (jnp.max(jnp.where(top, rank, 0)) - jnp.max(jnp.where(top, 0, rank))) / jnp.max(rank),
    }


@functools.partial(jax.jit, static_argnames="repeats")
def trial(seeds: Array, repeats: int) -> dict[str, Array]:
    """Means over graphs, `[arms, seeds]`: the accuracies, and the first one with circles."""
    keys = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed), repeats))(seeds)
    accuracy, circles = jnp.array([*ACCURACY, ACCURACY[0]]), jnp.arange(len(ACCURACY) + 1) == len(ACCURACY)
    every = jax.vmap(jax.vmap(jax.vmap(winners, (0, None, None)), (0, None, None)), (None, 0, 0))
    return jax.tree.map(lambda x: jnp.mean(x, -1, dtype=jnp.float32), every(keys, accuracy, circles))


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = trial(np.asarray(seeds, np.uint32), updates)
    arms = [f"accuracy {accuracy:.2f}" for accuracy in ACCURACY] + ["circles"]
    return {f"{arm}: {figure}": row.tolist() for figure, x in found.items() for arm, row in zip(arms, x, strict=True)}


GOOD, POOR, CHANCE = (f"accuracy {accuracy:.2f}" for accuracy in ACCURACY)
CLAIM = Claim(
    name="moral_graph",
    title="What are human values, and how do we align AI to them?",
    year=2024,
    cards=(25,),
    environment=f"{VALUES} values on {LEVELS} levels, {VOTERS} simulated voters with {VOTES} votes each; low levels are"
    " popular",
    baseline="the value most often called the wiser one; voters who answer at random",
    method="PageRank over edges on which voters agree",
    metric="share of graphs in which the winner is of the top level",
    conditions=(
        Condition("PageRank, above 0.9", f"{GOOD}: PageRank", 0.9),
        Condition("above counting", f"{GOOD}: PageRank", f"{GOOD}: counting", 0.3, paired=True),
        Condition("above voters at random", f"{GOOD}: PageRank", f"{CHANCE}: PageRank", 0.3),
        Condition("poor voters: above counting", f"{POOR}: PageRank", f"{POOR}: counting", paired=True),
    ),
    settings={"proposals": PROPOSALS, "upward": UPWARD, "popularity": POPULARITY},
    updates=20,  # graphs for each seed
    steps_per_update=VOTERS * VOTES,
    run=run,
    seeds=range(1000, 1020),
)
