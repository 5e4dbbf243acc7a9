"""Risk over whole returns: gambles whose best policies know what they have collected, and a wrapper that tells it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check, space
from rlx.envs.interface import at_time_limit, reset, step
from rlx.envs.tabular import draw
from rlx.envs.wrappers import Wrapped, WrapperWithMemory
from rlx.types import Array, Environment, PyTree
from rlx.value import stock_update


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LotteryParams:
    """What each action pays, and with which probability."""

    outcome: Any  # [A, J]
    prob: Any  # [A, J]
    max_steps_in_episode: Any  # steps

    def replace(self, **changes: Any) -> LotteryParams:
        return dataclasses.replace(self, **changes)


class LotteryState(NamedTuple):
    time: Array  # int32 [], steps since the reset


class Lottery:
    """A fixed number of gambles in a row, each chosen among the same few; the observation is the time, one-hot.

    What has been won is not observed (`Stock` adds it), so without a memory only plans in time are possible. The
    expected return is greatest where always the gamble of the greatest mean is taken; for other functionals of the
    return `optimal_utility` and `optimal_cvar` are exact.

    Args:
      outcome: what each action may pay, `[A, J]`.
      prob: how likely that is, `[A, J]`, rows with sum 1.
      horizon: number of gambles, after which the episode terminates.
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(self, outcome: Any, prob: Any, horizon: int):
        check.count("horizon", horizon)
        check.same_shape(outcome=outcome, prob=prob)
        check.rank("prob", prob, 2)
        prob = np.asarray(prob, np.float64)
        good = bool((prob >= 0).all() and np.allclose(prob.sum(-1), 1.0, atol=1e-6))
        check.require(good, "prob", prob, "rows of probabilities that sum to 1")
        self.horizon = horizon
        gambles = (zip(*row, strict=True) for row in zip(outcome, prob, strict=True))
        self._gambles = [[(float(x), float(p)) for x, p in gamble if p > 0] for gamble in gambles]
        self.default_params = LotteryParams(
            jnp.asarray(outcome, jnp.float32), jnp.asarray(prob, jnp.float32), jnp.asarray(horizon, jnp.int32)
        )

    def reset_env(self, key: Array, params: LotteryParams) -> tuple[Array, LotteryState]:
        del key, params
        state = LotteryState(jnp.zeros((), jnp.int32))
        return self._observe(state), state

    def step_env(
        self, key: Array, state: LotteryState, action: Array, params: LotteryParams
    ) -> tuple[Array, LotteryState, Array, Array, dict[str, Any]]:
        reward = params.outcome[action, draw(key, params.prob[action])]
        state = LotteryState(state.time + 1)
        return self._observe(state), state, reward, state.time >= self.horizon, {}

    def observation_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(0.0, 1.0, (self.horizon + 1,))

    def action_space(self, params: Any = None) -> space.Discrete:
        del params
        return space.Discrete(len(self._gambles))

    def _observe(self, state: LotteryState) -> Array:
        return jax.nn.one_hot(state.time, self.horizon + 1)

    def distribution(self, policy: Callable[[int, float], int], start: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Returns `[N]`, increasing, and their probabilities, of a policy of time and total (`start` plus winnings)."""
        totals = {start: 1.0}
        for t in range(self.horizon):
            after: dict[float, float] = {}
            for total, likely in totals.items():
                for x, p in self._gambles[policy(t, total)]:
                    after[round(total + x, 9)] = after.get(round(total + x, 9), 0.0) + likely * p
            totals = after
        pairs = np.array(sorted(totals.items()))
        return pairs[:, 0] - start, pairs[:, 1]

    def optimal_utility(self, f: Callable[[float], float], start: float = 0.0) -> float:
        """The greatest `E f(start + return)` of any policy, by dynamic programming over time and total."""

        @functools.cache
        def best(t: int, total: float) -> float:
            if t == self.horizon:
                return float(f(total))
            return max(sum(p * best(t + 1, round(total + x, 9)) for x, p in row) for row in self._gambles)

        return best(0, float(start))

    def optimal_cvar(self, level: float) -> float:
        """The greatest CVaR of any policy, with memory or without: the best over all thresholds that can matter."""
        check.in_range("level", level, 0.0, 1.0, open_low=True)
        totals = {0.0}
        for _ in range(self.horizon):
            totals = {round(total + x, 9) for total in totals for row in self._gambles for x, _ in row}
        return max(x + self.optimal_utility(lambda y: min(y, 0.0), -x) / level for x in totals)

    def optimal_return(self) -> float:
        """The greatest expected return."""
        return self.optimal_utility(lambda x: x)


def gamble(horizon: int = 6) -> Lottery:
    """A sure 1, or 4 with probability 0.85 and -5 else.

    The greatest expected return is `2.65 horizon`. The greatest CVaR at level 0.25 of six is 7.4924, 6 for the best
    plan in time alone and 5.0226 for the greatest mean; at 0.5 of four 6.4315, and 5.2 for the best plan.
    """
    return Lottery([[1.0, 1.0], [4.0, -5.0]], [[1.0, 0.0], [0.85, 0.15]], horizon)


def homeostat(horizon: int = 6) -> Lottery:
    """Push by -1, 0 or 1, onto which a fair coin puts -1 or 1: the task is to end near 0.

    The least mean square of the sum is 1, that of the last coin, with the total before it known; `horizon` without.
    """
    push = np.array([[-1.0], [0.0], [1.0]])
    return Lottery(push + np.array([-1.0, 1.0]), np.full((3, 2), 0.5), horizon)


class StockParams(NamedTuple):
    """Parameters of `Stock`."""

    inner: Any  # parameters of the wrapped environment
    low: Any = 0.0  # start stocks are uniform between these two
    high: Any = 0.0

    @property
    def max_steps_in_episode(self) -> Any:
        return self.inner.max_steps_in_episode


class Stock(WrapperWithMemory):
    """Adds what has been collected to the observation, in today's units: `{"observation": obs, "stock": c}`.

    `c <- (c + reward) / discount` after each step (`rlx.value.stock_update`), from a start that is drawn at each reset:
    which start a functional of the return needs is then a question to the learned values. The entries of a `Dict`
    observation stay as they are beside it.

    Source: Pires et al., "Optimizing Return Distributions with Distributional Dynamic Programming" (2025).

    Raises:
      ValueError: for a vector reward, or a discount outside (0, 1].
    """

    def __init__(self, env: Environment, discount: float = 1.0):
        super().__init__(env)
        channels = getattr(env, "reward_channels", None)
        check.require(channels is None, "reward_channels", channels, "none: a scalar reward")
        check.in_range("discount", discount, 0.0, 1.0, open_low=True)
        self.discount = discount

    @property
    def default_params(self) -> StockParams:
        return StockParams(self.env.default_params)

    def reset_env(self, key: Array, params: StockParams) -> tuple[PyTree, Wrapped]:
        reset_key, stock_key = jax.random.split(key)
        obs, inner = self.env.reset_env(reset_key, params.inner)
        stock = jax.random.uniform(stock_key, minval=params.low, maxval=params.high)
        return self.observe(obs, stock), Wrapped(inner, stock)

    def step_env(
        self, key: Array, state: Wrapped, action: Array, params: StockParams
    ) -> tuple[PyTree, Wrapped, Array, Array, Any]:
        obs, inner, reward, terminated, info = self.env.step_env(key, state.inner, action, params.inner)
        stock = stock_update(state.memory, reward, self.discount)
        return self.observe(obs, stock), Wrapped(inner, stock), reward, terminated, info

    def observe(self, obs: PyTree, stock: Array) -> dict[str, Any]:
        """An observation of the wrapped environment together with a stock."""
        return {**(obs if isinstance(obs, dict) else {"observation": obs}), space.STOCK: stock}

    def is_truncated(self, state: Wrapped, params: StockParams) -> Array:
        return super().is_truncated(state, params.inner)

    def observation_space(self, params: StockParams) -> space.Dict:
        inner = super().observation_space(params.inner)
        parts = inner.spaces if isinstance(inner, space.Dict) else {"observation": inner}
        return space.Dict({**parts, space.STOCK: space.Box(-np.inf, np.inf, ())})

    def action_space(self, params: StockParams) -> Any:
        return super().action_space(params.inner)
