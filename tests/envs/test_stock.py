"""Gambles against enumeration and play, and the wrapper's stock against the sum that it stands for."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import space
from rlx.envs import check_env, stock, tabular
from rlx.envs.stock import Lottery, Stock, StockParams
from rlx.value import cvar


def of_plan(env: Lottery, actions) -> tuple[np.ndarray, np.ndarray]:
    return env.distribution(lambda t, total: actions[t])


def test_the_known_optima_of_the_gamble():
    np.testing.assert_allclose(stock.gamble(6).optimal_cvar(0.25), 7.4924, atol=1e-4)
    np.testing.assert_allclose(stock.gamble(4).optimal_cvar(0.5), 6.4315, atol=1e-4)
    np.testing.assert_allclose(stock.gamble(6).optimal_return(), 6 * 2.65, rtol=1e-9)
    for horizon, level, best, mean in ((6, 0.25, 6.0, 5.0226), (4, 0.5, 5.2, None)):
        env = stock.gamble(horizon)
        plans = {
            plan: float(cvar(jnp.asarray(x), level, jnp.asarray(p)))
            for plan in itertools.product(range(2), repeat=horizon)
            for x, p in [of_plan(env, plan)]
        }
        np.testing.assert_allclose(max(plans.values()), best, atol=1e-4)
        if mean is not None:
            np.testing.assert_allclose(plans[(1,) * horizon], mean, atol=1e-4)


def test_the_known_optimum_of_the_homeostat():
    env = stock.homeostat(6)
    np.testing.assert_allclose(env.optimal_utility(lambda x: -(x**2)), -1.0)
    blind = [of_plan(env, plan) for plan in itertools.product(range(3), repeat=6)]
    np.testing.assert_allclose(max(-(p @ x**2) for x, p in blind), -6.0)


def test_play_follows_the_distribution():
    """Ten thousand episodes of a policy of time and total, against its exact distribution."""
    env = stock.gamble(3)
    x, p = env.distribution(lambda t, total: int(total < 2))

    def episode(key):
        def one_step(carry, key):
            state, total = carry
            _, state, reward, terminated, _ = env.step_env(key, state, (total < 2).astype(int), env.default_params)
            return (state, total + reward), terminated

        (_, total), terminated = jax.lax.scan(one_step, (env.reset_env(key, None)[1], 0.0), jax.random.split(key, 3))
        return total, terminated

    total, terminated = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), 10_000))
    np.testing.assert_array_equal(terminated, np.broadcast_to([False, False, True], terminated.shape))
    share = (np.asarray(total)[:, None] == x).mean(0)
    np.testing.assert_allclose(share.sum(), 1.0)
    np.testing.assert_allclose(share, p, atol=0.02)


def test_the_interface_is_kept():
    check_env(stock.gamble(3))
    env = Stock(tabular.random_walk(5), 0.9)
    check_env(env, StockParams(env.env.default_params, -2.0, 2.0))


@pytest.mark.parametrize("discount", [1.0, 0.8])
def test_the_stock_is_what_was_collected_in_todays_units(discount: float):
    env = Stock(stock.gamble(5), discount)
    params = StockParams(env.env.default_params, -3.0, 3.0)
    keys = jax.random.split(jax.random.key(1), 6)
    obs, state = env.reset_env(keys[0], params)
    first, total, scale = obs[space.STOCK], 0.0, 1.0
    assert -3 <= first <= 3
    for t in range(5):
        obs, state, reward, _, _ = env.step_env(keys[t + 1], state, jnp.int32(t % 2), params)
        total, scale = total + scale * reward, scale * discount
        np.testing.assert_allclose(scale * obs[space.STOCK], first + total, rtol=1e-4, atol=1e-5)
    starts = jax.vmap(env.reset_env, (0, None))(jax.random.split(jax.random.key(2), 2000), params)[0][space.STOCK]
    np.testing.assert_allclose([starts.mean(), starts.std()], [0.0, 6 / 12**0.5], atol=0.15)
    assert env.reset_env(keys[0], env.default_params)[0][space.STOCK] == 0


def test_refusals():
    with pytest.raises(ValueError, match="prob must be rows"):
        Lottery([[1.0, 2.0]], [[0.5, 0.6]], 3)
    with pytest.raises(ValueError, match="horizon"):
        stock.gamble(0)
    with pytest.raises(ValueError, match="level"):
        stock.gamble(2).optimal_cvar(0.0)
    with pytest.raises(ValueError, match="reward_channels must be none"):
        Stock(tabular.constrained(jax.random.key(0)))
    with pytest.raises(ValueError, match="discount"):
        Stock(stock.gamble(2), 0.0)
