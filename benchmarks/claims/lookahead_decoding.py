"""Keywords and a length, satisfied when decoding, by a search that looks ahead, and by what else costs as much.

The model is a random table of digits that depend on the last one, with an end that becomes likelier from place to
place; a hundred prompts ask for three digits that have to occur and for an exact length. The model knows nothing of
that. The heuristic judges finished answers only: the share of the keywords that occur, plus 1 for the exact length; an
unfinished answer is worth nothing to it. Compared are beam search (the same without a heuristic), the same search
without looking ahead, and the best, in the heuristic's eyes, of as many samples as cost the same number of predictions.

Satisfied means all keywords and the length. Chosen on seeds 0 to 9, in four rounds: the weight of the heuristic among
3, 10 and 30, three keywords rather than two, and the beam among 5, 10, 20 and 40; a beam of 5 satisfies 0.75 of the
prompts and the best of as costly samples 0.64, one of 20 0.91 and 0.84.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.envs.token import END, PAD, completion_mask
from rlx.envs.token_tasks import keyword_tasks
from rlx.types import Array
from rlx.value import lookahead_search

ENV = keyword_tasks(keywords=3)
T, V = ENV.task.length, ENV.task.vocabulary - END  # places; tokens: the end, then digits
ENDS = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.6, 0.8])  # the chance of the end at each place
CONCENTRATION = 1.0  # of the digits' distribution after each: how even
BEAM, TOP_K, WEIGHT = 40, 10, 10.0
PREDICTIONS = sum(BEAM * (1 + TOP_K * (T - 1 - place)) for place in range(T))
SAMPLES = PREDICTIONS // T  # that cost as many, if none ends early


def model(key: Array) -> Array:
    """Log-probabilities `[T, V, V]` of a token at each place, after each; after the first index nothing came yet."""
    digits = jax.random.dirichlet(key, CONCENTRATION * jnp.ones(V - 1), (V,))
    ends = jnp.asarray(ENDS)[:, None, None] + jnp.zeros((1, V, 1))
    return jnp.log(jnp.concatenate([ends, (1 - ends) * digits], -1))


def predict(table: Array, token: Array, place: Array) -> Array:
    """`[N, vocabulary]`."""
    last = jnp.where(place == 0, 0, jnp.maximum(token[:, place - 1] - END, 0))
    return jnp.pad(table[place, last], ((0, 0), (END, 0)), constant_values=-jnp.inf)


def judge(prompt: Array, token: Array) -> Array:
    """The heuristic, of answers `[N, T]`."""
    mask = completion_mask(token)
    there = jnp.any((token[:, None] == prompt[:-1, None]) & mask[:, None], -1).mean(-1)
    length = ENV.gold_reward(prompt, token, mask)[:, 1]
    return jnp.where(jnp.any((token == END) & mask, -1), there + length, 0.0)


def satisfied(prompt: Array, token: Array) -> Array:
    return ENV.score(prompt, token, completion_mask(token)) == 1


def sample(key: Array, table: Array, number: int) -> tuple[Array, Array]:
    """Answers `[number, T]` and their log-probabilities."""

    def step(carry: tuple[Array, Array], xs: tuple[Array, Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        (last, over), (key, rows) = carry, xs
        index = jax.random.categorical(key, rows[last])
        token = jnp.where(over, PAD, index + END)
        return (index, over | (token == END)), (token, jnp.where(over, 0.0, rows[last, index]))

    start = jnp.zeros(number, jnp.int32), jnp.zeros(number, bool)
    _, (token, log_prob) = jax.lax.scan(step, start, (jax.random.split(key, T), table))
    return token.T, log_prob.sum(0)


def one(seed: Array) -> dict[str, Array]:
    model_key, sample_key = jax.random.split(jax.random.key(seed))
    table = model(model_key)

    def search(prompt: Array, weight: float, lookahead: int | None) -> tuple[Array, Array]:
        found = lookahead_search(
            lambda token, place: predict(table, token, place),
            lambda token: judge(prompt, token),
            weight,
            length=T,
            beam=BEAM,
            top_k=TOP_K,
            lookahead=lookahead,
            end=END,
            pad=PAD,
        )
        return satisfied(prompt, found.token[0]), found.log_prob[0]

    def best_of(prompt: Array, key: Array) -> tuple[Array, Array]:
        token, log_prob = sample(key, table, SAMPLES)
        best = jnp.argmax(judge(prompt, token) + 1e-3 * log_prob)  # of equals the likeliest
        return satisfied(prompt, token[best]), log_prob[best]

    arms = {
        "beam search": jax.vmap(lambda prompt: search(prompt, 0.0, 0))(ENV.prompts),
        "no look ahead": jax.vmap(lambda prompt: search(prompt, WEIGHT, 0))(ENV.prompts),
        "look ahead": jax.vmap(lambda prompt: search(prompt, WEIGHT, None))(ENV.prompts),
        "best of n": jax.vmap(best_of)(ENV.prompts, jax.random.split(sample_key, len(ENV.prompts))),
    }
    rates = {name: right.mean() for name, (right, _) in arms.items()}
    return rates | {f"{name}: log-probability": log_prob.mean() for name, (_, log_prob) in arms.items()}


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    del updates
    compiled = jax.jit(one)
    found = [jax.device_get(compiled(seed)) for seed in np.asarray(seeds, np.uint32)]
    return {name: [float(each[name]) for each in found] for name in found[0]}


CLAIM = Claim(
    name="lookahead_decoding",
    title="DeAL: Decoding-time Alignment for Large Language Models",
    year=2024,
    cards=(17,),
    environment="rlx/keywords: three digits that must occur and an exact length, a random bigram model for each seed",
    baseline=f"beam search; the best of {SAMPLES} samples, which cost as many predictions",
    method=f"a beam of {BEAM} whose score adds the constraints of the greedy completion, {TOP_K} tokens each",
    metric="share of 100 prompts whose constraints are all satisfied",
    conditions=(
        Condition("satisfied, of all prompts", "look ahead", 0.9),
        Condition("beam search: below 0.3", "beam search", 0.3, direction=-1),
        Condition("more than the best of samples", "look ahead", "best of n", paired=True),
        Condition("the best of samples, more than beam search", "best of n", "beam search", paired=True),
        Condition("more than without looking ahead: by 0.2", "look ahead", "no look ahead", 0.2, paired=True),
    ),
    settings={
        "beam": BEAM,
        "top_k": TOP_K,
        "weight": WEIGHT,
        "predictions": PREDICTIONS,
        "samples": SAMPLES,
        "concentration": CONCENTRATION,
    },
    updates=1,
    steps_per_update=PREDICTIONS * len(ENV.prompts),
    run=run,
    seeds=range(1000, 1020),
)
