"""On segments of two behaviours the preferred one is repeated, whichever it is; what must not matter does not."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import Tiny

from rlx import runtime
from rlx.algos import oppo
from rlx.reward import swap_candidates
from rlx.space import Box, Discrete
from rlx.types import PreferenceBatch

SMALL = dict(batch_size=32, context=4, hidden=(16,), learning_rate=3e-3, context_learning_rate=3e-2)
TINY = dict(batch_size=8, context=2, hidden=(4,))
OBS = jnp.array([0.0, 1.0])  # the only state
KEY = jax.random.key(0)
DISCRETE, BOX = Tiny(Discrete(3), guess=False), Tiny(Box(-1.0, 3.0, (1,)), guess=False)


def pairs(better: Any, continuous: bool = False) -> PreferenceBatch:
    """64 pairs of segments of up to 3 steps, in each of which one behaviour acts throughout; `better` of them wins.

    The first 32 pairs are of the same behaviour twice, with a random winner but weight 0. Padding holds the third
    action, or 3.
    """
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, (64, 2))
    kind[:32, 1], kind[32:, 1] = kind[:32, 0], 1 - kind[32:, 0]
    mask = np.arange(3) < rng.integers(1, 4, (64, 2, 1))
    action = np.where(mask, kind[..., None], 2)
    if continuous:
        action = np.where(mask, np.where(kind == 1, 2.0, -0.5)[..., None], 3.0)[..., None].astype(np.float32)
    target = jnp.asarray(kind == better, jnp.float32).at[:32].set(jnp.array([1.0, 0.0]))
    obs = jnp.broadcast_to(OBS, (64, 2, 3, 2))
    return PreferenceBatch(obs, jnp.asarray(action), jnp.asarray(mask), target, weight=jnp.arange(64) >= 32)


@pytest.mark.parametrize("env", [DISCRETE, BOX], ids=["discrete", "box"])
def test_the_policy_repeats_what_is_preferred(env):
    algorithm = oppo.make(oppo.Config(**SMALL), env)
    args = jnp.broadcast_to(OBS, (2_000, 2)), (), jnp.ones(2_000, bool)

    @jax.jit
    def act(data: PreferenceBatch) -> Any:
        state, metrics = runtime.train(algorithm, KEY, 600, data)
        return (
            algorithm.policy(state).act(KEY, *args)[0],
            algorithm.policy(state).act(KEY, *args, greedy=True)[0],
            metrics,
        )

    for better in (0, 1):
        sampled, greedy, metrics = act(pairs(better, env is BOX))
        if env is BOX:
            # near: a context at the margin is not yet that of a segment
            np.testing.assert_allclose(greedy, (-0.5, 2.0)[better], atol=0.75)
            np.testing.assert_array_equal(sampled, greedy)
        else:
            assert (greedy == better).all()
            assert np.mean(sampled == better) > 0.9
        assert metrics["loss/imitation"][-1] < 0.1  # in hindsight both are known
        assert abs(metrics["loss/norm"][-1]) < 0.1


def test_the_order_of_candidates_and_ties_change_nothing():
    algorithm = oppo.make(oppo.Config(**TINY), DISCRETE)
    state, data = algorithm.init(KEY), pairs(1)
    update = jax.jit(algorithm.update)
    tied = data._replace(target=jnp.full((64, 2), 0.5))
    # Adam's moments and not its steps, which are as long where a gradient is nothing but rounding
    after, swapped, equal = (update(state, x)[0].optimiser.inner_states for x in (data, swap_candidates(data), tied))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), after, swapped)
    cancelled = optax.tree.get(equal["context"], "mu")  # the two orders', within the margin
    np.testing.assert_allclose(cancelled, 0.0, atol=1e-6)
    assert np.abs(optax.tree.get(after["context"], "mu")).max() > 1e-4


def test_unanswered_queries_say_nothing():
    algorithm = oppo.make(oppo.Config(**TINY), DISCRETE)
    state, data = algorithm.init(KEY), pairs(1)
    update = jax.jit(algorithm.update)
    other = data._replace(target=data.target.at[:32].set(jnp.array([0.0, 1.0])))
    one, two = (update(state, x)[0].params for x in (data, other))
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_seeds_and_settings_share_the_data():
    data, keys = pairs(1), jax.random.split(KEY, 2)
    swept = {"learning_rate": jnp.array([1e-3, 3e-3]), "context_learning_rate": jnp.array([1e-3, 1e-2])}
    swept |= {"preference_weight": jnp.array([0.1, 1.0]), "margin": jnp.array([0.5, 1.0])}

    def one(key: Any, settings: Any) -> Any:
        return runtime.train(oppo.make(oppo.Config(**TINY, **settings), DISCRETE), key, 5, data)[0].params

    together = jax.jit(jax.vmap(one))(keys, swept)
    alone = jax.jit(one)(keys[1], jax.tree.map(lambda x: x[1], swept))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[1], y, rtol=1e-3, atol=1e-5), together, alone)


def test_refusals():
    algorithm = oppo.make(oppo.Config(**TINY), DISCRETE)
    with pytest.raises(ValueError, match="data must be a PreferenceBatch of pairs"):
        algorithm.update(())
    data = pairs(1)
    with pytest.raises(ValueError, match="data must have obs and action"):
        algorithm.update((), data._replace(action=None))
    with pytest.raises(ValueError, match=r"data\.target must be of shape \[B, 2\]"):
        algorithm.update((), data._replace(target=jnp.ones((64, 3)) / 3))
    with pytest.raises(ValueError, match="upper bound of the action space"):
        oppo.make(oppo.Config(), Tiny(Box(-1.0, np.inf, (1,))))
    with pytest.raises(ValueError, match="margin"):
        oppo.Config(margin=-1.0)
