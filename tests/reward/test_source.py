"""Sources and their combinators, with sources small enough to do by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.reward import RewardTransform, centre, chain, extrinsic, stack
from rlx.space import Box, Discrete
from rlx.types import Channel, EnvSpec, RewardSource, Transition

T, B = 4, 3
SPEC = EnvSpec(Box(-1, 1, (2,)), Discrete(2), ("reward",), B)
KEY = jax.random.key(0)


def batch_of(reward: np.ndarray) -> Transition:
    flags, zeros = jnp.zeros((T, B), bool), jnp.zeros((T, B))
    return Transition(zeros, zeros, zeros, jnp.asarray(reward), flags, flags, zeros)


BATCH = batch_of(np.arange(12.0).reshape(T, B))


def counter(name: str, step: float, rescores: bool = True) -> RewardSource:
    """Rewards are how much has been added up: `compute` adds 1, `update` adds `step`."""

    def compute(state, batch, key):
        del batch, key
        return jnp.full((T, B, 1), state), state + 1.0

    return RewardSource(
        lambda key, spec: jnp.zeros(()),
        compute,
        lambda state, batch, key: (state + step, {"total": state + step}),
        (Channel(name),),
        (lambda state, batch, stored, key: jnp.full((*batch.terminated.shape, 1), state)) if rescores else None,
    )


def dice(name: str) -> RewardSource:
    """Rewards, state and metric are all drawn from the keys."""
    return RewardSource(
        lambda key, spec: jax.random.uniform(key),
        lambda state, batch, key: (jax.random.uniform(key, (T, B, 1)), state),
        lambda state, batch, key: (state, {"drawn": jax.random.uniform(key)}),
        (Channel(name),),
    )


def test_extrinsic_passes_scalars_and_vectors_on():
    reward, state = extrinsic().compute((), BATCH, KEY)
    np.testing.assert_array_equal(reward[..., 0], BATCH.reward)
    vector = np.random.default_rng(0).normal(size=(T, B, 2)).astype(np.float32)
    two = extrinsic(("reward", Channel("cost", discount=0.5)))
    np.testing.assert_array_equal(two.compute(state, batch_of(vector), KEY)[0], vector)
    assert [c.discount for c in two.channels] == [None, 0.5]


def test_extrinsic_must_name_each_reward():
    with pytest.raises(ValueError, match=r"each of the environment's 1 rewards; got reward, cost"):
        extrinsic(("reward", "cost")).compute((), BATCH, KEY)


def test_stack_puts_channels_side_by_side_and_keeps_states_apart():
    source = stack(counter("a", 10.0), extrinsic(), counter("b", 100.0))
    assert [c.name for c in source.channels] == ["a", "reward", "b"]
    state = source.init(KEY, SPEC)
    _, state = source.compute(state, BATCH, KEY)
    state, metrics = source.update(state, BATCH, KEY)
    assert {name: float(value) for name, value in metrics.items()} == {"a/total": 11.0, "b/total": 101.0}
    rewards, _ = source.compute(state, BATCH, KEY)
    np.testing.assert_array_equal(rewards, np.stack([np.full((T, B), 11), BATCH.reward, np.full((T, B), 101)], axis=-1))


def test_stacked_sources_get_keys_of_their_own():
    source = stack(dice("a"), dice("b"))
    a, b = source.init(KEY, SPEC)
    rewards, _ = source.compute((a, b), BATCH, KEY)
    _, metrics = source.update((a, b), BATCH, KEY)
    assert a != b
    assert not np.any(rewards[..., 0] == rewards[..., 1])
    assert metrics["a/drawn"] != metrics["b/drawn"]


def test_stack_refuses_equal_names_and_emptiness():
    with pytest.raises(ValueError, match="different names"):
        stack(extrinsic(), dice("a"), extrinsic())
    with pytest.raises(ValueError, match="at least one reward source"):
        stack()


def test_stack_rescores_what_can_be_and_keeps_the_rest():
    source = stack(counter("a", 1.0), dice("b"))
    state = (jnp.array(5.0), jnp.zeros(()))
    stored = jnp.stack([jnp.full((T, B), 2.0), jnp.full((T, B), 3.0)], axis=-1)
    assert source.rescore is not None
    rewards = source.rescore(state, BATCH, stored, KEY)
    np.testing.assert_array_equal(rewards, np.broadcast_to([5.0, 3.0], (T, B, 2)))
    assert stack(dice("a"), dice("b")).rescore is None


def running_sum() -> RewardTransform:
    """Adds the batches up; scores replayed rewards by doubling them."""
    return RewardTransform(
        lambda spec, num_channels: jnp.zeros((spec.num_envs, num_channels)),
        lambda state, rewards, batch: (rewards + state, state + rewards[-1]),
        lambda state, rewards: 2 * rewards,
    )


def test_chain_applies_transforms_in_order():
    source = chain(extrinsic(), lambda r: r + 1, running_sum(), lambda r: 3 * r)
    state = source.init(KEY, SPEC)
    first, state = source.compute(state, BATCH, KEY)
    second, state = source.compute(state, BATCH, KEY)
    reward = np.asarray(BATCH.reward)[..., None]
    np.testing.assert_array_equal(first, 3 * (reward + 1))
    np.testing.assert_array_equal(second, 3 * (reward + 1 + reward[-1] + 1))
    assert source.rescore is not None
    np.testing.assert_array_equal(source.rescore(state, BATCH, first, KEY), 3 * 2 * (reward + 1))


def test_chain_updates_the_source():
    source = chain(counter("a", 10.0), centre())
    state, metrics = source.update(source.init(KEY, SPEC), BATCH, KEY)
    assert metrics == {"total": 10.0}
    assert state[0] == 10.0


def test_chain_rescores_only_where_all_of_it_can():
    ordered = RewardTransform(lambda spec, num_channels: (), lambda state, rewards, batch: (rewards, state))
    assert chain(counter("a", 1.0), ordered).rescore is None
    assert chain(counter("a", 1.0, rescores=False), jnp.tanh).rescore is None
    mixed = chain(stack(counter("a", 1.0), dice("b")), jnp.tanh)
    assert mixed.rescore is not None
    with pytest.raises(ValueError, match="b is not"):
        mixed.rescore(mixed.init(KEY, SPEC), BATCH, jnp.zeros((T, B, 2)), KEY)


def test_nested_combinators_vmap_over_seeds():
    source = stack(chain(dice("a"), centre()), extrinsic())

    def run(key):
        state = source.init(key, SPEC)
        _, state = source.compute(state, BATCH, key)
        return source.compute(state, BATCH, key)[0]

    keys = jax.random.split(KEY, 3)
    np.testing.assert_allclose(jax.jit(jax.vmap(run))(keys), jnp.stack([run(k) for k in keys]), rtol=1e-5, atol=1e-6)
