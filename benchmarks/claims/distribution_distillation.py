"""Noise on the distilled target makes the bonus a count, where a fixed target leaves nothing of one.

Visits to 32 states, unevenly. The predictor is linear in random features of the state and learns by recursive least
squares, so it is converged after every visit: what is left of the bonus is the part that the paper's theory is about.
Reported beside it, without a condition, are networks that Adam trains on a stream of visits (the library's reward
source, its default settings): there the error of the optimisation is the larger part of the bonus.

Nothing was tuned; seed 0 was looked at, with a quarter of the visits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from benchmarks.claims.claim import Claim, Condition
from rlx.exploration import distill_bonus, distill_target, elliptical_update, pseudo_count_stat, rnd
from rlx.exploration.distillation import Target
from rlx.space import Box, Discrete
from rlx.types import Array, EnvSpec, Transition

STATES, OUTPUTS, RIDGE = 32, 64, 1e-6
VISITS = 100  # in one update
KINDS: tuple[tuple[str, Target], ...] = (("rdd", "gaussian"), ("rnd", "fixed"))
NET_STATES, NET_ENVS, NET_STEPS, NET_BATCHES = 121, 16, 128, 40


def probability(states: int) -> Array:
    """Of a visit to each state: as one over its rank."""
    weight = 1.0 / jnp.arange(1, states + 1)
    return weight / weight.sum()


def converged(key: Array, visits: int, kind: Target) -> tuple[Array, Array]:
    """Visits of each state, and the bonus that a least-squares predictor leaves there."""
    feature_key, mean_key, visit_key = jax.random.split(key, 3)
    x = jax.random.normal(feature_key, (STATES, STATES))
    mean = jax.random.normal(mean_key, (STATES, OUTPUTS))

    def visit(carry: tuple[Array, Array, Array], key: Array) -> tuple[tuple[Array, Array, Array], None]:
        inverse, weight, counts = carry
        state_key, noise_key = jax.random.split(key)
        state = jax.random.choice(state_key, STATES, p=probability(STATES))
        target = distill_target(noise_key, mean[state], kind)
        inverse = elliptical_update(inverse, x[state])
        gain = inverse @ x[state]  # after the update: C'^-1 x = C^-1 x / (1 + x C^-1 x)
        weight = weight + gain[:, None] * (target - x[state] @ weight)
        return (inverse, weight, counts.at[state].add(1)), None

    start = jnp.eye(STATES) / RIDGE, jnp.zeros((STATES, OUTPUTS)), jnp.zeros(STATES)
    (_, weight, counts), _ = jax.lax.scan(visit, start, jax.random.split(visit_key, visits))
    if kind == "gaussian":
        return counts, pseudo_count_stat(x @ weight, mean)
    return counts, distill_bonus(x @ weight, mean)


def network(key: Array, batches: int, kind: Target) -> tuple[Array, Array]:
    """Visits of each state, and the bonus of the library's source after a stream of batches."""
    source = rnd(target=kind)
    shape = (NET_STEPS, NET_ENVS)
    spec = EnvSpec(Box(0.0, 1.0, (NET_STATES,)), Discrete(2), ("reward",), NET_ENVS)

    def to(states: Array) -> Transition:
        zeros, flags = jnp.zeros(states.shape), jnp.zeros(states.shape, bool)
        obs = jax.nn.one_hot(states, NET_STATES)
        return Transition(obs, zeros, zeros, zeros, flags, flags, obs)

    def batch(state, key: Array):
        visit_key, key = jax.random.split(key)
        visits = jax.random.choice(visit_key, NET_STATES, shape, p=probability(NET_STATES))
        _, state = source.compute(state, to(visits), key)
        return source.update(state, to(visits), key)[0], jnp.bincount(visits.ravel(), length=NET_STATES)

    state, counts = jax.lax.scan(batch, source.init(key, spec), jax.random.split(key, batches))
    assert source.rescore is not None
    return counts.sum(0), source.rescore(state, to(jnp.arange(NET_STATES)[:, None]), None, key).ravel()


def correlation(counts: Array, bonus: Array) -> list[float]:
    """Spearman's, of the bonus with one over the visits, for each seed."""
    pairs = zip(np.asarray(counts), np.asarray(bonus), strict=True)
    return [float(spearmanr(b[n > 0], 1 / n[n > 0]).statistic) for n, b in pairs]  # type: ignore[attr-defined]


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    samples = {}
    with jax.enable_x64(True):
        keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
        for name, kind in KINDS:
            counts, bonus = jax.jit(jax.vmap(partial(converged, visits=VISITS * updates, kind=kind)))(keys)
            samples[f"{name}: rank correlation"] = correlation(counts, bonus)
            slopes, errors = [], []
            for n, b in zip(np.asarray(counts), np.asarray(bonus), strict=True):
                known = n > 0
                log_n, log_b = np.log10(n[known]), np.log10(np.maximum(b[known], 1e-30))
                slopes.append(float(abs(np.polyfit(log_n, log_b, 1)[0] + 1)))
                errors.append(float(np.sqrt(np.mean((log_n + log_b) ** 2))))
            samples[f"{name}: error of the slope"] = slopes
            samples[f"{name}: error of the count"] = errors
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    for name, kind in KINDS:
        run_all = jax.jit(partial(jax.lax.map, partial(network, batches=min(updates, NET_BATCHES), kind=kind)))
        samples[f"network, {name}: rank correlation"] = correlation(*run_all(keys))
    return samples


CLAIM = Claim(
    name="distribution_distillation",
    title="Exploration by Random Distribution Distillation",
    year=2025,
    cards=(5,),
    environment=f"visits to {STATES} states with a probability of one over their rank, a predictor on random features"
    " that is the least-squares solution after every visit",
    baseline="a fixed target (RND), with the same predictor",
    method="the target plus unit Gaussian noise drawn at every visit (RDD)",
    metric="decimal logarithm of the bonus times the visits, root mean square over states; slope of the bonus against"
    " visits on logarithmic axes; rank correlation of the bonus with one over the visits",
    conditions=(
        Condition("slope within 5% of -1", "rdd: error of the slope", 0.05, direction=-1),
        Condition("rank correlation above 0.95", "rdd: rank correlation", 0.95),
        Condition(
            "counts off by at least a factor of 10 less than RND's",
            "rdd: error of the count",
            "rnd: error of the count",
            1.0,
            direction=-1,
            paired=True,
        ),
    ),
    settings={
        "outputs": OUTPUTS,
        "ridge": RIDGE,
        "network": {"states": NET_STATES, "visits": NET_ENVS * NET_STEPS * NET_BATCHES},
    },
    updates=40,
    steps_per_update=VISITS,
    run=run,
    seeds=range(1000, 1020),
)
