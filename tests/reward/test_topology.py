"""Trees by construction, inference distances by conditioning and by resistances of networks."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import networkx
import numpy as np
import pytest

from rlx.reward import inference_distance, prefix_tree, shared_prefix

RNG = np.random.default_rng(0)


def uniform(key, prefix, t):
    return jax.random.randint(key, prefix.shape[:1], 0, 1000)


def test_leaves_share_what_their_last_common_node_has():
    branching = (2, 1, 3, 2)
    tokens = np.asarray(prefix_tree(jax.random.key(0), uniform, branching))
    assert tokens.shape == (12, 4)
    shared = np.asarray(shared_prefix(tokens))
    for i, j in itertools.combinations(range(12), 2):
        depth = next(t for t in range(4) if i // np.prod(branching[t + 1 :]) != j // np.prod(branching[t + 1 :]))
        assert shared[i, j] == shared[j, i] == depth
    np.testing.assert_array_equal(np.diag(shared), 4)


def test_a_tree_that_branches_at_the_root_alone_is_independent():
    tokens = np.asarray(prefix_tree(jax.random.key(0), uniform, (50, 1, 1)))
    assert len(np.unique(tokens[:, 0])) > 40


def test_tokens_depend_on_the_prefix():
    def counting(key, prefix, t):
        return prefix[:, t - 1] + 1 if t else jnp.arange(len(prefix))

    np.testing.assert_array_equal(prefix_tree(jax.random.key(0), counting, (2, 2)), [[0, 1], [0, 1], [1, 2], [1, 2]])


def test_prefixes_end_at_the_mask():
    tokens, mask = np.array([[1, 2, 0], [1, 2, 0]]), np.array([[True, True, False], [True, False, False]])
    assert shared_prefix(tokens, mask).tolist() == [[2, 1], [1, 1]]


def random_covariance(size: int) -> np.ndarray:
    root = RNG.normal(size=(size, size))
    return root @ root.T


def test_inference_distance_is_a_conditional_variance():
    """Conditioning the joint Gaussian of all differences, by its precision matrix."""
    K, pairs, queries = random_covariance(6), RNG.integers(6, size=(5, 2)), RNG.integers(6, size=(4, 2))
    noise = RNG.uniform(0.1, 2, 5)
    A, Q = (np.eye(6)[x[:, 0]] - np.eye(6)[x[:, 1]] for x in (pairs, queries))
    posterior = np.linalg.inv(np.linalg.inv(K) + A.T @ np.diag(1 / noise) @ A)
    np.testing.assert_allclose(inference_distance(K, pairs, noise, queries), np.diag(Q @ posterior @ Q.T), atol=2e-3)


def test_of_a_wide_prior_it_is_the_resistance_of_the_network():
    graph = networkx.connected_watts_strogatz_graph(8, 4, 0.5, seed=0)
    pairs, queries = np.array(graph.edges), np.array(list(itertools.combinations(range(8), 2)))
    with jax.enable_x64(True):
        found = inference_distance(jnp.asarray(1e6 * np.eye(8)), pairs, 1.0, queries)
    expected = [networkx.resistance_distance(graph, i, j) for i, j in queries]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_infinite_noise_pads():
    K, pairs, queries = random_covariance(4), np.array([[0, 1], [2, 3]]), np.array([[0, 2], [1, 1]])
    padded = inference_distance(K, pairs, np.array([0.5, np.inf]), queries)
    np.testing.assert_allclose(padded, inference_distance(K, pairs[:1], 0.5, queries), rtol=1e-4, atol=1e-5)
    assert padded[1] == 0
    np.testing.assert_allclose(
        inference_distance(K, pairs, np.inf, queries)[0], K[0, 0] + K[2, 2] - 2 * K[0, 2], rtol=1e-5
    )


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="branching"):
        prefix_tree(jax.random.key(0), uniform, (2, 0))
    with pytest.raises(ValueError, match="tokens"):
        shared_prefix(np.zeros(3, int))
    with pytest.raises(ValueError, match="queries"):
        inference_distance(np.eye(3), np.zeros((1, 2), int), 1.0, np.zeros(2, int))
