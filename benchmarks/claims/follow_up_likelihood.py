"""How users go on tells a good answer from a bad one, without a label.

A user is satisfied with an answer the more probably the better it is, and says one of eight things next, four of them
more often when satisfied. A model of what is said, fitted to dialogues without any label, is turned into a reward: how
much likelier it makes the four than the others. It is compared with a reward model of 500 labelled pairs. Pairs mined
by it, the best against the worst of eight answers, then train a reward model, whose policy is the exact tilt.

Chosen on seeds 0 to 2: 5000 dialogues, which fell four points short of the labels on the tuning seeds, became 20000, as
they cost none; and 3000 steps in place of 600, which the labels keep, as more of them overfit so few pairs.

Users who go on in the same way whether they are satisfied or not are the control: then nothing can be learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import Parameters, fit, network, outputs, pair_loss, score, standardised
from rlx.envs.bandit import draw_answers, gold_task
from rlx.envs.users import follow_up, satisfied
from rlx.reward import follow_up_reward, mine_pairs, pair_accuracy, tilt
from rlx.types import Array, PreferenceBatch

DIALOGUES, LABELS, QUERIES, CANDIDATES = 20_000, 500, 2000, 8
TEST, POOL, BETA = 4000, 4096, 0.5
POSITIVE = jnp.arange(8) < 4
LEARNING_RATE, BATCH = 1e-3, 64
SHARE = 5  # updates of all other models for one of that on labels, which overfits


def said_loss(parameters: Parameters, rows: tuple[Array, Array]) -> Array:
    log_prob = jax.nn.log_softmax(outputs(parameters, rows[0]))
    return -jnp.take_along_axis(log_prob, rows[1][:, None], 1)[:, 0]


def likelihood_reward(parameters: Parameters, response: Array) -> Array:
    log_prob = jax.nn.log_softmax(outputs(parameters, response))[..., None]  # what is said is one token
    return follow_up_reward(log_prob, jnp.ones(log_prob.shape, bool), POSITIVE)


def one(seed: Array, steps: int) -> dict[str, Array]:
    keys = iter(jax.random.split(jax.random.key(seed), 24))
    task = gold_task(next(keys), width=0.0)
    prompt = jnp.zeros(8)
    test = draw_answers(task, next(keys), (TEST, 2), prompt)
    target = (test.gold[:, 0] > test.gold[:, 1]).astype(jnp.float32)
    pool = draw_answers(task, next(keys), (POOL,), prompt)
    uniform = jnp.full(POOL, -jnp.log(POOL))
    found = {}

    def judge(name: str, reward: Array, pool_reward: Array) -> None:
        found[f"accuracy, {name}"] = pair_accuracy(reward[:, 0] - reward[:, 1], target).mean()
        found[f"quality of the policy, {name}"] = (
            jnp.exp(tilt(uniform, standardised(pool_reward, (0,)), BETA)) @ pool.gold
        )

    def pairs(response: Array, target: Array) -> PreferenceBatch:
        """Of one step `[B, C, 8]`."""
        return PreferenceBatch(response[:, :, None], None, jnp.ones((*response.shape[:2], 1), bool), target)

    drawn = draw_answers(task, next(keys), (LABELS, 2), prompt)
    first = jax.random.bernoulli(next(keys), jax.nn.sigmoid(2 * (drawn.gold[:, 0] - drawn.gold[:, 1])))
    labelled = pairs(drawn.response, jnp.stack([first, ~first], 1).astype(jnp.float32))
    start = network(next(keys), (8, 64, 1))
    model = fit(next(keys), start, pair_loss, labelled, max(steps // SHARE, 1), BATCH, LEARNING_RATE)
    judge(f"{LABELS} labels", score(model, test.response), score(model, pool.response))

    shown = draw_answers(task, next(keys), (DIALOGUES,), prompt)
    pleased = satisfied(next(keys), shown.gold)
    queries = draw_answers(task, next(keys), (QUERIES, CANDIDATES), prompt)
    said_key, said_order, mined_order = next(keys), next(keys), next(keys)
    said_start = network(next(keys), (8, 64, 8))
    for name, told_by in (("follow-ups", pleased), ("uninformative follow-ups", jnp.zeros_like(pleased))):
        said = follow_up(said_key, told_by)
        model = fit(said_order, said_start, said_loss, (shown.response, said), steps, BATCH, LEARNING_RATE)
        judge(name, likelihood_reward(model, test.response), likelihood_reward(model, pool.response))
        batch = pairs(queries.response, jnp.full((QUERIES, CANDIDATES), 1 / CANDIDATES))
        mined = mine_pairs(batch, likelihood_reward(model, queries.response))._replace(source=None, strength=None)
        model = fit(mined_order, start, pair_loss, mined, steps, BATCH, LEARNING_RATE)
        judge(f"mined by {name}", score(model, test.response), score(model, pool.response))
    found["lead over labels"] = found["accuracy, follow-ups"] - found[f"accuracy, {LABELS} labels"]
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.jit(lambda seeds: jax.lax.map(lambda seed: one(seed, updates), seeds))(jnp.asarray(seeds, jnp.uint32))
    return {name: np.asarray(values, np.float64).tolist() for name, values in found.items()}


CLAIM = Claim(
    name="follow_up_likelihood",
    title="Aligning Language Models Using Follow-up Likelihood as Reward Signal",
    year=2025,
    cards=(188,),
    environment=f"answers to one prompt and what users say next, one of eight things; {DIALOGUES} dialogues",
    baseline=f"a reward model of {LABELS} labelled pairs",
    method="the log-likelihood of pleased follow-ups less that of the others",
    metric="accuracy on pairs by their true quality; quality of the tilted policy, the reference's being 0",
    conditions=(
        Condition("accuracy: above 0.75", "accuracy, follow-ups", 0.75),
        Condition("accuracy: less than two points behind labels", "lead over labels", -0.02),
        Condition(
            "accuracy: above uninformative follow-ups",
            "accuracy, follow-ups",
            "accuracy, uninformative follow-ups",
            0.15,
            paired=True,
        ),
        Condition(
            "policy on mined pairs: above that on uninformative ones",
            "quality of the policy, mined by follow-ups",
            "quality of the policy, mined by uninformative follow-ups",
            0.5,
            paired=True,
        ),
    ),
    settings={
        "candidates": CANDIDATES,
        "queries": QUERIES,
        "hidden": 64,
        "learning_rate": LEARNING_RATE,
        "batch": BATCH,
        "kl_penalty": BETA,
    },
    updates=3000,
    steps_per_update=BATCH,
    run=run,
)
