"""Preferences that an ensemble doubts are better turned round, and given margins by how strongly it believes them.

Small networks learn a gold reward from 2000 preferences, a quarter of them wrong. The strength of each label is the
mean vote of five networks trained on the other half of the data. Labels of the lowest fifth are turned round (flip), or
softened where the strength is negative (soft), or the strength, over its deviation, becomes the margin of the loss.

Controls: a random fifth turned round; and strengths judged by networks that were trained for ten times as long on the
labels they judge, which find wrong labels less well. Leaving the doubted fifth out, the likelihood that knows the share
of wrong labels, and label smoothing are reported too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import Parameters, difference, fit, network, pair_loss
from rlx.envs.bandit import gold_queries, gold_task
from rlx.reward import auroc, denoise, flip_labels, pair_accuracy, preference_loss, preference_strength
from rlx.types import Array, PreferenceBatch

PAIRS, TEST = 2000, 4000
NOISE = 0.25
MEMBERS = 5  # that judge each half
FRACTION = 0.2  # turned round
SIZES = (16, 48, 48, 1)
BATCH, LEARNING_RATE = 128, 2e-3


def clean_pairs(key: Array, pairs: int) -> PreferenceBatch:
    """Pairs with the labels of the gold reward, and nothing that a loss has no need of."""
    task_key, key = jax.random.split(key)
    batch = gold_queries(gold_task(task_key, width=0.0), key, pairs, beta=jnp.inf)
    return batch._replace(prompt=None, factor=None, source=None, gold=None)


def train(key: Array, pairs: PreferenceBatch, steps: int) -> Parameters:
    start, order = jax.random.split(key)
    return fit(order, network(start, SIZES), pair_loss, pairs, steps, BATCH, LEARNING_RATE)


def strengths(
    key: Array, train_on: PreferenceBatch, judged: PreferenceBatch, steps: int, members: int = MEMBERS
) -> Array:
    """How strongly networks of the first pairs believe the labels of the second ones."""

    def vote(key: Array) -> Array:
        return difference(train(key, train_on, steps), judged)

    return preference_strength(jax.lax.map(vote, jax.random.split(key, members)), judged.target[:, 0])[0]


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    def one(seed: Array) -> dict[str, Array]:
        data_key, noise_key, *keys = jax.random.split(jax.random.key(seed), 7)
        everything = clean_pairs(data_key, PAIRS + TEST)
        test = jax.tree.map(lambda x: x[PAIRS:], everything)
        wrong = jax.random.uniform(noise_key, (PAIRS,)) < NOISE
        pairs = flip_labels(jax.tree.map(lambda x: x[:PAIRS], everything), wrong)
        halves = [jax.tree.map(lambda x, s=s: x[s::2], pairs) for s in (0, 1)]
        votes = [strengths(keys[0], halves[1 - side], halves[side], updates) for side in (0, 1)]
        strength = jnp.stack(votes, 1).reshape(-1)
        overfitted = strengths(keys[1], pairs, pairs, 10 * updates, members=2)
        strength = strength / strength.std()

        label = pairs.target[:, 0]
        none = jnp.zeros(PAIRS)
        everyone = jnp.ones(PAIRS)
        trusted = jnp.argsort(jnp.argsort(strength)) >= FRACTION * PAIRS
        at_random = jax.random.permutation(keys[2], PAIRS) < FRACTION * PAIRS
        random_label = jnp.where(at_random, 1 - label, label)
        arms = {  # targets, margins, weights, smoothing
            "plain": (label, none, everyone, 0.0),
            "flip": (*denoise(label, strength, "flip", fraction=FRACTION), everyone, 0.0),
            "margin": (*denoise(label, strength, "margin"), everyone, 0.0),
            "flip and margin": (*denoise(label, strength, "flip_margin", fraction=FRACTION), everyone, 0.0),
            "soft and margin": (*denoise(label, strength, "soft_margin"), everyone, 0.0),
            "leave out": (label, none, trusted.astype(jnp.float32), 0.0),
            "flip at random": (random_label, none, everyone, 0.0),
            "smoothing": (label, none, everyone, 0.1),
        }

        def loss(parameters: Parameters, rows: tuple[Array, Array, tuple[Array, ...]], **options: Any) -> Array:
            obs, (target, margin, weight, smoothing) = rows
            pair = pairs._replace(obs=obs)
            return preference_loss(
                difference(parameters, pair), target, margin=margin, weight=weight, smoothing=smoothing, **options
            )

        def accuracy(arm: tuple[Array, ...], **options: Any) -> Array:
            start, order = jax.random.split(keys[3])  # the same for every arm
            rows = pairs.obs, arm
            model = fit(
                order,
                network(start, SIZES),
                lambda parameters, rows: loss(parameters, rows, **options),
                rows,
                updates,
                BATCH,
                LEARNING_RATE,
            )
            return pair_accuracy(difference(model, test), test.target[:, 0]).mean()

        stacked = [jnp.stack([jnp.broadcast_to(arm[i], (PAIRS,)) for arm in arms.values()]) for i in range(4)]
        found = dict(zip(arms, jax.lax.map(accuracy, tuple(stacked)), strict=True))
        plain = tuple(part[0] for part in stacked)
        found["knows the share"] = accuracy(plain, flip_prob=jnp.asarray(NOISE))
        found["wrong labels found, cross-fitted"] = auroc(-strength, wrong)
        found["wrong labels found, over-fitted"] = auroc(-overfitted, wrong)
        return found

    found = jax.jit(lambda seeds: jax.lax.map(one, seeds))(jnp.asarray(seeds, jnp.uint32))
    return {name: np.asarray(values, np.float64).tolist() for name, values in found.items()}


CLAIM = Claim(
    name="preference_denoising",
    title="Secrets of RLHF in Large Language Models Part II: Reward Modeling",
    year=2024,
    cards=(128,),
    environment=f"{PAIRS} pairs of normal answers, {NOISE:.0%} labelled wrong; the gold reward is a random network",
    baseline="the same network with the labels as they are",
    method="labels turned round, softened or given margins by the vote of networks trained on the other half",
    metric=f"accuracy on {TEST} fresh pairs, by the gold reward; area under the curve of finding wrong labels",
    conditions=(
        Condition("flip and margin: above plain", "flip and margin", "plain", 0.025, paired=True),
        Condition("flip: above plain", "flip", "plain", 0.02, paired=True),
        Condition("margin: above plain", "margin", "plain", 0.015, paired=True),
        Condition("soft and margin: above plain", "soft and margin", "plain", 0.02, paired=True),
        Condition("flip at random: below plain", "flip at random", "plain", 0.04, direction=-1, paired=True),
        Condition("wrong labels found, above 0.65", "wrong labels found, cross-fitted", 0.65),
        Condition(
            "wrong labels found: better than over-fitted on them",
            "wrong labels found, cross-fitted",
            "wrong labels found, over-fitted",
            0.03,
            paired=True,
        ),
    ),
    settings={
        "members": MEMBERS,
        "fraction": FRACTION,
        "network": SIZES,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "margins": "about half of the effects on the tuning seeds",
    },
    updates=400,
    steps_per_update=BATCH,
    run=run,
)
