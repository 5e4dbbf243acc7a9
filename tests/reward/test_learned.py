"""Rewards learned from preferences: what segments are, who sees the true reward, and what the model then says."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import envs, runtime
from rlx.algos import ppo, sac
from rlx.reward import synthetic_teacher
from rlx.reward.learned import answer, learned_reward, predict_reward, preference_reward, propose
from rlx.reward.learned.segments import add_rows, draw_segments, init_recent
from rlx.space import Box, Discrete
from rlx.types import EnvSpec, Transition

T, B, D = 12, 4, 3
KEY = jax.random.key(0)
SPEC = EnvSpec(Box(-3.0, 3.0, (D,)), Discrete(2), ("reward",), B)
TRUE = np.array([1.0, -2.0, 0.5])
SMALL = dict(members=2, hidden=(16,), activation="relu", segment=6, batch_size=16, gradient_steps=60, pool=4)
BATCHES = 10


def stream(seed: int = 0, batches: int = BATCHES, end: float = 0.1) -> Transition:
    """Batches `[batches, T, B, ...]` of random steps, rewarded by a linear function of observation and action."""
    rng = np.random.default_rng(seed)
    shape = (batches, T, B)
    obs = rng.normal(size=(*shape, D)).astype(np.float32)
    action = rng.integers(0, 2, shape).astype(np.int32)
    reward = (obs @ TRUE + action).astype(np.float32)
    zeros = np.zeros(shape, np.float32)
    done = rng.random(shape) < end
    return jax.tree.map(jnp.asarray, Transition(obs, action, zeros, reward, done, zeros > 0, obs))


def source(**options):
    return preference_reward(**{"comparisons": 60, "total_steps": BATCHES * T * B, "sessions": 6, **SMALL, **options})


TRUTH, BLIND, TIE, REFUSE = range(4)  # what the teacher says; traced, so that one program serves most tests


@jax.jit
def learn(batches: Transition, key=KEY, says=TRUTH, decay=1.0, total_steps=1.0 * BATCHES * T * B):
    """The source's last state, and what it gave and reported in every batch."""

    def teacher(key, reward, mask):
        seen = jnp.where(says == BLIND, jnp.cos(jnp.sum(mask, axis=-1, keepdims=True)), reward)
        target, weight = synthetic_teacher(key, seen, mask, equal=1e-6)
        return jnp.where(says >= TIE, 0.5, target), weight * (says != REFUSE)

    src = source(teacher=teacher, decay=decay, total_steps=total_steps)

    def iteration(state, xs):
        batch, key = xs
        rewards, state = src.compute(state, batch, key)
        state, metrics = src.update(state, batch, key)
        return state, (rewards, metrics)

    return jax.lax.scan(iteration, src.init(key, SPEC), (batches, jax.random.split(key, BATCHES)))


@functools.cache
def learned():
    return learn(stream())


def rewards_of(state, batch: Transition):
    return predict_reward(state.model, batch.obs, batch.action)


def stream_as_one() -> Transition:
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), stream())


def fresh() -> Transition:
    return jax.tree.map(lambda x: x[0], stream(99, 1))


def test_segments_are_whole_pieces_of_one_episode():
    rng = np.random.default_rng(0)
    length, recent = 5, init_recent({"id": jnp.zeros((), jnp.int32)}, 17, B)
    done = rng.random((4 * T, B)) < 0.2
    number = np.arange(4 * T * B).reshape(4 * T, B).astype(np.int32)
    for i in range(4):  # batches that do not divide the ring
        rows = slice(i * T, (i + 1) * T)
        recent = add_rows(recent, {"id": jnp.asarray(number[rows])}, jnp.asarray(done[rows]))
    rows, mask = draw_segments(recent, KEY, 300, length)
    starts = set()
    for found, valid in zip(np.asarray(rows["id"]), np.asarray(mask), strict=True):
        step, env = divmod(int(found[0]), B)
        expected = [step]
        while len(expected) < length and not done[expected[-1], env]:
            expected.append(expected[-1] + 1)
        np.testing.assert_array_equal(valid, np.arange(length) < len(expected))
        np.testing.assert_array_equal(found[valid], number[expected, env])
        starts.add(step)
    assert starts == set(range(4 * T - 17, 4 * T - length + 1))  # the newest 17 rows, and no segment cut by their end


def test_batch_longer_than_the_ring_leaves_its_newest_rows():
    recent = add_rows(init_recent(jnp.int32(0), 5, 1), jnp.arange(12)[:, None], jnp.zeros((12, 1), bool))
    assert sorted(np.asarray(recent.rows).ravel()) == [7, 8, 9, 10, 11]
    assert int(recent.size) == 5


def test_it_learns_what_the_teacher_judges_by():
    state, (rewards, metrics) = learned()
    batch = fresh()
    assert np.corrcoef(rewards_of(state, batch).ravel(), batch.reward.ravel())[0, 1] > 0.8
    np.testing.assert_array_equal(rewards[0], 0.0)  # before anything was asked
    np.testing.assert_array_equal(metrics["comparisons"], [10, 20, 20, 30, 30, 40, 50, 50, 60, 60])
    assert metrics["accuracy"][-1] > 0.75
    np.testing.assert_allclose(jnp.mean(rewards[-1] ** 2), 1.0, rtol=0.3)


def test_budget_is_spent_as_the_schedule_says():
    """The i-th of n sessions is in the first update after a share (i / n)^decay of the steps, nothing comes later."""
    _, (_, metrics) = learn(stream(), decay=2.0, total_steps=0.5 * BATCHES * T * B)
    starts = (np.arange(6) / 6) ** 2 * 0.5 * BATCHES
    expected = [10 * np.sum(starts < batch + 1) for batch in range(BATCHES)]
    np.testing.assert_array_equal(metrics["comparisons"], expected)


def test_only_the_teacher_sees_the_true_reward():
    batches = stream()
    other = batches._replace(reward=-3.0 * batches.reward + 1.0)
    for one, two in zip(*(jax.tree.leaves(learn(b, says=BLIND)[1]) for b in (batches, other)), strict=True):
        np.testing.assert_array_equal(one, two)
    assert np.any(learn(other)[1][0] != learned()[1][0])


def test_seeds_run_side_by_side():
    keys = jax.random.split(KEY, 2)
    _, (rewards, metrics) = jax.vmap(lambda key: learn(stream(), key))(keys)
    for i in range(2):
        _, (alone, alone_metrics) = learn(stream(), keys[i])
        np.testing.assert_allclose(rewards[i], alone, rtol=1e-2, atol=1e-2)
        np.testing.assert_array_equal(metrics["comparisons"][i], alone_metrics["comparisons"])


def test_refusals_teach_nothing():
    state, (_, metrics) = learn(stream(), says=REFUSE)
    np.testing.assert_array_equal(metrics["comparisons"], 0.0)
    np.testing.assert_array_equal(metrics["loss"], 0.0)
    jax.tree.map(np.testing.assert_array_equal, state.model.params, source().init(KEY, SPEC).model.params)


def test_ties_make_segments_equal():
    """Their loss is at least that of a coin, which is reached where the sums are equal."""
    _, (_, metrics) = learn(stream(), says=TIE)
    assert metrics["comparisons"][-1] == 60
    assert metrics["loss"][0] > metrics["loss"][-1]
    np.testing.assert_allclose(metrics["loss"][-1], np.log(2), atol=0.03)
    np.testing.assert_array_equal(metrics["accuracy"], 0.0)  # nothing was decided


@pytest.mark.parametrize("reward", [1.0, -1.0])
def test_where_living_longer_pays_every_step_is_worth_something(reward):
    """All steps have the same true reward, so that the length alone decides: the sign is learned."""
    batches = stream(end=0.2)
    state, _ = learn(batches._replace(reward=jnp.full_like(batches.reward, reward)))
    found = rewards_of(state, fresh())
    assert np.mean(np.sign(found) == reward) > 0.9
    assert 0.5 < np.mean(found) * reward < 2.0


def test_replayed_steps_are_scored_by_the_newest_model():
    src, (state, _) = source(), learned()
    batch, stale = fresh(), jnp.full((T, B, 1), 7.0)
    rewards, after = src.compute(state, batch, KEY)
    np.testing.assert_array_equal(src.rescore(state, batch, stale, KEY), rewards)
    assert after is state
    frozen = learned_reward(state.model, name="kept")
    np.testing.assert_array_equal(frozen.compute((), batch, KEY)[0], rewards)
    np.testing.assert_array_equal(frozen.rescore((), batch, stale, KEY), rewards)
    assert frozen.channels[0].name == "kept"


def test_answers_from_the_host():
    """Without a teacher the program asks nothing; it learns from what is put in its state, once."""
    src = source(teacher=None, comparisons=48, gradient_steps=360)  # as many as six sessions have
    update = jax.jit(src.update)
    state, metrics = update(src.init(KEY, SPEC), stream_as_one(), KEY)
    assert metrics["comparisons"] == 0
    np.testing.assert_array_equal(rewards_of(state, fresh()), 0.0)
    queries, reward = propose(state, KEY, 40, segment=6, doubt=None)
    target, weight = synthetic_teacher(KEY, reward, queries.mask)
    state = answer(state, queries._replace(target=target, weight=weight), 0)
    taught, metrics = update(state, stream_as_one(), KEY)
    assert metrics["comparisons"] == 40
    assert np.corrcoef(rewards_of(taught, fresh()).ravel(), fresh().reward.ravel())[0, 1] > 0.4
    again, _ = update(taught, stream_as_one(), KEY)
    jax.tree.map(np.testing.assert_array_equal, again.model, taught.model)


def test_proposals_are_those_that_the_members_doubt():
    state, _ = learned()
    doubtful, _ = propose(state, KEY, 10, segment=6, pool=20)
    random, _ = propose(state, KEY, 200, segment=6, doubt=None)

    def disagreement(batch):
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (batch.obs, batch.action))
        members = []
        for m in range(2):
            model = state.model
            params = jax.tree.map(lambda x, m=m: x[m : m + 1], model.params)
            raw = dataclasses.replace(model, params=params, offset=jnp.zeros(1), scale=jnp.ones(1))
            members.append(predict_reward(raw, *rows))
        sums = np.stack([np.where(batch.mask, np.reshape(r, batch.mask.shape), 0).sum(-1) for r in members])
        return np.std(1 / (1 + np.exp(sums[:, :, 1] - sums[:, :, 0])), axis=0)

    assert disagreement(doubtful).min() >= np.quantile(disagreement(random), 0.8)


def test_shards_keep_one_model():
    src = source(axis_name="data", gradient_steps=5, total_steps=2 * 3 * T * B)
    halves = jnp.arange(2)
    batches = jax.tree.map(lambda *x: jnp.stack(x), stream(0, 3), stream(1, 3))

    def run(shard, batches):
        state = src.init(KEY, SPEC)
        for i in range(3):
            batch = jax.tree.map(lambda x, i=i: x[i], batches)
            state, metrics = src.update(state, batch, jax.random.fold_in(KEY, shard))
        return state, metrics

    state, metrics = jax.jit(jax.vmap(run, axis_name="data"))(halves, batches)
    jax.tree.map(lambda x: np.testing.assert_allclose(x[0], x[1], rtol=1e-6), state.model)
    assert not np.array_equal(state.preferences.obs[0], state.preferences.obs[1])
    np.testing.assert_array_equal(metrics["comparisons"], [60, 60])


ALGORITHMS = {
    "ppo": (ppo, dict(num_envs=2, num_steps=32, num_epochs=1, num_minibatches=2, hidden=(8,))),
    "sac": (sac, dict(num_envs=2, num_steps=8, buffer_size=256, learning_starts=32, batch_size=8, hidden=(8,))),
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_algorithms_learn_from_it_alone(name):
    """The algorithm's channel is the learned one: with a blind teacher the true reward changes nothing."""
    module, settings = ALGORITHMS[name]
    env, env_params = envs.make("Pendulum-v1")

    def train(key, factor):
        """Environments whose true reward is multiplied by `factor`, which only a blind teacher receives."""
        src = source(
            comparisons=12,
            sessions=3,
            total_steps=64,
            gradient_steps=2,
            gold=lambda batch: batch.reward * factor,
            teacher=lambda key, reward, mask: synthetic_teacher(key, jnp.sign(reward), mask),
        )
        algorithm = module.make(module.Config(**settings), env, env_params, rewards=src)
        return runtime.train(algorithm, key, 4)

    state, metrics = jax.jit(jax.vmap(train, (0, 0)))(
        jnp.array([KEY, KEY, jax.random.key(1)]), jnp.array([1.0, 5.0, 1.0])
    )
    np.testing.assert_array_equal(metrics["source/comparisons"][:, -1], 12)
    for x in jax.tree.leaves(state.source.model):
        np.testing.assert_array_equal(x[0], x[1])
    kernels = jax.tree.leaves(state.source.model.params)
    assert any(np.any(x[0] != x[2]) for x in kernels)


def test_vector_rewards_need_gold():
    batch = fresh()._replace(reward=jnp.zeros((T, B, 2)))
    src = source()
    with pytest.raises(ValueError, match="pass gold"):
        src.update(src.init(KEY, SPEC), batch, KEY)
    with pytest.raises(ValueError, match="sessions"):
        source(sessions=7)
