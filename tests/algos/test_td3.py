"""Oracles: the best action of a one-step problem, a geometric sum of rewards, and the law of the noise."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Tiny

from rlx import runtime
from rlx.algos import td3
from rlx.space import Box, Discrete

SMALL: dict[str, Any] = dict(
    num_envs=8,
    gradient_steps=2,
    batch_size=64,
    buffer_size=1_000,
    learning_starts=100,
    hidden=(16, 16),
    learning_rate=3e-3,
    tau=0.05,
)
KEY = jax.random.key(0)


def train(env: Tiny, updates: int, **settings: Any) -> tuple[Any, Any, Any]:
    algorithm = td3.make(td3.Config(**SMALL, **settings), env)
    return *jax.jit(lambda: runtime.train(algorithm, KEY, updates))(), algorithm


def test_the_best_action_is_found_and_the_noise_is_as_asked():
    """It is 1 or -1 by the observation, in the middle of a half of the bounds."""
    env = Tiny(Box(-2.0, 2.0, (1,)))
    state, metrics, algorithm = train(env, 800, exploration_noise=0.1)
    obs = jnp.array([[0.0, 1.0], [1.0, 0.0]])
    act = algorithm.policy(state).act
    greedy = act(KEY, obs, (), jnp.ones(2, bool), greedy=True)[0]
    np.testing.assert_allclose(greedy[:, 0], [-1.0, 1.0], atol=0.1)
    # rewards of the noisy actions: minus the variance of noise of 0.1 of the half width
    np.testing.assert_allclose(metrics["episode_return"].total[-50:].sum() / 400, -(0.2**2), atol=0.03)
    drawn = act(KEY, jnp.repeat(obs[:1], 4000, 0), (), jnp.ones(4000, bool))[0]
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [greedy[0, 0], 0.2], atol=0.01)


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_values_are_sums_of_rewards(end: str):
    """Of reward 1 in each of two steps with a discount of 0.8: 5 where time alone ends it, between 1 and 1.8 else."""
    env = Tiny(Box(-1.0, 1.0, (2,)), limit=2, end=end, guess=False)
    _, metrics, _ = train(env, 600, discount=0.8)
    # the observation does not tell the steps apart: half of the targets are 1, the others 1 + 0.8 Q
    exact = 5.0 if end == "truncated" else 1 / (1 - 0.5 * 0.8)
    np.testing.assert_allclose(metrics["q_value"][-50:].mean(), exact, rtol=0.05)


def test_bad_settings_and_spaces_are_refused():
    with pytest.raises(TypeError, match="TD3 takes Box actions"):
        td3.make(td3.Config(), Tiny(Discrete(2)))
    for name, value in (("policy_period", 0), ("exploration_noise", -0.1), ("target_noise", -1.0), ("tau", 0.0)):
        with pytest.raises(ValueError, match=name):
            td3.Config(**{name: value})
