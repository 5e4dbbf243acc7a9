"""A state as something known plus a difference: inputs that stay in distribution where the state itself does not."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def nearest_anchor(state: Array, data: Array) -> tuple[Array, Array]:
    """The state of the data that is nearest to each state, and the difference from it: `state = anchor + delta`.

        anchor = argmin_{x in data} |state - x|^2,   delta = state - anchor

    Both are of a kind that the data holds, differences too if they are taken between states of the data in training.
    Distances are Euclidean: bring the dimensions to one scale before.

    Shapes: `state` `[..., D]`, `data` `[M, D]` -> two times `[..., D]`. Differentiated: `state`, through `delta` alone.

    Usual mistake: another anchor for the next state of the same update, so that a target jumps with the choice.

    >>> anchor, delta = nearest_anchor(jnp.array([2.0, 1.0]), jnp.array([[0.0, 0.0], [2.0, 0.0]]))
    >>> anchor.tolist(), delta.tolist()
    ([2.0, 0.0], [0.0, 1.0])

    Raises:
      ValueError: for data that is empty, not of rank 2, or of another dimension than the states.

    Source: after Song et al., "Compositional Conservatism: A Transductive Approach in Offline Reinforcement Learning"
    (2024), where a learned policy walks to the anchor.
    """
    state, data = jnp.asarray(state), jax.lax.stop_gradient(jnp.asarray(data))
    fits = data.ndim == 2 and len(data) > 0 and data.shape[1:] == state.shape[-1:]
    check.require(fits, "the shape of data", data.shape, f"[M, D] with M > 0 and D = {state.shape[-1:]}")
    square = jnp.sum(jnp.square(state[..., None, :] - data), -1)
    anchor = data[jnp.argmin(square, axis=-1)]
    return anchor, state - anchor


def transductive_features(delta: Array, anchor: Array) -> Array:
    """Features that are bilinear in embeddings of a difference and of its anchor.

        h_m = sum_e f_me(delta) g_me(anchor)

    A function of this form that is known for some pairs is known for new pairs of the same differences and anchors, as
    a matrix of low rank is from some of its entries. A network on both inputs side by side does not have to be. Where
    the target is not of low rank, the form costs accuracy instead.

    Shapes: `delta`, `anchor` `[..., M, E]`, the embeddings `f(delta)` and `g(anchor)` -> `[..., M]`. Differentiated:
    both; stop the state of which the anchor was made.

    >>> transductive_features(jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 0.5]])).tolist()
    [4.0]

    Raises:
      ValueError: for shapes that differ, or a rank below 2.

    Source: Netanyahu et al., "Learning to Extrapolate: A Transductive Approach" (2023); Song et al., "Compositional
    Conservatism: A Transductive Approach in Offline Reinforcement Learning" (2024).
    """
    check.same_shape(delta=delta, anchor=anchor)
    check.require(jnp.ndim(delta) >= 2, "the shape of delta", jnp.shape(delta), "[..., M, E]")
    return jnp.sum(jnp.asarray(delta) * anchor, axis=-1)
