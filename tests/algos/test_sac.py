"""Oracles: the best tanh-Gaussian on a one-step problem by numerical integration, and geometric sums of entropies."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from rlx import space
from rlx.algos import sac
from rlx.envs.interface import TimeLimitParams, at_time_limit, reset, step
from rlx.nets import Inputs, Network
from rlx.pareto import linear
from rlx.reward import extrinsic
from rlx.types import Channel, Weighting

LOW, HIGH = -1.0, 3.0  # of the environment's actions; the policy works in [-1, 1]
SMALL = {
    "num_envs": 8,
    "gradient_steps": 1,
    "batch_size": 64,
    "buffer_size": 1_000,
    "learning_starts": 100,
    "hidden": (16, 16),
    "actor_learning_rate": 3e-3,
    "critic_learning_rate": 3e-3,
}


class State(NamedTuple):
    time: jax.Array


class Target:
    """Pays for being near 0.5 and for being near 2, in a state that never changes; one step, or on to a time limit."""

    is_truncated = at_time_limit
    reset = reset
    step = step
    reward_channels = ("near", "far")

    def __init__(self, one_step: bool = True, action_space: Any = None):
        self.one_step = one_step
        self.actions = space.Box(LOW, HIGH, (1,)) if action_space is None else action_space
        self.default_params = TimeLimitParams(5)

    def reset_env(self, key, params):
        return jnp.ones(1), State(jnp.zeros((), jnp.int32))

    def step_env(self, key, state, action, params):
        reward = rewards_of(action[0])
        return jnp.ones(1), State(state.time + 1), reward, jnp.asarray(self.one_step), {}

    def observation_space(self, params=None):
        return space.Box(-1.0, 1.0, (1,))

    def action_space(self, params=None):
        return self.actions


def rewards_of(action: Any) -> Any:
    return jnp.stack([-jnp.square(action - 0.5), -0.5 * jnp.square(action - 2.0)], axis=-1)


def learn(env: Target, updates: int, settings: dict[str, Any], **parts: Any) -> tuple[sac.State, Any, Any]:
    algorithm = sac.make(sac.Config(**(SMALL | settings)), env, **parts)

    @jax.jit
    def run(key):
        return jax.lax.scan(lambda s, _: algorithm.update(s), algorithm.init(key), None, updates)

    state, metrics = run(jax.random.key(0))
    return state, metrics, algorithm


def best_tanh_gaussian(reward: Any, temperature: float) -> tuple[float, float]:
    """Mean and deviation, before squashing, of the highest expected reward + temperature * entropy in [-1, 1]."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()

    def loss(x):
        u = x[0] + np.exp(x[1]) * nodes
        action = LOW + 0.5 * (np.tanh(u) + 1) * (HIGH - LOW)
        log_prob = -0.5 * nodes**2 - x[1] - 0.5 * np.log(2 * np.pi) - np.log1p(-(np.tanh(u) ** 2))
        return weights @ (temperature * log_prob - reward(action))

    found = scipy.optimize.minimize(loss, np.array([0.0, -1.0]), method="Nelder-Mead", options={"xatol": 1e-6})
    return found.x[0], np.exp(found.x[1])


def policy_moments(algorithm: Any, state: sac.State) -> tuple[float, float]:
    """Mean and deviation before squashing, from what the policy does."""
    policy, n = algorithm.policy(state), 20_000
    obs, first = jnp.ones((n, 1)), jnp.ones(n, bool)
    greedy, _ = policy.act(jax.random.key(1), obs, (), first, greedy=True)
    sampled, _ = policy.act(jax.random.key(1), obs, (), first)
    assert (np.asarray(greedy) == np.asarray(greedy)[0]).all()
    assert ((sampled >= LOW) & (sampled <= HIGH)).all()
    unit = lambda action: np.arctanh(2 * (np.asarray(action, np.float64) - LOW) / (HIGH - LOW) - 1)  # noqa: E731
    return unit(greedy[0]).item(), unit(sampled).std()


def test_one_step_policy_is_the_best_tanh_gaussian_of_the_weighted_channels():
    weights, temperature = np.array([1.0, 0.6]), 0.3
    settings = {"initial_temperature": temperature, "temperature_learning_rate": 0.0}
    state, metrics, algorithm = learn(Target(), 3_000, settings, weighting=linear(tuple(weights)))
    want_mean, want_std = best_tanh_gaussian(lambda a: np.asarray(rewards_of(a), np.float64) @ weights, temperature)
    mean, std = policy_moments(algorithm, state)
    np.testing.assert_allclose(mean, want_mean, atol=0.05)
    np.testing.assert_allclose(std, want_std, rtol=0.1)
    np.testing.assert_allclose(metrics["temperature"], temperature, rtol=1e-6)
    # a step that ends the episode is followed by no entropy
    assert float(metrics["loss/bonus"][-1]) < 1e-3


def test_temperature_reaches_the_target_entropy():
    settings = {"temperature_learning_rate": 3e-3, "target_entropy": -0.7}
    _, metrics, _ = learn(Target(), 3_000, settings)
    assert abs(float(metrics["entropy"][-500:].mean()) + 0.7) < 0.05
    assert float(metrics["temperature"][-1]) < 0.9


def test_critics_learn_discounted_sums_that_go_on_past_the_time_limit():
    """Values are geometric sums of the policy's mean reward and entropy, each with its own discount."""
    temperature, gamma = 0.5, 0.5
    rewards = extrinsic((Channel("near", discount=0.8), "far"))
    settings = {"initial_temperature": temperature, "temperature_learning_rate": 0.0, "discount": gamma, "tau": 0.02}
    state, metrics, algorithm = learn(Target(one_step=False), 4_000, settings, rewards=rewards)
    policy = algorithm.policy(state)
    action, _ = policy.act(jax.random.key(1), jnp.ones((20_000, 1)), (), jnp.ones(20_000, bool))
    per_step = np.asarray(rewards_of(action[:, 0])).mean(0)
    grid = np.linspace(-0.4, 0.4, 5, dtype=np.float32)  # where the policy acts
    inputs = Inputs(jnp.stack([jnp.ones(5), jnp.asarray(grid)], -1)[None], None, None)
    critic = Network(3, SMALL["hidden"], "relu")
    q = jax.vmap(lambda params: critic.apply(params, inputs, (), None)[0][0])(state.learner.params["critic"]).mean(0)
    now = np.asarray(rewards_of(LOW + 0.5 * (grid + 1) * (HIGH - LOW)))
    discounts = np.array([0.8, gamma])
    np.testing.assert_allclose(q[:, :2], now + discounts / (1 - discounts) * per_step, atol=0.15)
    entropy = float(metrics["entropy"][-500:].mean())
    np.testing.assert_allclose(q[:, 2], gamma / (1 - gamma) * temperature * entropy, atol=0.1)


def train(key: jax.Array, updates: int, settings: dict[str, Any]) -> tuple[Any, Any]:
    algorithm = sac.make(sac.Config(**(SMALL | settings)), Target(one_step=False))
    state, metrics = jax.lax.scan(lambda s, _: algorithm.update(s), algorithm.init(key), None, updates)
    return state.learner.params, metrics


def test_seeds_and_settings_in_one_program_equal_single_runs():
    swept = {"actor_learning_rate": 1e-3, "critic_learning_rate": 2e-3, "temperature_learning_rate": 1e-3, "tau": 0.01}
    swept |= {"discount": 0.6, "initial_temperature": 0.5, "target_entropy": -1.0}
    keys = jax.vmap(jax.random.key)(jnp.arange(3))
    grid = {name: value * jnp.array([1.0, 0.5, 1.5]) for name, value in swept.items()}
    one = jax.jit(lambda key, settings: train(key, 20, settings))
    together = jax.jit(jax.vmap(lambda key, settings: train(key, 20, settings)))(keys, grid)
    for i in range(3):
        alone = one(keys[i], {name: values[i] for name, values in grid.items()})
        close = lambda x, y, i=i: np.testing.assert_allclose(x[i], y, rtol=1e-3, atol=1e-4)  # noqa: E731
        jax.tree.map(close, together, alone)


def test_what_sac_cannot_do_is_refused_by_name():
    config = sac.Config()
    with pytest.raises(TypeError, match=r"SAC takes Box actions; got Discrete\(n=3.*dqn"):
        sac.make(config, Target(action_space=space.Discrete(3)))
    with pytest.raises(TypeError, match=r"SAC takes Box actions; got MultiDiscrete\(nvec=\(2, 3\).*ppo"):
        sac.make(config, Target(action_space=space.MultiDiscrete((2, 3))))
    with pytest.raises(ValueError, match=r"the upper bound of the action space must be a finite number.*got inf"):
        sac.make(config, Target(action_space=space.Box(-1.0, jnp.inf, (1,))))
    with pytest.raises(ValueError, match=r"shape of the action space must be of rank 1; got \(2, 2\)"):
        sac.make(config, Target(action_space=space.Box(-1.0, 1.0, (2, 2))))
    with pytest.raises(ValueError, match=r"channels must be episodic.*got \['far'\]"):
        sac.make(config, Target(), rewards=extrinsic(("near", Channel("far", episodic=False))))
    gram = Weighting(lambda k: (), lambda state, stats: (jnp.ones(2), state, {}), needs_gram=True)
    with pytest.raises(ValueError, match="weighting must be one without needs_gram"):
        sac.make(config, Target(), weighting=gram)


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_critics", 0), ("critic_learning_rate", 0.0), ("temperature_learning_rate", -1.0), ("discount", 1.1)],
)
def test_settings_are_checked(field, value):
    with pytest.raises(ValueError, match=field):
        sac.Config(**{field: value})
