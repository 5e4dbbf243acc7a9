"""Better labels matter more than the algorithm, and policy gradients on a reward model do at least as well as DPO.

All of a recipe is varied on sixteen prompts of the tiny token task, of which eight have comparisons: three tenths of
the labels are wrong, or none; DPO, or policy gradients with the other answers as baseline on a learned reward model;
a small reward model or one of the policy's size; and policy gradients with answers to the labelled prompts, or to all.
The gold score is exact, and the mean over all sixteen prompts.

Effects are differences of means over the rest of the matrix, each of a seed: of the labels (clean less wrong), the
algorithm (policy gradients, with the large reward model and the labelled prompts, less DPO), the reward model's size
and the additional prompts.

Differs from the paper: RLOO in place of PPO with a value network.

Tuned on seeds 0 and 1: scores in units of all completions, and a price of 0.05, let policies run eight nats away on
wrong labels; the units are those of the reference's answers since then, and the price 0.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.descent import descend
from benchmarks.claims.token_policies import (
    ENV,
    MODEL,
    compare,
    each_seed,
    expected,
    fit_reward,
    log_policy,
    nats,
    pair_loss,
    policy_gradient,
    some,
    standard,
    task,
)
from rlx.nets.language import GRULM
from rlx.types import Array, PyTree

PROMPTS, LABELLED = 16, 8
PAIRS = 128  # for each labelled prompt
WRONG = (0.0, 0.3)  # share of labels
SMALL = GRULM(MODEL.vocabulary, width=8, depth=1)
BATCH, LEARNING_RATE = 64, 2e-3
REWARD_RATE = 5e-3
BETA = 0.1  # DPO's
PRICE = 0.3  # of a nat, in policy gradients; the reference's scores have a standard deviation of 1
ARMS = {"RLOO, small": (SMALL, LABELLED), "RLOO": (MODEL, LABELLED), "RLOO, more prompts": (MODEL, PROMPTS)}


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    def one(key: Array) -> dict[str, Array]:
        task_key, pair_key, flip_key, fit_key, run_key = jax.random.split(key, 5)
        problem = task(task_key, PROMPTS)
        gold = problem.gold @ ENV.default_params.weight
        labelled = problem._replace(prompt=problem.prompt[:LABELLED], log_reference=problem.log_reference[:LABELLED])
        pool = compare(pair_key, labelled, gold[:LABELLED], PAIRS)
        keys = jax.random.split(run_key, (1, updates))

        def cells(wrong: Array) -> dict[str, tuple[Array, Array, Array]]:
            """Score, rightness of sums and divergence of the policy of each algorithm."""
            flip = jax.random.uniform(flip_key, pool.target.shape) < wrong
            pairs = pool._replace(target=jnp.where(flip, 1 - pool.target, pool.target))

            def read(params: PyTree) -> tuple[Array, Array, Array]:
                now = log_policy(params, problem.prompt)
                return expected(now, gold), expected(now, problem.gold[..., 0]), nats(now, problem.log_reference)

            def direct(params: PyTree, key: Array) -> Array:
                return pair_loss(params, problem.prompt, some(pairs, key, BATCH), beta=BETA)

            found = {"DPO": read(descend(direct, problem.params, keys, LEARNING_RATE)[0])}
            tables = {
                model: fit_reward(
                    fit_key,
                    problem.prompt,
                    pairs,
                    steps=updates,
                    batch=BATCH,
                    learning_rate=REWARD_RATE,
                    model=model,
                )
                for model in (SMALL, MODEL)
            }
            for name, (model, prompts) in ARMS.items():
                table = standard(tables[model], problem)

                def online(params: PyTree, key: Array, table: Array = table, prompts: int = prompts) -> Array:
                    asked = problem._replace(prompt=problem.prompt[:prompts])
                    return policy_gradient(params, key, asked, table, beta=PRICE, batch=BATCH // 2)

                found[name] = read(descend(online, problem.params, keys, LEARNING_RATE)[0])
            return found

        values = jax.lax.map(cells, jnp.array(WRONG))
        found = {"reference": expected(problem.log_reference, gold)}
        for name, (score, right, far) in values.items():
            for i, labels in enumerate(("clean", "wrong")):
                found |= {f"{name}, {labels}": score[i], f"{name}, {labels}: sums": right[i]}
                found[f"{name}, {labels}: divergence"] = far[i]
        mean = {name: score.mean() for name, (score, _, _) in values.items()}
        return found | {
            "effect of labels": jnp.mean(jnp.stack([score[0] - score[1] for score, _, _ in values.values()])),
            "effect of the algorithm": mean["RLOO"] - mean["DPO"],
            "size of the algorithm's effect": jnp.abs(mean["RLOO"] - mean["DPO"]),
            "effect of the reward model's size": mean["RLOO"] - mean["RLOO, small"],
            "effect of more prompts": mean["RLOO, more prompts"] - mean["RLOO"],
        }

    return each_seed(one, seeds)


CLAIM = Claim(
    name="recipe_matrix",
    title="Unpacking DPO and PPO: Disentangling Best Practices for Learning from Preference Feedback",
    year=2024,
    cards=(169,),
    environment="tiny token task, 16 prompts, 8 of them with comparisons",
    baseline="the other settings of a recipe",
    method="labels, algorithm, size of the reward model and prompts, varied together",
    metric="gold score, exact; differences of means over the rest of the matrix",
    conditions=(
        Condition(
            "the effect of labels is larger than the algorithm's",
            "effect of labels",
            "size of the algorithm's effect",
            paired=True,
        ),
        Condition(
            "clean labels: sums are right at least as often by policy gradients, less 0.01",
            "RLOO, clean: sums",
            "DPO, clean: sums",
            margin=-0.01,
            paired=True,
        ),
        Condition(
            "the algorithm's effect is larger than that of the reward model's size",
            "effect of the algorithm",
            "effect of the reward model's size",
            paired=True,
        ),
    ),
    settings={
        "pairs": PAIRS,
        "wrong": WRONG,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "reward_learning_rate": REWARD_RATE,
        "beta": BETA,
        "price": PRICE,
    },
    updates=300,  # of each policy, and of each reward model
    steps_per_update=BATCH,
    run=run,
)
