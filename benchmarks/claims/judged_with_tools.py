"""Preference pairs made by a judge with tools are better than those of a model that judges itself.

A prompt's answers have a quality and an intensity (think of length); gold is bad where intensity is high. The model's
own judgement of its answers has some sight of gold and a liking for intensity, the bias of its training. Tools are
three independent and noisy views of gold. Of five candidates the best and the worst in the judge's eyes make a pair;
reward models of such pairs are optimised by best of n in pools that are the reference policy. The same tools looking at
other answers are the control.

Prompts for the two players are learned by trial: four of the target's, which differ in how far its candidates spread,
and four of the judge's, which differ in noise. Each player moves its own softmax policy by the policy gradient on what
an independent quality model says of the pair. Within 200 rounds both are to prefer the planted best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import (
    SIZES,
    best_of_n_curve,
    fit,
    network,
    pair_loss,
    pool_features,
    score,
    standardised,
)
from rlx.envs.bandit import draw_answers, gold_pool, gold_task
from rlx.reward import mine_pairs, mix_rewards
from rlx.types import Array, PreferenceBatch

QUERIES, CANDIDATES, TOOLS = 2000, 5, 3
SIGHT, BIAS, SELF_NOISE, TOOL_NOISE = 0.5, 1.0, 0.7, 1.0  # of the own judgement and of the tools, in deviations of gold
WEIGHTS = (0.25, 1.0, 1.0, 1.0)  # of the own judgement and each tool
GAP = 0.5  # of the judge's scores, in deviations, below which a pair is not kept
PROMPTS, ANSWERS = 8, 2048
BEST_OF = (1, 4, 16, 64, 256, 2048)
SPREADS, NOISES = jnp.array([0.3, 0.5, 0.7, 1.0]), jnp.array([2.0, 1.0, 0.5, 0.2])  # of the players' prompts
ROUNDS, RATE = 200, 0.4


def prompts(key: Array, informative: Array) -> Array:
    """Whether both players prefer their best prompt after all rounds."""

    def play(state: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], None]:
        logits, baseline = state
        choice_key, gold_key, judge_key, quality_key, other_key = jax.random.split(key, 5)
        choice = jax.random.categorical(choice_key, logits)  # of target and judge
        gold = SPREADS[choice[0]] * jax.random.normal(gold_key, (CANDIDATES,))
        seen = gold + NOISES[choice[1]] * jax.random.normal(judge_key, gold.shape)
        quality = gold + 0.3 * jax.random.normal(quality_key, gold.shape)
        quality = jnp.where(informative, quality, jax.random.normal(other_key, gold.shape))
        reward = quality[jnp.argmax(seen)] - quality[jnp.argmin(seen)]
        taken = jax.nn.one_hot(choice, 4) - jax.nn.softmax(logits)
        return (logits + RATE * (reward - baseline) * taken, 0.9 * baseline + 0.1 * reward), None

    (logits, _), _ = jax.lax.scan(play, (jnp.zeros((2, 4)), jnp.zeros(())), jax.random.split(key, ROUNDS))
    return jnp.all(jnp.argmax(logits, -1) == 3).astype(jnp.float32)


def one(seed: Array, steps: int) -> dict[str, Array]:
    keys = iter(jax.random.split(jax.random.key(seed), 16))
    task = gold_task(next(keys))
    asked = jax.random.normal(next(keys), (QUERIES, 1, 8))
    answers = draw_answers(task, next(keys), (QUERIES, CANDIDATES), asked)
    obs = jnp.concatenate([answers.prompt, answers.response], -1)[:, :, None]
    shape = QUERIES, CANDIDATES
    batch = PreferenceBatch(obs, None, jnp.ones((*shape, 1), bool), jnp.full(shape, 1 / CANDIDATES), gold=answers.gold)
    own = SIGHT * answers.gold + BIAS * answers.log_intensity / task.width
    own += SELF_NOISE * jax.random.normal(next(keys), shape)
    tools = answers.gold[..., None] + TOOL_NOISE * jax.random.normal(next(keys), (*shape, TOOLS))
    views = {
        "judging itself": own[..., None],
        "with tools": jnp.concatenate([own[..., None], tools], -1),
        "with tools on others": jnp.concatenate([own[..., None], jnp.roll(tools, 1, 0)], -1),
    }
    pool = gold_pool(task, next(keys), PROMPTS, ANSWERS)
    features = pool_features(pool)
    start, order = network(next(keys), SIZES), next(keys)
    found = {}
    for name, view in views.items():
        judged = mix_rewards(view, jnp.array(WEIGHTS[: view.shape[-1]]), view.reshape(-1, view.shape[-1]))
        pairs: Any = mine_pairs(batch, judged, GAP * judged.std())
        kept = pairs.weight > 0
        right = pairs.gold[:, 0] > pairs.gold[:, 1]
        found[f"right pairs, {name}"] = jnp.sum(right & kept) / jnp.maximum(kept.sum(), 1)
        found[f"pairs kept, {name}"] = kept.mean()
        lean = pairs._replace(gold=None, source=None, strength=None)
        proxy = standardised(score(fit(order, start, pair_loss, lean, steps), features))
        (gold,), _ = best_of_n_curve(proxy, pool.gold[None], BEST_OF)
        found[f"gold of the best of {ANSWERS}, {name}"] = gold[-1]
        found[f"drop from the peak, {name}"] = gold.max() - gold[-1]
    for name, informative in (("prompts found", True), ("prompts found, random quality", False)):
        runs = jax.random.split(next(keys), 50)
        found[name] = jax.vmap(lambda key, told=informative: prompts(key, jnp.asarray(told)))(runs).mean()
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.jit(lambda seeds: jax.lax.map(lambda seed: one(seed, updates), seeds))(jnp.asarray(seeds, jnp.uint32))
    return {name: np.asarray(values, np.float64).tolist() for name, values in found.items()}


CLAIM = Claim(
    name="judged_with_tools",
    title="Anyprefer: An Agentic Framework for Preference Data Synthesis",
    year=2025,
    cards=(124,),
    environment=f"{PROMPTS} prompts with pools of {ANSWERS} answers, gold with a bad and rare tail; {QUERIES} queries"
    f" of {CANDIDATES} candidates, labelled by a judge",
    baseline="the model's own judgement, which likes intensity; tools that look at other answers",
    method=f"its judgement together with {TOOLS} independent tools",
    metric="pairs that are right by gold; gold reward of best of n by a reward model of the pairs",
    conditions=(
        Condition(
            "right pairs: ten points above judging itself",
            "right pairs, with tools",
            "right pairs, judging itself",
            0.1,
            paired=True,
        ),
        Condition(
            "right pairs: above tools on others",
            "right pairs, with tools",
            "right pairs, with tools on others",
            0.1,
            paired=True,
        ),
        Condition(
            "optimised: less drop from the peak",
            "drop from the peak, with tools",
            "drop from the peak, judging itself",
            0.0,
            direction=-1,
            paired=True,
        ),
        Condition("best prompts found in most runs", "prompts found", 0.5),
        Condition("prompts: above random quality", "prompts found", "prompts found, random quality", 0.3, paired=True),
    ),
    settings={
        "sight": SIGHT,
        "bias": BIAS,
        "noise": (SELF_NOISE, TOOL_NOISE),
        "weights": WEIGHTS,
        "gap": GAP,
        "network": SIZES,
        "rounds": ROUNDS,
        "rate": RATE,
    },
    updates=800,
    steps_per_update=64,
    run=run,
)
