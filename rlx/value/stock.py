"""Risk and other functionals of the whole return, by a stock: what has been collected so far, in today's units.

The best policy for a functional of the return, not its mean, must know what it has collected. With the stock
`c_{t+1} = (c_t + r_{t+1}) / discount` as part of the observation, `c_t + G_t = discount (c_{t+1} + G_{t+1})`, and
dynamic programming maximises `E f(c + G)` for every f whose order survives scaling by the discount.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.value.target import greedy_action, take_action

Utility = Literal["mean", "cvar", "entropic", "homeostatic"] | Callable[[jax.Array], jax.Array]


def stock_update(stock: jax.Array, reward: jax.Array, discount: jax.Array | float) -> jax.Array:
    """The stock after a step, `(stock + reward) / discount`, so that `stock + return` only changes by a factor.

    `discount` is gamma, also where the step terminates: divided by `gamma (1 - terminated)` the stock would be
    infinite. It grows as `discount^-t`: bound the horizon or scale what the network sees. The dynamics do not depend
    on it, so that a replayed step may be learned from under any other stock.

    Shapes: all broadcast to `[...]`. Differentiated: all.

    >>> import jax.numpy as jnp
    >>> float(stock_update(jnp.array(1.0), jnp.array(2.0), 0.5))
    6.0

    Raises:
      ValueError: for a discount that is not positive or above 1.

    Source: Pires et al., "Optimizing Return Distributions with Distributional Dynamic Programming" (2025).
    """
    check.in_range("discount", discount, 0.0, 1.0, open_low=True)
    return (stock + reward) / discount


def statistical_utility(
    quantile: jax.Array,
    stock: jax.Array | float = 0.0,
    kind: Utility = "mean",
    *,
    beta: jax.Array | float | None = None,
) -> jax.Array:
    """What a distribution of returns is worth on top of a stock: `mean_i f(stock + quantile_i)`.

        mean:         x                     the order of expected returns
        cvar:         min(x, 0)             CVaR, from the start stock that `cvar_stock` finds
        homeostatic:  -x^2                  keep the total near 0
        entropic:     -1/beta log mean exp(-beta x), the certainty equivalent; beta > 0 shuns risk, < 0 seeks it

    A callable is applied elementwise and averaged. Of the four only the entropic one is changed by the discount: after
    t steps it needs `beta discount^t`, and so does any f that is not homogeneous need its argument scaled.

    Shapes: `quantile` `[..., N]`, equally likely; `stock` and `beta` broadcast to `[...]`, the result. Differentiated:
    all.

    >>> import jax.numpy as jnp
    >>> float(statistical_utility(jnp.array([-3.0, 5.0]), jnp.array(1.0), "cvar"))
    -1.0

    Raises:
      ValueError: for an unknown kind, and for `beta` that is missing or zero with the entropic kind, or given with
        another.

    Source: Pires et al., "Optimizing Return Distributions with Distributional Dynamic Programming" (2025); Howard and
    Matheson, "Risk-Sensitive Markov Decision Processes" (1972) for the entropic one.
    """
    kinds = ("mean", "cvar", "entropic", "homeostatic")
    check.require(callable(kind) or kind in kinds, "kind", kind, f"one of {kinds} or a callable")
    total = quantile + jnp.asarray(stock)[..., None]
    if kind == "entropic":
        if beta is None:
            raise ValueError("beta must be given with kind 'entropic'; got None")
        nonzero = isinstance(beta, jax.core.Tracer) or bool(np.all(np.asarray(beta) != 0))
        check.require(nonzero, "beta", beta, "other than 0, whose limit is kind 'mean'")
        size = total.shape[-1]
        return -jax.nn.logsumexp(-jnp.asarray(beta)[..., None] * total - jnp.log(size), axis=-1) / beta
    check.require(beta is None, "beta", beta, f"None with kind {kind!r}")
    if callable(kind):
        return kind(total).mean(-1)
    f = {"mean": lambda x: x, "cvar": lambda x: jnp.minimum(x, 0.0), "homeostatic": lambda x: -jnp.square(x)}[kind]
    return f(total).mean(-1)


def stock_greedy(
    quantile: jax.Array,
    stock: jax.Array | float = 0.0,
    kind: Utility = "mean",
    mask: jax.Array | None = None,
    *,
    beta: jax.Array | float | None = None,
) -> jax.Array:
    """The action whose return is worth most on top of the stock of the state it is taken in.

    Shapes: `quantile` `[..., A, N]`, `stock` and `beta` broadcast to `[...]`, `mask` bool `[..., A]`. Result: int
    `[...]`, the first on a tie.

    >>> import jax.numpy as jnp
    >>> risky, safe = jnp.array([-3.0, 5.0]), jnp.array([0.5, 0.5])
    >>> [int(stock_greedy(jnp.stack([risky, safe]), c, "cvar")) for c in (jnp.array(0.0), jnp.array(-9.0))]
    [1, 0]

    Raises:
      ValueError: as `statistical_utility` and `greedy_action`.

    Source: Pires et al., "Optimizing Return Distributions with Distributional Dynamic Programming" (2025).
    """
    stock = jnp.asarray(stock)[..., None]
    beta = None if beta is None else jnp.asarray(beta)[..., None]
    return greedy_action(statistical_utility(quantile, stock, kind, beta=beta), mask)


def stock_quantile_target(
    next_quantile: jax.Array,
    next_stock: jax.Array | float,
    reward: jax.Array,
    discount: jax.Array | float,
    kind: Utility = "mean",
    mask: jax.Array | None = None,
    *,
    beta: jax.Array | float | None = None,
) -> jax.Array:
    """Samples of the return to regress quantiles on: `r + discount theta'_i(s', a*)`, greedy under the *next* stock.

    `next_stock` is `stock_update(stock, reward, gamma)`, not the stock before the step; `discount` is `gamma
    (1 - terminated)`. With kind "mean" this is the target of quantile regression DQN, whatever the stock.

    Shapes: `next_quantile` `[..., A, N]` at `s'` and `next_stock`, which broadcasts to `[...]`, `reward` `[...]`,
    `discount` and `beta` (that of the next step) broadcast to it, `mask` bool `[..., A]` of the next state. Result
    `[..., N]`. Stopped: all.

    >>> import jax.numpy as jnp
    >>> theta = jnp.array([[-3.0, 5.0], [0.5, 0.5]])
    >>> stock_quantile_target(theta, jnp.array(-9.0), jnp.array(1.0), 0.5, "cvar").tolist()
    [-0.5, 3.5]

    Raises:
      ValueError: for shapes that do not fit, and as `statistical_utility`.

    Source: Pires et al., "Optimizing Return Distributions with Distributional Dynamic Programming" (2025); Dabney et
    al., "Distributional Reinforcement Learning with Quantile Regression" (2018).
    """
    action = stock_greedy(next_quantile, next_stock, kind, mask, beta=beta)
    chosen = take_action(next_quantile, action)
    check.same_shape(reward=reward, next_action=action)
    target = jnp.asarray(reward)[..., None] + jnp.asarray(discount)[..., None] * chosen
    return jax.lax.stop_gradient(target)


def cvar_stock(stock: jax.Array, quantile: jax.Array, level: jax.Array | float) -> tuple[jax.Array, jax.Array]:
    """The start stock from which maximising `E min(c + G, 0)` maximises CVaR, among candidates, and that CVaR.

        max_c  -c + E min(c + G_c, 0) / level

    `G_c` is the return of the policy that is greedy from start stock c; the best c is minus the `level` quantile of
    the best policy's return. At any other c the value is a lower bound of the CVaR, so a coarse grid only loses.

    Shapes: `stock` `[C]`, `quantile` `[..., C, N]`, equally likely, `level` broadcasts to `[...]`. Results `[...]`.
    Differentiated: the CVaR by `quantile`.

    >>> import jax.numpy as jnp
    >>> found = cvar_stock(jnp.array([-2.0, -1.0, 0.0]), jnp.broadcast_to(jnp.array([1.0, 3.0]), (3, 2)), 0.5)
    >>> [float(x) for x in found]
    [-2.0, 1.0]

    Raises:
      ValueError: for a level outside (0, 1], or shapes that do not fit.

    Source: Bäuerle and Ott, "Markov Decision Processes with Average-Value-at-Risk criteria" (2011).
    """
    check.in_range("level", level, 0.0, 1.0, open_low=True)
    check.rank("stock", stock, 1)
    check.require(quantile.shape[-2:-1] == stock.shape, "the shape of quantile", quantile.shape, "[..., C, N]")
    level = jnp.asarray(level, quantile.dtype)[..., None]
    bound = statistical_utility(quantile, stock, "cvar") / level - stock
    best = jnp.argmax(bound, axis=-1)
    return jnp.asarray(stock)[best], take_action(bound, best)
