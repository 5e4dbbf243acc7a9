"""Which values people find wiser than which: edges from votes, and ranks from edges."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


class EdgeStats(NamedTuple):
    """Of the edge from each value (row) to each other one (column)."""

    likelihood: Array  # [V, V] in [-1, 1], that the second is the wiser
    entropy: Array  # [V, V] of the answers, in bits
    kept: Array  # bool [V, V]


def edge_stats(
    counts: Array,
    *,
    min_votes: float = 2.0,
    min_likelihood: float = 0.33,
    max_entropy: float = 1.69,
) -> EdgeStats:
    """How sure voters are that one value is wiser than another, and which edges that makes for a moral graph.

        likelihood = (wiser - less wise) / (wiser + not wiser + unsure + less wise)

    where "less wise" are the votes for the opposite edge. An edge is kept if enough said "wiser", with a high
    likelihood and a low entropy of the four kinds of answer.

    Shapes: `[V, V, 3]`, how many said that the column's value is wiser than the row's, is not, or were unsure -> three
    times `[V, V]`. Differentiated: `counts`, in likelihood and entropy. Edges nobody voted on have 0 of both, and are
    not kept. Several contexts are vmapped over.

    The released code takes the entropy over the number of times the edge was shown too, and its threshold of 1.69 bits
    was set with that; of four answers it is less strict. Usual mistake: one graph for all contexts.

    >>> counts = jnp.zeros((2, 2, 3)).at[0, 1].set(jnp.array([6.0, 1.0, 1.0])).at[1, 0, 0].set(2.0)
    >>> stats = edge_stats(counts)
    >>> round(float(stats.likelihood[0, 1]), 4), stats.kept.tolist()
    (0.4, [[False, True], [False, False]])

    Raises:
      ValueError: for counts of another shape, or negative ones.

    Source: Klingefjord, Lowe and Edelman, "What are human values, and how do we align AI to them?" (2024).
    """
    shape = jnp.shape(counts)
    fits = len(shape) == 3 and shape[0] == shape[1] and shape[2] == 3
    check.require(fits, "the shape of counts", shape, "[V, V, 3]")
    check.in_range("counts", counts, 0.0)
    counts = jnp.asarray(counts)
    wiser, opposite = counts[..., 0], counts[..., 0].T
    answers = jnp.concatenate([counts, opposite[..., None]], -1)
    total = jnp.sum(answers, -1)
    asked = jnp.where(total > 0, total, 1)
    share = answers / asked[..., None]
    likelihood = (wiser - opposite) / asked
    entropy = -jnp.sum(share * jnp.log2(jnp.where(share > 0, share, 1)), -1)
    kept = (wiser >= min_votes) & (likelihood >= min_likelihood) & (entropy <= max_entropy)
    return EdgeStats(likelihood, entropy, kept & ~jnp.eye(shape[0], dtype=bool))


def pagerank(
    weights: Array,
    damping: Array | float = 0.85,
    personal: Array | None = None,
    *,
    dangling: Literal["uniform", "leak"] = "uniform",
    num_iterations: int = 100,
) -> Array:
    """Where a walk along weighted edges spends its time, if it jumps anywhere now and then.

        r <- (1 - damping) p + damping (W^T r + m p),   rows of W divided by their sums

    with `p` where jumps lead, and `m` the rank at nodes without an edge out of them: `"uniform"` has those jump too, so
    that ranks sum to one; `"leak"` loses it, as the released code of moral graphs does.

    Shapes: `[V, V]` not negative, from row to column, scalar, `[V]` (uniform by default) -> `[V]`. Differentiated: all.
    The error falls by `damping` with each iteration.

    Usual mistake: the direction. Rank flows to the column's node, so weights say how much wiser that one is.

    >>> [round(float(r), 3) for r in pagerank(jnp.array([[0.0, 1.0], [0.0, 0.0]]))]
    [0.351, 0.649]

    Raises:
      ValueError: for shapes that do not fit, negative weights, a damping outside [0, 1), or an unknown `dangling`.

    Source: Page et al., "The PageRank Citation Ranking: Bringing Order to the Web" (1999).
    """
    shape = jnp.shape(weights)
    check.require(len(shape) == 2 and shape[0] == shape[1], "the shape of weights", shape, "[V, V]")
    check.in_range("weights", weights, 0.0)
    check.in_range("damping", damping, 0.0, 1.0, open_high=True)
    check.require(dangling in ("uniform", "leak"), "dangling", dangling, "'uniform' or 'leak'")
    check.count("num_iterations", num_iterations)
    weights = jnp.asarray(weights)
    if personal is None:
        personal = jnp.full(shape[:1], 1 / shape[0], weights.dtype)
    check.require(jnp.shape(personal) == shape[:1], "the shape of personal", jnp.shape(personal), f"[V] = {shape[:1]}")
    personal, damping = jnp.asarray(personal), jnp.asarray(damping, weights.dtype)
    total = jnp.sum(weights, -1)
    leads = total > 0
    step = weights / jnp.where(leads, total, 1)[:, None]

    def iterate(rank: Array, _: None) -> tuple[Array, None]:
        lost = jnp.sum(jnp.where(leads, 0, rank)) if dangling == "uniform" else 0
        return (1 - damping) * personal + damping * (rank @ step + lost * personal), None

    return jax.lax.scan(iterate, personal, length=num_iterations)[0]
