"""Nearest neighbours against a k-d tree in double precision; novelty of sets whose distances are known."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree

from rlx.exploration import knn_novelty, nearest_neighbours


@pytest.mark.parametrize("k", [1, 5])
def test_neighbours_are_those_of_a_tree(k):
    rng = np.random.default_rng(0)
    query, reference, mask = rng.normal(size=(20, 3)), rng.normal(size=(40, 3)), rng.random(40) < 0.5
    distance, row = cKDTree(reference[mask]).query(query, k=[*range(1, k + 1)])
    squared, index = nearest_neighbours(jnp.asarray(query), jnp.asarray(reference), jnp.asarray(mask), k=k)
    np.testing.assert_allclose(squared, distance**2, rtol=1e-5)
    np.testing.assert_array_equal(index, np.flatnonzero(mask)[row])
    novelty = knn_novelty(jnp.asarray(query), jnp.asarray(reference), jnp.asarray(mask), k=k)
    np.testing.assert_allclose(novelty, distance.mean(axis=1), rtol=1e-5)


def test_itself_is_left_out_once():
    points = np.random.default_rng(1).normal(size=(30, 2))
    distance, _ = cKDTree(points).query(points, k=[2, 3, 4])
    np.testing.assert_allclose(
        knn_novelty(jnp.asarray(points), jnp.asarray(points), k=3, exclude_self=True), distance.mean(axis=1), rtol=1e-5
    )
    twice = jnp.array([[1.0, 0.0], [1.0, 0.0], [4.0, 4.0]])  # the other copy is a neighbour, at distance 0
    np.testing.assert_allclose(knn_novelty(twice, twice, k=2, exclude_self=True), [2.5, 2.5, 5.0])


def test_fewer_rows_than_neighbours():
    query, reference = jnp.array([[0.0], [1.0]]), jnp.array([[3.0], [9.0], [0.0]])
    mask = jnp.array([True, False, True])
    np.testing.assert_allclose(knn_novelty(query, reference, mask, k=7), [1.5, 1.5])
    np.testing.assert_array_equal(knn_novelty(query, reference, jnp.zeros(3, bool), k=2), [0.0, 0.0])
    squared, _ = nearest_neighbours(query, reference, mask, k=4, exclude_self=True)
    np.testing.assert_array_equal(squared, [[9, np.inf, np.inf, np.inf], [4, np.inf, np.inf, np.inf]])


def test_small_distances_far_from_the_origin_keep_their_digits():
    near = jnp.array([[1000.0, 1000.0], [1000.5, 1000.0]])
    np.testing.assert_array_equal(knn_novelty(near, near, k=1, exclude_self=True), [0.5, 0.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(query=jnp.ones((2, 3)), reference=jnp.ones((4, 2)), k=1), "query"),
        (dict(query=jnp.ones((2, 3)), reference=jnp.ones((4, 3)), mask=jnp.ones(4), k=1), "mask"),
        (dict(query=jnp.ones(3), reference=jnp.ones((4, 3)), k=1), "query must have rank 2"),
        (dict(query=jnp.ones((2, 3)), reference=jnp.ones((4, 3)), k=0), "k must be an integer >= 1"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(partial(knn_novelty, **arguments))
