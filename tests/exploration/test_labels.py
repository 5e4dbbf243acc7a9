"""Models of an annotator's answers against maximum likelihood, and PPO that trains with them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from rlx.algos import ppo
from rlx.envs import make
from rlx.exploration import (
    Annotator,
    Answers,
    labelled_events,
    scripted_annotator,
    scripted_comparer,
)
from rlx.exploration.labels import learned_labels
from rlx.pareto import linear
from rlx.reward import extrinsic, stack
from rlx.space import Box, Discrete
from rlx.types import EnvSpec, RewardSource, Transition

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
T, B = 4, 3


def spec(captions: int) -> EnvSpec:
    return EnvSpec(Box(0.0, float(captions), (1,)), Discrete(2), ("reward",), B)


def batch_of(captions: np.ndarray) -> Transition:
    """Steps whose captions can be read from their observations."""
    obs = jnp.asarray(captions, jnp.float32)[..., None]
    zeros, flags = jnp.zeros(captions.shape), jnp.zeros(captions.shape, bool)
    return Transition(obs, zeros.astype(jnp.int32), zeros, zeros, flags, flags, obs)


def caption(batch: Transition) -> jax.Array:
    return batch.obs[..., 0].astype(jnp.int32)


def paid_after(source: RewardSource, captions: np.ndarray, batches: int) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The rewards of the same batch, after learning from it that many times, and the last metrics."""
    batch = batch_of(captions)

    def iteration(state, key):
        compute_key, update_key = jax.random.split(key)
        rewards, state = source.compute(state, batch, compute_key)
        state, metrics = source.update(state, batch, update_key)
        return state, (rewards[..., 0], metrics)

    run = jax.jit(lambda key: jax.lax.scan(iteration, source.init(key, spec(9)), jax.random.split(key, batches)))
    return jax.tree.map(lambda x: x[-1], run(KEY)[1])


def test_ranker_finds_the_maximum_likelihood_of_bradley_and_terry():
    """Three captions, and how often each was preferred to each other."""
    share = {(0, 1): 0.8, (0, 2): 0.7, (1, 2): 0.45}
    table = jnp.zeros((9, 1)).at[jnp.array([3 * i + j for i, j in share]), 0].set(jnp.array(list(share.values())))
    judge = Annotator(lambda key, num: (), lambda state, asked, _: (Answers(asked, table[asked], asked >= 0), state), 1)
    captions = np.array([[0, 1, 2], [0, 0, 0], [1, 0, 2], [0, 0, 1]])
    source = learned_labels(
        caption,
        3,
        judge,
        model="ranking",
        threshold=-jnp.inf,
        decay=0.0,
        hidden=(),
        learning_rate=3e-3,
        batch_size=512,
    )
    paid, metrics = paid_after(source, captions, 60)
    assert metrics["known"] == 3

    def loss(free):
        f = np.append(free, 0.0)
        return sum(
            p * np.logaddexp(0, f[j] - f[i]) + (1 - p) * np.logaddexp(0, f[i] - f[j]) for (i, j), p in share.items()
        )

    f = np.append(minimize(loss, np.zeros(2), tol=1e-10).x, 0.0)
    z = (f - f[captions].mean()) / f[captions].std()
    np.testing.assert_allclose(metrics["loss"], loss(f[:2]) / 3, atol=0.01)
    np.testing.assert_allclose(np.diff(paid[0]) / np.ptp(paid[0]), np.diff(z[captions[0]]) / np.ptp(z), atol=0.05)


def test_ranker_pays_what_stands_out():
    """Of nine captions one is better than the rest, which are equal."""
    captions = RNG.integers(8, size=(T, B))
    captions[2, 1] = 8
    source = learned_labels(caption, 9, scripted_comparer(np.arange(9) == 8), model="ranking", threshold=1.0)
    paid, _ = paid_after(source, captions, 20)
    assert (paid > 0).tolist() == (captions == 8).tolist()


def test_classifier_pays_what_is_labelled_and_what_is_like_it():
    """Labels by a line in the plane of features; one caption in two is never answered."""
    side = np.linspace(-1, 1, 9)
    truth = side[:, None] > 0.1
    half = scripted_annotator(truth, coverage=0.5)
    features = np.stack([side, RNG.normal(size=9)], 1)
    captions = np.arange(12).reshape(T, B) % 9
    source = learned_labels(caption, 9, half, features=features, decay=0.0, learning_rate=1e-2, num_steps=50)
    paid, metrics = paid_after(source, captions, 10)
    assert 2 < metrics["known"] < 9
    assert np.mean(np.asarray(paid) == truth[captions][..., 0]) > 0.8


def test_nothing_is_paid_before_an_answer():
    annotator = scripted_annotator(np.ones((81, 1), bool), coverage=0.0)
    source = learned_labels(caption, 9, annotator, model="ranking", hidden=(), num_steps=2)
    paid, metrics = paid_after(source, RNG.integers(9, size=(T, B)), 2)
    assert not paid.any()
    assert metrics["known"] == 0


def test_comparer_without_noise_orders_by_utility():
    annotator = scripted_comparer(jnp.array([1.0, 3.0, 3.0]))
    answers, _ = annotator.ask(annotator.init(KEY, 9), jnp.arange(9), None)
    assert answers.label.reshape(3, 3).tolist() == [[0.5, 0, 0], [1, 0.5, 0.5], [1, 0.5, 0.5]]


def test_shards_learn_the_same_model():
    captions = RNG.integers(9, size=(2, T, B))
    options = dict(model="ranking", hidden=(), batch_size=8, num_steps=2)
    source = learned_labels(caption, 9, scripted_comparer(np.arange(9)), **options, axis_name="data")

    def run(captions, key):
        state = source.init(KEY, spec(9))
        _, state = source.compute(state, batch_of(captions), key)
        return source.update(state, batch_of(captions), key)[0]

    state = jax.jit(jax.vmap(run, axis_name="data"))(jnp.asarray(captions), jax.random.split(KEY, 2))
    for leaf in jax.tree.leaves((state.queue, state.params, state.moments)):
        np.testing.assert_array_equal(leaf[0], leaf[1])


def test_ppo_trains_with_labels():
    """The key of a small maze is what the annotator likes: the policy comes to take it in most episodes."""
    env, params = make("rlx/keydoor-5")
    num = len(env.events)
    source = labelled_events(
        lambda batch: env.event(batch.obs, batch.action, params),
        num,
        scripted_annotator(np.arange(num)[:, None] == env.events.index("key")),
        rate=2,
    )
    config = ppo.Config(num_envs=8, num_steps=64, learning_rate=3e-3, hidden=(32,), num_minibatches=2)
    algorithm = ppo.make(config, env, params, rewards=stack(extrinsic(), source), weighting=linear((0.0, 1.0)))
    updates = jax.jit(lambda key: jax.lax.scan(lambda s, _: algorithm.update(s), algorithm.init(key), length=20))
    _, metrics = updates(KEY)
    assert metrics["source/label/known"][-1] >= 3
    returns = metrics["episode_return"]
    found = returns.total[:, 1] / returns.count
    assert found[-5:].mean() > 0.9 > found[1]  # no episode ends in the first update


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(model="regression"), "model"),
        (dict(features=np.ones((2, 1))), "features"),
        (dict(rate=65), "rate"),
        (dict(batch_size=0), "batch_size"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        learned_labels(caption, 9, scripted_annotator(np.ones((9, 1), bool)), **options)


def test_ranking_wants_one_label():
    with pytest.raises(ValueError, match="labels"):
        learned_labels(caption, 3, scripted_annotator(np.ones((9, 2), bool)), model="ranking")
