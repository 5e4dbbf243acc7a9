"""What a solution did, as a vector: encodings of what it saw, and the signature of its path."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def autoencoder_descriptor(encoding: Array, reconstruction: Array, observation: Array) -> tuple[Array, Array]:
    """A descriptor and a surprise from an autoencoder of observations: `(descriptor, surprise)`.

    The descriptor is the encodings of n frames of an episode in a row; `surprise = sum_frames mean (x - x')^2`, also
    the loss that the autoencoder is trained on.

    Shapes: `encoding [..., n, d]`, `reconstruction` and `observation [..., n, *frame]` with the same leading axes ->
    `[..., n d]`, `[...]`. Differentiated: `encoding` and `reconstruction`, not `observation`.

    Usual mistake: to keep the descriptors of an archive when the autoencoder has been trained further: the encodings of
    before and after do not compare, so store observations and encode them anew.

    >>> encoding, frames = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.ones((2, 3, 3))
    >>> descriptor, surprise = autoencoder_descriptor(encoding, jnp.zeros((2, 3, 3)), frames)
    >>> descriptor.tolist(), float(surprise)
    ([1.0, 2.0, 3.0, 4.0], 2.0)

    Raises:
      ValueError: if reconstruction and observation differ in shape, or the encodings have not their leading axes.

    Source: Paolo et al., "Unsupervised Learning and Exploration of Reachable Outcome Space" (2020).
    """
    check.same_shape(reconstruction=reconstruction, observation=observation)
    encoding, reconstruction = jnp.asarray(encoding), jnp.asarray(reconstruction)
    leading = encoding.shape[:-1]
    fits = len(leading) > 0 and reconstruction.shape[: len(leading)] == leading
    check.require(fits, "encoding", encoding.shape, "[..., n, d], its leading axes those of the observations")
    error = jnp.square(reconstruction - jax.lax.stop_gradient(jnp.asarray(observation)))
    surprise = jnp.mean(error.reshape(*leading, -1), axis=-1).sum(axis=-1)
    return encoding.reshape(*leading[:-1], -1), surprise


def path_signature(path: Array, *, order: int = 2) -> Array:
    """The signature of a path up to an order: its iterated integrals, as one vector of `d + d^2 + ... + d^order`.

    `S_ij.. = int dx_i (int dx_j (...))` over ordered times, exactly for the straight line between each two points: by
    Chen's identity a step `s` takes the levels `S_k` to `sum_j S_j (x) s^(k - j) / (k - j)!`. Level 1 is `x_T - x_0`;
    of level 2 the antisymmetric part is the signed area between the path and its chord.

    Shapes: `path [..., T, d]` -> `[..., d + d^2 + ...]`, levels one after the other, each in row-major order.
    Differentiated: `path`. It forgets the speed along the path: add time as a coordinate where that matters.

    >>> path_signature(jnp.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])).tolist()
    [1.0, 1.0, 0.5, 1.0, 0.0, 0.5]

    Raises:
      ValueError: for an order that is no positive integer, or a path without the two axes.

    Source: Chen, "Integration of Paths, Geometric Invariants and a Generalized Baker-Hausdorff Formula" (1957); as a
    descriptor: Paolo, "Learning in Sparse Rewards Settings through Quality-Diversity Algorithms" (2021).
    """
    check.count("order", order)
    path = jnp.asarray(path)
    check.require(path.ndim >= 2, "path", path.shape, "[..., T, d]")
    size = path.shape[-1]
    steps = jnp.moveaxis(jnp.diff(path, axis=-2), -2, 0)  # [T - 1, ..., d]

    def product(left: Array, right: Array) -> Array:
        return (left[..., :, None] * right[..., None, :]).reshape(*left.shape[:-1], -1)

    def extend(levels: list[Array], step: Array) -> tuple[list[Array], None]:
        powers = [step]
        for _ in range(order - 1):
            powers.append(product(powers[-1], step))
        scaled = [power / math.factorial(k) for k, power in enumerate(powers, 1)]
        grown = []
        for k, level in enumerate(levels):
            parts = [product(levels[j], scaled[k - j - 1]) for j in range(k)]
            grown.append(sum(parts, level + scaled[k]))
        return grown, None

    start = [jnp.zeros((*path.shape[:-2], size**k), path.dtype) for k in range(1, order + 1)]
    levels, _ = jax.lax.scan(extend, start, steps)
    return jnp.concatenate(levels, axis=-1)
