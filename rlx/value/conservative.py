"""Pessimism about actions and states that the data does not hold."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx import check


def cql_penalty(
    q: jax.Array, q_data: jax.Array, temperature: jax.Array | float, log_prob: jax.Array | None = None
) -> jax.Array:
    """Conservative Q-learning's penalty: how far the soft maximum over actions lies above the logged action's value.

        temperature logsumexp_a(q_a / temperature - log_prob_a) - q_data

    Without `log_prob`, `q` holds every discrete action. With it, `q` holds sampled actions of those log densities:
    the ratio corrects for where they were drawn (`- temperature log(count)` would make it the integral's estimate,
    and is constant). The correction stands outside the division; dividing `q - log_prob` by the temperature is right
    at 1 only.

    Calibrated Q-learning: give `jnp.maximum(q, behaviour_value)` for the policy's samples.

    Shapes: `q` and `log_prob` `[..., A]`, `q_data` `[...]`. Differentiated: `q`, `q_data`; not `log_prob`.

    >>> import jax.numpy as jnp
    >>> round(float(cql_penalty(jnp.array([2.0, 2.0]), jnp.array(2.0), 1.0)), 4)
    0.6931

    Raises:
      ValueError: for shapes that do not fit, or a temperature that is not positive.

    Source: Kumar et al., "Conservative Q-Learning for Offline Reinforcement Learning" (2020); Nakamoto et al., "Cal-QL:
    Calibrated Offline RL Pre-Training for Efficient Online Fine-Tuning" (2023).
    """
    check.positive("temperature", temperature)
    check.same_shape(states_of_q=q[..., 0], q_data=q_data)
    score = q / temperature
    if log_prob is not None:
        check.same_shape(q=q, log_prob=log_prob)
        score = score - jax.lax.stop_gradient(log_prob)
    return temperature * jax.nn.logsumexp(score, axis=-1) - q_data


def ensemble_diversity_loss(gradient: jax.Array) -> jax.Array:
    """How alike the critics of an ensemble are in which actions they favour: lower is more diverse.

        sum_{i != j} cos(g_i, g_j) / (N - 1),   g_i = d Q_i(s, a) / d a

    Added to the critics' loss it keeps them from agreeing off the data, so that their minimum is pessimistic with fewer
    members. N for identical members, 0 for orthogonal ones, at least `- N / (N - 1)`.

    Shapes: `gradient` `[N, ..., D]`, of each member at a logged action -> `[...]`. Differentiated: `gradient`, that is
    twice through the critics. A gradient of zero has no direction and counts as orthogonal to all. With D = 1 cosines
    are signs, and nothing is learned from them.

    Usual mistake: gradients with respect to parameters, or of the ensemble's minimum, which belongs to one member.

    >>> import jax.numpy as jnp
    >>> float(ensemble_diversity_loss(jnp.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])))
    1.0

    Raises:
      ValueError: for a rank below 2, or fewer than two members.

    Source: An et al., "Uncertainty-Based Offline Reinforcement Learning with Diversified Q-Ensemble" (2021).
    """
    gradient = jnp.asarray(gradient)
    allowed = "[N, ..., D] with N >= 2"
    check.require(gradient.ndim >= 2 and gradient.shape[0] >= 2, "the shape of gradient", gradient.shape, allowed)
    square = jnp.sum(jnp.square(gradient), -1, keepdims=True)
    known = square > 0
    unit = jnp.where(known, gradient * jax.lax.rsqrt(jnp.where(known, square, 1.0)), 0.0)
    alike = jnp.sum(jnp.square(unit.sum(0)), -1) - jnp.sum(jnp.square(unit), (0, -1))
    return alike / (gradient.shape[0] - 1)


def edge_of_reach(
    state: jax.Array, next_state: jax.Array, num_states: int, bootstrapped: jax.Array | None = None
) -> jax.Array:
    """The states at the edge of what a data set reaches: their value is a target, and nothing ever corrects it.

        edge(x) = 1[x in {next_state}] 1[x not in {state}]

    In rollouts of k steps in a model these are the states that only a last step leads to. Whatever their values are,
    the maximum over actions takes the errors upwards and backups carry them into the data, with a perfect model too.

    Shapes: `state`, `next_state` int `[...]`, the two ends of each transition (cells, where states are continuous);
    `bootstrapped` bool `[...]`, False where the next state's value is not used (terminated) -> bool `[num_states]`.
    Indices outside of the range are left out.

    Usual mistake: to call steps terminal where a rollout was cut; then there is no edge, and no value beyond it either.

    >>> import jax.numpy as jnp
    >>> edge_of_reach(jnp.array([0, 1, 1]), jnp.array([1, 0, 2]), 4).tolist()
    [False, False, True, False]

    Raises:
      ValueError: for shapes that differ, a number of states below 1, or `bootstrapped` that is not boolean.

    Source: Sims et al., "The Edge-of-Reach Problem in Offline Model-Based Reinforcement Learning" (2024).
    """
    check.count("num_states", num_states)
    check.same_shape(state=state, next_state=next_state)
    used = jnp.ones(jnp.shape(state), bool) if bootstrapped is None else jnp.asarray(bootstrapped)
    check.same_shape(state=state, bootstrapped=used)
    check.require(used.dtype == jnp.bool_, "bootstrapped", used.dtype, "boolean")
    state, next_state = (
        jnp.where((x >= 0) & (x < num_states), x, num_states).ravel() for x in (jnp.asarray(state), next_state)
    )
    none = jnp.zeros(num_states, bool)
    reached = none.at[next_state].max(used.ravel(), mode="drop")
    return reached & ~none.at[state].set(True, mode="drop")
