"""Gold rewards against a plain Python reading of the rules; the list of all completions; the environment's play."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.envs import check_env
from rlx.envs.token import (
    completion_mask,
    critique,
    critique_seq,
    exact_win_rate,
    refinement_prompt,
    toy_seq,
    verifier_tasks,
)

TINY = toy_seq("tiny")


def by_the_rules(prompt, completion, length, modulus):
    """The three rewards of one completion, a list of ids without padding."""
    style, target = {x for x in prompt[:-1] if x != 0}, prompt[-1] - 2
    digits = [x for x in completion if x >= 2]
    verify = float(bool(digits) and sum(x - 2 for x in digits) % modulus == target)
    return [verify, sum(x in style for x in digits) / max(len(digits), 1), -len(completion) / length]


@pytest.mark.parametrize(("size", "modulus"), [("tiny", 3), ("small", 5)])
def test_gold_rewards_follow_the_rules(size, modulus):
    env = toy_seq(size)
    rng = np.random.default_rng(0)
    length = env.task.length
    token = rng.integers(1, env.task.vocabulary, (200, length))
    mask = completion_mask(jnp.asarray(token))
    prompt = np.asarray(env.prompts)[rng.integers(0, len(env.prompts), 200)]
    expected = [
        by_the_rules(p.tolist(), t[m].tolist(), length, modulus) for p, t, m in zip(prompt, token, mask, strict=True)
    ]
    np.testing.assert_allclose(env.gold_reward(jnp.asarray(prompt), jnp.asarray(token), mask), expected, atol=1e-6)
    score = env.score(jnp.asarray(prompt), jnp.asarray(token), mask, length_bias=0.25)
    np.testing.assert_allclose(score, np.dot(expected, [1, 0.5, 0.1]) + 0.25 * mask.sum(1), atol=1e-5)


def test_the_mask_ends_with_the_first_end():
    token = jnp.array([[3, 1, 4, 1], [1, 1, 0, 0], [3, 4, 5, 2], [3, 0, 1, 0]])
    assert completion_mask(token).sum(axis=1).tolist() == [2, 1, 4, 1]


def test_every_completion_is_listed_once_and_its_context_begins_with_it():
    every = TINY.enumerate()
    assert len(every.token) == sum(6**n for n in range(5))
    assert len({tuple(row) for row in every.token.tolist()}) == len(every.token)
    np.testing.assert_array_equal(completion_mask(every.token), every.mask)
    for token, mask, row in zip(*map(np.asarray, (every.token, every.mask, every.row)), strict=True):
        before = token[: mask.sum() - 1]
        np.testing.assert_array_equal(np.asarray(every.context)[row][: len(before)], before)
    with pytest.raises(ValueError, match="the number of completions"):
        toy_seq("small").enumerate()


def test_demonstrations_are_careful_as_often_as_said():
    def rates(careful):
        env = toy_seq("small", careful=careful)
        shown = env.demonstrations(jax.random.key(0), 4000)
        assert bool((shown.token.sum(1) > 0).all())
        np.testing.assert_array_equal(shown.mask, completion_mask(shown.token))
        return np.asarray(env.gold_reward(shown.prompt, shown.token, shown.mask).mean(0))

    np.testing.assert_allclose(rates(0.5)[0], 0.5 + 0.5 / 5, atol=0.03)  # by chance one in five sums is right
    np.testing.assert_allclose(rates(1.0)[0], 1.0)
    last = np.mean([1 / n for n in range(1, 10)])  # share of the last digit, which is the sum's
    np.testing.assert_allclose(rates(1.0)[1], 1 - last + last / 15, atol=0.02)
    assert rates(0.0)[1] < 0.1


@pytest.mark.parametrize(
    "env", [TINY, toy_seq("tiny", vector=True), verifier_tasks(digits=2), critique_seq()], ids=["one", "3", "sum", "re"]
)
def test_environments_conform(env):
    report = check_env(env, steps=24, limit=3)
    assert report.terminations > 0


def test_playing_a_completion_pays_its_score_once():
    params = TINY.default_params
    obs, state = TINY.reset(jax.random.key(0), params)
    prompt, paid = state.prompt, []
    np.testing.assert_array_equal(obs["token"], [*prompt, 0, 0, 0, 0])
    answer = [3, 4, 1]
    for t, action in enumerate(answer):
        obs, state, reward, terminated, truncated, info = TINY.step(jax.random.key(t), state, jnp.int32(action), params)
        assert bool(terminated) == (action == 1)
        assert not truncated
        np.testing.assert_array_equal(info["final_observation"]["token"][4:], [*answer[: t + 1], *[0] * (3 - t)])
        paid.append(float(reward))
    token = jnp.array([*answer, 0])
    assert paid == [0.0, 0.0, float(TINY.score(prompt, token, completion_mask(token)))]


def test_sums_have_one_answer():
    env = verifier_tasks(digits=2, prompts=64)
    prompt = np.asarray(env.prompts) - 2
    a, b = prompt[:, 0] * 10 + prompt[:, 1], prompt[:, 2] * 10 + prompt[:, 3]
    result = np.select([prompt[:, 4] == 0, prompt[:, 4] == 1], [a + b, a - b], a * b) % 100
    token = jnp.asarray(np.stack([result // 10, result % 10], 1) + 2)
    full = jnp.ones(token.shape, bool)
    assert env.gold_reward(env.prompts, token, full).min() == 1
    assert env.gold_reward(env.prompts, token.at[:, 1].set(2 + (token[:, 1] - 1) % 10), full).max() == 0
    assert env.gold_reward(env.prompts, token, full.at[:, 1].set(False)).max() == 0
    assert (np.maximum(a, b) < np.ceil((prompt[:, 5] + 1) / 8 * 100)).all()
    one = verifier_tasks(prompts=16)
    assert one.optimal_return() == 1
    right = one.score(one.prompts[:, None], one.enumerate().token, one.enumerate().mask)
    np.testing.assert_array_equal(right.sum(axis=1), 1)


def test_the_critic_names_the_first_fault():
    prompt = jnp.array([0, 4, 5, 2])  # style 2 and 3, the sum a multiple of 3
    answers = jnp.array([[5, 1, 0, 0], [4, 1, 0, 0], [2, 1, 0, 0], [5, 5, 5, 1]])
    said = critique(TINY, prompt, answers, completion_mask(answers))
    assert (said - 2).tolist() == [0, 1, 2, 3]
    asked = refinement_prompt(prompt, answers, completion_mask(answers), said)
    assert asked[0].tolist() == [5, 1, 0, 0, 2, 0, 4, 5, 2]
    env = critique_seq()
    np.testing.assert_array_equal(env.prompts[:, -4:], TINY.prompts)
    np.testing.assert_array_equal(
        env.gold_reward(env.prompts, answers[:1], completion_mask(answers[:1])),
        TINY.gold_reward(TINY.prompts, answers[:1], completion_mask(answers[:1])),
    )


def test_win_rates_count_pairs():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(7), 2)
    score = np.array([0.0, 1.0, 1.0, 2.0, 0.0, 3.0, 1.0])
    won = sum(
        p[i] * q[j] * (1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0)
        for i, j in itertools.product(range(7), repeat=2)
    )
    log_p, log_q, scores = (jnp.asarray(x, jnp.float32) for x in (np.log(p), np.log(q), score))
    np.testing.assert_allclose(exact_win_rate(log_p, log_q, scores), won, rtol=1e-5)
    np.testing.assert_allclose(exact_win_rate(log_p, log_p, scores), 0.5, rtol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match="size must be one of"):
        toy_seq("large")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="prompts must be at most the 123"):
        toy_seq("tiny", prompts=124)
    with pytest.raises(ValueError, match="careful"):
        toy_seq("tiny", careful=1.5)
    with pytest.raises(ValueError, match="families"):
        verifier_tasks(families=11)
