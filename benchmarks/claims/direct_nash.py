"""Direct Nash optimisation: the average of exact iterates plays well against everything, and samples improve steadily.

Two parts. With cyclic preferences, steps that reward an arm by its win rate against the last policy, solved exactly as
DNO's theory has them: their average approaches the Nash policy, the last one goes round in circles. Distance is the
duality gap of the game without regularisation, since the method has none.

With preferences that a reward explains, the practical algorithm: for each context the policy answers five times, a
sixth answer comes from an expert, a judge gives each its win rate among the six, and pairs with a margin train the next
policy by DPO with the last one as reference. Gold reward should rise in every iteration. Its beta, steps and rate were
chosen on seeds 0 to 9: a first choice, beta 0.5 and 50 steps at 0.05, was nearly done after two rounds and fell short
in the fourth.

Differs from the paper: bandits; exact win rates in place of a judge with six points; an expert that is the best of 16
answers of the reference in place of a large model.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.descent import descend
from rlx.envs.bandit import cyclic_bandit, feature_bandit
from rlx.policy import dpo_loss, duality_gap, nash_step, win_rate
from rlx.types import Array

ETA = 0.5  # of exact steps
CONTEXTS, SAMPLES, EXPERT = 64, 5, 16
ROUNDS = 5
BETA, MARGIN = 1.0, 0.1  # of the practical algorithm: temperature, and win rate by which a pair has to differ
STEPS, LEARNING_RATE = 20, 0.03
SCALE = 3.0  # of features in the policy


def practical(key: Array, steps: int) -> Array:
    """Expected gold reward before the first round and after each."""
    task_key, run_key = jax.random.split(key)
    params = feature_bandit(task_key, CONTEXTS)
    first, second = np.triu_indices(SAMPLES + 1, 1)

    def policy(theta: Array) -> Array:
        return jax.nn.log_softmax(params.log_reference + SCALE * params.feature @ theta)

    def gold(theta: Array) -> Array:
        return jnp.sum(jnp.exp(policy(theta)) * params.gold, -1).mean()

    def round_(theta: Array, key: Array) -> tuple[Array, Array]:
        own_key, expert_key = jax.random.split(key)
        last = policy(theta)
        own = jax.random.categorical(own_key, last, shape=(SAMPLES, CONTEXTS)).T
        drawn = jax.random.categorical(expert_key, params.log_reference, shape=(EXPERT, CONTEXTS)).T
        best = jnp.argmax(jnp.take_along_axis(params.gold, drawn, 1), 1, keepdims=True)
        arm = jnp.concatenate([own, jnp.take_along_axis(drawn, best, 1)], 1)
        context = jnp.arange(CONTEXTS)[:, None, None]
        rate = win_rate(params.preference[context, arm[:, :, None], arm[:, None]])
        ahead = rate[:, first] - rate[:, second]
        pair = jnp.stack([arm[:, first], arm[:, second]], -1)[..., None]  # [X, P, 2, 1]
        target, counted = (jnp.sign(ahead) + 1) / 2, jnp.abs(ahead) >= MARGIN

        def of_pairs(log_policy: Array) -> Array:
            return jnp.take_along_axis(log_policy[:, None, None], pair, -1)

        def loss(theta: Array, key: Array) -> Array:
            del key
            each = dpo_loss(of_pairs(policy(theta)), jnp.ones(pair.shape, bool), target, of_pairs(last), beta=BETA)
            return jnp.sum(each * counted) / jnp.maximum(jnp.sum(counted), 1)

        theta, _ = descend(loss, theta, jnp.zeros(steps), LEARNING_RATE)
        return theta, gold(theta)

    start = jnp.zeros(params.feature.shape[-1])
    _, after = jax.lax.scan(round_, start, jax.random.split(run_key, ROUNDS))
    return jnp.append(gold(start), after)


def exact(key: Array, steps: int) -> tuple[Array, Array]:
    """Duality gaps of the average and of the last policy."""
    params = cyclic_bandit(key)
    reference, preference = params.log_reference[0], params.preference[0]

    def step(log_policy: Array, _: None) -> tuple[Array, Array]:
        return nash_step(log_policy, preference, reference, eta=ETA), jnp.exp(log_policy)

    last, each = jax.lax.scan(step, reference, length=steps)
    average = jnp.log(each.mean(0))
    return duality_gap(average, preference, reference), duality_gap(last, preference, reference)


@functools.partial(jax.jit, static_argnames="updates")
@functools.partial(jax.vmap, in_axes=(0, None))
def trial(seed: Array, updates: int) -> dict[str, Array]:
    exact_key, practical_key = jax.random.split(jax.random.key(seed))
    average, last = exact(exact_key, updates)
    gold = practical(practical_key, max(1, updates * STEPS // 100))
    return {"average policy": average, "last policy": last} | {f"gold, round {i}": gold[i] for i in range(ROUNDS + 1)}


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = trial(np.asarray(seeds, np.uint32), updates)
    return {name: np.asarray(values).tolist() for name, values in found.items()}


CLAIM = Claim(
    name="direct_nash",
    title="Direct Nash Optimization: Teaching Language Models to Self-Improve with General Preferences",
    year=2024,
    cards=(63,),
    environment=f"bandits: ten arms with cyclic preferences, and {CONTEXTS} contexts of 64 arms with features",
    baseline="the last policy in place of the average; the policy of the round before",
    method="exact steps towards win rates; DPO on pairs ranked by win rate, against the last policy",
    metric="duality gap without regularisation after 100 exact steps; gold reward after each of five rounds, exact",
    conditions=(
        Condition("gap of the average policy below 0.05", "average policy", 0.05, direction=-1),
        Condition("gap of the last policy above 0.15", "last policy", 0.15),
        *(
            Condition(f"gold reward rises in round {i}", f"gold, round {i}", f"gold, round {i - 1}", paired=True)
            for i in range(1, ROUNDS + 1)
        ),
    ),
    settings={
        "eta": ETA,
        "samples": SAMPLES,
        "expert": EXPERT,
        "beta": BETA,
        "margin": MARGIN,
        "steps": STEPS,
        "learning_rate": LEARNING_RATE,
    },
    updates=100,
    steps_per_update=CONTEXTS * SAMPLES,
    run=run,
    seeds=range(1000, 1020),
)
