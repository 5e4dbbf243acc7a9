"""Answers as sequences of tokens, for language models of any size: a prompt, a completion, programmatic gold rewards.

A task is a table of prompts and a reward of whole completions. `TokenEnv` plays it token by token like any other
environment; alignment works on completions, for which there are functions of whole batches: `gold_reward`, `score`,
`demonstrations`. On a tiny task all completions can be listed (`enumerate`), so that divergences, expected rewards, win
rates and optimal policies are sums:

    env = toy_seq("tiny")
    every = env.enumerate()
    gold = env.score(env.prompts[:, None], every.token, every.mask)  # [X, N]

Ids: 0 pads, 1 ends a completion, and from 2 on digits 0, 1, ... Prompts are padded on the left and completions on the
right. A completion ends with the end token, which its mask includes, or is cut at `length` tokens without one.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check, space
from rlx.envs.interface import at_time_limit, reset, step
from rlx.types import Array

PAD, END, FIRST = 0, 1, 2  # padding, the end of a completion, the digit 0
MAX_COMPLETIONS = 100_000  # that `enumerate` lists


class Completions(NamedTuple):
    """Every completion there can be, and the contexts in which their tokens are predicted."""

    token: Array  # int32 [N, T]
    mask: Array  # bool [N, T]
    context: Array  # int32 [R, T]: digits, of which every completion's tokens before its last are a beginning
    row: Array  # int32 [N], which context begins so: a model's logits of contexts [R, T, V] hold those of completions


class Demonstrations(NamedTuple):
    """Prompts with an answer each, as a careless expert gives them."""

    prompt: Array  # int32 [N, P]
    prompt_mask: Array  # bool [N, P]
    token: Array  # int32 [N, T]
    mask: Array  # bool [N, T]


class TokenTask(NamedTuple):
    """What is asked, and what a good answer is."""

    vocabulary: int  # V, ids from 0 to V - 1
    length: int  # T, most tokens of a completion
    prompt: Array  # int32 [X, P]
    channels: tuple[str, ...]
    weight: tuple[float, ...]  # of each channel in the scalar reward
    gold: Callable[[Array, Array, Array], Array]  # prompt [..., P], completion [..., T], mask -> [..., K]
    demonstrate: Callable[[Array, Array], Array]  # key, prompt [P] -> completion [T], cut after its end by the caller


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenParams:
    """What may vary between environments of one program: the table of prompts and the weights of rewards."""

    prompt: Any  # int32 [X, P], drawn with equal probability
    weight: Any  # [K]
    max_steps_in_episode: Any  # tokens; an episode that is cut so was not answered, and is paid nothing

    def replace(self, **changes: Any) -> TokenParams:
        return dataclasses.replace(self, **changes)


class TokenState(NamedTuple):
    prompt: Array  # int32 [P]
    completion: Array  # int32 [T], padding from `time` on
    time: Array  # int32 [], tokens since the reset


def completion_mask(token: Array) -> Array:
    """Which tokens of completions `[..., T]` count: all before padding, up to the first end token and with it."""
    over = jnp.cumsum((token == END) | (token == PAD), axis=-1)
    return (over == 0) | ((over == 1) & (token == END))


class TokenEnv:
    """One prompt, one completion, token by token; what the whole was worth is paid with its last token.

    Observations hold the `token`s of prompt and completion so far, and the `action_mask`, which forbids padding only.
    `info["gold"]` is the vector of gold rewards. A completion is finished (terminated) by the end token or at the
    task's length.

    Known optimum: on a task that can be enumerated, the best completion of each prompt (`optimal_return()`); with a
    penalty of beta on the divergence from a reference `rlx.reward.tilt(log_reference, score, beta)`.

    Args:
      task: see `toy_seq`, `verifier_tasks`, `critique_seq`.
      vector: pay the rewards as a vector in place of their weighted sum.
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(self, task: TokenTask, *, vector: bool = False) -> None:
        self.task = task
        self.vector = vector
        limit = jnp.asarray(task.length, jnp.int32)
        self.default_params = TokenParams(jnp.asarray(task.prompt), jnp.asarray(task.weight, jnp.float32), limit)
        if vector:
            self.reward_channels = task.channels

    @property
    def prompts(self) -> Array:
        """The table of prompts, int32 `[X, P]`."""
        return self.default_params.prompt

    # --- Whole completions ---

    def gold_reward(self, prompt: Array, completion: Array, mask: Array) -> Array:
        """Every gold reward of completions: `[..., P]`, `[..., T]`, bool `[..., T]` -> `[..., K]`; axes broadcast."""
        return self.task.gold(prompt, completion, mask)

    def score(
        self, prompt: Array, completion: Array, mask: Array, params: Any = None, *, length_bias: Array | float = 0.0
    ) -> Array:
        """The weighted sum of gold rewards, `[...]`: a judge, who with `length_bias` likes every token by so much."""
        weight = (self.default_params if params is None else params).weight
        return self.gold_reward(prompt, completion, mask) @ weight + length_bias * jnp.sum(mask, axis=-1)

    def demonstrations(self, key: Array, count: int, params: Any = None) -> Demonstrations:
        """Random prompts of the table, each with an answer of the task's careless expert."""
        prompt_key, answer_key = jax.random.split(key)
        table = (self.default_params if params is None else params).prompt
        prompt = table[jax.random.randint(prompt_key, (count,), 0, table.shape[0])]
        token = jax.vmap(self.task.demonstrate)(jax.random.split(answer_key, count), prompt)
        mask = completion_mask(token)
        return Demonstrations(prompt, prompt != PAD, jnp.where(mask, token, PAD), mask)

    def enumerate(self) -> Completions:
        """Every completion: all sequences of fewer than T digits with an end, and all of T digits without.

        Raises:
          ValueError: if there are more than 100,000.
        """
        digits, length = self.task.vocabulary - FIRST, self.task.length
        total = sum(digits**n for n in range(length + 1))
        check.require(total <= MAX_COMPLETIONS, "the number of completions", total, f"at most {MAX_COMPLETIONS:,}")
        ended = [
            (*part, END) for n in range(length) for part in itertools.product(range(FIRST, FIRST + digits), repeat=n)
        ]
        ended += itertools.product(range(FIRST, FIRST + digits), repeat=length)
        token = np.array([[*part, *[PAD] * (length - len(part))] for part in ended], np.int32)
        context = np.array(list(itertools.product(range(FIRST, FIRST + digits), repeat=length - 1)), np.int32)
        context = np.pad(context.reshape(digits ** (length - 1), length - 1), ((0, 0), (0, 1)), constant_values=FIRST)
        place = digits ** np.arange(length - 2, -1, -1)
        row = np.sum(np.maximum(token[:, : length - 1] - FIRST, 0) * place, axis=1, dtype=np.int32)
        return Completions(*map(jnp.asarray, (token, token != PAD, context, row)))

    def optimal_return(self) -> float:
        """The best completion's score, averaged over prompts."""
        every = self.enumerate()
        return float(self.score(self.prompts[:, None], every.token, every.mask).max(axis=1).mean())

    # --- Token by token ---

    def reset_env(self, key: Array, params: TokenParams) -> tuple[dict[str, Array], TokenState]:
        index = jax.random.randint(key, (), 0, params.prompt.shape[0])
        state = TokenState(params.prompt[index], jnp.zeros(self.task.length, jnp.int32), jnp.zeros((), jnp.int32))
        return self._observe(state), state

    def step_env(
        self, key: Array, state: TokenState, action: Array, params: TokenParams
    ) -> tuple[dict[str, Array], TokenState, Array, Array, dict[str, Any]]:
        del key
        completion = state.completion.at[state.time].set(jnp.asarray(action, jnp.int32))
        state = TokenState(state.prompt, completion, state.time + 1)
        finished = (action == END) | (state.time >= self.task.length)
        gold = self.gold_reward(state.prompt, completion, completion_mask(completion))
        reward = jnp.where(finished, gold if self.vector else gold @ params.weight, 0.0)
        return self._observe(state), state, reward, finished, {"gold": gold}

    def _observe(self, state: TokenState) -> dict[str, Array]:
        legal = jnp.arange(self.task.vocabulary) != PAD
        return {"token": jnp.concatenate([state.prompt, state.completion]), space.ACTION_MASK: legal}

    def observation_space(self, params: Any = None) -> space.Dict:
        del params
        size, tokens = self.task.vocabulary, self.prompts.shape[1] + self.task.length
        legal = space.Box(0, 1, (size,), jnp.bool_)
        return space.Dict({"token": space.MultiDiscrete((size,) * tokens), space.ACTION_MASK: legal})

    def action_space(self, params: Any = None) -> space.Discrete:
        del params
        return space.Discrete(self.task.vocabulary)


class Sizes(NamedTuple):
    """Of `toy_seq`."""

    vocabulary: int
    length: int
    modulus: int
    prompts: int


TOY_SIZES = {"tiny": Sizes(8, 4, 3, 8), "small": Sizes(32, 16, 5, 256)}


def toy_seq(
    size: Literal["tiny", "small"] = "tiny",
    *,
    prompts: int | None = None,
    seed: int = 0,
    careful: float = 0.5,
    weight: tuple[float, float, float] = (1.0, 0.5, 0.1),
    vector: bool = False,
) -> TokenEnv:
    """Digits that add up as asked, in the style asked for, and not too many.

    A prompt is one to three different digits of its style, and the target. Three gold rewards:

    - verify: 1 if there are digits and their sum modulo m is the target;
    - style: the share of digits that are of the style, 0 without any;
    - brief: minus the number of tokens, the end's with them, over T.

    "tiny" has 6 digits, T = 4, m = 3: 1555 completions, which `enumerate` lists. "small" has 30, T = 16, m = 5. The
    demonstrator writes 1 to `T / 2 + 1` digits, each of the style with probability `careful`, makes the sum right with
    that probability, and ends.

    Args:
      prompts: how many there are in the table (tiny 8 of 123, small 256), drawn by `seed` without repetition.
      weight: of verify, style and brief in the scalar reward.

    Raises:
      ValueError: for an unknown size, more prompts than there are, or a probability outside [0, 1].
    """
    task = _toy_task(size, prompts, seed, careful, weight)
    return TokenEnv(task, vector=vector)


def _toy_task(
    size: str, prompts: int | None, seed: int, careful: float, weight: tuple[float, float, float]
) -> TokenTask:
    check.require(size in TOY_SIZES, "size", size, f"one of {tuple(TOY_SIZES)}")
    check.in_range("careful", careful, 0.0, 1.0)
    vocabulary, length, modulus, default = TOY_SIZES[size]
    digits = vocabulary - FIRST
    styles = [s for n in (1, 2, 3) for s in itertools.combinations(range(FIRST, vocabulary), n)]
    count = default if prompts is None else prompts
    check.count("prompts", count)
    most = len(styles) * modulus
    check.require(count <= most, "prompts", count, f"at most the {most} that there are")
    chosen = np.random.default_rng(seed).permutation(most)[:count]
    rows = [(*styles[i // modulus], FIRST + i % modulus) for i in chosen]
    table = np.array([[*[PAD] * (4 - len(row)), *row] for row in rows], np.int32)

    def gold(prompt: Array, completion: Array, mask: Array) -> Array:
        digit = mask & (completion >= FIRST)
        count = jnp.sum(digit, axis=-1)
        total = jnp.sum(jnp.where(digit, completion - FIRST, 0), axis=-1)
        right = (total % modulus == prompt[..., -1] - FIRST) & (count > 0)
        in_style = digit & jnp.any(completion[..., :, None] == prompt[..., None, :-1], axis=-1)
        style = jnp.sum(in_style, axis=-1) / jnp.maximum(count, 1)
        brief = -jnp.sum(mask, axis=-1) / length
        return jnp.stack(jnp.broadcast_arrays(right.astype(jnp.float32), style, brief), axis=-1)

    def demonstrate(key: Array, prompt: Array) -> Array:
        length_key, style_key, pick_key, digit_key, right_key, last_key = jax.random.split(key, 6)
        number = jax.random.randint(length_key, (), 1, length // 2 + 2)
        logits = jnp.where(prompt[:-1] == PAD, -jnp.inf, 0.0)
        styled = prompt[jax.random.categorical(pick_key, logits, shape=(length,))]
        plain = jax.random.randint(digit_key, (length,), FIRST, vocabulary)
        token = jnp.where(jax.random.bernoulli(style_key, careful, (length,)), styled, plain)
        place = jnp.arange(length)
        before = jnp.sum(jnp.where(place < number - 1, token - FIRST, 0))
        needed = (prompt[-1] - FIRST - before) % modulus
        right = FIRST + needed + modulus * jax.random.randint(last_key, (), 0, digits // modulus)
        fix = jax.random.bernoulli(right_key, careful) & (place == number - 1)
        return jnp.where(place == number, END, jnp.where(fix, right, token))

    return TokenTask(vocabulary, length, jnp.asarray(table), ("verify", "style", "brief"), weight, gold, demonstrate)


def verifier_tasks(
    *, digits: int = 1, families: int = 8, prompts: int = 256, seed: int = 0, careful: float = 0.5, vector: bool = False
) -> TokenEnv:
    """Arithmetic with one right answer: two numbers, an operation and a family of difficulty; the reward is 0 or 1.

    Operands of family d run up to the share `(d + 1) / families` of all numbers of so many decimal digits, the result
    (of +, - or times) is taken modulo their number, and the answer is exactly its digits. The pass rate of answers of
    one digit is an entry of `enumerate`. The demonstrator errs with probability `(1 - careful) (d + 1) / families`, by
    random digits.

    Raises:
      ValueError: for counts below 1, more than 10 families, or a probability outside [0, 1].
    """
    for name, value in {"digits": digits, "families": families, "prompts": prompts}.items():
        check.count(name, value)
    check.require(families <= 10, "families", families, "at most 10: a digit says which")
    check.in_range("careful", careful, 0.0, 1.0)
    numbers, place = 10**digits, 10 ** np.arange(digits - 1, -1, -1)
    rng = np.random.default_rng(seed)
    family = rng.integers(0, families, prompts)
    top = np.maximum(np.ceil((family + 1) / families * numbers), 2)
    operand = np.floor(rng.random((prompts, 2)) * top[:, None]).astype(np.int64)
    written = operand[..., None] // place % 10
    operation = rng.integers(0, 3, prompts)
    table = FIRST + np.concatenate([written.reshape(prompts, -1), operation[:, None], family[:, None]], axis=1)

    def answer(prompt: Array) -> Array:
        values = prompt - FIRST
        a, b = (jnp.sum(values[..., i * digits : (i + 1) * digits] * place, axis=-1) for i in (0, 1))
        result = jnp.stack([a + b, a - b, a * b], axis=-1)
        chosen = jnp.take_along_axis(result, values[..., -2, None], axis=-1)
        return FIRST + chosen % numbers // place % 10

    def gold(prompt: Array, completion: Array, mask: Array) -> Array:
        return jnp.all((completion == answer(prompt)) & mask, axis=-1, keepdims=True).astype(jnp.float32)

    def demonstrate(key: Array, prompt: Array) -> Array:
        wrong_key, digit_key = jax.random.split(key)
        wrong = jax.random.bernoulli(wrong_key, (1 - careful) * (prompt[-1] - FIRST + 1) / families)
        return jnp.where(wrong, jax.random.randint(digit_key, (digits,), FIRST, FIRST + 10), answer(prompt))

    task = TokenTask(FIRST + 10, digits, jnp.asarray(table, jnp.int32), ("verify",), (1.0,), gold, demonstrate)
    return TokenEnv(task, vector=vector)


def critique(env: TokenEnv, prompt: Array, completion: Array, mask: Array) -> Array:
    """What is wrong with answers of `toy_seq`, as one token, int32 `[...]`.

    The digits 1 to 3 say: the sum is not as asked; less than half is of the style; more than half of the length is
    used. The first that holds is said, and the digit 0 if none does.
    """
    verify, style, brief = jnp.moveaxis(env.gold_reward(prompt, completion, mask), -1, 0)
    said = jnp.select([verify < 1, style < 0.5, brief < -0.5], [1, 2, 3], 0)
    return (FIRST + said).astype(jnp.int32)


def refinement_prompt(prompt: Array, completion: Array, mask: Array, feedback: Array) -> Array:
    """The prompt to do better: an answer, the feedback on it and the question, `[..., T + 1 + P]`.

    Each part keeps its width, so padding stands between them too; a model skips it by the mask `token != 0`.
    """
    answer = jnp.where(mask, completion, PAD)
    parts = [answer, feedback[..., None], jnp.broadcast_to(prompt, (*answer.shape[:-1], prompt.shape[-1]))]
    return jnp.concatenate(parts, axis=-1)


def critique_seq(
    size: Literal["tiny", "small"] = "tiny",
    *,
    prompts: int | None = None,
    seed: int = 0,
    careful: float = 0.5,
    weight: tuple[float, float, float] = (1.0, 0.5, 0.1),
    vector: bool = False,
) -> TokenEnv:
    """`toy_seq` with a first answer and a critic's word on it before the question: `refinement_prompt`.

    The table holds one answer of the demonstrator for each question of `toy_seq`. A program that refines answers of
    its own makes the prompts by `critique` and `refinement_prompt`; rewards are read from the question alone.
    """
    task = _toy_task(size, prompts, seed, careful, weight)
    plain, width = TokenEnv(task), task.prompt.shape[1]
    token = jax.vmap(task.demonstrate)(jax.random.split(jax.random.key(seed), task.prompt.shape[0]), task.prompt)
    mask = completion_mask(token)
    said = critique(plain, task.prompt, token, mask)
    refining = task._replace(
        prompt=refinement_prompt(task.prompt, token, mask, said),
        gold=lambda prompt, completion, mask: task.gold(prompt[..., -width:], completion, mask),
        demonstrate=lambda key, prompt: task.demonstrate(key, prompt[-width:]),
    )
    return TokenEnv(refining, vector=vector)


def exact_win_rate(log_prob: Array, log_other: Array, score: Array) -> Array:
    """How often one policy's answer beats another's, ties for half: `sum_ij p_i q_j [s_i > s_j]`, in N log N steps.

    Shapes: `[N]`, `[N]`, `[N]` over all completions of a prompt -> a number.

    >>> log_prob = jnp.log(jnp.array([0.75, 0.25]))
    >>> float(exact_win_rate(log_prob, jnp.log(jnp.array([0.5, 0.5])), jnp.array([1.0, 0.0])))
    0.625
    """
    check.same_shape(log_prob=log_prob, log_other=log_other, score=score)
    check.rank("score", score, 1)
    order = jnp.argsort(score)
    ranked = score[order]
    below = jnp.concatenate([jnp.zeros(1), jnp.cumsum(jnp.exp(log_other)[order])])
    low, high = (below[jnp.searchsorted(ranked, score, side=side)] for side in ("left", "right"))
    return jnp.sum(jnp.exp(log_prob) * (low + high) / 2)
