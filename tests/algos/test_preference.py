"""One policy for all preferences: on `Arms` the best action for each is known."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arms import ARMS, Arms

from rlx.algos import dqn, ppo, pqn, sac
from rlx.envs.wrappers import Preference, PreferenceParams
from rlx.reward import extrinsic
from rlx.runtime.members import evaluate_preferences
from rlx.runtime.problem import pose, under_preferences
from rlx.types import Algorithm, Channel

ASKED = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.3, 0.7]])
ANSWER = np.array([ARMS[0], ARMS[1], ARMS[2], ARMS[2]])
OFF_POLICY = dict(
    num_envs=8,
    batch_size=64,
    buffer_size=1_000,
    learning_starts=200,
    hidden=(32,),
    learning_rate=3e-3,
    target_period=20,
)


def returns(algorithm: Algorithm, env: Preference, updates: int) -> np.ndarray:
    def run(key: Any) -> Any:
        state = jax.lax.scan(lambda s, _: (algorithm.update(s)[0], None), algorithm.init(key), None, updates)[0]
        return evaluate_preferences(algorithm.policy(state), env, env.default_params, key, ASKED, 1)

    return np.asarray(jax.jit(run)(jax.random.key(0)))


@pytest.mark.parametrize(
    "settings",
    [{}, {"relabel": 1, "prioritised": True}, {"relabel": 3, "envelope": True, "homotopy_steps": 300}],
    ids=["stored", "relabelled", "envelope"],
)
def test_dqn_serves_every_preference(settings):
    env = Preference(Arms())
    config = dqn.Config(**OFF_POLICY, epsilon_end=1.0, **settings)
    np.testing.assert_array_equal(returns(dqn.make(config, env), env, 400), np.float32(ANSWER))


def test_ppo_and_pqn_serve_every_preference():
    env = Preference(Arms())
    on_policy = ppo.Config(num_envs=32, num_steps=8, learning_rate=1e-2, hidden=(32,), value_clip=None)
    np.testing.assert_array_equal(returns(ppo.make(on_policy, env), env, 60), np.float32(ANSWER))
    values = pqn.Config(num_envs=32, num_steps=8, learning_rate=1e-2, hidden=(32,), epsilon_end=1.0)
    np.testing.assert_array_equal(returns(pqn.make(values, env), env, 60), np.float32(ANSWER))


@pytest.mark.parametrize("improve", [False, True])
def test_sac_serves_every_preference(improve):
    """`a = w_0 - w_1` is best, and another action costs the square of its distance. With `improve` the listed
    preferences' actions alone are open to it.
    """
    env = Preference(Arms(continuous=True))
    params = PreferenceParams(None, ASKED) if improve else env.default_params
    settings = dict(num_envs=8, gradient_steps=2, batch_size=64, buffer_size=2_000, learning_starts=500, hidden=(32,))
    rates = dict(actor_learning_rate=3e-3, critic_learning_rate=3e-3, temperature_learning_rate=3e-3)
    config = sac.Config(**settings, **rates, target_entropy=-2.0, relabel=1, improve=improve)
    algorithm = sac.make(config, env, params)

    def run(key: Any) -> Any:
        state = jax.lax.scan(lambda s, _: (algorithm.update(s)[0], None), algorithm.init(key), None, 1_200)[0]
        obs = {"observation": jnp.ones((4, 1)), "preference": ASKED}
        return algorithm.policy(state).act(key, obs, (), jnp.zeros(4, bool), greedy=True)[0][:, 0]

    action = np.asarray(jax.jit(run)(jax.random.key(0)))
    assert np.square(action - (ASKED[:, 0] - ASKED[:, 1])).max() < 0.1


def test_improvement_takes_the_action_of_a_better_policy():
    """Of a single listed preference, the policy for it is all there is, whatever is asked."""
    env = Preference(Arms())
    listed = PreferenceParams(None, jnp.array([[1.0, 0.0], [0.5, 0.5]]), jnp.array([1.0, 0.0]))
    algorithm = dqn.make(dqn.Config(**OFF_POLICY, improve=True, relabel=1), env, listed)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    assert np.isclose(np.asarray(state.replay.rows.step.obs["preference"])[:10], [1.0, 0.0]).all()
    act = algorithm.policy(state).act
    obs = {"observation": jnp.ones((4, 1)), "preference": ASKED}
    alone = {"observation": jnp.ones((4, 1)), "preference": jnp.broadcast_to(listed.weights[0], (4, 2))}
    plain = dqn.make(dqn.Config(**OFF_POLICY, relabel=1), env, listed).policy(state).act
    key, reset = jax.random.key(1), jnp.zeros(4, bool)
    q_of_asked = act(key, obs, (), reset, greedy=True)[0]
    assert q_of_asked[0] == plain(key, alone, (), reset, greedy=True)[0][0]


def test_preferences_weigh_the_environments_channels_and_leave_others_alone():
    env = Preference(Arms())
    rewards = extrinsic((Channel("first"), Channel("second")))
    rewards = rewards._replace(channels=(*rewards.channels, Channel("bonus")))
    problem = pose(env, None, rewards, None, 4)
    obs = {"observation": jnp.ones((2, 1)), "preference": jnp.array([[0.2, 0.8], [1.0, 0.0]])}
    weights = problem.channel_weights(jnp.array([1.0, 2.0, 3.0]), obs)
    np.testing.assert_allclose(weights, [[0.2, 1.6, 3.0], [1.0, 0.0, 3.0]])
    np.testing.assert_allclose(pose(env.env, None, None, None, 4).channel_weights(jnp.ones(2), jnp.ones((2, 1))), 1.0)


def test_each_observation_meets_each_preference():
    obs = {"observation": jnp.array([[1.0], [2.0]]), "preference": jnp.zeros((2, 2))}
    preferences = jnp.arange(8.0).reshape(2, 2, 2)
    both = under_preferences(obs, preferences)
    np.testing.assert_array_equal(both["observation"][:, 0], [1, 1, 2, 2])
    np.testing.assert_array_equal(both["preference"], [[0, 1], [2, 3], [4, 5], [6, 7]])


def test_refusals():
    with pytest.raises(ValueError, match="relabel"):
        dqn.make(dqn.Config(relabel=1), Arms())
    with pytest.raises(ValueError, match="improve"):
        sac.make(sac.Config(improve=True), Arms(continuous=True))
    with pytest.raises(ValueError, match="relabel must be at least 1 with envelope"):
        dqn.Config(envelope=True)
    with pytest.raises(ValueError, match="the first channels"):
        ppo.make(ppo.Config(), Preference(Arms()), rewards=extrinsic(("second", "first")))
    with pytest.raises(ValueError, match="weights must be an array"):
        Preference(Arms()).default_params.listed()
