"""Conjugates by brute force; strong duality on a finite process; ReCOIL's minimum is minus the divergence."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from rlx import value

GAMMA, STATES, ACTIONS = 0.9, 6, 3
F = {  # of the ratio
    "kl": lambda w: np.where(w > 0, w * np.log(np.maximum(w, 1e-300)), 0.0),
    "chi2": lambda w: (w - 1) ** 2,
    "tv": lambda w: np.abs(w - 1) / 2,
}


def process(seed: int):
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(0.3 * np.ones(STATES), (STATES, ACTIONS))
    return transition, rng.normal(size=(STATES, ACTIONS)), rng.dirichlet(np.ones(STATES))


def visitation(transition, policy, first):
    return (1 - GAMMA) * value.occupancy(transition, GAMMA, policy, first)


def minimum(loss, size: int, start: float = 0.0):
    """Of a convex function of `[size]`: argument and value."""
    both = jax.jit(jax.value_and_grad(loss))
    options = {"gtol": 1e-9, "maxiter": 5000}
    found = optimize.minimize(
        lambda x: tuple(map(np.asarray, both(x))), np.full(size, start), jac=True, options=options
    )
    return jnp.asarray(found.x), found.fun


@pytest.mark.parametrize("kind", F)
def test_conjugate_is_the_maximum_over_ratios(kind):
    w = np.linspace(0, 12, 120_001)
    y = np.array([-5.0, -2.0, -0.7, -0.5, -0.3, 0.0, 0.4, 0.5] + ([] if kind == "tv" else [1.0, 2.5]))
    score = w * y[:, None] - F[kind](w)
    with jax.enable_x64(True):
        np.testing.assert_allclose(value.f_conjugate(jnp.asarray(y), kind), score.max(1), atol=1e-6)
        best = value.dual_weights(jnp.asarray(y), kind)
        np.testing.assert_allclose(best * y - F[kind](np.asarray(best)), score.max(1), atol=1e-6)
        if kind == "tv":
            assert value.f_conjugate(jnp.array(0.51), kind) == jnp.inf
        inside = jnp.asarray(y[(y != -0.5) & (y != 0.5)])
        slope = jax.vmap(jax.grad(lambda y: value.f_conjugate(y, kind)))(inside)
        np.testing.assert_allclose(value.dual_weights(inside, kind), slope, rtol=1e-12)


@pytest.mark.parametrize("kind", ["kl", "chi2"])
@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_optimum_of_the_dual_is_the_optimal_visitation(kind, alpha: float):
    """The weights make a flow of the data whose regularised return equals the dual's minimum, and tends to the best."""
    transition, reward, first = process(0)
    behaviour = visitation(transition, np.full((STATES, ACTIONS), 1 / ACTIONS), first)
    best_value, best_q = value.value_iteration(transition, reward, GAMMA)
    greedy = np.eye(ACTIONS)[best_q.argmax(-1)]
    with jax.enable_x64(True):

        def gain(v):
            return (reward + GAMMA * transition @ v - v[:, None]) / alpha

        def dual(v):
            return (1 - GAMMA) * first @ v + alpha * jnp.sum(behaviour * value.f_conjugate(gain(v), kind))

        v, least = minimum(dual, STATES, start=reward.max() / (1 - GAMMA))  # where no gain is positive
        flow = behaviour * np.asarray(value.dual_weights(gain(v), kind))
    arriving = (1 - GAMMA) * first + GAMMA * np.einsum("sa,sat->t", flow, transition)
    np.testing.assert_allclose(flow.sum(1), arriving, atol=1e-5)

    def regularised(d):
        return np.sum(d * reward) - alpha * np.sum(behaviour * F[kind](d / behaviour))

    np.testing.assert_allclose(regularised(flow), least, atol=1e-5)
    assert regularised(visitation(transition, greedy, first)) <= least + 1e-9 <= (1 - GAMMA) * first @ best_value + 2e-9


@pytest.mark.parametrize("kind", ["kl", "chi2", "chi2_signed"])
@pytest.mark.parametrize("share", [0.3, 0.5])
def test_minimum_of_recoil_is_minus_the_divergence(kind, share: float):
    """For a policy there is one visitation, so the dual's minimum over Q says how far it is from the expert's."""
    transition, _, first = process(1)
    rng = np.random.default_rng(2)
    policies = rng.dirichlet(np.ones(ACTIONS), (3, STATES))
    expert, offline, own = (visitation(transition, policy, first) for policy in policies)
    rows = np.concatenate([share * expert.ravel(), (1 - share) * offline.ravel()])
    is_expert = np.arange(rows.size) < expert.size
    policy = policies[2]
    with jax.enable_x64(True):

        def loss(flat):
            q = flat.reshape(STATES, ACTIONS)
            v = jnp.sum(policy * q, -1)
            here, after = jnp.repeat(v, ACTIONS), (transition @ v).ravel()
            each = value.recoil_q_loss(
                jnp.tile(flat, 2),
                jnp.tile(here, 2),
                jnp.tile(after, 2),
                GAMMA,
                jnp.asarray(is_expert),
                share,
                kind=kind,
                semi_gradient=False,
            )
            return jnp.sum(rows * each)

        flat, least = minimum(loss, STATES * ACTIONS)
        mixed, wanted = share * expert + (1 - share) * offline, share * own + (1 - share) * offline
        np.testing.assert_allclose(least, -np.sum(mixed * F[kind.removesuffix("_signed")](wanted / mixed)), atol=1e-6)
        q = flat.reshape(STATES, ACTIONS)
        error = GAMMA * transition @ (policy * q).sum(-1) - q
        np.testing.assert_allclose(value.dual_weights(error, kind.removesuffix("_signed")), wanted / mixed, atol=1e-4)


def test_published_recoil_loss_up_to_constants():
    """`b (mean_S value - mean_E q) + mean (discount next_value - q)^2 / 4` has the same gradient, semi-gradients."""
    q, here, after = jnp.asarray(np.random.default_rng(3).normal(size=(3, 40)), jnp.float32)
    expert = jnp.arange(40) < 20

    def published(q, here):
        linear = 0.5 * (here[20:].mean() - q[:20].mean())
        return linear + 0.25 * jnp.mean(jnp.square(0.9 * after - q))

    def own(q, here):
        return value.recoil_q_loss(q, here, after, 0.9, expert, 0.5).mean()

    for got, wanted in zip(jax.grad(own, (0, 1))(q, here), jax.grad(published, (0, 1))(q, here), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-7)


def test_errors_name_the_argument():
    x = jnp.zeros(3)
    for kernel in (value.f_conjugate, value.dual_weights):
        with pytest.raises(ValueError, match="kind must be"):
            kernel(x, "js")  # pyright: ignore[reportArgumentType]
    expert = jnp.ones(3, bool)
    with pytest.raises(ValueError, match="share"):
        value.recoil_q_loss(x, x, x, 0.9, expert, 1.0)
    with pytest.raises(ValueError, match="expert"):
        value.recoil_q_loss(x, x, x, 0.9, x, 0.5)
    with pytest.raises(ValueError, match="same shape"):
        value.recoil_q_loss(x, x[:2], x, 0.9, expert, 0.5)
    with pytest.raises(ValueError, match="kind must be"):
        value.recoil_q_loss(x, x, x, 0.9, expert, 0.5, kind="js")  # pyright: ignore[reportArgumentType]
