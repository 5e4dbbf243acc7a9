"""Inverse reinforcement learning against likelihoods, feature matching, and discriminators of known optimum."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rlx.reward import adversarial_reward, airl_logit, discriminator_loss, gradient_penalty, mce_irl_loss
from rlx.value import occupancy, soft_value_iteration

S, A, F, GAMMA, TEMPERATURE = 5, 3, 4, 0.9, 0.7
RNG = np.random.default_rng(0)
P, PHI = RNG.dirichlet(np.full(S, 0.4), (S, A)), RNG.normal(size=(S, A, F))
W, INITIAL = RNG.normal(size=F), RNG.dirichlet(np.ones(S))


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def soft_policy(w: np.ndarray) -> np.ndarray:
    v, q = soft_value_iteration(P, PHI @ w, GAMMA, TEMPERATURE, tolerance=1e-13)
    return np.exp((q - v[:, None]) / TEMPERATURE)


def loss(w, visits):
    return mce_irl_loss(jnp.asarray(PHI) @ w, visits, P, GAMMA, INITIAL, TEMPERATURE)[0]


def test_loss_is_the_causal_likelihood_of_visits_that_a_policy_makes():
    visits = occupancy(P, GAMMA, RNG.dirichlet(np.ones(A), S), INITIAL)
    np.testing.assert_allclose(loss(W, visits), -np.sum(visits * np.log(soft_policy(W))), rtol=1e-9)
    gradient = jax.grad(loss)(jnp.asarray(W), visits)
    for k in range(F):
        there, back = (-np.sum(visits * np.log(soft_policy(W + h * np.eye(F)[k]))) for h in (1e-5, -1e-5))
        np.testing.assert_allclose(gradient[k], (there - back) / 2e-5, rtol=1e-6)


def test_gradient_is_the_difference_of_features():
    """Also for visits that no policy makes, where the loss is not the likelihood."""
    visits = RNG.uniform(0, 4, (S, A))
    own = occupancy(P, GAMMA, soft_policy(W), INITIAL)
    wanted = np.einsum("sa,saf->f", own - visits, PHI) / TEMPERATURE
    np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(W), visits), wanted, rtol=1e-7)
    assert abs(loss(W, visits) + np.sum(visits * np.log(soft_policy(W)))) > 0.1


def test_descent_finds_the_experts_policy():
    visits = occupancy(P, GAMMA, soft_policy(W), INITIAL)
    optimiser = optax.adam(0.1)

    def step(carry, _):
        r, v, state = carry
        (_, (v, _)), gradient = jax.value_and_grad(mce_irl_loss, has_aux=True)(
            r, visits, P, GAMMA, INITIAL, TEMPERATURE, start=v, num_iterations=4
        )
        change, state = optimiser.update(gradient, state)
        return (optax.apply_updates(r, change), v, state), None

    r = jnp.zeros((S, A))
    (r, _, _), _ = jax.lax.scan(step, (r, jnp.zeros(S), optimiser.init(r)), length=400)
    v, q = mce_irl_loss(r, visits, P, GAMMA, INITIAL, TEMPERATURE)[1]
    np.testing.assert_allclose(np.exp((q - v[:, None]) / TEMPERATURE), soft_policy(W), atol=1e-3)


def test_the_best_discriminator_is_the_ratio_of_visits():
    expert, policy = (np.array([0.6, 0.1, 0.1, 0.2]), np.array([0.1, 0.4, 0.2, 0.3]))

    def total(logit):
        return expert @ discriminator_loss(logit, jnp.ones(4)) + policy @ discriminator_loss(logit, jnp.zeros(4))

    logit = jnp.zeros(4)
    for _ in range(20):  # Newton's method
        logit -= jnp.linalg.solve(jax.hessian(total)(logit), jax.grad(total)(logit))
    np.testing.assert_allclose(jax.nn.sigmoid(logit), expert / (expert + policy), rtol=1e-9)
    np.testing.assert_allclose(adversarial_reward(logit, "airl"), np.log(expert / policy), rtol=1e-9)
    np.testing.assert_allclose(policy @ adversarial_reward(logit, "airl"), -np.sum(policy * np.log(policy / expert)))
    np.testing.assert_allclose(policy @ adversarial_reward(logit, "fairl"), -np.sum(expert * np.log(expert / policy)))


def test_rewards_are_those_of_the_papers_probabilities():
    logit = np.linspace(-4, 4, 9)
    d = 1 / (1 + np.exp(-logit))
    np.testing.assert_allclose(adversarial_reward(logit, "gail"), -np.log(1 - d))
    np.testing.assert_allclose(adversarial_reward(logit, "log"), np.log(d))
    np.testing.assert_allclose(adversarial_reward(logit, "airl"), np.log(d) - np.log(1 - d), atol=1e-12)


def test_airl_discriminates_by_the_advantage():
    """With the true reward and its values for the potential, `f` is the expert's log-probability (temperature 1)."""
    transition = np.eye(S)[RNG.integers(S, size=(S, A))]
    r = RNG.normal(size=(S, 1)) * np.ones(A)
    v, q = soft_value_iteration(transition, r, GAMMA, 1.0, tolerance=1e-13)
    log_expert, log_policy = q - v[:, None], np.log(RNG.dirichlet(np.ones(A), S))
    logit = airl_logit(r, v[:, None], transition @ v, GAMMA, log_policy)
    np.testing.assert_allclose(logit, log_expert - log_policy, atol=1e-9)
    f = logit + log_policy
    np.testing.assert_allclose(jax.nn.sigmoid(logit), np.exp(f) / (np.exp(f) + np.exp(log_policy)))


def test_smoothed_labels_weight_both_terms():
    np.testing.assert_allclose(
        discriminator_loss(jnp.array(0.3), jnp.array(0.9)),
        optax.sigmoid_binary_cross_entropy(jnp.array(0.3), jnp.array(0.9)),
    )


def test_penalty_is_the_slope_between_the_data():
    expert, policy, share = RNG.normal(size=(4, 2)), RNG.normal(size=(4, 2)), RNG.random(4)
    x = share[:, None] * expert + (1 - share[:, None]) * policy
    found = gradient_penalty(
        lambda x: jnp.sin(x["a"]) * x["b"],
        *({"a": data[:, 0], "b": data[:, 1]} for data in (expert, policy)),
        share,
        0.5,
    )
    slope = np.hypot(np.cos(x[:, 0]) * x[:, 1], np.sin(x[:, 0]))
    np.testing.assert_allclose(found, (slope - 0.5) ** 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mce_irl_loss(PHI[..., 0], PHI[0], P, GAMMA, INITIAL), r"expert_visits \(3, 4\)"),
        (lambda: mce_irl_loss(PHI[..., 0], PHI[..., 0], P, GAMMA, np.ones(2)), r"initial \(2,\)"),
        (lambda: mce_irl_loss(PHI[..., 0], PHI[..., 0], P, GAMMA, INITIAL, -1.0), "temperature must be"),
        (lambda: discriminator_loss(jnp.ones(2), jnp.ones(3)), r"expert \(3,\)"),
        (lambda: adversarial_reward(jnp.ones(2), "wgan"), "kind must be one of gail, log, airl, fairl; got 'wgan'"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
