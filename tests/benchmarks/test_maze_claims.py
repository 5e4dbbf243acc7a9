"""What claims on goals in mazes compute by themselves, against exact answers and plain programs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims import (
    goal_maze,
    hilbert_distances,
    imagined_imitation,
    intent_features,
    option_values,
    ordered_progress,
    proto_values,
)
from rlx.value.tabular import policy_evaluation, value_iteration


def test_rows_of_a_log_are_its_steps():
    """Next cells are one step on; goals are of the episode or of anywhere; options end no further than they may."""
    env = option_values.ENV
    log = env.log(jax.random.key(0), 7, 12, noise=0.5)
    rows = goal_maze.draw(jax.random.key(1), log, 500, 0.9)
    np.testing.assert_array_equal(
        rows.after, np.where(rows.cell == rows.goal, rows.after, env.after[rows.cell, rows.action])
    )
    options = goal_maze.draw(jax.random.key(1), log, 500, 0.9, options=5)
    np.testing.assert_array_equal(options.cell, rows.cell)
    assert env.distances()[options.cell, options.after].max() <= 5
    assert np.mean(options.after != rows.after) > 0.3


def test_exact_values_have_all_signs_right_and_reach_all_goals():
    exact = option_values.judge(-np.where(np.isfinite(option_values.APART), option_values.APART, 1e3))
    assert {name: found for name, found in exact.items() if found != 1} == {}
    wrong = option_values.judge(np.where(np.isfinite(option_values.APART), option_values.APART, 1e3))
    assert wrong[": signs"] == 0
    assert wrong[": correlation"] == -1


def test_directions_of_an_exact_embedding_reach_all_goals():
    """Classical scaling of the numbers of steps, which a table of vectors can reach without learning."""
    apart = hilbert_distances.APART
    free = hilbert_distances.ENV.free
    square = apart[np.ix_(free, free)] ** 2
    centred = square - square.mean(0) - square.mean(1)[:, None] + square.mean()
    values, vectors = np.linalg.eigh(-0.5 * centred)
    phi = np.zeros((len(apart), 16))
    phi[free] = (vectors * np.sqrt(np.maximum(values, 0)))[:, -16:]
    correlation, success = hilbert_distances.judge(jnp.asarray(phi, jnp.float32))
    assert correlation > 0.97
    assert success > 0.9


def test_tables_of_all_cells_are_optimal_features_and_a_constant_is_not():
    cells = jnp.eye(proto_values.ENV.num_cells)
    goal = jnp.asarray(proto_values.ENV.free[5])
    np.testing.assert_allclose(proto_values.control(cells, goal), 1.0, rtol=1e-4)
    assert float(proto_values.control(cells[:, :1], goal)) < 0.5


def test_returns_of_a_goal_are_those_of_policy_evaluation():
    env, goal, gamma = imagined_imitation.ENV, 8, imagined_imitation.SETTINGS["discount"]
    transition = np.eye(env.num_cells)[env.after]
    reward = (env.after == goal).astype(float)
    action = np.random.default_rng(0).integers(4, size=env.num_cells)
    wanted = policy_evaluation(transition, reward, gamma, np.eye(4)[action])[0].mean()
    np.testing.assert_allclose(imagined_imitation.returned(jnp.asarray(action), jnp.asarray(goal)), wanted, rtol=1e-4)
    best = imagined_imitation.returned(imagined_imitation.best_actions(jnp.asarray(goal)), jnp.asarray(goal))
    np.testing.assert_allclose(best, value_iteration(transition, reward, gamma)[0].mean(), rtol=1e-4)


def test_clones_of_the_shortest_way_succeed_where_it_has_been():
    grid = ordered_progress.draw_grid(jax.random.key(0))
    cell, action = jax.vmap(ordered_progress.play, (0, None, None))(
        jax.random.split(jax.random.key(1), 300), grid, False
    )
    ends = np.asarray(cell)[:, -1] == int(grid[1])
    assert ends.mean() > 0.9
    every = float(ordered_progress.clone(cell, action, jnp.ones(300), grid))
    none = float(ordered_progress.clone(cell, action, jnp.zeros(300), grid))
    assert every > 0.95 > none + 0.3


def test_kings_do_not_cut_corners():
    env = intent_features.ENV
    side = env.width
    wall = ~np.isin(np.arange(env.num_cells), env.free).reshape(side, side)
    for cell in env.free:
        for there in intent_features.KING[cell]:
            (r, c), (i, j) = divmod(int(cell), side), divmod(int(there), side)
            assert max(abs(r - i), abs(c - j)) <= 1
            assert not wall[i, j]
            assert not wall[r, j]
            assert not wall[i, c]
    assert len(np.unique(intent_features.KING[env.free[0]])) == 4  # from a corner: three ways, or stay
