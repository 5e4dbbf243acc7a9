"""Multipliers against NumPy loops, and against the dual solution of a constrained process solved exactly."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.envs.tabular import TabularMDP, constrained, constrained_optimum, cost_range
from rlx.pareto import lagrange_update, lagrangian, mix_advantages, pid_lagrange_update, pid_lagrangian
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
