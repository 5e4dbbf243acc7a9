"""Guessing an item by questions: offline reinforcement learning from careless people's games, compared with imitation.

Each seed has sixteen items with six attributes, and 5000 games of people who ask in any order, sometimes for what they
know, and sometimes guess too early. They stand for the imagined dialogues, which took a language model. Everything is a
table over the 729 situations (what is known), so that the return of a policy is exact, and the best one known.

ILQL: values by an expectile of the action values under a slow target, these by TD with the conservative penalty, and at
decoding the log-probabilities of behaviour cloning plus beta times the advantage. Filtered cloning imitates the 30% of
the games that returned most. "one step" is ILQL with a discount of 0: asking then never pays.

On seeds 0 to 3 were chosen, in two rounds: beta (1 to 32; for one step, 1 was the best), the weight of the penalty
(0.03, 0.1, 1), the expectile (0.7, 0.8, 0.9), and the count that cloning adds to each action (0.01, 0.0001). Tables say
nothing about actions that a situation's log does not hold; without a strong penalty a high beta prefers these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.claims.claim import Claim, Condition
from rlx.envs.dialogue import GuessLog, GuessWho
from rlx.types import Array
from rlx.value import cql_penalty, implicit_max_loss, take_action, td_loss, value_guided_logits

ENV = GuessWho()
SITUATIONS, ACTIONS = 3**ENV.attributes, ENV.attributes + ENV.items
GAMES, KEPT = 5000, 0.3
EXPECTILE, DISCOUNT, POLYAK = 0.8, 0.99, 0.005
PENALTY, TEMPERATURE = 1.0, 1.0  # of the conservative term
BETA, ONE_STEP_BETA = 8.0, 1.0  # nats per unit of advantage at decoding
LEARNING_RATE, BATCH, STEPS = 0.02, 1024, 2000
PRIOR = 1e-4  # counts that cloning adds to each action


class Tables(NamedTuple):
    q: Array  # [S, A]
    value: Array  # [S]


class Turns(NamedTuple):
    """Rows of the log; those with weight 0 were not played."""

    situation: Array
    action: Array
    reward: Array
    after: Array
    terminated: Array
    weight: Array


def turns(log: GuessLog) -> Turns:
    here, after = log.situation[:, :-1], log.situation[:, 1:]
    rows = Turns(here, log.action, log.reward, after, log.terminated, log.mask.astype(jnp.float32))
    return jax.tree.map(jnp.ravel, rows)


def clone(rows: Turns, weight: Array) -> Array:
    """Log-probabilities `[S, A]`: how often each action was taken, in rows that count."""
    counts = jnp.full((SITUATIONS, ACTIONS), PRIOR).at[rows.situation, rows.action].add(rows.weight * weight)
    return jnp.log(counts / counts.sum(-1, keepdims=True))


def ilql(key: Array, rows: Turns, discount: float, steps: int) -> Array:
    """The advantage `[S, A]`."""
    optimiser = optax.adam(LEARNING_RATE)
    order, number = jnp.argsort(-rows.weight), jnp.sum(rows.weight).astype(jnp.int32)

    def update(carry: tuple, key: Array) -> tuple[tuple, None]:
        tables, slow, state = carry
        index = order[jax.random.randint(key, (BATCH,), 0, number)]
        batch: Turns = jax.tree.map(lambda x: x[index], rows)

        def loss(tables: Tables) -> Array:
            q = tables.q[batch.situation]
            taken = take_action(q, batch.action)
            ahead = jnp.where(batch.terminated, 0.0, tables.value[batch.after])
            q_loss = td_loss(taken, batch.reward + discount * ahead)
            diff = jax.lax.stop_gradient(slow[batch.situation, batch.action]) - tables.value[batch.situation]
            v_loss = implicit_max_loss(diff, "expectile", EXPECTILE)
            return jnp.mean(q_loss + v_loss + PENALTY * cql_penalty(q, taken, TEMPERATURE))

        change, state = optimiser.update(jax.grad(loss)(tables), state)
        after: Any = optax.apply_updates(tables, change)
        return (after, optax.incremental_update(after.q, slow, POLYAK), state), None

    tables = Tables(jnp.zeros((SITUATIONS, ACTIONS)), jnp.zeros(SITUATIONS))
    start = tables, tables.q, optimiser.init(tables)
    (tables, _, _), _ = jax.lax.scan(update, start, jax.random.split(key, steps))
    return tables.q - tables.value[:, None]


def one(seed: Array, attribute: Array, steps: int) -> dict[str, Array]:
    params = ENV.default_params.replace(attribute=attribute)
    log_key, many_key, single_key = jax.random.split(jax.random.key(seed), 3)
    log = ENV.scripted_log(log_key, GAMES, params=params)
    total = jnp.sum(jnp.where(log.mask, log.reward, 0.0), 1)
    rows = turns(log)
    best = total >= jnp.quantile(total, 1 - KEPT)
    everyone = clone(rows, jnp.ones(len(rows.weight)))
    advantage = ilql(many_key, rows, DISCOUNT, steps)
    at_once = ilql(single_key, rows, 0.0, steps)
    policies = {
        "cloning": everyone,
        "filtered cloning": clone(rows, jnp.repeat(best, log.mask.shape[1])),
        "ILQL": value_guided_logits(everyone, advantage, BETA),
        "one step": value_guided_logits(everyone, at_once, ONE_STEP_BETA),
    }
    found = {name: ENV.evaluate(jnp.exp(log_policy), params) for name, log_policy in policies.items()}
    return found | {"log": total.mean()}


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    games = [GuessWho(seed=seed) for seed in seeds]
    tables = jnp.stack([game.default_params.attribute for game in games])
    compiled = jax.jit(jax.vmap(lambda seed, table: one(seed, table, updates)))
    found = compiled(jnp.asarray(seeds, jnp.uint32), tables)
    samples = {name: np.asarray(x, np.float64) for name, x in found.items()}
    best = np.array([game.optimal_return() for game in games])
    samples |= {"optimum": best, "share of the gap": (samples["ILQL"] - samples["log"]) / (best - samples["log"])}
    samples["cloning, off the log"] = np.abs(samples["cloning"] - samples["log"])
    return {name: x.tolist() for name, x in samples.items()}


CLAIM = Claim(
    name="guessing_dialogues",
    title="Zero-Shot Goal-Directed Dialogue via RL on Imagined Conversations",
    year=2023,
    cards=(90,),
    environment="rlx/guess-who-16: other items for each seed; 5000 games of scripted people",
    baseline="behaviour cloning, of all games and of the best 30%; ILQL that looks one step ahead",
    method="ILQL on the games: implicit values, a conservative penalty, cloning tilted by the advantage",
    metric="expected return, exactly",
    conditions=(
        Condition("more than filtered cloning", "ILQL", "filtered cloning", paired=True),
        Condition("filtered cloning: more than cloning", "filtered cloning", "cloning", paired=True),
        Condition("cloning: within 0.3 of the log's mean", "cloning, off the log", 0.3, direction=-1),
        Condition("share of the gap from the log's mean to the optimum", "share of the gap", 0.7),
        Condition("more than one step ahead", "ILQL", "one step", paired=True),
    ),
    settings={
        "games": GAMES,
        "kept": KEPT,
        "expectile": EXPECTILE,
        "discount": DISCOUNT,
        "penalty": PENALTY,
        "beta": BETA,
        "one_step_beta": ONE_STEP_BETA,
        "learning_rate": LEARNING_RATE,
        "batch": BATCH,
    },
    updates=STEPS,
    steps_per_update=BATCH,
    run=run,
    seeds=range(1000, 1020),
)
