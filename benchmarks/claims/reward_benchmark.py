"""Best-of-four accuracy of a reward model tells what best of n by it will yield, the less so the larger n is.

Twenty reward models for each gold reward, of 150 to 3000 preferences with 0% to 40% of the labels wrong. Each is scored
by its accuracy in naming the best of four answers, as RewardBench 2 does, and by its accuracy on pairs; and each is
optimised by best of n in pools that are the reference policy. Accuracy is measured where answers are usual; the more
answers a search goes through, the more it finds those that training and accuracy never met.

Control: models that have learned nothing, whose accuracy must be that of chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import (
    SIZES,
    Parameters,
    best_of_n_curve,
    fit,
    network,
    pair_loss,
    pool_features,
    score,
)
from rlx.envs.bandit import gold_pool, gold_queries, gold_task
from rlx.reward import best_of_k_accuracy, flip_labels, pair_accuracy
from rlx.types import Array

NOISE = (0.0, 0.1, 0.2, 0.3, 0.4)
PAIRS = (150, 400, 1000, 3000)
PROMPTS, ANSWERS = 16, 1024
QUESTIONS = 1000
BEST_OF = (16, 64, 512)


def models(seed: Array, steps: int) -> dict[str, Array]:
    """Accuracies of the models `[20]`, and gold rewards of their best of n `[20]`."""
    task_key, pool_key, data_key, test_key, train_key = jax.random.split(jax.random.key(seed), 5)
    task = gold_task(task_key)
    pool = gold_pool(task, pool_key, PROMPTS, ANSWERS)
    features = pool_features(pool)
    pairs = gold_queries(task, data_key, max(PAIRS))._replace(prompt=None, factor=None, source=None, gold=None)
    test = gold_queries(task, test_key, QUESTIONS, 4, beta=jnp.inf)
    gold = test.gold
    assert gold is not None

    def one(setting: tuple[Array, Array, Array]) -> dict[str, Array]:
        noise, count, number = setting
        flip_key, start_key, order_key = jax.random.split(jax.random.fold_in(train_key, number), 3)
        noisy = flip_labels(pairs, jax.random.uniform(flip_key, (max(PAIRS),)) < noise)

        def loss(parameters: Parameters, rows: tuple) -> Array:
            first = jax.tree.map(lambda x: x[rows[0] % count], noisy)  # the model's own part of the data
            return pair_loss(parameters, first)

        start = network(start_key, SIZES)
        model = fit(order_key, start, loss, (jnp.arange(6 * max(PAIRS)),), steps)
        scores = score(model, test.obs[:, :, 0])
        proxy = score(model, features)
        (values,), _ = best_of_n_curve(proxy, pool.gold[None], BEST_OF)
        right = (gold[:, 0] > gold[:, 1]).astype(jnp.float32)
        return {
            "best of four": best_of_k_accuracy(scores, test.target).mean(),
            "pairs": pair_accuracy(scores[:, 0] - scores[:, 1], right).mean(),
            "untrained": best_of_k_accuracy(score(start, test.obs[:, :, 0]), test.target).mean(),
            **{f"gold at {n}": values[i] for i, n in enumerate(BEST_OF)},
        }

    grid = jnp.asarray([(noise, count) for noise in NOISE for count in PAIRS])
    return jax.lax.map(one, (grid[:, 0], grid[:, 1].astype(int), jnp.arange(len(grid))))


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.jit(lambda seeds: jax.lax.map(lambda seed: models(seed, updates), seeds))(
        jnp.asarray(seeds, jnp.uint32)
    )
    found = {name: np.asarray(values, np.float64) for name, values in found.items()}
    samples = {}
    for measure in ("best of four", "pairs"):
        for n in BEST_OF:
            samples[f"{measure}, n = {n}"] = [
                float(np.asarray(scipy.stats.spearmanr(x, y))[0])
                for x, y in zip(found[measure], found[f"gold at {n}"], strict=True)
            ]
    samples["untrained"] = found["untrained"].mean(1).tolist()
    samples["least accuracy"] = found["best of four"].min(1).tolist()
    samples["highest accuracy"] = found["best of four"].max(1).tolist()
    return samples


CLAIM = Claim(
    name="reward_benchmark",
    title="RewardBench 2: Advancing Reward Model Evaluation",
    year=2025,
    cards=(197,),
    environment=f"{PROMPTS} prompts with pools of {ANSWERS} answers, gold reward with a bad and rare tail; 20 reward"
    " models for each gold reward",
    baseline="the same correlation at larger n; accuracy of models that have learned nothing",
    method="accuracy in naming the best of four answers",
    metric="Spearman correlation over reward models between accuracy and gold reward of the best of n",
    conditions=(
        Condition("best of four, n = 16: above 0.85", "best of four, n = 16", 0.85),
        Condition("best of four, n = 64: above 0.85", "best of four, n = 64", 0.85),
        Condition(
            "best of four: n = 16 above n = 512", "best of four, n = 16", "best of four, n = 512", 0.05, paired=True
        ),
        Condition("untrained, below 0.28", "untrained", 0.28, direction=-1),
        Condition("untrained, above 0.22", "untrained", 0.22),
    ),
    settings={"network": SIZES, "noise": NOISE, "pairs": PAIRS, "questions": QUESTIONS, "batch": 64},
    updates=600,
    steps_per_update=64,
    run=run,
)
