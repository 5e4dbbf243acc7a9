"""The traced planner against value iteration in float64, visits of its policy, and long corridors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.envs.tabular import chain
from rlx.value import occupancy, soft_policy_iteration, soft_value_iteration, value_iteration

S, A, GAMMA = 6, 3, 0.95
RNG = np.random.default_rng(0)
P, R = RNG.dirichlet(np.full(S, 0.3), (S, A)), RNG.normal(size=(S, A))


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("temperature", [0.01, 0.3, 5.0])
def test_values_are_those_of_soft_value_iteration(temperature):
    for found, wanted in zip(
        soft_policy_iteration(P, R, GAMMA, temperature), soft_value_iteration(P, R, GAMMA, temperature), strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-7)


def test_low_temperature_is_ordinary_planning():
    optimal, _ = value_iteration(P, R, GAMMA)
    for temperature in (1e-2, 1e-4):
        above = soft_policy_iteration(P, R, GAMMA, temperature)[0] - optimal
        assert np.all(above > -1e-8)
        assert np.all(above <= temperature * np.log(A) / (1 - GAMMA))


def test_digits_double():
    wanted, _ = soft_value_iteration(P, R, GAMMA, 0.3, tolerance=1e-14)
    errors = [np.abs(soft_policy_iteration(P, R, GAMMA, 0.3, num_iterations=n)[0] - wanted).max() for n in range(1, 5)]
    assert errors[2] < 1e-3 * errors[1] < 1e-3 * errors[0]
    assert errors[3] < 1e-10


def test_derivatives_of_the_return_by_the_reward_are_visits():
    start, temperature = RNG.dirichlet(np.ones(S)), 0.2
    v, q = soft_policy_iteration(P, R, GAMMA, temperature)
    policy = np.exp((q - v[:, None]) / temperature)
    np.testing.assert_allclose(policy.sum(-1), 1.0, atol=1e-9)
    visits = jax.grad(lambda r: start @ soft_policy_iteration(P, r, GAMMA, temperature)[0])(jnp.asarray(R))
    np.testing.assert_allclose(visits, occupancy(P, GAMMA, policy, start), rtol=1e-6)


def test_undiscounted_corridor_with_an_end():
    transition, reward, discount, _ = chain(12, gamma=1.0, small=0.5).arrays()
    v, _ = soft_policy_iteration(transition, reward, discount, 1e-3)
    np.testing.assert_allclose(v[:-1], 1.0, atol=2e-3)


def test_a_warm_start_needs_few_iterations():
    v, _ = soft_policy_iteration(P, R, GAMMA, 0.1)
    changed = R + 0.01 * RNG.normal(size=R.shape)
    wanted, _ = soft_value_iteration(P, changed, GAMMA, 0.1)
    found, _ = soft_policy_iteration(P, changed, GAMMA, 0.1, start=v, num_iterations=2)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: soft_policy_iteration(P[0], R, GAMMA, 1.0), r"the shape of transition must be \[S, A, S\]"),
        (lambda: soft_policy_iteration(P, R[0], GAMMA, 1.0), r"the shape of reward must be \[S, A\] = \(6, 3\)"),
        (lambda: soft_policy_iteration(P, R, np.ones(S), 1.0), "the shape of discount"),
        (lambda: soft_policy_iteration(P, R, 1.5, 1.0), "discount must be"),
        (lambda: soft_policy_iteration(P, R, GAMMA, 0.0), "temperature must be"),
        (lambda: soft_policy_iteration(P, R, GAMMA, 1.0, start=np.ones(2)), r"the shape of start must be \[S\]"),
        (lambda: soft_policy_iteration(P, R, GAMMA, 1.0, num_iterations=0), "num_iterations must be"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
