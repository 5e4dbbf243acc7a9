"""Reward models held at thresholds by Lagrange multipliers do not get overoptimised, and a search finds the thresholds.

A Gaussian policy with mean in four dimensions stands in for the language model, two correlated linear rewards for the
reward models, and the truth is best where each of them has a certain value, another pair for each seed. More of either
is worse from there on: a policy that maximises their sum passes near the optimum and goes on for ever. Multipliers in
(0, 1) keep each reward above its threshold, multipliers in (-1, 1) at it. The paper normalises the advantage of the KL
divergence from the initial policy like those of the rewards; here that takes away the spring which damps the
multipliers, and they circle ("KL normalised"), so the judged arms leave it as it is.

Where the thresholds are not known they are searched for during training: a pair is kept until both rewards have come
within 5% of it or its time is over, then it is judged by the truth at the returns measured. Nelder and Mead's search,
from a simplex at a random place, is compared with the pairs of a grid in random order, both within one training run, by
the steps until a policy has 95% of the possible gain.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.pareto import lagrange_update, mix_advantages, nelder_mead_init, nelder_mead_update
from rlx.pareto.constraint import Projection
from rlx.types import Array, PyTree

CORRELATION = 0.3
PROXIES = jnp.array([[1.0, 0.0, 0.0, 0.0], [CORRELATION, (1.0 - CORRELATION**2) ** 0.5, 0.0, 0.0]])
BATCH = 64
LEARNING_RATE = 0.1
MULTIPLIER_RATE = 0.3
PENALTY = 1.3  # the best fixed one on the tuning seeds
AVERAGE = 0.9  # decay of the returns by which thresholds are judged, per batch
SETTLING = 20  # steps that a pair of thresholds gets at least
PATIENCE = 60  # parts of the search that a pair may take
GRID = np.stack(np.meshgrid(*2 * [np.linspace(0.0, 2.0, 5)]), -1).reshape(-1, 2)  # thresholds; finer ones took longer
WIDTH = 0.8  # of the first simplex, somewhere in the grid's square
SUCCESS = (0.95, 0.99)  # parts of the possible gain


class Training(NamedTuple):
    """Policy, multipliers and measured returns."""

    mean: Array  # [4]
    parameter: Array  # [2] of the multipliers
    returns: Array  # [2]


def optimum(seed: Array) -> Array:
    """The values of the two rewards at which the truth is best."""
    return jax.random.uniform(jax.random.key(seed), (2,), minval=0.5, maxval=1.5)


def gold(returns: Array, best: Array) -> Array:
    """The truth: zero at best, and less by the squared distance from there."""
    return -jnp.sum((returns - best) ** 2, -1)


def begin(key: Array) -> Training:
    return Training(jnp.zeros(4), 0.1 * jax.random.normal(key, (2,)), jnp.zeros(2))


def sample(mean: Array, key: Array) -> tuple[Array, Array, Array]:
    """Actions less their mean `[B, 4]`, rewards `[B, 2]`, and that of the KL divergence, log(start / policy) `[B]`."""
    noise = jax.random.normal(key, (BATCH, 4))
    action = mean + noise
    return noise, action @ PROXIES.T, (jnp.square(noise).sum(1) - jnp.square(action).sum(1)) / 2.0


def normalised(reward: Array) -> Array:
    return (reward - reward.mean(0)) / (reward.std(0) + 1e-6)


def unconstrained(state: Training, key: Array, penalty: float) -> Training:
    """A policy-gradient step on the sum of rewards less a fixed penalty on the KL divergence."""
    noise, reward, divergence = sample(state.mean, key)
    advantage = reward.sum(1) + penalty * divergence
    return state._replace(mean=state.mean + LEARNING_RATE * jnp.mean(normalised(advantage)[:, None] * noise, 0))


def constrained(
    state: Training, key: Array, thresholds: Array, projection: Projection, normalise: bool = False
) -> Training:
    """A step of policy and multipliers; the KL divergence's weight is two less the multipliers."""
    noise, reward, divergence = sample(state.mean, key)
    returns = reward.mean(0)
    parameter, multiplier = lagrange_update(state.parameter, -returns, -thresholds, MULTIPLIER_RATE, projection)
    divergence = normalised(divergence) if normalise else divergence - divergence.mean()
    advantage = mix_advantages(divergence, -normalised(reward), multiplier / (2.0 - multiplier.sum()))
    mean = state.mean + LEARNING_RATE * jnp.mean(advantage[:, None] * noise, 0)
    return Training(mean, parameter, AVERAGE * state.returns + (1.0 - AVERAGE) * returns)


def train(step: Callable[[Training, Array], Training], seed: Array, updates: int) -> Array:
    """Expected returns `[updates, 2]` of all policies."""

    def update(state: Training, key: Array) -> tuple[Training, Array]:
        state = step(state, key)
        return state, PROXIES @ state.mean

    key, run_key = jax.random.split(jax.random.key(seed + 1))
    return jax.lax.scan(update, begin(key), jax.random.split(run_key, updates))[1]


def search(
    first: PyTree, following: Callable[[PyTree, Array], PyTree], seed: Array, updates: int
) -> tuple[Array, Array]:
    """Steps until a policy that was judged has each part of the gain `[2]`, and the truth of the best one judged.

    `first` and `following(state, value)` are states of a search, whose first entry is its pair of thresholds.
    """
    best = optimum(seed)
    limit = max(updates // PATIENCE, 1)

    def update(carry: tuple[Training, PyTree, Array], key: Array) -> tuple[tuple[Training, PyTree, Array], Any]:
        training, searched, since = carry
        thresholds = searched[0]
        training = constrained(training, key, thresholds, "tanh")
        there = jnp.all(jnp.abs(training.returns - thresholds) <= 0.05 * jnp.abs(thresholds))
        judged = (there & (since >= SETTLING)) | (since >= limit)
        searched = jax.tree.map(
            lambda new, old: jnp.where(judged, new, old),
            following(searched, -gold(training.returns, best)),
            searched,
        )
        truth = gold(PROXIES @ training.mean, best)
        return (training, searched, jnp.where(judged, 0, since + 1)), (judged, truth)

    key, run_key = jax.random.split(jax.random.key(seed + 1))
    start = begin(key), first, jnp.zeros((), jnp.int32)
    _, (judged, truth) = jax.lax.scan(update, start, jax.random.split(run_key, updates))
    lacking = (1.0 - jnp.array(SUCCESS)) * gold(jnp.zeros(2), best)
    enough = judged[:, None] & (truth[:, None] >= lacking)
    return jnp.where(enough.any(0), enough.argmax(0) + 1, updates), jnp.where(judged, truth, -jnp.inf).max()


def nelder_mead_search(seed: Array, updates: int) -> tuple[Array, Array]:
    corner = jax.random.uniform(jax.random.key(seed + 2), (2,), minval=0.0, maxval=2.0 - WIDTH)
    simplex = corner + WIDTH * jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    return search(nelder_mead_init(simplex), nelder_mead_update, seed, updates)


def grid_search(seed: Array, updates: int) -> tuple[Array, Array]:
    pairs = jax.random.permutation(jax.random.key(seed + 2), jnp.asarray(GRID, jnp.float32))

    def following(state: tuple[Array, Array], value: Array) -> tuple[Array, Array]:
        return pairs[(state[1] + 1) % len(pairs)], state[1] + 1

    return search((pairs[0], jnp.zeros((), jnp.int32)), following, seed, updates)


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    numbers = jnp.asarray(seeds, jnp.uint32)
    best = jax.vmap(optimum)(numbers)[:, None]
    samples: dict[str, list[float]] = {}

    def multipliers(projection: Projection, normalise: bool = False) -> Callable[[Array], Array]:
        def trained(seed: Array) -> Array:
            held = dict(thresholds=optimum(seed), projection=projection, normalise=normalise)
            return train(functools.partial(constrained, **held), seed, updates // 3 or 1)

        return trained

    def fixed(penalty: float) -> Callable[[Array], Array]:
        return lambda seed: train(functools.partial(unconstrained, penalty=penalty), seed, updates // 3 or 1)

    arms = {
        "sum": fixed(0.0),
        "sum less KL": fixed(PENALTY),
        "multipliers in (0, 1)": multipliers("sigmoid"),
        "multipliers in (-1, 1)": multipliers("tanh"),
        "multipliers in (0, 1), KL normalised": multipliers("sigmoid", True),
        "multipliers in (-1, 1), KL normalised": multipliers("tanh", True),
    }
    for name, trained in arms.items():
        truth = np.asarray(gold(jax.jit(jax.vmap(trained))(numbers), best), np.float64)
        samples[name] = truth[:, -(truth.shape[1] // 3 or 1) :].mean(1).tolist()
        if name == "sum":
            samples["start"] = gold(jnp.zeros(2), best[:, 0]).tolist()
            samples["sum: best on the way"] = truth.max(1).tolist()

    for name, searched in (("search", nelder_mead_search), ("grid", grid_search)):
        steps, found = jax.jit(jax.vmap(lambda seed, searched=searched: searched(seed, updates)))(numbers)
        for part, of_part in zip(SUCCESS, steps.T, strict=True):
            samples[f"{name}: steps to {part:.0%}"] = of_part.tolist()
        samples[f"{name}: best"] = found.tolist()
    return samples


CLAIM = Claim(
    name="reward_model_thresholds",
    title="Confronting Reward Model Overoptimization with Constrained RLHF",
    year=2024,
    cards=(49,),
    environment=f"Gaussian policy in four dimensions, two linear rewards of correlation {CORRELATION}; the truth is"
    " best at values of theirs that differ between seeds, uniform in [0.5, 1.5]",
    baseline="policy gradients on the sum of the rewards; for the search, a 5 x 5 grid of thresholds in random order",
    method="Lagrange multipliers that keep each reward at its threshold; Nelder and Mead's search for the thresholds",
    metric="the truth, at most 0, mean over the last third of training; for the search, steps until a policy judged has"
    " 95% of the possible gain",
    conditions=(
        Condition("truth, maximising the sum: lower than at the start", "sum", "start", direction=-1, paired=True),
        *(
            Condition(f"truth, {name}: above the best that the sum passes", name, "sum: best on the way", paired=True)
            for name in ("multipliers in (0, 1)", "multipliers in (-1, 1)")
        ),
        Condition(
            "steps of the search: fewer than the grid's", "search: steps to 95%", "grid: steps to 95%", direction=-1
        ),
    ),
    settings={
        "learning_rate": LEARNING_RATE,
        "multiplier_learning_rate": MULTIPLIER_RATE,
        "batch": BATCH,
        "penalty": PENALTY,
        "width_of_simplex": WIDTH,
        "patience": PATIENCE,
    },
    updates=9000,  # of the search; a third of them for thresholds that are known
    steps_per_update=BATCH,
    run=run,
    seeds=range(1000, 1100),
)
