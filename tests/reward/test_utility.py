"""Fitted utilities against planted ones and SciPy's optimum; selections and coherence against loops."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from rlx.envs.items import compare, item_graph
from rlx.reward import (
    cycle_probability,
    expected_utility_gap,
    preference_loss,
    select_edges,
    thurstone_fit,
    thurstone_prob,
)

RNG = np.random.default_rng(0)
N = 8
FIRST, SECOND = np.triu_indices(N, 1)


def planted() -> tuple[np.ndarray, np.ndarray]:
    mean = RNG.normal(size=N)
    return (mean - mean.mean()) / mean.std(), RNG.uniform(0.2, 1, N)


def test_probabilities_are_those_of_normal_differences():
    mean, variance = planted()
    with jax.enable_x64(True):
        found = thurstone_prob(mean, variance)
    wanted = stats.norm.cdf(np.subtract.outer(mean, mean) / np.sqrt(np.add.outer(variance, variance) + 1e-5))
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    np.testing.assert_allclose(found + found.T, 1.0)


def test_exact_shares_give_the_utilities_back():
    mean, variance = planted()
    prob = np.asarray(thurstone_prob(mean, variance))[FIRST, SECOND]
    found, spread, loss = thurstone_fit(FIRST, SECOND, prob, N, learning_rate=0.1, steps=1000)
    np.testing.assert_allclose(found, mean, atol=0.02)
    np.testing.assert_allclose(spread, variance, rtol=0.1, atol=0.02)
    entropy = -np.mean(prob * np.log(prob) + (1 - prob) * np.log(1 - prob))
    assert float(loss) == pytest.approx(entropy, abs=1e-5)


def test_the_fit_is_the_most_likely_one():
    """SciPy finds no better one, from shares of noisy answers."""
    mean, variance = planted()
    share = RNG.binomial(10, np.asarray(thurstone_prob(mean, variance))[FIRST, SECOND]) / 10
    kept = (RNG.random(len(FIRST)) < 0.8).astype(float)

    def loss(x):
        z = (x[FIRST] - x[SECOND]) / np.sqrt(np.exp(x[N + FIRST]) + np.exp(x[N + SECOND]) + 1e-5)
        return kept @ -(share * stats.norm.logcdf(z) + (1 - share) * stats.norm.logcdf(-z)) / kept.sum()

    best = optimize.minimize(loss, np.concatenate([mean, np.log(variance)]), bounds=[(-9, 9)] * 2 * N)
    _, _, found = thurstone_fit(FIRST, SECOND, share, N, kept, learning_rate=0.1, steps=1000)
    assert float(found) == pytest.approx(best.fun, abs=2e-3)
    sure = np.where(kept > 0, share, 1 - share)  # what was not asked does not count
    np.testing.assert_allclose(
        thurstone_fit(FIRST, SECOND, sure, N, kept, steps=50)[0],
        thurstone_fit(FIRST, SECOND, share, N, kept, steps=50)[0],
        rtol=1e-5,
    )


def selected(key: int, num: int, mean: np.ndarray, degree: np.ndarray, asked: np.ndarray, **shares: float) -> set:
    first, second, valid = select_edges(jax.random.key(key), mean, degree, asked, num, **shares)
    pairs = list(zip(first[valid].tolist(), second[valid].tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert all(i < j and not asked[i, j] and not asked[j, i] for i, j in pairs)
    return set(pairs)


def test_selected_pairs_are_close_and_seldom_compared():
    mean, degree, asked = RNG.normal(size=12), RNG.integers(6, size=12).astype(float), np.zeros((12, 12), bool)
    pairs = list(itertools.combinations(range(12), 2))
    gap = np.array([abs(mean[i] - mean[j]) for i, j in pairs])
    total = np.array([degree[i] + degree[j] for i, j in pairs])
    less = [(x[None] < x[:, None]).mean(1) for x in (gap, total)]
    for width in 1.5 ** np.arange(6):
        allowed = {p for p, a, b in zip(pairs, *less, strict=True) if a < 0.1 * width and b < 0.2 * width}
        if len(allowed) >= 4:
            break
    found = set().union(*(selected(key, 4, mean, degree, asked) for key in range(20)))
    assert found == allowed


def test_too_few_pairs_are_filled_up_at_random():
    mean, degree = np.arange(6.0), np.array([0.0, 9, 9, 9, 9, 9])
    asked = np.zeros((6, 6), bool)
    asked[[1, 0], [0, 2]] = True
    everything = set(itertools.combinations(range(6), 2)) - {(0, 1), (0, 2)}
    assert selected(0, 13, mean, degree, asked) == everything
    assert selected(0, 15, mean, degree, asked) == everything


def test_circles_by_enumeration():
    prob = RNG.random((6, 6))
    prob = np.triu(prob, 1) + np.tril(1 - prob.T, -1)
    wanted = [
        prob[a, b] * prob[b, c] * prob[c, a] + prob[b, a] * prob[c, b] * prob[a, c]
        for a, b, c in itertools.combinations(range(6), 3)
    ]
    np.testing.assert_allclose(cycle_probability(prob), np.mean(wanted), rtol=1e-5)
    order = np.tri(6, k=-1)
    assert float(cycle_probability(order)) == 0.0
    circle = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert float(cycle_probability(circle)) == 1.0


def test_the_gap_is_that_of_standard_scores():
    utility, lotteries, given = RNG.normal(size=5), RNG.dirichlet(np.ones(5), 30), RNG.normal(size=30)
    gap, correlation = expected_utility_gap(utility, lotteries, given)
    wanted = np.abs(stats.zscore(given) - stats.zscore(lotteries @ utility)).mean()
    assert float(gap) == pytest.approx(wanted, rel=1e-5)
    assert float(correlation) == pytest.approx(np.corrcoef(given, lotteries @ utility)[0, 1], rel=1e-4)


def test_the_gradient_of_control_is_the_difference_of_probabilities():
    mean, variance = planted()
    prob, logit = thurstone_prob(mean, variance)[FIRST, SECOND], jnp.asarray(RNG.normal(size=len(FIRST)))
    gradient = jax.grad(lambda x: preference_loss(x, prob).sum())(logit)
    np.testing.assert_allclose(gradient, jax.nn.sigmoid(logit) - prob, atol=1e-6)


def test_answers_are_drawn_from_the_graph():
    items = item_graph(jax.random.key(0), 20)
    first, second = np.triu_indices(20, 1)
    share = compare(jax.random.key(1), items, first, second, 2000)
    wanted = np.asarray(thurstone_prob(items.mean, items.variance))[first, second]
    np.testing.assert_allclose(share, wanted, atol=5 * 0.5 / np.sqrt(2000))
    fitted = np.linalg.lstsq(np.c_[items.feature, np.ones(20)], items.mean)[0]
    np.testing.assert_allclose(np.c_[items.feature, np.ones(20)] @ fitted, items.mean, atol=1e-5)
    other = item_graph(jax.random.key(0), 20, depends=False)
    assert np.abs(other.mean - items.mean).max() > 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: thurstone_prob(np.ones(2), np.ones(3)), r"variance \(3,\)"),
        (lambda: thurstone_prob(np.ones(2), -np.ones(2)), "variance must be"),
        (lambda: thurstone_fit(FIRST, SECOND, np.ones(3), N), r"prob \(3,\)"),
        (lambda: thurstone_fit(FIRST, SECOND, 2 * np.ones(28), N), "prob must be"),
        (lambda: thurstone_fit(FIRST, SECOND, np.ones(28), 1), "num_items must be an integer >= 2; got 1"),
        (lambda: selected(0, 2, np.ones(4), np.ones(4), np.ones((3, 3))), r"the shape of asked must be \(4, 4\)"),
        (lambda: selected(0, 7, np.ones(4), np.ones(4), np.ones((4, 4), bool)), "num must be at most 6"),
        (lambda: selected(0, 2, np.ones(4), np.ones(4), np.ones((4, 4), bool), gap_share=0.0), "gap_share must be"),
        (lambda: cycle_probability(np.ones((2, 2))), "the shape of prob must be"),
        (lambda: expected_utility_gap(np.ones(3), np.ones((2, 2)), np.ones(2)), r"must be \[L, N\] = \(2, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
