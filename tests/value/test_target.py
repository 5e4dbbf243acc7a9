"""Targets of action values: rlax on the same inputs, channels against scalars, masks, and variational optima."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from rlx import value

B, A, K = 6, 4, 3


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("double", [True, False])
def test_q_target_equals_rlax(double: bool):
    q, online, target = normal(0, 3, B, A)
    reward, discount = normal(1, B), jnp.array([0.0, 0.5, 0.9, 1.0, 0.9, 0.0])
    action = jnp.arange(B) % A
    if double:
        error = jax.vmap(rlax.double_q_learning)(q, action, reward, discount, target, online)
    else:
        error = jax.vmap(rlax.q_learning)(q, action, reward, discount, target)
    got = value.q_target(online, target, reward, discount, double) - value.take_action(q, action)
    np.testing.assert_allclose(got, error, atol=1e-6)


def test_channels_are_those_of_the_action_that_the_weights_prefer():
    online, target = normal(2, 2, B, A, K)
    reward, discount, weights = normal(3, B, K), jnp.array([0.9, 0.5, 0.0]), jnp.array([1.0, -0.5, 2.0])
    got = value.q_target(online, target, reward, discount, True, weights=weights)
    for b in range(B):
        best = int(np.argmax(np.asarray(online[b]) @ np.asarray(weights)))
        np.testing.assert_allclose(got[b], reward[b] + discount * target[b, best], rtol=1e-6)
    by_state = value.greedy_action(online, weights=jnp.broadcast_to(weights, (B, K)))
    np.testing.assert_array_equal(by_state, value.greedy_action(online, weights=weights))


def test_one_channel_is_the_scalar_case():
    online, target = normal(4, 2, B, A)
    reward, mask = normal(5, B), np.random.default_rng(5).random((B, A)) < 0.7
    mask[:, 2] = True
    scalar = value.q_target(online, target, reward, 0.9, True, jnp.asarray(mask))
    one = value.q_target(
        online[..., None], target[..., None], reward[:, None], 0.9, True, jnp.asarray(mask), weights=jnp.ones(1)
    )
    np.testing.assert_array_equal(one[:, 0], scalar)


@pytest.mark.parametrize("double", [True, False])
def test_masked_actions_are_never_chosen(double: bool):
    online, target = normal(6, 2, B, A)
    mask = jnp.ones((B, A), bool).at[:, 1].set(False)
    huge = online.at[:, 1].set(jnp.inf), target.at[:, 1].set(jnp.inf)
    got = value.q_target(*huge, jnp.zeros(B), 1.0, double, mask)
    online, target = jnp.delete(online, 1, -1), jnp.delete(target, 1, -1)
    without = value.q_target(online, target, jnp.zeros(B), 1.0, double)
    np.testing.assert_array_equal(got, without)


def test_double_targets_are_lower_in_expectation():
    """With independent noise on equal values the plain maximum is biased up by E max, the double one not at all."""
    online, target = normal(7, 2, 20_000, A)
    zeros = jnp.zeros(20_000)
    expected_maximum = 1.0294  # of four standard normal numbers
    np.testing.assert_allclose(value.q_target(online, target, zeros, 1.0, False).mean(), expected_maximum, atol=0.03)
    np.testing.assert_allclose(value.q_target(online, target, zeros, 1.0, True).mean(), 0.0, atol=0.03)


def test_dueling_is_centred():
    state_value, advantage = normal(8, B), normal(9, B, A)
    q = value.dueling(state_value, advantage)
    np.testing.assert_allclose(q.mean(-1), state_value, atol=1e-6)
    np.testing.assert_allclose(q - q[:, :1], advantage - advantage[:, :1], atol=1e-6)
    np.testing.assert_allclose(value.dueling(state_value, advantage + 5.0), q, atol=1e-5)
    channels = value.dueling(normal(10, B, K), normal(11, B, A, K), axis=-2)
    one = value.dueling(normal(10, B, K)[:, 1], normal(11, B, A, K)[..., 1])
    np.testing.assert_allclose(channels[..., 1], one, atol=1e-6)


def test_twin_min_target_by_hand_and_per_channel():
    q, log_prob, reward = normal(12, 3, B), normal(13, B), normal(14, B)
    got = value.twin_min_target(q, log_prob, reward, 0.9, 0.2)
    wanted = [reward[b] + 0.9 * (min(float(x) for x in q[:, b]) - 0.2 * log_prob[b]) for b in range(B)]
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
    alpha = jnp.array([0.2, 0.0])
    both = value.twin_min_target(jnp.stack([q, q], -1), log_prob[:, None], jnp.stack([reward, reward], -1), 0.9, alpha)
    np.testing.assert_allclose(both[:, 0], got, rtol=1e-6)
    np.testing.assert_allclose(both[:, 1], reward + 0.9 * q.min(0), rtol=1e-6)


def test_twin_min_target_takes_all_channels_from_the_critic_of_the_least_weighted_sum():
    q, weights, zero = normal(12, 3, B, K), normal(13, K), jnp.zeros((B, K))
    got = value.twin_min_target(q, zero, zero, 1.0, 0.0, weights=weights)
    wanted = [min(np.asarray(q[:, b]), key=lambda channels: channels @ np.asarray(weights)) for b in range(B)]
    np.testing.assert_array_equal(got, wanted)


def test_soft_value_is_the_best_regularised_value():
    with jax.enable_x64(True):
        rng = np.random.default_rng(15)
        q, base, temperature = jnp.asarray(rng.normal(size=A)), jnp.asarray(rng.dirichlet(np.ones(A))), 0.7
        best = value.soft_value(q, jnp.log(base), temperature)
        policies = rng.dirichlet(np.ones(A), 5000)
        others = policies @ q - temperature * np.sum(policies * np.log(policies / base), -1)
        optimum = base * np.exp((q - best) / temperature)
        reached = optimum @ q - temperature * np.sum(optimum * np.log(optimum / base))
        np.testing.assert_allclose(optimum.sum(), 1.0, rtol=1e-12)
        np.testing.assert_allclose(reached, best, rtol=1e-12)
        assert others.max() <= best
        np.testing.assert_allclose(value.soft_value(q, jnp.log(base), 1e-4), q.max(), atol=2e-3)
        np.testing.assert_allclose(value.soft_value(q, jnp.log(base), 1e6), base @ q, atol=1e-5)
        np.testing.assert_allclose(jax.grad(lambda x: value.soft_value(x, jnp.log(base), temperature))(q), optimum)


def test_shapes_that_do_not_fit_are_named():
    q = normal(16, B, A)
    with pytest.raises(ValueError, match="reward"):
        value.q_target(q, q, jnp.zeros((B, 1)), 0.9, True)
    with pytest.raises(ValueError, match="mask must be boolean"):
        value.greedy_action(q, jnp.ones((B, A)))
    with pytest.raises(ValueError, match="mask"):
        value.greedy_action(q, jnp.ones(A, bool))
    with pytest.raises(ValueError, match="weights"):
        value.greedy_action(normal(17, B, A, K), weights=jnp.ones(K + 1))
    with pytest.raises(ValueError, match="q must have rank 2 or 3"):
        value.take_action(normal(18, B), jnp.zeros(B, int))
    with pytest.raises(ValueError, match="value"):
        value.dueling(jnp.zeros(A), q)


def test_logits_as_advantages_start_at_the_policy_that_they_are_of():
    logits, state_value = normal(20, B, A), normal(21, B)
    q = value.dueling(state_value, 0.3 * logits, baseline="max")
    np.testing.assert_allclose(jax.nn.softmax(q / 0.3), jax.nn.softmax(logits), rtol=1e-5)
    np.testing.assert_allclose(q.max(-1), state_value, rtol=1e-6)


def frozen_process() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(22)
    return rng.dirichlet(np.ones(5), (5, 3)), rng.normal(size=(5, 3)), rng.normal(size=(5, 3))


def test_a_frozen_policy_in_place_of_the_online_values():
    """Backups by its greedy action contract, to that policy's exact values, by a factor of the discount."""
    with jax.enable_x64(True):
        transition, paid, logits = map(jnp.asarray, frozen_process())

        def backup(q):
            chosen = value.q_target(logits, q, jnp.zeros(5), 1.0, double=True)
            return paid + 0.9 * transition @ chosen

        policy = np.eye(3)[np.argmax(logits, -1)]
        _, exact = value.policy_evaluation(transition, paid, 0.9, policy)
        q = jnp.zeros((5, 3))
        for _ in range(5):
            after = backup(q)
            assert np.abs(after - exact).max() <= 0.9 * np.abs(q - exact).max() + 1e-12
            q = after
        q = jax.lax.fori_loop(0, 400, lambda _, q: backup(q), q)
        np.testing.assert_allclose(q, exact, atol=1e-10)


def test_the_inverse_recovers_the_reward_of_the_target_that_was_used():
    """On a deterministic process: exact with the frozen policy's action, and off with the maximum where they differ."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(23)
        after, paid, logits = rng.integers(6, size=(6, 3)), rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
        transition = np.eye(6)[after]
        _, q = value.policy_evaluation(transition, paid, 0.9, np.eye(3)[np.argmax(logits, -1)])
        q = jnp.asarray(q)
        frozen = value.q_target(jnp.asarray(logits), q, jnp.zeros(6), 1.0, double=True)
        np.testing.assert_allclose(value.inverse_bellman_reward(q, frozen[after], 0.9), paid, atol=1e-12)
        practical = value.inverse_bellman_reward(q, q.max(-1)[after], 0.9)
        same = np.asarray(jnp.argmax(logits, -1) == jnp.argmax(q, -1))[after]
        assert 0 < same.sum() < same.size
        np.testing.assert_allclose(practical[same], paid[same], atol=1e-12)
        assert np.all(practical[~same] < paid[~same])


def test_errors_of_the_dueling_and_the_inverse_form():
    with pytest.raises(ValueError, match="baseline"):
        value.dueling(jnp.zeros(B), jnp.zeros((B, A)), baseline="median")
    with pytest.raises(ValueError, match="next_value"):
        value.inverse_bellman_reward(jnp.zeros(B), jnp.zeros((B, A)), 1.0)
