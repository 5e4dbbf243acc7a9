"""One policy that is shown a direction in reward space serves users who trade accuracy against length differently.

The bandit of `gradient_weighting` stands in for a language model: longer answers are more often right, and some users
want short ones. A user is a direction `(cos a, sin a)`, `a` from -45 degrees (as little length as much accuracy) to 0
(accuracy alone), and the reward of a response `(accuracy, length)` is its product with the direction.

Training is by rejection sampling, in iterations: for a context and a direction drawn at random the policy of the last
iteration answers several times, and the new policy imitates the answer of the highest reward. Expected rewards of the
policy are exact. The baseline is the same without sight of the direction, so that it imitates the mixture.

Differs from the paper: a bandit and a small network in place of a language model, true rewards in place of a reward
model, and contexts drawn again in each gradient step.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.stats

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.gradient_weighting import (
    ANSWERS,
    CONTEXTS,
    FORMATS,
    LENGTHS,
    Policy,
    expected_rewards,
    rewards,
)
from rlx.pareto import hypervolume, sample_directions, scalarise, unit_direction
from rlx.types import Array

BATCH, SAMPLES = 256, 8  # contexts in a gradient step, responses to each
HIDDEN = 64
LEARNING_RATE = 3e-3
ITERATIONS = 3
LOW, HIGH = -np.pi / 4, 0.0  # of the angle
ANGLES = jnp.linspace(LOW, HIGH, 9)  # of evaluation
REFERENCE = jnp.array([0.0, -1.0])  # of accuracy and less length
PARTS = (ANSWERS, ANSWERS + LENGTHS)  # where the network's output is divided


def init(key: Array) -> list[tuple[Array, Array]]:
    sizes = (CONTEXTS + 2, HIDDEN, HIDDEN, ANSWERS + LENGTHS + FORMATS)
    shapes = list(itertools.pairwise(sizes))
    keys = jax.random.split(key, len(shapes))
    weights = [jax.random.normal(k, s) / np.sqrt(s[0]) for k, s in zip(keys, shapes, strict=True)]
    weights[0] = weights[0] * np.sqrt(sizes[0] / 2)  # a one-hot input has length 1
    weights[-1] = 0.1 * weights[-1]
    return [(w, jnp.zeros(w.shape[1])) for w in weights]


def logits(params: list[tuple[Array, Array]], context: Array, direction: Array) -> Policy:
    x = jnp.concatenate([jax.nn.one_hot(context, CONTEXTS), direction], axis=-1)
    for w, b in params[:-1]:
        x = jnp.tanh(x @ w + b)
    w, b = params[-1]
    return Policy(*jnp.split(x @ w + b, PARTS, axis=-1))


def accuracy_and_length(reward: Array) -> Array:
    return jnp.stack([reward[..., 0], 1.0 - reward[..., 1]], axis=-1)


@functools.partial(jax.jit, static_argnames=("updates", "shown"))
@functools.partial(jax.vmap, in_axes=(0, None, None))
def learn(seed: Array, updates: int, shown: bool) -> Array:
    """`[ITERATIONS, 9, 2]`: expected accuracy and length for each angle, after each iteration of that many steps."""
    problem_key, net_key, run_key = jax.random.split(jax.random.key(seed), 3)
    right = jax.random.randint(problem_key, (CONTEXTS,), 0, ANSWERS)
    optimiser = optax.adam(LEARNING_RATE)
    policy = functools.partial(lambda params, c, d: logits(params, c, d * shown))

    def step(carry: tuple, key: Array, teacher: list[tuple[Array, Array]]) -> tuple[tuple, None]:
        params, state = carry
        context_key, direction_key, *keys = jax.random.split(key, 5)
        context = jax.random.randint(context_key, (BATCH,), 0, CONTEXTS)
        direction = sample_directions(direction_key, BATCH, LOW, HIGH)
        answers = policy(teacher, context, direction)
        drawn = Policy(
            *(jax.random.categorical(k, x, shape=(SAMPLES, BATCH)) for k, x in zip(keys, answers, strict=True))
        )
        best = jnp.argmax(scalarise(accuracy_and_length(rewards(right[context], drawn)), direction), axis=0)
        chosen = [x[best, jnp.arange(BATCH)] for x in drawn]

        def loss(params: list[tuple[Array, Array]]) -> Array:
            losses = map(optax.softmax_cross_entropy_with_integer_labels, policy(params, context, direction), chosen)
            return jnp.mean(sum(losses))

        change, state = optimiser.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, change), state), None

    def iteration(params: list[tuple[Array, Array]], key: Array) -> tuple[list[tuple[Array, Array]], Array]:
        keys = jax.random.split(key, updates)
        (params, _), _ = jax.lax.scan(
            lambda carry, key: step(carry, key, teacher=params), (params, optimiser.init(params)), keys
        )
        contexts, directions = jnp.arange(CONTEXTS), unit_direction(ANGLES[:, None])
        reached = jax.vmap(
            lambda d: expected_rewards(policy(params, contexts, jnp.broadcast_to(d, (CONTEXTS, 2))), right)
        )(directions)
        return params, accuracy_and_length(reached)

    return jax.lax.scan(iteration, init(net_key), jax.random.split(run_key, ITERATIONS))[1]


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    samples = {}
    for name, shown in (("shown", True), ("hidden", False)):
        found = learn(np.asarray(seeds, np.uint32), updates, shown)
        volume = jax.vmap(jax.vmap(lambda v: hypervolume(v * jnp.array([1.0, -1.0]), REFERENCE)))(found)
        for i in range(ITERATIONS):
            samples[f"{name}: hypervolume after iteration {i + 1}"] = volume[:, i].tolist()
        for k, objective in enumerate(("accuracy", "length")):
            last = np.asarray(found[:, -1, :, k])
            samples |= {
                f"{name}: {objective} at -45": last[:, 0].tolist(),
                f"{name}: {objective} at 0": last[:, -1].tolist(),
            }
            if shown:
                ranks = [float(scipy.stats.spearmanr(ANGLES, x)[0]) for x in last]  # pyright: ignore[reportArgumentType]
                samples[f"rank correlation of {objective}"] = ranks
    return samples


CLAIM = Claim(
    name="directional_alignment",
    title="Arithmetic Control of LLMs for Diverse User Preferences: Directional Preference Alignment with"
    " Multi-Objective Rewards",
    year=2024,
    cards=(55,),
    environment=f"bandit of {CONTEXTS} contexts; a response has an answer and a length; other right answers for each"
    " seed",
    baseline="rejection sampling for the same directions, which the policy does not see",
    method=f"rejection sampling, {ITERATIONS} iterations, of a policy that sees the direction",
    metric="expected accuracy and length, exact, at 9 angles; their rank correlation with the angle, and hypervolume of"
    " accuracy and less length above (0, -1)",
    conditions=(
        Condition("rank correlation of length with the angle, above 0.9", "rank correlation of length", 0.9),
        Condition("rank correlation of accuracy with the angle, above 0.9", "rank correlation of accuracy", 0.9),
        Condition(
            "hypervolume grows from the first iteration to the last",
            f"shown: hypervolume after iteration {ITERATIONS}",
            "shown: hypervolume after iteration 1",
            margin=0.2,
            paired=True,
        ),
        Condition(
            "hypervolume, over that of a policy that does not see the direction",
            f"shown: hypervolume after iteration {ITERATIONS}",
            f"hidden: hypervolume after iteration {ITERATIONS}",
            margin=0.15,
            paired=True,
        ),
    ),
    settings={
        "batch": BATCH,
        "samples": SAMPLES,
        "hidden": HIDDEN,
        "learning_rate": LEARNING_RATE,
        "iterations": ITERATIONS,
        "angles": (LOW, HIGH),
    },
    updates=300,  # gradient steps of each iteration
    steps_per_update=BATCH * SAMPLES * ITERATIONS,
    run=run,
)
