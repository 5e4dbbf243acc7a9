"""Weights that follow the gradients' agreement sweep the Pareto front, where fixed weights stay at one place of it.

A bandit stands in for the alignment of a language model: a response has an answer, a length and a format, and rewards
for accuracy, brevity and format. Longer answers are more often accurate, so accuracy and brevity conflict. The
policy is a product of three softmaxes for each context, whose expected rewards are known exactly; it learns by policy
gradients of sampled groups, as group-relative policy optimisation does.

Two things are measured. The archive is the set of all policies that a run visited, by the hypervolume of their expected
rewards. The last policy is what a run without an archive is left with: moving weights pay for the sweep there, as they
run on until one objective has all. The paper's ratio of learning rates, 0.1, moves nothing at this scale of gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.pareto import exponentiated_gradient, hypervolume
from rlx.types import Array, Weighting, WeightingStats

CONTEXTS, ANSWERS, LENGTHS, FORMATS = 32, 16, 4, 2
ACCURACY = jnp.array([0.25, 0.6, 0.9, 1.0])  # of the right answer, by length
BATCH, GROUP = 64, 8  # contexts in a batch, responses to each
LEARNING_RATE = 16.0  # 0.5 for each of 32 contexts
PREFERENCES = {"equal": (1 / 3, 1 / 3, 1 / 3), "brief": (0.2, 0.4, 0.4), "accurate": (0.6, 0.2, 0.2)}
STEP_SIZES = {"equal": 10.0, "brief": 50.0, "accurate": 10.0}  # of the weights, per unit of influence
MARGINS = {"equal": 0.1, "brief": 0.3, "accurate": 0.05}
REFERENCE = jnp.zeros(3)


class Policy(NamedTuple):
    """Logits of the independent parts of a response, for each context."""

    answer: Array  # [CONTEXTS, ANSWERS]
    length: Array  # [CONTEXTS, LENGTHS]
    format: Array  # [CONTEXTS, FORMATS]


def rewards(right: Array, response: Policy) -> Array:
    """`[..., 3]`: accuracy, brevity and format of responses, whose fields are indices `[...]`."""
    accuracy = (response.answer == right) * ACCURACY[response.length]
    return jnp.stack([accuracy, 1.0 - response.length / (LENGTHS - 1), response.format == 1], -1)


def expected_rewards(policy: Policy, right: Array) -> Array:
    """`[3]`: the mean over contexts of the exact expectation."""
    answer, length, format = (jax.nn.softmax(logits) for logits in policy)
    accuracy = jnp.take_along_axis(answer, right[:, None], 1)[:, 0] * (length @ ACCURACY)
    brevity = 1.0 - length @ jnp.arange(LENGTHS) / (LENGTHS - 1)
    return jnp.stack([accuracy, brevity, format[:, 1]], -1).mean(0)


def normalised(reward: Array) -> Array:
    """Advantages within each group, `[GROUP, BATCH, ...]`."""
    return (reward - reward.mean(0)) / (reward.std(0) + 1e-6)


def train(weighting: Weighting, seed: Array, updates: int, scaled: Array | bool = False) -> tuple[Array, Array]:
    """Hypervolumes of the archive and of the last policy; `scaled` multiplies advantages by the sum of the weights."""
    problem_key, run_key = jax.random.split(jax.random.key(seed))
    right = jax.random.randint(problem_key, (CONTEXTS,), 0, ANSWERS)
    policy = Policy(*(jnp.zeros((CONTEXTS, n)) for n in (ANSWERS, LENGTHS, FORMATS)))

    def update(carry: tuple[Policy, tuple], key: Array) -> tuple[tuple[Policy, tuple], Array]:
        policy, state = carry
        context_key, *keys = jax.random.split(key, 4)
        context = jax.random.randint(context_key, (BATCH,), 0, CONTEXTS)
        logits = Policy(*(x[context] for x in policy))
        response = Policy(
            *(jax.random.categorical(k, x, shape=(GROUP, BATCH)) for k, x in zip(keys, logits, strict=True))
        )
        reward = rewards(right[context], response)

        def gradient(advantage: Array) -> Policy:
            def objective(policy: Policy) -> Array:
                parts = (
                    jnp.take_along_axis(jax.nn.log_softmax(x[context])[None], index[..., None], -1)[..., 0]
                    for x, index in zip(policy, response, strict=True)
                )
                return jnp.mean(sum(parts) * advantage)

            return jax.grad(objective)(policy)

        flat = lambda tree: jnp.concatenate([x.ravel() for x in tree])  # noqa: E731
        own = jax.vmap(lambda advantage: flat(gradient(advantage)), -1)(normalised(reward))
        returns = reward.mean((0, 1))
        weights, state, _ = weighting.update(state, WeightingStats(returns, jnp.array(1.0), own @ own.T))
        factor = jnp.where(scaled, weights.sum(), 1.0)
        step = gradient(factor * normalised(reward @ weights))
        policy = jax.tree.map(lambda x, g: x + LEARNING_RATE * g, policy, step)
        return (policy, state), expected_rewards(policy, right)

    start = policy, weighting.init(3)
    _, visited = jax.lax.scan(update, start, jax.random.split(run_key, updates))
    return hypervolume(visited, REFERENCE), hypervolume(visited[-1:], REFERENCE)


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    def trained(preference: Array, step_size: Array, seed: Array) -> tuple[Array, Array]:
        return train(exponentiated_gradient(preference, step_size), seed, updates)

    arms = {f"{name}, fixed": (weights, 0.0) for name, weights in PREFERENCES.items()}
    arms |= {f"{name}, moving": (weights, STEP_SIZES[name]) for name, weights in PREFERENCES.items()}
    preferences, step_sizes = map(jnp.array, zip(*arms.values(), strict=True))
    over_seeds = jax.vmap(trained, (None, None, 0))
    found = jax.jit(jax.vmap(over_seeds, (0, 0, None)))(preferences, step_sizes, np.asarray(seeds, np.uint32))
    samples = {}
    for name, archive, last in zip(arms, *found, strict=True):
        samples |= {name: archive.tolist(), f"{name}: last policy": last.tolist()}
    return samples


CLAIM = Claim(
    name="gradient_weighting",
    title="Learning to Optimize Multi-Objective Alignment Through Dynamic Reward Weighting",
    year=2025,
    cards=(13,),
    environment=f"bandit of {CONTEXTS} contexts; a response has an answer, a length and a format; other right answers"
    " for each seed",
    baseline="group-relative policy gradients on rewards with fixed weights",
    method="weights that follow the influence of each reward's gradient, from the same start",
    metric="hypervolume, from zero, of the exact expected rewards of all policies that a run visits",
    conditions=tuple(
        Condition(
            f"hypervolume, over that of fixed weights: {name} preference",
            f"{name}, moving",
            f"{name}, fixed",
            margin,
            paired=True,
        )
        for name, margin in MARGINS.items()
    ),
    settings={
        "learning_rate": LEARNING_RATE,
        "batch": BATCH,
        "group": GROUP,
        "preferences": PREFERENCES,
        "weight_step_sizes": STEP_SIZES,
    },
    updates=400,
    steps_per_update=BATCH * GROUP,
    run=run,
    seeds=range(1000, 1020),
)
