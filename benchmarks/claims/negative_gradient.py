"""Losses that push bad answers down part good from bad faster than imitation does, and learn more of their own samples.

`on_policy_pairs` shows on bandits what samples of the policy itself are worth. The paper's second point needs a policy
that generalises: here a recurrent network on the tiny token task. Of eight answers a judge names the best and the
worst; best of n imitates the best, DPO and IPO use both, and so does best of n with a negative gradient, imitation
less a tenth of the log-probability of the worst. Answers come from the reference, or from the policy as it was at most
ten steps ago. All take the same number of steps of the same size, and are read also at equal divergence.

Nothing was tuned: the settings are first guesses, and were tried on seeds 0 and 1.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.token_policies import (
    ENV,
    EVERY,
    Task,
    draw,
    each_seed,
    expected,
    log_policy,
    nats,
    read_at,
    task,
    token_log_prob,
)
from rlx.policy import best_worst_pair, dpo_loss, ipo_loss
from rlx.types import Array, PyTree

GROUPS, SAMPLES = 16, 8  # groups of each prompt in a snapshot, answers in a group
REFRESH = 10  # steps for which the sampling policy stays
BATCH, LEARNING_RATE = 64, 1e-3
BETA, TAU = 0.1, 0.1
PUSH = 0.1  # weight of the worst answer's log-probability
AT = 0.5  # nats from the reference
METHODS = ("best of n", "best of n, pushed", "DPO", "IPO")


def losses(method: str, log_prob: Array, mask: Array, reference: Array) -> Array:
    """Of pairs whose first is the best and whose second is the worst, `[B, 2, T]`."""
    first = jnp.ones(len(log_prob))
    if method == "DPO":
        return dpo_loss(log_prob, mask, first, reference, beta=BETA)
    if method == "IPO":
        return ipo_loss(log_prob, mask, first, reference, tau=TAU)
    best, worst = jnp.sum(log_prob, -1).T
    return -best + (PUSH * worst if method.endswith("pushed") else 0)


def learn(key: Array, problem: Task, gold: Array, own: Array, method: str, snapshots: int) -> dict[str, Array]:
    """Gold score, divergence, and margin on fixed pairs of the reference, after each snapshot."""
    test_key, run_key = jax.random.split(key)
    optimiser = optax.adam(LEARNING_RATE)
    row = jnp.repeat(jnp.arange(len(problem.prompt)), GROUPS)
    prompt = problem.prompt[row]

    def collect(key: Array, log_prob: Array) -> tuple[Array, Array]:
        """The best and the worst `[X * GROUPS, 2]` of each group, and whether they differ."""
        index = draw(key, log_prob, (GROUPS, SAMPLES))
        pair = best_worst_pair(jax.vmap(lambda s, i: s[i])(gold, index))
        return jnp.take_along_axis(index, pair.index, -1).reshape(-1, 2), pair.gap.ravel() > 0

    test, differ = collect(test_key, problem.log_reference)

    def stretch(carry: tuple, key: Array) -> tuple[tuple, dict[str, Array]]:
        params, state, now = carry
        draw_key, *keys = jax.random.split(key, REFRESH + 1)
        index, decided = collect(draw_key, jnp.where(own, now, problem.log_reference))
        reference = token_log_prob(problem.params, prompt, index)

        def step(carry: tuple, key: Array) -> tuple[tuple, None]:
            params, state = carry
            some = jax.random.randint(key, (BATCH,), 0, len(row))

            def loss(params: PyTree) -> Array:
                log_prob = token_log_prob(params, prompt[some], index[some])
                each = losses(method, log_prob, EVERY.mask[index[some]], reference[some])
                return jnp.mean(each * decided[some])

            change, state = optimiser.update(jax.grad(loss)(params), state)
            return (optax.apply_updates(params, change), state), None

        (params, state), _ = jax.lax.scan(step, (params, state), jnp.stack(keys))
        now = log_policy(params, problem.prompt)
        best, worst = jnp.take_along_axis(now[row], test, 1).T
        found = {
            "gold": expected(now, gold),
            "divergence": nats(now, problem.log_reference),
            "margin": jnp.sum(differ * (best - worst)) / jnp.sum(differ),
            "best": jnp.sum(differ * best) / jnp.sum(differ),
        }
        return (params, state, now), found

    start = problem.params, optimiser.init(problem.params), problem.log_reference
    return jax.lax.scan(stretch, start, jax.random.split(run_key, snapshots))[1]


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    def one(key: Array) -> dict[str, Array]:
        task_key, run_key = jax.random.split(key)
        problem = task(task_key)
        gold = problem.gold @ ENV.default_params.weight
        start = expected(problem.log_reference, gold)
        found = {"reference": start}
        for method in METHODS:
            train = functools.partial(learn, run_key, problem, gold, method=method, snapshots=updates)
            both = jax.lax.map(lambda own, train=train: train(own=own), jnp.array([True, False]))
            for i, whose in enumerate(("on", "off")):
                path = {name: x[i] for name, x in both.items()}
                found |= {f"{method}, {whose}-policy: {name}": x[-1] for name, x in path.items()}
                found[f"{method}, {whose}-policy: gold at {AT} nats"] = read_at(
                    AT, start, path["divergence"], path["gold"]
                )
        return found

    return each_seed(one, seeds)


CLAIM = Claim(
    name="negative_gradient",
    title="Preference Fine-Tuning of LLMs Should Leverage Suboptimal, On-Policy Data",
    year=2024,
    cards=(38,),
    environment="tiny token task, 8 prompts; the best and the worst of eight answers are known",
    baseline="imitation of the best of eight",
    method="DPO, IPO, and imitation less a tenth of the worst one's log-probability",
    metric="mean log-probability of the reference's best less its worst answers; exact gold score after as many steps",
    conditions=(
        *(
            Condition(
                f"{method} off-policy parts best from worst faster than imitation",
                f"{method}, off-policy: margin",
                "best of n, off-policy: margin",
                paired=True,
            )
            for method in METHODS[1:]
        ),
        *(
            Condition(
                f"{method} on-policy learns more than imitation in as many steps",
                f"{method}, on-policy: gold",
                "best of n, on-policy: gold",
                paired=True,
            )
            for method in METHODS[1:]
        ),
    ),
    settings={
        "groups": GROUPS,
        "samples": SAMPLES,
        "refresh": REFRESH,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "beta": BETA,
        "tau": TAU,
        "push": PUSH,
    },
    updates=20,  # snapshots of the policy
    steps_per_update=REFRESH * BATCH * SAMPLES,
    run=run,
)
