"""Language models on the tiny token task, whose completions can all be listed: what claims about token policies share.

Each seed has eight prompts of its own and a reference that imitates careless answers to them. A completion is an index
into `EVERY`; expected rewards and divergences of a policy are sums over all of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.claims.descent import descend
from rlx.envs.token import toy_seq
from rlx.nets.language import (
    GRULM,
    PAD,
    completion_log_prob,
    completion_logits,
    completion_score,
    enumerated_log_prob,
    init,
    sample,
    sft,
)
from rlx.policy import dpo_loss, label_pair, leave_one_out_advantage, sequence_policy_loss
from rlx.reward import preference_loss
from rlx.types import Array, PyTree

ENV = toy_seq("tiny", prompts=123)  # all there are
EVERY = ENV.enumerate()
PLACES = ENV.task.vocabulary ** jnp.arange(ENV.task.length)
NUMBERS = (
    jnp.zeros(ENV.task.vocabulary**ENV.task.length, jnp.int32)
    .at[EVERY.token @ PLACES]
    .set(jnp.arange(len(EVERY.token)))
)
MODEL = GRULM(ENV.task.vocabulary, width=32, depth=1)
PROMPTS = 8
SFT_STEPS, SFT_BATCH = 300, 64


class Task(NamedTuple):
    """Prompts of a seed, and its reference."""

    prompt: Array  # int32 [X, P]
    gold: Array  # [X, N, 3] of every completion: verify, style, brief
    params: PyTree  # the reference's
    log_reference: Array  # [X, N]


class Pairs(NamedTuple):
    """Comparisons of completions."""

    row: Array  # int [B], the prompt
    index: Array  # int [B, 2]
    target: Array  # [B], the probability that the first is the better one
    reference: Array  # [B, 2, T], log-probabilities of its tokens


def task(key: Array, prompts: int = PROMPTS) -> Task:
    table_key, init_key, sft_key = jax.random.split(key, 3)
    prompt = jax.random.choice(table_key, ENV.prompts, (prompts,), replace=False)
    asked = ENV.default_params.replace(prompt=prompt)
    show = functools.partial(ENV.demonstrations, count=SFT_BATCH, params=asked)
    params, _ = sft(MODEL, init(MODEL, init_key), sft_key, show, SFT_STEPS)
    gold = ENV.gold_reward(prompt[:, None], EVERY.token, EVERY.mask)
    return Task(prompt, gold, params, log_policy(params, prompt))


def log_policy(params: PyTree, prompt: Array) -> Array:
    """Log-probabilities of every completion, `[X, N]`."""
    return enumerated_log_prob(MODEL, params, prompt, prompt != PAD, EVERY)


def token_log_prob(params: PyTree, prompt: Array, index: Array) -> Array:
    """Of the tokens of completions `[B, ...]` of prompts `[B, P]`: `[B, ..., T]`."""
    return completion_log_prob(MODEL, params, prompt, prompt != PAD, EVERY.token[index], EVERY.mask[index])


def number(token: Array) -> Array:
    """The index of completions `[..., T]` among `EVERY`."""
    return NUMBERS[token @ PLACES]


def draw(key: Array, log_prob: Array, shape: tuple[int, ...]) -> Array:
    """Completions `[X, *shape]` of a policy `[X, N]`."""
    cumulative = jnp.cumsum(jnp.exp(log_prob), -1)
    at = jax.random.uniform(key, (len(log_prob), *shape)) * cumulative[:, -1].reshape(-1, *[1] * len(shape))
    found = jax.vmap(lambda c, u: jnp.searchsorted(c, u.ravel(), side="right").reshape(shape))(cumulative, at)
    return jnp.minimum(found, log_prob.shape[-1] - 1)


def compare(
    key: Array, task: Task, score: Array, number: int, *, scale: float | None = None, log_prob: Array | None = None
) -> Pairs:
    """`number` pairs of the reference's completions, or of the policy `log_prob`'s, of each prompt.

    A judge of `score [X, N]` labels them: without `scale` the higher score wins, with it Bradley and Terry's coin does.
    """
    draw_key, label_key = jax.random.split(key)
    index = draw(draw_key, task.log_reference if log_prob is None else log_prob, (number, 2))
    scores = jax.vmap(lambda s, i: s[i])(score, index)
    target = label_pair(scores, None if scale is None else label_key, scale=1.0 if scale is None else scale)
    row = jnp.repeat(jnp.arange(len(task.prompt)), number)
    index = index.reshape(-1, 2)
    return Pairs(row, index, target.reshape(-1), token_log_prob(task.params, task.prompt[row], index))


def some(rows: Any, key: Array, count: int) -> Any:
    """Random rows, with repetition."""
    row = jax.random.randint(key, (count,), 0, len(jax.tree.leaves(rows)[0]))
    return jax.tree.map(lambda x: x[row], rows)


def pair_loss(
    params: PyTree, prompt: Array, pairs: Pairs, loss: Callable[..., Array] = dpo_loss, **settings: Any
) -> Array:
    """A loss `(log_prob, mask, target, reference, ...)` of pairs of prompts `[X, P]`, its mean."""
    log_prob = token_log_prob(params, prompt[pairs.row], pairs.index)
    return jnp.mean(loss(log_prob, EVERY.mask[pairs.index], pairs.target, pairs.reference, **settings))


def policy_gradient(
    params: PyTree, key: Array, task: Task, reward: Array, *, beta: float, batch: int, group: int = 2
) -> Array:
    """The loss of a policy's own answers, `group` of them to each prompt, with the others as baseline (RLOO).

    `reward [X, N]` is paid for completions, and beta taken off for each nat from the reference.
    """
    prompt_key, sample_key = jax.random.split(key)
    row = jnp.repeat(jax.random.randint(prompt_key, (batch,), 0, len(task.prompt)), group)
    prompt = task.prompt[row]
    sampler = jax.lax.stop_gradient(params)
    drawn = sample(MODEL, sampler, sample_key, prompt, prompt != PAD, ENV.task.length)
    index = number(drawn.token)
    base, log_prob = (token_log_prob(p, prompt, index) for p in (task.params, params))
    paid = reward[row, index] - beta * jnp.sum(drawn.log_prob - base, -1)
    advantage = leave_one_out_advantage(paid.reshape(batch, group)).ravel()
    return sequence_policy_loss(log_prob, drawn.mask, advantage).mean()


def fit_reward(
    key: Array, prompt: Array, pairs: Pairs, *, steps: int, batch: int, learning_rate: float, model: GRULM = MODEL
) -> Array:
    """A reward model's scores of every completion, `[X, N]`, learned from comparisons.

    It is a network of the language model's kind; a completion's score is the sum of what it says of the tokens.
    """
    init_key, run_key = jax.random.split(key)

    def loss(params: PyTree, key: Array) -> Array:
        rows = some(pairs, key, batch)
        asked, token, mask = prompt[rows.row], EVERY.token[rows.index], EVERY.mask[rows.index]
        score = completion_score(model, params, asked, asked != PAD, token, mask)
        return preference_loss(score[:, 0] - score[:, 1], rows.target).mean()

    params, _ = descend(loss, init(model, init_key), jax.random.split(run_key, (1, steps)), learning_rate)
    context = jnp.broadcast_to(EVERY.context, (len(prompt), *EVERY.context.shape))
    logits = completion_logits(model, params, prompt, prompt != PAD, context, jnp.ones(context.shape, bool))
    said = logits[:, EVERY.row[:, None], jnp.arange(ENV.task.length), EVERY.token]
    return jnp.sum(jnp.where(EVERY.mask, said, 0), -1)


def expected(log_prob: Array, value: Array) -> Array:
    """Of a value of completions `[X, N]` under a policy, the mean over prompts."""
    return jnp.sum(jnp.exp(log_prob) * value, -1).mean()


def nats(log_prob: Array, log_other: Array) -> Array:
    """The divergence of one policy from another, the mean over prompts."""
    return expected(log_prob, log_prob - log_other)


def standard(score: Array, task: Task) -> Array:
    """Scores `[X, N]` of which the reference's answers have a mean of 0 and a standard deviation of 1."""
    mean = expected(task.log_reference, score)
    return (score - mean) / jnp.sqrt(expected(task.log_reference, (score - mean) ** 2))


def read_at(distance: float, start: Array, divergence: Array, value: Array) -> Array:
    """A value at a distance that a course from the reference passes: `divergence`, `value` `[R]`, linear in between."""
    far = jax.lax.cummax(jnp.concatenate([jnp.zeros(1), divergence]))
    return jnp.interp(distance, far, jnp.concatenate([start[None], value]))


def each_seed(one: Callable[[Array], dict[str, Array]], seeds: Sequence[int]) -> dict[str, list[float]]:
    """The numbers that `one(key)` names, for each seed: one program, which any number of seeds uses."""
    compiled = jax.jit(one)
    found = [jax.device_get(compiled(jax.random.key(seed))) for seed in seeds]
    return {name: [float(each[name]) for each in found] for name in found[0]}
