"""Nearest anchors by a tree; bilinear features complete a matrix of low rank from some of its entries."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree

from rlx import value


def test_anchor_is_the_nearest_of_the_data():
    rng = np.random.default_rng(0)
    data, state = rng.normal(size=(40, 3)), rng.normal(size=(5, 4, 3))
    anchor, delta = value.nearest_anchor(jnp.asarray(state), jnp.asarray(data))
    distance, index = cKDTree(data).query(state)
    np.testing.assert_allclose(anchor, data[index], rtol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(delta, axis=-1), distance, rtol=1e-5)
    np.testing.assert_allclose(anchor + delta, state, atol=1e-6)


def test_unseen_pairs_of_seen_parts_are_known():
    """`y = delta^T M anchor` with M of rank 2, fitted by alternating least squares on half of the pairs."""
    rng = np.random.default_rng(1)
    rank, deltas, anchors = 2, rng.normal(size=(12, 4)), rng.normal(size=(15, 4))
    wanted = deltas @ rng.normal(size=(4, rank)) @ rng.normal(size=(rank, 4)) @ anchors.T
    seen = rng.random(wanted.shape) < 0.6
    f, g = rng.normal(size=(12, rank)), rng.normal(size=(15, rank))
    for _ in range(300):
        f = np.stack([np.linalg.lstsq(g[s], y[s], rcond=None)[0] for s, y in zip(seen, wanted, strict=True)])
        g = np.stack([np.linalg.lstsq(f[s], y[s], rcond=None)[0] for s, y in zip(seen.T, wanted.T, strict=True)])
    found = value.transductive_features(
        *(jnp.asarray(np.broadcast_to(x, (12, 15, rank))[:, :, None]) for x in (f[:, None], g[None]))
    )[..., 0]
    np.testing.assert_allclose(np.asarray(found)[~seen], wanted[~seen], atol=1e-2)


def test_without_a_difference_only_the_anchor_counts():
    """Linear embeddings of zero are zero; an affine one leaves features that are linear in the anchor's."""
    rng = np.random.default_rng(2)
    anchor, bias = rng.normal(size=(6, 2, 3)), rng.normal(size=(2, 3))
    got = value.transductive_features(jnp.asarray(np.broadcast_to(bias, anchor.shape)), jnp.asarray(anchor))
    np.testing.assert_allclose(got, np.einsum("me,nme->nm", bias, anchor), rtol=1e-5)
    assert np.linalg.matrix_rank(np.asarray(got), tol=1e-4) <= 2


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="shape of data"):
        value.nearest_anchor(jnp.zeros((3, 2)), jnp.zeros((0, 2)))
    with pytest.raises(ValueError, match="shape of data"):
        value.nearest_anchor(jnp.zeros((3, 2)), jnp.zeros((4, 3)))
    with pytest.raises(ValueError, match="same shape"):
        value.transductive_features(jnp.zeros((3, 2)), jnp.zeros((4, 2)))
    with pytest.raises(ValueError, match="shape of delta"):
        value.transductive_features(jnp.zeros(3), jnp.zeros(3))
