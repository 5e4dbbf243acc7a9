"""Rewards of spans teach a policy in fewer samples than one reward of the same sum at the end.

An answer has up to 16 tokens of 8 kinds, or ends early. Three kinds of error are judged: each span of two tokens is
relevant or not, each sentence of two spans states something right or wrong, by random tables of its last two tokens,
and the whole is complete if it has twelve tokens. The holistic reward is the sum of all, given at the end; rewards of
spans give each part where it ends. What is best is the same. Policies and critics are tables over place and last token,
trained by PPO; expected rewards and the optimum are exact sums.

Third and fourth sentences are never relevant, so that facts and completeness are all that speak for them: raising the
weight of relevance must make answers shorter and a larger share of them relevant, as it does in the paper. The rewards
of other answers' spans are the control.

Chosen on seeds 0 to 2: late sentences that are irrelevant in place of wrong, and the last weight. The samples saved
were 15% to 30% there, for batches of 8 and 32, learning rates of 0.02 and 0.05, and 16 and 32 tokens. Half of them is
about the most to expect: what a reward at the end adds to the noise of a span is the spans before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.claims.claim import Claim, Condition
from rlx.policy import ppo_clip_loss
from rlx.reward import span_rewards
from rlx.types import Array
from rlx.value import gae

LENGTH, TOKENS = 16, 8
END = TOKENS  # the action that ends an answer, and the last token where there is none
SPAN, SENTENCE = 2, 4  # tokens
SIZES = jnp.array([0.3, 0.5, 0.3])  # rewards of relevance, facts and completeness, either sign
RELEVANCE = (0.5, 1.0, 2.5)  # weights to compare
BATCH, EPOCHS, LEARNING_RATE, CLIP, LAMBDA = 32, 4, 0.05, 0.2, 0.95
LEVEL = 0.9  # of the gain from the uniform policy to the optimum


class Answers(NamedTuple):
    last: Array  # int [T, B], the token before
    action: Array  # int [T, B]
    alive: Array  # bool [T, B], the answer had not ended before


def tables(key: Array) -> tuple[Array, Array]:
    """Labels of three kinds, +1 or -1, and where they are given: `[T, last, action, 3]`.

    The completeness of an answer is told when it ends, or at its last place.
    """
    relevant, right = jax.random.bernoulli(key, 0.5, (2, TOKENS + 1, TOKENS + 1))
    place = jnp.arange(LENGTH)[:, None, None]
    ends = jnp.arange(TOKENS + 1) == END
    shape = LENGTH, TOKENS + 1, TOKENS + 1
    labels = [relevant & (place < LENGTH // 2), right, place >= 3 * LENGTH // 4]
    given = [
        (place % SPAN == SPAN - 1) & ~ends,
        (place % SENTENCE == SENTENCE - 1) & ~ends,
        ends | (place == LENGTH - 1),
    ]
    stacked = [jnp.stack([jnp.broadcast_to(x, shape) for x in xs], -1) for xs in (labels, given)]
    return 2.0 * stacked[0] - 1.0, stacked[1]


def optimum(reward: Array) -> Array:
    """The highest expected sum of `reward [T, last, action]`, by dynamic programming."""

    def back(value: Array, reward: Array) -> tuple[Array, None]:
        following = jnp.where(jnp.arange(TOKENS + 1) == END, 0.0, value)  # by the action, the next last token
        return jnp.max(reward + following, -1), None

    return jax.lax.scan(back, jnp.zeros(TOKENS + 1), reward, reverse=True)[0][END]


def expected(logits: Array, values: Array) -> Array:
    """Exact expected sums of `values [T, last, action, V]` under the policy: `[V]`."""

    def forward(prob: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        joint = prob[:, None] * jax.nn.softmax(at[0])  # last token and action
        return joint.sum(0).at[END].set(0.0), jnp.einsum("la,lav->v", joint, at[1])

    start = jnp.zeros(TOKENS + 1).at[END].set(1.0)
    return jax.lax.scan(forward, start, (logits, values))[1].sum(0)


def draw(key: Array, logits: Array) -> Answers:
    def step(carry: tuple[Array, Array], at: tuple[Array, Array]) -> tuple[tuple[Array, Array], Answers]:
        last, alive = carry
        action = jax.random.categorical(at[0], at[1][last])
        return (action, alive & (action != END)), Answers(last, action, alive)

    start = jnp.full(BATCH, END), jnp.ones(BATCH, bool)
    return jax.lax.scan(step, start, (jax.random.split(key, LENGTH), logits))[1]


def train(key: Array, reward: Array, given: Array, arm: str, updates: int) -> Array:
    """Logits `[updates, T, last, action]` of all policies; `reward [T, last, action, 3]` is weighted already."""
    place = jnp.arange(LENGTH)[:, None]
    optimiser = optax.adam(LEARNING_RATE)

    def log_prob(logits: Array, data: Answers) -> Array:
        return jax.nn.log_softmax(logits)[place, data.last, data.action]

    def update(carry: tuple, key: Array) -> tuple[tuple, Array]:
        parameters, state = carry
        draw_key, other_key = jax.random.split(key)
        data = draw(draw_key, parameters[0])
        at = place, data.last, data.action
        paid = span_rewards(reward[at], given[at] & data.alive[..., None])
        final = data.alive & ((data.action == END) | (place == LENGTH - 1))
        if arm == "holistic":
            paid = jnp.where(final, paid.sum(0), 0.0)
        if arm == "spans of others":
            shuffled = jax.random.permutation(other_key, jnp.arange(BATCH))
            paid = jnp.where(data.alive, paid[:, shuffled], 0.0)
        value = jnp.where(data.alive, parameters[1][place, data.last], 0.0)
        following = jnp.concatenate([value[1:], jnp.zeros((1, BATCH))])
        advantage, target = gae(value, following, paid, jnp.where(final, 0.0, 1.0), LAMBDA, final)
        number = data.alive.sum()
        mean = jnp.sum(advantage * data.alive) / number
        deviation = jnp.sqrt(jnp.sum(jnp.square(advantage - mean) * data.alive) / number)
        advantage, before = (advantage - mean) / (deviation + 1e-6), log_prob(parameters[0], data)

        def loss(parameters: tuple[Array, Array]) -> Array:
            surrogate = ppo_clip_loss(log_prob(parameters[0], data), before, advantage, CLIP)
            error = jnp.square(parameters[1][place, data.last] - target)
            return jnp.sum((surrogate + error) * data.alive) / number

        def epoch(carry: tuple, _: None) -> tuple[tuple, None]:
            parameters, state = carry
            changes, state = optimiser.update(jax.grad(loss)(parameters), state)
            return (optax.apply_updates(parameters, changes), state), None

        carry = jax.lax.scan(epoch, (parameters, state), None, length=EPOCHS)[0]
        return carry, carry[0][0]

    zeros = jnp.zeros((LENGTH, TOKENS + 1, TOKENS + 1)), jnp.zeros((LENGTH, TOKENS + 1))
    return jax.lax.scan(update, (zeros, optimiser.init(zeros)), jax.random.split(key, updates))[1]


def one(seed: Array, updates: int) -> dict[str, Array]:
    table_key, key = jax.random.split(jax.random.key(seed))
    labels, given = tables(table_key)
    found = {}

    def summed(weight: float) -> tuple[Array, Array]:
        weighted = labels * SIZES * jnp.array([weight, 1.0, 1.0])
        return weighted, jnp.sum(weighted * given, -1)

    reward, total = summed(1.0)
    low, best = expected(jnp.zeros(total.shape), total[..., None])[0], optimum(total)
    for arm in ("spans", "holistic", "spans of others"):
        logits = train(key, reward, given, arm, updates)
        gold = jax.lax.map(lambda policy: expected(policy, total[..., None])[0], logits)
        gain = (gold - low) / (best - low)
        enough = gain >= LEVEL
        found[f"{arm}: updates to {LEVEL:.0%}"] = jnp.where(enough.any(), enough.argmax() + 1, updates).astype(float)
        found[f"{arm}: gain at the end"] = gain[-1]

    def shape(weight: float) -> tuple[Array, Array]:
        """Tokens and share of relevant spans after training with a weight of relevance."""
        weighted = labels * SIZES * jnp.array([1.0, 1.0, 1.0]).at[0].set(weight)
        policy = train(key, weighted, given, "spans", updates)[-1]
        spoken = jnp.broadcast_to(jnp.arange(TOKENS + 1) != END, total.shape)
        span = given[..., 0]
        values = jnp.stack([spoken, span, span & (labels[..., 0] > 0)], -1).astype(jnp.float32)
        length, spans, relevant = expected(policy, values)
        return length, relevant / jnp.maximum(spans, 1e-6)

    lengths, precisions = jax.lax.map(shape, jnp.array(RELEVANCE))
    for weight, length, precision in zip(RELEVANCE, lengths, precisions, strict=True):
        found |= {f"tokens, relevance {weight}": length, f"relevant spans, relevance {weight}": precision}
    found["least fall of length"] = -jnp.diff(lengths).max()
    found["least rise of relevant spans"] = jnp.diff(precisions).min()
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.jit(lambda seeds: jax.lax.map(lambda seed: one(seed, updates), seeds))(jnp.asarray(seeds, jnp.uint32))
    samples = {name: np.asarray(values, np.float64).tolist() for name, values in found.items()}
    slow, fast = (np.array(samples[f"{arm}: updates to {LEVEL:.0%}"]) for arm in ("holistic", "spans"))
    samples["halvings of the samples"] = np.log2(slow / fast).tolist()
    return samples


CLAIM = Claim(
    name="fine_grained_feedback",
    title="Fine-Grained Human Feedback Gives Better Rewards for Language Model Training",
    year=2023,
    cards=(125,),
    environment=f"answers of up to {LENGTH} tokens of {TOKENS} kinds, with random tables of what is relevant and right",
    baseline="PPO on the sum of all rewards, given at the end",
    method="PPO on the rewards of spans",
    metric=f"samples until the expected reward has {LEVEL:.0%} of the possible gain; tokens, share of relevant spans",
    conditions=(
        Condition("half the samples", "halvings of the samples", 0.0, 1.0),
        Condition(
            "above spans of other answers",
            "spans: gain at the end",
            "spans of others: gain at the end",
            0.3,
            paired=True,
        ),
        Condition("more weight on relevance, shorter answers", "least fall of length", 0.0),
        Condition("more weight on relevance, a larger share of relevant spans", "least rise of relevant spans", 0.0),
    ),
    settings={
        "batch": BATCH,
        "epochs": EPOCHS,
        "learning_rate": LEARNING_RATE,
        "clip": CLIP,
        "lambda": LAMBDA,
        "relevance": RELEVANCE,
    },
    updates=400,
    steps_per_update=BATCH,
    run=run,
)
