"""Mixing the most confident of several reward heads with their worst case makes optimisation more robust.

First a small network learns a gold reward from 1024 preferences, a quarter of them wrong. Then five heads, each with
its own half of the answers, learn its reward with a stated deviation by the expected squared error. What is optimised
by best of n, in pools that are the reference policy, is a mix of the head of the smallest deviation with the lowest
head. The target of the second stage is inferred from the paper's description.

A second test is the paper's argument why this is safe: where the reward says nothing, robust optimisation stays nearer
to where it began. Heads of pure noise are put in place of the trained ones, and the divergence of the best policy under
a KL penalty is measured; a constant reward must not move it at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import (
    BEST_OF,
    ENSEMBLE,
    PAIRS,
    SIZES,
    Parameters,
    Problem,
    best_of_n_curve,
    fit,
    network,
    outputs,
    pair_loss,
    pose,
    score,
    standardised,
)
from rlx.policy import categorical_kl
from rlx.reward import brme_loss, brme_reward, tilt
from rlx.types import Array

NOISE = 0.25
NOMINAL = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)  # weights of the most confident head
BETA = 0.5  # of the KL penalty, for the test on noise
HEAD = (16, 64, 64, 2)


def state(parameters: Parameters, x: Array) -> tuple[Array, Array]:
    """A head's mean and deviation."""
    both = outputs(parameters, x)
    return both[..., 0], jax.nn.softplus(both[..., 1])


def heads(seed: Array, steps: int) -> tuple[Problem, Array, Array, Array]:
    """A problem, the first stage's scores `[X, N]`, and means and deviations of the heads `[M, X, N]`.

    All of them in the units in which the first stage has deviation 1 over the reference policy.
    """
    problem_key, first_key, order_key, heads_key = jax.random.split(jax.random.key(seed), 4)
    problem = pose(problem_key, NOISE)
    first = fit(order_key, network(first_key, SIZES), pair_loss, problem.pairs, steps)
    plain = score(first, problem.features)
    answers = problem.pairs.obs[:, :, 0].reshape(-1, SIZES[0])
    data = answers, (score(first, answers) - plain.mean()) / plain.std()

    def loss(parameters: Parameters, rows: tuple[Array, Array]) -> Array:
        return brme_loss(*state(parameters, rows[0]), rows[1])

    def train(key: Array) -> tuple[Array, Array]:
        part, start, order = jax.random.split(key, 3)
        own = jax.random.permutation(part, len(answers))[: len(answers) // 2]
        mine = jax.tree.map(lambda x: x[own], data)
        return state(fit(order, network(start, HEAD), loss, mine, steps), problem.features)

    mean, std = jax.lax.map(train, jax.random.split(heads_key, ENSEMBLE))
    return problem, standardised(plain), mean, std


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    def one(seed: Array) -> dict[str, Array]:
        problem, single, mean, std = heads(seed, updates)
        proxies = {"single": single, "mean of heads": mean.mean(0)}
        proxies |= {f"nominal {share}": brme_reward(mean, std, share) for share in NOMINAL}
        confident, lowest = (brme_reward(mean, std, share) for share in (1.0, 0.0))
        proxies["0.6, penalty of another answer"] = confident - 0.4 * jnp.roll(confident - lowest, 1, -1)
        found = {"deviation stated": std.mean()}
        for name, proxy in proxies.items():
            (gold,), _ = best_of_n_curve(proxy, problem.gold[None], BEST_OF)
            found[name] = gold[-1]
            found[f"{name}: drop"] = gold.max() - gold[-1]
        noise = jax.random.normal(jax.random.key(seed + 1), (2, *mean.shape))
        uniform = jnp.full(single.shape, -jnp.log(single.shape[1]))
        rewards = {
            "noise: single": noise[0, 0],
            "noise: nominal 0.6": brme_reward(noise[0], jnp.abs(noise[1]), 0.6),
            "constant: nominal 0.6": brme_reward(0.0 * mean + 1.0, jnp.abs(noise[1]), 0.6),
        }
        for name, reward in rewards.items():
            found[name] = categorical_kl(tilt(uniform, reward, BETA), uniform).mean()
        return found

    found = jax.jit(lambda seeds: jax.lax.map(one, seeds))(jnp.asarray(seeds, jnp.uint32))
    return {name: np.asarray(values, np.float64).tolist() for name, values in found.items()}


CLAIM = Claim(
    name="reward_robust",
    title="Reward-Robust RLHF in LLMs",
    year=2024,
    cards=(94,),
    environment=f"32 prompts with pools of {BEST_OF[-1]} answers, gold reward with a bad and rare tail; {PAIRS}"
    f" preferences, {NOISE:.0%} of them labelled wrong",
    baseline="the reward model of the first stage; the most confident head alone",
    method="0.6 of the most confident of five heads and 0.4 of the lowest (the paper's robust weight of 0.4)",
    metric=f"gold reward of the best of {BEST_OF[-1]}, in deviations of the reference policy's answers; KL divergence"
    " of the optimum where the reward is noise",
    conditions=(
        Condition("nominal 0.6: above single", "nominal 0.6", "single", 0.25, paired=True),
        Condition("nominal 0.6: above the most confident head", "nominal 0.6", "nominal 1.0", 0.2, paired=True),
        Condition(
            "nominal 0.6: above the same with another answer's penalty",
            "nominal 0.6",
            "0.6, penalty of another answer",
            0.2,
            paired=True,
        ),
        Condition("worst case: above single", "nominal 0.0", "single", 0.6, paired=True),
        Condition(
            "noise: smaller divergence than single",
            "noise: nominal 0.6",
            "noise: single",
            0.5,
            direction=-1,
            paired=True,
        ),
    ),
    settings={
        "heads": ENSEMBLE,
        "network": SIZES,
        "head": HEAD,
        "share_of_answers": 0.5,
        "batch": 64,
        "learning_rate": 1e-3,
        "kl_penalty": BETA,
        "margins": "about half of the effects on the tuning seeds",
    },
    updates=1000,
    steps_per_update=64,
    run=run,
    seeds=range(1000, 1020),
)
