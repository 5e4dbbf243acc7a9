"""What a value is: every head learns the optimum of deterministic processes, and a stock the best gamble.

Oracle: exact dynamic programming, and `Lottery`'s optima over all policies with memory.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_dqn import FORBIDDEN, GAMMA, STATES, TABULAR, Masked, arrays, process

from rlx import space
from rlx.algos import dqn
from rlx.envs import stock
from rlx.envs.stock import Stock, StockParams
from rlx.envs.tabular import TabularState
from rlx.reward import extrinsic
from rlx.types import Channel
from rlx.value import value_iteration

HEADS = ("two_hot", "hl_gauss", "c51", "qr", "iqn")
LEARNING = TABULAR | {"learning_rate": 0.01, "atoms": 21, "low": -8.0, "high": 8.0}


def learn(env: Any, settings: dict[str, Any], updates: int, env_params: Any = None, **parts: Any) -> Any:
    algorithm = dqn.make(dqn.Config(**settings), env, env_params, **parts)

    @jax.jit
    def run(key):
        return jax.lax.scan(lambda s, _: algorithm.update(s), algorithm.init(key), None, updates)

    state, metrics = run(jax.random.key(0))
    return algorithm, state, metrics


def greedy(algorithm: Any, state: Any, obs: Any) -> np.ndarray:
    size = jax.tree.leaves(obs)[0].shape[0]
    return np.asarray(algorithm.policy(state).act(jax.random.key(0), obs, (), jnp.zeros(size, bool), greedy=True)[0])


@pytest.mark.parametrize("head", HEADS)
def test_every_head_learns_the_optimal_values(head: str):
    """The values of replayed steps, as the algorithm reports them, and the greedy actions."""
    mdp = process()
    P, R = arrays(mdp)
    _, q = value_iteration(P, R, GAMMA)
    extra = {"hidden": (32,), "learning_rate": 3e-3, "atoms": 8} if head == "iqn" else {}
    algorithm, state, metrics = learn(mdp, LEARNING | extra | {"head": head}, 2_500)
    obs = jnp.eye(STATES)
    np.testing.assert_array_equal(greedy(algorithm, state, obs)[1:], q.argmax(-1)[1:])
    at = np.asarray(state.replay.rows.step.obs).argmax(-1).ravel()
    taken = np.asarray(state.replay.rows.step.action).ravel()
    np.testing.assert_allclose(np.mean(metrics["q_value"][-300:]), q[at, taken].mean(), atol=0.1)
    if head in ("two_hot", "hl_gauss", "c51"):
        assert np.asarray(metrics["clipped_targets"])[-100:].max() < 0.02


def test_all_switches_go_with_a_distribution_of_each_channel():
    mdp = process(channels=2)
    rewards = extrinsic((Channel("r0", discount=0.8), Channel("r1", discount=0.8)))
    P, R = arrays(mdp)
    best = value_iteration(P, R.sum(-1), GAMMA)[1]
    settings = LEARNING | {"head": "c51", "dueling": True, "prioritised": True, "double": False}
    algorithm, state, metrics = learn(mdp, settings, 1_500, rewards=rewards)
    np.testing.assert_array_equal(greedy(algorithm, state, jnp.eye(STATES))[1:], best.argmax(-1)[1:])
    assert metrics["loss/value"].shape == (1_500, 2)


def test_masked_actions_are_not_bootstrapped_from():
    mdp = process(kind=Masked)
    P, R = arrays(mdp)
    best = value_iteration(P, np.where(FORBIDDEN, -1e3, R), GAMMA)[1]
    algorithm, state, _ = learn(mdp, LEARNING | {"head": "qr"}, 1_500)
    obs = jax.vmap(lambda s: mdp._observe(TabularState(s, s)))(jnp.arange(STATES))
    np.testing.assert_array_equal(greedy(algorithm, state, obs)[1:], np.where(FORBIDDEN, -np.inf, best).argmax(-1)[1:])


@pytest.mark.parametrize("head", ["hl_gauss", "c51"])
def test_a_support_that_misses_the_returns_is_reported(head: str):
    _, _, metrics = learn(process(), LEARNING | {"head": head, "low": -0.1, "high": 0.1}, 300)
    assert np.mean(metrics["clipped_targets"][-50:]) > 0.5


GAMBLE = {
    "head": "qr",
    "atoms": 20,
    "hidden": (64, 64),
    "discount": 1.0,
    "num_envs": 32,
    "batch_size": 64,
    "buffer_size": 20_000,
    "learning_starts": 4_000,
    "learning_rate": 1e-3,
    "target_period": 50,
    "epsilon_start": 1.0,
    "epsilon_end": 1.0,
}


def test_with_a_stock_the_best_policy_for_cvar_is_learned():
    """Two gambles: the second is risked only where enough was lost or won before, which a plan in time cannot do."""
    lottery = stock.gamble(2)
    env = Stock(lottery)
    settings = GAMBLE | {"utility": "cvar", "relabel": 1}
    algorithm, state, _ = learn(env, settings, 1_500, StockParams(env.env.default_params, -10.0, 10.0))

    def act(t, total):
        obs = {"observation": jax.nn.one_hot(jnp.array([t]), 3), space.STOCK: jnp.array([total], jnp.float32)}
        return int(greedy(algorithm, state, obs)[0])

    for start in (-5.5, -2.5, 0.5, 4.5):
        outcome, prob = lottery.distribution(act, start)
        reached = prob @ np.minimum(start + outcome, 0.0)
        best = lottery.optimal_utility(lambda x: min(x, 0.0), start)
        assert reached > best - 0.15, (start, reached, best)


def test_stocks_of_relabelled_steps_follow_from_their_rewards():
    obs = {"observation": jnp.arange(4.0), space.STOCK: jnp.array([1.0, 2.0, 3.0, 4.0])}
    after = {"observation": jnp.arange(4.0) + 1, space.STOCK: jnp.zeros(4)}
    reward, discount = jnp.repeat(jnp.array([[1.0], [0.0], [-1.0], [2.0]]), 3, 0), jnp.full((12, 1), 0.5)
    discount = discount.at[0].set(0.0)
    got, then = dqn.under_stocks(jax.random.key(0), obs, after, reward, discount, 3)
    np.testing.assert_array_equal(got["observation"], np.repeat(np.arange(4.0), 3))
    np.testing.assert_array_equal(then["observation"], np.repeat(np.arange(4.0) + 1, 3))
    assert set(np.asarray(got[space.STOCK])) <= {1.0, 2.0, 3.0, 4.0}
    assert len(set(np.asarray(got[space.STOCK])[:3])) > 1
    np.testing.assert_allclose(then[space.STOCK][1:], (got[space.STOCK] + reward[:, 0])[1:] / 0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "c52"}, "head must be one of"),
        ({"head": "qr", "atoms": 1}, "atoms"),
        ({"head": "hl_gauss", "low": 1.0, "high": 1.0}, "width of the support"),
        ({"head": "c51", "relabel": 1, "envelope": True}, "head must be one of a scalar target"),
        ({"head": "qr", "homotopy_steps": 5}, "'mean' with homotopy_steps"),
        ({"utility": "cvar"}, "'qr' or 'iqn' with a utility"),
        ({"head": "qr", "utility": "entropic"}, "utility must be"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        dqn.Config(**settings)


def test_a_utility_needs_a_stock_of_the_same_discount():
    lottery = stock.gamble(2)
    with pytest.raises(ValueError, match="stock in the observation"):
        dqn.make(dqn.Config(head="qr", utility="cvar"), lottery)
    with pytest.raises(ValueError, match=r"discount must be 1.0"):
        dqn.make(dqn.Config(head="qr", utility="cvar", discount=0.9), Stock(lottery))
