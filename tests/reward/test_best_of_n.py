"""Best of n against enumeration in exact arithmetic, the tilt against its closed form, fits against scipy's."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from rlx.policy import categorical_kl
from rlx.reward import best_of_n, best_of_n_kl, overoptimisation_fit, tilt

RNG = np.random.default_rng(0)
PROXY = np.array([0.3, -1.0, 2.0, 2.0, 0.5], np.float32)  # two are equal
REFERENCE = np.array([0.1, 0.3, 0.2, 0.15, 0.25])


def test_with_replacement_is_the_enumeration_of_draws():
    for n in (1, 2, 3):
        expected = np.zeros(5)
        for draws in itertools.product(range(5), repeat=n):
            best = [i for i in draws if PROXY[i] == max(PROXY[list(draws)])]
            for i in best:
                expected[i] += np.prod(REFERENCE[list(draws)]) / len(best)
        np.testing.assert_allclose(jnp.exp(best_of_n(PROXY, n, np.log(REFERENCE))), expected, rtol=1e-4)


def test_without_replacement_is_the_enumeration_of_subsets():
    for n in range(1, 6):
        expected = np.zeros(5)
        for draws in itertools.combinations(range(5), n):
            best = [i for i in draws if PROXY[i] == max(PROXY[list(draws)])]
            expected[best] += 1 / len(best) / math.comb(5, n)
        np.testing.assert_allclose(jnp.exp(best_of_n(PROXY, n, replacement=False)), expected, atol=1e-6)


@pytest.mark.parametrize("n", [1, 64, 1024, 4096])
def test_a_large_pool_keeps_precision(n):
    """In exact integers for draws without replacement, by powers in double precision for draws with."""
    size = 4096
    order = RNG.permutation(size)
    proxy = order.astype(np.float32)
    total = math.comb(size, n)
    weights = np.array([math.comb(i, n - 1) / total if i >= n - 1 else 0.0 for i in range(size)])
    np.testing.assert_allclose(jnp.exp(best_of_n(proxy, n, replacement=False)), weights[order], rtol=3e-3, atol=1e-9)
    steps = np.arange(size + 1) / size
    law = np.diff(steps**n)
    found = best_of_n(proxy, n)
    np.testing.assert_allclose(jnp.exp(found), law[order], rtol=3e-3, atol=1e-9)
    kl = float(categorical_kl(found, jnp.full(size, -jnp.log(size))))
    assert kl == pytest.approx(scipy.stats.entropy(law, np.full(size, 1 / size)), rel=1e-3, abs=1e-4)
    assert kl <= float(best_of_n_kl(n)) + 1e-3


def test_without_replacement_the_bound_does_not_hold():
    found = best_of_n(np.arange(64, dtype=np.float32), 64, replacement=False)
    kl = categorical_kl(found, jnp.full(64, -jnp.log(64)))
    np.testing.assert_allclose(kl, np.log(64), rtol=1e-5)
    assert float(kl) > float(best_of_n_kl(64)) + 0.9


def test_divergence_of_a_continuous_reference():
    """The maximum of n uniform numbers has density `n u^(n-1)`."""
    for n in (2, 7):
        u = (np.arange(200000) + 0.5) / 200000
        density = n * u ** (n - 1)
        np.testing.assert_allclose(best_of_n_kl(n), np.mean(density * np.log(density)), rtol=1e-3)


def test_one_draw_is_the_reference_and_curves_are_vmapped():
    np.testing.assert_allclose(best_of_n(PROXY, 1, np.log(REFERENCE)), np.log(REFERENCE), rtol=1e-5)
    curve = jax.vmap(lambda n: jnp.exp(best_of_n(PROXY, n)))(jnp.array([1, 5, 1000]))
    np.testing.assert_allclose(curve.sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(curve[2], [0, 0, 0.5, 0.5, 0], atol=1e-5)


def test_what_the_reference_never_says_is_never_chosen():
    reference = np.array([np.log(0.5)] * 2 + [-np.inf] * 3)
    np.testing.assert_allclose(jnp.exp(best_of_n(PROXY, 2, reference)), [0.75, 0.25, 0, 0, 0], atol=1e-6)


def test_tilt_is_the_best_of_many_random_policies():
    reward, beta = RNG.normal(size=5), 0.7
    found = np.exp(np.asarray(tilt(np.log(REFERENCE), reward, beta), np.float64))

    def objective(policy):
        return policy @ reward - beta * scipy.stats.entropy(policy, REFERENCE, axis=-1)

    others = RNG.dirichlet(np.ones(5), 500)
    near = scipy.special.softmax(np.log(found) + 0.01 * RNG.normal(size=(50, 5)), axis=1)
    best = beta * np.log(np.sum(REFERENCE * np.exp(reward / beta)))
    np.testing.assert_allclose(objective(found), best, rtol=1e-5)
    assert all(objective(policy) <= best + 1e-9 for policy in [*others, *near])


@pytest.mark.parametrize("form", ["best_of_n", "policy"])
def test_fit_is_least_squares(form):
    distance = np.linspace(0.2, 3, 15)
    second = distance if form == "best_of_n" else np.log(distance)
    gain = distance * (1.3 - 0.4 * second) + 0.05 * RNG.normal(size=15)
    columns = np.stack([distance, -distance * second], -1)
    expected, residual, *_ = np.linalg.lstsq(columns, gain)
    fit = overoptimisation_fit(distance, gain, form)
    np.testing.assert_allclose([fit.slope, fit.decay], expected, rtol=1e-3)
    np.testing.assert_allclose(fit.r2, 1 - residual[0] / np.sum((gain - gain.mean()) ** 2), rtol=1e-4)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="n must be"):
        best_of_n(PROXY, 0)
    with pytest.raises(ValueError, match="n must be"):
        best_of_n(PROXY, 6, replacement=False)
    with pytest.raises(ValueError, match="log_reference"):
        best_of_n(PROXY, 2, np.zeros(5), replacement=False)
    with pytest.raises(ValueError, match="proxy"):
        best_of_n(np.zeros((2, 2)), 1)
    with pytest.raises(ValueError, match="beta"):
        tilt(PROXY, PROXY, 0.0)
    with pytest.raises(ValueError, match="form"):
        overoptimisation_fit(PROXY, PROXY, "cubic")
    with pytest.raises(ValueError, match="n must be"):
        best_of_n_kl(0.5)
