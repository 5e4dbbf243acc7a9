"""Multi-step returns: one backward scan over time and its named settings.

All arrays are time-major `[T, ...]` with any trailing axes: `[T]`, `[T, B]`, `[T, B, K]`. Step t is the transition
from the state at t to the one it led to, and carries

- `reward` and `discount = gamma * (1 - terminated)`: truncation does not zero the discount;
- `next_value`, the value of the *true* next observation (gymnax's `final_observation`), at every step;
- `cut`, bool: the next row does not continue this step, so no trace crosses. For an episodic channel
  `terminated | truncated`. The last row needs no cut: nothing comes after it.

Values and rewards have one shape; the other arguments broadcast to it, as NumPy does, and must have all axes (of size
1 where constant) or be a scalar; `lambda_` and a constant `discount` may also be `[K]`. No gradient flows through any
result: they are targets and weights.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check

UNROLL = 8  # steps per iteration of the scan: fewer, larger loop bodies are faster on CPU and no slower elsewhere


def off_policy_returns(
    v: jax.Array,
    v_next: jax.Array,
    reward: jax.Array,
    discount: jax.Array | float,
    rho: jax.Array | float,
    c: jax.Array | float,
    *,
    unroll: int = UNROLL,
) -> tuple[jax.Array, jax.Array]:
    """Returns and accumulated errors of any trace-based estimator.

        delta_t = rho_t (r_t + discount_t v_next_t - v_t)
        e_t = delta_t + discount_t c_t e_{t+1},   e_T = 0
        G_t = v_t + e_t

    `rho` weights an error and `c` says how much of the later errors reaches back to step t. TD(lambda), V-trace,
    Retrace and Q(lambda) below are choices of the two; use this for one that is not there. The caller sets `c = 0`
    where the next row belongs to another episode; shifting `v` instead of giving `v_next` takes the value of a reset
    state there.

    Shapes: `v`, `v_next`, `reward` `[T, ...]`; the others broadcast to it. Result: `(G, e)`, each `[T, ...]`.
    Stopped: all.

    >>> import jax.numpy as jnp
    >>> returns, errors = off_policy_returns(jnp.zeros(3), jnp.zeros(3), jnp.ones(3), 0.5, 1.0, 1.0)
    >>> returns.tolist()
    [1.75, 1.5, 1.0]

    Raises:
      ValueError: for shapes that differ, or that do not broadcast to the values'.

    Source: Munos et al., "Safe and Efficient Off-Policy Reinforcement Learning" (2016); Espeholt et al., "IMPALA"
    (2018).
    """
    check.same_shape(v=v, v_next=v_next, reward=reward)
    _check_broadcast(jnp.shape(v), discount=discount, rho=rho, c=c)
    v, v_next, reward, discount, rho, c = map(
        jax.lax.stop_gradient, map(jnp.asarray, (v, v_next, reward, discount, rho, c))
    )
    delta = rho * (reward + discount * v_next - v)
    decay = jnp.broadcast_to(jnp.asarray(discount * c, delta.dtype), delta.shape)

    def backward(error: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        delta_t, decay_t = step
        error = delta_t + decay_t * error
        return error, error

    _, errors = jax.lax.scan(backward, jnp.zeros_like(delta[0]), (delta, decay), reverse=True, unroll=unroll)
    return v + errors, errors


def gae(
    value: jax.Array,
    next_value: jax.Array,
    reward: jax.Array,
    discount: jax.Array | float,
    lambda_: jax.Array | float,
    cut: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Generalised advantage estimation: `(advantage, value target)`.

        delta_t = r_t + discount_t next_value_t - value_t
        advantage_t = delta_t + discount_t lambda (1 - cut_t) advantage_{t+1},   target_t = value_t + advantage_t

    Shapes: `[T, ...]`, also for `[T, B, K]` channels with `discount` and `lambda_` of each. Stopped: all.
    The usual mistake is one flag for both ends of an episode: termination zeroes the discount, truncation only cuts.

    >>> import jax.numpy as jnp
    >>> advantage, target = gae(jnp.zeros(3), jnp.full(3, 10.0), jnp.ones(3), 0.9, 0.0, jnp.zeros(3, bool))
    >>> advantage.tolist()
    [10.0, 10.0, 10.0]

    Raises:
      ValueError: for shapes that do not fit, or a `cut` that is not boolean.

    Source: Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation" (2016).
    """
    returns, errors = off_policy_returns(value, next_value, reward, discount, 1.0, _trace(cut, lambda_, value))
    return errors, returns


def lambda_returns(
    next_value: jax.Array,
    reward: jax.Array,
    discount: jax.Array | float,
    lambda_: jax.Array | float,
    cut: jax.Array,
) -> jax.Array:
    """TD(lambda) returns, from the values of the next observations alone.

        G_t = r_t + discount_t ((1 - lambda) next_value_t + lambda G_{t+1})

    with `G_{t+1}` replaced by `next_value_t` where cut and at the end. `lambda_ = 0` gives one-step targets, 1
    Monte-Carlo returns. Equal to the target of `gae` where `next_value` is the following `value`, without needing
    `value`.

    Shapes: `[T, ...]`. Stopped: all.

    >>> import jax.numpy as jnp
    >>> cut = jnp.array([False, True, False])
    >>> lambda_returns(jnp.full(3, 4.0), jnp.ones(3), 0.5, 1.0, cut).tolist()
    [2.5, 3.0, 3.0]

    Raises:
      ValueError: for shapes that do not fit, or a `cut` that is not boolean.

    Source: Sutton, "Learning to Predict by the Methods of Temporal Differences" (1988).
    """
    trace = _trace(cut, lambda_, next_value)
    # inside an episode the value at t + 1 is next_value_t; the one at step 0 cancels
    value = jnp.concatenate([jnp.zeros_like(next_value[:1]), next_value[:-1]])
    returns, _ = off_policy_returns(value, next_value, reward, discount, 1.0, trace)
    return returns


def vtrace(
    value: jax.Array,
    next_value: jax.Array,
    reward: jax.Array,
    discount: jax.Array | float,
    ratio: jax.Array,
    lambda_: jax.Array | float,
    cut: jax.Array,
    *,
    rho_bar: jax.Array | float = 1.0,
    c_bar: jax.Array | float = 1.0,
) -> tuple[jax.Array, jax.Array]:
    """V-trace: `(policy-gradient advantage, value target)` of the target policy from another policy's actions.

    The scan with `rho_t = min(rho_bar, ratio_t)` and `c_t = lambda min(c_bar, ratio_t) (1 - cut_t)`;

        advantage_t = rho_t (r_t + discount_t G_{t+1} - value_t)

    with `next_value_t` for `G_{t+1}` where cut and at the end. `ratio` is `pi(a|s) / mu(a|s)`, target over behaviour.
    `rho_bar` decides which policy's value is learnt, `c_bar` only how fast. Not the form of rlax, which mixes the
    bootstrap with the value when `lambda_ < 1` and takes a reset state's value at a truncation.

    Shapes: `[T, ...]`; `ratio` `[T, B, 1]` for channels. Stopped: all.

    >>> import jax.numpy as jnp
    >>> zeros, no = jnp.zeros(2), jnp.zeros(2, bool)
    >>> advantage, target = vtrace(zeros, zeros, jnp.ones(2), 1.0, jnp.array([0.5, 4.0]), 1.0, no)
    >>> advantage.tolist(), target.tolist()
    ([1.0, 1.0], [1.0, 1.0])

    Raises:
      ValueError: for shapes that do not fit, or a `cut` that is not boolean.

    Source: Espeholt et al., "IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner
    Architectures" (2018).
    """
    _check_broadcast(jnp.shape(value), ratio=ratio)
    rho = jnp.minimum(rho_bar, ratio)
    trace = _trace(cut, lambda_, value) * jnp.minimum(c_bar, ratio)
    returns, _ = off_policy_returns(value, next_value, reward, discount, rho, trace)
    last = jnp.arange(len(returns)).reshape(-1, *(1,) * (returns.ndim - 1)) == len(returns) - 1
    bootstrap = jnp.where(cut | last, next_value, _next_step(returns))
    return jax.lax.stop_gradient(rho * (reward + discount * bootstrap - value)), returns


def retrace(
    q: jax.Array,
    next_value: jax.Array,
    reward: jax.Array,
    discount: jax.Array | float,
    ratio: jax.Array,
    lambda_: jax.Array | float,
    cut: jax.Array,
) -> jax.Array:
    """Retrace(lambda) targets for `q = Q(s_t, a_t)`, from another policy's actions.

    The scan with `v = q`, `v_next = E_pi Q(s', .)`, `rho = 1` and `c_t = lambda min(1, ratio_{t+1}) (1 - cut_t)`.

    `ratio_t = pi(a_t|s_t) / mu(a_t|s_t)` is that of the same step as `q_t`: the kernel itself takes the next step's,
    since the action at t is given and only the later ones need correcting. Shifting it beforehand is the usual
    mistake.

    Shapes: `[T, ...]`. Stopped: all.

    >>> import jax.numpy as jnp
    >>> zeros, no = jnp.zeros(2), jnp.zeros(2, bool)
    >>> retrace(zeros, zeros, jnp.ones(2), 1.0, jnp.array([9.0, 0.5]), 1.0, no).tolist()
    [1.5, 1.0]

    Raises:
      ValueError: for shapes that do not fit, or a `cut` that is not boolean.

    Source: Munos et al., "Safe and Efficient Off-Policy Reinforcement Learning" (2016).
    """
    _check_broadcast(jnp.shape(q), ratio=ratio)
    trace = _trace(cut, lambda_, q) * jnp.minimum(1.0, _next_step(ratio))
    returns, _ = off_policy_returns(q, next_value, reward, discount, 1.0, trace)
    return returns


def q_lambda(
    next_value: jax.Array,
    reward: jax.Array,
    discount: jax.Array | float,
    lambda_: jax.Array | float,
    cut: jax.Array,
    greedy: jax.Array | None = None,
) -> jax.Array:
    """Q(lambda) targets, Peng's or Watkins's: TD(lambda) returns of `next_value = max_a Q(s', a)`.

    Without `greedy` every trace goes on, whatever was done (Peng): not the optimal value's fixed point, yet usually
    faster. With `greedy_t` (bool: the action taken at t maximises Q) a trace ends before an action that does not
    (Watkins). The kernel takes the next step's flag itself: the action at t is given.

    Shapes: `[T, ...]`. Stopped: all.

    >>> import jax.numpy as jnp
    >>> zeros, no = jnp.zeros(3), jnp.zeros(3, bool)
    >>> q_lambda(zeros, jnp.ones(3), 1.0, 1.0, no, jnp.array([False, True, False])).tolist()
    [2.0, 1.0, 1.0]

    Raises:
      ValueError: for shapes that do not fit, or a `cut` or `greedy` that is not boolean.

    Source: Peng and Williams, "Incremental Multi-Step Q-Learning" (1994); Watkins, "Learning from Delayed Rewards"
    (1989).
    """
    if greedy is None:
        return lambda_returns(next_value, reward, discount, lambda_, cut)
    _check_flag("cut", cut, next_value)
    _check_flag("greedy", greedy, next_value)
    return lambda_returns(next_value, reward, discount, lambda_, cut | ~_next_step(greedy))


def n_step_returns(
    next_value: jax.Array,
    reward: jax.Array,
    discount: jax.Array | float,
    cut: jax.Array,
    n: int,
) -> jax.Array:
    """Sum of up to `n` discounted rewards plus the value of where they led.

        G_t = r_t + discount_t r_{t+1} + ... + discount_t ... discount_{t+m-1} next_value_{t+m-1}

    where `m <= n` ends at the first cut and at the end of the data: a truncated episode bootstraps from its own last
    value and a terminated one from nothing, its discount being zero. `n = 1` gives one-step targets, `n >= T`
    Monte-Carlo returns.

    Shapes: `[T, ...]`; `n` is static and the cost is O(n T). Stopped: all.

    >>> import jax.numpy as jnp
    >>> cut = jnp.array([False, True, False, False])
    >>> n_step_returns(jnp.full(4, 8.0), jnp.ones(4), 0.5, cut, n=2).tolist()
    [3.5, 5.0, 3.5, 5.0]

    Raises:
      ValueError: for shapes that do not fit, a `cut` that is not boolean, or `n < 1`.

    Source: Sutton and Barto, "Reinforcement Learning: An Introduction" (2018), chapter 7.
    """
    check.count("n", n)
    check.same_shape(next_value=next_value, reward=reward)
    _check_broadcast(jnp.shape(reward), discount=discount)
    _check_flag("cut", cut, reward)
    ends = jnp.asarray(cut).at[-1].set(True)
    one_step = reward + discount * next_value
    returns = one_step
    for _ in range(min(n, len(reward)) - 1):  # from m-step returns at t + 1 to (m + 1)-step returns at t
        returns = jnp.where(ends, one_step, reward + discount * _next_step(returns))
    return jax.lax.stop_gradient(returns)


def returns_to_go(reward: jax.Array, discount: jax.Array | float, cut: jax.Array, *, unroll: int = UNROLL) -> jax.Array:
    """Discounted sum of the rewards from each step to the end of its episode, or of the data: no bootstrap.

        G_t = r_t + discount_t (1 - cut_t) G_{t+1}

    What return-conditioned policies are told. `cut` must hold at truncations too, or the sum runs into the next
    episode.

    Shapes: `[T, ...]`. Stopped: all.

    >>> import jax.numpy as jnp
    >>> returns_to_go(jnp.ones(4), 1.0, jnp.array([False, True, False, False])).tolist()
    [2.0, 1.0, 2.0, 1.0]

    Raises:
      ValueError: for shapes that do not fit, or a `cut` that is not boolean.

    Source: Chen et al., "Decision Transformer: Reinforcement Learning via Sequence Modeling" (2021).
    """
    zeros = jnp.zeros_like(reward)
    returns, _ = off_policy_returns(zeros, zeros, reward, discount, 1.0, _trace(cut, 1.0, reward), unroll=unroll)
    return returns


def _trace(cut: jax.Array, lambda_: jax.Array | float, values: jax.Array) -> jax.Array:
    """`lambda_` where the next row continues this step, else 0."""
    check.require(jnp.ndim(values) > 0, "the shape of the values", jnp.shape(values), "[T, ...]")
    _check_flag("cut", cut, values)
    _check_broadcast(jnp.shape(values), lambda_=lambda_)
    return jnp.where(cut, 0.0, lambda_)


def _next_step(x: jax.Array) -> jax.Array:
    """The following row; zeros after the last, which no caller reads."""
    return jnp.concatenate([x[1:], jnp.zeros_like(x[:1])])


def _check_broadcast(shape: tuple[int, ...], **arrays: jax.Array | float) -> None:
    """Raise unless each array is a scalar, `[K]`, or has all axes, of the full size or of size 1."""
    for name, array in arrays.items():
        given = jnp.shape(array)
        rank_fits = len(given) in (0, 1, len(shape))
        if not rank_fits or any(a not in (1, b) for a, b in zip(given[::-1], shape[::-1], strict=False)):
            raise ValueError(f"{name} must be a scalar or broadcast to the values' shape {shape}; got shape {given}")


def _check_flag(name: str, flag: jax.Array, like: jax.Array) -> None:
    check.require(jnp.result_type(flag) == jnp.bool_, name, jnp.result_type(flag), "boolean")
    check.rank(name, flag, jnp.ndim(like))
    _check_broadcast(jnp.shape(like), **{name: flag})
