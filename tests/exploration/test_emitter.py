"""Matrix adaptation against a transcription in double precision, the covariance it implies, and a hard ellipsoid."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.exploration import (
    GaussianSearch,
    adapt_search,
    emitter_improvement,
    emitter_order,
    emitter_schedule,
    emitter_stagnates,
    search_points,
)


def rates(n, parents):
    weights = np.log(parents + 0.5) - np.log(np.arange(1, parents + 1))
    weights /= weights.sum()
    effective = 1 / np.sum(weights**2)
    c_s = (effective + 2) / (n + effective + 5)
    c_1 = 2 / ((n + 1.3) ** 2 + effective)
    c_mu = min(1 - c_1, 2 * (effective - 2 + 1 / effective) / ((n + 2) ** 2 + effective))
    damping = 1 + 2 * max(0.0, math.sqrt((effective - 1) / (n + 1)) - 1) + c_s
    return weights, effective, c_s, c_1, c_mu, damping


@pytest.fixture(scope="module")
def searched():
    """A search, its noise and order, in double precision."""
    rng = np.random.default_rng(0)
    search = (rng.normal(size=4), np.array(0.7), np.eye(4) + 0.2 * rng.normal(size=(4, 4)), rng.normal(size=4))
    return search, rng.normal(size=(10, 4)), rng.permutation(10)


@pytest.mark.parametrize("parents", [1, 5, 10])
def test_adaptation_is_the_published_one(searched, parents):
    (mean, sigma, matrix, path), noise, order = searched
    weights, effective, c_s, c_1, c_mu, damping = rates(4, parents)
    chosen = noise[order[:parents]]
    step = sum(w * z for w, z in zip(weights, chosen, strict=True))
    path = (1 - c_s) * path + math.sqrt(effective * c_s * (2 - c_s)) * step
    spread = sum(w * np.outer(z, z) for w, z in zip(weights, chosen, strict=True))
    turn = np.eye(4) + c_1 / 2 * (np.outer(path, path) - np.eye(4)) + c_mu / 2 * (spread - np.eye(4))
    expected = math.sqrt(2) * math.gamma(2.5) / math.gamma(2)
    wanted = (
        mean + sigma * matrix @ step,
        sigma * math.exp(c_s / damping * (np.linalg.norm(path) / expected - 1)),
        matrix @ turn,
        path,
    )
    got = adapt_search(GaussianSearch(*map(jnp.asarray, searched[0])), jnp.asarray(noise), jnp.asarray(order), parents)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def test_covariance_follows_that_of_cma_es_while_rates_are_small():
    """400 genes: c_1 and c_mu are below 1e-4, so what is of second order in them is below 1e-6."""
    n, rng = 400, np.random.default_rng(1)
    noise, order = rng.normal(size=(6, n)), np.arange(6)
    weights, effective, c_s, c_1, c_mu, _ = rates(n, 3)
    search = GaussianSearch(jnp.zeros(n), jnp.array(1.0), jnp.eye(n), jnp.zeros(n))
    matrix = np.asarray(adapt_search(search, jnp.asarray(noise), jnp.asarray(order), 3).matrix, np.float64)
    path = math.sqrt(effective * c_s * (2 - c_s)) * weights @ noise[:3]
    rank_mu = (weights * noise[:3].T) @ noise[:3]
    wanted = (1 - c_1 - c_mu) * np.eye(n) + c_1 * np.outer(path, path) + c_mu * rank_mu
    np.testing.assert_allclose(matrix @ matrix.T, wanted, atol=5e-6)


def test_no_parents_change_nothing(searched):
    search, noise, order = searched
    search = GaussianSearch(*map(jnp.asarray, search))
    for a, b in zip(adapt_search(search, jnp.asarray(noise), jnp.asarray(order), 0), search, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_ellipsoid_is_minimised():
    """Axes a thousand times apart in curvature: without adaptation to them 300 generations end above 1e-2."""
    scale = 10.0 ** jnp.linspace(0, 3, 6)

    def generation(search, key):
        noise = jax.random.normal(key, (12, 6))
        value = -jnp.sum(scale * search_points(search, noise) ** 2, axis=1)
        return adapt_search(search, noise, emitter_order(value), 6), -value.max()

    start = GaussianSearch(jnp.ones(6), jnp.array(0.5), jnp.eye(6), jnp.zeros(6))
    _, lowest = jax.jit(lambda keys: jax.lax.scan(generation, start, keys))(jax.random.split(jax.random.key(0), 300))
    assert lowest[-1] < 1e-8


def test_two_stages_of_ranking():
    status, value = np.array([0, 1, 2, 1, 2, 0]), np.array([9.0, 1.0, -3.0, 4.0, -1.0, 9.0])
    wanted = sorted(range(6), key=lambda i: (-status[i], -value[i], i))
    assert emitter_order(jnp.asarray(value), jnp.asarray(status)).tolist() == wanted
    assert emitter_order(jnp.asarray(value)).tolist() == [0, 5, 3, 1, 4, 2]


def test_improvement_is_never_negative():
    reward = jnp.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [9.0, 0.0], [3.0, 0.0], [6.0, 0.0]])
    np.testing.assert_allclose(emitter_improvement(reward), [5.0, 0.0])
    np.testing.assert_allclose(emitter_improvement(reward[:4], window=2), [5.0, 0.0])


@pytest.mark.parametrize(("others", "best", "wanted"), [(1, 1, False), (0, 1, True), (1, 0, True), (1, -1, True)])
def test_stagnation_of_the_median_or_of_the_maximum(others, best, wanted):
    """Three members that grow by `others`, and one far above them by `best`, in each generation."""
    reward = jnp.arange(70.0)[:, None] * jnp.array([others] * 3 + [best]) + jnp.array([0, 0, 0, 1000])
    assert bool(emitter_stagnates(reward)) is wanted


def test_chunks_alternate_unless_there_is_no_emitter():
    evaluations = jnp.arange(0, 4000, 500)
    assert emitter_schedule(evaluations, jnp.array(True)).tolist() == [False, False, True, True] * 2
    assert not emitter_schedule(evaluations, jnp.array(False)).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: emitter_order(jnp.zeros(3), jnp.zeros(2, int)), "same shape"),
        (lambda: emitter_improvement(jnp.zeros(2)), "at least 3 generations"),
        (lambda: emitter_stagnates(jnp.zeros((10, 2))), "at least 20 generations"),
        (lambda: emitter_schedule(jnp.zeros(1), True, chunk=0), "chunk"),
        (lambda: search_points(GaussianSearch(*[jnp.zeros(2)] * 4), jnp.zeros((3, 1))), "noise"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
