"""Oracles: expectiles and tilted behaviour in closed form, geometric sums, and the log's own frequencies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from tiny import Tiny

from rlx import runtime
from rlx.algos import iql
from rlx.nets import Inputs, Network
from rlx.pareto import linear
from rlx.reward import extrinsic
from rlx.space import Box, Discrete, MultiDiscrete
from rlx.types import Algorithm, Channel, Transition

SMALL = dict(batch_size=128, hidden=(16,), learning_rate=3e-3, tau=0.05)
ARMS = np.array([1.0, 0.0, 2.0, 0.5])  # what an action pays
TAKEN = np.repeat(np.arange(4), [3, 2, 1, 2])  # how often the log has each
OBS = jnp.array([0.0, 1.0])  # the only state
KEY = jax.random.key(0)


def log_of(action: np.ndarray, reward: np.ndarray, terminated: bool = True) -> Transition:
    """Steps `[T, 2]`, each twice, that end the episode or are cut."""
    rows = lambda x: jnp.stack([jnp.asarray(x)] * 2, axis=1)  # noqa: E731
    flag = jnp.full((len(action), 2), terminated)
    obs = jnp.broadcast_to(OBS, (*flag.shape, 2))
    return Transition(obs, rows(action), jnp.zeros(flag.shape), rows(reward), flag, ~flag, obs)


def bandit(settings: dict[str, Any], weights: Any = (1.0, 1.0), **parts: Any) -> Algorithm:
    """Of two channels with discounts of their own."""
    env = Tiny(Discrete(4), guess=False)
    env.reward_channels = ("near", "far")
    rewards = extrinsic((Channel("near", discount=0.5), Channel("far", discount=0.8)))
    parts = {"rewards": rewards, "weighting": linear(jnp.asarray(weights)), **parts}
    return iql.make(iql.Config(**{**SMALL, **settings}), env, **parts)


@jax.jit
def train(data: Transition, level: Any = 0.7, beta: Any = 3.0, weights: Any = (1.0, 1.0)) -> Any:
    """The last state, its value of the state `[K]`, the last metrics, and the frequencies of 40,000 actions."""
    algorithm = bandit({"level": level, "inverse_temperature": beta}, jnp.asarray(weights))
    state, metrics = runtime.train(algorithm, KEY, 1_200, data)
    network, inputs = Network(2, SMALL["hidden"], "relu"), Inputs(OBS[None, None], None, None)
    value = network.apply(state.params["value"], inputs, (), None)[0][0, 0]
    obs = jnp.broadcast_to(OBS, (40_000, 2))
    action, _ = algorithm.policy(state).act(KEY, obs, (), jnp.ones(40_000, bool))
    greedy, _ = algorithm.policy(state).act(KEY, obs[:1], (), jnp.ones(1, bool), greedy=True)
    return value, jnp.bincount(action, length=4) / 40_000, greedy[0], jax.tree.map(lambda x: x[-1], metrics)


def paid(near: Any, far: Any) -> np.ndarray:
    return np.stack([np.asarray(near, np.float32)[TAKEN], np.asarray(far, np.float32)[TAKEN]], axis=1)


def test_value_is_the_expectile_and_the_policy_the_tilted_behaviour():
    level, beta = 0.8, 1.5
    value, share, greedy, _ = train(log_of(TAKEN, paid(0 * ARMS, ARMS)), level, beta)
    best = scipy.stats.expectile(ARMS[TAKEN], level)
    np.testing.assert_allclose(value, [0.0, best], atol=0.06)
    tilted = np.bincount(TAKEN) * np.exp(beta * ARMS)
    np.testing.assert_allclose(share, tilted / tilted.sum(), atol=0.04)
    assert greedy == np.argmax(tilted)


def test_without_temperature_it_clones_the_behaviour():
    _, share, _, metrics = train(log_of(TAKEN, paid(ARMS, ARMS)), 0.7, 0.0)
    np.testing.assert_allclose(share, np.bincount(TAKEN) / len(TAKEN), atol=0.04)
    np.testing.assert_array_equal(metrics["imitation_weight"], 1.0)


def test_values_go_on_where_an_episode_was_cut_and_not_where_it_ended():
    """Each channel always pays the same, so that its value is a geometric sum whatever the expectile."""
    ones = np.ones(4)
    cut, *_ = train(log_of(TAKEN, paid(ones, 2 * ones), terminated=False))
    np.testing.assert_allclose(cut, [1.0 / 0.5, 2.0 / 0.2], rtol=0.05)
    ended, *_ = train(log_of(TAKEN, paid(ones, 2 * ones)))
    np.testing.assert_allclose(ended, [1.0, 2.0], rtol=0.05)


def test_the_weighted_sum_of_channels_says_which_actions_are_good():
    data = log_of(TAKEN, paid(ARMS, -ARMS))
    assert [int(train(data, 0.7, 6.0, weights)[2]) for weights in ((1.0, 0.0), (0.0, 1.0))] == [2, 1]


def test_boxes_are_scaled_and_their_means_found():
    """In an asymmetric box: mean and deviation of what was done, tilted towards what pays."""
    action = np.random.default_rng(0).normal(1.6, 0.4, (400, 1)).astype(np.float32)

    @jax.jit
    def mean_and_std(data: Transition, beta: Any) -> Any:
        config = iql.Config(**SMALL, inverse_temperature=beta, level=0.5)
        algorithm = iql.make(config, Tiny(Box(-1.0, 3.0, (1,)), guess=False))
        state, _ = runtime.train(algorithm, KEY, 1_200, data)
        args = jnp.broadcast_to(OBS, (5_000, 2)), (), jnp.ones(5_000, bool)
        act = algorithm.policy(state).act
        return act(KEY, *args, greedy=True)[0].mean(), act(KEY, *args)[0].std()

    for beta in (0.0, 3.0):
        mean, std = mean_and_std(log_of(action, action[:, 0]), beta)
        np.testing.assert_allclose(mean, np.average(action, weights=np.exp(beta * action)), atol=0.1)
        np.testing.assert_allclose(std, 0.4, atol=0.08)


def test_rewards_of_a_source_replace_those_of_the_log():
    tiny = {"batch_size": 8, "hidden": (4,)}
    flipped = extrinsic(("near", "far"))._replace(rescore=lambda state, batch, stored, key: -batch.reward)
    data = log_of(TAKEN, paid(ARMS, ARMS))
    states = []
    for algorithm, log in ((bandit(tiny, rewards=flipped), data), (bandit(tiny), data._replace(reward=-data.reward))):
        states.append(jax.jit(algorithm.update)(algorithm.init(KEY), log)[1]["loss/critic"])
    np.testing.assert_array_equal(*states)


KINDS = {  # value loss: level, and the minimiser's own condition, zero there, of logged values minus the value
    "gumbel": (0.7, lambda d: np.mean(np.exp(d / 0.7)) - 1),
    "chi2_flat": (0.8, lambda d: np.mean(0.8 * (1 + d / 2) * (d > 0)) - 0.2),
    "chi2_conjugate": (0.6, lambda d: np.mean(0.6 * np.maximum(1 + d / 2, 0)) - 0.4),
}


@pytest.mark.parametrize("kind", KINDS)
def test_value_is_where_the_chosen_loss_is_least(kind: Any):
    """Steps on either side of the value: the chi-square losses have kinks at logged values."""
    level, condition = KINDS[kind]
    action, pays = TAKEN, ARMS[TAKEN].astype(np.float32)

    @jax.jit
    def value_of(data: Transition) -> Any:
        settings = dict(value_loss=kind, level=level, inverse_temperature=0.0, huber=20.0)
        algorithm = iql.make(iql.Config(**{**SMALL, **settings}), Tiny(Discrete(4), guess=False))
        state, _ = runtime.train(algorithm, KEY, 1_200, data)
        network, inputs = Network(1, SMALL["hidden"], "relu"), Inputs(OBS[None, None], None, None)
        return network.apply(state.params["value"], inputs, (), None)[0][0, 0, 0]

    found = float(value_of(log_of(action, pays)))
    assert condition(pays - (found - 0.08)) > 0 > condition(pays - (found + 0.08))


def test_stepped_weights_imitate_what_is_better_than_the_value():
    @jax.jit
    def shares(data: Transition) -> Any:
        config = iql.Config(**SMALL, level=0.5, weights="step")
        algorithm = iql.make(config, Tiny(Discrete(4), guess=False))
        state, _ = runtime.train(algorithm, KEY, 1_200, data)
        obs = jnp.broadcast_to(OBS, (20_000, 2))
        action, _ = algorithm.policy(state).act(KEY, obs, (), jnp.ones(20_000, bool))
        return jnp.bincount(action, length=4) / 20_000

    above = np.where(ARMS[TAKEN].mean() < ARMS, np.bincount(TAKEN), 0)
    np.testing.assert_allclose(shares(log_of(TAKEN, ARMS[TAKEN].astype(np.float32))), above / above.sum(), atol=0.06)


def test_seeds_and_settings_share_one_log():
    data, keys = log_of(TAKEN, paid(ARMS, ARMS)), jax.random.split(KEY, 2)
    swept = {"learning_rate": jnp.array([1e-3, 3e-3]), "level": jnp.array([0.6, 0.9])}
    swept |= {"inverse_temperature": jnp.array([1.0, 5.0]), "discount": jnp.array([0.9, 0.99])}

    def one(key: Any, settings: Any) -> Any:
        algorithm = bandit({"batch_size": 8, "hidden": (4,), **settings})
        return runtime.train(algorithm, key, 5, data)[0].params

    together = jax.jit(jax.vmap(one))(keys, swept)
    alone = jax.jit(one)(keys[1], jax.tree.map(lambda x: x[1], swept))
    close = lambda x, y: np.testing.assert_allclose(x[1], y, rtol=1e-3, atol=1e-5)  # noqa: E731
    jax.tree.map(close, together, alone)


def test_fit_passes_the_log_and_counts_gradient_steps():
    """On two-part actions, of which one is always the same."""
    action = np.array([[1, 2], [1, 0]] * 4)
    env = Tiny(MultiDiscrete((2, 3)), guess=False, end="truncated")
    algorithm = iql.make(iql.Config(**SMALL, inverse_temperature=0.0), env)
    data = log_of(action, np.zeros(8, np.float32))
    run = runtime.fit(algorithm, total_steps=400, data=data, env=env, eval_episodes=2, progress=False)
    assert (run.updates, run.steps) == (400, 400)
    assert len(run.evaluations["return"]) == 1
    args = jnp.broadcast_to(OBS, (5_000, 2)), (), jnp.ones(5_000, bool)
    found, _ = algorithm.policy(run.state).act(KEY, *args)
    assert np.mean(found[:, 0] == 1) > 0.95
    np.testing.assert_allclose(np.bincount(found[:, 1], minlength=3) / 5_000, [0.5, 0, 0.5], atol=0.05)


def test_refusals():
    algorithm = bandit({})
    with pytest.raises(ValueError, match="data must be a log"):
        algorithm.update(algorithm.init(KEY))
    with pytest.raises(ValueError, match="rewards must have rescore"):
        bandit({}, rewards=extrinsic(("near", "far"))._replace(rescore=None))
    with pytest.raises(ValueError, match="value_loss must be"):
        bandit({"value_loss": "tv", "level": 0.8})
    with pytest.raises(ValueError, match=r"level must be a finite number in \(0.5, 1\)"):
        iql.Config(value_loss="chi2", level=0.5)
    with pytest.raises(ValueError, match="upper bound of the action space"):
        iql.make(iql.Config(), Tiny(Box(-1.0, np.inf, (1,))))
    for field, value in (
        ("level", 1.0),
        ("level", -1.0),
        ("inverse_temperature", -1.0),
        ("num_critics", 0),
        ("tau", 0.0),
    ):
        with pytest.raises(ValueError, match=field):
            iql.Config(**{field: value})
