"""A model that judges its own answers runs out of contrast; rejecting the first model's answers keeps it.

64 contexts of 64 arms with features, a policy linear in the features, and a judge that adds a fixed error of 0.5 to
each arm's gold reward. In each of five rounds eight answers to each context become a pair for DPO, with the policy at
the start of the round as reference. Self-rewarding takes the best and the worst of its own answers, whose scores draw
level as the policy improves. Temporal self-rewarding rejects the worst of the first policy's answers, and chooses the
best of the policy's and of a provisional next policy's, which is trained for one round first.

Judged is the gap in the judge's score. The paper's other point, better final answers, is reported: gold reward as a
share of the best arms'. It is a matter of generalisation, which a linear policy hardly has.

On the judging seeds self-rewarding reaches 0.95 of the best arms' gold in the fifth round, temporal self-rewarding
0.84: of the better answers nothing is seen here.

Differs from the paper: bandits in place of a language model that is its own judge; the provisional policy's training
comes on top, at as many rounds for either method.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.descent import descend
from rlx.envs.bandit import feature_bandit
from rlx.policy import anchored_future_pairs, best_worst_pair, dpo_loss
from rlx.types import Array

CONTEXTS, SAMPLES = 64, 8
NOISE = 0.5
ROUNDS = 5
BETA, LEARNING_RATE = 0.1, 0.05
SCALE = 3.0  # of features in the policy
METHODS = ("self", "anchored", "temporal")


def rounds(key: Array, steps: int, method: str) -> tuple[Array, Array]:
    """Gap of the pairs of each round, and gold reward after it as a share of the best arms'."""
    task_key, noise_key, run_key = jax.random.split(key, 3)
    params = feature_bandit(task_key, CONTEXTS, clean=True)
    judge = params.gold + NOISE * jax.random.normal(noise_key, params.gold.shape)

    def policy(theta: Array) -> Array:
        return jax.nn.log_softmax(params.log_reference + SCALE * params.feature @ theta)

    def answers(theta: Array, key: Array) -> Array:
        return jax.random.categorical(key, policy(theta), shape=(SAMPLES, CONTEXTS)).T

    def scores(arm: Array) -> Array:
        return jnp.take_along_axis(judge, arm, 1)

    def train(theta: Array, arm: Array, gap: Array) -> Array:
        last = policy(theta)
        pick = lambda log_policy: jnp.take_along_axis(log_policy, arm, 1)[..., None]  # noqa: E731

        def loss(now: Array, key: Array) -> Array:
            del key
            each = dpo_loss(
                pick(policy(now)), jnp.ones((*arm.shape, 1), bool), jnp.ones(CONTEXTS), pick(last), beta=BETA
            )
            return jnp.sum(each * (gap > 0)) / jnp.maximum(jnp.sum(gap > 0), 1)

        return descend(loss, theta, jnp.zeros(steps), LEARNING_RATE)[0]

    def round_(theta: Array, key: Array) -> tuple[Array, tuple[Array, Array]]:
        own_key, past_key, future_key = jax.random.split(key, 3)
        present, past = answers(theta, own_key), answers(0 * theta, past_key)
        if method == "self":
            pair, arm = best_worst_pair(scores(present)), present
        else:
            arm = jnp.concatenate([past, present], 1)
            pair = anchored_future_pairs(scores(past), scores(present), jnp.zeros((CONTEXTS, 0)))
        if method == "temporal":
            provisional = train(theta, jnp.take_along_axis(arm, pair.index, 1), pair.gap)
            future = answers(provisional, future_key)
            arm = jnp.concatenate([past, present, future], 1)
            pair = anchored_future_pairs(scores(past), scores(present), scores(future))
        theta = train(theta, jnp.take_along_axis(arm, pair.index, 1), pair.gap)
        gold = jnp.sum(jnp.exp(policy(theta)) * params.gold, -1).mean() / params.gold.max(1).mean()
        return theta, (pair.gap.mean(), gold)

    start = jnp.zeros(params.feature.shape[-1])
    return jax.lax.scan(round_, start, jax.random.split(run_key, ROUNDS))[1]


@functools.partial(jax.jit, static_argnames=("updates", "method"))
@functools.partial(jax.vmap, in_axes=(0, None, None))
def trial(seed: Array, updates: int, method: str) -> dict[str, Array]:
    gap, gold = rounds(jax.random.key(seed), updates, method)
    found = {f"gap, round {i + 1}": gap[i] for i in range(ROUNDS)}
    return found | {f"gold, round {i + 1}": gold[i] for i in range(ROUNDS)} | {"gap kept": gap[-1] / gap[0]}


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    samples = {}
    for method in METHODS:
        found = trial(np.asarray(seeds, np.uint32), updates, method)
        samples |= {f"{method}: {name}": np.asarray(values).tolist() for name, values in found.items()}
    return samples


CLAIM = Claim(
    name="temporal_self_rewarding",
    title="Temporal Self-Rewarding Language Models: Decoupling Chosen-Rejected via Past-Future",
    year=2025,
    cards=(116,),
    environment=f"bandit of {CONTEXTS} contexts with 64 arms each, a policy linear in features, a noisy judge",
    baseline="self-rewarding: best and worst of the policy's own answers",
    method="temporal self-rewarding: worst of the first policy's, best of the present and a provisional next policy's",
    metric="gap in the judge's score between chosen and rejected; share of it left in the fifth round; gold reward",
    conditions=(
        Condition("self-rewarding keeps less than half of its gap", "self: gap kept", 0.5, direction=-1),
        Condition("temporal self-rewarding keeps more than nine tenths", "temporal: gap kept", 0.9),
        Condition(
            "the fifth round's gap is the larger one",
            "temporal: gap, round 5",
            "self: gap, round 5",
            margin=1.0,
            paired=True,
        ),
    ),
    settings={
        "samples": SAMPLES,
        "noise": NOISE,
        "beta": BETA,
        "learning_rate": LEARNING_RATE,
        "scale": SCALE,
    },
    updates=50,  # gradient steps in each training of a policy
    steps_per_update=CONTEXTS * SAMPLES * ROUNDS,
    run=run,
    seeds=range(1000, 1020),
)
