"""A space of tasks against the environment with each task's parameters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.envs import check_env, grid
from rlx.envs.tasks import TaskParams, Tasks

GRID = grid.GridWorld(grid.open_room(3), observation="image")
DEFAULT = jax.tree.map(np.asarray, GRID.default_params)
PARAMS = [
    DEFAULT.replace(
        layout=DEFAULT.layout._replace(wall=np.arange(9).reshape(3, 3) == wall),
        max_steps_in_episode=np.int32(steps),
    )
    for wall, steps in ((4, 3), (1, 4), (3, 5))
]
TASKS = jax.tree.map(lambda *x: np.stack(x), *PARAMS)
MOVE = jax.jit(GRID.step_env)


@pytest.mark.parametrize("probability", [None, jnp.array([0.0, 3.0, 1.0])])
def test_an_episode_is_that_of_its_task(probability):
    """Lengths, rewards and what is seen, step by step; tasks come as often as they should (standard error 0.03)."""
    env, params = Tasks(GRID), TaskParams(TASKS, probability)

    def episode(key):
        obs, state = env.reset_env(key, params)

        def step(state, key):
            action = jax.random.randint(key, (), 0, 4)
            seen, state, reward, terminated, info = env.step_env(key, state, action, params)
            return state, (seen, reward, terminated, env.is_truncated(state, params), info["task"], action)

        return obs, state, jax.lax.scan(step, state, jax.random.split(key, 6))[1]

    episodes = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), 300))
    first, state, steps = jax.tree.map(np.asarray, episodes)
    task = state.memory
    share = np.ones(3) / 3 if probability is None else np.asarray(probability) / 4
    np.testing.assert_allclose(np.bincount(task, minlength=3) / 300, share, atol=0.1)
    for number in (1, 2):
        i, own = int(np.argmax(task == number)), PARAMS[number]
        inner = jax.tree.map(lambda x, i=i: x[i], state.inner)
        np.testing.assert_array_equal(first[i][..., grid.PLANES.index("wall")], own.layout.wall)
        for t in range(6):
            seen, reward, terminated, truncated, named, action = (x[i, t] for x in steps)
            wanted, inner, paid, ended, _ = MOVE(jax.random.key(0), inner, action, own)
            np.testing.assert_array_equal(seen, wanted)
            assert (reward, terminated, named) == (paid, ended, number)
            assert truncated == (t + 1 >= own.max_steps_in_episode)
    assert int(params.max_steps_in_episode) == 5


def test_it_conforms():
    assert check_env(Tasks(GRID), num_envs=2, steps=40).truncations >= 0
