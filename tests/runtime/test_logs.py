"""Logs of mixtures against the expert's known return and the law of random actions; model rollouts against a loop."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.envs import point
from rlx.runtime.rollout import mixture_log, truncated_rollout
from rlx.value import edge_of_reach

ENV = point.goals()
KEY = jax.random.key(0)


def expert(key, obs):
    del key
    return ENV.expert(obs)


def test_actors_are_as_able_as_they_are_said_to_be():
    skill = jnp.repeat(jnp.array([1.0, 0.5, 0.0]), 20)
    log = jax.jit(lambda: mixture_log(ENV, KEY, 50, skill, expert))()
    returns = np.asarray(log.reward.sum(0)).reshape(3, 20)
    first = log.obs[0]
    np.testing.assert_allclose(returns[0], ENV.bound(first[:20, :2], first[:20, 4:6]), atol=1e-4)
    assert returns[0].mean() > returns[1].mean() + 5 > returns[2].mean() + 10
    np.testing.assert_array_equal(log.truncated[-1], True)
    assert not log.truncated[:-1].any()
    drawn = np.asarray(log.action)[:, 40:].reshape(-1, 2)
    np.testing.assert_allclose(drawn.mean(0), 0.0, atol=0.08)
    np.testing.assert_allclose(drawn.var(0), 1 / 3, atol=0.04)  # uniform in [-1, 1]
    share = np.mean(np.all(np.abs(log.action - ENV.expert(log.obs)) < 1e-6, -1), 0).reshape(3, 20).mean(1)
    np.testing.assert_allclose(share, [1.0, 0.5, 0.0], atol=0.05)


def test_single_steps_scatter_around_the_start():
    params = ENV.default_params.replace(spread=0.6, max_steps_in_episode=1)
    log = mixture_log(ENV, KEY, 20, jnp.zeros(50), expert, params)
    position = np.asarray(log.obs)[..., :2]
    assert bool(log.truncated.all())
    np.testing.assert_allclose(position.reshape(-1, 2).var(0), 0.6**2 / 3, atol=0.02)
    assert np.abs(position).max() <= 0.6


def test_model_rollouts_stop_where_they_end_and_are_cut_at_the_last_step():
    """On a line whose place 5 is terminal."""

    def dynamics(key, place, action):
        del key
        return place + action, 10.0 * place, place + action == 5

    starts = jnp.array([0, 2, 3])
    steps, valid = truncated_rollout(dynamics, KEY, starts, 3, lambda key, place: jnp.ones_like(place))
    for b, start in enumerate([0, 2, 3]):
        going = True
        for t in range(3):
            place = start + t
            assert bool(valid[t, b]) is going
            if going:
                row = jax.tree.map(lambda x, t=t, b=b: x[t, b].item(), steps)
                assert row == (place, 1, 0.0, 10.0 * place, place == 4, t == 2 and place != 4, place + 1)
            going = going and place != 4
    used = valid & ~steps.terminated
    edge = edge_of_reach(jnp.where(valid, steps.obs, -1), steps.next_obs, 8, used)
    np.testing.assert_array_equal(np.flatnonzero(edge), [])  # 3 is where another begins, 5 is the end
    edge = edge_of_reach(steps.obs[:, :1], steps.next_obs[:, :1], 8, used[:, :1])
    np.testing.assert_array_equal(np.flatnonzero(edge), [3])


def test_refusals():
    with pytest.raises(ValueError, match="skill"):
        mixture_log(ENV, KEY, 3, jnp.array([1.5]), expert)
    with pytest.raises(ValueError, match="num_steps"):
        mixture_log(ENV, KEY, 0, jnp.array([0.5]), expert)
    with pytest.raises(ValueError, match="num_steps"):
        truncated_rollout(lambda key, s, a: (s, s, s > 0), KEY, jnp.zeros(2), 0, lambda key, s: s)
    with pytest.raises(ValueError, match="observe_goal"):
        point.goals(observe_goal=False).expert(jnp.zeros(4))
