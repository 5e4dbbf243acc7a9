"""A reward model that is told the context gets preferences right that reverse with it; a blind one cannot.

A context is a direction in the space of six attributes of an answer, and the better of two answers is the one with more
of it. All answers are to one prompt. Reward models see the answer and, as a factor of their last layer, the context.
They are trained with random contexts and tested on couples: one pair of answers and two new contexts that reverse its
preference. A model that does not see the context has half of such pairs right and none of the couples: that is a
theorem, and reported as a check. Contexts dealt out anew at random, in training, are the control.

A second test hides the context. A user has one of 16 new ones and has answered four questions; the posterior over the
16 under the model, and the marginal preference with it, are to tell further answers of the user better than the model
that knows no contexts.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import Parameters, fit, network, outputs
from rlx.envs.bandit import draw_answers, gold_task
from rlx.reward import marginal_preference, pair_accuracy, preference_loss, reversal_accuracy
from rlx.types import Array

ATTRIBUTES, BETA = 6, 2.0
PAIRS, TEST = 32000, 2000
SIZES = (16, 64, 64, ATTRIBUTES)
LEARNING_RATE, BATCH = 3e-3, 128
USERS, CANDIDATES, ANSWERED, ASKED = 200, 16, 4, 10


def directions(key: Array, shape: tuple[int, ...]) -> Array:
    """Contexts, `[*shape, 6]` of length 1."""
    drawn = jax.random.normal(key, (*shape, ATTRIBUTES))
    return drawn / jnp.linalg.norm(drawn, axis=-1, keepdims=True)


def difference(parameters: Parameters, features: Array, context: Array) -> Array:
    """Score of the first answer less that of the second, `[..., 2, 16]` and `[..., 6]` -> `[...]`."""
    found = outputs(parameters, features)
    return jnp.sum((found[..., 0, :] - found[..., 1, :]) * context, -1)


def loss(parameters: Parameters, rows: tuple[Array, Array, Array]) -> Array:
    features, context, target = rows
    return preference_loss(difference(parameters, features, context), target)


def one(seed: Array, steps: int) -> dict[str, Array]:
    keys = iter(jax.random.split(jax.random.key(seed), 16))
    task = gold_task(next(keys), ATTRIBUTES, 0.0)

    def pairs(*shape: int) -> tuple[Array, Array]:
        """Features `[*shape, 2, 16]` of two answers, and what they differ by in attributes."""
        answers = draw_answers(task, next(keys), (*shape, 2), jnp.zeros(8))
        features = jnp.concatenate([answers.prompt, answers.response], -1)
        return features, answers.attribute[..., 0, :] - answers.attribute[..., 1, :]

    features, gap = pairs(PAIRS)
    context = directions(next(keys), (PAIRS,))
    said = jax.random.uniform(next(keys), (PAIRS,)) < jax.nn.sigmoid(BETA * jnp.sum(gap * context, -1))
    start, order = network(next(keys), SIZES), next(keys)
    blind = jnp.full((ATTRIBUTES,), ATTRIBUTES**-0.5)
    seen = {
        "told": context,
        "blind": jnp.broadcast_to(blind, context.shape),
        "told others' contexts": jax.random.permutation(next(keys), context),
    }
    models = {
        name: fit(order, start, loss, (features, given, said.astype(jnp.float32)), steps, BATCH, LEARNING_RATE)
        for name, given in seen.items()
    }

    # Couples: of two random contexts the second is turned round where both agree.
    features, gap = pairs(TEST)
    two = directions(next(keys), (TEST, 2))
    better = jnp.sum(gap[:, None] * two, -1)
    two = two.at[:, 1].multiply(-jnp.sign(better[:, 0] * better[:, 1])[:, None])
    target = (jnp.sum(gap[:, None] * two, -1) > 0).astype(jnp.float32)
    found = {}
    for name, model in models.items():
        given = jnp.broadcast_to(blind, two.shape) if name == "blind" else two
        judged = difference(model, features[:, None], given)
        found[f"{name}: pairs"] = pair_accuracy(judged, target).mean()
        found[f"{name}: couples"] = reversal_accuracy(judged, target).mean()

    # Users: the first of the candidates is the true one.
    features, gap = pairs(USERS, ANSWERED + ASKED)
    profiles = directions(next(keys), (USERS, CANDIDATES))
    target = (jnp.sum(gap * profiles[:, None, 0], -1) > 0).astype(jnp.float32)
    judged = difference(models["told"], features[:, None], profiles[:, :, None])  # [users, candidates, pairs]
    log_likelihood = -preference_loss(judged, jnp.broadcast_to(target[:, None], judged.shape))
    posterior = jax.nn.softmax(log_likelihood[..., :ANSWERED].sum(-1), -1)
    later = jnp.swapaxes(jax.nn.sigmoid(judged[..., ANSWERED:]), 1, 2)
    for name, prob in (("posterior", posterior), ("prior", jnp.full_like(posterior, 1 / CANDIDATES))):
        told = marginal_preference(jnp.broadcast_to(prob[:, None], later.shape), later)
        found[f"users: {name}"] = pair_accuracy(told - 0.5, target[:, ANSWERED:]).mean()
    unaware = difference(models["blind"], features[:, ANSWERED:], blind)
    found["users: blind"] = pair_accuracy(unaware, target[:, ANSWERED:]).mean()
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.jit(lambda seeds: jax.lax.map(lambda seed: one(seed, updates), seeds))(jnp.asarray(seeds, jnp.uint32))
    return {name: np.asarray(values, np.float64).tolist() for name, values in found.items()}


CLAIM = Claim(
    name="context_preference",
    title="Improving Context-Aware Preference Modeling for Language Models",
    year=2024,
    cards=(200,),
    environment=f"answers with {ATTRIBUTES} attributes that are random networks of the answer; a context is a"
    f" direction of attributes; {PAIRS} preferences with noise",
    baseline="a reward model that does not see the context",
    method="one that does",
    metric="accuracy on pairs and on couples of pairs, with new answers and new contexts that reverse the preference",
    conditions=(
        Condition("pairs, told: above 0.85", "told: pairs", 0.85),
        Condition("couples, told: above 0.75", "told: couples", 0.75),
        Condition(
            "couples: told above others' contexts", "told: couples", "told others' contexts: couples", 0.3, paired=True
        ),
        Condition("hidden context, four answers: above blind", "users: posterior", "users: blind", 0.1, paired=True),
    ),
    settings={
        "beta": BETA,
        "network": SIZES,
        "learning_rate": LEARNING_RATE,
        "batch": BATCH,
        "users": USERS,
        "candidates": CANDIDATES,
        "answered": ANSWERED,
    },
    updates=2000,
    steps_per_update=BATCH,
    run=run,
)
