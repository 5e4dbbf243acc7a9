"""Closed forms of the chain against sampling and regression, and the ring's schedule against its definition."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import policy
from rlx.envs import GaussianChain, Ring, check_env

CHAIN = GaussianChain(steps=6, dimensions=2)
PARAMS = CHAIN.default_params


@pytest.mark.parametrize("env", [CHAIN, Ring(4), Ring(3, kind="direction")])
def test_environments_conform(env):
    assert check_env(env, steps=16, limit=3).terminations > 0


def test_episodes_are_rollouts():
    drift = jnp.full((6, 2), 0.1)
    before, after = CHAIN.rollout(jax.random.key(0), drift, PARAMS, ())
    _, state = CHAIN.reset(jax.random.key(1))
    state = state._replace(sample=before[0])
    total = 0.0
    for action in after:
        _, state, reward, terminated, _ = CHAIN.step_env(jax.random.key(2), state, action, PARAMS)
        total += float(reward)
    assert bool(terminated)
    np.testing.assert_allclose(total, CHAIN.reward(after[-1], PARAMS), rtol=1e-6)


def test_reference_keeps_the_law_and_drift_moves_the_mean():
    drift = CHAIN.optimal_drift(0.8)
    for b in (jnp.zeros((6, 2)), drift):
        _, after = CHAIN.rollout(jax.random.key(3), b, PARAMS, (40_000,))
        mean = CHAIN.reward(after[:, -1], PARAMS).mean()
        np.testing.assert_allclose(mean, CHAIN.expected_return(b), atol=0.02)
        np.testing.assert_allclose(np.cov(after[:, -1].T), np.eye(2), atol=0.03)


def test_optimal_drift_is_the_best_one():
    """No other drift has a higher return less `beta` KL; at it the regression on reward differences has loss 0."""
    beta = 0.8
    with jax.enable_x64(True):
        value = lambda b: CHAIN.expected_return(b) - beta * CHAIN.kl(b)  # noqa: E731
        np.testing.assert_allclose(jax.grad(value)(CHAIN.optimal_drift(beta)), 0, atol=1e-7)
    start = jax.random.normal(jax.random.key(4), (50, 1, 2))
    before, after = CHAIN.rollout(jax.random.key(5), jnp.zeros((6, 2)), PARAMS, (50, 2), start)
    reward = CHAIN.reward(after[..., -1, :], PARAMS)

    def log_ratio(drift):
        log_prob = lambda b: policy.denoise_log_prob(after, CHAIN.mean(before, b, PARAMS), PARAMS.std[:, None])  # noqa: E731
        return (log_prob(drift) - log_prob(0 * drift)).sum(-1)

    score = log_ratio(CHAIN.optimal_drift(beta))
    np.testing.assert_allclose(policy.reward_difference_loss(score, reward, beta=beta), 0, atol=1e-7)
    # the divergence is the mean log-ratio of what the policy samples
    before, after = CHAIN.rollout(jax.random.key(6), CHAIN.optimal_drift(beta), PARAMS, (20_000,))
    np.testing.assert_allclose(
        log_ratio(CHAIN.optimal_drift(beta)).mean(), CHAIN.kl(CHAIN.optimal_drift(beta)), rtol=0.05
    )


def test_regression_recovers_the_drift_and_d3po_its_direction():
    beta, steps = 0.8, 6

    def pairs(key, shared):
        start_key, key = jax.random.split(key)
        start = jax.random.normal(start_key, (256, 1 if shared else 2, 2))
        before, after = CHAIN.rollout(key, jnp.zeros((steps, 2)), PARAMS, (256, 2), start)
        return before, after, CHAIN.reward(after[..., -1, :], PARAMS)

    def log_prob(drift, before, after):
        return policy.denoise_log_prob(after, CHAIN.mean(before, drift, PARAMS), PARAMS.std[:, None])

    def rdp(drift, data):
        before, after, reward = data
        score = (log_prob(drift, before, after) - log_prob(drift * 0, before, after)).sum(-1)
        return policy.reward_difference_loss(score, reward, beta=beta).mean()

    data = pairs(jax.random.key(7), True)
    hessian, slope = jax.jit(lambda b: (jax.hessian(rdp)(b, data), jax.grad(rdp)(b, data)))(jnp.zeros((steps, 2)))
    fitted = -jnp.linalg.solve(hessian.reshape(steps * 2, -1), slope.ravel()).reshape(steps, 2)
    np.testing.assert_allclose(fitted, CHAIN.optimal_drift(beta), atol=1e-3)
    assert rdp(CHAIN.optimal_drift(beta), pairs(jax.random.key(7), False)) > 0.01  # first states that differ
    before, after, reward = data

    def d3po(drift):
        label = (reward[:, 0] > reward[:, 1]).astype(jnp.float32)
        base = log_prob(drift * 0, before, after)
        return policy.d3po_loss(log_prob(drift, before, after), jnp.ones(base.shape, bool), label, base).mean()

    step = -jax.jit(jax.grad(d3po))(jnp.zeros((steps, 2)))
    assert bool(jnp.all(step @ PARAMS.direction > 0))


def test_ring_schedule():
    ring = Ring(20)
    assert float(ring.kept[0]) < 1e-3  # starts from noise
    assert float(ring.kept[-1]) > 0.98
    np.testing.assert_allclose(jnp.cumprod(ring.ratio[::-1]), ring.kept[::-1], rtol=1e-4, atol=1e-6)
    assert float(ring.std[-1]) == 0
    assert bool((ring.std[:-1] > 0).all())
    sample = ring.data(jax.random.key(0), (4000,))
    np.testing.assert_allclose(jnp.linalg.norm(sample, axis=-1).mean(), 1, atol=0.01)
    assert len(np.unique(np.round(np.arctan2(sample[:, 1], sample[:, 0]) / (np.pi / 4)) % 8)) == 8


def test_posterior_is_bayes_rule():
    """`q(x_{t-1} | x_t, x_0)`: the step taken from the true noise, against the joint normal law."""
    ring, index = Ring(20), 12
    clean, noise = jnp.array([0.6, -0.3]), jnp.array([0.2, -1.0])
    x = ring.noised(clean, noise, jnp.array(index))
    got = ring.posterior(x, noise, jnp.array(index))
    kept, ratio = float(ring.kept[index]), float(ring.ratio[index])
    before = kept / ratio
    prior_mean, prior_variance, variance = np.sqrt(before) * clean, 1 - before, 1 - ratio
    gain = prior_variance * np.sqrt(ratio) / (ratio * prior_variance + variance)
    np.testing.assert_allclose(got, prior_mean + gain * (x - np.sqrt(ratio) * prior_mean), rtol=1e-4)
    np.testing.assert_allclose(ring.std[index] ** 2, prior_variance * (1 - gain * np.sqrt(ratio)), rtol=1e-3)
    np.testing.assert_allclose(ring.posterior(x, noise, jnp.array(19)).shape, (2,))


def test_bad_arguments():
    for make, message in (
        (lambda: GaussianChain(0), "steps"),
        (lambda: GaussianChain(low=0.0), "low"),
        (lambda: Ring(1), "steps"),
        (lambda: Ring(kind="far"), "kind"),  # pyright: ignore[reportArgumentType]
    ):
        with pytest.raises(ValueError, match=message):
            make()
