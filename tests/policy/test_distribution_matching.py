"""The estimator against enumerated gradients of every divergence, and moments that were asked for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from rlx import policy, reward

N = 7
DIVERGENCES = {  # f(policy / p), of which the divergence is the mean under p
    "forward_kl": lambda t: -jnp.log(t),
    "reverse_kl": lambda t: t * jnp.log(t),
    "js": lambda t: t * jnp.log(2 * t / (1 + t)) + jnp.log(2 / (1 + t)),
    "tv": lambda t: jnp.abs(t - 1) / 2,
    "chi2": lambda t: 1 / t + t - 2,
    "reverse_chi2": lambda t: (t - 1) ** 2,
}


def problem() -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Logits, an unnormalised target, its log Z, and what sampled."""
    rng = np.random.default_rng(0)
    logits, target, behaviour = jnp.asarray(rng.normal(size=(3, N)))
    target = target + 2
    return logits, target, jax.nn.logsumexp(target), jax.nn.log_softmax(behaviour)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_mean_gradient_is_that_of_the_divergence(divergence: str):
    """Whoever samples, and whatever the baseline; at the target itself there is none."""
    with jax.enable_x64(True):
        logits, target, log_z, behaviour = problem()

        def exact(logits):
            p = jnp.exp(target - log_z)
            return p @ DIVERGENCES[divergence](jnp.exp(jax.nn.log_softmax(logits)) / p)

        def estimate(logits, sampled_by, **settings):
            log_prob = jax.nn.log_softmax(logits)
            sampled_by = log_prob if sampled_by is None else sampled_by
            each = policy.f_dpg_loss(log_prob, target, sampled_by, log_z, divergence=divergence, **settings)
            return jax.lax.stop_gradient(jnp.exp(sampled_by)) @ each

        for sampled_by, settings in ((None, {}), (behaviour, {}), (behaviour, {"baseline": 0.7})):
            grad = jax.grad(estimate)(logits, sampled_by, **settings)
            np.testing.assert_allclose(grad, jax.grad(exact)(logits), atol=1e-12)
        if divergence != "tv":  # whose derivative jumps there
            np.testing.assert_allclose(jax.grad(estimate)(target, behaviour), 0, atol=1e-12)


def test_sampled_gradient_is_within_its_error():
    logits, target, log_z, behaviour = (jnp.asarray(x, jnp.float32) for x in problem())
    index = jax.random.categorical(jax.random.key(0), behaviour, shape=(20_000,))

    def per_sample(i):
        def loss(logits):
            lp = jax.nn.log_softmax(logits)[i]
            return policy.f_dpg_loss(lp, target[i], behaviour[i], log_z, divergence="js")

        return jax.grad(loss)(logits)

    grads = np.asarray(jax.jit(jax.vmap(per_sample))(index))
    p = jnp.exp(target - log_z)
    exact = jax.grad(lambda x: p @ DIVERGENCES["js"](jnp.exp(jax.nn.log_softmax(x)) / p))(logits)
    error = grads.std(0) / len(grads) ** 0.5
    assert np.all(np.abs(grads.mean(0) - exact) < 4 * error)


def test_reverse_kl_is_regularised_reward():
    """To `ref exp(r / beta)`: minus the gradient of `E[r] - beta KL`, over beta; and the partition has no effect."""
    with jax.enable_x64(True):
        logits, r, _, reference = problem()
        beta = 0.5

        def value(logits):
            lp = jax.nn.log_softmax(logits)
            return jnp.exp(lp) @ (r - beta * (lp - reference))

        def loss(logits, log_z):
            lp = jax.nn.log_softmax(logits)
            own = jax.lax.stop_gradient(lp)
            return jnp.exp(own) @ policy.f_dpg_loss(lp, reference + r / beta, own, log_z, divergence="reverse_kl")

        for log_z in (0.0, 3.0):
            np.testing.assert_allclose(jax.grad(loss)(logits, log_z), -jax.grad(value)(logits) / beta, atol=1e-12)
        tilted = reward.tilt(reference, r, beta)
        np.testing.assert_allclose(jax.grad(loss)(tilted, 0.0), 0, atol=1e-12)


def test_a_target_of_zero_is_finite_where_it_can_be():
    x = jnp.array([-1.0])
    for divergence in ("forward_kl", "js", "tv", "chi2"):
        loss = lambda x, d=divergence: policy.f_dpg_loss(x, jnp.array([-jnp.inf]), x, 0.0, divergence=d)[0]  # noqa: E731
        value, grad = jax.value_and_grad(loss)(x)
        assert np.isfinite(value)
        assert np.isfinite(grad).all()


def test_partition_of_what_is_enumerated_is_exact():
    _, target, log_z, behaviour = (np.asarray(x, np.float32) for x in problem())
    uniform = np.full(N, -np.log(N), np.float32)
    np.testing.assert_allclose(policy.log_partition(target, uniform), log_z, rtol=1e-6)
    index = jax.random.categorical(jax.random.key(1), behaviour, shape=(100_000,))
    np.testing.assert_allclose(policy.log_partition(target[index], behaviour[index]), log_z, atol=0.02)
    far = policy.log_partition(jnp.array([1e4, -jnp.inf]), jnp.zeros(2))
    np.testing.assert_allclose(far, 1e4 - np.log(2), rtol=1e-6)


def test_moments_are_met_by_the_nearest_distribution():
    rng = np.random.default_rng(1)
    feature, log_weight, moment = rng.normal(size=(500, 3)), rng.normal(size=500), np.array([0.5, -0.8, 1.2])
    feature[:, 2] = feature[:, 0] * 0.9 + 0.3 * feature[:, 2]
    found = policy.fit_gdc(*(jnp.asarray(x, jnp.float32) for x in (feature, moment, log_weight)))

    def dual(x):
        return scipy.special.logsumexp(log_weight + feature @ x) - moment @ x

    expected = scipy.optimize.minimize(dual, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    tilted = scipy.special.softmax(log_weight + feature @ np.asarray(found, np.float64))
    np.testing.assert_allclose(tilted @ feature, moment, atol=5e-4)
    # a far moment of rare events, where a plain Newton step overshoots
    rare = (np.arange(10_000) < 3).astype(np.float32)[:, None]
    odds = float(policy.fit_gdc(rare, np.array([0.9], np.float32))[0])
    np.testing.assert_allclose(odds, np.log(9 / (3 / 9997)), rtol=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: policy.f_dpg_loss(np.zeros(2), np.zeros(3), np.zeros(2), 0.0), "same shape"),
        (lambda: policy.f_dpg_loss(np.zeros(2), np.zeros(2), np.zeros(2), 0.0, divergence="kl"), "divergence must"),
        (lambda: policy.log_partition(np.zeros(0), np.zeros(0)), "N > 0"),
        (lambda: policy.fit_gdc(np.zeros((3, 2)), np.zeros(3)), "moment must be of shape"),
    ],
)
def test_bad_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()
