"""Values as progress: frames of an episode in order of how far the task has come, judged without any label."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.policy import awr_weights, rank_correlation
from rlx.types import Array, PyTree


def value_order_correlation(value: Array, mask: Array | None = None) -> Array:
    """How far values rise with time: Spearman's rank correlation of the two, 1 for an episode that only makes progress.

    Shapes: `[T, ...]`, bool `[T, ...]` (valid steps) -> `[...]` in [-1, 1]; 0 for constant values and for fewer than
    two steps. Nothing is differentiated. It tells of the order alone: values that rise may be wrong by any amount.

    Usual mistake: a model that sees frames in their order, or with their times, which rises on failures as well.

    >>> value_order_correlation(jnp.array([[0.0, 3.0, 5.0], [0.2, 2.0, 5.0], [0.9, 1.0, 5.0]])).tolist()
    [1.0, -1.0, 0.0]

    Raises:
      ValueError: for a scalar, or a mask of another shape.

    Source: Ma et al., "Vision Language Models are In-Context Value Learners" (2024).
    """
    check.require(jnp.ndim(value) >= 1, "value", jnp.shape(value), "of shape [T, ...]")
    value = jnp.moveaxis(jnp.asarray(value), 0, -1)
    if mask is not None:
        check.require(jnp.ndim(mask) >= 1, "mask", jnp.shape(mask), "of shape [T, ...]")
        mask = jnp.moveaxis(jnp.asarray(mask), 0, -1)
    return rank_correlation(value, jnp.broadcast_to(jnp.arange(value.shape[-1]), value.shape), mask)


def shuffled_progress_batch(
    key: Array, frames: PyTree, length: Array | int | None = None
) -> tuple[PyTree, Array, Array]:
    """Frames of an episode in random order but for the first, and how far each had come: what a judge is asked.

    The judge has to find out from what it sees; the first frame stays in front and says where the episode began.

    Shapes: key, leaves `[T, ...]`, int `[]` of valid frames (None: all) -> leaves `[T, ...]`, int `[T]` their times,
    `[T]` progress `t / (length - 1)`. Frames that are not valid stay at the end, with progress 1.

    Usual mistake: one order for an episode; the mean of a few is much less noisy.

    >>> frames, order, progress = shuffled_progress_batch(jax.random.key(0), jnp.array([10, 11, 12, 13]), 3)
    >>> bool(jnp.all(frames == 10 + order)), int(order[0]), int(order[3]), float(progress[0])
    (True, 0, 3, 0.0)

    Raises:
      ValueError: for leaves of different length, no frame, or a length outside [1, T].

    Source: Ma et al., "Vision Language Models are In-Context Value Learners" (2024), with percentages.
    """
    sizes = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in jax.tree.leaves(frames)}
    check.require(len(sizes) == 1 and min(sizes) > 0, "the lengths of frames", sorted(sizes), "one number above 0")
    size = sizes.pop()
    length = size if length is None else length
    check.in_range("length", length, 1, size)
    time = jnp.arange(size)
    draw = jax.random.uniform(key, (size,))  # in [0, 1): valid frames come between the first and the padding
    order = jnp.argsort(jnp.where(time == 0, -1.0, jnp.where(time < length, draw, 1.0 + time)))
    progress = jnp.minimum(order / jnp.maximum(jnp.asarray(length) - 1, 1), 1.0)
    return jax.tree.map(lambda x: jnp.asarray(x)[order], frames), order, progress


def progress_weights(
    value: Array,
    inverse_temperature: Array | float,
    span: int,
    mask: Array | None = None,
    *,
    max_weight: float = 100.0,
) -> Array:
    """Weights of logged steps by the progress that follows: advantage-weighted regression on the gain of value.

        min(exp(inverse_temperature (v_{t + span} - v_t)), max_weight)

    Shapes: `[T, ...]`, bool `[T, ...]` (valid steps, a prefix) -> `[T, ...]`, 0 where not valid. Near the end the gain
    is that up to the last valid step. Stopped: all.

    Usual mistake: `span = 1`, where the noise of two values drowns the gain.

    >>> [round(float(w), 3) for w in progress_weights(jnp.array([0.0, 1.0, 0.0]), 1.0, 1)]
    [2.718, 0.368, 1.0]

    Raises:
      ValueError: for a scalar, a mask of another shape, `span < 1`, a negative `inverse_temperature` or
        `max_weight <= 0`.

    Source: Ma et al., "Vision Language Models are In-Context Value Learners" (2024); Peng et al., "Advantage-Weighted
    Regression: Simple and Scalable Off-Policy Reinforcement Learning" (2019).
    """
    check.require(jnp.ndim(value) >= 1, "value", jnp.shape(value), "of shape [T, ...]")
    check.count("span", span)
    value = jnp.asarray(value)
    mask = jnp.ones(value.shape, bool) if mask is None else jnp.asarray(mask, bool)
    check.same_shape(value=value, mask=mask)
    time = jnp.arange(value.shape[0]).reshape(-1, *(1,) * (value.ndim - 1))
    last = jnp.maximum(mask.sum(0) - 1, 0)
    later = jnp.take_along_axis(value, jnp.minimum(time + span, last), axis=0)
    gain = jnp.where(mask, later - value, 0)
    return jnp.where(mask, awr_weights(gain, inverse_temperature, max_weight), 0)
