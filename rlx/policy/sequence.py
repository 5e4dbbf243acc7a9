"""Log-probabilities and statistics of token sequences.

`logits[..., t, :]` are those that predict `token[..., t]`: a language model's of the position before it. A mask is true
for every token that counts, the one that ends the sequence with them; what stands elsewhere is never read, be it NaN.
Sums are taken in at least single precision and rounded once.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def token_log_prob(logits: Array, token: Array, mask: Array | None = None) -> Array:
    """The log-probability of each token, `logits[token] - log sum_v exp logits[v]`, and 0 where the mask is false.

    Shapes: `[..., T, V]`, int `[..., T]`, bool `[..., T]` -> `[..., T]`. Differentiated: `logits`. A token of logit
    `-inf` has `-inf`; padding may have any id.

    Usual mistake: the logits of the token itself instead of those of the position before it, which sees the answer.

    >>> token_log_prob(jnp.zeros((2, 4)), jnp.array([3, -100]), jnp.array([True, False])).tolist()
    [-1.3862943649291992, 0.0]

    Raises:
      ValueError: for shapes that do not fit, or tokens that are not integers.

    Source: Bengio et al., "A Neural Probabilistic Language Model" (2003).
    """
    return _token_log_prob(logits, token, mask).astype(jnp.result_type(logits))


def sequence_log_prob(logits: Array, token: Array, mask: Array | None = None, *, mean: bool = False) -> Array:
    """The log-probability of a sequence, `sum_t m_t log p(token_t)`, or its mean over the tokens that count.

    Without any such token it is 0. The same as `token_log_prob` added up, but rounded only once if logits are of half
    precision, where a sum of hundreds of terms is otherwise off by whole units.

    Shapes: `[..., T, V]`, int `[..., T]`, bool `[..., T]` -> `[...]`. Differentiated: `logits`.

    Usual mistakes: the mean where a method asks for the sum, which divides its temperature by the length; and a mask
    that stops before the end token, so that nothing is ever said of when to stop.

    >>> sequence_log_prob(jnp.zeros((3, 2)), jnp.array([0, 1, 0]), jnp.array([True, True, False])).item()
    -1.3862943649291992

    Raises:
      ValueError: as `token_log_prob`.

    Source: Bengio et al., "A Neural Probabilistic Language Model" (2003).
    """
    total = jnp.sum(_token_log_prob(logits, token, mask), axis=-1)
    if mean:
        length = jnp.shape(token)[-1] if mask is None else jnp.maximum(jnp.sum(jnp.asarray(mask, bool), axis=-1), 1)
        total = total / length
    return total.astype(jnp.result_type(logits))


def top_k_mass(logits: Array, k: int) -> Array:
    """The probability of the k likeliest tokens together, `sum_{i in top k} p_i`.

    When it falls while a policy is trained on preferences, probability leaks to tokens that no answer had: a sign of
    over-optimisation that needs no reward.

    Shapes: `[..., V]` -> `[...]`. Differentiated: `logits`.

    Usual mistake: to measure it on text that the policy sampled, which is likely by construction; take the chosen
    answers of the data as context.

    >>> float(top_k_mass(jnp.zeros(4), 1))
    0.25

    Raises:
      ValueError: for `k < 1` or more than there are tokens.

    Source: Shi et al., "Understanding Likelihood Over-optimisation in Direct Alignment Algorithms" (2024).
    """
    return jnp.sum(jnp.exp(_top_k(logits, k)), axis=-1).astype(jnp.result_type(logits))


def top_k_entropy(logits: Array, k: int, *, renormalise: bool = False) -> Array:
    """Entropy in bits of the k likeliest tokens, `- sum_{i in top k} p_i log2 p_i`.

    With `renormalise` the k probabilities are made to sum to 1 first, and it is an entropy proper, at most `log2 k`.
    When it turns down while a policy is trained on preferences, variety is being traded for likelihood.

    Shapes: `[..., V]` -> `[...]`. Differentiated: `logits`.

    Usual mistake: to compare the two versions, which differ by the mass outside of the top k.

    >>> float(top_k_entropy(jnp.zeros(4), 2)), float(top_k_entropy(jnp.zeros(4), 2, renormalise=True))
    (1.0, 1.0)

    Raises:
      ValueError: for `k < 1` or more than there are tokens.

    Source: Shi et al., "Understanding Likelihood Over-optimisation in Direct Alignment Algorithms" (2024).
    """
    log_prob = _top_k(logits, k)
    if renormalise:
        log_prob = jax.nn.log_softmax(log_prob)
    bits = jnp.where(jnp.isneginf(log_prob), 0, log_prob) / math.log(2)
    return -jnp.sum(jnp.exp(log_prob) * bits, axis=-1).astype(jnp.result_type(logits))


def _top_k(logits: Array, k: int) -> jax.Array:
    check.require(jnp.ndim(logits) >= 1, "the rank of logits", jnp.ndim(logits), "at least 1: [..., V]")
    check.count("k", k)
    size = jnp.shape(logits)[-1]
    check.require(k <= size, "k", k, f"at most the number of tokens, {size}")
    return jax.lax.top_k(jax.nn.log_softmax(widened(logits)), k)[0]


def _token_log_prob(logits: Array, token: Array, mask: Array | None) -> jax.Array:
    check.require(jnp.ndim(logits) >= 2, "the rank of logits", jnp.ndim(logits), "at least 2: [..., T, V]")
    wanted = jnp.shape(logits)[:-1]
    check.require(jnp.shape(token) == wanted, "token", jnp.shape(token), f"of the logits' shape {wanted}")
    token = jnp.asarray(token)
    check.require(jnp.issubdtype(token.dtype, jnp.integer), "token", token.dtype, "of an integer type")
    wide = widened(logits)
    if mask is not None:
        check.same_shape(token=token, mask=mask)
        mask = jnp.asarray(mask, bool)
        wide, token = jnp.where(mask[..., None], wide, 0), jnp.where(mask, token, 0)
    log_prob = jnp.take_along_axis(jax.nn.log_softmax(wide), token[..., None], axis=-1)[..., 0]
    return log_prob if mask is None else jnp.where(mask, log_prob, 0)


def widened(x: Any) -> jax.Array:
    """As an array of at least single precision."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
