"""Values where actions last: fares over trips of several slots, and fleets that share one value.

One value of place and slot serves every driver: matching maximises what all of them gain by it, and an idle driver
moves towards it. Values learned online and offline are mixed from time to time by
`optax.incremental_update(offline, online, weight)`, from which online learning goes on.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check


def smdp_reward(reward: jax.Array, duration: jax.Array | int, discount: jax.Array | float) -> jax.Array:
    """What a reward is worth at the start if it is earned evenly over `duration` slots.

        R / d sum_{i < d} gamma^i = (R / d) (1 - gamma^d) / (1 - gamma)

    A fare that is booked at once would make long trips too good. At gamma = 1 it is R; so it is where d = 1.

    Shapes: all broadcast to `[...]`; durations are whole slots, at least 1. Differentiated: `reward`.

    >>> import jax.numpy as jnp
    >>> float(smdp_reward(jnp.array(4.0), 2, 0.5))
    3.0

    Raises:
      ValueError: for a duration below 1, or a discount outside (0, 1].

    Source: Tang et al., "Value Function is All You Need: A Unified Learning Framework for Ride Hailing Platforms"
    (2021).
    """
    check.in_range("duration", duration, 1.0)
    check.in_range("discount", discount, 0.0, 1.0, open_low=True)
    reward = jnp.asarray(reward)
    # (1 - gamma^d) / (1 - gamma) with both as expm1, which cancel little where gamma is near 1
    log = jnp.log(jnp.asarray(discount, reward.dtype))
    undiscounted = log == 0
    log = jnp.where(undiscounted, -1.0, log)
    duration = jnp.asarray(duration, reward.dtype)
    mean = jnp.expm1(duration * log) / (duration * jnp.expm1(log))
    return reward * jnp.where(undiscounted, 1.0, mean)


def smdp_target(
    reward: jax.Array, duration: jax.Array | int, discount: jax.Array | float, next_value: jax.Array
) -> jax.Array:
    """The value target of an action that lasts: `smdp_reward(R, d, gamma) + gamma^d V(s', t + d)`.

    A driver that is matched has the fare, the trip's slots and the value where it drops; an idle one `R = 0`, `d = 1`
    and the value of the same place a slot later. Average the squared errors of all drivers who had a decision to make
    (mask out those on a trip, or they are updated twice). `next_value` is 0 beyond the last slot.

    Shapes: all broadcast to `[...]`. Stopped: all.

    >>> import jax.numpy as jnp
    >>> fare, slots, value = jnp.array([4.0, 0.0]), jnp.array([2, 1]), jnp.array([8.0, 8.0])
    >>> smdp_target(fare, slots, 0.5, value).tolist()
    [5.0, 4.0]

    Raises:
      ValueError: for a duration below 1, or a discount outside (0, 1].

    Source: Tang et al., "Value Function is All You Need: A Unified Learning Framework for Ride Hailing Platforms"
    (2021).
    """
    exponent = jnp.asarray(duration, jnp.asarray(reward).dtype)
    return jax.lax.stop_gradient(smdp_reward(reward, duration, discount) + discount**exponent * next_value)


def dispatch_scores(order_target: jax.Array, driver_value: jax.Array, feasible: jax.Array | None = None) -> jax.Array:
    """What each match would gain: `order_target_ij - driver_value_j`, or minus infinity where it is not feasible.

    `order_target` is `smdp_target` of order i served by driver j, `driver_value` what j has without it. With the value
    of its state, `V(s_j, t)`, a score is the TD error of the match, as published; with that of staying idle, `gamma
    V(s_j, t + 1)`, the best matching maximises the sum of all drivers' targets. The driver's value is subtracted here:
    a target that has it subtracted already would lose it twice.

    Shapes: `order_target` `[..., O, D]`, or `[..., O, 1]` where it does not depend on the driver; `driver_value`
    `[..., D]`, `feasible` bool `[..., O, D]`. Result `[..., O, D]`. Differentiated: both.

    >>> import jax.numpy as jnp
    >>> dispatch_scores(jnp.array([[5.0]]), jnp.array([1.0, 4.0]), jnp.array([[True, False]])).tolist()
    [[4.0, -inf]]

    Raises:
      ValueError: for a `feasible` that is not boolean or not of the scores' shape, or targets of another rank.

    Source: Tang et al., "Value Function is All You Need: A Unified Learning Framework for Ride Hailing Platforms"
    (2021).
    """
    check.rank("order_target", order_target, jnp.ndim(driver_value) + 1)
    score = order_target - driver_value[..., None, :]
    if feasible is None:
        return score
    check.require(jnp.result_type(feasible) == jnp.bool_, "feasible", jnp.result_type(feasible), "boolean")
    check.same_shape(feasible=feasible, scores=score)
    return jnp.where(feasible, score, -jnp.inf)


def reposition_logits(
    next_value: jax.Array,
    steps: jax.Array,
    discount: jax.Array | float,
    value: jax.Array | float,
    cost: jax.Array | float,
    temperature: jax.Array | float,
) -> jax.Array:
    """Logits over the places that an idle driver may go to.

        (gamma^steps V(z, t + steps) - V(here, t) - cost) / temperature

    Draw the place rather than take the best one: sampling spreads a fleet whose members all see the same values. `V
    (here)` changes no probability, only the level of the logits.

    Shapes: `next_value`, `steps` (slots on the way) and `cost` `[..., Z]` or broadcast to it, `value` `[...]`. Result
    `[..., Z]`. Differentiated: all but `steps`.

    >>> import jax.numpy as jnp
    >>> reposition_logits(jnp.array([4.0, 8.0]), jnp.array([1, 2]), 0.5, 1.0, 0.0, 0.5).tolist()
    [2.0, 2.0]

    Raises:
      ValueError: for a temperature that is not positive, a discount outside (0, 1], or negative steps.

    Source: Tang et al., "Value Function is All You Need: A Unified Learning Framework for Ride Hailing Platforms"
    (2021).
    """
    check.positive("temperature", temperature)
    check.in_range("discount", discount, 0.0, 1.0, open_low=True)
    check.in_range("steps", steps, 0.0)
    later = discount ** jnp.asarray(steps, next_value.dtype) * next_value
    return (later - jnp.asarray(value)[..., None] - cost) / temperature


def matching(score: jax.Array, *, tolerance: float = 1e-3, max_rounds: int = 10_000) -> jax.Array:
    """Which column each row is matched with, one to one, so that the sum of the scores is greatest; -1: with none.

    Bertsekas' auction: in each round every row without a column bids for the one that it values most above its price,
    by as much as it is better than the second best, or than nothing. A match that scores below 0 is never made. The sum
    is within `O tolerance` of the best, hence the best where scores are multiples of something larger. Rounds grow
    with the scores' range over the tolerance; where they end early, rows that still bid are left without. A tolerance
    below the rounding error of the scores is lost, and rounds run out.

    `scipy.optimize.linear_sum_assignment` is exact and faster on the host; this runs under `jit` and `vmap`.

    Shapes: `[O, D]`, `-inf` where forbidden. Result: int `[O]`.

    >>> import jax.numpy as jnp
    >>> matching(jnp.array([[5.0, 4.0], [4.0, 1.0], [-1.0, -1.0]])).tolist()
    [1, 0, -1]

    Raises:
      ValueError: for scores of another rank, a tolerance that is not positive, or fewer than one round.

    Source: Bertsekas, "The Auction Algorithm: A Distributed Relaxation Method for the Assignment Problem" (1988).
    """
    check.rank("score", score, 2)
    check.positive("tolerance", tolerance)
    check.count("max_rounds", max_rounds)
    rows, columns = score.shape
    row = jnp.arange(rows)
    score = jnp.asarray(jax.lax.stop_gradient(score), jnp.promote_types(score.dtype, jnp.float32))

    def bids(state: tuple[jax.Array, ...]) -> jax.Array:
        """Rows that still want a column."""
        owner, price, _ = state
        owns = jnp.any(owner == row[:, None], axis=1)
        return ~owns & ((score - price).max(1) > 0)

    def bid(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        owner, price, rounds = state
        gain = score - price
        first = gain.argmax(1)
        second = jnp.where(jnp.arange(columns) == first[:, None], -jnp.inf, gain).max(1, initial=0.0)
        offer = price[first] + gain[row, first] - second + tolerance
        offers = jnp.full((rows, columns), -jnp.inf, score.dtype)
        offers = offers.at[row, first].set(jnp.where(bids(state), offer, -jnp.inf))
        highest = offers.max(0)
        sold = highest > -jnp.inf
        return jnp.where(sold, offers.argmax(0), owner), jnp.where(sold, highest, price), rounds + 1

    start = (jnp.full(columns, -1), jnp.zeros(columns, score.dtype), jnp.zeros((), jnp.int32))
    owner, _, _ = jax.lax.while_loop(lambda s: bids(s).any() & (s[2] < max_rounds), bid, start)
    owns = owner == row[:, None]
    return jnp.where(owns.any(1), owns.argmax(1), -1)
