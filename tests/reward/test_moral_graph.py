"""Ranks against networkx and the linear system; edges against their formula."""

from __future__ import annotations

import jax
import networkx
import numpy as np
import pytest
from scipy import stats

from rlx.reward import edge_stats, pagerank

V = 7
RNG = np.random.default_rng(0)
WEIGHTS = RNG.random((V, V)) * (RNG.random((V, V)) < 0.4) * ~np.eye(V, dtype=bool)
WEIGHTS[3] = 0.0  # nothing is wiser than this one
PERSONAL = RNG.dirichlet(np.ones(V))


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("personal", [None, PERSONAL])
def test_ranks_are_those_of_networkx(personal):
    graph = networkx.from_numpy_array(WEIGHTS, create_using=networkx.DiGraph)
    jumps = None if personal is None else dict(enumerate(personal))
    wanted = networkx.pagerank(graph, 0.85, jumps, tol=1e-12, max_iter=500)
    found = pagerank(WEIGHTS, 0.85, personal, num_iterations=200)
    np.testing.assert_allclose(found, [wanted[i] for i in range(V)], atol=1e-10)
    assert float(found.sum()) == pytest.approx(1.0)


def test_leaking_ranks_solve_the_linear_system():
    total = WEIGHTS.sum(1, keepdims=True)
    step = np.divide(WEIGHTS, total, out=np.zeros_like(WEIGHTS), where=total > 0)
    wanted = np.linalg.solve(np.eye(V) - 0.7 * step.T, np.full(V, 0.3 / V))
    found = pagerank(WEIGHTS, 0.7, dangling="leak", num_iterations=150)
    np.testing.assert_allclose(found, wanted, atol=1e-10)
    assert found.sum() < 1
    np.testing.assert_allclose(found / found.sum(), pagerank(WEIGHTS, 0.7, num_iterations=150), atol=1e-10)


def test_edges_by_the_formula():
    counts = RNG.integers(0, 6, (V, V, 3)).astype(float)
    counts[0, 1] = counts[1, 0] = 0
    found = edge_stats(counts, min_votes=3, min_likelihood=0.1, max_entropy=1.8)
    for i in range(V):
        for j in range(V):
            answers = np.array([*counts[i, j], counts[j, i, 0]])
            likelihood = (answers[0] - answers[3]) / max(answers.sum(), 1)
            entropy = stats.entropy(answers, base=2) if answers.sum() else 0.0
            np.testing.assert_allclose(found.likelihood[i, j], likelihood, atol=1e-12)
            np.testing.assert_allclose(found.entropy[i, j], entropy, atol=1e-12)
            kept = i != j and answers[0] >= 3 and likelihood >= 0.1 and entropy <= 1.8
            assert bool(found.kept[i, j]) == kept
    assert 0 < found.kept.sum() < V * (V - 1) / 2
    assert not np.any(found.kept & found.kept.T)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: edge_stats(np.ones((2, 2, 4))), r"the shape of counts must be \[V, V, 3\]; got \(2, 2, 4\)"),
        (lambda: edge_stats(-np.ones((2, 2, 3))), "counts must be"),
        (lambda: pagerank(np.ones((2, 3))), "the shape of weights must be"),
        (lambda: pagerank(-np.ones((2, 2))), "weights must be"),
        (lambda: pagerank(np.ones((2, 2)), 1.0), "damping must be"),
        (lambda: pagerank(np.ones((2, 2)), personal=np.ones(3)), "the shape of personal must be"),
        (lambda: pagerank(np.ones((2, 2)), dangling="lost"), "dangling must be 'uniform' or 'leak'"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
