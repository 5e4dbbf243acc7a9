"""Queries cut from logs of real environments, and what a model fitted to their answers says."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import envs
from rlx.reward import synthetic_teacher
from rlx.reward.learned import draw_queries, fit_reward_model, predict_reward
from rlx.runtime.rollout import reset_batch, rollout
from rlx.space import Box, Discrete
from rlx.types import Transition

KEY = jax.random.key(0)
LENGTH = 5


def played(name: str, steps: int, num_envs: int, **options) -> Transition:
    """A log of uniformly random actions."""
    env, params = envs.make(name, **options)
    actions = env.action_space(params)

    @jax.jit
    def play(key):
        reset_key, key = jax.random.split(key)
        act = lambda key, obs: (jax.vmap(actions.sample)(jax.random.split(key, num_envs)), jnp.zeros(num_envs))  # noqa: E731
        return rollout(env, params, key, reset_batch(env, params, reset_key, num_envs), steps, act)[1]

    return play(KEY)


def check_segments(log: Transition, ends: bool) -> None:
    """Every segment is a piece of one episode, known by its first step, and its return is the sum over it."""
    found = jax.jit(lambda log: draw_queries(KEY, log, 20, LENGTH, candidates=3))(log)
    log, (batch, reward) = jax.tree.map(np.asarray, (log, found))
    assert (batch.mask.sum(2) < LENGTH).any() == ends
    steps, num_envs = log.terminated.shape
    done = log.terminated | log.truncated
    logged = log.obs.reshape(steps * num_envs, -1)
    for index in np.ndindex(20, 3):
        obs, valid = batch.obs[index], batch.mask[index]
        (place,) = np.flatnonzero((logged == obs[0].ravel()).all(1))
        t, env = divmod(int(place), num_envs)
        count = next((i + 1 for i in range(LENGTH) if done[t + i, env]), LENGTH)
        rows = np.s_[t : t + count, env]
        np.testing.assert_array_equal(valid, np.arange(LENGTH) < count)
        np.testing.assert_array_equal(obs[valid], log.obs[rows])
        np.testing.assert_array_equal(batch.action[index][valid], log.action[rows])
        np.testing.assert_array_equal(reward[index][valid], log.reward[rows])
        np.testing.assert_allclose(batch.gold[index], np.sum(log.reward[rows]), rtol=1e-5)
        np.testing.assert_array_equal(batch.next_obs[index], log.next_obs[t + count - 1, env])
    np.testing.assert_array_equal(batch.weight, 0.0)
    np.testing.assert_allclose(batch.target, 1 / 3)


def test_segments_of_cartpole_end_with_their_episodes():
    check_segments(played("CartPole-v1", 40, 3), ends=True)


def test_segments_of_pendulum_are_whole():
    check_segments(played("Pendulum-v1", 30, 3), ends=False)


@pytest.mark.slow
def test_segments_of_a_brax_robot_end_at_its_time_limit():
    pytest.importorskip("brax")
    check_segments(played("brax/inverted_pendulum", 20, 2, episode_length=6), ends=True)


def synthetic(seed: int) -> Transition:
    """Rewards are a linear function of observation and action; a second channel is not asked about."""
    rng = np.random.default_rng(seed)
    obs, action = rng.normal(size=(60, 4, 3)).astype(np.float32), rng.integers(0, 2, (60, 4)).astype(np.int32)
    reward = np.stack([obs @ np.array([1.0, -2.0, 0.5]) + action, obs[..., 0]], axis=-1).astype(np.float32)
    flag = np.zeros((60, 4), bool)
    return jax.tree.map(jnp.asarray, Transition(obs, action, flag * 1.0, reward, rng.random((60, 4)) < 0.1, flag, obs))


def test_a_model_is_fitted_to_the_answers():
    log, new = synthetic(0), synthetic(1)

    @jax.jit
    def fit(sign, weight):
        queries, reward = draw_queries(KEY, log, 60, LENGTH, gold=lambda log: log.reward[..., 0])
        target, _ = synthetic_teacher(KEY, sign * reward, queries.mask)
        queries = queries._replace(target=target, weight=jnp.full(60, weight))
        spaces = Box(-3.0, 3.0, (3,)), Discrete(2)
        model, metrics = fit_reward_model(KEY, queries, log, *spaces, gradient_steps=150, members=2, hidden=(16,))
        return predict_reward(model, new.obs, new.action), metrics

    for sign in (1.0, -1.0):
        found, metrics = fit(sign, 1.0)
        assert sign * np.corrcoef(np.ravel(found), np.ravel(new.reward[..., 0]))[0, 1] > 0.8
        assert metrics["accuracy"] > 0.7
        np.testing.assert_allclose(np.mean(found**2), 1.0, rtol=0.35)
    assert fit(1.0, 0.0)[1]["loss"] == 0.0  # nothing was answered


def test_refusals():
    log = synthetic(0)
    with pytest.raises(ValueError, match=r"reward must be of shape \[T, B\], or pass gold"):
        draw_queries(KEY, log, 3, LENGTH)
    scalar = log._replace(reward=log.reward[..., 0])
    with pytest.raises(ValueError, match=r"length must be in \[1, 60\]"):
        draw_queries(KEY, scalar, 3, 61)
    queries, _ = draw_queries(KEY, scalar, 3, LENGTH, candidates=3)
    spaces = Box(-3.0, 3.0, (3,)), Discrete(2)
    with pytest.raises(ValueError, match="to_pairs makes pairs"):
        fit_reward_model(KEY, queries, log, *spaces)
    with pytest.raises(ValueError, match="options must be of"):
        fit_reward_model(KEY, draw_queries(KEY, scalar, 3, LENGTH)[0], log, *spaces, aggregate="min")
    with pytest.raises(ValueError, match="obs and action"):
        fit_reward_model(KEY, draw_queries(KEY, scalar, 3, LENGTH)[0]._replace(action=None), log, *spaces)
