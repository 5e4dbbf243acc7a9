"""The point robot: the interface, what it may not pass through, and the return that its docstring states."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.envs import PointRobot, check_env, make


@pytest.mark.parametrize(("name", "options"), [("point-goals-3", {"observe_goal": False}), ("point-obstacles-2", {})])
def test_the_interface(name, options):
    check_env(*make(f"rlx/{name}", **options))


def run(env, params, policy, steps, seed=0):
    """States `[T + 1]`, rewards and factors `[T]`."""
    _, first = env.reset_env(jax.random.key(seed), params)

    def forward(state, key):
        _, state, reward, terminated, info = env.step_env(key, state, policy(key, state), params)
        return state, (state, reward, terminated, info["factor"])

    _, (states, *rest) = jax.lax.scan(forward, first, jax.random.split(jax.random.key(seed), steps))
    return jax.tree.map(lambda a, b: np.concatenate([a[None], b]), first, states), *map(np.asarray, rest)


def straight(params, speed=0.1):
    """Towards the goal, and the last step just as long as it has to be."""
    return lambda _, state: (params.goal[state.goal] - state.position) / speed


@pytest.mark.parametrize("inertia", [0.0, 0.7])
def test_straight_on_reaches_the_bound_without_inertia_and_nothing_exceeds_it(inertia):
    env, params = make("rlx/point-goals-4", inertia=inertia)
    for policy in (straight(params), lambda key, _: jax.random.normal(key, (2,))):
        states, rewards, _, _ = run(env, params, policy, 50)
        assert rewards.sum() <= env.bound(states.position[0], params.goal[states.goal[0]]) + 1e-4
    if inertia == 0:
        states, rewards, _, _ = run(env, params, straight(params), 50)
        bound = env.bound(states.position[0], params.goal[states.goal[0]])
        np.testing.assert_allclose(rewards.sum(), bound, atol=1e-4)
        np.testing.assert_allclose(env.bound(jnp.zeros(2), params.goal), -2.8, atol=1e-4)


def test_obstacles_and_the_border_are_solid():
    env, params = make("rlx/point-obstacles-1", inertia=0.5)
    wander = lambda key, state: 2 * jax.random.normal(key, (2,)) + jnp.sign(state.position)  # noqa: E731
    for policy in (straight(params), wander):
        states, _, _, factor = run(env, params, policy, 200, seed=1)
        rim = np.linalg.norm(states.position[:, None] - params.obstacle, axis=-1) - params.radius
        assert rim.min() > -1e-5
        assert np.abs(states.position).max() <= 1
        np.testing.assert_allclose(factor[:, 2], np.clip(rim[1:].min(1), 0, 0.5), atol=1e-5)
    assert np.abs(states.position).max() == 1  # the border was met
    touched, _, _, _ = run(env, params, straight(params), 50)
    assert np.min(np.linalg.norm(touched.position - params.obstacle, axis=-1)) < params.radius[0] + 1e-5


def test_factors_and_the_reward_they_make():
    env = PointRobot([[0.5, 0.0]], weight=(-1.0, -0.5, 0.2, 3.0), spread=0.0, goal_radius=0.45)
    _, rewards, terminated, factor = run(env, env.default_params, lambda *_: jnp.array([3.0, 4.0]) / 2, 2)
    np.testing.assert_allclose(factor[0], [np.hypot(0.44, 0.08), 1.0, 0.5, 0.1], rtol=1e-5)  # the action is cut
    np.testing.assert_allclose(rewards, factor @ [-1.0, -0.5, 0.2, 3.0], rtol=1e-5)
    np.testing.assert_array_equal(terminated, factor[:, 0] < 0.45)
    assert terminated.tolist() == [True, True]


def test_an_episode_draws_each_goal():
    env, params = make("rlx/point-goals-3")
    obs, states = jax.vmap(env.reset_env, (0, None))(jax.random.split(jax.random.key(0), 60), params)
    assert np.unique(states.goal).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(obs[:, 4:], params.goal[states.goal])


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="goal"):
        PointRobot([[0.0, 2.0]])
    with pytest.raises(ValueError, match="radius"):
        PointRobot([[0.0, 0.0]], [[0.1, 0.1]])
