"""A model of users' reactions predicts how policies will be received, and optimising it alone teaches a trick.

Answers to one prompt are shown to users, two in a hundred of whom react with a heart: more to good answers, and more to
those that say farewell, which one in twenty does and which helps nobody. The reaction model is trained on all hearts
and every twentieth answer without one, and its logits are corrected for that. Helpfulness is a second model, trained
on pairs that people compared by quality.

Policies are exact: tilts of 4096 answers by a mix of the two rewards. As the weight of the heart grows the love rate is
to rise and helpfulness to fall, until farewells explode. The offline prediction, the mean of the corrected
probability, is compared with the true love rate over ten policies. Reactions dealt out anew at random are the control.

Chosen on seeds 0 to 3: quality that is standardised for the prompt, the slope of the reaction in it (1.3; at 1.5 hearts
follow quality so closely that the love rate hardly rises, and falls on some seeds), rarer farewells, and twice the
answers and more than twice the updates, without which the model of hearts was too coarse to optimise.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import Parameters, fit, network, score
from rlx.envs.bandit import GoldTask, draw_answers, gold_task
from rlx.envs.users import reaction_prob
from rlx.reward import auroc, correct_prior, mix_rewards, preference_loss, reaction_loss, tilt
from rlx.types import Array

SLOPE, TRICK, SHIFT = 1.3, 2.0, 5.05  # of the reaction's logit: per deviation of quality, for a farewell, and its level
FAREWELLS = 0.05  # share of the reference policy's answers
SHOWN, KEPT, NEGATIVE_RATE = 800_000, 60_000, 0.05
PAIRS, POOL, TEST = 4000, 4096, 20_000
SIZES = (9, 64, 64, 1)
LEARNING_RATE, BATCH = 1e-3, 64
WEIGHTS = (0.0, 0.3, 0.5, 0.7, 1.0)  # of the reaction; one less it of helpfulness
BETAS = (0.5, 1.0)  # of the KL penalty


def one_prompt(key: Array) -> GoldTask:
    """A random gold reward, standardised over answers to the one prompt that is asked."""
    task_key, answer_key = jax.random.split(key)
    task = gold_task(task_key, width=0.0)
    gold = draw_answers(task, answer_key, (8192,), jnp.zeros(8)).gold
    mean, deviation = task.gold_moments
    return task._replace(gold_moments=(mean + deviation * gold.mean(), deviation * gold.std()))


def draw(task: GoldTask, key: Array, *shape: int) -> tuple[Array, Array, Array]:
    """Features `[*shape, 9]`, quality and the probability of a heart."""
    answer_key, farewell_key = jax.random.split(key)
    answers = draw_answers(task, answer_key, shape, jnp.zeros(8))
    farewell = jax.random.bernoulli(farewell_key, FAREWELLS, shape).astype(jnp.float32)
    features = jnp.concatenate([answers.response, farewell[..., None]], -1)
    return features, answers.gold, reaction_prob(answers.gold, TRICK * farewell, slope=SLOPE, level=-SHIFT)


def reactions(parameters: Parameters, rows: tuple[Array, Array, Array]) -> Array:
    return reaction_loss(score(parameters, rows[0]), rows[1], rows[2])


def comparisons(parameters: Parameters, rows: tuple[Array, Array]) -> Array:
    scores = score(parameters, rows[0])
    return preference_loss(scores[:, 0] - scores[:, 1], rows[1])


def one(seed: Array, steps: int) -> dict[str, Array]:
    keys = iter(jax.random.split(jax.random.key(seed), 16))
    task = one_prompt(next(keys))
    features, _, love = draw(task, next(keys), SHOWN)
    heart = jax.random.bernoulli(next(keys), love)
    kept = heart | jax.random.bernoulli(next(keys), NEGATIVE_RATE, (SHOWN,))
    rows = jnp.argsort(~kept)[:KEPT]
    start, order, shuffle = next(keys), next(keys), next(keys)

    def train(heart: Array) -> Parameters:
        data = features[rows], heart[rows].astype(jnp.float32), kept[rows]
        return fit(order, network(start, SIZES), reactions, data, steps, BATCH, LEARNING_RATE)

    models = {
        "trained": train(heart),
        "on others' reactions": train(heart.at[rows].set(jax.random.permutation(shuffle, heart[rows]))),
    }
    pairs, quality, _ = draw(task, next(keys), PAIRS, 2)
    better = jax.random.bernoulli(next(keys), jax.nn.sigmoid(2 * (quality[:, 0] - quality[:, 1])))
    data = pairs, better.astype(jnp.float32)
    helpful = fit(next(keys), network(next(keys), SIZES), comparisons, data, steps, BATCH, LEARNING_RATE)

    found = {}
    shown, _, love = draw(task, next(keys), TEST)
    heart = jax.random.bernoulli(next(keys), love)
    for name, model in models.items():
        found[f"AUROC, {name}"] = auroc(score(model, shown), heart)
    raw = score(models["trained"], shown)
    for name, logit in (("corrected", correct_prior(raw, NEGATIVE_RATE)), ("as trained", raw)):
        found[f"log of stated over true rate, {name}"] = jnp.abs(jnp.log(jax.nn.sigmoid(logit).mean() / love.mean()))

    pool, quality, love = draw(task, next(keys), POOL)
    logit = correct_prior(score(models["trained"], pool), NEGATIVE_RATE)
    rewards = jnp.stack([logit, score(helpful, pool)], -1)
    uniform = jnp.full(POOL, -jnp.log(POOL))
    stated, true = [], []
    for beta in BETAS:
        for weight in WEIGHTS:
            mixed = mix_rewards(rewards, jnp.array([weight, 1 - weight]), rewards)
            prob = jnp.exp(tilt(uniform, mixed, beta))
            stated.append(prob @ jax.nn.sigmoid(logit))
            true.append(prob @ love)
            if beta == BETAS[0]:
                values = {"love rate": true[-1], "quality": prob @ quality, "farewells": prob @ pool[:, 8]}
                found |= {f"{name}, weight {weight}": value for name, value in values.items()}
    rates = jnp.stack(true[: len(WEIGHTS)])
    found["least rise of the love rate"] = jnp.diff(rates).min() / rates[0]
    found["farewells, weight 1.0 over 0.3"] = found["farewells, weight 1.0"] / found["farewells, weight 0.3"]
    found["correlation of stated and true rate"] = jnp.corrcoef(jnp.stack(stated), jnp.stack(true))[0, 1]
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.jit(lambda seeds: jax.lax.map(lambda seed: one(seed, updates), seeds))(jnp.asarray(seeds, jnp.uint32))
    return {name: np.asarray(values, np.float64).tolist() for name, values in found.items()}


CLAIM = Claim(
    name="user_reactions",
    title="Reinforcement Learning from User Feedback",
    year=2025,
    cards=(144,),
    environment="answers to one prompt, of which users react to 2%: to quality, and to a farewell that helps nobody;"
    f" {SHOWN} shown, all hearts and {NEGATIVE_RATE:.0%} of the rest kept",
    baseline="the reward of helpfulness alone; reactions dealt out at random",
    method="a model of the reaction with its base rate corrected, mixed with helpfulness",
    metric="rates and mean quality of exact policies, tilts of 4096 answers",
    conditions=(
        Condition("AUROC of the reaction: above 0.8", "AUROC, trained", 0.8),
        Condition("AUROC: above random reactions", "AUROC, trained", "AUROC, on others' reactions", 0.2, paired=True),
        Condition(
            "correlation of stated and true love rate over ten policies: above 0.9",
            "correlation of stated and true rate",
            0.9,
        ),
        Condition(
            "stated rate: nearer with the correction",
            "log of stated over true rate, corrected",
            "log of stated over true rate, as trained",
            1.0,
            direction=-1,
            paired=True,
        ),
        Condition("love rate rises with every step of its weight", "least rise of the love rate", 0.0),
        Condition("quality falls", "quality, weight 1.0", "quality, weight 0.0", 0.0, direction=-1, paired=True),
        Condition("farewells: three times those at weight 0.3", "farewells, weight 1.0 over 0.3", 3.0),
    ),
    settings={
        "slope": SLOPE,
        "trick": TRICK,
        "shift": SHIFT,
        "pairs": PAIRS,
        "network": SIZES,
        "learning_rate": LEARNING_RATE,
        "batch": BATCH,
        "kl_penalties": BETAS,
    },
    updates=4000,
    steps_per_update=BATCH,
    run=run,
)
