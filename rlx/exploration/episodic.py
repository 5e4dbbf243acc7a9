"""Novelty as the distance from what is in a memory."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.types import Array


def nearest_neighbours(
    query: Array, reference: Array, mask: Array | None = None, *, k: int, exclude_self: bool = False
) -> tuple[Array, Array]:
    """The k nearest rows of a memory: `(squared, index)`, squared Euclidean distances in rising order, and which rows.

    Shapes: `query [M, d]`, `reference [R, d]`, bool `mask [R]` (rows that are filled; all without it) -> `[M, k]`, int
    `[M, k]`. Where there are fewer than k rows the distance is infinite and the index means nothing. Of equal distances
    the earlier row comes first. Nothing is differentiated. O(M R d) operations, from differences: the product form
    `|q|^2 - 2 q.r + |r|^2` is faster in many dimensions and loses all digits of small distances.

    With `exclude_self` the nearest row is left out once: a query that is among the rows is not its own neighbour.
    Usual mistake: to leave it out where the query is not yet in the memory, which discards the one row that matters.

    >>> squared, index = nearest_neighbours(jnp.array([[0.0]]), jnp.array([[5.0], [-1.0], [2.0]]), k=2)
    >>> squared.tolist(), index.tolist()
    ([[1.0, 4.0]], [[1, 2]])

    Raises:
      ValueError: for a k that is no positive integer, sets that are not matrices with equally many columns, or a mask
        that is not a boolean for each row.

    Source: Fix and Hodges, "Discriminatory Analysis: Nonparametric Discrimination, Consistency Properties" (1951).
    """
    check.count("k", k)
    check.rank("query", query, 2)
    check.rank("reference", reference, 2)
    query, reference = jax.lax.stop_gradient((jnp.asarray(query), jnp.asarray(reference)))
    rows, columns = reference.shape
    check.require(query.shape[1] == columns, "query", query.shape, f"[M, {columns}], like the rows of the reference")
    squared = jnp.sum(jnp.square(query[:, None] - reference), axis=-1)
    if mask is not None:
        mask = jnp.asarray(mask)
        fits = mask.shape == (rows,) and mask.dtype == bool
        check.require(fits, "mask", f"{mask.dtype} {mask.shape}", f"bool {(rows,)}")
        squared = jnp.where(mask, squared, jnp.inf)
    skipped = int(exclude_self)
    squared = jnp.pad(squared, ((0, 0), (0, max(k + skipped - rows, 0))), constant_values=np.inf)
    negative, index = jax.lax.top_k(-squared, k + skipped)
    return -negative[:, skipped:], index[:, skipped:]


def knn_novelty(
    query: Array, reference: Array, mask: Array | None = None, *, k: int = 15, exclude_self: bool = False
) -> Array:
    """The mean Euclidean distance from the k nearest rows of a memory: `(1 / k) sum_j |q - r_j|`.

    Shapes: `query [M, d]`, `reference [R, d]`, bool `mask [R]` (rows that are filled; all without it) -> `[M]`. With
    fewer than k rows it is the mean over those; 0 with none. Nothing is differentiated. `exclude_self` is that of
    `nearest_neighbours`: for queries that are among the rows.

    Usual mistake: to take a query as its own neighbour, which shrinks all novelties by different shares.

    >>> knn_novelty(jnp.array([[0.0]]), jnp.array([[5.0], [-1.0], [2.0]]), k=2).tolist()
    [1.5]

    Raises:
      ValueError: as `nearest_neighbours` does.

    Source: Lehman and Stanley, "Abandoning Objectives: Evolution Through the Search for Novelty Alone" (2011).
    """
    squared, _ = nearest_neighbours(query, reference, mask, k=k, exclude_self=exclude_self)
    found = jnp.isfinite(squared)
    total = jnp.sum(jnp.sqrt(jnp.where(found, squared, 0)), axis=-1)
    return total / jnp.maximum(jnp.sum(found, axis=-1), 1).astype(total.dtype)
