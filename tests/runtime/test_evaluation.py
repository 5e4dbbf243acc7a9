"""Evaluation against walks whose outcome is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from rlx.envs import make
from rlx.runtime import evaluate
from rlx.types import Policy

ENV = toy.Walk()


def always(action: int) -> Policy:
    return Policy(lambda n: (), lambda key, obs, carry, reset, greedy=False: (jnp.full(obs.shape[0], action), carry))


def test_known_returns():
    """Going right from p ends at 3 after 3 - p steps and collects -(p + 1), ..., -3 in the second channel."""
    result = evaluate(always(1), ENV, jax.random.key(0), 50)
    starts = 3 - np.asarray(result.lengths)
    assert set(starts.tolist()) == {0, 1}
    np.testing.assert_array_equal(result.returns[:, 0], 3 - starts)
    np.testing.assert_array_equal(result.returns[:, 1], [-sum(range(p + 1, 4)) for p in starts])
    assert result.finished.all()


def test_discounted_returns():
    result = evaluate(always(1), ENV, jax.random.key(0), 50, discount=0.5)
    starts = 3 - np.asarray(result.lengths)
    np.testing.assert_allclose(result.returns[:, 0], [sum(0.5**t for t in range(3 - p)) for p in starts])
    np.testing.assert_allclose(result.returns[:, 1], [-sum(0.5**t * (p + 1 + t) for t in range(3 - p)) for p in starts])


def test_visits_are_counted_where_steps_lead():
    """Up and to the right from the lower left corner of an open room: the way, and no step after the goal."""
    env, params = make("rlx/open-3", stay=True)
    layout = jax.tree.map(jnp.zeros_like, params.layout)._replace(
        start=jnp.zeros((3, 3), bool).at[2, 0].set(True),
        goal=jnp.zeros((3, 3), bool).at[0, 2].set(True),
        teleport=jnp.arange(9).reshape(3, 3),
        room=jnp.full((3, 3), -1),
    )
    up_then_right = Policy(
        lambda n: jnp.zeros(n, int), lambda key, obs, t, reset, greedy=False: (jnp.where(t < 2, 0, 3), t + 1)
    )
    result = evaluate(up_then_right, env, jax.random.key(0), 7, env_params=params.replace(layout=layout))
    np.testing.assert_array_equal(result.visits, 7 * np.array([[0, 1, 1], [0, 0, 1], [0, 0, 1]]))
    assert evaluate(always(0), ENV, jax.random.key(0), 2).visits is None


def test_a_time_limit_finishes_an_episode():
    result = evaluate(always(0), ENV, jax.random.key(0), 5)
    np.testing.assert_array_equal(result.lengths, 10)
    assert result.finished.all()


def test_the_bound_ends_what_would_not_end():
    result = evaluate(always(0), ENV, jax.random.key(0), 5, max_steps=4)
    np.testing.assert_array_equal(result.lengths, 4)
    np.testing.assert_array_equal(result.returns[:, 0], 4)
    assert not result.finished.any()
    endless = toy.WalkParams(max_steps_in_episode=7)._replace(goal=100)
    assert evaluate(always(1), ENV, jax.random.key(0), 2, env_params=endless).lengths.tolist() == [7, 7]


def test_memory_and_reset_follow_the_episode():
    """A policy that counts its steps in its carry and turns round after two; `reset` is set at the first step only."""

    def act(key, obs, count, reset, greedy=False):
        count = jnp.where(reset, 0, count)
        return jnp.where(count < 2, 0, 1), count + 1

    result = evaluate(Policy(lambda n: jnp.full(n, 99), act), ENV, jax.random.key(1), 20)
    # two steps left from p, then right to 3: 2 + (3 - (p - 2)) = 7 - p steps
    assert set(np.asarray(result.lengths).tolist()) == {6, 7}


@pytest.mark.parametrize("greedy", [True, False])
def test_greedy_reaches_the_policy(greedy):
    def act(key, obs, carry, reset, greedy=False):
        return jnp.full(obs.shape[0], int(greedy)), carry

    result = evaluate(Policy(lambda n: (), act), ENV, jax.random.key(0), 4, greedy=greedy)
    assert bool((result.lengths <= 3).all()) == greedy


def test_jit_vmap_and_keys():
    state = toy.make(toy.Config()).init(jax.random.key(3))
    policy = toy.make(toy.Config()).policy
    run = lambda key: evaluate(policy(state), ENV, key, 8, greedy=False)  # noqa: E731
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.jit(jax.vmap(run))(keys)
    for i in range(3):
        np.testing.assert_array_equal(together.returns[i], run(keys[i]).returns)
    assert len(np.unique(np.asarray(together.lengths))) > 1
