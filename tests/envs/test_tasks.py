"""A space of tasks against the environment with each task's parameters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.envs import check_env, grid
from rlx.envs.tasks import TaskParams, Tasks

GRID = grid.GridWorld(grid.open_room(3), observation="image")
PARAMS = [
    GRID.default_params.replace(
        layout=GRID.default_params.layout._replace(wall=jnp.arange(9).reshape(3, 3) == wall),
        max_steps_in_episode=jnp.int32(steps),
    )
    for wall, steps in ((4, 3), (1, 4), (3, 5))
]
TASKS = jax.tree.map(lambda *x: jnp.stack(x), *PARAMS)


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

    first, state, steps = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), 300))
    task = np.asarray(state.memory)
    share = np.ones(3) / 3 if probability is None else np.asarray(probability) / 4
    np.testing.assert_allclose(np.bincount(task, minlength=3) / 300, share, atol=0.1)
    move = jax.jit(GRID.step_env)
    for i in [*np.flatnonzero(task == 1)[:1], *np.flatnonzero(task == 2)[:1]]:
        inner, own = jax.tree.map(lambda x, i=i: x[i], state.inner), PARAMS[task[i]]
        np.testing.assert_array_equal(first[i][..., grid.PLANES.index("wall")], own.layout.wall)
        for t in range(6):
            seen, reward, terminated, truncated, number, action = (x[i, t] for x in steps)
            wanted, inner, paid, ended, _ = move(jax.random.key(0), inner, action, own)
            np.testing.assert_array_equal(seen, wanted)
            assert (float(reward), bool(terminated)) == (float(paid), bool(ended))
            assert bool(truncated) == (t + 1 >= int(own.max_steps_in_episode))
            assert int(number) == task[i]
    assert int(params.max_steps_in_episode) == 5


def test_it_conforms():
    assert check_env(Tasks(GRID), num_envs=2, steps=40).truncations >= 0
