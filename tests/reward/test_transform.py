"""Reward normalisation against a loop over steps, with more steps than environments and several rollouts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.reward import centre, normalise_by_return
from rlx.space import Box, Discrete
from rlx.types import EnvSpec, Transition

T, B, K = 7, 3, 2
SPEC = EnvSpec(Box(-1, 1, (2,)), Discrete(2), ("a", "b"), B)
DISCOUNT = np.array([0.9, 0.5])


def rollout(seed: int, envs: int = B) -> tuple[np.ndarray, Transition]:
    rng = np.random.default_rng(seed)
    reward = rng.normal(1.0, 2.0, (T, envs, K)).astype(np.float32)
    terminated, truncated = rng.random((2, T, envs)) < 0.15
    zeros = jnp.zeros((T, envs))
    return reward, Transition(
        zeros, zeros, zeros, jnp.asarray(reward), jnp.asarray(terminated), jnp.asarray(truncated), zeros
    )


def test_normalise_by_return_equals_a_loop_over_steps():
    transform = normalise_by_return(jnp.asarray(DISCOUNT), jnp.array([True, False]))
    state = transform.init(SPEC, K)
    running, seen = np.zeros((B, K)), []
    for seed in range(3):
        reward, batch = rollout(seed)
        for t in range(T):
            running = running * DISCOUNT + reward[t]
            seen.append(running.copy())
            running[np.asarray(batch.terminated | batch.truncated)[t], 0] = 0.0
        got, state = jax.jit(transform.apply)(state, jnp.asarray(reward), batch)
        np.testing.assert_allclose(got, reward / np.stack(seen).std((0, 1)), rtol=1e-4)
    np.testing.assert_allclose(state.returns, running, rtol=1e-5)


def test_shards_are_normalised_alike():
    reward, batch = rollout(0, 2 * B)
    wide = normalise_by_return(0.9)
    wanted, _ = wide.apply(wide.init(SPEC._replace(num_envs=2 * B), K), jnp.asarray(reward), batch)
    narrow = normalise_by_return(0.9, axis_name="data")

    def halves(x):
        return jnp.stack(jnp.split(x, 2, axis=1))

    def apply(reward, batch):
        return narrow.apply(narrow.init(SPEC, K), reward, batch)[0]

    got = jax.vmap(apply, axis_name="data")(halves(jnp.asarray(reward)), jax.tree.map(halves, batch))
    np.testing.assert_allclose(jnp.concatenate([*got], axis=1), wanted, rtol=1e-5)


def test_replayed_rewards_are_divided_by_the_present_deviation():
    transform = normalise_by_return(0.9)
    reward, batch = rollout(0)
    got, state = transform.apply(transform.init(SPEC, K), jnp.asarray(reward), batch)
    replayed = jnp.asarray(reward).reshape(1, T * B, K)[:, ::-1]
    assert transform.rescore is not None
    np.testing.assert_allclose(transform.rescore(state, replayed)[:, ::-1].reshape(T, B, K), got, rtol=1e-6)


def test_silence_stays_silent():
    transform = normalise_by_return(0.9)
    _, batch = rollout(0)
    got, _ = transform.apply(transform.init(SPEC, K), jnp.zeros((T, B, K)), batch)
    np.testing.assert_array_equal(got, 0.0)


def test_centre_subtracts_the_mean_so_far():
    transform = centre()
    state, seen = transform.init(SPEC, K), []
    for seed in range(3):
        reward, batch = rollout(seed)
        seen.append(reward)
        got, state = transform.apply(state, jnp.asarray(reward), batch)
        np.testing.assert_allclose(got, reward - np.stack(seen).mean((0, 1, 2)), atol=1e-5)
    assert transform.rescore is not None
    np.testing.assert_array_equal(transform.rescore(state, jnp.asarray(reward)), got)


def test_a_discount_above_one_is_refused():
    with pytest.raises(ValueError, match="discount"):
        normalise_by_return(1.1)
