"""The point robot and the point maze: the interface, what they may not pass through, and what pays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.envs import PointMaze, PointRobot, check_env, make
from rlx.envs.point import crosses


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("point-goals-3", {"observe_goal": False}),
        ("point-obstacles-2", {}),
        ("point-maze", {"puck": (-0.5, 0.7)}),
        ("point-patrols-2", {"image": True}),
    ],
)
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


def test_ways_cross_walls_where_lines_do():
    """Random ways and walls, by solving for the point that both lines share."""
    rng = np.random.default_rng(0)
    way, wall = rng.uniform(-1, 1, (300, 2, 2)), rng.uniform(-1, 1, (300, 2, 2))
    wanted = []
    for (p, q), (a, b) in zip(way, wall, strict=True):
        shares = np.linalg.solve(np.stack([q - p, a - b], 1), a - p)  # of the way and of the wall
        wanted.append(np.all((shares > 0) & (shares < 1)))
    got = jax.vmap(crosses)(jnp.asarray(way[:, 0]), jnp.asarray(way[:, 1]), jnp.asarray(wall[:, None]))
    np.testing.assert_array_equal(got, wanted)
    assert 0.1 < np.mean(wanted) < 0.5


def test_stopping_on_a_wall_does_not_lead_through_it():
    wall = jnp.array([[[0.0, -1.0], [0.0, 1.0]]])
    left, on, right = jnp.array([-0.1, 0.0]), jnp.zeros(2), jnp.array([0.1, 0.0])
    assert int(crosses(left, on, wall)) + int(crosses(on, right, wall)) == 1
    assert int(crosses(right, on, wall)) + int(crosses(on, left, wall)) == 1


def played(env, actions, **changes):
    """States after each of `actions [T, 2]`, rewards, endings and info."""
    params = env.default_params.replace(**changes)
    _, first = env.reset_env(jax.random.key(0), params)

    def forward(state, action):
        obs, state, *rest = env.step_env(jax.random.key(0), state, action, params)
        return state, (obs, state, *rest)

    return jax.lax.scan(forward, first, jnp.asarray(actions, jnp.float32))[1]


def test_the_maze_pays_for_its_discs_at_the_last_step():
    env, _ = make("rlx/point-maze", max_steps_in_episode=9)
    _, states, reward, terminated, _ = played(env, [*([[-0.25, -1.5]] * 8), [0.0, -4.0]], radius=0.5)
    np.testing.assert_allclose(states.position[-1], [-0.7, -0.4], atol=1e-6)  # actions are cut
    np.testing.assert_allclose(reward, [0] * 8 + [1 - 0.3 / 0.5], atol=1e-5)
    assert not terminated.any()
    np.testing.assert_allclose(env.payment(jnp.array([[-0.7, -0.7], [0.5, 0.515]])), [[0, 1], [0.75, 0]], atol=1e-5)


def test_the_puck_goes_ahead_and_stops_what_pushes_it_into_a_border_or_a_wall():
    env = PointMaze([[[0.5, -1.0], [0.5, 0.4]]], puck=(0.0, 0.0), start=(-0.5, 0.0))
    obs, states, _, _, info = played(env, [[1.0, 0.0]] * 12)
    np.testing.assert_allclose(states.puck[:, 0], np.clip(0.15 + np.arange(-4, 8) * 0.1, 0.0, 0.45), atol=1e-5)
    np.testing.assert_array_equal(info["pushed"], [False] * 3 + [True] * 5 + [False] * 4)
    np.testing.assert_array_equal(info["blocked"], [False] * 8 + [True] * 4)
    np.testing.assert_array_equal(obs, np.concatenate([states.position, states.puck], 1))
    up = PointMaze(puck=(0.02, 0.7), start=(0.0, 0.5))
    _, states, _, _, info = played(up, [[0.0, 0.5]] * 6)
    assert 0 < info["pushed"].sum() < 6
    assert states.puck[:, 1].max() <= 1.0
    gap = np.linalg.norm(states.puck - states.position, axis=1)
    np.testing.assert_allclose(gap[info["pushed"]], 0.15, atol=1e-5)
    assert states.puck[-1, 0] > 0.02  # it is not quite in the way, and gives way to the side


def test_obstacles_on_patrol_end_the_episodes_that_they_touch():
    env = PointMaze((), [[0.8, 0.0]], patrol=[[[0.0, 0.8], [0.0, -0.8]]], start=(-0.4, 0.0), period=8)
    obs, states, _, terminated, _ = played(env, [[1.0, 0.0]] * 8)
    np.testing.assert_allclose(obs[:, 3], [0.4, 0.0, -0.4, -0.8, -0.4, 0.0, 0.4, 0.8], atol=1e-6)
    np.testing.assert_array_equal(terminated, np.hypot(states.position[:, 0], obs[:, 3] - states.position[:, 1]) < 0.2)
    assert terminated.any()


def test_errors_of_the_maze_name_the_argument():
    for options, named in [
        ({"wall": [[0.0, 1.0]]}, "wall"),
        ({"goal": [[0.0, 2.0]]}, "goal"),
        ({"puck": (0.0, 0.0), "puck_radius": 0.1}, "puck_radius"),
    ]:
        with pytest.raises(ValueError, match=named):
            PointMaze(**options)
