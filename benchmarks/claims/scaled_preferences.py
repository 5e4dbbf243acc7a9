"""How strongly one answer was preferred: as a weight of the example, as a margin, and together with ratings.

Annotators perceive the gold rewards of two answers with noise; the sign of the perceived gap is the label, its size one
of three strengths. The same annotators rate each answer from 0 to 4. Small networks learn from 1000 pairs: by the plain
loss, with the strength as its margin, with the strength as its weight ("scaled"), from the ratings alone, and by the
scaled loss from a network that has learned the ratings. From there the weights are extrapolated, away from the ratings.

Control: strengths that are shuffled among the pairs. With a quarter of the labels turned round besides, whatever the
gap, the comparison of losses is reported and not judged.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import Parameters, difference, fit, network, score
from rlx.envs.bandit import gold_queries, gold_task
from rlx.reward import extrapolate, flip_labels, pair_accuracy, preference_loss
from rlx.types import Array, PreferenceBatch

PAIRS, TEST = 1000, 4000
PERCEPTION = 0.5  # deviation of the noise on each answer's gold reward
LEVELS = (0.7, 1.5)  # gaps from which a strength is 2, 3
FLIPPED = 0.25
BEYOND = 0.3  # factor of the extrapolation
SIZES = (16, 48, 48, 1)
BATCH, LEARNING_RATE = 128, 2e-3


def annotated(key: Array) -> tuple[PreferenceBatch, PreferenceBatch]:
    """Training pairs with strengths and ratings (`factor`), and test pairs by the gold reward."""
    task_key, data_key, noise_key, rating_key = jax.random.split(key, 4)
    batch = gold_queries(gold_task(task_key, 6, 0.0), data_key, PAIRS + TEST, beta=jnp.inf)
    gold = jnp.asarray(batch.gold)
    gap = gold[:, 0] - gold[:, 1] + PERCEPTION * 2**0.5 * jax.random.normal(noise_key, (PAIRS + TEST,))
    rating = jnp.clip(jnp.round(2 + gold + PERCEPTION * jax.random.normal(rating_key, gold.shape)), 0, 4)
    lean = batch._replace(prompt=None, source=None, gold=None, factor=rating[..., None])
    perceived = lean._replace(
        target=jnp.stack([gap > 0, gap <= 0], 1).astype(jnp.float32),
        strength=1.0 + (jnp.abs(gap) > LEVELS[0]) + (jnp.abs(gap) > LEVELS[1]),
    )
    return jax.tree.map(lambda x: x[:PAIRS], perceived), jax.tree.map(lambda x: x[PAIRS:], lean)


def strong_loss(parameters: Parameters, rows: tuple[PreferenceBatch, Array, Array]) -> Array:
    pairs, margin, weight = rows
    return preference_loss(difference(parameters, pairs), pairs.target[:, 0], margin=margin, weight=weight)


def rating_loss(parameters: Parameters, pairs: PreferenceBatch) -> Array:
    """Squared errors of both candidates' ratings, scaled to mean 0 and deviation about 1."""
    return jnp.square(score(parameters, pairs.obs[:, :, 0]) - (jnp.asarray(pairs.factor)[..., 0] - 2)).mean(1)


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    def one(seed: Array) -> dict[str, Array]:
        data_key, shuffle_key, flip_key, start_key, order_key = jax.random.split(jax.random.key(seed), 5)
        pairs, test = annotated(data_key)
        start = network(start_key, SIZES)

        def accuracy(model: Parameters) -> Array:
            return pair_accuracy(difference(model, test), test.target[:, 0]).mean()

        def train(model: Parameters, *rows) -> Parameters:
            return fit(order_key, model, strong_loss, rows, updates, BATCH, LEARNING_RATE)

        none, plain = jnp.zeros(PAIRS), jnp.ones(PAIRS)
        strength = jnp.asarray(pairs.strength)
        shuffled = jax.random.permutation(shuffle_key, strength)
        arms = {
            "plain": (none, plain),
            "margin": (strength, plain),
            "scaled": (none, strength),
            "scaled, shuffled": (none, shuffled),
        }
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *arms.values())
        found = {}
        turned = flip_labels(pairs, jax.random.uniform(flip_key, (PAIRS,)) < FLIPPED)
        for which, ending in ((pairs, ""), (turned, ", a quarter turned round")):
            accuracies = jax.lax.map(lambda arm, which=which: accuracy(train(start, which, *arm)), stacked)
            found |= {f"{name}{ending}": accuracies[i] for i, name in enumerate(arms)}
        rated = fit(order_key, start, rating_loss, pairs, updates, BATCH, LEARNING_RATE)
        both = train(rated, pairs, none, strength)
        found["ratings"] = accuracy(rated)
        found["ratings, then scaled"] = accuracy(both)
        found["ratings, then plain"] = accuracy(train(rated, pairs, none, plain))
        found["ratings, then scaled, extrapolated"] = accuracy(extrapolate(rated, both, BEYOND))
        return found

    found = jax.jit(lambda seeds: jax.lax.map(one, seeds))(jnp.asarray(seeds, jnp.uint32))
    return {name: np.asarray(values, np.float64).tolist() for name, values in found.items()}


CLAIM = Claim(
    name="scaled_preferences",
    title="HelpSteer2-Preference: Complementing Ratings with Preferences",
    year=2025,
    cards=(208,),
    environment=f"{PAIRS} pairs of normal answers, labels and strengths by a noisily perceived gap in gold reward,"
    " noisy ratings of both; the gold reward is a sum of six random networks",
    baseline="the plain loss; the strength as its margin; the scaled loss from scratch",
    method="the strength as the weight of the example; the same from a network trained on the ratings",
    metric=f"accuracy on {TEST} fresh pairs, by the gold reward",
    conditions=(
        Condition("scaled: above plain", "scaled", "plain", 0.005, paired=True),
        Condition("scaled: above margin", "scaled", "margin", 0.0, paired=True),
        Condition("scaled: above shuffled strengths", "scaled", "scaled, shuffled", 0.005, paired=True),
        Condition("ratings, then scaled: above scaled", "ratings, then scaled", "scaled", 0.0, paired=True),
        Condition("ratings, then scaled: above ratings", "ratings, then scaled", "ratings", 0.0, paired=True),
    ),
    settings={
        "network": SIZES,
        "perception": PERCEPTION,
        "levels": LEVELS,
        "extrapolation": BEYOND,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "margins": "half of the effects over plain and shuffled on the tuning seeds; there, margins did better",
    },
    updates=200,
    steps_per_update=BATCH,
    run=run,
    seeds=range(1000, 1020),
)
