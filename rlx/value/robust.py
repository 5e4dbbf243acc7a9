"""Policies that are good in the worst of several models of the world; exact, for finite ones.

As in `rlx.value.tabular`, everything is NumPy in float64 on the host. M models share states and actions: `transition`
is `[M, S, A, S]`, `reward` `[M, S, A]` or `[S, A]`, and `discount` as there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rlx import check
from rlx.value.tabular import Matrix, discounted_transition, policy_evaluation, value_iteration


class StaticRobust(NamedTuple):
    """What `iwocs` found: a policy, and between which bounds its worst return and the best possible one lie."""

    policy: Matrix  # [S, A], deterministic
    worst: float  # the policy's return from the start in the model that is worst for it
    bound: float  # no deterministic policy's worst return from the start is above this
    models: tuple[int, ...]  # those added, in order, the first one included
    q: Matrix  # [S, A], the minimum over those models
    converged: bool  # whether `bound - worst` is within the tolerance


def robust_value_iteration(
    transition: ArrayLike,
    reward: ArrayLike,
    discount: ArrayLike,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 100_000,
) -> tuple[Matrix, Matrix]:
    """Values `(v [S], q [S, A])` of the best policy against a model that is chosen anew, the worst, in every step.

        q <- min_m (R_m + discount P_m max_a q)

    This is the optimum of the rectangular set that the models span, in which the adversary may change model between
    states; for one model that stays the same it is a lower bound. With one model it is value iteration.

    >>> left, right = [[[1.0, 0.0]], [[1.0, 0.0]]], [[[0.0, 1.0]], [[0.0, 1.0]]]
    >>> v, q = robust_value_iteration([left, right], [[0.0], [2.0]], 0.5)
    >>> v.round(6).tolist()
    [0.0, 2.0]

    Raises:
      ValueError: for shapes that do not fit, or probabilities that do not sum to 1.
      RuntimeError: without convergence in `max_iterations`.

    Source: Iyengar, "Robust Dynamic Programming" (2005); Nilim and El Ghaoui, "Robust Control of Markov Decision
    Processes with Uncertain Transition Matrices" (2005).
    """
    transition, reward = _models(transition, reward)
    check.positive("tolerance", tolerance)
    check.count("max_iterations", max_iterations)
    step = np.stack([discounted_transition(P, discount) for P in transition])
    q = reward.min(0)
    for _ in range(max_iterations):
        previous, q = q, (reward + step @ q.max(-1)).min(0)
        if np.abs(q - previous).max() <= tolerance:
            return q.max(-1), q
    raise RuntimeError(f"no convergence to tolerance {tolerance} within max_iterations = {max_iterations}")


def iwocs(
    transition: ArrayLike,
    reward: ArrayLike,
    discount: ArrayLike,
    start: int,
    *,
    first: int = 0,
    tolerance: float = 1e-6,
) -> StaticRobust:
    """The best policy against one model that stays the same, by adding the worst model for the policy, one at a time.

        Q_i = min_{j <= i} Q*_{m_j},   pi_i = argmax_a Q_i,   m_{i+1} = argmin_m V_m^{pi_i}(start)

    It stops when `max_a Q_i(start, a) - V_{m_{i+1}}^{pi_i}(start)` is within the tolerance, or when the worst model is
    one that it has: then `converged` is false and the difference bounds what is missing. That bound, of all
    deterministic policies, holds for a single start state: over a distribution of them the minimum is taken of each
    state apart, which the one model cannot do, and the rule would stop at a policy that is not the best.

    Each added model costs one ordinary control problem and one evaluation in every model. `q` never increases, and
    stays above that of `robust_value_iteration`.

    >>> left, right = [[[1.0, 0.0]] * 2, [[1.0, 0.0]] * 2], [[[0.0, 1.0]] * 2, [[0.0, 1.0]] * 2]
    >>> found = iwocs([left, right], [[0.0, 0.0], [-1.0, 1.0]], 0.5, start=0)
    >>> found.worst, found.models
    (0.0, (0,))

    Raises:
      ValueError: for shapes that do not fit, probabilities that do not sum to 1, or a start or first model that does
        not exist.
      RuntimeError: where value iteration does not converge.

    Source: Zouitine et al., "Solving robust MDPs as a sequence of static RL problems" (2024).
    """
    transition, reward = _models(transition, reward)
    states, actions = reward.shape[1:]
    check.require(0 <= start < states, "start", start, f"a state from 0 to {states - 1}")
    check.require(0 <= first < len(reward), "first", first, f"a model from 0 to {len(reward) - 1}")
    check.positive("tolerance", tolerance)
    models: list[int] = []
    q, worst_model = np.full((states, actions), np.inf), first
    while True:
        models.append(worst_model)
        q = np.minimum(q, value_iteration(transition[worst_model], reward[worst_model], discount)[1])
        policy = np.eye(actions)[q.argmax(-1)]
        returns = [policy_evaluation(P, R, discount, policy)[0][start] for P, R in zip(transition, reward, strict=True)]
        worst_model = int(np.argmin(returns))
        worst, bound = float(returns[worst_model]), float(q[start].max())
        converged = bound - worst <= tolerance
        if converged or worst_model in models:
            return StaticRobust(policy, worst, bound, tuple(models), q, converged)


def _models(transition: ArrayLike, reward: ArrayLike) -> tuple[Matrix, Matrix]:
    transition, reward = np.asarray(transition, np.float64), np.asarray(reward, np.float64)
    check.rank("transition", transition, 4)
    shape = transition.shape[:3]
    allowed = f"[M, S, A] = {shape} or [S, A]"
    check.require(reward.shape in (shape, shape[1:]), "the shape of reward", reward.shape, allowed)
    return transition, np.broadcast_to(reward, shape)
