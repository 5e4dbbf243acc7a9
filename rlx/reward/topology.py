"""Which answers are compared with which: prefix trees, and how far a set of comparisons lets rewards be inferred."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def prefix_tree(key: Array, sample: Callable[[Array, Array, int], Array], branching: Sequence[int]) -> Array:
    """Answers that share beginnings: a tree of tokens, grown from the root, read off at its leaves.

    At token t each of the prefixes so far is continued `branching[t]` times. `sample(key, prefix [n, L], t) -> int [n]`
    gives the next tokens; of the prefix only the first t are meaningful, the rest is 0. With 1s after a first entry of
    N the answers are independent: the usual data set, a chain in the paper's words.

    Shapes: -> int `[N, L]` with `L = len(branching)` and `N` their product. Leaves stand in order, so that those which
    share a node are neighbours. Siblings are drawn with replacement and may be equal.

    Usual mistake: to count answers as the budget. People give comparisons, and those within a tree are correlated.

    >>> coin = lambda key, prefix, t: jax.random.bernoulli(key, 0.5, prefix.shape[:1]).astype(int)
    >>> leaves = prefix_tree(jax.random.key(0), coin, (1, 2, 2))
    >>> leaves.shape, len(set(leaves[:, 0].tolist()))
    ((4, 3), 1)

    Raises:
      ValueError: for a number of branches that is no positive integer, or none at all.

    Source: Qiu et al., "Reward Generalization in RLHF: A Topological Perspective" (2024).
    """
    check.require(len(branching) > 0, "branching", branching, "one number for each token")
    for count in branching:
        check.count("branching", count)
    tokens = jnp.zeros((1, len(branching)), int)
    for t, (count, step_key) in enumerate(zip(branching, jax.random.split(key, len(branching)), strict=True)):
        tokens = jnp.repeat(tokens, count, axis=0, total_repeat_length=math.prod(branching[: t + 1]))
        tokens = tokens.at[:, t].set(sample(step_key, tokens, t))
    return tokens


def shared_prefix(tokens: Array, mask: Array | None = None) -> Array:
    """How many tokens any two of `N` answers have in common before they first differ.

    Shapes: int `[..., N, L]`, bool `[..., N, L]` (valid tokens, a prefix) -> int `[..., N, N]`; the diagonal is each
    answer's own length. Nothing is differentiated.

    Usual mistake: equal tokens after the first difference, which a count of agreements (Hamming's) takes in.

    >>> shared_prefix(jnp.array([[1, 2, 3], [1, 0, 3]])).tolist()
    [[3, 1], [1, 3]]

    Raises:
      ValueError: for tokens without the two axes, or a mask of another shape.

    Source: none; the depth of the last common node of a prefix tree.
    """
    tokens = jnp.asarray(tokens)
    check.require(tokens.ndim >= 2, "tokens", tokens.shape, "of shape [..., N, L]")
    equal = tokens[..., :, None, :] == tokens[..., None, :, :]
    if mask is not None:
        check.same_shape(tokens=tokens, mask=mask)
        valid = jnp.asarray(mask, bool)
        equal &= valid[..., :, None, :] & valid[..., None, :, :]
    return jnp.sum(jnp.cumprod(equal, axis=-1), axis=-1)


def inference_distance(covariance: Array, pairs: Array, noise: Array | float, queries: Array) -> Array:
    """What remains unknown about the difference of two rewards after a set of comparisons: its posterior variance.

    With `r ~ N(0, K)`, comparisons `r_i - r_j + N(0, noise)` and the matrix `A` of their signs:

        P = K - K A^T (A K A^T + diag(noise))^-1 A K,    P_ii + P_jj - 2 P_ij  for a query (i, j)

    It does not depend on the answers, so it says beforehand which comparisons are worth asking. As K grows to an
    infinite multiple of the identity and the noise is 1 it becomes the resistance between i and j in the network of
    comparisons. A linear and Gaussian stand-in for the paper's Bayesian networks, whose rates for chains and trees it
    does not claim.

    Args:
      covariance: `[N, N]`, what is assumed of the rewards.
      pairs: int `[E, 2]`, the comparisons.
      noise: variance of each, `[E]` or a number, above 0; infinite for padding.
      queries: int `[Q, 2]`.

    Returns:
      Variance, `[Q]`. Differentiated: `covariance` and `noise`.

    Usual mistake: a covariance that makes answers with a common beginning alike but was never fitted to rewards. The
    result depends on little else.

    >>> pairs, queries = jnp.array([[0, 1], [1, 2]]), jnp.array([[0, 1], [0, 2]])
    >>> inference_distance(1e3 * jnp.eye(3), pairs, 1.0, queries).round(1).tolist()  # resistances 1 and 2
    [1.0, 2.0]

    Raises:
      ValueError: for shapes that do not fit, or indices that are not integers.

    Source: Qiu et al., "Reward Generalization in RLHF: A Topological Perspective" (2024), as a Gaussian process.
    """
    covariance, pairs, queries = jnp.asarray(covariance), jnp.asarray(pairs), jnp.asarray(queries)
    square = covariance.ndim == 2 and covariance.shape[0] == covariance.shape[1]
    check.require(square, "covariance", covariance.shape, "of shape [N, N]")
    for name, index in (("pairs", pairs), ("queries", queries)):
        check.require(index.ndim == 2 and index.shape[1] == 2, name, index.shape, "of shape [E, 2]")
        check.require(jnp.issubdtype(index.dtype, jnp.integer), name, index.dtype, "of an integer type")
    noise = jnp.broadcast_to(jnp.asarray(noise, covariance.dtype), pairs.shape[:1])
    precision = jnp.sqrt(1 / noise)  # rows are scaled by it, so that infinite noise makes a row of zeros

    def rows(index: Array) -> Array:
        """`A K` for the differences of an index: `[., N]`."""
        return covariance[index[:, 0]] - covariance[index[:, 1]]

    def columns(matrix: Array, index: Array) -> Array:
        return matrix[:, index[:, 0]] - matrix[:, index[:, 1]]

    wide = jnp.promote_types(covariance.dtype, jnp.float32)  # solvers take no half precision
    asked = precision[:, None] * rows(pairs)
    gram = columns(asked, pairs) * precision + jnp.eye(len(pairs), dtype=covariance.dtype)
    cross = columns(asked, queries)  # [E, Q]
    factor = jax.scipy.linalg.cho_factor(gram.astype(wide))
    explained = jnp.sum(cross * jax.scipy.linalg.cho_solve(factor, cross.astype(wide)), axis=0)
    prior = jnp.diagonal(columns(rows(queries), queries))
    return jnp.maximum(prior - explained.astype(covariance.dtype), 0)
