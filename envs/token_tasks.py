"""Tasks of `TokenEnv` whose reward is a rule: keywords and a length, patterns, brackets, postfix programs.

env = postfix_tasks()
every = env.enumerate()  # all completions of a small task
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.envs.token import END, FIRST, PAD, TokenEnv, TokenTask
from rlx.types import Array

PASSED, WRONG, UNDERFLOW, MALFORMED = 1.0, -0.3, -0.6, -1.0  # what a program is paid
OPERATIONS = ("+", "-", "*")


def keyword_tasks(
    *,
    digits: int = 10,
    length: int = 8,
    keywords: int = 2,
    prompts: int = 100,
    seed: int = 0,
    careful: float = 0.5,
    vector: bool = False,
) -> TokenEnv:
    """Answers that contain some digits and have a number of digits, both as asked.

    A prompt is `keywords` different digits and a length from `keywords` to `length - 1`. Two gold rewards, of half the
    weight each: keyword, 1 if all of them occur; length, 1 if the answer ended at that length. The optimum is 1. The
    demonstrator writes random digits, each of the keywords with probability `careful`, and ends at random, or with
    that probability as asked.

    Raises:
      ValueError: for counts that do not fit: more keywords than half the digits or than `length - 1`, or lengths that
        no digit can say.
    """
    for name, number in (("digits", digits), ("length", length), ("keywords", keywords), ("prompts", prompts)):
        check.count(name, number)
    check.require(keywords <= min(digits, length - 1), "keywords", keywords, "at most digits, and below length")
    check.require(length <= digits, "length", length, f"at most digits = {digits}, one of which says it")
    check.in_range("careful", careful, 0.0, 1.0)
    rng = np.random.default_rng(seed)
    wanted = [rng.choice(digits, keywords, replace=False) for _ in range(prompts)]
    table = FIRST + np.column_stack([np.array(wanted), rng.integers(keywords, length, prompts)])

    def gold(prompt: Array, completion: Array, mask: Array) -> Array:
        digit = mask & (completion >= FIRST)
        there = jnp.any((completion[..., None, :] == prompt[..., :-1, None]) & digit[..., None, :], axis=-1)
        exact = (jnp.sum(digit, axis=-1) == prompt[..., -1] - FIRST) & jnp.any(mask & (completion == END), axis=-1)
        return jnp.stack(jnp.broadcast_arrays(jnp.all(there, -1), exact), axis=-1).astype(jnp.float32)

    def demonstrate(key: Array, prompt: Array) -> Array:
        digit_key, key_key, place_key, length_key, right_key = jax.random.split(key, 5)
        token = jax.random.randint(digit_key, (length,), FIRST, FIRST + digits)
        put = jax.random.bernoulli(key_key, careful, (keywords,))
        order = jax.random.uniform(place_key, (length,)) + (jnp.arange(length) >= prompt[-1] - FIRST)
        place = jnp.argsort(order)[:keywords]
        token = token.at[jnp.where(put, place, length)].set(prompt[:-1], mode="drop")
        any_length = jax.random.randint(length_key, (), 1, length)
        right = jax.random.bernoulli(right_key, careful)
        return token.at[jnp.where(right, prompt[-1] - FIRST, any_length)].set(END)

    task = TokenTask(
        FIRST + digits, length, jnp.asarray(table, jnp.int32), ("keyword", "length"), (0.5, 0.5), gold, demonstrate
    )
    return TokenEnv(task, vector=vector)


def pattern_tasks(
    *, digits: int = 4, length: int = 5, prompts: int = 8, seed: int = 0, vector: bool = False
) -> TokenEnv:
    """Count how often one digit follows another: two such pairs, a reward for each, which compete for places.

    A prompt is two pairs of different digits that do not begin with the same one; the rewards are the number of times
    that each occurs. The optimum is between `length // 2` and, for two pairs that continue each other, `length - 1`:
    `optimal_return()`. The demonstrator's digits are uniform.

    Raises:
      ValueError: for counts below 1, fewer than 3 digits, or more prompts than there are.
    """
    check.count("digits", digits, 3)
    check.count("length", length, 2)
    check.count("prompts", prompts)
    pairs = list(itertools.permutations(range(digits), 2))
    both = [(*a, *b) for a in pairs for b in pairs if a[0] != b[0]]
    check.require(prompts <= len(both), "prompts", prompts, f"at most the {len(both)} that there are")
    table = FIRST + np.array(both)[np.random.default_rng(seed).permutation(len(both))[:prompts]]

    def gold(prompt: Array, completion: Array, mask: Array) -> Array:
        token = jnp.where(mask, completion, PAD)
        found = [
            jnp.sum((token[..., :-1] == prompt[..., i, None]) & (token[..., 1:] == prompt[..., i + 1, None]), axis=-1)
            for i in (0, 2)
        ]
        return jnp.stack(jnp.broadcast_arrays(*found), axis=-1).astype(jnp.float32)

    def demonstrate(key: Array, prompt: Array) -> Array:
        del prompt
        return jax.random.randint(key, (length,), FIRST, FIRST + digits)

    task = TokenTask(
        FIRST + digits, length, jnp.asarray(table, jnp.int32), ("first", "second"), (1.0, 1.0), gold, demonstrate
    )
    return TokenEnv(task, vector=vector)


def bracket_tasks(*, pairs: int = 4, vector: bool = False) -> TokenEnv:
    """Opening and closing brackets (tokens 2 and 3) that balance.

    A prompt is a number n of pairs, from 1 to `pairs`. The reward is 1 for n pairs that balance, -0.3 for `2 n`
    brackets that do not, and -1 otherwise; the optimum is 1. An answer has room for one token more, its end. The
    demonstrator opens and closes with equal probability, `2 n` times.
    """
    check.count("pairs", pairs)
    length = 2 * pairs + 1

    def gold(prompt: Array, completion: Array, mask: Array) -> Array:
        bracket = mask & (completion >= FIRST)
        depth = jnp.cumsum(jnp.where(bracket, 1 - 2 * (completion - FIRST), 0), axis=-1)
        balanced = (depth[..., -1] == 0) & jnp.all(depth >= 0, axis=-1)
        only = jnp.all(~bracket | (completion < FIRST + 2), axis=-1)  # other tokens are numbers in prompts
        exact = only & (jnp.sum(bracket, axis=-1) == 2 * (prompt[..., 0] - FIRST))
        return jnp.where(exact, jnp.where(balanced, PASSED, WRONG), MALFORMED)[..., None].astype(jnp.float32)

    def demonstrate(key: Array, prompt: Array) -> Array:
        token = jax.random.randint(key, (length,), FIRST, FIRST + 2)
        return token.at[2 * (prompt[0] - FIRST)].set(END)

    table = FIRST + 1 + jnp.arange(pairs, dtype=jnp.int32)[:, None]
    vocabulary = FIRST + max(2, pairs + 1)
    return TokenEnv(TokenTask(vocabulary, length, table, ("balanced",), (1.0,), gold, demonstrate), vector=vector)


def evaluate_postfix(token: Array, mask: Array, digits: int) -> tuple[Array, Array, Array]:
    """Postfix programs `[..., T]` run: `(value, depth, underflow)`, each `[...]`.

    The value is what lies on top at the end, `depth` how many numbers are left, `underflow` whether an operation found
    fewer than two (nothing is run after that). Tokens from 2 on are the digits, then +, - and *.
    """
    batch, length = jnp.broadcast_shapes(token.shape, mask.shape)[:-1], token.shape[-1]
    places = jnp.arange(length + 1)

    def step(carry: tuple[Array, Array, Array], read: tuple[Array, Array]) -> tuple[tuple[Array, Array, Array], None]:
        stack, depth, failed = carry
        token, counts = read
        at = depth[..., None]

        def below(n: int) -> Array:
            return jnp.sum(jnp.where(places == at - n, stack, 0), axis=-1)

        operation = token - FIRST - digits
        a, b = below(2), below(1)
        result = jnp.where(operation == 0, a + b, jnp.where(operation == 1, a - b, a * b))
        runs = counts & (token >= FIRST) & ~failed
        few = runs & (operation >= 0) & (depth < 2)
        runs &= ~few
        put = jnp.where(operation >= 0, depth - 2, depth)
        pushed = jnp.where(operation >= 0, result, token - FIRST)
        stack = jnp.where(runs[..., None] & (places == put[..., None]), pushed[..., None], stack)
        return (stack, jnp.where(runs, put + 1, depth), failed | few), None

    token, mask = jnp.broadcast_to(token, (*batch, length)), jnp.broadcast_to(mask, (*batch, length))
    start = jnp.zeros((*batch, length + 1), jnp.int32), jnp.zeros(batch, jnp.int32), jnp.zeros(batch, bool)
    (stack, depth, failed), _ = jax.lax.scan(step, start, (jnp.moveaxis(token, -1, 0), jnp.moveaxis(mask, -1, 0)))
    return jnp.sum(jnp.where(places == depth[..., None] - 1, stack, 0), axis=-1), depth, failed


def postfix_tasks(*, digits: int = 5, length: int = 5, careful: float = 0.5, vector: bool = False) -> TokenEnv:
    """Programs in postfix notation that compute a number: `2 3 + 4 *`.

    A prompt is the number, from 0 to `digits - 1 + 3`, as the token of that many; tokens are the digits 0 to
    `digits - 1`, then +, - and *. The reward is 1 for a program whose value it is, -0.3 for another value, -0.6 if an
    operation found fewer than two numbers, and -1 if not exactly one number is left. The optimum is 1: `length` is odd,
    and a digit alone or a sum will do. The demonstrator's program is right with probability `careful` (any of those
    with at least one operation), and else one of its tokens is replaced at random.

    Raises:
      ValueError: for an even `length` or one outside [3, 7], fewer than 4 digits, or a probability outside [0, 1].
    """
    check.require(length in (3, 5, 7), "length", length, "3, 5 or 7")
    check.count("digits", digits, 4)
    check.in_range("careful", careful, 0.0, 1.0)
    tokens = digits + len(OPERATIONS)
    right = _programs(digits, length)
    value, _, _ = evaluate_postfix(jnp.asarray(right), jnp.asarray(right != PAD), digits)
    by_target = [right[np.asarray(value) == target] for target in range(tokens)]
    most = max(map(len, by_target))
    answers = jnp.asarray(np.stack([rows[np.arange(most) % len(rows)] for rows in by_target]))
    number = jnp.asarray([len(rows) for rows in by_target])

    def gold(prompt: Array, completion: Array, mask: Array) -> Array:
        value, depth, underflow = evaluate_postfix(completion, mask, digits)
        paid = jnp.where(value == prompt[..., 0] - FIRST, PASSED, WRONG)
        return jnp.where(underflow, UNDERFLOW, jnp.where(depth == 1, paid, MALFORMED))[..., None].astype(jnp.float32)

    def demonstrate(key: Array, prompt: Array) -> Array:
        which_key, right_key, place_key, token_key = jax.random.split(key, 4)
        target = prompt[0] - FIRST
        token = answers[target, jax.random.randint(which_key, (), 0, number[target])]
        written = jnp.sum(token != PAD)
        place = jax.random.randint(place_key, (), 0, written)
        spoilt = token.at[place].set(jax.random.randint(token_key, (), FIRST, FIRST + tokens))
        token = jnp.where(jax.random.bernoulli(right_key, careful), token, spoilt)
        ended = token.at[jnp.minimum(written, length - 1)].set(END)
        return jnp.where(written < length, ended, token)

    table = FIRST + jnp.arange(tokens, dtype=jnp.int32)[:, None]
    return TokenEnv(TokenTask(FIRST + tokens, length, table, ("passed",), (1.0,), gold, demonstrate), vector=vector)


def _programs(digits: int, length: int) -> np.ndarray:
    """Every program of 3 to `length` tokens that leaves one number, padded; at most a thousand of each form, spread."""
    found = []
    for size in range(3, length + 1, 2):
        for shape in itertools.product((0, 1), repeat=size):  # 1: an operation
            depth = np.cumsum([1 - 2 * operation for operation in shape])
            if depth[-1] != 1 or depth.min() < 1:
                continue
            choices = [digits if operation == 0 else len(OPERATIONS) for operation in shape]
            count = int(np.prod(choices))
            index = np.unique(np.linspace(0, count - 1, min(count, 1000)).astype(np.int64))
            chosen = np.column_stack(np.unravel_index(index, choices))
            tokens = FIRST + chosen + digits * np.array(shape)
            found.append(np.pad(tokens, ((0, 0), (0, length - size)), constant_values=PAD))
    return np.concatenate(found).astype(np.int32)
