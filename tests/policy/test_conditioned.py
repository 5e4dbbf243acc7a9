"""The energy bound against exact information, and futures by a loop."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import policy

OUTCOMES, LATENTS = 5, 3


def joint(seed: int) -> np.ndarray:
    """`P(x, z)`."""
    return np.random.default_rng(seed).dirichlet(np.ones(OUTCOMES * LATENTS)).reshape(OUTCOMES, LATENTS)


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    return float(np.sum(p * np.log(p / q)))


def test_best_energy_gives_information_and_a_divergence():
    """At `f = log P(x|z) / rho(x)`, which ascent finds; any other is below."""
    p, rho = joint(0), np.random.default_rng(1).dirichlet(np.ones(OUTCOMES))
    px, pz = p.sum(1), p.sum(0)
    exact = divergence(p, np.outer(px, pz)) + divergence(px, rho)
    with jax.enable_x64(True):

        def bound(energy):  # [x, z]: rows are all pairs
            negative = jnp.broadcast_to(energy.T, (OUTCOMES, LATENTS, OUTCOMES))
            return jnp.sum(p * policy.mi_energy_bound(energy, negative, jnp.log(rho)))

        best = jnp.log(p / pz / rho[:, None])
        np.testing.assert_allclose(bound(best), exact, rtol=1e-10)
        np.testing.assert_allclose(bound(best + jnp.arange(LATENTS)), exact, rtol=1e-10)  # a constant for each z
        others = best + np.random.default_rng(2).normal(size=(20, *p.shape))
        assert bool(jnp.all(jax.vmap(bound)(others) < exact))
        np.testing.assert_allclose(jax.grad(bound)(best), 0.0, atol=1e-12)
        # of the outcomes' own distribution, the value is the information itself
        own = jnp.log(p / pz / px[:, None])
        negative = jnp.broadcast_to(own.T, (OUTCOMES, LATENTS, OUTCOMES))
        information = jnp.sum(p * policy.mi_energy_bound(own, negative, jnp.log(px)))
        np.testing.assert_allclose(information, divergence(p, np.outer(px, pz)), rtol=1e-10)


def test_draws_estimate_the_enumeration():
    energy = jnp.asarray(np.random.default_rng(3).normal(size=OUTCOMES))
    rho = np.random.default_rng(4).dirichlet(np.ones(OUTCOMES))
    drawn = jnp.asarray(np.random.default_rng(5).choice(OUTCOMES, 400_000, p=rho))
    by_draws = policy.mi_energy_bound(energy[0], energy[drawn])
    np.testing.assert_allclose(by_draws, policy.mi_energy_bound(energy[0], energy, jnp.log(rho)), atol=5e-3)


def test_future_is_the_best_of_those_that_can_be():
    rng = np.random.default_rng(6)
    value, prior = rng.normal(size=(50, 7)), rng.dirichlet(np.ones(7), 50)
    found = policy.select_future(jnp.asarray(value), jnp.log(jnp.asarray(prior)), 0.1)
    wanted = [max((z for z in range(7) if p[z] >= 0.1), key=v.__getitem__) for v, p in zip(value, prior, strict=True)]
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(policy.select_future(jnp.asarray(value)), value.argmax(1))
    none = policy.select_future(jnp.asarray(value), jnp.log(jnp.asarray(prior)), 1.0)
    np.testing.assert_array_equal(none, prior.argmax(1))


def test_errors_name_the_argument():
    x = jnp.zeros((3, 4))
    with pytest.raises(ValueError, match="rows_of_negative"):
        policy.mi_energy_bound(x, x)
    with pytest.raises(ValueError, match="shape of log_prior"):
        policy.mi_energy_bound(x[:, 0], x, jnp.zeros(3))
    with pytest.raises(ValueError, match="log_prior"):
        policy.select_future(x, x[0], 0.1)
    with pytest.raises(ValueError, match="min_prob"):
        policy.select_future(x, x, 1.5)
