"""Population-based training: who takes over from whom, and how what was taken over is varied."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def population_step(key: Array, better: Array, hyper: Array, factor: Array | float = 1.2) -> tuple[Array, Array]:
    """Each member that others improve on takes over one of these at random, its hyper-parameters a little changed.

        source_p = a random j of better[p, j], or p where there is none
        hyper_p  = hyper_source * (factor or 1 / factor, at random for each number), or as it was

    Shapes: key, bool `[P, P]` (whether j improves on p), `[P, ...]` -> int `[P]`, `[P, ...]`. Differentiated: nothing.
    All take over from the population as it was before: `jax.tree.map(lambda x: x[source], learned)`.

    For a fitness that is a number `better` is `fitness > fitness[:, None]`, for vectors that are compared as a whole
    `rlx.pareto.dominates(scores, scores[:, None])`, with percentiles of `rlx.reward.normalised_percentiles` as the
    source has it. A tournament, in which each meets one other, is `better` with one allowed column in each row; where
    only the best are copied it has their columns alone.

    Usual mistakes: optimiser and statistics left behind when parameters are copied; numbers that leave their range
    after many steps; and a fitness of the last few episodes, by which the luckiest are copied.

    >>> fitness = jnp.array([3.0, 1.0, 2.0])
    >>> source, hyper = population_step(jax.random.key(0), fitness > fitness[:, None], jnp.array([1.0, 5.0, 7.0]), 2.0)
    >>> int(source[0]), int(source[2]), float(hyper[0]), float(hyper[2]) in (0.5, 2.0)
    (0, 0, 1.0, True)

    Raises:
      ValueError: for shapes that do not fit, or a factor that is not positive.

    Source: Jaderberg et al., "Population Based Training of Neural Networks" (2017); Open Ended Learning Team,
    "Open-Ended Learning Leads to Generally Capable Agents" (2021) for members that improve in every percentile.
    """
    check.rank("better", better, 2)
    size = jnp.shape(better)[0]
    check.require(jnp.shape(better) == (size, size), "the shape of better", jnp.shape(better), "square")
    shape = jnp.shape(hyper)
    check.require(shape[:1] == (size,), "the shape of hyper", shape, f"({size}, ...), one row for each member")
    check.positive("factor", factor)
    hyper = jnp.asarray(hyper)
    source_key, change_key = jax.random.split(key)
    order = jnp.where(jnp.asarray(better), jax.random.uniform(source_key, (size, size)), -1.0)
    copies = jnp.any(better, axis=1)
    source = jnp.where(copies, jnp.argmax(order, axis=1), jnp.arange(size))
    change = jnp.where(jax.random.bernoulli(change_key, 0.5, shape), factor, 1 / factor).astype(hyper.dtype)
    return source, jnp.where(copies.reshape(-1, *[1] * (len(shape) - 1)), hyper[source] * change, hyper)
