"""Where preferences are not transitive, self-play with a reference in the loss converges; iterated DPO does not.

Ten arms with cyclic preferences. Each iteration draws 2000 pairs from the last policy, labels them, and fits a new
policy: INPO by a square loss whose reference mixes the reference policy and the last one, solved exactly (it is
quadratic in the logits); the baseline by DPO with the reference policy, in 300 steps. Distance from the Nash policy of
the regularised game is its duality gap, exact; the last iterates count, not their average. The step that INPO's loss
stands for, with expectations in place of samples, is reported too. Nothing was tuned.

Of the twenty games that judged, two converge slowly: there the exact steps, too, have a gap of 0.04 and 0.008 at the
end, and with them the mean's interval reaches the limit.

Differs from the paper: a table of logits for a language model, and preferences known instead of a preference model.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.arms import as_sequences
from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.descent import descend
from rlx.envs.bandit import categorical_queries, cyclic_bandit
from rlx.policy import dpo_loss, duality_gap, geometric_reference, ipo_loss, nash_step
from rlx.types import Array

TAU, ETA = 0.05, 0.5
BETA = 0.1  # of DPO
PAIRS = 2000
RIDGE = 1e-6
DPO_STEPS, LEARNING_RATE = 300, 0.05
LAST = 20  # iterations that are averaged


@functools.partial(jax.jit, static_argnames="updates")
@functools.partial(jax.vmap, in_axes=(0, None))
def gaps(seed: Array, updates: int) -> dict[str, Array]:
    task_key, run_key = jax.random.split(jax.random.key(seed))
    params = cyclic_bandit(task_key)
    reference, preference = params.log_reference[0], params.preference[0]
    gap = functools.partial(duality_gap, preference=preference, log_reference=reference, temperature=TAU)

    every = jnp.stack(jnp.meshgrid(*(jnp.arange(len(reference)),) * 2, indexing="ij"), -1)  # [A, A, 2]

    def draw(log_policy: Array, key: Array) -> tuple[Array, Array]:
        """For each pair of arms how often, as a share, and how often of these the first won."""
        data = categorical_queries(params, key, PAIRS, (log_policy[None], log_policy[None]))
        assert data.action is not None
        first, second = data.action[:, 0, 0], data.action[:, 1, 0]
        zeros = jnp.zeros(preference.shape)
        number, wins = zeros.at[first, second].add(1.0), zeros.at[first, second].add(data.target[:, 0])
        return number / PAIRS, wins / jnp.maximum(number, 1)

    def inpo(log_policy: Array, key: Array) -> tuple[Array, Array]:
        share, target = draw(log_policy, key)
        other, _ = as_sequences(geometric_reference(reference, log_policy, TAU / ETA), every)

        def loss(logits: Array) -> Array:
            each = ipo_loss(*as_sequences(jax.nn.log_softmax(logits), every), target, other, tau=ETA)
            return jnp.sum(share * each) + RIDGE * jnp.sum(jnp.square(logits - log_policy))

        slope, curvature = jax.grad(loss)(log_policy), jax.hessian(loss)(log_policy)
        damping = RIDGE * jnp.eye(len(slope))  # a constant in the logits has no effect
        now = jax.nn.log_softmax(log_policy - jnp.linalg.solve(curvature + damping, slope))
        return now, gap(now)

    def dpo(log_policy: Array, key: Array) -> tuple[Array, Array]:
        share, target = draw(log_policy, key)
        other, _ = as_sequences(reference, every)

        def loss(logits: Array, key: Array) -> Array:
            del key
            each = dpo_loss(*as_sequences(jax.nn.log_softmax(logits), every), target, other, beta=BETA)
            return jnp.sum(share * each)

        logits, _ = descend(loss, log_policy, jnp.zeros(DPO_STEPS), LEARNING_RATE)
        now = jax.nn.log_softmax(logits)
        return now, gap(now)

    def exact(log_policy: Array, key: Array) -> tuple[Array, Array]:
        del key
        now = nash_step(log_policy, preference, reference, eta=ETA, temperature=TAU)
        return now, gap(now)

    keys = jax.random.split(run_key, updates)
    found = {"at the start": gap(reference)}
    for name, step in (("INPO", inpo), ("iterated DPO", dpo), ("exact steps", exact)):
        _, each = jax.lax.scan(step, reference, keys)
        found[name] = each[-LAST:].mean()
        found[f"{name}, one iteration"] = each[0]
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = gaps(np.asarray(seeds, np.uint32), updates)
    return {name: np.asarray(values).tolist() for name, values in found.items()}


CLAIM = Claim(
    name="nash_last_iterate",
    title="Iterative Nash Policy Optimization: Aligning LLMs with General Preferences via No-Regret Learning",
    year=2025,
    cards=(74,),
    environment="bandit of ten arms with cyclic preferences, others for each seed",
    baseline="iterated DPO with a fixed reference",
    method=f"INPO, tau {TAU}, eta {ETA}",
    metric=f"duality gap of the regularised game, exact, mean over the last {LAST} iterations",
    conditions=(
        Condition("gap of the last iterates below 0.01", "INPO", 0.01, direction=-1),
        Condition("iterated DPO's is higher", "INPO", "iterated DPO", margin=0.1, direction=-1, paired=True),
    ),
    settings={"pairs": PAIRS, "beta": BETA, "steps": DPO_STEPS, "learning_rate": LEARNING_RATE},
    updates=60,
    steps_per_update=PAIRS,
    run=run,
    seeds=range(1000, 1020),
)
