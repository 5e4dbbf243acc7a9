"""A little optimism finds answers that the reference hardly gives; much of it harms.

Of 32 arms the best, by far, has a probability of 2e-4 under the reference. In each of 30 rounds eight pairs, one arm
from the policy and one from the reference, get labels by Bradley and Terry's law, and the policy, a table of logits, is
fitted by DPO to all pairs so far plus the optimistic term `alpha beta E_ref log p`, which lowers the likelihood of what
the reference answers. Without the term (alpha = 0) it is online DPO.

A seed is 16 problems, of which the share is counted whose policy gives the best arm more than 0.3. The values of alpha
are those of an earlier experiment, the rate and the steps per round a first choice; nothing was tuned.

On the judging seeds much optimism finds the arm in 2% of the problems and none in 4%: the harm is no more than what
moderate optimism had gained, which leaves the second condition undecided.

Differs from the paper: the reference stays what it was, and a pair is not the best and the worst of three.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.arms import as_sequences
from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.descent import descend
from rlx.envs.bandit import categorical_queries, sparse_bandit
from rlx.policy import dpo_loss, value_bias_term
from rlx.types import Array

BETA = 0.1
ROUNDS, PAIRS = 30, 8
PROBLEMS = 16  # of a seed
LEARNING_RATE = 0.05
ALPHAS = (0.0, 0.01, 0.03, 0.1, 0.3)
FOUND = 0.3  # probability of the best arm


def explore(key: Array, alpha: Array, steps: int, behaviour: Callable[[Array, Array], tuple[Array, Array]]) -> Array:
    """The policy after all rounds; `behaviour` says from the policy and the reference what draws a pair."""
    task_key, run_key = jax.random.split(key)
    params = sparse_bandit(task_key)
    reference = params.log_reference[0]
    every = jnp.arange(len(reference))[:, None]

    def loss(logits: Array, _: Array, arm: Array, target: Array, seen: Array) -> Array:
        log_policy = jax.nn.log_softmax(logits)
        pairs = dpo_loss(*as_sequences(log_policy, arm), target, reference[arm][..., None], beta=BETA)
        single = value_bias_term(log_policy[every], jnp.ones(every.shape, bool), coefficient=alpha * BETA)
        return jnp.sum(pairs * seen) / jnp.sum(seen) + jnp.exp(reference) @ single

    def round_(carry: tuple[Array, Array, Array], x: tuple[Array, Array]) -> tuple[tuple[Array, Array, Array], None]:
        (logits, arms, targets), (key, i) = carry, x
        first, second = behaviour(jax.nn.log_softmax(logits), reference)
        data = categorical_queries(params, key, PAIRS, (first[None], second[None]))
        assert data.action is not None
        arms = jax.lax.dynamic_update_slice(arms, data.action[..., 0], (i * PAIRS, 0))
        targets = jax.lax.dynamic_update_slice(targets, data.target[:, 0], (i * PAIRS,))
        seen = (jnp.arange(ROUNDS * PAIRS) < (i + 1) * PAIRS).astype(targets.dtype)
        used = functools.partial(loss, arm=arms, target=targets, seen=seen)
        logits, _ = descend(used, logits, jnp.zeros(steps), LEARNING_RATE)
        return (logits, arms, targets), None

    start = reference, jnp.zeros((ROUNDS * PAIRS, 2), jnp.int32), jnp.zeros(ROUNDS * PAIRS)
    (logits, _, _), _ = jax.lax.scan(round_, start, (jax.random.split(run_key, ROUNDS), jnp.arange(ROUNDS)))
    return jax.nn.log_softmax(logits)


@functools.partial(jax.jit, static_argnames=("updates", "behaviour"))
@functools.partial(jax.vmap, in_axes=(0, None, None))
def shares(seed: Array, updates: int, behaviour: Callable[[Array, Array], tuple[Array, Array]]) -> tuple[Array, Array]:
    """For each alpha the share of problems whose best arm was found, and the mean probability of that arm."""
    keys = jax.random.split(jax.random.key(seed), PROBLEMS)
    one = functools.partial(explore, steps=updates, behaviour=behaviour)
    each = jax.vmap(lambda alpha: jax.vmap(lambda key: one(key, alpha))(keys))(jnp.array(ALPHAS))
    best = jnp.exp(each[..., 0])
    return (best > FOUND).mean(-1), best.mean(-1)


def policy_and_reference(policy: Array, reference: Array) -> tuple[Array, Array]:
    return policy, reference


def run(
    seeds: Sequence[int],
    updates: int,
    behaviour: Callable[[Array, Array], tuple[Array, Array]] = policy_and_reference,
) -> dict[str, list[float]]:
    found, probability = (np.asarray(x) for x in shares(np.asarray(seeds, np.uint32), updates, behaviour))
    samples = {f"found, alpha {a:g}": found[:, i].tolist() for i, a in enumerate(ALPHAS)}
    return samples | {f"probability, alpha {a:g}": probability[:, i].tolist() for i, a in enumerate(ALPHAS)}


CLAIM = Claim(
    name="self_exploring",
    title="Self-Exploring Language Models: Active Preference Elicitation for Online Alignment",
    year=2024,
    cards=(62,),
    environment=f"bandit of 32 arms, the best one almost absent from the reference; {PROBLEMS} problems for each seed",
    baseline="online DPO",
    method="online DPO with an optimistic term, alpha 0.03",
    metric=f"share of problems where the best arm gets more than {FOUND}",
    conditions=(
        Condition("alpha 0.03 above none", "found, alpha 0.03", "found, alpha 0", paired=True),
        Condition("alpha 0.3 below none", "found, alpha 0.3", "found, alpha 0", direction=-1, paired=True),
    ),
    settings={"beta": BETA, "rounds": ROUNDS, "pairs": PAIRS, "learning_rate": LEARNING_RATE, "alphas": ALPHAS},
    updates=40,  # gradient steps in each round
    steps_per_update=1,
    run=run,
    seeds=range(1000, 1020),
)
