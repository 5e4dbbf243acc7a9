"""Novelty search and its two switches: what is kept, when emitters run, and that a learned space learns."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.algos import novelty_search as ns
from rlx.runtime import train

CONFIG = ns.Config(population=5, generations=4, sigma=0.3, k=3, rate=2, capacity=64, reward_capacity=64, chunk=40)


def disc(key, genome):
    """Behaviour is the genome cut to a square; there is a reward near one corner of it."""
    place = jnp.clip(genome, -1.0, 1.0)
    return jax.nn.relu(1 - jnp.linalg.norm(place - 0.8, axis=1) / 0.4), place


def make(config=CONFIG, score=disc, space=None):
    return ns.make(config, score, lambda key: 0.1 * jax.random.normal(key, (2,)), space)


def run(algorithm, updates, seed=0):
    return jax.jit(lambda key: train(algorithm, key, updates))(jax.random.key(seed))


@pytest.fixture(scope="module")
def serene():
    return run(make(dataclasses.replace(CONFIG, emitters=True)), 40)


def test_memories_hold_what_was_scored(serene):
    state, metrics = serene
    for memory in (state.archive, state.rewarded):
        assert bool(memory.filled.any())
        reward, place = disc(None, memory.solutions.genome[memory.filled])
        np.testing.assert_allclose(memory.solutions.reward[memory.filled], reward, atol=1e-6)
        np.testing.assert_allclose(memory.solutions.observation[memory.filled], place, atol=1e-6)
    assert bool((state.rewarded.solutions.reward[state.rewarded.filled] > 0).all())
    assert metrics["best_reward"][-1] == state.champion.reward[0] >= state.rewarded.solutions.reward.max()
    np.testing.assert_allclose(disc(None, state.champion.genome)[0], state.champion.reward, atol=1e-6)
    assert int(state.evaluations) == 40 * 4 * 10


def test_emitters_climb_higher_than_exploration_alone(serene):
    _, alone = run(make(), 40)
    assert alone["emitters"].max() == 0
    assert serene[1]["emitters"].max() > 0
    assert serene[1]["best_reward"][-1] > max(0.95, alone["best_reward"][-1])


def test_novelty_spreads_wider_than_reward(serene):
    state, _ = run(make(dataclasses.replace(CONFIG, criterion="reward")), 40)
    spread = [float(jnp.prod(jnp.ptp(s.archive.solutions.observation, axis=0))) for s in (serene[0], state)]
    assert spread[0] > 3.5  # of a square of 4
    assert spread[0] > spread[1]


def test_an_emitter_that_does_not_improve_is_dropped():
    """A reward of 1 everywhere: every emitter ends after its trial, and the next founders take its place."""
    flat = lambda key, genome: (jnp.ones(len(genome)), jnp.clip(genome, -1.0, 1.0))  # noqa: E731
    config = dataclasses.replace(CONFIG, emitters=True, num_emitters=2, chunk=10 * ns.TRIAL, generations=ns.TRIAL)
    algorithm = make(config, flat)
    update = jax.jit(algorithm.update)
    state, _ = update(algorithm.init(jax.random.key(0)))
    assert state.waiting.tolist() == [True, True]
    assert state.emitters.age.tolist() == [0, 0]
    state, _ = update(state)
    assert int(state.waiting.sum()) == 1
    assert int(state.running) == -1
    assert int(state.emitters.age.max()) == ns.TRIAL


def test_an_autoencoder_learns_what_is_seen():
    def seen(key, genome):
        reward, place = disc(key, genome)
        middle = jnp.linspace(-1, 1, 6)
        spot = jnp.exp(-4 * jnp.square(place[..., None] - middle))
        return reward, (spot[:, 0, :, None] * spot[:, 1, None, :])[:, None]

    space = ns.autoencoder(code=2, hidden=16, num_steps=20)
    algorithm = make(dataclasses.replace(CONFIG, criterion="either"), seen, space)
    state, _ = run(algorithm, 30)
    every = state.archive.solutions.observation[state.archive.filled]
    now = space.describe(state.space, every)[0]
    np.testing.assert_allclose(state.archive.solutions.behaviour[state.archive.filled], now, rtol=1e-4, atol=1e-5)
    before, after = (
        float(space.describe(learned, every)[1].mean())
        for learned in (space.init(jax.random.key(1), every), state.space)
    )
    assert after < 0.5 * before


@pytest.mark.parametrize(
    ("change", "message"), [(dict(criterion="fitness"), "criterion"), (dict(rate=11), "rate"), (dict(k=0), "k must")]
)
def test_settings_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **change)
