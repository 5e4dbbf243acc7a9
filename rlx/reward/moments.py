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
    count: jax.Array  # float32 []; stops growing when a batch is less than 2^-24 of it, and the moments then stay put


def init_moments(shape: tuple[int, ...] = ()) -> RunningMoments:
    """Moments of no samples: mean 0, variance 1, so that `normalise` changes nothing.

    >>> init_moments((3,)).var.tolist()
    [1.0, 1.0, 1.0]
    """
    return RunningMoments(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()))


def merge_moments(a: RunningMoments, b: RunningMoments) -> RunningMoments:
    """Moments of the union of two disjoint sets of samples, exactly.

    With `n = n_a + n_b` and `delta = mean_b - mean_a`: `mean = mean_a + delta n_b / n`,
    `n var = n_a var_a + n_b var_b + delta^2 n_a n_b / n`. No squares of sums are subtracted, so float32 keeps its
    digits where the mean is far from zero. Where both are empty the result is `a`.

    Source: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979.

    >>> low, high = (update_moments(init_moments(), jnp.array(x)) for x in ([1.0, 2.0], [6.0]))
    >>> both = merge_moments(low, high)
    >>> float(both.mean), round(float(both.var), 4)
    (3.0, 4.6667)
    """
    count = a.count + b.count
    share = b.count / jnp.maximum(count, 1.0)
    delta = b.mean - a.mean
    mean = a.mean + delta * share
    var = a.var * (1.0 - share) + b.var * share + jnp.square(delta) * share * (1.0 - share)
    empty = count == 0
    return RunningMoments(jnp.where(empty, a.mean, mean), jnp.where(empty, a.var, var), count)


def update_moments(
    moments: RunningMoments, batch: jax.Array, mask: jax.Array | None = None, *, axis_name: str | None = None
) -> RunningMoments:
    """Moments after the samples of `batch [..., *shape]` too; all leading axes are samples.

    With `axis_name` the batches of all shards along that mapped axis count as one: the result is what one device would
    get from all of them, and is the same on every shard. `mask [...]` is true where a sample counts.

    Raises:
      ValueError: if the last axes of `batch` are not the moments' shape.

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
    x = batch.reshape(-1, *moments.mean.shape)
    weight = jnp.ones(x.shape[0]) if mask is None else jnp.broadcast_to(mask, leading).reshape(-1).astype(jnp.float32)
    weight = weight.reshape(-1, *(1,) * rank)

    def total(v: jax.Array) -> jax.Array:
        summed = jnp.sum(v, axis=0)
        return summed if axis_name is None else jax.lax.psum(summed, axis_name)

    count = total(weight).reshape(())
    divisor = jnp.maximum(count, 1.0)
    mean = total(x * weight) / divisor
    var = total(jnp.square(x - mean) * weight) / divisor  # a second pass over the batch: no cancellation
    return merge_moments(moments, RunningMoments(mean, var, count))


def normalise(x: jax.Array, moments: RunningMoments, clip: float = jnp.inf) -> jax.Array:
    """`(x - mean) / sqrt(var)`, clipped to `[-clip, clip]`; a component that never varied becomes nearly zero.

    No gradient stops here; the moments are data.

    >>> normalise(jnp.array([3.0]), RunningMoments(jnp.array([1.0]), jnp.array([4.0]), jnp.array(9.0))).tolist()
    [1.0]
    """
    return jnp.clip((x - moments.mean) * jax.lax.rsqrt(moments.var + 1e-8), -clip, clip)
