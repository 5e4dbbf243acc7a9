"""The conservative penalty: its exact value, importance correction by enumeration, and its tabular fixed point."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import value


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_penalty_over_all_actions(temperature: float):
    q = np.random.default_rng(0).normal(size=(5, 4))
    wanted = temperature * np.log(np.exp(q / temperature).sum(-1)) - q[:, 2]
    got = value.cql_penalty(jnp.asarray(q), jnp.asarray(q[:, 2]), temperature)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_sampled_actions_estimate_the_same_partition(temperature: float):
    """`exp(penalty / temperature) / count` is unbiased: its mean over all pairs of draws is the sum over actions."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        q, proposal = jnp.asarray(rng.normal(size=4)), jnp.asarray(rng.dirichlet(np.ones(4)))
        total = 0.0
        for pair in itertools.product(range(4), repeat=2):
            drawn = np.array(pair)
            penalty = value.cql_penalty(q[drawn], jnp.zeros(()), temperature, jnp.log(proposal[drawn]))
            total += np.prod(proposal[drawn]) * np.exp(penalty / temperature) / 2
        np.testing.assert_allclose(total, np.exp(q / temperature).sum(), rtol=1e-10)


@pytest.mark.parametrize("alpha", [0.0, 0.2])
def test_tabular_fixed_point(alpha: float):
    """Descent on the TD loss plus `alpha` penalties ends where `Q = B Q - alpha (softmax(Q) / behaviour - 1)`."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(2)
        transition, reward = rng.dirichlet(np.ones(3), (3, 2)), rng.normal(size=(3, 2))
        behaviour = rng.uniform(0.3, 0.7, (3, 1))
        behaviour = np.concatenate([behaviour, 1 - behaviour], -1)

        def backup(q):
            return reward + 0.8 * transition @ q.max(-1)

        def loss(q, target):
            penalty = value.cql_penalty(jnp.stack([q, q], 1), q, 1.0)  # [S, A]: one for each logged action
            return jnp.sum(behaviour * (value.td_loss(q, target) + alpha * penalty))

        step = jax.jit(lambda q: q - 0.5 * jax.grad(loss)(q, backup(q)))
        q = jax.lax.fori_loop(0, 2000, lambda _, q: step(q), jnp.zeros((3, 2)))
        np.testing.assert_allclose(q, backup(q) - alpha * (jax.nn.softmax(q) / behaviour - 1), atol=1e-9)
        if alpha == 0:
            np.testing.assert_allclose(q, value.value_iteration(transition, reward, 0.8)[1], atol=1e-8)


def test_errors_name_the_argument():
    q = jnp.zeros((3, 4))
    with pytest.raises(ValueError, match="temperature"):
        value.cql_penalty(q, q[:, 0], 0.0)
    with pytest.raises(ValueError, match="q_data"):
        value.cql_penalty(q, q, 1.0)
    with pytest.raises(ValueError, match="log_prob"):
        value.cql_penalty(q, q[:, 0], 1.0, q[0])
