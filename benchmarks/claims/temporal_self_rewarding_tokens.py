"""Whether temporal self-rewarding ends with better answers than self-rewarding, for a language model.

`temporal_self_rewarding` shows on bandits that the gap between chosen and rejected answers is kept; better answers are
the paper's other point, and a matter of generalisation. Here a recurrent network answers the prompts of the tiny token
task, and a judge adds a fixed error to each completion's score. In each of four rounds groups of eight answers become
pairs for DPO, with the policy at the start of the round as reference: best and worst of the policy's own, or the worst
of the first policy's with the best of the policy's and of a provisional next policy's.

The provisional policy costs as much training as a round, so the comparison is made both after as many rounds and after
as much training: two rounds of temporal self-rewarding with four of self-rewarding.

Differs from the paper: the judge is not the model itself.

Nothing was tuned: the settings are first guesses, tried on seeds 0 to 2 with 40 steps in each training.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.descent import descend
from benchmarks.claims.token_policies import (
    ENV,
    Pairs,
    Task,
    draw,
    each_seed,
    expected,
    log_policy,
    nats,
    pair_loss,
    some,
    task,
    token_log_prob,
)
from rlx.policy import anchored_future_pairs, best_worst_pair
from rlx.types import Array, PyTree

GROUPS, SAMPLES = 16, 8  # for each prompt in a round, answers in a group
NOISE = 0.3  # standard deviation of the judge's error
ROUNDS = 4
BETA, BATCH, LEARNING_RATE = 0.1, 64, 2e-3
METHODS = ("self", "temporal")


def rounds(key: Array, problem: Task, judge: Array, steps: int, method: str) -> tuple[Array, PyTree]:
    """The gap of the pairs of each round, and parameters after it."""

    def answers(key: Array, params: PyTree) -> tuple[Array, Array]:
        """Completions `[X, GROUPS, SAMPLES]` and their scores."""
        index = draw(key, log_policy(params, problem.prompt), (GROUPS, SAMPLES))
        return index, jax.vmap(lambda s, i: s[i])(judge, index)

    def train(key: Array, params: PyTree, index: Array, gap: Array) -> PyTree:
        flat = index.reshape(-1, 2)
        row = jnp.repeat(jnp.arange(len(problem.prompt)), GROUPS)
        target = jnp.where(gap.ravel() > 0, 1.0, 0.5)
        pairs = Pairs(row, flat, target, token_log_prob(params, problem.prompt[row], flat))
        keys = jax.random.split(key, (1, steps))
        loss = lambda params, key: pair_loss(params, problem.prompt, some(pairs, key, BATCH), beta=BETA)  # noqa: E731
        return descend(loss, params, keys, LEARNING_RATE)[0]

    def round_(params: PyTree, key: Array) -> tuple[PyTree, tuple[Array, PyTree]]:
        own_key, past_key, future_key, train_key, next_key = jax.random.split(key, 5)
        present, score = answers(own_key, params)
        if method == "self":
            pair, index = best_worst_pair(score), present
        else:
            past, past_score = answers(past_key, problem.params)
            index = jnp.concatenate([past, present], -1)
            first = anchored_future_pairs(past_score, score, score[..., :0])
            provisional = train(next_key, params, jnp.take_along_axis(index, first.index, -1), first.gap)
            future, future_score = answers(future_key, provisional)
            index = jnp.concatenate([index, future], -1)
            pair = anchored_future_pairs(past_score, score, future_score)
        params = train(train_key, params, jnp.take_along_axis(index, pair.index, -1), pair.gap)
        return params, (pair.gap.mean(), params)

    return jax.lax.scan(round_, problem.params, jax.random.split(key, ROUNDS))[1]


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    def one(key: Array) -> dict[str, Array]:
        task_key, noise_key, run_key = jax.random.split(key, 3)
        problem = task(task_key)
        gold = problem.gold @ ENV.default_params.weight
        judge = gold + NOISE * jax.random.normal(noise_key, gold.shape)
        found = {"reference": expected(problem.log_reference, gold)}
        for method in METHODS:
            gap, params = rounds(run_key, problem, judge, updates, method)
            policies = jax.lax.map(lambda p: log_policy(p, problem.prompt), params)
            for i, policy in enumerate(policies):
                found |= {
                    f"{method}: gap, round {i + 1}": gap[i],
                    f"{method}: gold after round {i + 1}": expected(policy, gold),
                    f"{method}: judged after round {i + 1}": expected(policy, judge),
                    f"{method}: divergence after round {i + 1}": nats(policy, problem.log_reference),
                }
        return found

    return each_seed(one, seeds)


CLAIM = Claim(
    name="temporal_self_rewarding_tokens",
    title="Temporal Self-Rewarding Language Models: Decoupling Chosen-Rejected via Past-Future",
    year=2025,
    cards=(116,),
    environment="tiny token task, 8 prompts, a judge with a fixed error for each completion",
    baseline="self-rewarding: best and worst of the policy's own answers",
    method="temporal self-rewarding: worst of the first policy's, best of the present and a provisional next policy's",
    metric="gold score, exact; gap in the judge's score between chosen and rejected",
    conditions=(
        Condition(
            f"gold after {ROUNDS} rounds",
            f"temporal: gold after round {ROUNDS}",
            f"self: gold after round {ROUNDS}",
            paired=True,
        ),
        Condition(
            f"gold after as much training: {ROUNDS // 2} rounds against {ROUNDS}",
            f"temporal: gold after round {ROUNDS // 2}",
            f"self: gold after round {ROUNDS}",
            paired=True,
        ),
        Condition(
            f"gap of round {ROUNDS}",
            f"temporal: gap, round {ROUNDS}",
            f"self: gap, round {ROUNDS}",
            paired=True,
        ),
    ),
    settings={
        "groups": GROUPS,
        "samples": SAMPLES,
        "noise": NOISE,
        "beta": BETA,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
    },
    updates=60,  # gradient steps in each training of a policy
    steps_per_update=BATCH * ROUNDS,
    run=run,
    seeds=range(1000, 1020),
)
