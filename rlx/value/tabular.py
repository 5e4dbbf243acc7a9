"""Exact answers for finite decision processes: what learners and other kernels are measured against.

`transition` is `P[s, a, s']`, `reward` `R[s, a]` (evaluation also takes channels, `[S, A, K]`), `policy` `pi[s, a]`.
`discount` is a scalar or `[S, A]`, zero where the step ends the episode, so that undiscounted episodic problems are
exact too. Everything is NumPy in float64 on the host: oracles, not for use under `jit`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlx import check

Matrix = NDArray[np.float64]


def value_iteration(
    transition: ArrayLike,
    reward: ArrayLike,
    discount: ArrayLike,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 100_000,
) -> tuple[Matrix, Matrix]:
    """Optimal values `(v [S], q [S, A])`, by value iteration.

    `q <- R + discount P max_a q` until no value changes by more than `tolerance`. The error is then at most
    `tolerance gamma / (1 - gamma)` for a constant discount gamma.

    >>> v, q = value_iteration([[[1.0], [1.0]]], [[0.0, 1.0]], 0.5)
    >>> v.round(6).tolist()
    [2.0]

    Raises:
      ValueError: for shapes that do not fit, or probabilities that do not sum to 1.
      RuntimeError: without convergence in `max_iterations` (a discount of 1 without an end).

    Source: Bellman, "Dynamic Programming" (1957).
    """
    return _iterate(transition, reward, discount, lambda q: q.max(-1), tolerance, max_iterations)


def soft_value_iteration(
    transition: ArrayLike,
    reward: ArrayLike,
    discount: ArrayLike,
    temperature: float,
    log_base: ArrayLike = 0.0,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 100_000,
) -> tuple[Matrix, Matrix]:
    """Values `(v [S], q [S, A])` of the best policy that pays `temperature KL(pi || base)` in every state.

    Value iteration with `temperature log sum_a base exp(q / temperature)` for the maximum; the policy is
    `base exp((q - v) / temperature)`. `log_base = 0` (not normalised) gives maximum entropy.

    >>> v, q = soft_value_iteration([[[1.0], [1.0]]], [[0.0, 0.0]], 0.5, temperature=1.0)
    >>> v.round(6).tolist()  # log 2 / (1 - 0.5)
    [1.386294]

    Raises:
      ValueError: for shapes that do not fit, probabilities that do not sum to 1, or a temperature that is not positive.
      RuntimeError: without convergence in `max_iterations`.

    Source: Haarnoja et al., "Reinforcement Learning with Deep Energy-Based Policies" (2017).
    """
    check.positive("temperature", temperature)
    log_base = np.asarray(log_base, np.float64)

    def soft_max(q: Matrix) -> Matrix:
        return temperature * np.logaddexp.reduce(q / temperature + log_base, axis=-1)

    return _iterate(transition, reward, discount, soft_max, tolerance, max_iterations)


def policy_evaluation(
    transition: ArrayLike, reward: ArrayLike, discount: ArrayLike, policy: ArrayLike
) -> tuple[Matrix, Matrix]:
    """Values `(v [S], q [S, A])` of a policy, exactly; with channels `(v [S, K], q [S, A, K])`.

    `v` solves `(I - P_pi discount) v = R_pi`, and `q = R + discount P v`.

    >>> v, q = policy_evaluation([[[1.0], [1.0]]], [[0.0, 1.0]], 0.5, [[0.5, 0.5]])
    >>> v.tolist()
    [1.0]

    Raises:
      ValueError: for shapes that do not fit, or probabilities that do not sum to 1.

    Source: Sutton and Barto, "Reinforcement Learning: An Introduction" (2018), chapter 4.
    """
    step, policy = discounted_transition(transition, discount), _distribution("policy", policy)
    reward = np.asarray(reward, np.float64)
    check.require(
        reward.shape[:2] == policy.shape, "the shape of reward", reward.shape, f"[S, A] = {policy.shape} or [S, A, K]"
    )
    v = successor_measure(transition, discount, policy) @ np.einsum("sa,sa...->s...", policy, reward)
    return v, reward + np.einsum("sat,t...->sa...", step, v)


def successor_measure(transition: ArrayLike, discount: ArrayLike, policy: ArrayLike) -> Matrix:
    """Expected discounted visits `M[s, s']` to s' from s under a policy: `(I - P_pi discount)^-1`.

    The start counts, so `M[s, s] >= 1`, and rows sum to `1 / (1 - discount)` for a constant discount.

    >>> successor_measure([[[0.0, 1.0]], [[0.0, 1.0]]], 0.5, [[1.0], [1.0]]).tolist()
    [[1.0, 1.0], [0.0, 2.0]]

    Raises:
      ValueError: for shapes that do not fit, or probabilities that do not sum to 1.

    Source: Dayan, "Improving Generalization for Temporal Difference Learning: The Successor Representation" (1993).
    """
    step, policy = discounted_transition(transition, discount), _distribution("policy", policy)
    check.require(policy.shape == step.shape[:2], "the shape of policy", policy.shape, f"[S, A] = {step.shape[:2]}")
    return np.linalg.inv(np.eye(len(step)) - np.einsum("sa,sat->st", policy, step))


def occupancy(transition: ArrayLike, discount: ArrayLike, policy: ArrayLike, initial: ArrayLike) -> Matrix:
    """Expected discounted visits `d[s, a]` from an initial distribution `[S]`: the policy's return is `sum d R`.

    Not normalised: it sums to `1 / (1 - discount)` for a constant discount; multiply by `1 - discount` for a
    distribution.

    >>> occupancy([[[0.0, 1.0]], [[0.0, 1.0]]], 0.5, [[1.0], [1.0]], [1.0, 0.0]).tolist()
    [[1.0], [1.0]]

    Raises:
      ValueError: for shapes that do not fit, or probabilities that do not sum to 1.

    Source: Puterman, "Markov Decision Processes: Discrete Stochastic Dynamic Programming" (1994), section 6.9.
    """
    policy, initial = _distribution("policy", policy), _distribution("initial", initial)
    return (initial @ successor_measure(transition, discount, policy))[:, None] * policy


def step_distances(transition: ArrayLike) -> Matrix:
    """Fewest steps from each state to each other one that could be taken by luck and choice together, `[S, S]`.

    Breadth first, over all that has a probability above 0; infinite where there is no way. Where dynamics are
    deterministic, the best goal-conditioned value is `-(1 - gamma^d) / (1 - gamma)`.

    >>> step_distances([[[0.0, 1.0]], [[0.0, 1.0]]]).tolist()
    [[0.0, 1.0], [inf, 0.0]]

    Raises:
      ValueError: for shapes that do not fit, or probabilities that do not sum to 1.

    Source: Moore, "The Shortest Path through a Maze" (1959).
    """
    step = discounted_transition(transition, 1.0).max(1) > 0
    distance = np.where(np.eye(len(step), dtype=bool), 0.0, np.inf)
    frontier, steps = np.eye(len(step), dtype=bool), 0
    while frontier.any():
        steps += 1
        frontier = (frontier.astype(np.float32) @ step > 0) & np.isinf(distance)
        distance[frontier] = steps
    return distance


def _iterate(transition, reward, discount, backup, tolerance, max_iterations) -> tuple[Matrix, Matrix]:
    step, reward = discounted_transition(transition, discount), np.asarray(reward, np.float64)
    check.require(reward.shape == step.shape[:2], "the shape of reward", reward.shape, f"[S, A] = {step.shape[:2]}")
    check.positive("tolerance", tolerance)
    check.count("max_iterations", max_iterations)
    v = backup(reward)
    for _ in range(max_iterations):
        previous, v = v, backup(reward + step @ v)
        if np.abs(v - previous).max() <= tolerance:
            return v, reward + step @ v
    raise RuntimeError(f"no convergence to tolerance {tolerance} within max_iterations = {max_iterations}")


def discounted_transition(transition: ArrayLike, discount: ArrayLike) -> Matrix:
    """`P[s, a, s'] discount[s, a]`."""
    transition, discount = _distribution("transition", transition), np.asarray(discount, np.float64)
    shape = transition.shape
    check.require(len(shape) == 3 and shape[0] == shape[2], "the shape of transition", shape, "[S, A, S]")
    check.require(
        discount.shape in ((), shape[:2]), "the shape of discount", discount.shape, f"() or [S, A] = {shape[:2]}"
    )
    check.in_range("discount", discount, 0.0, 1.0)
    return transition * discount[..., None] if discount.ndim else transition * discount


def _distribution(name: str, probs: ArrayLike) -> Matrix:
    probs = np.asarray(probs, np.float64)
    sums = probs.sum(-1)
    if probs.min() < 0 or np.abs(sums - 1).max() > 1e-5:
        raise ValueError(f"{name} must hold probabilities that sum to 1 over its last axis; its sums are {sums}")
    return probs
