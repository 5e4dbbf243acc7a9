"""The pool's exact values, the teacher's law, and the shape of the gold reward that over-optimisation needs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from rlx.envs import check_env
from rlx.envs.bandit import GoldPool, draw_answers, gold_pool, gold_queries, gold_task
from rlx.policy import categorical_kl
from rlx.reward import best_of_n, tilt

TASK = gold_task(jax.random.key(0))


def test_environments_conform():
    env = GoldPool(jax.random.key(0), 4, 16)
    report = check_env(env)
    assert report.terminations > 0
    vector = GoldPool(jax.random.key(0), 4, 16, attributes=3, width=0.0, vector=True)
    assert len(vector.reward_channels) == 3
    check_env(vector)


def test_choosing_the_best_answer_has_the_optimal_return():
    env = GoldPool(jax.random.key(1), 8, 64)
    params = env.default_params

    def episode(key):
        _, state = env.reset(key, params)
        _, _, reward, terminated, _, info = env.step(key, state, params.gold[state.prompt].argmax(), params)
        return reward, info["gold"], terminated, state.prompt

    reward, gold, terminated, prompt = jax.vmap(episode)(jax.random.split(jax.random.key(0), 200))
    assert bool(terminated.all())
    np.testing.assert_array_equal(reward, gold)
    by_prompt = [float(reward[prompt == x].mean()) for x in range(8)]
    np.testing.assert_allclose(np.mean(by_prompt), env.optimal_return(), rtol=1e-5)


def test_a_proxy_in_place_of_the_reward_leaves_gold_alone():
    env = GoldPool(jax.random.key(1), 4, 16)
    params = env.default_params.replace(reward=-env.default_params.gold)
    _, state = env.reset(jax.random.key(0), params)
    *_, reward, _, _, info = env.step(jax.random.key(0), state, 3, params)
    assert float(reward) == -float(info["gold"])


def test_the_tilt_has_the_closed_form_value():
    params = gold_pool(TASK, jax.random.key(2), 3, 512)
    uniform, beta = jnp.full(512, -jnp.log(512.0)), 0.5
    for gold in params.gold:
        policy = tilt(uniform, gold, beta)
        value = jnp.exp(policy) @ gold - beta * categorical_kl(policy, uniform)
        expected = beta * (scipy.special.logsumexp(np.asarray(gold, np.float64) / beta) - np.log(512))
        np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_gold_is_standardised_and_its_tail_is_bad_and_rare():
    answers = draw_answers(TASK, jax.random.key(3), (50000,))
    np.testing.assert_allclose([answers.gold.mean(), answers.gold.std()], [0, 1], atol=0.05)
    units = np.asarray(answers.log_intensity) / 0.6
    np.testing.assert_allclose([units.mean(), units.std()], [0, 1], atol=0.02)
    usual, tail = answers.gold[np.abs(units) < 0.5], answers.gold[units > 2]
    assert float(tail.mean()) < float(usual.mean()) - 1
    assert np.mean(units > 2) < 0.03
    direction = np.asarray(answers.response) / np.exp(answers.log_intensity)[:, None]
    np.testing.assert_allclose(np.cov(direction.T), np.eye(8), atol=0.03)


def test_a_proxy_that_likes_intensity_is_over_optimised():
    """Gold of the best of n by (gold-like quality + intensity) rises, then falls below its start."""
    task = gold_task(jax.random.key(4))
    answers = draw_answers(task, jax.random.key(5), (4096,))
    proxy = answers.attribute[:, 0] + 2 * answers.log_intensity / 0.6
    gold = [float(jnp.exp(best_of_n(proxy, n)) @ answers.gold) for n in (1, 4, 4096)]
    assert gold[2] < gold[0]
    proxy = jnp.where(answers.log_intensity < 0.6, answers.gold, -9.0)  # one that knows better
    gold = [float(jnp.exp(best_of_n(proxy, n)) @ answers.gold) for n in (1, 4, 4096)]
    assert gold[0] < gold[1] < gold[2]


def test_without_width_gold_is_the_weighted_attributes():
    task = gold_task(jax.random.key(6), 6, 0.0)
    answers = draw_answers(task, jax.random.key(7), (2000,))
    np.testing.assert_allclose(task.weight.sum(), 1.0, rtol=1e-5)
    quality = answers.attribute @ task.weight
    np.testing.assert_allclose(np.corrcoef(quality, answers.gold)[0, 1], 1.0, rtol=1e-4)
    np.testing.assert_allclose(answers.attribute.std(0), 1.0, atol=0.1)
    np.testing.assert_array_equal(answers.log_intensity, 0.0)


def test_queries_are_answered_as_the_teacher_does():
    batch = gold_queries(TASK, jax.random.key(8), 20000, beta=2.0, mistake=0.25)
    difference = np.asarray(batch.gold[:, 0] - batch.gold[:, 1])
    expected = 0.5 * scipy.special.expit(2 * difference) + 0.25
    for low in (-2.0, -0.5, 0.5):
        near = np.abs(difference - low) < 0.3
        np.testing.assert_allclose(batch.target[near, 0].mean(), expected[near].mean(), atol=0.04)
    np.testing.assert_array_equal(batch.obs[:, 0, 0, :8], batch.prompt)
    np.testing.assert_array_equal(batch.obs[:, 0, 0, :8], batch.obs[:, 1, 0, :8])


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="attributes"):
        gold_task(jax.random.key(0), 0)
    with pytest.raises(ValueError, match="width"):
        gold_task(jax.random.key(0), 1, -1.0)
    with pytest.raises(ValueError, match="answers"):
        GoldPool(jax.random.key(0), 2, 0)
