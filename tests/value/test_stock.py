"""Stock augmentation: every policy with memory enumerated, the identities of the stock, and known limits."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from rlx import value

HORIZON = 4
OUTCOMES = (np.array([1.0]), np.array([4.0] * 17 + [-5.0] * 3))  # of a sure and of a risky action, equally likely each
Distribution = tuple[tuple[float, float], ...]  # (outcome, probability), sorted


def all_policies(horizon: int) -> list[Distribution]:
    """The return distribution of every deterministic policy that remembers everything."""
    if horizon == 0:
        return [((0.0, 1.0),)]
    later, found = all_policies(horizon - 1), set()
    for outcomes in OUTCOMES:
        first, count = np.unique(outcomes, return_counts=True)
        for tails in itertools.product(later, repeat=len(first)):  # another continuation after each outcome
            total: dict[float, float] = {}
            for reward, share, tail in zip(first, count / count.sum(), tails, strict=True):
                for outcome, prob in tail:
                    total[reward + outcome] = total.get(reward + outcome, 0.0) + share * prob
            found.add(tuple(sorted((x, round(p, 12)) for x, p in total.items())))
    return list(found)


def expected(policy: Distribution, f) -> float:
    return sum(p * f(x) for x, p in policy)


def plan(kind, start: float, gamma: float = 1.0, betas=None) -> np.ndarray:
    """Samples of the return from a start stock, by dynamic programming over time and stock with the kernels."""

    @functools.cache
    def best(t: int, stock: float) -> np.ndarray:
        if t == HORIZON:
            return np.zeros(1)
        size = 20 ** (HORIZON - t)
        actions = []
        for outcomes in OUTCOMES:
            parts = [r + gamma * best(t + 1, float(value.stock_update(stock, r, gamma))) for r in np.unique(outcomes)]
            repeats = np.unique(outcomes, return_counts=True)[1]
            mixed = np.concatenate([np.tile(x, n) for x, n in zip(parts, repeats, strict=True)])
            actions.append(np.repeat(mixed, size // len(mixed)))
        theta = jnp.asarray(np.stack(actions))
        action = value.stock_greedy(theta, jnp.asarray(stock), kind, beta=None if betas is None else betas[t])
        return actions[int(action)]

    return best(0, start)


def cvar_of(policy: Distribution, level: float) -> float:
    return max(x + expected(policy, lambda y, x=x: min(y - x, 0.0)) / level for x, _ in policy)


def test_cvar_of_the_gamble_is_that_of_the_best_policy_with_memory():
    stocks = np.array([-x for x in sorted({x for policy in all_policies(HORIZON) for x, _ in policy})])
    with jax.enable_x64(True):
        samples = np.stack([plan("cvar", float(c)) for c in stocks])
        start, found = value.cvar_stock(jnp.asarray(stocks), jnp.asarray(samples), 0.5)
        direct = value.cvar(jnp.asarray(samples[list(stocks).index(float(start))]), 0.5)
    best = max(cvar_of(policy, 0.5) for policy in all_policies(HORIZON))
    np.testing.assert_allclose(found, best, rtol=1e-6)
    np.testing.assert_allclose(found, 6.4315, atol=1e-4)
    np.testing.assert_allclose(direct, best, rtol=1e-6)
    blind = []  # the action may depend on the time alone
    for actions in itertools.product(OUTCOMES, repeat=HORIZON):
        total = functools.reduce(lambda a, b: np.add.outer(a, b).ravel(), [np.resize(x, 20) for x in actions])
        blind.append(float(np.sort(total)[: len(total) // 2].mean()))
    np.testing.assert_allclose(max(blind), 5.2, atol=1e-6)


@pytest.mark.parametrize(("kind", "f"), [("mean", lambda x: x), ("homeostatic", lambda x: -(x**2))])
def test_other_functionals_are_those_of_the_best_policy_too(kind, f):
    with jax.enable_x64(True):
        for start in (0.0, -6.0):
            got = value.statistical_utility(jnp.asarray(plan(kind, start)), jnp.asarray(start), kind)
            best = max(expected(policy, lambda x, start=start: f(start + x)) for policy in all_policies(HORIZON))
            np.testing.assert_allclose(got, best, rtol=1e-6)


def test_entropic_risk_needs_beta_scaled_by_the_discount():
    """Discounted, and judged by exp(-beta x): with beta discount^t dynamic programming is optimal, with beta it isn't.

    Three steps of another gamble are enough, on which the risk-averse choice changes with time.
    """
    gamma, beta = 0.5, 0.6
    level = beta * gamma ** np.arange(HORIZON)

    def judge(sample):
        return float(value.statistical_utility(jnp.asarray(sample), 0.0, "entropic", beta=beta))

    with jax.enable_x64(True):
        scaled, constant = (judge(plan("entropic", 0.0, gamma, betas)) for betas in (level, np.full(HORIZON, beta)))
        blind = []  # memory does not help the entropic utility, so these are all that matter
        for actions in itertools.product(OUTCOMES, repeat=HORIZON):
            total = functools.reduce(
                lambda a, b: np.add.outer(a, b).ravel(), [gamma**t * np.resize(x, 20) for t, x in enumerate(actions)]
            )
            blind.append(judge(total))
    np.testing.assert_allclose(scaled, max(blind), rtol=1e-6)
    assert constant < scaled - 0.01


def test_entropic_utility_lies_between_the_extremes_and_tends_to_the_mean():
    x = jnp.array([-1.0, 0.0, 4.0])
    low, high, near = (float(value.statistical_utility(x, 1.0, "entropic", beta=b)) for b in (2e3, -2e3, 1e-3))
    np.testing.assert_allclose([low, high], [0.0, 5.0], atol=1e-3)
    np.testing.assert_allclose(near, 2.0, atol=0.01)
    with jax.enable_x64(True):
        y = np.random.default_rng(0).normal(size=50)
        got = value.statistical_utility(jnp.asarray(y), 0.3, "entropic", beta=0.7)
        np.testing.assert_allclose(got, -np.log(np.exp(-0.7 * (y + 0.3)).mean()) / 0.7, rtol=1e-9)


def test_stock_plus_return_only_changes_by_the_discount():
    rng = np.random.default_rng(1)
    rewards, gamma = rng.normal(size=12), 0.8
    with jax.enable_x64(True):
        stock, first = jnp.asarray(0.7), 0.7 + sum(gamma**t * r for t, r in enumerate(rewards))
        for t, reward in enumerate(rewards):
            total = stock + sum(gamma**i * r for i, r in enumerate(rewards[t:]))
            np.testing.assert_allclose(gamma**t * total, first, rtol=1e-9)
            stock = value.stock_update(stock, jnp.asarray(reward), gamma)


def test_with_the_mean_the_target_is_that_of_quantile_regression():
    """rlax's loss on the same inputs, whatever the stock, which only rounding sees."""
    rng = np.random.default_rng(2)
    theta, next_theta = (jnp.asarray(rng.normal(size=(6, 3, 5)), jnp.float32) for _ in range(2))
    reward, discount = jnp.asarray(rng.normal(size=6), jnp.float32), jnp.asarray(rng.uniform(size=6), jnp.float32)
    action, tau = jnp.asarray(rng.integers(3, size=6)), value.quantile_midpoints(5)
    wanted = jax.vmap(rlax.quantile_q_learning, (0, None, 0, 0, 0, 0, 0, None))(
        theta.transpose(0, 2, 1),
        tau,
        action,
        reward,
        discount,
        next_theta.transpose(0, 2, 1),
        next_theta.transpose(0, 2, 1),
        1.0,
    )
    zero, far = (value.stock_quantile_target(next_theta, jnp.full(6, stock), reward, discount) for stock in (0.0, 17.0))
    np.testing.assert_allclose(far, zero, rtol=1e-6)
    got = value.quantile_huber_loss(value.take_action(theta, action), tau, zero)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_a_masked_action_is_not_bootstrapped_from():
    theta = jnp.array([[1.0, 1.0], [9.0, 9.0]])
    mask = jnp.array([True, False])
    assert int(value.stock_greedy(theta, mask=mask)) == 0
    np.testing.assert_allclose(value.stock_quantile_target(theta, 0.0, jnp.array(0.0), 1.0, mask=mask), [1.0, 1.0])


def test_a_callable_is_averaged():
    x = jnp.array([[1.0, 3.0], [-2.0, 0.0]])
    got = value.statistical_utility(x, jnp.array([1.0, 2.0]), lambda x: jnp.abs(x - 2))
    np.testing.assert_allclose(got, [1.0, 1.0])


def test_errors_name_the_argument():
    x = jnp.zeros((2, 3))
    for arguments, message in (
        (dict(kind="variance"), "kind must be one of"),
        (dict(kind="entropic"), "beta must be given"),
        (dict(kind="entropic", beta=0.0), "beta must be other than 0"),
        (dict(kind="cvar", beta=1.0), "beta must be None with kind 'cvar'"),
    ):
        with pytest.raises(ValueError, match=message):
            value.statistical_utility(x, **arguments)
    for discount in (0.0, 1.5):
        with pytest.raises(ValueError, match="discount"):
            value.stock_update(jnp.array(0.0), jnp.array(1.0), discount)
    with pytest.raises(ValueError, match="level"):
        value.cvar_stock(jnp.zeros(2), x, 0.0)
    with pytest.raises(ValueError, match=r"shape of quantile must be \[..., C, N\]"):
        value.cvar_stock(jnp.zeros(4), x, 0.5)
    with pytest.raises(ValueError, match="same shape"):
        value.stock_quantile_target(jnp.zeros((4, 2, 3)), jnp.zeros(4), jnp.zeros(3), 0.9)
