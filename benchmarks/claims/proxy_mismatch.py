"""A reward model's accuracy, the reward it pays and the gold reward are only loosely linked.

Twelve reward models of different quality are trained for each seed, on 8 to 128 comparisons for each prompt of the
tiny token task, of which up to 30% are labelled wrong. Each scores a completion by the sum of what a recurrent network
says of its tokens. A policy is trained on each by policy gradients with the other answers to a prompt as baseline, and
read in the course of it: its expected proxy and gold scores are exact.

Differs from the paper, which takes a position and reports no experiment: the figures are the project's own reading of
it.

Nothing was tuned: the settings are first guesses, and were left as they are after one look at seeds 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.descent import descend
from benchmarks.claims.token_policies import (
    ENV,
    compare,
    each_seed,
    expected,
    fit_reward,
    log_policy,
    nats,
    policy_gradient,
    standard,
    task,
)
from rlx.policy import objective_mismatch
from rlx.reward import pair_accuracy
from rlx.types import Array, PyTree

NUMBERS = (8, 32, 128)  # of comparisons for each prompt
MOST = max(NUMBERS)
WRONG = (0.0, 0.1, 0.2, 0.3)  # share of labels
REWARD_STEPS = 100
BATCH, LEARNING_RATE = 64, 3e-3
BETA = 0.05
RECORDS = 6
TEST = 256  # pairs for each prompt, to measure accuracy on


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    number, wrong = (x.ravel() for x in jnp.meshgrid(jnp.array(NUMBERS), jnp.array(WRONG)))

    def one(key: Array) -> dict[str, Array]:
        task_key, test_key, run_key = jax.random.split(key, 3)
        problem = task(task_key)
        gold = problem.gold @ ENV.default_params.weight
        test = compare(test_key, problem, gold, TEST)
        decided = test.target != 0.5

        def of_model(given: tuple[Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
            """Its accuracy, and in the course of the policy's training proxy and gold reward and divergence."""
            key, number, wrong = given
            pair_key, flip_key, drop_key, prompt_key, fit_key, run_key = jax.random.split(key, 6)
            pairs = compare(pair_key, problem, gold, MOST)
            row = jax.random.randint(drop_key, (BATCH * REWARD_STEPS,), 0, number)  # of the first so many of a prompt
            row += MOST * jax.random.randint(prompt_key, row.shape, 0, len(problem.prompt))
            flip = jax.random.uniform(flip_key, pairs.target.shape) < wrong
            pairs = pairs._replace(target=jnp.where(flip, 1 - pairs.target, pairs.target))
            known = jax.tree.map(lambda x: x[row], pairs)
            proxy = fit_reward(
                fit_key, problem.prompt, known, steps=REWARD_STEPS, batch=BATCH, learning_rate=LEARNING_RATE
            )
            first, second = (proxy[test.row, test.index[:, side]] for side in (0, 1))
            right = pair_accuracy(first - second, test.target)
            accuracy = jnp.sum(jnp.where(decided, right, 0)) / jnp.sum(decided)
            proxy = standard(proxy, problem)

            def record(params: PyTree) -> tuple[Array, Array, Array]:
                now = log_policy(params, problem.prompt)
                return expected(now, proxy), expected(now, gold), nats(now, problem.log_reference)

            def loss(params: PyTree, key: Array) -> Array:
                return policy_gradient(params, key, problem, proxy, beta=BETA, batch=BATCH // 2)

            keys = jax.random.split(run_key, (RECORDS, max(updates // RECORDS, 1)))
            _, path = descend(loss, problem.params, keys, LEARNING_RATE, record)
            return accuracy, *path

        runs = jax.random.split(run_key, len(number)), number, wrong
        accuracy, proxy, reached, far = jax.lax.map(of_model, runs)
        report = objective_mismatch(accuracy, proxy, reached)
        start = expected(problem.log_reference, gold)
        best = jnp.argmax(reached, 1)
        after = jnp.arange(RECORDS) >= best[:, None]
        falls = (report.peak_gap > 0.05 * (reached.max(1) - start)) & (best < RECORDS - 1)
        return {
            "correlation of accuracy and gold": report.accuracy_gold,
            "correlation of accuracy and proxy": report.accuracy_proxy,
            "correlation of proxy and gold": report.proxy_gold,
            "correlation of proxy and gold within a run": report.within.mean(),
            "share of runs in which proxy and gold part": _part(proxy, reached, after),
            "share of runs that lose a twentieth of the gain": falls.mean(),
            "gold lost at the proxy's peak": report.peak_gap.mean(),
            "accuracy": accuracy.mean(),
            "gold at the start": start,
            "gold at the end": reached[:, -1].mean(),
            "gold at the end, best model": reached[jnp.argmax(accuracy), -1],
            "divergence": far[:, -1].mean(),
        }

    return each_seed(one, seeds)


def _part(proxy: Array, gold: Array, after: Array) -> Array:
    """The share of runs whose rewards have a negative correlation from the gold reward's peak on."""

    def covariance(proxy: Array, gold: Array, after: Array) -> Array:
        share = after / jnp.sum(after)
        return share @ ((proxy - share @ proxy) * (gold - share @ gold))

    return jnp.mean(jax.vmap(covariance)(proxy, gold, after) < 0)


CLAIM = Claim(
    name="proxy_mismatch",
    title="The Alignment Ceiling: Objective Mismatch in Reinforcement Learning from Human Feedback",
    year=2023,
    cards=(48,),
    environment="tiny token task, 8 prompts; 12 reward models of 8 to 128 comparisons a prompt, up to 30% wrong",
    baseline="perfect correlation of 0.9 and more; rewards that rise together",
    method="a policy for each reward model, by policy gradients with a leave-one-out baseline",
    metric="rank correlation, over reward models, of accuracy and final gold reward; share of runs in which proxy and"
    " gold reward have a negative covariance after the gold reward's peak; exact",
    conditions=(
        Condition(
            "correlation of accuracy and gold reward, under 0.9", "correlation of accuracy and gold", 0.9, direction=-1
        ),
        Condition("it is above 0", "correlation of accuracy and gold", 0.0),
        Condition(
            "proxy and gold part after the peak in over a quarter of runs",
            "share of runs in which proxy and gold part",
            0.0,
            margin=0.25,
        ),
    ),
    settings={
        "numbers": NUMBERS,
        "wrong": WRONG,
        "reward_steps": REWARD_STEPS,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "beta": BETA,
    },
    updates=96,
    steps_per_update=BATCH * len(NUMBERS) * len(WRONG),
    run=run,
)
