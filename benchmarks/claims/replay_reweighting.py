"""Replaying an old task keeps it from being forgotten; what its reweighting adds is within the noise.

A network that has learned the right answers to one set of contexts learns, by exact gradients of expected rewards,
those to another set, and a format. Without replay the old answers are lost. With it the old task's accuracy is a third
objective, on batches of its own, with equal weights or those of RECAP from the mean rewards of the last batches.

At the published temperature these stay within a hundredth of one, so that judged is replay, and the reweighting is only
reported; a lower temperature is, too. The signal has three readings: rewards taken for losses, as published; rewards as
such; losses with a floor. What each would give the old task while it is lost are the weights "without replay".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.claims.claim import Claim, Condition
from rlx.pareto import recap
from rlx.types import Array, PyTree, WeightingStats

CONTEXTS, FEATURES, ANSWERS, HIDDEN = 128, 16, 16, 64  # contexts of each task
PRETRAINING = 600  # steps on the old task, by its cross entropy
LEARNING_RATE, BATCH = 1e-3, 32
WINDOW, TEMPERATURE, LOW_TEMPERATURE = 10, 5.0, 0.3
FLOOR = 0.1  # of a loss, 1 - reward + floor
OBJECTIVES = ("new", "format", "old")

Signal = Literal["loss", "reward"]


def begin(key: Array) -> PyTree:
    sizes = (FEATURES, HIDDEN, HIDDEN, ANSWERS + 2)
    keys = jax.random.split(key, 3)
    return [
        (jax.random.normal(k, (n, m)) * (2 / n) ** 0.5, jnp.zeros(m))
        for k, n, m in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def log_probs(params: PyTree, x: Array) -> tuple[Array, Array]:
    """Of answers `[N, ANSWERS]` and of formats `[N, 2]`."""
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = params[-1]
    logits = x @ w + b
    return jax.nn.log_softmax(logits[:, :ANSWERS]), jax.nn.log_softmax(logits[:, ANSWERS:])


def log_accuracy(params: PyTree, x: Array, right: Array) -> Array:
    return jnp.take_along_axis(log_probs(params, x)[0], right[:, None], 1)[:, 0]


def train(seed: Array, updates: int, replay: Array, temperature: Array, sign: Array, signal: Signal) -> Array:
    """`[6]`: old accuracy before, new and old accuracy after, and the mean weights in the first third of training.

    The signal is `reward` for `sign` 1, `1 - reward + floor` for -1.
    """
    keys = jax.random.split(jax.random.key(seed), 7)
    old, new = (jax.random.normal(k, (CONTEXTS, FEATURES)) for k in keys[:2])
    old_right, new_right = (jax.random.randint(k, (CONTEXTS,), 0, ANSWERS) for k in keys[2:4])
    optimiser = optax.adam(LEARNING_RATE)
    params = begin(keys[4])

    def batches(key: Array) -> Array:
        return jax.random.randint(key, (2, BATCH), 0, CONTEXTS)

    def pretrain(carry: tuple[PyTree, PyTree], key: Array) -> tuple[tuple[PyTree, PyTree], None]:
        params, state = carry
        i, _ = batches(key)
        grads = jax.grad(lambda p: -log_accuracy(p, old[i], old_right[i]).mean())(params)
        changes, state = optimiser.update(grads, state)
        return (optax.apply_updates(params, changes), state), None

    (params, _), _ = jax.lax.scan(pretrain, (params, optimiser.init(params)), jax.random.split(keys[5], PRETRAINING))
    before = jnp.exp(log_accuracy(params, old, old_right)).mean()
    weighting = recap(WINDOW, temperature=temperature, signal=signal)

    def update(carry: tuple[PyTree, PyTree, PyTree], key: Array) -> tuple[tuple[PyTree, PyTree, PyTree], Array]:
        params, state, history = carry
        i, j = batches(key)

        def rewards(params: PyTree) -> Array:
            format = jnp.exp(log_probs(params, new[i])[1][:, 1])
            accuracies = log_accuracy(params, new[i], new_right[i]), log_accuracy(params, old[j], old_right[j])
            return jnp.stack([jnp.exp(accuracies[0]).mean(), format.mean(), jnp.exp(accuracies[1]).mean()])

        seen = jnp.where(sign > 0, rewards(params), 1.0 - rewards(params) + FLOOR)
        weights, history, _ = weighting.update(history, WeightingStats(seen, jnp.array(1.0), None))
        used = weights * jnp.array([1.0, 1.0, 0.0]).at[2].set(replay)
        grads = jax.grad(lambda p: -used @ rewards(p) / len(OBJECTIVES))(params)
        changes, state = optimiser.update(grads, state)
        return (optax.apply_updates(params, changes), state, history), weights

    start = params, optimiser.init(params), weighting.init(len(OBJECTIVES))
    (params, _, _), weights = jax.lax.scan(update, start, jax.random.split(keys[6], updates))
    after = (jnp.exp(log_accuracy(params, *task)).mean() for task in ((new, new_right), (old, old_right)))
    return jnp.stack([before, *after, *weights[: updates // 3 or 1].mean(0)])


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    numbers = jnp.asarray(seeds, jnp.uint32)
    arms = {  # replay, temperature, sign, signal
        "no replay": (0.0, jnp.inf, 1.0, "loss"),
        "equal weights": (1.0, jnp.inf, 1.0, "loss"),
        "RECAP": (1.0, TEMPERATURE, 1.0, "loss"),
        "RECAP, low temperature": (1.0, LOW_TEMPERATURE, 1.0, "loss"),
        "RECAP of losses": (1.0, TEMPERATURE, -1.0, "loss"),
        "RECAP of losses, low temperature": (1.0, LOW_TEMPERATURE, -1.0, "loss"),
        "RECAP without replay": (0.0, LOW_TEMPERATURE, 1.0, "loss"),
        "RECAP of losses without replay": (0.0, LOW_TEMPERATURE, -1.0, "loss"),
        "RECAP of rewards without replay": (0.0, LOW_TEMPERATURE, 1.0, "reward"),
        "RECAP of rewards": (1.0, TEMPERATURE, 1.0, "reward"),
        "RECAP of rewards, low temperature": (1.0, LOW_TEMPERATURE, 1.0, "reward"),
    }
    samples: dict[str, list[float]] = {}
    signals: tuple[Signal, ...] = ("loss", "reward")
    for signal in signals:
        chosen = {name: values[:-1] for name, values in arms.items() if values[-1] == signal}

        def trained(seed: Array, replay: Array, temperature: Array, sign: Array, signal: Signal = signal) -> Array:
            return train(seed, updates, replay, temperature, sign, signal)

        over_seeds = jax.vmap(trained, (0, None, None, None))
        over_arms = jax.jit(jax.vmap(over_seeds, (None, 0, 0, 0)))
        found = over_arms(numbers, *map(jnp.array, zip(*chosen.values(), strict=True)))
        for name, values in zip(chosen, np.asarray(found, np.float64), strict=True):
            samples["old accuracy before"] = values[:, 0].tolist()
            if "without" not in name:  # that learns as without a weighting
                samples |= {f"{name}: new": values[:, 1].tolist(), f"{name}: old": values[:, 2].tolist()}
            if "RECAP" in name:
                for k, objective in enumerate(OBJECTIVES):
                    samples[f"{name}: weight, {objective}"] = values[:, 3 + k].tolist()
    return samples


CLAIM = Claim(
    name="replay_reweighting",
    title="Beyond Reasoning Gains: Mitigating General Capabilities Forgetting in Large Reasoning Models",
    year=2025,
    cards=(176,),
    environment=f"two sets of {CONTEXTS} contexts with {ANSWERS} answers and two formats, other ones for each seed; the"
    " old set is learned before",
    baseline="learning the new set alone",
    method="the same with batches of the old set, at equal weights and at RECAP's",
    metric="probability of the right answer, mean over the contexts of a set",
    conditions=(
        Condition(
            "old accuracy, replay at equal weights over none", "equal weights: old", "no replay: old", 0.3, paired=True
        ),
        Condition("old accuracy, replay with RECAP over none", "RECAP: old", "no replay: old", 0.3, paired=True),
    ),
    settings={
        "pretraining": PRETRAINING,
        "learning_rate": LEARNING_RATE,
        "batch": BATCH,
        "window": WINDOW,
        "temperatures": (TEMPERATURE, LOW_TEMPERATURE),
        "floor": FLOOR,
        "hidden": HIDDEN,
    },
    updates=600,
    steps_per_update=2 * BATCH,
    run=run,
    seeds=range(1000, 1020),
)
