"""Goal grids: distances by another search, drawn starts and goals, what logs hold, the interface."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse.csgraph import shortest_path

from rlx.envs import check_env, grid, make
from rlx.envs.goal_grid import GoalGrid
from rlx.value import gc_value_loss

MAZE = grid.parse("S.#.\n..#.\n#...\n...G")


def neighbours(wall: np.ndarray) -> np.ndarray:
    height, width = wall.shape
    near = np.zeros((wall.size, wall.size), bool)
    for r in range(height):
        for c in range(width):
            for i, j in ((0, 1), (1, 0)):
                if r + i < height and c + j < width and not wall[r, c] and not wall[r + i, c + j]:
                    a, b = r * width + c, (r + i) * width + c + j
                    near[a, b] = near[b, a] = True
    return near


@pytest.mark.parametrize("layout", [MAZE, grid.u_maze(7), grid.serpentine(7), grid.four_rooms(7)])
def test_distances_are_those_of_scipy(layout):
    wall = np.asarray(layout.wall)
    wanted = shortest_path(neighbours(wall), unweighted=True)
    wanted[wall.ravel()] = np.inf
    np.testing.assert_array_equal(GoalGrid(layout).distances(), wanted)


@pytest.mark.parametrize(
    ("layout", "n", "steps"), [(grid.u_maze, 9, 24), (grid.serpentine, 15, 126), (grid.serpentine, 9, 48)]
)
def test_longest_ways(layout, n, steps):
    drawn = layout(n)
    apart = GoalGrid(drawn).distances()
    start, goal = (np.flatnonzero(np.asarray(x))[0] for x in (drawn.start, drawn.goal))
    assert apart[start, goal] == steps == grid.GridWorld(drawn).steps_to_goal()[0]
    if layout is grid.serpentine:
        assert apart[np.isfinite(apart)].max() == steps


@pytest.mark.parametrize("observation", ["cell", "xy"])
def test_interface(observation):
    report = check_env(GoalGrid(MAZE, observation=observation, slip=0.1))
    assert report.terminations > 0
    assert report.truncations > 0


def test_starts_and_goals_are_free_and_differ():
    env = GoalGrid(MAZE)
    _, state = jax.jit(jax.vmap(lambda key: env.reset(key)))(jax.random.split(jax.random.key(0), 3000))
    pairs = np.zeros((16, 16))
    np.add.at(pairs, (np.asarray(state.cell), np.asarray(state.goal)), 1)
    wanted = np.zeros((16, 16))
    wanted[np.ix_(env.free, env.free)] = 1
    np.fill_diagonal(wanted, 0)
    np.testing.assert_array_equal(pairs > 0, wanted > 0)
    task = env.task(goal=15, start=0)
    obs, state = env.reset(jax.random.key(1), task)
    assert (int(obs["observation"]), int(obs["goal"])) == (0, 15) == (int(state.cell), int(state.goal))


def test_the_shortest_path_ends_the_episode_and_pays():
    env, _ = make("rlx/goal-umaze-5")
    start, goal = 0, 20
    params, apart = env.task(start, goal), env.distances()
    _, state = env.reset(jax.random.key(0), params)
    step = jax.jit(env.step_env)
    for t in range(int(apart[start, goal])):
        action = np.argmin(apart[env.after[int(state.cell)], goal])
        _, state, reward, terminated, info = step(jax.random.key(t), state, action, params)
        assert bool(terminated) == bool(reward) == (t + 1 == apart[start, goal])
    assert int(state.cell) == goal
    np.testing.assert_array_equal(info["place"], [0, 0])  # bottom left


def test_places_lie_between_corners():
    env = GoalGrid(MAZE, observation="xy")
    np.testing.assert_allclose(env.place(jnp.array([0, 3, 15])), [[-1, -1], [-1, 1], [1, 1]])


def test_logs_are_of_the_maze_and_follow_its_shortest_paths():
    env = GoalGrid(MAZE)
    apart = env.distances()
    log = jax.jit(lambda key: env.log(key, 50, 30, noise=0.0))(jax.random.key(0))
    cell, goal, there = (np.asarray(x) for x in (log.obs["observation"], log.obs["goal"], log.next_obs["observation"]))
    np.testing.assert_array_equal(there, env.after[cell, np.asarray(log.action)])
    np.testing.assert_array_equal(there[:-1], cell[1:])
    np.testing.assert_array_equal(apart[there, goal], apart[cell, goal] - 1)
    np.testing.assert_array_equal(log.reward, there == goal)
    np.testing.assert_array_equal((goal[1:] != goal[:-1]), there[:-1] == goal[:-1])
    assert not np.any(log.terminated)
    np.testing.assert_array_equal(np.asarray(log.truncated).sum(0), 1)
    assert np.all(log.truncated[-1])


def test_a_random_walk_takes_all_actions_alike_and_stitched_episodes_stay_near():
    env = GoalGrid(grid.serpentine(9))
    apart = env.distances()
    walk = env.log(jax.random.key(1), 100, 40, noise=1.0)
    share = np.bincount(np.asarray(walk.action).ravel(), minlength=4) / 4000
    np.testing.assert_allclose(share, 0.25, atol=0.03)
    near = env.log(jax.random.key(2), 100, 40, noise=0.0, reach=4)
    far = env.log(jax.random.key(2), 100, 40, noise=0.0)
    spans = [apart[np.asarray(x.obs["observation"])[0], np.asarray(x.obs["goal"])].max() for x in (near, far)]
    assert spans[0] == 4
    assert spans[1] > 30


def test_values_learned_from_a_log_are_the_distances():
    """In a table, from shortest paths alone, at the middle level."""
    env, gamma = GoalGrid(grid.serpentine(5)), 0.9
    log = env.log(jax.random.key(3), 200, 60, noise=0.0)
    cell, goal, there = (
        np.asarray(x).ravel() for x in (log.obs["observation"], log.obs["goal"], log.next_obs["observation"])
    )
    cell, goal, there = np.unique(np.stack([cell, goal, there]), axis=1)
    shape, apart = (env.num_cells, env.num_cells), env.distances()

    def move(v, _):
        slope = jax.grad(
            lambda w: gc_value_loss(w[None, cell, goal], v[None, there, goal], cell == goal, 0.5, gamma).sum()
        )
        return v - 0.5 * slope(v), None

    v = jax.lax.scan(move, jnp.zeros(shape), length=200)[0]
    np.testing.assert_allclose(v[cell, goal], -(1 - gamma ** apart[cell, goal]) / (1 - gamma), atol=1e-3)
    assert len(cell) > 100


def test_refusals():
    env = GoalGrid(MAZE)
    for cell in (2, 16, -1):
        with pytest.raises(ValueError, match="goal must be the number of a free cell"):
            env.task(goal=cell)
    with pytest.raises(ValueError, match="noise must be"):
        env.log(jax.random.key(0), 1, 1, noise=1.5)
    with pytest.raises(ValueError, match="steps must be"):
        env.log(jax.random.key(0), 1, 0)
    with pytest.raises(ValueError, match="reach must be"):
        env.log(jax.random.key(0), 1, 1, reach=0)
    with pytest.raises(ValueError, match=r"layout\.door must be empty"):
        GoalGrid(grid.parse("S.\n.D\nG."))
    with pytest.raises(ValueError, match="observation must be"):
        GoalGrid(MAZE, observation="image")
