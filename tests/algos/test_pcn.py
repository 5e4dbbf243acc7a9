"""Pareto conditioned networks on a small treasure map, whose front linear weights cannot find."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Tiny

from rlx import envs, runtime
from rlx.algos import pcn
from rlx.pareto import hypervolume
from rlx.space import Box

SMALL = pcn.Config(num_episodes=8, max_steps=30, buffer_size=30, first_episodes=60, gradient_steps=20, hidden=32)


@pytest.fixture(scope="module")
def learned():
    env, params = envs.make("rlx/deep-sea-treasure-concave")
    algorithm = pcn.make(SMALL, env, params.replace(max_steps_in_episode=jnp.int32(30)))
    return env, algorithm, jax.jit(lambda key: runtime.train(algorithm, key, 250)[0])(jax.random.key(0))


def test_the_network_repeats_what_the_buffer_holds(learned):
    """Greedy episodes for the stored returns have these returns, and lie on the known front."""
    env, algorithm, state = learned
    front = algorithm.front(state)
    stored, reached = state.buffer.returns[front.valid], front.points[front.valid]
    exact = env.pareto_front(1.0)
    on_front = [np.abs(exact - point).max(axis=1).min() < 1e-3 for point in np.asarray(stored)]
    assert sum(on_front) >= 5
    assert np.mean(np.abs(stored - reached).max(axis=1) < 1e-3) >= 0.6
    two = hypervolume(jnp.array([[1.0, -1.0], [124.0, -19.0]]), jnp.array([0.0, -50.0]))  # what linear weights find
    assert float(hypervolume(front.points, jnp.array([0.0, -50.0]), front.valid)) > 0.5 * float(two)


def test_policy_follows_a_stored_episode(learned):
    env, algorithm, state = learned
    played = runtime.evaluate(algorithm.policy(state), env, jax.random.key(1), 2)
    stored = np.asarray(state.buffer.returns[state.buffer.valid])
    assert np.abs(stored - np.asarray(played.returns)[0]).max(axis=1).min() < 1e-3


def test_buffer_holds_whole_episodes(learned):
    """Padding has no reward, and one more step would have come after the last one."""
    _, _, state = learned
    t = np.arange(SMALL.max_steps)
    padding = t >= np.asarray(state.buffer.length)[:, None]
    assert (np.asarray(state.buffer.reward)[padding] == 0).all()
    np.testing.assert_array_equal(-state.buffer.returns[:, 1], state.buffer.length)  # time is the second objective


def test_to_go_is_what_is_left():
    reward = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    episodes = pcn.Episodes(jnp.zeros((3, 5)), jnp.zeros((3, 5), int), jnp.asarray(reward), jnp.array([5, 5, 5]))
    expected = np.flip(np.cumsum(np.flip(reward, 1), 1), 1)
    np.testing.assert_allclose(pcn.returns_to_go_of(episodes), expected, rtol=1e-5)


def test_front_and_hypervolume_are_logged(tmp_path):
    env, params = envs.make("rlx/deep-sea-treasure-concave")
    run = runtime.fit(
        pcn.make(SMALL, env, params), total_steps=480, env=env, env_params=params, out=tmp_path, progress=False
    )
    assert len(run.table["hypervolume"]) == 2
    assert (tmp_path / "front.csv").exists()


def test_errors_name_what_is_wrong():
    env, params = envs.make("rlx/deep-sea-treasure-concave")
    with pytest.raises(ValueError, match="scale"):
        pcn.make(pcn.Config(scale=(1.0, 1.0)), env, params)
    with pytest.raises(TypeError, match="Discrete"):
        pcn.make(pcn.Config(), Tiny(Box(-1.0, 1.0, (1,))))
    with pytest.raises(ValueError, match="epsilon"):
        pcn.Config(epsilon=2.0)
