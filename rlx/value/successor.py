"""Successor measures in few dimensions: forward and backward features, tasks as vectors, and values of random rewards.

With `M(s, a, X)` the expected discounted time that a policy spends in X, counted from the *next* state on, the density
`M / rho` with respect to the log's distribution of next states is written as `F(s, a)^T B(s')`. The value of any reward
r of the next state is then `F(s, a)^T z`, `z = E_rho[r B]`: no learning for a new task.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array
from rlx.value.loss import implicit_max_loss, td_loss


def forward_backward_loss(
    forward: Array,
    backward: Array,
    target_forward: Array,
    target_backward: Array,
    discount: Array | float,
) -> Array:
    """Loss of the successor measure's density, `F(s, a)^T B(s')`, from steps alone, without any reward.

        l_b = sum_i 1/2 mean_{j != b} (M_ibj - discount_b M'_bj)^2 - M_ibb
        M_ibj = F_i(s_b, a_b)^T B(s'_j),   M'_bj = min_i F'_i(s'_b, a'_b)^T B'(s'_j),   a' of the policy

    Row b is a step, column j the next state of another one: states `s'_j` stand for draws from `rho`. Its minimum is
    where `E_rho`-weighted rows are `P + discount P_pi M`, counted from the next state on. In a policy for the task z,
    F and a' depend on z, B does not.

    Shapes: heads `[N, B, D]`, `[B, D]` (of *next* states), targets alike, discount scalar or `[B]` (0 where the step
    ended the episode) -> `[B]`. Differentiated: `forward`, `backward`.

    Usual mistakes: B of the states themselves, which counts the present as well; and `rho` forgotten: a state that is
    rare in the log has a large density, and rewards must be averaged over the log, `task_vector`, not summed.

    >>> one = jnp.ones((1, 2, 1))
    >>> forward_backward_loss(2 * one, one[0], one, one[0], 0.5).tolist()
    [-0.875, -0.875]

    Raises:
      ValueError: for shapes that do not fit, fewer than 2 steps, or a discount outside [0, 1].

    Source: Touati and Ollivier, "Learning One Representation to Optimize All Rewards" (2021); Sikchi et al., "RL Zero:
    Zero-Shot Language to Behaviors without any Supervision" (2024).
    """
    check.rank("forward", forward, 3)
    check.same_shape(forward=forward, target_forward=target_forward)
    check.same_shape(head_of_forward=forward[0], backward=backward, target_backward=target_backward)
    forward, backward = jnp.asarray(forward), jnp.asarray(backward)
    steps = _pairs(backward)
    check.in_range("discount", discount, 0.0, 1.0)
    check.require(
        jnp.shape(discount) in ((), (steps,)), "the shape of discount", jnp.shape(discount), f"() or ({steps},)"
    )
    discount = jnp.asarray(discount, forward.dtype)
    target = jax.lax.stop_gradient(jnp.min(jnp.asarray(target_forward) @ jnp.asarray(target_backward).T, axis=0))
    measure = forward @ backward.T  # [N, B, B]
    error = td_loss(measure, jnp.broadcast_to(jnp.reshape(discount, (-1, 1)) * target, measure.shape))
    others = ~jnp.eye(steps, dtype=bool)
    each = jnp.sum(jnp.where(others, error, 0), axis=-1) / (steps - 1) - jnp.diagonal(measure, axis1=-2, axis2=-1)
    return each.sum(0)


def orthonormality_loss(features: Array) -> Array:
    """Draws the second moment of features to the identity: `E[B B^T] = I`.

        l_b = mean_{j != b} (B_b^T B_j)^2 - 2 |B_b|^2,   in the mean |E[B B^T] - I|^2 - D

    Without it, F and B can be exchanged for `F A` and `B A^-T` for any A.

    Shapes: `[B, D]`, at least 2 rows -> `[B]`. Differentiated: all.

    Usual mistake: the diagonal left in the mean of squares, which shrinks long features.

    >>> orthonormality_loss(jnp.array([[1.0, 0.0], [0.0, 1.0]])).tolist()
    [-2.0, -2.0]

    Raises:
      ValueError: unless features are `[B, D]` with B at least 2.

    Source: Touati, Rapin and Ollivier, "Does Zero-Shot Reinforcement Learning Exist?" (2023).
    """
    check.rank("features", features, 2)
    features = jnp.asarray(features)
    rows = _pairs(features)
    product = features @ features.T
    others = ~jnp.eye(rows, dtype=bool)
    return jnp.sum(jnp.where(others, jnp.square(product), 0), axis=-1) / (rows - 1) - 2 * jnp.diagonal(product)


def task_vector(
    features: Array,
    reward: Array | None = None,
    weight: Array | None = None,
    *,
    regression: bool = False,
    radius: Array | float | None = None,
) -> Array:
    """The vector of a task, from what the features of some states say.

        mean:        z = sum_n w_n r_n B(s_n) / sum_n w_n                forward-backward features
        regression:  z = argmin_z sum_n w_n (phi_n^T z - r_n)^2          directions, successor features

    By the mean: states of the log with their rewards; without `reward` (ones), a goal (N = 1), or states of an expert,
    which is imitation: the mean is that of the reward `rho_E / rho`, whose best policy visits what the expert visits.
    By regression: `phi` less its mean, or `phi(s') - phi(s)` of steps; for a goal in a Hilbert space the mean of
    `phi(g) - phi(s)` with `radius = 1`, again in each state. Where features are dependent it is the shortest such z.

    Shapes: `[..., N, D]`, `[..., N]`, `[..., N]` (ones) -> `[..., D]`, of length `radius` if given; zeros stay zeros.
    Nothing is differentiated.

    Usual mistakes: another length than the policy was trained with (often `sqrt(D)`); states in another distribution
    than the one F and B were learned with, which calls for weights.

    >>> features = jnp.array([[1.0, 0.0], [0.0, 2.0]])
    >>> task_vector(features, jnp.array([0.0, 4.0])).tolist()
    [0.0, 4.0]
    >>> [round(float(z), 5) for z in task_vector(features, jnp.array([0.0, 4.0]), regression=True, radius=1.0)]
    [0.0, 1.0]

    Raises:
      ValueError: for shapes that do not fit, no state, negative weights, regression without rewards, or a `radius` that
        is not positive.

    Source: Touati and Ollivier, "Learning One Representation to Optimize All Rewards" (2021); Pirotta et al., "Fast
    Imitation via Behavior Foundation Models" (2024); Park et al., "Foundation Policies with Hilbert Representations"
    (2024).
    """
    shape = jnp.shape(features)
    check.require(len(shape) >= 2 and shape[-2] > 0, "the shape of features", shape, "[..., N, D] with N > 0")
    check.require(not (regression and reward is None), "reward", reward, "given, for regression")
    features = jax.lax.stop_gradient(jnp.asarray(features))
    reward, weight = (
        jnp.ones(shape[:-1], features.dtype) if x is None else jax.lax.stop_gradient(jnp.asarray(x, features.dtype))
        for x in (reward, weight)
    )
    check.same_shape(states_of_features=features[..., 0], reward=reward, weight=weight)
    check.in_range("weight", weight, 0.0)
    if regression:
        root = jnp.sqrt(weight).astype(jnp.promote_types(features.dtype, jnp.float32))
        task = (jnp.linalg.pinv(root[..., None] * features) @ (root * reward)[..., None])[..., 0].astype(features.dtype)
    else:
        total = weight.sum(-1, keepdims=True)
        share = weight / jnp.where(total > 0, total, 1)
        task = jnp.sum((share * reward)[..., None] * features, axis=-2)
    if radius is None:
        return task
    check.positive("radius", radius)
    length = jnp.linalg.norm(task, axis=-1, keepdims=True)
    return jax.lax.stop_gradient(radius * task / jnp.where(length > 0, length, 1)).astype(features.dtype)


def project_nearest(embedding: Array, data: Array) -> Array:
    """The row of the data that looks most like each given one, by the cosine; the first of them on a tie.

    Shapes: `[T, E]`, `[M, E]` -> int `[T]`. The way from imagined frames to states that can be visited: the task is
    then `task_vector(backward[rows])`.

    Usual mistake: embeddings with a large common part, under which all cosines are near 1: take their mean off first.

    >>> project_nearest(jnp.array([[2.0, 0.1], [0.0, -1.0]]), jnp.array([[0.0, -3.0], [1.0, 0.0]])).tolist()
    [1, 0]

    Raises:
      ValueError: for ranks other than 2, widths that differ, or no data.

    Source: Sikchi et al., "RL Zero: Zero-Shot Language to Behaviors without any Supervision" (2024).
    """
    check.rank("embedding", embedding, 2)
    check.rank("data", data, 2)
    shape = jnp.shape(data)
    fits = shape[0] > 0 and shape[1] == jnp.shape(embedding)[1]
    check.require(fits, "the shape of data", shape, f"[M, {jnp.shape(embedding)[1]}] with M > 0")
    data = jnp.asarray(data)
    length = jnp.linalg.norm(data, axis=-1)
    return jnp.argmax(jnp.asarray(embedding) @ (data / jnp.where(length > 0, length, 1)[:, None]).T, axis=-1)


def proto_value_loss(
    value: Array, next_value: Array, indicator: Array, discount: Array | float, next_prob: Array | None = None
) -> Array:
    """Loss of the values of many rewards at once under one policy: expected SARSA for each, half the squared error.

        1/2 (r_k + discount sum_a pi(a|s') Q_k(s', a) - Q_k(s, a))^2

    Values of random indicators (`random_indicator`) under the uniform policy are the tasks by which proto-value
    networks learn features; with as many of them as states it is the successor measure.

    Shapes: `[..., K]`, `[..., K, A]` (of a target network), `[..., K]`, discount scalar or `[..., K]`, probabilities
    `[..., A]` (None: uniform) -> `[..., K]`. Differentiated: `value`.

    Usual mistake: the maximum over actions, under which each of thousands of tasks has a policy of its own, and values
    of actions that none of them takes are never right.

    >>> proto_value_loss(jnp.array([1.0]), jnp.array([[0.0, 4.0]]), jnp.array([1.0]), 0.5).tolist()
    [0.5]

    Raises:
      ValueError: for shapes that do not fit.

    Source: Farebrother et al., "Proto-Value Networks: Scaling Representation Learning with Auxiliary Tasks" (2023).
    """
    next_value = jnp.asarray(next_value)
    check.require(next_value.ndim >= 2, "next_value", next_value.shape, "of shape [..., K, A]")
    if next_prob is None:
        expected = next_value.mean(-1)
    else:
        wanted = (*next_value.shape[:-2], next_value.shape[-1])
        check.require(jnp.shape(next_prob) == wanted, "the shape of next_prob", jnp.shape(next_prob), f"{wanted}")
        expected = jnp.sum(jnp.asarray(next_prob)[..., None, :] * next_value, axis=-1)
    check.same_shape(value=value, indicator=indicator, expected_next_value=expected)
    return td_loss(value, indicator + discount * expected)


def random_indicator(score: Array, bias: Array) -> Array:
    """Random rewards: 1 where a random function of the state is above a threshold, `1[g_k(s) + b_k > 0]`.

    Shapes: `[..., K]` of a network that is never trained, `[K]` -> `[..., K]` of 0 and 1. Nothing is differentiated.

    Usual mistake: values learned before the thresholds have settled (`indicator_bias_loss`).

    >>> random_indicator(jnp.array([[0.5, -2.0]]), jnp.array([-1.0, 3.0])).tolist()
    [[0.0, 1.0]]

    Raises:
      ValueError: for another number of biases than of scores.

    Source: Farebrother et al., "Proto-Value Networks: Scaling Representation Learning with Auxiliary Tasks" (2023).
    """
    score = _scored(score, bias)
    return (score + jnp.asarray(bias) > 0).astype(score.dtype)


def indicator_bias_loss(score: Array, bias: Array, share: Array | float) -> Array:
    """Loss whose minimum is where each random reward is 1 in a given share of states.

        u (1 - share - 1[u < 0]),   u = g_k(s) + b_k

    the pinball loss at 1 - share, so that -b is that quantile of g.

    Shapes: `[..., K]`, `[K]`, share of states -> `[..., K]`. Differentiated: `bias`.

    Usual mistake: the level `share`, by which all but that share of states are paid.

    >>> indicator_bias_loss(jnp.array([[0.5], [-2.0]]), jnp.array([-1.0]), 0.25).tolist()
    [[0.125], [0.75]]

    Raises:
      ValueError: for another number of biases than of scores, or a share outside (0, 1).

    Source: Farebrother et al., "Proto-Value Networks: Scaling Representation Learning with Auxiliary Tasks" (2023).
    """
    check.in_range("share", share, 0.0, 1.0, open_low=True, open_high=True)
    return implicit_max_loss(_scored(score, bias) + jnp.asarray(bias), "pinball", 1.0 - jnp.asarray(share))


def _pairs(features: Array) -> int:
    """The number of rows, of which there must be another one for each."""
    check.require(features.shape[0] >= 2, "the number of rows", features.shape[0], "at least 2")
    return features.shape[0]


def _scored(score: Array, bias: Array) -> Array:
    wanted = jnp.shape(score)[-1:]
    check.require(
        len(wanted) == 1 and jnp.shape(bias) == wanted, "the shape of bias", jnp.shape(bias), f"[K] = {wanted}"
    )
    return jax.lax.stop_gradient(jnp.asarray(score))
