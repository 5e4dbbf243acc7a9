"""Optimal values of finite processes as a differentiable kernel: for rewards that are being learned.

`tabular.py` has the exact answers in float64 on the host; this runs under `jit` and `vmap`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array


@jax.default_matmul_precision("highest")  # accelerators multiply in fewer digits unless told
def soft_policy_iteration(
    transition: Array,
    reward: Array,
    discount: Array | float,
    temperature: Array | float,
    *,
    start: Array | None = None,
    num_iterations: int = 20,
) -> tuple[Array, Array]:
    """Values `(v [S], q [S, A])` of the policy of maximum entropy, by Newton's method on Bellman's equation.

        q = R + discount P v,   v = temperature log sum_a exp(q / temperature),   pi = exp((q - v) / temperature)

    Each iteration evaluates the policy that is greedy, softly, in the last values: digits double with each, and some
    five to ten are enough. Low temperatures give ordinary optimal values, within `temperature log A / (1 - discount)`.

    Shapes: `[S, A, S]`, `[S, A]`, scalar or `[S, A]` (zero where the step ends the episode), scalar -> `[S]`,
    `[S, A]`. Differentiated: `transition`, `reward`, `discount`, `temperature`, through the fixed point and not through
    the iterations: exact first derivatives at the cost of one linear system, and no second ones. The derivative of
    `v[s]` by the reward is the policy's discounted visits from s.

    `start [S]` are values from which to iterate, of the last reward for instance: two or three iterations then follow
    a reward that learns. They should be those of some policy that reaches the end, where nothing is discounted; without
    it, the uniform policy's.

    Usual mistake: too few iterations at low temperature for a long chain of states, where each may correct one state;
    the policy is then not yet `softmax(q / temperature)` of its own values.

    >>> v, q = soft_policy_iteration(jnp.ones((1, 2, 1)), jnp.zeros((1, 2)), 0.5, 1.0)
    >>> round(float(v[0]), 5)  # log 2 / (1 - 0.5)
    1.38629

    Raises:
      ValueError: for shapes that do not fit, a discount outside [0, 1], a temperature that is not positive, or no
        iteration.

    Source: Haarnoja et al., "Soft Actor-Critic" (2018) for the iteration; Puterman and Brumelle, "On the Convergence of
    Policy Iteration in Stationary Dynamic Programming" (1979) for Newton's method.
    """
    shape = jnp.shape(transition)
    check.require(len(shape) == 3 and shape[0] == shape[2], "the shape of transition", shape, "[S, A, S]")
    check.require(jnp.shape(reward) == shape[:2], "the shape of reward", jnp.shape(reward), f"[S, A] = {shape[:2]}")
    fits = jnp.shape(discount) in ((), shape[:2])
    check.require(fits, "the shape of discount", jnp.shape(discount), f"() or [S, A] = {shape[:2]}")
    check.in_range("discount", discount, 0.0, 1.0)
    check.positive("temperature", temperature)
    check.count("num_iterations", num_iterations)
    dtype = jnp.result_type(reward, float)
    full = jnp.promote_types(dtype, jnp.float32)  # linear systems have no half precision
    transition, reward, discount, temperature = (
        jnp.asarray(x, full) for x in (transition, reward, discount, temperature)
    )
    step = transition * discount[..., None]

    def evaluate(policy: Array, surplus: Array, step: Array = step) -> Array:
        flow = jnp.eye(shape[0], dtype=full) - jnp.einsum("sa,sat->st", policy, step)
        return jnp.linalg.solve(flow, jnp.sum(policy * surplus, -1))

    def improve(v: Array) -> tuple[Array, Array]:
        """The soft policy of these values, and its log probabilities."""
        log_policy = jax.nn.log_softmax((reward + step @ v) / temperature)
        return jnp.exp(log_policy), log_policy

    def iterate(_: int, v: Array) -> Array:
        policy, log_policy = improve(v)
        return evaluate(policy, reward - temperature * log_policy)

    uniform = jnp.full(shape[:2], 1 / shape[1], full)
    v = evaluate(uniform, reward - temperature * jnp.log(uniform)) if start is None else jnp.asarray(start, full)
    check.require(v.shape == shape[:1], "the shape of start", v.shape, f"[S] = {shape[:1]}")
    v = jax.lax.fori_loop(0, num_iterations, iterate, jax.lax.stop_gradient(v))
    # at the optimum the policy's own change has no effect on the value: hold it and differentiate the evaluation
    policy, log_policy = jax.lax.stop_gradient(improve(jax.lax.stop_gradient(v)))
    v = evaluate(policy, reward - temperature * log_policy)
    return v.astype(dtype), (reward + step @ v).astype(dtype)
