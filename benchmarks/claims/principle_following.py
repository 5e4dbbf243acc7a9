"""A reward model that reads the principle ranks by principles that it was not trained on.

A principle weighs six attributes of an answer, or ranks two of them: the better third of the first attribute, and
within a third more of the second. Forty principles train a model that scores five answers at once, by the likelihood
of their rankings; the paper does it by policy gradients on a judge's written scores. The split is by principle, never
by pair: hundreds of new weightings and all rankings of two attributes that were left out. A model without the
principle and one that is told another query's are the controls. There is one prompt.

One model then drives two policies in opposite directions, by its principle alone: the tilts of 4096 answers by its
score for more, and for less, of the first attribute (think of length).

Chosen on seeds 0 to 5: twenty training rankings in place of ten, and a place in the principle for which attribute comes
first, apart from its weights. With ten and without that place new weightings were at 0.84, new rankings at 0.61; with
both at 0.86 and 0.73.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import fit, network, outputs, standardised
from rlx.envs.bandit import GoldTask, draw_answers, gold_task
from rlx.reward import listwise_reward, plackett_luce_loss, tilt
from rlx.types import Array, PyTree

ATTRIBUTES, CANDIDATES = 6, 5
WEIGHTINGS, RANKINGS = 20, 20  # of the training principles
QUERIES, NEW = 16000, 300
FEATURES = 24
SIZES = (16, 64, 64, FEATURES)
LEARNING_RATE, BATCH = 3e-3, 64
THIRDS = 10.0  # by how much a third of the first attribute outweighs the second
BETA, POOL = 0.5, 4096


def weighting(key: Array, number: int) -> Array:
    """Principles that weigh all attributes, `[number, 18]`."""
    drawn = jax.random.normal(key, (number, ATTRIBUTES))
    drawn /= jnp.linalg.norm(drawn, axis=-1, keepdims=True)
    return jnp.pad(drawn, ((0, 0), (0, 2 * ATTRIBUTES)))


def rankings(key: Array) -> Array:
    """All principles that rank two attributes, `[30, 18]`: which comes first and which second, in random order."""
    first, second = np.nonzero(~np.eye(ATTRIBUTES, dtype=bool))
    eye = jnp.eye(ATTRIBUTES)
    return jax.random.permutation(key, jnp.concatenate([0 * eye[first], eye[first], eye[second]], -1))


def truth(principle: Array, attribute: Array) -> Array:
    """What a principle orders by: `[..., 18]`, `[..., C, 6]` -> `[..., C]`."""
    weights, first, second = jnp.split(principle[..., None, :], 3, -1)
    third = jnp.sign(attribute) * (jnp.abs(attribute) > 0.43)  # of a normal attribute
    return jnp.sum(weights * attribute + THIRDS * first * third + second * attribute, -1)


def score(parameters: PyTree, features: Array, principle: Array) -> Array:
    """A bilinear form of the answer's features and the principle: `[..., C, 16]`, `[..., 18]` -> `[..., C]`."""
    wanted = outputs(parameters["principle"], principle)
    return jnp.sum(outputs(parameters["answer"], features) * wanted[..., None, :], -1)


def loss(parameters: PyTree, rows: tuple[Array, Array, Array]) -> Array:
    features, principle, rank = rows
    return plackett_luce_loss(score(parameters, features, principle), rank)


def draw(task: GoldTask, key: Array, *shape: int) -> tuple[Array, Array]:
    """Features `[*shape, 16]` and attributes `[*shape, 6]` of answers."""
    answers = draw_answers(task, key, shape, jnp.zeros(8))
    return jnp.concatenate([answers.prompt, answers.response], -1), answers.attribute


def one(seed: Array, steps: int) -> dict[str, Array]:
    keys = iter(jax.random.split(jax.random.key(seed), 16))
    task = gold_task(next(keys), ATTRIBUTES, 0.0)
    ranked = rankings(next(keys))
    old = jnp.concatenate([weighting(next(keys), WEIGHTINGS), ranked[:RANKINGS]])
    features, attribute = draw(task, next(keys), QUERIES, CANDIDATES)
    principle = old[jax.random.randint(next(keys), (QUERIES,), 0, len(old))]
    rank = jnp.argsort(jnp.argsort(-truth(principle, attribute), -1), -1)
    start = {
        "answer": network(next(keys), SIZES),
        "principle": network(next(keys), (3 * ATTRIBUTES, FEATURES)),
    }
    blind = jnp.full(3 * ATTRIBUTES, 0.3)
    seen = {
        "told": principle,
        "blind": jnp.broadcast_to(blind, principle.shape),
        "told another's": jax.random.permutation(next(keys), principle),
    }
    order = next(keys)
    models = {
        name: fit(order, start, loss, (features, given, rank), steps, BATCH, LEARNING_RATE)
        for name, given in seen.items()
    }

    found = {}
    kinds = {"weightings": weighting(next(keys), NEW), "rankings": ranked[RANKINGS:]}
    features, attribute = draw(task, next(keys), 100, CANDIDATES)
    for kind, new in kinds.items():
        gold = truth(new[:, None], attribute)
        for name, model in models.items():
            given = jnp.broadcast_to(blind, new.shape) if name == "blind" else new
            tau = listwise_reward(score(model, features, given[:, None]), gold).mean(-1)
            found[f"{name}: new {kind}"] = tau.mean()
            if (name, kind) == ("told", "weightings"):
                near = jnp.max(new[:, :ATTRIBUTES] @ old[:WEIGHTINGS, :ATTRIBUTES].T, -1)
                found["correlation with nearness"] = jnp.corrcoef(near, tau)[0, 1]

    features, attribute = draw(task, next(keys), POOL)
    uniform = jnp.full(POOL, -jnp.log(POOL))
    for name, model in models.items():
        lengths = []
        for sign in (1.0, -1.0):
            given = blind if name == "blind" else sign * jnp.eye(3 * ATTRIBUTES)[0]
            lengths.append(
                jnp.exp(tilt(uniform, standardised(score(model, features, given), (0,)), BETA)) @ attribute[:, 0]
            )
        found[f"{name}: more less less of the attribute"] = lengths[0] - lengths[1]
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.jit(lambda seeds: jax.lax.map(lambda seed: one(seed, updates), seeds))(jnp.asarray(seeds, jnp.uint32))
    return {name: np.asarray(values, np.float64).tolist() for name, values in found.items()}


CLAIM = Claim(
    name="principle_following",
    title="RewardAnything: Generalizable Principle-Following Reward Models",
    year=2025,
    cards=(195,),
    environment=f"answers with {ATTRIBUTES} attributes, random networks of the answer; {WEIGHTINGS} principles that"
    f" weigh them and {RANKINGS} that rank two of them; {QUERIES} rankings of {CANDIDATES} answers",
    baseline="a reward model that does not see the principle",
    method="one that does",
    metric="Kendall's tau-b with the order that a new principle asks for",
    conditions=(
        Condition("new weightings, told: above 0.7", "told: new weightings", 0.7),
        Condition("new rankings, told: above 0.7", "told: new rankings", 0.7),
        Condition(
            "new rankings: above told another's",
            "told: new rankings",
            "told another's: new rankings",
            0.27,
            paired=True,
        ),
        Condition("new weightings, blind: below 0.2", "blind: new weightings", 0.2, direction=-1),
        Condition(
            "new weightings: above told another's",
            "told: new weightings",
            "told another's: new weightings",
            0.35,
            paired=True,
        ),
        Condition("the nearer a trained principle the better", "correlation with nearness", 0.0),
        Condition("two opposite tilts", "told: more less less of the attribute", 0.0, 1.0),
    ),
    settings={
        "network": SIZES,
        "learning_rate": LEARNING_RATE,
        "batch": BATCH,
        "kl_penalty": BETA,
        "new_weightings": NEW,
        "margins": "of rankings and of another's principle about half of the effects on three tuning seeds or less",
    },
    updates=2500,
    steps_per_update=BATCH,
    run=run,
)
