"""Emitters: searches that quality-diversity starts from a solution, ranks by what they add, and gives up."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


class GaussianSearch(NamedTuple):
    """A normal distribution over genomes, `N(mean, sigma^2 M M^T)`, and where it has been moving."""

    mean: Array  # [n]
    sigma: Array  # []
    matrix: Array  # M [n, n]
    path: Array  # [n]


def emitter_order(value: Array, status: Array | None = None) -> Array:
    """Rows from the best: by `status` first, and by `value` among equals; both descending, ties in the old order.

    Shapes: `value [M]`, int `status [M]` -> int `[M]`. The three emitters of CMA-ME are three choices, with the
    `Insertion` of `insert_elites`:

    - improvement: `emitter_order(gain, status)`, new cells before improved ones before the rest;
    - random direction: `emitter_order(descriptor @ direction, status)`;
    - optimising: `emitter_order(fitness)`.

    Usual mistake: to rank the improvement emitter by gain alone. A new cell's gain is its fitness, on another scale
    than that of an improvement.

    >>> emitter_order(jnp.array([1.0, 9.0, 2.0, 5.0]), jnp.array([2, 1, 2, 0])).tolist()
    [2, 0, 1, 3]

    Raises:
      ValueError: if the arrays are not vectors of equal length.

    Source: Fontaine et al., "Covariance Matrix Adaptation for the Rapid Illumination of Behavior Space" (2020).
    """
    check.rank("value", value, 1)
    value = jnp.asarray(value)
    status = jnp.zeros(value.shape, int) if status is None else jnp.asarray(status)
    check.same_shape(value=value, status=status)
    return jnp.lexsort((-value, -status))


def search_points(search: GaussianSearch, noise: Array) -> Array:
    """Genomes from standard normal noise: `x = mean + sigma M z`; `noise [K, n]` -> `[K, n]`.

    >>> search = GaussianSearch(jnp.ones(2), jnp.array(0.5), jnp.eye(2), jnp.zeros(2))
    >>> search_points(search, jnp.array([[2.0, -2.0]])).tolist()
    [[2.0, 0.0]]

    Raises:
      ValueError: if the noise has not a column for each gene.

    Source: Beyer and Sendhoff, "Simplify Your Covariance Matrix Adaptation Evolution Strategy" (2017).
    """
    search, noise = GaussianSearch(*map(jnp.asarray, search)), jnp.asarray(noise)
    check.require(noise.shape[1:] == search.mean.shape, "noise", noise.shape, f"[K, {len(search.mean)}]")
    return search.mean + search.sigma * noise @ search.matrix.T


def adapt_search(search: GaussianSearch, noise: Array, order: Array, num_parents: Array | int) -> GaussianSearch:
    """Moves a Gaussian search towards its best samples: one step of matrix adaptation, CMA-ES without factorisations.

    With `z_i` the noise of the i-th best, `mu` parents, weights `w_i ~ log(mu + 1/2) - log i` that sum to 1, and
    `mu_eff = 1 / sum w_i^2`:

        mean'  = mean + sigma M sum_i w_i z_i
        path'  = (1 - c_s) path + sqrt(mu_eff c_s (2 - c_s)) sum_i w_i z_i
        M'     = M (I + c_1 / 2 (path' path'^T - I) + c_mu / 2 (sum_i w_i z_i z_i^T - I))
        sigma' = sigma exp(c_s / d_s (|path'| / E|N(0, I)| - 1))

    Shapes: `noise [K, n]` that `search_points` was given, int `order [K]` of its rows from the best, `num_parents` from
    0 to K, possibly traced (all that were of use, in CMA-ME; half of them, in an optimising search) -> a search. With 0
    parents it stays what it was: start it anew from another elite. Nothing is differentiated.

    To first order in the rates `M M^T` follows the covariance of CMA-ES with one evolution path; being products of
    matrices alone, it runs on any device and under `vmap`. Usual mistake: a num_parents that counts rows which added
    nothing, by which the search stays where the archive is full.

    >>> search = GaussianSearch(jnp.zeros(2), jnp.array(1.0), jnp.eye(2), jnp.zeros(2))
    >>> adapt_search(search, jnp.array([[1.0, 0.0], [0.0, 3.0]]), jnp.array([0, 1]), 1).mean.tolist()
    [1.0, 0.0]

    Raises:
      ValueError: if the noise has not a column for each gene, or the order not an entry for each row.

    Source: Beyer and Sendhoff, "Simplify Your Covariance Matrix Adaptation Evolution Strategy" (2017); weights and
    rates: Hansen, "The CMA Evolution Strategy: A Tutorial" (2016).
    """
    search, noise, order = jax.lax.stop_gradient(
        (GaussianSearch(*map(jnp.asarray, search)), jnp.asarray(noise), jnp.asarray(order))
    )
    check.require(noise.shape[1:] == search.mean.shape, "noise", noise.shape, f"[K, {len(search.mean)}]")
    check.require(order.shape == noise.shape[:1], "order", order.shape, f"[{len(noise)}]")
    n, dtype = len(search.mean), noise.dtype
    parents = jnp.asarray(num_parents, dtype)
    rank = jnp.arange(1, len(noise) + 1, dtype=dtype)
    raw = jnp.where(rank <= parents, jnp.log(parents + 0.5) - jnp.log(rank), 0)
    weight = raw / jnp.maximum(raw.sum(), jnp.finfo(dtype).tiny)
    effective = 1 / jnp.maximum(jnp.sum(weight**2), jnp.finfo(dtype).tiny)
    effective = jnp.where(parents > 0, effective, 1.0)
    c_s = (effective + 2) / (n + effective + 5)
    c_1 = 2 / ((n + 1.3) ** 2 + effective)
    c_mu = jnp.minimum(1 - c_1, 2 * (effective - 2 + 1 / effective) / ((n + 2) ** 2 + effective))
    damping = 1 + 2 * jnp.maximum(jnp.sqrt((effective - 1) / (n + 1)) - 1, 0) + c_s
    expected = math.sqrt(2) * math.exp(math.lgamma((n + 1) / 2) - math.lgamma(n / 2))

    z = noise[order]
    step = weight @ z
    path = (1 - c_s) * search.path + jnp.sqrt(effective * c_s * (2 - c_s)) * step
    identity = jnp.eye(n, dtype=dtype)
    turn = c_1 / 2 * (jnp.outer(path, path) - identity) + c_mu / 2 * ((weight * z.T) @ z - identity)
    adapted = GaussianSearch(
        search.mean + search.sigma * search.matrix @ step,
        search.sigma * jnp.exp(c_s / damping * (jnp.linalg.norm(path) / expected - 1)),
        search.matrix + search.matrix @ turn,
        path,
    )
    return jax.tree.map(lambda new, old: jnp.where(parents > 0, new, old).astype(old.dtype), adapted, search)


def emitter_improvement(reward: Array, *, window: int = 3) -> Array:
    """What an emitter promises: the mean reward of its last generations over that of its first, at least 0.

    `max(mean of the last window - mean of the first window, 0)`. Shapes: `reward [G, ...]`, mean rewards of G
    generations, `G >= window` -> `[...]`. An emitter with 0 is dropped.

    >>> float(emitter_improvement(jnp.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])))
    3.0

    Raises:
      ValueError: for a window that is no positive integer, or fewer generations than it.

    Source: Paolo et al., "Sparse Reward Exploration via Novelty Search and Emitters" (2021).
    """
    check.count("window", window)
    reward = jnp.asarray(reward)
    check.require(reward.ndim > 0 and len(reward) >= window, "reward", reward.shape, f"at least {window} generations")
    return jax.nn.relu(jnp.mean(reward[-window:] - reward[:window], axis=0))  # exactly 0 where nothing changed


def emitter_stagnates(reward: Array, *, window: int = 20) -> Array:
    """Whether an emitter has stopped to improve: its last generations are no better than the first of its history.

    `median(first window) >= median(last window)`, or the same of the maxima, over all members of the generations.
    Shapes: `reward [H, P]`, of P members in each of H generations -> bool `[]`. H is `20 n / P + 120` for n genes; do
    not ask before there are so many.

    >>> rising = jnp.arange(50.0)[:, None]
    >>> bool(emitter_stagnates(rising)), bool(emitter_stagnates(jnp.ones((50, 3))))
    (False, True)

    Raises:
      ValueError: for a window that is no positive integer, or a history that is no matrix or shorter than the window.

    Source: Paolo et al., "Sparse Reward Exploration via Novelty Search and Emitters" (2021).
    """
    check.count("window", window)
    check.rank("reward", reward, 2)
    reward = jnp.asarray(reward)
    check.require(len(reward) >= window, "reward", reward.shape, f"at least {window} generations")
    first, last = reward[:window], reward[-window:]
    return (jnp.median(first) >= jnp.median(last)) | (jnp.max(first) >= jnp.max(last))


def emitter_schedule(evaluations: Array, available: Array, *, chunk: Array | int = 1000) -> Array:
    """Whether to exploit: odd chunks of the budget belong to emitters, if there are any; the rest explores.

    `floor(evaluations / chunk) odd and available`. Shapes: int `[...]`, bool `[...]` (whether an emitter could run) ->
    bool `[...]`.

    >>> emitter_schedule(jnp.array([0, 1500, 2500]), True).tolist()
    [False, True, False]

    Raises:
      ValueError: for a chunk that is not positive.

    Source: Paolo et al., "Sparse Reward Exploration via Novelty Search and Emitters" (2021).
    """
    check.positive("chunk", chunk)
    return (jnp.asarray(evaluations) // chunk % 2 == 1) & jnp.asarray(available)
