"""The pool's exact values, the teacher's law, and the shape of the gold reward that over-optimisation needs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from rlx.envs import bandit, check_env
from rlx.envs.bandit import CategoricalBandit, GoldPool, draw_answers, gold_pool, gold_queries, gold_task
from rlx.policy import categorical_kl, duality_gap
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


def test_arms_conform_and_their_tilt_is_the_best_policy():
    env = CategoricalBandit(bandit.feature_bandit(jax.random.key(0), 3, arms=8, features=4))
    assert check_env(env, steps=8).terminations > 0
    params, beta = env.default_params, 0.5
    log_policy = np.asarray(env.optimal_policy(beta), np.float64)

    def value(log_policy):
        nats = np.sum(np.exp(log_policy) * (log_policy - np.asarray(params.log_reference)), -1)
        return np.sum(np.exp(log_policy) * np.asarray(params.gold), -1) - beta * nats

    rng = np.random.default_rng(0)
    for _ in range(20):
        other = scipy.special.log_softmax(log_policy + 0.3 * rng.normal(size=log_policy.shape), axis=-1)
        assert np.all(value(other) < value(log_policy))
    np.testing.assert_allclose(env.optimal_return(), np.asarray(params.gold).max(1).mean(), rtol=1e-6)


def test_instances_are_what_they_say():
    copg = bandit.copg_bandit()
    np.testing.assert_allclose(copg.gold[0], [2.5, 2, 1])
    beta = 0.5  # the regret of the reference that is published
    best = beta * float(scipy.special.logsumexp(np.asarray(copg.gold[0]) / beta - np.log(3)))
    np.testing.assert_allclose(best - copg.gold.mean(), 0.292, atol=5e-4)
    peaks = bandit.peaks_bandit(15.0)
    assert int(peaks.log_reference.argmax()) == 20
    assert int(peaks.gold.argmax()) == 70
    ratio = float(peaks.log_reference[0, 35] - peaks.log_reference[0, 20])
    np.testing.assert_allclose(ratio, -0.5, rtol=1e-4)
    keys = jax.random.split(jax.random.key(0), 400)
    junk = jax.vmap(bandit.junk_bandit)(keys)
    assert bool((junk.gold[:, 0, 24:] == -6).all())
    mass = jnp.exp(junk.log_reference[:, 0, 24:]).sum(-1).mean()
    np.testing.assert_allclose(mass, np.exp(-3) / (1 + np.exp(-3)), rtol=0.05)
    sparse = jax.vmap(bandit.sparse_bandit)(keys)
    assert bool((sparse.gold[:, 0].argmax(-1) == 0).all())
    np.testing.assert_allclose(jnp.exp(sparse.log_reference[0, 0, 0]), 2.2e-4, rtol=0.02)
    clean = jax.vmap(lambda key: bandit.feature_bandit(key, clean=True))(keys)
    noisy = jax.vmap(bandit.feature_bandit)(keys)
    for params, deviation in ((clean, 3.0), (noisy, (1.5**2 + 0.7**2) ** 0.5)):
        np.testing.assert_allclose(params.feature.std(), 0.25, rtol=0.02)
        np.testing.assert_allclose(params.gold.std(), deviation, rtol=0.05)
    x, gold = np.asarray(clean.feature[0, 0], np.float64), np.asarray(clean.gold[0, 0], np.float64)
    assert np.linalg.lstsq(x, gold)[1] < 1e-8
    cyclic = bandit.cyclic_bandit(jax.random.key(1))
    np.testing.assert_allclose(cyclic.preference + jnp.swapaxes(cyclic.preference, 1, 2), 1, atol=1e-6)
    assert duality_gap(cyclic.log_reference[0], cyclic.preference[0], cyclic.log_reference[0]) > 0.05


def test_queries_follow_behaviour_and_preference():
    params = bandit.feature_bandit(jax.random.key(2), 2, arms=5, features=3)
    uniform = jnp.full((2, 5), -jnp.log(5.0))
    data = jax.jit(bandit.categorical_queries, static_argnums=2)(
        params, jax.random.key(3), 40_000, (params.log_reference, uniform)
    )
    assert data.action is not None
    arm, context = np.asarray(data.action[..., 0]), np.asarray(data.prompt)
    for i, law in enumerate((params.log_reference, uniform)):
        share = np.bincount(arm[context == 1, i], minlength=5) / np.sum(context == 1)
        np.testing.assert_allclose(share, np.exp(law[1]), atol=0.015)
    prob, target = np.asarray(params.preference)[context, arm[:, 0], arm[:, 1]], np.asarray(data.target)
    for low in np.linspace(0, 0.9, 10):
        seen = (prob >= low) & (prob < low + 0.1)
        if seen.sum() > 500:
            np.testing.assert_allclose(target[seen, 0].mean(), prob[seen].mean(), atol=0.04)
    np.testing.assert_allclose(data.gold, np.asarray(params.gold)[context[:, None], arm])
    assert data.reference_log_prob is not None
    np.testing.assert_allclose(data.reference_log_prob[..., 0], np.asarray(params.log_reference)[context[:, None], arm])
    hard = bandit.categorical_queries(params, jax.random.key(3), 500, noise=False)
    gold = np.asarray(hard.gold)
    np.testing.assert_array_equal(hard.target[:, 0], (np.sign(gold[:, 0] - gold[:, 1]) + 1) / 2)


@pytest.mark.parametrize("p", [0.1, 0.3])
def test_luck_of_the_log_is_with_the_worse_arm(p: float):
    """Exactly one half by Bayes' rule; and so it is in a log, which has the arms and rewards that it says."""
    env = bandit.LuckyBandit(p)
    np.testing.assert_allclose(env.conditioned(jnp.array(1.0)), [0.5, 0.5], rtol=1e-5)
    unlucky = np.array([p * p, (1 - p) ** 2])
    np.testing.assert_allclose(env.conditioned(jnp.array(0.0)), unlucky / unlucky.sum(), rtol=1e-5)
    np.testing.assert_allclose(env.optimal_return(), 1 - p, rtol=1e-6)
    log = env.log(jax.random.key(0), 100_000)
    action, reward = np.asarray(log.action), np.asarray(log.reward)
    np.testing.assert_allclose(np.mean(action == 1), 1 - p, atol=0.01)
    for arm, prob in ((0, 1 - p), (1, p)):
        np.testing.assert_allclose(reward[action == arm].mean(), prob, atol=0.02)
    np.testing.assert_allclose(np.mean(action[reward == 1]), 0.5, atol=0.02)
    np.testing.assert_allclose(np.exp(np.asarray(log.log_prob)[action == 0][0]), p, rtol=1e-5)


def test_a_lucky_arm_pays_as_often_as_it_says():
    env = bandit.LuckyBandit(0.2)
    assert check_env(env).terminations > 0
    _, state = env.reset(jax.random.key(0), env.default_params)
    step = jax.vmap(lambda key: env.step_env(key, state, 1, env.default_params)[2])
    np.testing.assert_allclose(step(jax.random.split(jax.random.key(1), 20_000)).mean(), 0.2, atol=0.01)
    with pytest.raises(ValueError, match="p must be"):
        bandit.LuckyBandit(0.5)
