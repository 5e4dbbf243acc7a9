"""Multipliers, barrier, penalty and step against NumPy, scipy, and the exact solution of a constrained process."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from rlx.envs.tabular import TabularMDP, constrained, constrained_optimum, cost_range
from rlx.pareto import (
    constrained_policy_step,
    interior_point_barrier,
    lagrange_update,
    lagrangian,
    mix_advantages,
    penalised_ppo_penalty,
    pid_lagrange_update,
    pid_lagrangian,
)
from rlx.types import WeightingStats
from rlx.value import policy_evaluation

RNG = np.random.default_rng(0)
COSTS = RNG.normal(2.0, 1.0, (20, 3))
LIMIT = np.array([1.5, 2.0, 2.5])

# projection and its derivative
PROJECTIONS = {
    "softplus": (lambda x: np.log1p(np.exp(x)), lambda x: 1 / (1 + np.exp(-x))),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
}


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_smooth_projections_follow_the_chain_rule(projection):
    project, slope = PROJECTIONS[projection]
    x = wanted = np.array([-1.0, 0.0, 2.0])
    for cost in COSTS:
        x, multiplier = lagrange_update(x, cost, LIMIT, 0.3, projection)
        wanted = wanted + 0.3 * slope(wanted) * (cost - LIMIT)
        np.testing.assert_allclose(x, wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(multiplier, project(wanted), rtol=1e-4, atol=1e-5)


def test_relu_stops_at_zero_and_comes_back_at_once():
    x = jnp.array(0.5)
    found = []
    for cost in (0.0, 0.0, 0.0, 2.0):  # limit 1: down, to zero, still zero, up by a whole step
        x, multiplier = lagrange_update(x, cost, 1.0, 0.3, "relu")
        found.append(float(multiplier))
    np.testing.assert_allclose(found, [0.2, 0.0, 0.0, 0.3], atol=1e-6)


def test_unknown_projection():
    with pytest.raises(ValueError, match=r"projection must be .*softplus.*got 'exp'"):
        lagrange_update(jnp.zeros(1), jnp.zeros(1), 1.0, 0.1, "exp")  # type: ignore[arg-type]


def test_pid_against_a_loop():
    integral, previous = np.zeros(3), COSTS[0]
    wanted_integral = np.zeros(3)
    for before, cost in itertools.pairwise(COSTS):
        integral, multiplier = pid_lagrange_update(integral, previous, cost, LIMIT, 0.5, 0.1, 0.7)
        previous = cost
        wanted_integral = np.maximum(wanted_integral + cost - LIMIT, 0)
        wanted = 0.5 * (cost - LIMIT) + 0.1 * wanted_integral + 0.7 * np.maximum(cost - before, 0)
        np.testing.assert_allclose(integral, wanted_integral, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(multiplier, np.maximum(wanted, 0), rtol=1e-4, atol=1e-5)


def test_integral_control_is_the_relu_multiplier():
    x = integral = jnp.zeros(3)
    for cost in COSTS:
        x, multiplier = lagrange_update(x, cost, LIMIT, 0.2, "relu")
        integral, controlled = pid_lagrange_update(integral, cost, cost, LIMIT, 0.0, 0.2, 0.0)
        np.testing.assert_allclose(controlled, multiplier, rtol=1e-4, atol=1e-5)


class Policies:
    """All deterministic policies of a small constrained process, with exact discounted reward and cost."""

    def __init__(self, seed: int):
        self.mdp: TabularMDP = constrained(jax.random.key(seed), states=5, actions=2)
        P, R, discount, rho0 = self.mdp.arrays()
        values = [
            rho0 @ policy_evaluation(P, R, discount, np.eye(2)[list(actions)])[0]
            for actions in itertools.product(range(2), repeat=5)
        ]
        self.reward, self.cost = np.array(values).T
        self.limit = sum(cost_range(self.mdp)) / 2
        self.solution = constrained_optimum(self.mdp, self.limit)

    def best(self, multiplier: float) -> tuple[float, float]:
        """Reward and cost of the best answer to a multiplier."""
        chosen = np.argmax(self.reward - multiplier * self.cost)
        return self.reward[chosen], self.cost[chosen]


@pytest.fixture(scope="module", params=[0, 1, 2])
def policies(request: pytest.FixtureRequest) -> Policies:
    return Policies(request.param)


@pytest.mark.parametrize(("projection", "rate"), [("relu", 1.0), ("softplus", 4.0)])  # softplus is flat near zero
def test_multiplier_converges_to_the_dual_solution(policies, projection, rate):
    """Exact best answers and falling steps: subgradient descent on the dual, whose minimum the linear program gives."""
    x, multiplier = lagrange_update(jnp.array(1.0), policies.limit, policies.limit, 0.0, projection)
    step = jax.jit(lagrange_update, static_argnames="projection")
    found = []
    for i in range(3000):
        reward, cost = policies.best(float(multiplier))
        found.append((float(multiplier), reward, cost))
        x, multiplier = step(x, cost, policies.limit, rate / np.sqrt(i + 1), projection=projection)
    mean_multiplier, reward, cost = np.mean(found[1500:], axis=0)
    assert mean_multiplier == pytest.approx(policies.solution.multiplier, abs=0.05)
    # no single deterministic policy meets the limit with this reward: the average over iterations does
    assert cost == pytest.approx(policies.limit, rel=0.015)
    assert reward == pytest.approx(policies.solution.value, rel=0.01)


def test_pid_reaches_the_dual_solution_too(policies):
    """With answers that move part of the way, as a learner's do, and small gains."""
    integral, multiplier = jnp.array(0.0), jnp.array(0.0)
    cost = previous = policies.cost[np.argmax(policies.reward)]
    step = jax.jit(pid_lagrange_update)
    found = []
    for _ in range(4000):
        cost += 0.05 * (policies.best(float(multiplier))[1] - cost)
        found.append((float(multiplier), cost))
        integral, multiplier = step(integral, previous, cost, policies.limit, 0.1, 0.01, 0.01)
        previous = cost
    mean_multiplier, mean_cost = np.mean(found[2000:], axis=0)
    assert mean_multiplier == pytest.approx(policies.solution.multiplier, abs=0.05)
    assert mean_cost == pytest.approx(policies.limit, rel=0.02)


def test_barrier_is_the_logarithm_and_then_its_tangent():
    left = np.array([3.0, 1.0, 0.5, 0.1])
    np.testing.assert_allclose(interior_point_barrier(2 - left, 2.0, 5.0, margin=0.1), -np.log(left) / 5, atol=1e-6)
    slope = jax.vmap(jax.grad(lambda cost: interior_point_barrier(cost, 2.0, 5.0, margin=0.1)))
    np.testing.assert_allclose(slope(jnp.asarray(2 - left)), 1 / (5 * left), rtol=1e-4)
    np.testing.assert_allclose(slope(jnp.array([1.95, 2.0, 9.0])), 1 / (5 * 0.1), rtol=1e-5)
    assert float(interior_point_barrier(12.0, 2.0, 5.0, margin=0.1)) == pytest.approx((10.1 / 0.1 - np.log(0.1)) / 5)


def test_barrier_stops_short_of_the_limit_by_the_multiplier():
    """Maximise `3 x` subject to `x <= 2`, of multiplier 3."""
    x = np.linspace(0, 2.1, 210_001)
    best = x[np.argmin(np.asarray(interior_point_barrier(x, 2.0, 20.0)) - 3 * x)]
    assert best == pytest.approx(2 - 1 / (20 * 3), abs=1e-4)


def test_penalty_against_its_definition():
    rng = np.random.default_rng(0)
    new, old, advantage = rng.normal(size=(6, 4)), rng.normal(size=(6, 4)), rng.normal(size=(6, 4, 3))
    cost, limit = np.array([3.0, 1.0, -9.0]), np.array([1.0, 2.0, 2.0])
    ratio = np.exp(new - old)[..., None]
    surrogate = np.maximum(ratio * advantage, np.clip(ratio, 0.7, 1.3) * advantage).mean((0, 1))
    wanted = 5 * np.maximum(0, surrogate + (1 - 0.9) * (cost - limit))
    assert np.sum(wanted > 0) == 2  # the last is far below its limit
    found = penalised_ppo_penalty(new, old, advantage, cost, limit, 0.9, 0.3, 5.0)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_penalty_pushes_only_where_the_limit_is_exceeded():
    advantage = RNG.normal(size=(8, 2)).astype(np.float32)
    advantage -= advantage.mean(0)
    zero = jnp.zeros(8)
    cost = jnp.array([1.5, 0.5])
    slopes = jax.jacobian(lambda x: penalised_ppo_penalty(x, zero, advantage, cost, 1.0, 0.9, 0.2, 4.0))(zero)
    np.testing.assert_allclose(slopes[0], 4 * advantage[:, 0] / 8, rtol=1e-5)
    np.testing.assert_array_equal(slopes[1], 0.0)


def cpo_by_its_dual(g: np.ndarray, b: np.ndarray, c: float, H: np.ndarray, radius: float) -> np.ndarray:
    """The paper's solution by multipliers: the better of two intervals of the trust region's."""
    natural, cost_natural = np.linalg.solve(H, g), np.linalg.solve(H, b)
    q, r, s = g @ natural, g @ cost_natural, b @ cost_natural
    A, B = q - r**2 / s, 2 * radius - c**2 / s
    if c > 0 and B < 0:
        return -np.sqrt(2 * radius / s) * cost_natural
    if B < 0:
        return np.sqrt(2 * radius / q) * natural
    low, high = (max(0, -r / c), np.inf) if c > 0 else (0, -r / c)  # where r + lam c > 0
    active = np.clip(np.sqrt(A / B), low, max(high, low))
    low, high = (0, max(0, -r / c)) if c > 0 else (max(0, -r / c), np.inf)
    idle = np.clip(np.sqrt(q / (2 * radius)), low, high)
    value = (A / active + B * active) / 2 - r * c / s if r + active * c > -1e-12 and active > 0 else np.inf
    other = (q / idle + 2 * radius * idle) / 2 if r + idle * c < 1e-12 and idle > 0 else np.inf
    lam = active if value < other else idle
    return (natural - max(0, (r + lam * c) / s) * cost_natural) / lam


def quadratic_models(number: int) -> tuple[np.ndarray, ...]:
    """Random `(g, b, c, H)` of five parameters; `c` spreads over what the trust region can reach and beyond."""
    rng = np.random.default_rng(0)
    g, b = rng.normal(size=(2, number, 5))
    root = rng.normal(size=(number, 5, 5))
    H = root @ root.swapaxes(1, 2) / 5 + 0.3 * np.eye(5)
    reach = np.sqrt(2 * 0.05 * np.einsum("ni,nij,nj->n", b, np.linalg.inv(H), b))
    return g, b, rng.uniform(-1.4, 1.4, number) * reach, H


@jax.jit
@jax.vmap
def policy_steps(g: jax.Array, b: jax.Array, c: jax.Array, H: jax.Array) -> jax.Array:
    return constrained_policy_step(g, b, c, lambda v: H @ v, 0.05, iterations=10)


def test_policy_step_is_the_dual_solution():
    models = quadratic_models(400)
    found = policy_steps(*map(jnp.asarray, models))
    wanted = np.array([cpo_by_its_dual(g, b, c, H, 0.05) for g, b, c, H in zip(*models, strict=True)])
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_policy_step_agrees_with_slsqp():
    models = quadratic_models(100)
    found = np.asarray(policy_steps(*map(jnp.asarray, models)), np.float64)
    feasible = 0
    for g, b, c, H, x in zip(*models, found, strict=True):
        assert x @ H @ x / 2 <= 0.05 * (1 + 1e-3)
        lowest = -np.sqrt(2 * 0.05 * b @ np.linalg.solve(H, b))
        if c + lowest > 0:
            np.testing.assert_allclose(b @ x, lowest, rtol=1e-3)  # straight back, as far as allowed
            continue
        feasible += 1
        limits = [
            {"type": "ineq", "fun": lambda x, b=b, c=c: -c - b @ x},
            {"type": "ineq", "fun": lambda x, H=H: 0.05 - x @ H @ x / 2},
        ]
        wanted = minimize(lambda x, g=g: -g @ x, np.zeros(5), constraints=limits, options={"ftol": 1e-12})
        assert c + b @ x <= 1e-4
        np.testing.assert_allclose(g @ x, -wanted.fun, rtol=2e-3, atol=1e-4)
    assert feasible >= 60


def test_policy_step_of_degenerate_gradients():
    g, zero = jnp.array([3.0, 4.0]), jnp.zeros(2)

    def step(g: jax.Array, b: jax.Array, c: float) -> np.ndarray:
        return np.asarray(constrained_policy_step(g, b, c, lambda v: 2.0 * v, 1.0))

    np.testing.assert_allclose(step(g, zero, -1.0), [0.6, 0.8], rtol=1e-5)  # no cost to be kept
    np.testing.assert_array_equal(step(g, zero, 1.0), 0.0)
    np.testing.assert_array_equal(step(zero, g, -1.0), 0.0)
    np.testing.assert_allclose(step(zero, g, 1.0), -np.array([3.0, 4.0]) / 25, rtol=1e-5)  # just back
    np.testing.assert_allclose(step(g, g, -1.0), np.array([3.0, 4.0]) / 25, rtol=1e-4)  # just to the limit
    np.testing.assert_array_equal(step(zero, zero, 1.0), 0.0)


class Softmax:
    """Exact discounted reward, cost and Fisher matrix of a softmax policy in a small constrained process."""

    def __init__(self, mdp: TabularMDP):
        self.P, self.R, self.discount, self.rho0 = map(jnp.asarray, mdp.arrays())
        self.states, self.actions = self.P.shape[:2]

    def occupancy(self, probs: jax.Array) -> jax.Array:
        flow = jnp.einsum("sa,sa,sat->st", probs, self.discount, self.P)
        return jnp.linalg.solve(jnp.eye(self.states) - flow.T, self.rho0)

    def values(self, logits: jax.Array) -> jax.Array:
        probs = jax.nn.softmax(logits.reshape(self.states, self.actions))
        return jnp.einsum("s,sa,sak->k", self.occupancy(probs), probs, self.R)

    def fisher(self, logits: jax.Array) -> jax.Array:
        probs = jax.nn.softmax(logits.reshape(self.states, self.actions))
        scores = jnp.einsum("st,ab->satb", jnp.eye(self.states), jnp.eye(self.actions))
        scores = scores - jnp.einsum("st,tb->stb", jnp.eye(self.states), probs)[:, None]
        scores = scores.reshape(self.states * self.actions, -1)
        weight = self.occupancy(probs)[:, None] * probs
        return scores.T @ (weight.reshape(-1, 1) * scores) + 1e-3 * jnp.eye(scores.shape[1])


def test_policy_steps_and_barrier_reach_the_constrained_optimum(policies):
    """With exact gradients: the linear program's optimum by steps, and just inside the limit by the barrier."""
    model, limit = Softmax(policies.mdp), policies.limit

    def constrained_step(x: jax.Array, radius: jax.Array) -> tuple[jax.Array, None]:
        g, b = jax.jacobian(model.values)(x)
        fisher = model.fisher(x)
        violation = model.values(x)[1] - limit
        return x + constrained_policy_step(g, b, violation, lambda v: fisher @ v, radius, iterations=12), None

    def barrier_step(x: jax.Array, rate: jax.Array) -> tuple[jax.Array, None]:
        def loss(x: jax.Array) -> jax.Array:
            reward, cost = model.values(x)
            return interior_point_barrier(cost, limit, 100.0 / limit, margin=0.002 * limit) - reward

        step = jnp.linalg.solve(model.fisher(x), jax.grad(loss)(x))
        return x - rate * step / jnp.maximum(1.0, jnp.linalg.norm(step)), None

    def final(step: Callable[..., Any], rates: np.ndarray) -> np.ndarray:
        x, _ = jax.jit(lambda x, rates: jax.lax.scan(step, x, rates))(jnp.zeros(10), jnp.asarray(rates))
        return np.asarray(model.values(x))

    optimum = policies.solution.value
    np.testing.assert_allclose(final(constrained_step, np.geomspace(0.1, 1e-5, 100)), [optimum, limit], rtol=1e-4)
    reward, cost = final(barrier_step, np.geomspace(0.5, 1e-3, 400))
    assert cost <= limit
    assert 0.98 * optimum <= reward <= optimum


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interior_point_barrier(jnp.zeros(2), 1.0, 0.0), r"sharpness must be .*got 0.0"),
        (lambda: interior_point_barrier(jnp.zeros(2), 1.0, margin=-1.0), r"margin must be .*got -1.0"),
        (
            lambda: penalised_ppo_penalty(jnp.zeros(4), jnp.zeros(4), jnp.zeros(4), jnp.zeros(2), 1.0, 0.9),
            r"cost_advantage and cost must be of shapes \[\(4,\), k\] and \[k\]; got \(\(4,\), \(2,\)\)",
        ),
        (
            lambda: penalised_ppo_penalty(jnp.zeros(4), jnp.zeros(4), jnp.zeros((4, 2)), jnp.zeros(2), 1.0, 1.5),
            r"discount must be .*got 1.5",
        ),
        (
            lambda: penalised_ppo_penalty(jnp.zeros(4), jnp.zeros(3), jnp.zeros((4, 2)), jnp.zeros(2), 1.0, 0.9),
            "same shape",
        ),
        (lambda: constrained_policy_step(jnp.zeros(2), jnp.zeros(3), 0.0, lambda v: v), "same shape"),
        (lambda: constrained_policy_step(jnp.zeros(2), jnp.zeros(2), 0.0, lambda v: v, 0.0), r"radius must be"),
        (
            lambda: constrained_policy_step(jnp.zeros(2), jnp.zeros(2), 0.0, lambda v: v, iterations=0),
            "iterations must",
        ),
    ],
)
def test_kernels_refuse_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def stats(returns: list[float], episodes: float = 4.0) -> WeightingStats:
    return WeightingStats(jnp.asarray(returns), jnp.asarray(episodes), None)


def test_lagrangian_follows_its_kernel_with_channels_in_any_order():
    weighting = lagrangian({3: 1.0, 0: 0.5}, learning_rate=0.5, initial=0.25, rewards=(1.0, 3.0))
    state, multiplier = weighting.init(4), np.array([0.25, 0.25])
    for _ in range(5):
        returns = RNG.normal(1.0, 1.0, 4)
        weights, state, metrics = weighting.update(state, stats(returns.tolist()))
        violation = returns[[3, 0]] - np.array([1.0, 0.5])
        multiplier = np.maximum(multiplier + 0.5 * violation, 0)
        np.testing.assert_allclose(metrics["multiplier"], multiplier, atol=1e-5)
        mean = metrics["violation"].total / metrics["violation"].count
        np.testing.assert_allclose(mean, violation, atol=1e-5)
        wanted = np.array([-multiplier[1], 1.0, 3.0, -multiplier[0]]) / (1 + multiplier.sum())
        np.testing.assert_allclose(weights, wanted, atol=1e-5)


@pytest.mark.parametrize("make", [lagrangian, pid_lagrangian])
def test_weights_are_those_of_mixed_advantages(make):
    weighting = make({1: 0.3, 2: 0.6})
    weights, state, _ = weighting.update(weighting.init(3), stats([0.0, 1.0, 2.0]))
    assert bool(jnp.all(state.multiplier > 0))
    advantage = RNG.normal(size=(7, 5, 3)).astype(np.float32)
    mixed = mix_advantages(advantage[..., 0], advantage[..., 1:], state.multiplier)
    np.testing.assert_allclose(advantage @ weights, mixed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [lagrangian, pid_lagrangian])
def test_batches_without_episodes_teach_nothing(make):
    weighting = make({1: 0.5})
    start = weighting.init(2)
    weights, state, metrics = weighting.update(start, stats([0.0, 0.0], episodes=0.0))
    np.testing.assert_array_equal(weights, [1.0, 0.0])
    assert metrics["violation"] == (0.0, 0.0)  # a mean over nothing
    _, after, _ = weighting.update(state, stats([9.0, 1.5]))
    _, direct, _ = weighting.update(start, stats([9.0, 1.5]))
    np.testing.assert_array_equal(after.multiplier, direct.multiplier)
    _, kept, _ = weighting.update(after, stats([0.0, 0.0], episodes=0.0))
    jax.tree.map(np.testing.assert_array_equal, kept, after)


def test_limits_and_rates_can_be_traced():
    def multiplier(limit: jax.Array, rate: jax.Array) -> jax.Array:
        weighting = lagrangian({1: limit}, learning_rate=rate)
        return weighting.update(weighting.init(2), stats([0.0, 2.0]))[1].multiplier[0]

    found = jax.vmap(multiplier)(jnp.array([0.5, 1.0]), jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(found, [0.15, 0.2], rtol=1e-5)


@pytest.mark.parametrize("make", [lagrangian, pid_lagrangian])
def test_what_does_not_fit_is_refused(make):
    with pytest.raises(ValueError, match="limits must be"):
        make({})
    with pytest.raises(ValueError, match="limits must be"):
        make({2: 1.0}).init(2)
    with pytest.raises(ValueError, match="limits must be"):
        make({0: 1.0}).init(1)
    with pytest.raises(ValueError, match="rewards must be"):
        make({1: 1.0}, rewards=(1.0, 2.0)).init(2)
