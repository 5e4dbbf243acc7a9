"""Running mean and variance that merge exactly, over batches and over devices."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rlx import check


class RunningMoments(NamedTuple):
    """Mean and (population) variance of the samples seen so far, each with the shape of one sample."""

    mean: jax.Array
    var: jax.Array
    count: jax.Array  # float32 []; grows up to 2^24 batches' worth, from where on the oldest samples slowly fade


def init_moments(shape: tuple[int, ...] = ()) -> RunningMoments:
    """Moments of no samples: mean 0, variance 1, so that `normalise` changes nothing.

    >>> init_moments((3,)).var.tolist()
    [1.0, 1.0, 1.0]
    """
    return RunningMoments(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()))


def merge_moments(a: RunningMoments, b: RunningMoments) -> RunningMoments:
    """Moments of the union of two disjoint sets of samples, exactly.

    With `w = n_b / (n_a + n_b)` and `delta = mean_b - mean_a`: `mean = mean_a + w delta`,
    `var = (1 - w) var_a + w var_b + w (1 - w) delta^2`. No squares of sums are subtracted and no sum grows with the
    stream, so float32 keeps its digits where the mean is far from zero and however many samples come. Where both are
    empty the result is `a`.

    Source: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances"
    (1979).

    >>> low, high = (update_moments(init_moments(), jnp.array(x)) for x in ([1.0, 2.0], [6.0]))
    >>> both = merge_moments(low, high)
    >>> float(both.mean), round(float(both.var), 4)
    (3.0, 4.6667)
    """
    count = a.count + b.count
    share = b.count / jnp.maximum(count, 1.0)
    delta = b.mean - a.mean
    var = a.var * (1.0 - share) + b.var * share + jnp.square(delta) * share * (1.0 - share)
    return RunningMoments(a.mean + delta * share, var, count)


def update_moments(
    moments: RunningMoments, batch: jax.Array, mask: jax.Array | None = None, *, axis_name: str | None = None
) -> RunningMoments:
    """Moments after the samples of `batch [..., *shape]` too; all leading axes are samples.

    With `axis_name` the batches of all shards along that mapped axis count as one: the result is what one device would
    get from all of them, and is the same on every shard. (The mean of the shards' variances would lack the spread of
    their means.) `mask [...]`, bool with the leading axes of `batch`, is true where a sample counts.

    Raises:
      ValueError: if the last axes of `batch` are not the moments' shape, or `mask` has not the shape of the others.

    >>> seen = update_moments(init_moments(), jnp.array([1.0, 2.0, 3.0, 4.0]))
    >>> float(seen.mean), float(seen.var)
    (2.5, 1.25)
    """
    rank = moments.mean.ndim
    check.require(
        batch.ndim >= rank and batch.shape[batch.ndim - rank :] == moments.mean.shape,
        "the last axes of batch",
        batch.shape,
        f"{moments.mean.shape}, the shape of the moments",
    )
    leading = batch.shape[: batch.ndim - rank]
    valid = jnp.ones(leading, bool) if mask is None else mask
    check.require(valid.shape == leading, "shape of mask", valid.shape, f"{leading}, the leading axes of batch")
    valid = valid.reshape(*leading, *(1,) * rank)

    def total(x: jax.Array) -> jax.Array:
        summed = jnp.sum(jnp.where(valid, x, 0.0), axis=tuple(range(len(leading))))
        return summed if axis_name is None else jax.lax.psum(summed, axis_name)

    count = total(jnp.ones(valid.shape)).reshape(())
    divisor = jnp.maximum(count, 1.0)
    deviation = batch.astype(jnp.float32) - moments.mean  # sums of small numbers where the mean is far from zero
    shift = total(deviation) / divisor
    var = total(jnp.square(deviation - shift)) / divisor
    return merge_moments(moments, RunningMoments(moments.mean + shift, var, count))


def normalise(x: jax.Array, moments: RunningMoments, clip: float = jnp.inf) -> jax.Array:
    """`(x - mean) / sqrt(var)`, clipped to `[-clip, clip]`; a component that never varied becomes nearly zero.

    No gradient stops here; the moments are data.

    >>> normalise(jnp.array([3.0]), RunningMoments(jnp.array([1.0]), jnp.array([4.0]), jnp.array(9.0))).tolist()
    [1.0]
    """
    return jnp.clip((x - moments.mean) * jax.lax.rsqrt(moments.var + 1e-8), -clip, clip)
