"""Actor-critic losses: their optima in closed form, bounds, and what is held constant."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special

from rlx import policy, value


def test_sac_policy_loss_is_least_at_the_boltzmann_policy():
    """By enumeration the expected loss is at least `-alpha logsumexp(q / alpha)`, reached by `softmax(q / alpha)`."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        q, alpha = jnp.asarray(rng.normal(size=5)), 0.3

        def expected(log_prob):
            return np.exp(log_prob) @ policy.sac_policy_loss(log_prob, q, alpha)

        least = -value.soft_value(q, 0.0, alpha)
        np.testing.assert_allclose(expected(jax.nn.log_softmax(q / alpha)), least, rtol=1e-12)
        assert all(expected(np.log(p)) > least for p in rng.dirichlet(np.ones(5), 100))


def test_temperature_follows_the_entropy():
    """Negative log-probabilities are the entropy: below its target alpha must grow, so the gradient is negative."""
    log_prob = jnp.array([-1.0, -3.0])  # entropy estimate 2
    for target, gradient in ((3.0, -1.0), (2.0, 0.0), (1.0, 1.0)):
        got = jax.grad(lambda x, t=target: policy.sac_temperature_loss(x, log_prob, t).mean())(jnp.array(-5.0))
        np.testing.assert_allclose(got, gradient, atol=1e-6)


def test_smoothing_stays_within_noise_clip_and_bounds():
    rng = np.random.default_rng(1)
    action = jnp.asarray(rng.uniform(-1, 1, (1000, 2)), jnp.float32)
    noise = jnp.asarray(3 * rng.normal(size=(1000, 2)), jnp.float32)
    low, high = jnp.array([-1.0, -0.5]), jnp.array([1.0, 0.5])
    inside = jnp.clip(action, low, high)
    out = policy.smooth_action(inside, noise, 0.2, low, high)
    assert bool(jnp.all((out >= low) & (out <= high)))
    np.testing.assert_allclose(jnp.abs(out - inside).max(), 0.2, rtol=1e-5)
    np.testing.assert_array_equal(policy.smooth_action(inside, noise, 0.0, low, high), inside)


def test_weighted_regression_ends_at_the_tilted_behaviour_policy():
    with jax.enable_x64(True):
        rng = np.random.default_rng(2)
        behaviour, advantage = jnp.asarray(rng.dirichlet(np.ones(4))), jnp.asarray(rng.normal(size=4))
        inverse_temperature = 2.0

        def loss(logits):
            weights = policy.awr_weights(advantage, inverse_temperature)
            return behaviour @ policy.policy_gradient_loss(jax.nn.log_softmax(logits), weights)

        logits = jax.lax.fori_loop(0, 3000, lambda _, x: x - 0.3 * jax.grad(loss)(x), jnp.zeros(4))
        tilt = behaviour * jnp.exp(inverse_temperature * advantage)
        np.testing.assert_allclose(jax.nn.softmax(logits), tilt / tilt.sum(), atol=1e-8)


def test_weights_are_one_without_temperature_and_bounded():
    advantage = jnp.array([-1e6, -1.0, 0.0, 1e6])
    np.testing.assert_array_equal(policy.awr_weights(advantage, 0.0), 1.0)
    np.testing.assert_allclose(policy.awr_weights(advantage, 3.0, 20.0), [0.0, np.exp(-3), 1.0, 20.0], rtol=1e-6)


def test_weighted_likelihood_learns_the_constrained_optimum():
    """On one state: the loss's minimiser is what SciPy finds for `E_pi A - sum_k l_k KL(pi || pi_k)`."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(5)
        behaviour, others = jnp.asarray(rng.dirichlet(np.ones(4))), jnp.asarray(rng.dirichlet(np.ones(4), 2))
        advantage, multiplier = jnp.asarray(rng.normal(size=4)), jnp.array([0.6, 0.3])
        weights = policy.tscac_weights(jnp.log(others).T, jnp.log(behaviour), advantage, multiplier)

        def objective(free):
            p = scipy.special.softmax(np.append(free, 0.0))
            return -(p @ advantage - np.sum(multiplier[:, None] * p * np.log(p / others)))

        found = scipy.optimize.minimize(objective, np.zeros(3), method="BFGS", options={"gtol": 1e-10})
        learned = behaviour * weights / jnp.sum(behaviour * weights)  # where E_behaviour[-weight log pi] is least
        np.testing.assert_allclose(learned, scipy.special.softmax(np.append(found.x, 0.0)), atol=1e-6)


def test_close_to_the_behaviour_alone_it_is_advantage_weighted_regression():
    rng = np.random.default_rng(6)
    behaviour, advantage = jnp.asarray(rng.normal(size=8), jnp.float32), jnp.asarray(rng.normal(size=8), jnp.float32)
    got = policy.tscac_weights(behaviour[:, None], behaviour, advantage, jnp.array([0.5]))
    np.testing.assert_allclose(got, policy.awr_weights(advantage, 2.0), rtol=1e-5)
    ruled_out = jnp.stack([behaviour, jnp.full(8, -jnp.inf)], -1)  # a policy without a multiplier has no say
    np.testing.assert_allclose(
        policy.tscac_weights(ruled_out, behaviour, advantage, jnp.array([0.5, 0.0])), got, rtol=1e-6
    )
    small = policy.tscac_weights(behaviour[:, None], behaviour, advantage, jnp.array([0.05]), 1e30)
    assert int(jnp.argmax(small)) == int(jnp.argmax(advantage))


def test_normalised_and_stepped_weights():
    advantage = np.random.default_rng(5).normal(size=50) * 3
    with jax.enable_x64(True):
        share = policy.awr_weights(jnp.asarray(advantage), 0.7, 1e9, kind="softmax")
        wanted = np.exp(0.7 * advantage)
        np.testing.assert_allclose(share, wanted / wanted.mean(), rtol=1e-10)
        moved = policy.awr_weights(jnp.asarray(advantage + 1e4), 0.7, 1e9, kind="softmax")
        np.testing.assert_allclose(moved, share, rtol=1e-6)
        step = policy.awr_weights(jnp.asarray(advantage), 0.7, kind="step")
        np.testing.assert_array_equal(step, np.where(advantage > 0, 1.0, 0.0))


@pytest.mark.parametrize("alpha", [0.0, 2.5])
def test_td3_bc_trades_value_for_nearness(alpha: float):
    """With `q = slope @ action` in one dimension and a fixed mean magnitude, the optimum is a shift of the log."""
    logged, slope = np.random.default_rng(6).normal(size=(2, 9))
    with jax.enable_x64(True):
        q = jnp.asarray(slope * logged)
        lam = alpha / np.mean(np.abs(q))

        def loss(action):
            return policy.td3_bc_loss(slope * action, action[:, None], jnp.asarray(logged)[:, None], alpha).sum()

        # the magnitude is stopped: the derivative at the log is that of the linear part
        np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(logged)), -lam * slope, rtol=1e-10)
        scaled = policy.td3_bc_loss(7 * q, logged[:, None] + 1, jnp.asarray(logged)[:, None], alpha)
        np.testing.assert_allclose(
            scaled, policy.td3_bc_loss(q, logged[:, None] + 1, logged[:, None], alpha), rtol=1e-9
        )
        np.testing.assert_allclose(scaled, 1 - lam * q, rtol=1e-9)


def test_errors_name_the_argument():
    x = jnp.zeros(3)
    with pytest.raises(ValueError, match="log_prob"):
        policy.sac_policy_loss(x, x[:, None], 0.1)
    with pytest.raises(ValueError, match="log_alpha must have rank 0"):
        policy.sac_temperature_loss(x, x, -1.0)
    with pytest.raises(ValueError, match="noise"):
        policy.smooth_action(x, x[:2], 0.5, -1.0, 1.0)
    with pytest.raises(ValueError, match="inverse_temperature"):
        policy.awr_weights(x, -1.0)
    log_prob = jnp.zeros((3, 2))
    with pytest.raises(ValueError, match="behaviour_log_prob"):
        policy.tscac_weights(log_prob, log_prob, x, jnp.ones(2))
    with pytest.raises(ValueError, match="shape of multiplier"):
        policy.tscac_weights(log_prob, x, x, jnp.ones(3))
    with pytest.raises(ValueError, match="sum of multiplier"):
        policy.tscac_weights(log_prob, x, x, jnp.zeros(2))
    with pytest.raises(ValueError, match="max_weight"):
        policy.tscac_weights(log_prob, x, x, jnp.ones(2), 0.0)

    with pytest.raises(ValueError, match="kind"):
        policy.awr_weights(x, 1.0, kind="hard")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="alpha"):
        policy.td3_bc_loss(x, x[:, None], x[:, None], -1.0)
    with pytest.raises(ValueError, match="rows_of_action"):
        policy.td3_bc_loss(x[:2], x[:, None], x[:, None], 1.0)
