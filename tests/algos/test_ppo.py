from __future__ import annotations

import dataclasses
import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Tiny

from rlx.algos import ppo
from rlx.envs import make as make_env
from rlx.nets import Inputs, Network
from rlx.pareto import exponentiated_gradient, from_gram, min_norm_weights
from rlx.reward import chain, extrinsic, stack
from rlx.space import Box, Discrete, MultiDiscrete
from rlx.types import Channel, RewardSource, Weighting

SMALL = ppo.Config(num_envs=8, num_steps=8, num_minibatches=2, learning_rate=3e-3, hidden=(16,))


def train(algorithm, updates, seed=0):
    def run(key):
        return jax.lax.scan(lambda s, _: algorithm.update(s), algorithm.init(key), None, length=updates)

    return jax.jit(run)(jax.random.key(seed))


def mean_return(metrics, last):
    episode = metrics["episode_return"]
    return episode.total[-last:].sum(0) / episode.count[-last:].sum()


def values(config, state, obs, num_channels=1):
    critic = Network(num_channels, config.hidden, config.activation)
    return critic.apply(state.params["critic"], Inputs(jnp.asarray(obs)[None, None], None, None), (), None)[0][0, 0]


@pytest.mark.parametrize(
    ("end", "episodic", "expected"),
    [("terminated", True, 1.0), ("truncated", True, 2.0), ("terminated", False, 2.0), ("truncated", False, 2.0)],
)
def test_value_at_episode_ends(end, episodic, expected):
    # every step ends an episode and pays 1; with discount 1/2 a value that goes on is 2 and one that ends is 1
    config = dataclasses.replace(SMALL, num_steps=1, num_minibatches=1, value_clip=None, learning_rate=1e-2)
    rewards = extrinsic((Channel("reward", discount=0.5, episodic=episodic),))
    algorithm = ppo.make(config, Tiny(Discrete(2), end=end, guess=False), rewards=rewards)
    state, _ = train(algorithm, 150)
    np.testing.assert_allclose(values(config, state, [0.0, 1.0]), expected, atol=0.05)


def test_each_channel_has_its_own_discount():
    env = Tiny(Discrete(2), limit=10**6, guess=False)
    rewards = stack(extrinsic((Channel("short", discount=0.5),)), extrinsic((Channel("long", discount=0.75),)))
    config = dataclasses.replace(SMALL, value_clip=None, learning_rate=1e-2)
    state, metrics = train(ppo.make(config, env, rewards=rewards), 150)
    np.testing.assert_allclose(values(config, state, [0.0, 1.0], 2), [2.0, 4.0], atol=0.1)
    assert metrics["loss/value"].shape == (150, 2)


@pytest.mark.parametrize(
    ("actions", "best", "surrogate"),
    [
        (Discrete(3), 1.0, "clip"),
        (Discrete(3), 1.0, "kl"),
        (MultiDiscrete((2, 3)), 1.0, "clip"),
        (Box(-2.0, 2.0, (2,)), 0.0, "clip"),
    ],
    ids=["discrete", "kl", "multi_discrete", "box"],
)
def test_finds_the_best_action(actions, best, surrogate):
    config = dataclasses.replace(
        SMALL, surrogate=surrogate, entropy_coefficient=0.0, learning_rate=1e-2, num_envs=32, kl_target=0.05
    )
    algorithm = ppo.make(config, Tiny(actions))
    state, metrics = train(algorithm, 80)
    assert (float(state.kl_coefficient) == 1.0) == (surrogate == "clip")  # only a penalty adapts
    tolerance = 0.5 if isinstance(actions, Box) else 0.05  # the Gaussian still explores
    assert mean_return(metrics, 5) > best - tolerance
    policy = algorithm.policy(state)
    obs = jnp.array([[0.0, 1.0], [1.0, 0.0]])
    action, _ = policy.act(jax.random.key(1), obs, policy.init(2), jnp.ones(2, bool), greedy=True)
    if isinstance(actions, Box):
        np.testing.assert_allclose(action, [[-1, -1], [1, 1]], atol=0.2)
    else:
        np.testing.assert_array_equal(action[:, 0] if action.ndim == 2 else action, [0, 1])


def test_masked_actions_are_never_taken():
    # the mask forbids the action that pays, so no reward may ever come
    _, metrics = train(ppo.make(SMALL, Tiny(Discrete(3), mask=True)), 20)
    assert float(jnp.abs(metrics["episode_return"].total).sum()) == 0.0
    assert np.isfinite(metrics["entropy"]).all()


def test_memory_solves_what_feed_forward_cannot():
    class Recall(Tiny):
        """The cue is seen at the first step only and asked for at the second."""

        def _observe(self, state):
            return jnp.stack([state.phase, 1.0 - state.phase]) * (state.time == 0)

        def step_env(self, key, state, action, params):
            obs, state, reward, terminated, info = super().step_env(key, state, action, params)
            return obs, state, reward * (state.time == 2), terminated, info

    config = dataclasses.replace(SMALL, num_envs=32, learning_rate=1e-2, entropy_coefficient=0.0)
    scores = []
    for memory in (0, 8):
        _, metrics = train(ppo.make(dataclasses.replace(config, memory=memory), Recall(Discrete(2), limit=2)), 60)
        scores.append(float(mean_return(metrics, 5)[0]))
    assert scores[0] < 0.7
    assert scores[1] > 0.95


def test_chunked_gradient_is_the_whole_gradient():
    after = [
        train(ppo.make(dataclasses.replace(SMALL, gradient_chunk=chunk), Tiny(Discrete(2))), 3)[0].params
        for chunk in (8, 32)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *after)


def test_sum_of_channels_is_the_sum_of_rewards():
    # two channels of half the reward and one of all of it: the same returns, and both learn
    half = chain(extrinsic((Channel("a"),)), lambda r: 0.5 * r)
    other = chain(extrinsic((Channel("b"),)), lambda r: 0.5 * r)
    _, metrics = train(
        ppo.make(dataclasses.replace(SMALL, learning_rate=1e-2), Tiny(Discrete(2)), rewards=stack(half, other)), 60
    )
    np.testing.assert_allclose(metrics["episode_return"].total[:, 0], metrics["episode_return"].total[:, 1], rtol=1e-6)
    assert mean_return(metrics, 5).sum() > 0.95


@pytest.mark.parametrize("added", [False, True], ids=["channels", "sum"])
def test_no_stream_drowns_another_where_channels_are_normalised(added):
    """Several critics do not see how large a stream is; of a sum the largest is all that is learned."""
    channels = (Channel("sum"),) if added else (Channel("first"), Channel("second"))

    def learned(scales):
        def compute(state, batch, key):
            rewards = batch.action * scales  # for either component of the action
            return rewards.sum(-1, keepdims=True) if added else rewards, state

        rewards = RewardSource(lambda *_: (), compute, lambda state, *_: (state, {}), channels)
        config = dataclasses.replace(SMALL, normalise_reward=True, normalise_channels=not added)
        state, _ = train(ppo.make(config, Tiny(MultiDiscrete((2, 2))), rewards=rewards), 2)
        return jax.flatten_util.ravel_pytree(state.params["actor"])[0]

    alike, large, alone = jax.vmap(learned)(jnp.array([[1.0, 1.0], [1.0, 2.0**10], [0.0, 1.0]]))
    to_alike, to_alone = (float(jnp.abs(large - x).mean()) for x in (alike, alone))
    if added:
        assert to_alone < 1e-4 < 1e-3 < to_alike
    else:
        np.testing.assert_allclose(large, alike, atol=1e-5)
        assert to_alone > 1e-3


def test_gram_of_opposed_channels():
    seen = []

    def update(state, stats):
        seen.append(stats.gram.shape)
        return jnp.array([1.0, 0.0]), state, {"gram": stats.gram.reshape(-1)}

    opposed = stack(extrinsic((Channel("a"),)), chain(extrinsic((Channel("b"),)), lambda r: -r))
    # one-step episodes and a critic that starts near zero: advantages are about the rewards themselves
    weighting = Weighting(lambda k: (), update, needs_gram=True)
    _, metrics = train(ppo.make(SMALL, Tiny(Discrete(2)), rewards=opposed, weighting=weighting), 1)
    gram = np.asarray(metrics["weighting/gram"][0]).reshape(2, 2)
    np.testing.assert_allclose(gram, gram.T, rtol=1e-5)
    assert gram[0, 0] > 0
    assert gram[0, 1] < 0
    assert np.linalg.eigvalsh(gram).min() > -1e-6


@pytest.mark.parametrize(
    ("weighting", "favoured"),
    [(from_gram(min_norm_weights), 0), (exponentiated_gradient((0.5, 0.5), step_size=1.0), 1)],
    ids=["min_norm", "influence"],
)
def test_weights_from_the_gram_matrix(weighting, favoured):
    # the second channel is three times the first: the min-norm point is the short gradient, influence follows the long
    triple = stack(extrinsic((Channel("a"),)), chain(extrinsic((Channel("b"),)), lambda r: 3.0 * r))
    config = dataclasses.replace(SMALL, learning_rate=1e-2)
    _, metrics = train(ppo.make(config, Tiny(Discrete(2)), rewards=triple, weighting=weighting), 60)
    assert metrics["weight"][:5, favoured].min() > 0.5  # later gradients are small, and noise
    np.testing.assert_allclose(metrics["weight"].sum(1), 1.0, rtol=1e-4)
    assert mean_return(metrics, 5)[0] > 0.95


def test_gradient_over_shards_is_that_of_all_samples():
    # shards that start with the same environments must do what one of them does alone: pmean, not a sum
    # (Adam's moments are compared too, unclipped: parameters alone would not show a gradient of the wrong length)
    config = dataclasses.replace(SMALL, normalise_observation=True, max_grad_norm=1e6)
    alone = ppo.make(config, Tiny(Discrete(2)))
    sharded = ppo.make(config, Tiny(Discrete(2)), axis_name="data")
    state = jax.jit(alone.init)(jax.random.key(0))
    copies = jax.tree.map(lambda x: jnp.stack([x] * 4), state)
    after = jax.jit(jax.vmap(sharded.update, axis_name="data"))(copies)[0]
    expected = jax.jit(alone.update)(state)[0]
    learnt = [(s.params, s.optimiser) for s in (after, expected)]
    for x, y in zip(*map(jax.tree.leaves, learnt), strict=True):
        np.testing.assert_allclose(x, jnp.stack([y] * 4), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(after.observations.mean[0], expected.observations.mean, atol=1e-6)
    assert float(after.observations.count[0]) == 4 * float(expected.observations.count)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_minibatches", 3),
        ("learning_rate", -1.0),
        ("learning_rate", float("nan")),
        ("discount", 1.5),
        ("clip", 0.0),
        ("num_envs", 0),
        ("num_steps", 2.5),
        ("entropy_coefficient", -0.1),
        ("surrogate", "trust"),
        ("gradient_chunk", 0),
        ("gradient_chunk", 7),
    ],
)
def test_bad_settings_name_the_field(field, value):
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(SMALL, **{field: value})


def test_minibatches_of_memory_are_whole_environments():
    with pytest.raises(ValueError, match="num_minibatches must divide num_envs"):
        dataclasses.replace(SMALL, memory=4, num_envs=3, num_steps=8)


def test_images_are_not_normalised():
    env, params = make_env("Breakout-MinAtar")
    algorithm = ppo.make(dataclasses.replace(SMALL, normalise_observation=True), env, params)
    state, _ = jax.eval_shape(lambda key: algorithm.update(algorithm.init(key)), jax.random.key(0))
    assert state.observations is None


def test_traced_settings_differ_within_one_program():
    def run(rate, key):
        algorithm = ppo.make(dataclasses.replace(SMALL, learning_rate=rate), Tiny(Discrete(2)))
        return algorithm.update(algorithm.init(key))[0].params

    rates = jnp.array([1e-4, 1e-2])
    both = jax.jit(jax.vmap(functools.partial(run, key=jax.random.key(0))))(rates)
    for i, rate in enumerate(rates):
        alone = jax.jit(run)(rate, jax.random.key(0))
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-6), both, alone)
