"""Modulated gradients make a network use its weaker sensor more, but it predicts no better for that.

Two Gaussian sensors observe one label, one with twice the noise of the other. A network of both, trained on the usual
loss, leans on the clear one. Its output is split into Shapley values of the sensors, whose gradients adaptive gradient
modulation scales. Measured on new data: how often the weak sensor's part alone names the label, and the whole output.
The paper's gain in accuracy is for tasks where joint training leaves much of one sensor unused; here it comes close to
the best that is possible, which the sample "best possible" gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.pareto import agm_coefficients, scale_cotangent, shapley_modality
from rlx.types import Array, PyTree

CLASSES, SIZE, HIDDEN = 10, 16, 64  # labels, numbers that a sensor gives, units of the hidden layer
NOISE = (1.0, 2.0)  # deviation of each sensor; class means have one
TRAINING, TEST, BATCH = 3000, 2000, 100
LEARNING_RATE = 0.05
ALPHAS = (0.0, 0.5, 1.0, 2.5)  # 0: the usual training
PRESENT = jnp.array([[0, 0], [1, 0], [0, 1], [1, 1]])  # sensors in each subset


def observe(key: Array, means: Array, number: int) -> tuple[Array, Array]:
    """Sensors `[number, 2, SIZE]` and labels `[number]`."""
    label_key, noise_key = jax.random.split(key)
    label = jax.random.randint(label_key, (number,), 0, CLASSES)
    noise = jnp.array(NOISE)[:, None] * jax.random.normal(noise_key, (number, 2, SIZE))
    return means[label] + noise, label


def outputs(params: PyTree, sensors: Array) -> Array:
    """Logits `[4, N, CLASSES]` of the network with each subset of the sensors."""
    inputs = (PRESENT[:, None, :, None] * sensors).reshape(len(PRESENT), len(sensors), -1)
    hidden = jax.nn.relu(inputs @ params["first"] + params["first bias"])
    return hidden @ params["second"] + params["second bias"]


def cross_entropy(logits: Array, label: Array) -> Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.expand_dims(label, -1), -1).mean((-2, -1))


def train(alpha: Array, seed: Array, updates: int) -> Array:
    """Accuracies on new data: of the parts of both sensors, of the whole output, and with the true densities."""
    mean_key, train_key, test_key, first_key, second_key, run_key = jax.random.split(jax.random.key(seed), 6)
    means = jax.random.normal(mean_key, (CLASSES, 2, SIZE))
    sensors, label = observe(train_key, means, TRAINING)
    params = {
        "first": jax.random.normal(first_key, (2 * SIZE, HIDDEN)) / (2 * SIZE) ** 0.5,
        "first bias": jnp.zeros(HIDDEN),
        "second": jax.random.normal(second_key, (HIDDEN, CLASSES)) / HIDDEN**0.5,
        "second bias": jnp.zeros(CLASSES),
    }

    def update(carry: tuple[PyTree, Array], step: tuple[Array, Array]) -> tuple[tuple[PyTree, Array], None]:
        (params, average), (key, number) = carry, step
        chosen = jax.random.randint(key, (BATCH,), 0, TRAINING)

        def loss(params: PyTree) -> tuple[Array, Array]:
            f = outputs(params, sensors[chosen])
            parts = shapley_modality(f)
            score = jax.lax.stop_gradient(cross_entropy(parts, jnp.stack([label[chosen]] * 2)))
            mean = average + (score - average) / number
            factor = agm_coefficients(score, mean, alpha)
            logits = scale_cotangent(parts, factor[:, None, None]).sum(0) + f[0]
            return cross_entropy(logits, label[chosen]), mean

        grads, average = jax.grad(loss, has_aux=True)(params)
        return (jax.tree.map(lambda p, g: p - LEARNING_RATE * g, params, grads), average), None

    steps = jax.random.split(run_key, updates), jnp.arange(1.0, updates + 1)
    (params, _), _ = jax.lax.scan(update, (params, jnp.zeros(2)), steps)
    sensors, label = observe(test_key, means, TEST)
    f = outputs(params, sensors)
    density = -(jnp.square((sensors[:, None] - means) / jnp.array(NOISE)[:, None]).sum((-2, -1)))
    return (jnp.stack([*shapley_modality(f), f[-1], density]).argmax(-1) == label).mean(1)


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    over_seeds = jax.vmap(lambda alpha, seed: train(alpha, seed, updates), (None, 0))
    found = jax.jit(jax.vmap(over_seeds, (0, None)))(jnp.array(ALPHAS), jnp.asarray(seeds, jnp.uint32))
    samples = {}
    for alpha, accuracies in zip(ALPHAS, np.asarray(found, np.float64), strict=True):
        *parts, best = accuracies.T
        for part, accuracy in zip(("clear part", "weak part", "accuracy"), parts, strict=True):
            samples[f"alpha {alpha:g}: {part}"] = accuracy.tolist()
        samples["best possible"] = best.tolist()
    return samples


CLAIM = Claim(
    name="gradient_modulation",
    title="Boosting Multi-modal Model Performance with Adaptive Gradient Modulation",
    year=2023,
    cards=(43,),
    environment=f"{CLASSES} classes, seen through two Gaussian sensors with noise {NOISE[0]:g} and {NOISE[1]:g}; other"
    " class means for each seed",
    baseline="a network of both sensors, trained jointly (alpha 0)",
    method="the same with adaptive gradient modulation",
    metric="accuracy on new data, of the weak sensor's Shapley part of the output and of the output",
    conditions=(
        Condition("the weak part, over joint training's", "alpha 2.5: weak part", "alpha 0: weak part", paired=True),
        Condition("the same, alpha 1", "alpha 1: weak part", "alpha 0: weak part", paired=True),
        Condition("accuracy, over joint training's", "alpha 2.5: accuracy", "alpha 0: accuracy", paired=True),
    ),
    settings={"learning_rate": LEARNING_RATE, "batch": BATCH, "alphas": ALPHAS, "hidden": HIDDEN, "training": TRAINING},
    updates=800,
    steps_per_update=BATCH,
    run=run,
    seeds=range(1000, 1020),
)
