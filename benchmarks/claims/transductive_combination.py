"""Features that are bilinear in a difference and its anchor know new combinations of parts that they have seen.

A state is an anchor plus a difference. Both come in four clusters, and of the sixteen pairs of clusters the four with
equal numbers are left out of training: there both parts are in distribution and the state is not. Where the target is
of low rank in the parts, bilinear features of two embeddings (`rlx.value.transductive_features`) should extrapolate to
these pairs, and networks of the state, or of both parts side by side, should not have to.

Where it is not of low rank, the form has nothing to go by: reported for a smooth function of the state alone, without a
condition. The paper's own claim, that conservative methods of offline reinforcement learning gain from it, is not
judged here, nor is the learned policy that finds anchors.

Tried once on seeds 0 to 9; nothing was changed after that.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.descent import descend
from rlx.nets import MLP
from rlx.types import Array, PyTree
from rlx.value import transductive_features

DIMENSIONS, RANK, CLUSTERS, EMBEDDING = 3, 2, 4, 4
SAMPLES, BATCH, HIDDEN, LEARNING_RATE = 2048, 256, (64, 64), 1e-3
SPREAD = 0.3  # of a cluster, whose centres are standard normal
TARGETS = ("low rank", "smooth")
ARMS = ("bilinear", "side by side", "state alone")


def head(size: int) -> nn.Sequential:
    return nn.Sequential([MLP(HIDDEN, "relu"), nn.Dense(size)])


def predict(arm: str, params: PyTree, delta: Array, anchor: Array) -> Array:
    if arm == "bilinear":
        f, g = (head(EMBEDDING).apply(params[i], x) for i, x in enumerate((delta, anchor)))
        return transductive_features(jnp.asarray(f)[..., None, :], jnp.asarray(g)[..., None, :])[..., 0]
    inputs = delta + anchor if arm == "state alone" else jnp.concatenate([delta, anchor], -1)
    return jnp.asarray(head(1).apply(params[0], inputs))[..., 0]


def target(name: str, key: Array, delta: Array, anchor: Array) -> Array:
    keys = jax.random.split(key)
    if name == "low rank":
        left, right = (jax.random.normal(k, (DIMENSIONS, RANK)) for k in keys)
        return jnp.sum((delta @ left) * (anchor @ right), -1) / (DIMENSIONS * RANK**0.5)
    hidden, out = jax.random.normal(keys[0], (DIMENSIONS, 32)), jax.random.normal(keys[1], (32,))
    return jnp.tanh((delta + anchor) @ hidden / DIMENSIONS**0.5) @ out / 32**0.5


@functools.partial(jax.jit, static_argnames=("name", "steps"))
@functools.partial(jax.vmap, in_axes=(0, None, None))
def trial(seed: Array, name: str, steps: int) -> dict[str, Array]:
    centre_key, pair_key, place_key, target_key, init_key, run_key = jax.random.split(jax.random.key(seed), 6)
    centres = jax.random.normal(centre_key, (2, CLUSTERS, DIMENSIONS))

    def draw(key: Array, seen: bool) -> tuple[Array, Array, Array]:
        first_key, second_key, noise_key = jax.random.split(key, 3)
        first = jax.random.randint(first_key, (SAMPLES,), 0, CLUSTERS)
        further = jax.random.randint(second_key, (SAMPLES,), 1, CLUSTERS)
        second = (first + further) % CLUSTERS if seen else first
        places = jnp.stack([centres[0, first], centres[1, second]])
        delta, anchor = places + SPREAD * jax.random.normal(noise_key, places.shape)
        return delta, anchor, target(name, target_key, delta, anchor)

    delta, anchor, y = draw(pair_key, True)
    new_delta, new_anchor, new_y = draw(place_key, False)
    found = {}
    for arm in ARMS:
        sizes = {"bilinear": (DIMENSIONS, DIMENSIONS), "side by side": (2 * DIMENSIONS,), "state alone": (DIMENSIONS,)}
        width = EMBEDDING if arm == "bilinear" else 1
        keys = jax.random.split(init_key, 2)
        params = tuple(head(width).init(k, jnp.zeros(size)) for k, size in zip(keys, sizes[arm], strict=False))

        def loss(params: PyTree, key: Array, arm: str = arm) -> Array:
            row = jax.random.randint(key, (BATCH,), 0, SAMPLES)
            return jnp.square(predict(arm, params, delta[row], anchor[row]) - y[row]).mean()

        params, _ = descend(loss, params, jax.random.split(run_key, steps), LEARNING_RATE)
        for what, x in (("seen", (delta, anchor, y)), ("new", (new_delta, new_anchor, new_y))):
            error = predict(arm, params, *x[:2]) - x[2]
            found[f"{arm}, {what}"] = jnp.sqrt(jnp.mean(error**2)) / y.std()
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    samples = {}
    for name in TARGETS:
        found = trial(np.asarray(seeds, np.uint32), name, updates)
        samples |= {f"{name}: {arm}": np.asarray(x, np.float64).tolist() for arm, x in found.items()}
    return samples


CLAIM = Claim(
    name="transductive_combination",
    title="Compositional Conservatism: A Transductive Approach in Offline Reinforcement Learning",
    year=2024,
    cards=(79,),
    environment="regression of a function of rank 2 in a difference and its anchor, both in four clusters",
    baseline="networks of both parts side by side, and of their sum",
    method="bilinear features of embeddings of both",
    metric="root mean square error on pairs of clusters that were left out, in deviations of the target",
    conditions=tuple(
        Condition(f"lower than {arm}", "low rank: bilinear, new", f"low rank: {arm}, new", 0.1, -1, paired=True)
        for arm in ARMS[1:]
    ),
    settings={
        "dimensions": DIMENSIONS,
        "rank": RANK,
        "embedding": EMBEDDING,
        "samples": SAMPLES,
        "hidden": HIDDEN,
        "learning_rate": LEARNING_RATE,
        "spread": SPREAD,
    },
    updates=2000,
    steps_per_update=BATCH,
    run=run,
)
