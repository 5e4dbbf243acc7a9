"""A reward model of a few features that experts name needs far fewer preferences, and pays where one is missing.

The gold reward weighs six attributes of an answer. One model reads the attributes, as the paper's reads scores of a
summary's faithfulness, coverage and so on; the baseline reads the answer itself, sixteen numbers of which eight make up
the attributes, by a random network for each. Both are small networks trained on the same noisy preferences, in growing
numbers, and each is stopped at the best of ten times, so that neither suffers from overfitting. (Chosen on seeds 0 to
9: with 600 steps in place of 2000 the baseline had not learned all there is in the largest data set.)

Without the attribute that weighs most the features are wrong, and no number of preferences makes up for it: the price
of knowing better. Features of another answer are the control.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import Parameters, fit, network, score
from rlx.envs.bandit import draw_answers, gold_task
from rlx.reward import pair_accuracy, preference_loss
from rlx.types import Array

ATTRIBUTES, BETA = 6, 2.0
PAIRS = tuple(25 * 2**k for k in range(10))  # up to 12800, of which each is a divisor
TEST = 2000
HIDDEN = (32, 32, 1)
LEVEL = 0.8  # of accuracy
LEARNING_RATE, BATCH, STAGES = 3e-3, 64, 10


def difference(parameters: Parameters, features: Array) -> Array:
    return score(parameters, features[:, 0]) - score(parameters, features[:, 1])


def loss(parameters: Parameters, rows: tuple[Array, Array]) -> Array:
    return preference_loss(difference(parameters, rows[0]), rows[1])


def curves(seed: Array, steps: int) -> dict[str, Array]:
    """Accuracy on new pairs for each number of training pairs, `[10]` for each input."""
    task_key, train_key, said_key, test_key, other_key, noise_key, model_key = jax.random.split(jax.random.key(seed), 7)
    task = gold_task(task_key, ATTRIBUTES, 0.0)
    train = draw_answers(task, train_key, (PAIRS[-1], 2), jnp.zeros(8))
    test = draw_answers(task, test_key, (TEST, 2), jnp.zeros(8))
    said = jax.random.uniform(said_key, (PAIRS[-1],)) < jax.nn.sigmoid(BETA * (train.gold[:, 0] - train.gold[:, 1]))
    target = (test.gold[:, 0] > test.gold[:, 1]).astype(jnp.float32)
    lacking = jnp.arange(ATTRIBUTES) != jnp.argmax(task.weight)
    raw = tuple(
        jnp.concatenate([x.response, jax.random.normal(k, x.response.shape)], -1)
        for x, k in zip((train, test), jax.random.split(noise_key), strict=True)
    )
    inputs = {
        "features": (train.attribute, test.attribute),
        "answer": raw,
        "features less one": (train.attribute * lacking, test.attribute * lacking),
        "features of another": (jax.random.permutation(other_key, train.attribute), test.attribute),
    }

    def accuracy(pairs: Array, own: Array, new: Array) -> Array:
        rows = jnp.arange(PAIRS[-1]) % pairs
        data = own[rows], said[rows].astype(jnp.float32)

        def stage(parameters: Parameters, key: Array) -> tuple[Parameters, Array]:
            parameters = fit(key, parameters, loss, data, steps // STAGES or 1, BATCH, LEARNING_RATE)
            return parameters, pair_accuracy(difference(parameters, new), target).mean()

        start, order = jax.random.split(model_key)
        first = network(start, (own.shape[-1], *HIDDEN))
        return jax.lax.scan(stage, first, jax.random.split(order, STAGES))[1].max()

    def curve(own: Array, new: Array) -> Array:
        return jax.lax.map(lambda pairs: accuracy(pairs, own, new), jnp.asarray(PAIRS))

    return {name: curve(*both) for name, both in inputs.items()}


def pairs_to(accuracy: np.ndarray) -> float:
    """Pairs until the level is reached, between sizes in proportion on a scale of logarithms; at most the last size."""
    if accuracy.max() < LEVEL:
        return float(PAIRS[-1])
    k = int(np.argmax(accuracy >= LEVEL))
    part = 0.0 if k == 0 else (LEVEL - accuracy[k - 1]) / (accuracy[k] - accuracy[k - 1])
    return float(PAIRS[max(k - 1, 0)] * 2.0**part)


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.jit(lambda seeds: jax.lax.map(lambda seed: curves(seed, updates), seeds))(
        jnp.asarray(seeds, jnp.uint32)
    )
    accuracy = {name: np.asarray(values, np.float64) for name, values in found.items()}
    samples = {f"{name}: pairs to {LEVEL:.0%}": [*map(pairs_to, curve)] for name, curve in accuracy.items()}
    ratio = [
        float(np.log2(raw / few))
        for raw, few in zip(*(samples[f"{name}: pairs to {LEVEL:.0%}"] for name in ("answer", "features")), strict=True)
    ]
    samples["doublings saved"] = ratio
    for name, curve in accuracy.items():
        samples |= {f"{name}: {n} pairs": curve[:, k].tolist() for k, n in enumerate(PAIRS) if k in (0, 3, 6, 9)}
    return samples


CLAIM = Claim(
    name="domain_features",
    title="Leveraging Domain Knowledge for Efficient Reward Modelling in RLHF: A Case-Study in E-Commerce Opinion"
    " Summarization",
    year=2024,
    cards=(11,),
    environment=f"answers with {ATTRIBUTES} attributes, random networks of the answer, which the gold reward weighs;"
    f" {PAIRS[0]} to {PAIRS[-1]} preferences with noise",
    baseline="a reward model that reads the answer",
    method="a reward model that reads the attributes",
    metric=f"preferences until {LEVEL:.0%} of new pairs are told right; accuracy",
    conditions=(
        Condition("a fifth of the preferences", "doublings saved", 0.0, float(np.log2(5.0))),
        Condition(
            f"one attribute missing, {PAIRS[-1]} pairs: below the answer",
            f"features less one: {PAIRS[-1]} pairs",
            f"answer: {PAIRS[-1]} pairs",
            0.02,
            direction=-1,
            paired=True,
        ),
        Condition(
            "200 pairs: above features of another answer",
            "features: 200 pairs",
            "features of another: 200 pairs",
            0.2,
            paired=True,
        ),
    ),
    settings={"beta": BETA, "hidden": HIDDEN, "learning_rate": LEARNING_RATE, "batch": BATCH},
    updates=2000,
    steps_per_update=BATCH,
    run=run,
)
