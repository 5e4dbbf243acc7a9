from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Tiny

from rlx.algos import pqn
from rlx.nets import Inputs, Network
from rlx.reward import extrinsic, stack
from rlx.space import Box, Discrete
from rlx.types import Channel

SMALL = pqn.Config(
    num_envs=16,
    num_steps=4,
    num_minibatches=4,
    learning_rate=3e-3,
    epsilon_start=0.5,
    epsilon_end=0.05,
    epsilon_steps=2_000,
    hidden=(16,),
)


def train(algorithm, updates, seed=0):
    def run(key):
        return jax.lax.scan(lambda s, _: algorithm.update(s), algorithm.init(key), None, length=updates)

    return jax.jit(run)(jax.random.key(seed))


def action_values(config, state, obs, num_actions, num_channels=1):
    network = Network(num_actions * num_channels, config.hidden, config.activation, config.layer_norm)
    q = network.apply(state.params, Inputs(jnp.asarray(obs)[None, None], None, None), (), None)[0][0, 0]
    return q.reshape(num_actions, num_channels)


@pytest.mark.parametrize(
    ("end", "episodic", "expected"), [("terminated", True, 1.0), ("truncated", True, 2.0), ("terminated", False, 2.0)]
)
def test_value_at_episode_ends(end, episodic, expected):
    rewards = extrinsic((Channel("reward", discount=0.5, episodic=episodic),))
    state, _ = train(pqn.make(SMALL, Tiny(Discrete(2), end=end, guess=False), rewards=rewards), 150)
    np.testing.assert_allclose(action_values(SMALL, state, [0.0, 1.0], 2), expected, atol=0.1)


def test_channels_and_their_discounts():
    rewards = stack(extrinsic((Channel("short", discount=0.5),)), extrinsic((Channel("long", discount=0.75),)))
    algorithm = pqn.make(SMALL, Tiny(Discrete(2), limit=10**6, guess=False), rewards=rewards)
    state, _ = train(algorithm, 200)
    np.testing.assert_allclose(action_values(SMALL, state, [0.0, 1.0], 2, 2), [[2.0, 4.0]] * 2, atol=0.2)


def test_finds_the_best_action_and_scales_only_the_loss():
    config = dataclasses.replace(SMALL, reward_scale=0.1)
    algorithm = pqn.make(config, Tiny(Discrete(3)))
    state, metrics = train(algorithm, 100)
    returns = metrics["episode_return"]
    assert returns.total[-5:].sum() / returns.count[-5:].sum() > 0.95
    action, _ = algorithm.policy(state).act(
        jax.random.key(0), jnp.array([[0.0, 1.0], [1.0, 0.0]]), (), jnp.ones(2, bool), greedy=True
    )
    np.testing.assert_array_equal(action, [0, 1])


def test_masked_actions_are_never_taken():
    _, metrics = train(pqn.make(SMALL, Tiny(Discrete(3), mask=True)), 10)
    assert float(metrics["episode_return"].total.sum()) == 0.0


def test_wrong_actions_and_settings_are_refused():
    with pytest.raises(TypeError, match=r"PQN takes Discrete actions; got Box.*sac"):
        pqn.make(SMALL, Tiny(Box(-1.0, 1.0, (1,))))
    with pytest.raises(ValueError, match="num_minibatches must divide num_envs \\* num_steps = 64; got 5"):
        dataclasses.replace(SMALL, num_minibatches=5)
