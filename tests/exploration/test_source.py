"""Exploration sources on small streams: what they look at, what they learn, and how they count."""

from __future__ import annotations

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

from rlx.exploration import rnd, visit_count
from rlx.space import ACTION_MASK, Box, Dict, Discrete, MultiDiscrete, Space
from rlx.types import EnvSpec, RewardSource, Transition

T, B, S = 16, 4, 12
KEY = jax.random.key(0)
ONE_HOT = Box(0.0, 1.0, (S,))


def spec(space: Space, num_envs: int = B) -> EnvSpec:
    return EnvSpec(space, Discrete(2), ("reward",), num_envs)


def batch_to(next_obs, done: Any = False) -> Transition:
    """A batch whose steps lead to `next_obs [T, B, ...]`; the other parts are of no interest."""
    leaf = jax.tree.leaves(next_obs)[0]
    zeros, flags = jnp.zeros(leaf.shape[:2]), jnp.zeros(leaf.shape[:2], bool)
    return Transition(jax.tree.map(jnp.zeros_like, next_obs), zeros, zeros, zeros, flags | done, flags, next_obs)


def visits(seed: int, envs: int = B) -> np.ndarray:
    """States `[T, B]`, the s-th with probability proportional to 2^-s."""
    p = 0.5 ** np.arange(S)
    return np.random.default_rng(seed).choice(S, (T, envs), p=p / p.sum())


def one_hot(states: np.ndarray) -> jax.Array:
    return jax.nn.one_hot(states, S)


def every_state() -> Transition:
    return batch_to(one_hot(np.arange(S)[:, None]))


def scores(source: RewardSource, state, batch: Transition) -> jax.Array:
    """Rewards as for a replayed batch: nothing is learned or counted."""
    assert source.rescore is not None
    return source.rescore(state, batch, None, KEY)


def learned(source: RewardSource, batches: int):
    def iteration(state, xs):
        next_obs, key = xs
        _, state = source.compute(state, batch_to(next_obs), key)
        return source.update(state, batch_to(next_obs), key)

    stream = jnp.stack([one_hot(visits(seed)) for seed in range(batches)])
    return jax.jit(lambda s, x: jax.lax.scan(iteration, s, x))(
        source.init(KEY, spec(ONE_HOT)), (stream, jax.random.split(KEY, batches))
    )


def test_rnd_learns_the_states_that_it_sees_often():
    source = rnd(learning_rate=1e-3)
    state, metrics = learned(source, 200)
    counts = sum(np.bincount(visits(seed).ravel(), minlength=S) for seed in range(200))
    bonus = scores(source, state, every_state()).ravel()
    assert metrics["loss"][-20:].mean() < 0.05 * metrics["loss"][:2].mean()
    assert spearmanr(bonus, counts).statistic < -0.9  # type: ignore[attr-defined]


def test_rnd_scores_the_next_observation_only():
    source = rnd()
    state = source.init(KEY, spec(ONE_HOT))
    batch = batch_to(one_hot(visits(0)))
    rewards, after = source.compute(state, batch, KEY)
    other = batch._replace(obs=batch.obs + 1.0, reward=batch.reward + 1.0, action=batch.action + 1.0)
    np.testing.assert_array_equal(source.compute(state, other, KEY)[0], rewards)
    np.testing.assert_array_equal(scores(source, after, other), rewards)
    assert np.all(np.abs(source.compute(state, batch_to(one_hot(visits(1))), KEY)[0] - rewards).max() > 1e-3)


def test_rnd_trains_the_predictor_and_nothing_else():
    source = rnd()
    batch = batch_to(one_hot(visits(0)))
    _, state = source.compute(source.init(KEY, spec(ONE_HOT)), batch, KEY)
    after, _ = source.update(state, batch, KEY)
    (before_rnd, before_scale), (after_rnd, after_scale) = state, after
    kept = lambda s: (s.target, s.observations)  # noqa: E731
    jax.tree.map(np.testing.assert_array_equal, (kept(after_rnd), after_scale), (kept(before_rnd), before_scale))
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), after_rnd.predictor, before_rnd.predictor)
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("target", ["gaussian", "mixture"])
def test_rnd_learns_targets_of_other_kinds(target):
    """The loss falls, of noise towards its variance and no further."""
    source = rnd(target=target, scale=0.5, hidden=(8,), features=4, learning_rate=0.01)
    _, metrics = learned(source, 60)
    last = metrics["loss"][-10:].mean()
    assert last < 0.95 * metrics["loss"][:2].mean()
    assert target == "mixture" or 0.22 < last < 0.5


@pytest.mark.parametrize("episodic", [False, True])
def test_rnd_divides_by_the_deviation_of_the_forward_return(episodic):
    source = rnd(discount=0.9, episodic=episodic)
    state, running, seen = source.init(KEY, spec(ONE_HOT)), np.zeros(B), []
    for seed in range(2):
        done = np.random.default_rng(seed).random((T, B)) < 0.2
        rewards, state = source.compute(state, batch_to(one_hot(visits(seed)), done), KEY)
        variance = state[1][0].moments.var
        raw = np.asarray(rewards * np.sqrt(variance + 1e-8))[..., 0]
        for t in range(T):
            running = running * 0.9 + raw[t]
            seen.append(running)
            running = np.where(done[t] & episodic, 0.0, running)
        np.testing.assert_allclose(variance, np.var(seen), rtol=1e-4)


def test_rnd_normalises_observations():
    """The scale and offset of an observation's components do not matter once their moments are known."""
    source = rnd()
    x = np.random.default_rng(0).normal(size=(T, B, 3))
    init = source.init(KEY, spec(Box(-1, 1, (3,))))
    plain, shifted = (
        source.compute(init, batch_to(jnp.asarray(y, jnp.float32)), KEY)[0]
        for y in (x, x * [100.0, 1.0, 0.01] + [7.0, 0.0, 1.0])
    )
    np.testing.assert_allclose(plain, shifted, rtol=2e-2)


def test_rnd_averages_over_the_rows_it_keeps():
    """All rows alike: the mean loss of a step that moves nothing is that of one row, however few are kept."""
    batch = batch_to(one_hot(np.zeros((T, B), int)))
    losses = []
    for keep in (1.0, 0.3):
        source = rnd(keep=keep, learning_rate=1e-12)
        _, state = source.compute(source.init(KEY, spec(ONE_HOT)), batch, KEY)
        losses.append(source.update(state, batch, KEY)[1]["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda axis: rnd(num_minibatches=1, axis_name=axis), lambda axis: visit_count(axis_name=axis)]
)
def test_shards_learn_what_one_device_would(make):
    def run(source, next_obs):
        state = source.init(KEY, spec(ONE_HOT, next_obs.shape[2]))
        for part in next_obs:
            rewards, state = source.compute(state, batch_to(part), KEY)
            state, _ = source.update(state, batch_to(part), KEY)
        return rewards, scores(source, state, every_state())

    wide = jnp.stack([one_hot(visits(seed, 2 * B)) for seed in range(3)])
    halves = jnp.stack(jnp.split(wide, 2, axis=2))
    rewards, wanted = jax.jit(lambda x: run(make(None), x))(wide)
    shard_rewards, found = jax.jit(jax.vmap(lambda x: run(make("data"), x), axis_name="data"))(halves)
    np.testing.assert_allclose(jnp.concatenate([*shard_rewards], axis=1), rewards, rtol=1e-3, atol=1e-4)
    for shard in range(2):
        np.testing.assert_allclose(found[shard], wanted, rtol=1e-3, atol=1e-4)


def test_visits_are_those_of_earlier_batches_and_the_present_one():
    source = visit_count()
    state, seen = source.init(KEY, spec(ONE_HOT)), Counter()
    for seed in range(3):
        states = visits(seed)
        wanted = [[(seen[s] + 1) ** -0.5 for s in row] for row in states]
        rewards, state = source.compute(state, batch_to(one_hot(states)), KEY)
        np.testing.assert_allclose(rewards[..., 0], wanted, rtol=1e-6)
        state, metrics = source.update(state, batch_to(one_hot(states)), KEY)
        seen.update(states.ravel().tolist())
        assert metrics["visited"] == len(seen)


def test_replayed_steps_are_scored_without_being_counted():
    source = visit_count()
    state = source.init(KEY, spec(ONE_HOT))
    state, _ = source.update(state, batch_to(one_hot(visits(0))), KEY)
    replayed = batch_to(one_hot(np.zeros((1, 50), int)))
    np.testing.assert_allclose(scores(source, state, replayed), (np.sum(visits(0) == 0) + 1) ** -0.5, rtol=1e-6)


EVERYTHING = Dict(
    {
        "image": Box(0.0, 1.0, (5, 5, 2)),
        "cell": Discrete(7),
        "inner": Dict({"dials": MultiDiscrete((2, 3)), "speed": Box(-1.0, 1.0, (3,))}),
        ACTION_MASK: Box(False, True, (2,), jnp.bool_),
    }
)


def observation(seed: int):
    keys = jax.random.split(jax.random.key(seed), (T, B))
    return jax.vmap(jax.vmap(lambda key: {**EVERYTHING.sample(key), ACTION_MASK: jnp.ones(2, bool)}))(keys)


@pytest.mark.parametrize("source", [rnd(), visit_count()])
@pytest.mark.parametrize("part", ["image", "cell", "dials", "speed", ACTION_MASK])
def test_every_part_of_an_observation_counts_but_the_mask(source, part):
    state = source.init(KEY, spec(EVERYTHING))
    before = observation(0)
    state, _ = source.update(source.compute(state, batch_to(before), KEY)[1], batch_to(before), KEY)
    after = {**before, "inner": dict(before["inner"])}
    holder = after["inner"] if part in after["inner"] else after
    holder[part] = jax.tree.map(jnp.zeros_like, holder[part])
    changed = scores(source, state, batch_to(before)) != scores(source, state, batch_to(after))
    assert bool(jnp.any(changed)) == (part != ACTION_MASK)


def test_integers_are_one_hot():
    """Numbers of cells have no order: each of 7 is as far from any other for a hash of 24 bits."""
    source = visit_count(bits=24)
    state = source.init(KEY, spec(Discrete(7)))
    cells = np.arange(7)[:, None]
    state, metrics = source.update(state, batch_to(jnp.asarray(cells)), KEY)
    assert metrics["visited"] == 7


@pytest.mark.parametrize(
    "options",
    [
        dict(features=0),
        dict(hidden=()),
        dict(keep=0.0),
        dict(learning_rate=-1.0),
        dict(discount=2.0),
        dict(target="uniform"),
        dict(networks=1),
    ],
)
def test_options_out_of_range_are_named(options):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        rnd(**options)


def test_minibatches_must_divide_the_batch():
    source = rnd(num_minibatches=7)
    batch = batch_to(one_hot(visits(0)))
    with pytest.raises(ValueError, match="num_minibatches must divide"):
        source.update(source.init(KEY, spec(ONE_HOT)), batch, KEY)
