"""Features learned from which two of three paths are alike need fewer preferences to become a reward.

A point robot's paths are observed with actions and as many numbers again that mean nothing. A teacher who sees the four
factors of a path (distance, energy, clearance, speed) says of 500 triples which two are the most alike; an encoder of
the observations is trained on that, and frozen. Each of several users cares about two of the factors and compares 50
pairs of paths; a linear reward on the features predicts their other preferences, and is compared with a reward model of
the same shape that is trained on these pairs from scratch. How well the factors can be read off the features linearly
is their feature prediction error.

Controls: the encoder as it was initialised, and one trained on random answers.

The encoder's size, rate and steps are the best of five settings on seeds 0 to 3; features get better the longer and
faster it learns. Of three rates of the reward model trained from scratch none does better than another there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import Parameters, network, outputs
from benchmarks.claims.segments import minimise, wander
from rlx.envs import make
from rlx.reward import most_similar_pair, pair_accuracy, preference_loss, triplet_loss
from rlx.types import Array

STEPS, NOISE = 10, 2  # of a path; numbers that mean nothing
QUERIES, SIZES, TEST = 500, (20, 50), 300  # triples; pairs that a user compares, and those that judge
USERS, BATCH = 3, 32
FEATURES, HIDDEN, MARGIN = 8, 64, 1.0
LEARNING_RATE = 3e-3
FIT_STEPS, L2 = 300, 1e-2  # of rewards
END_STEPS, END_RATE = 300, 3e-3  # of those trained from scratch
ARMS = ("similarity", "random answers", "untrained")

ENV, PARAMS = make("rlx/point-obstacles-1", inertia=0.7, start=(0.0, 0.0), spread=1.0)


class Paths(NamedTuple):
    obs: Array  # [..., T, 6 + NOISE]
    factor: Array  # [..., 4] of the whole path, standardised


def draw_paths(key: Array, shape: tuple[int, ...]) -> Paths:
    path_key, fixed_key, noise_key = jax.random.split(key, 3)
    count = int(np.prod(shape))
    paths = jax.vmap(lambda key: wander(ENV, PARAMS, key, STEPS))(jax.random.split(path_key, count))
    fixed = jax.random.normal(fixed_key, (count, 1, NOISE))
    noise = fixed + 0.5 * jax.random.normal(noise_key, (count, STEPS, NOISE))
    obs = jnp.concatenate([2 * paths["next_obs"][..., :4], paths["action"], noise], -1)  # all of about unit size
    factor = paths["factor"].mean(1)
    factor = (factor - factor.mean(0)) / factor.std(0)
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), Paths(obs, factor))


def encode(encoder: Parameters, obs: Array) -> Array:
    return outputs(encoder, obs).mean(-2)


def init(key: Array) -> Parameters:
    return network(key, (6 + NOISE, HIDDEN, HIDDEN, FEATURES))


def train_encoder(key: Array, start: Parameters, obs: Array, order: Array, steps: int) -> Parameters:
    """On triples `[Q, 3, T, D]`, of which `order [Q, 3]` names the two that are alike first."""
    ordered = jnp.take_along_axis(obs, order[..., None, None], 1)

    def loss(encoder: Parameters, key: Array) -> Array:
        rows = jax.random.randint(key, (BATCH,), 0, QUERIES)
        z = encode(encoder, ordered[rows])
        first, second, other = z[:, 0], z[:, 1], z[:, 2]
        return (triplet_loss(first, second, other, MARGIN) + triplet_loss(second, first, other, MARGIN)).mean()

    return minimise(key, start, loss, steps, LEARNING_RATE)


def fit_linear(key: Array, difference: Array, target: Array, weight: Array) -> Array:
    """A linear reward on the features, from differences `[N, F]`."""

    def loss(parameters: Array, _: Array) -> Array:
        nll = preference_loss(difference @ parameters, target, weight=weight)
        return nll.sum() / weight.sum() + L2 * jnp.sum(parameters**2)

    return minimise(key, jnp.zeros(difference.shape[-1]), loss, FIT_STEPS, 0.05)


def fit_end_to_end(key: Array, pairs: Array, target: Array, weight: Array) -> tuple[Parameters, Array]:
    """Encoder and linear reward together, from paths `[N, 2, T, D]`."""

    def loss(parameters: tuple[Parameters, Array], _: Array) -> Array:
        encoder, head = parameters
        score = encode(encoder, pairs) @ head
        nll = preference_loss(score[:, 0] - score[:, 1], target, weight=weight)
        return nll.sum() / weight.sum() + L2 * jnp.sum(head**2)

    start_key, head_key = jax.random.split(key)
    return minimise(key, (init(start_key), jax.random.normal(head_key, (FEATURES,))), loss, END_STEPS, END_RATE)


def prediction_error(features: Array, factor: Array) -> Array:
    """Mean squared error of factors predicted linearly, on the half that was not fitted, in units of their variance."""
    x = jnp.concatenate([features / features.std(0), jnp.ones((len(features), 1))], -1)
    half = len(x) // 2
    a, b = x[:half], x[half:]
    solution = jnp.linalg.solve(a.T @ a + 1e-3 * jnp.eye(x.shape[1]), a.T @ factor[:half])
    return jnp.mean(jnp.square(b @ solution - factor[half:]) / factor.var(0))


def one(seed: Array, steps: int) -> dict[str, Array]:
    keys = jax.random.split(jax.random.key(seed), 8)
    count = max(SIZES)
    paths = draw_paths(keys[0], (3 * QUERIES + 2 * (count + TEST),))
    triples = jax.tree.map(lambda x: x[: 3 * QUERIES].reshape(QUERIES, 3, *x.shape[1:]), paths)
    pairs = jax.tree.map(lambda x: x[3 * QUERIES :].reshape(count + TEST, 2, *x.shape[1:]), paths)

    answers = most_similar_pair(triples.factor)
    order = jnp.stack([answers, jax.random.permutation(keys[1], answers)])
    start = init(keys[2])
    trained = jax.vmap(lambda order: train_encoder(keys[3], start, triples.obs, order, steps))(order)
    encoders = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), trained, start)

    chosen = jax.vmap(lambda key: jax.random.permutation(key, 4)[:2])(jax.random.split(keys[4], USERS))
    weights = jax.random.normal(keys[5], (USERS, 2))
    cares = jnp.zeros((USERS, 4)).at[jnp.arange(USERS)[:, None], chosen].set(weights)
    value = pairs.factor @ cares.T  # [N, 2, U]
    target = (value[:, 0] > value[:, 1]).astype(jnp.float32).T  # [U, N]
    kept = (jnp.arange(count) < jnp.asarray(SIZES)[:, None]).astype(jnp.float32)  # [sizes, count]

    def accuracy(score: Array, target: Array) -> Array:
        return pair_accuracy(score[count:], target[count:]).mean()

    def frozen(encoder: Parameters, target: Array, weight: Array) -> Array:
        features = encode(encoder, pairs.obs)
        difference = (features[:, 0] - features[:, 1]) / features[:count].std((0, 1))
        return accuracy(difference @ fit_linear(keys[6], difference[:count], target[:count], weight), target)

    def end_to_end(target: Array, weight: Array) -> Array:
        encoder, head = fit_end_to_end(keys[7], pairs.obs[:count], target[:count], weight)
        score = encode(encoder, pairs.obs) @ head
        return accuracy(score[:, 0] - score[:, 1], target)

    def over_users(fit):  # [..., sizes]: means over users
        return jax.vmap(lambda weight: jax.vmap(lambda target: fit(target, weight))(target).mean())(kept)

    by_features = jax.vmap(lambda encoder: over_users(lambda *x: frozen(encoder, *x)))(encoders)
    from_scratch = over_users(end_to_end)
    other = jax.tree.map(lambda x: x[:, 0], pairs)
    error = jax.vmap(lambda encoder: prediction_error(encode(encoder, other.obs), other.factor))(encoders)
    found = {f"feature prediction error: {arm}": error[i] for i, arm in enumerate(ARMS)}
    for k, size in enumerate(SIZES):
        found |= {f"{arm}, {size} pairs": by_features[i, k] for i, arm in enumerate(ARMS)}
        found[f"end to end, {size} pairs"] = from_scratch[k]
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.jit(lambda seeds: jax.lax.map(lambda seed: one(seed, updates), seeds))(jnp.asarray(seeds, jnp.uint32))
    return {name: np.asarray(values, np.float64).tolist() for name, values in found.items()}


CLAIM = Claim(
    name="similarity_features",
    title="SIRL: Similarity-based Implicit Representation Learning",
    year=2023,
    cards=(16,),
    environment=f"paths of {STEPS} steps of a point robot round an obstacle, {NOISE} meaningless numbers in each"
    f" observation; {USERS} users who care about two of four factors",
    baseline="a reward model trained on the preferences alone; features that are untrained, or from random answers",
    method=f"a linear reward on features from {QUERIES} similarity queries",
    metric="share of a user's other preferences that are predicted; error of the factors predicted linearly",
    conditions=(
        *(
            Condition(
                f"{SIZES[-1]} pairs: above {other}",
                f"similarity, {SIZES[-1]} pairs",
                f"{other}, {SIZES[-1]} pairs",
                0.05,
                paired=True,
            )
            for other in ("end to end", "untrained", "random answers")
        ),
        *(
            Condition(
                f"feature prediction error: below {other}",
                "feature prediction error: similarity",
                f"feature prediction error: {other}",
                direction=-1,
                paired=True,
            )
            for other in ARMS[1:]
        ),
    ),
    settings={
        "features": FEATURES,
        "hidden": HIDDEN,
        "margin": MARGIN,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "from_scratch": {"steps": END_STEPS, "learning_rate": END_RATE},
        "l2": L2,
        "fit_steps": FIT_STEPS,
    },
    updates=1000,
    steps_per_update=BATCH,
    run=run,
)
