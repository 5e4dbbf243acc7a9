"""Exact sets of value vectors for finite decision processes with several rewards: Pareto fronts, convex coverage sets.

Arrays as in `rlx.value.tabular`, rewards `R[s, a, K]`. Everything is NumPy in float64 on the host: oracles, not for use
under `jit`. Policies are deterministic but may depend on the time and, where a state has several best vectors, on which
of them was promised; mixing policies by chance adds, in expectation, the points below the front's upper hull.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import ArrayLike

from rlx import check
from rlx.value.tabular import Matrix, discounted_transition

MAX_CORNERS = 2_000_000  # systems of equations that one round of linear support may solve


def pareto_value_iteration(
    transition: ArrayLike,
    reward: ArrayLike,
    discount: ArrayLike,
    *,
    horizon: int | None = None,
    tolerance: float = 1e-12,
    max_points: int = 10_000,
    max_iterations: int = 10_000,
) -> list[Matrix]:
    """The Pareto front of every state, `S` arrays `[N_s, K]`: value vectors of deterministic policies, none dominated.

    `V(s) <- nondominated  U_a { R(s, a) + discount sum_s' P(s' | s, a) v(s')  :  v(s') in V(s') }`, from `V = {0}`.

    With `horizon` the value of that many steps, else iterated until nothing changes. Vectors that differ by at most
    `tolerance` in every objective, or are dominated up to it, count as one. Rows are sorted by the first objective.
    Sets grow fast where outcomes are random: each successor may be promised another vector.

    Shapes: `transition [S, A, S]`, `reward [S, A, K]`, `discount` a scalar or `[S, A]` (zero where the step ends the
    episode).

    Usual mistake: to read the result as what linear weights can reach; vectors below the upper hull are in it.

    >>> front, _ = pareto_value_iteration(
    ...     [[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]],  # action 0 ends, 1 waits
    ...     [[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]],
    ...     0.5,
    ...     horizon=2,
    ... )
    >>> front.tolist()
    [[0.0, 1.5], [0.5, 1.0], [1.0, 0.0]]

    Raises:
      ValueError: for shapes that do not fit, or probabilities that do not sum to 1.
      RuntimeError: if a state gets more than `max_points` vectors, or the sets still change after `max_iterations`.

    Source: White, "Multi-Objective Infinite-Horizon Discounted Markov Decision Processes" (1982).
    """
    step, reward = _vector_problem(transition, reward, discount, horizon)
    check.positive("tolerance", tolerance)
    check.count("max_points", max_points)
    states, actions, objectives = reward.shape
    successors = [[np.nonzero(step[s, a])[0] for a in range(actions)] for s in range(states)]
    depends_on = [set(itertools.chain(*row)) for row in successors]
    fronts: list[Matrix] = [np.zeros((1, objectives))] * states

    def backup(s: int) -> Matrix:
        found = []
        for a in range(actions):
            sums = reward[s, a][None]
            for t in successors[s][a]:  # one vector of each successor, in every combination
                sums = (sums[:, None] + step[s, a, t] * fronts[t]).reshape(-1, objectives)
                sums = _nondominated(sums, tolerance)
                if len(sums) > max_points:
                    raise RuntimeError(f"more than max_points = {max_points} non-dominated vectors in state {s}")
            found.append(sums)
        return _nondominated(np.concatenate(found), tolerance)

    stale = range(states)
    for _ in range(max_iterations if horizon is None else horizon):
        new = {s: backup(s) for s in stale}
        changed = {s for s, front in new.items() if not _same(front, fronts[s], tolerance)}
        for s in changed:
            fronts[s] = new[s]
        stale = [s for s in range(states) if depends_on[s] & changed]
        if not stale:
            return fronts
    if horizon is None:
        raise RuntimeError(f"no convergence to tolerance {tolerance} within max_iterations = {max_iterations}")
    return fronts


def convex_coverage_set(
    transition: ArrayLike,
    reward: ArrayLike,
    discount: ArrayLike,
    initial: ArrayLike,
    *,
    horizon: int | None = None,
    tolerance: float = 1e-9,
    max_iterations: int = 10_000,
) -> Matrix:
    """The vectors `[N, K]` that are optimal from `initial` for some weights, each for more weights than a boundary.

    `{ argmax_V w.V : w >= 0, sum w = 1 }`, by linear support: value iteration for scalar rewards `w.R` at the simplex's
    corners, then at every weight where the best known vector changes, until none of these gives a better one. The
    largest gain that a missing vector could bring is at such a weight, so the set is complete up to `tolerance`
    (relative to the largest value).

    Shapes: `transition [S, A, S]`, `reward [S, A, K]`, `discount` a scalar or `[S, A]`, `initial [S]`. For few vectors
    and objectives: every choice of K of N + K inequalities is tried (100 vectors for K = 3).

    Usual mistake: to call it the Pareto front; deterministic policies can have vectors between its hull's vertices.

    >>> convex_coverage_set([[[1.0]] * 3], [[[0.0, 4.0], [4.0, 0.0], [1.0, 1.0]]], 0.0, [1.0]).tolist()
    [[0.0, 4.0], [4.0, 0.0]]

    Raises:
      ValueError: for shapes that do not fit, or probabilities that do not sum to 1.
      RuntimeError: without convergence in `max_iterations`, or if there are too many vectors for this method.

    Source: Cheng, "Algorithms for Partially Observable Markov Decision Processes" (1988), for linear support; Roijers,
    "Multi-Objective Decision-Theoretic Planning" (2016).
    """
    step, reward = _vector_problem(transition, reward, discount, horizon)
    initial = np.asarray(initial, np.float64)
    check.require(initial.shape == step.shape[:1], "the shape of initial", initial.shape, f"[S] = {step.shape[:1]}")
    check.positive("tolerance", tolerance)
    limit = max_iterations if horizon is None else horizon

    def best(weight: Matrix) -> Matrix:
        value = np.zeros(reward.shape[::2])
        for _ in range(limit):
            q = reward + step @ value
            utility = q @ weight
            equal = utility >= utility.max(1, keepdims=True) - 1e-11 * (1 + np.abs(utility).max())
            # among equals the largest sum, which is dominated by none of them
            choice = np.where(equal, q.sum(-1), -np.inf).argmax(1)
            previous, value = value, q[np.arange(len(q)), choice]
            if np.abs(value - previous).max() <= 1e-13 * (1 + np.abs(value).max()):
                return initial @ value
        if horizon is None:
            raise RuntimeError(f"no convergence within max_iterations = {max_iterations} for weights {weight}")
        return initial @ value

    points = np.array([best(corner) for corner in np.eye(reward.shape[2])])
    tried: set[tuple[float, ...]] = set()
    while True:
        slack = tolerance * max(1.0, np.abs(points).max())
        corners = _corner_weights(points)
        fresh = [w for w in corners if tuple(w.round(12)) not in tried]
        tried |= {tuple(w.round(12)) for w in fresh}
        found = [(w, best(w)) for w in fresh]
        better = [v for w, v in found if w @ v > (points @ w).max() + slack]
        if not better:
            break
        points = np.concatenate([points, better])
    points = _nondominated(points, slack)
    # a vector that is best on a boundary only is best at corners that do not span the simplex
    best_at = points @ corners.T >= (points @ corners.T).max(0) - 10 * slack
    return points[[np.linalg.matrix_rank(corners[row], tol=1e-6) == points.shape[1] for row in best_at]]


def _vector_problem(
    transition: ArrayLike, reward: ArrayLike, discount: ArrayLike, horizon: int | None
) -> tuple[Matrix, Matrix]:
    step, reward = discounted_transition(transition, discount), np.asarray(reward, np.float64)
    check.require(
        reward.ndim == 3 and reward.shape[:2] == step.shape[:2],
        "the shape of reward",
        reward.shape,
        f"[S, A, K] with [S, A] = {step.shape[:2]}",
    )
    if horizon is not None:
        check.count("horizon", horizon)
    return step, reward


def _nondominated(points: Matrix, tolerance: float) -> Matrix:
    """The rows that no other dominates, one of those that are equal, both up to `tolerance`; sorted."""
    left = points[np.argsort(-points.sum(1), kind="stable")]  # nothing is dominated by what has a smaller sum
    kept = []
    while len(left):
        kept.append(left[0])
        left = left[np.any(left > left[0] + tolerance, axis=1)]
    kept = np.array(kept)
    return kept[np.lexsort(kept.T[::-1])]


def _same(a: Matrix, b: Matrix, tolerance: float) -> bool:
    return a.shape == b.shape and bool(np.all(np.abs(a - b) <= tolerance))


def _corner_weights(points: Matrix) -> Matrix:
    """`w [V, K]` of the vertices of `{(w, u): u >= w.points, w >= 0, sum w = 1}`; `rlx.pareto.corner_weights` in double
    precision."""
    points = _nondominated(points, 0.0)
    (n, m), scale = points.shape, max(1e-300, float(np.ptp(points, axis=0).max()))
    if math.comb(n + m, m) > MAX_CORNERS:
        raise RuntimeError(f"too many vectors for linear support: {n} with {m} objectives")
    shifted = (points - points.min(0)) / scale
    normal = np.block([[-shifted, np.ones((n, 1))], [np.eye(m), np.zeros((m, 1))]])
    chosen = np.array(list(itertools.combinations(range(n + m), m)))
    total = np.broadcast_to(np.append(np.ones(m), 0.0), (len(chosen), 1, m + 1))
    system = np.concatenate([normal[chosen], total], axis=1)
    system = system[np.abs(np.linalg.det(system)) > 1e-12]
    vertex = np.linalg.solve(system, np.broadcast_to(np.eye(m + 1)[:, -1:], (len(system), m + 1, 1)))[..., 0]
    vertex = vertex[np.all(vertex @ normal.T >= -1e-9, axis=1)]
    weights = np.maximum(vertex[:, :m], 0.0)
    return np.unique((weights / weights.sum(1, keepdims=True)).round(12), axis=0)
