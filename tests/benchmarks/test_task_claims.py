"""What claims on spaces of tasks compute by themselves, against the environment and plain loops."""

from __future__ import annotations

import jax
import numpy as np

from benchmarks.claims import filtered_tasks, proposed_tasks

TASKS = jax.jit(jax.vmap(filtered_tasks.draw_task))(jax.random.split(jax.random.key(1), 40))


def test_shortest_ways_are_those_of_the_environment():
    """Two tasks with a key and two without, one of each kind that cannot be done among all that are drawn."""
    steps = np.asarray(jax.jit(jax.vmap(filtered_tasks.shortest))(TASKS))
    locked = np.asarray(TASKS.layout.key.any((1, 2)))
    assert np.isinf(steps[locked]).any()
    assert np.isinf(steps[~locked]).any()
    for kind in (locked, ~locked):
        for i in np.flatnonzero(kind)[:2]:
            task = jax.tree.map(lambda x, i=i: x[i], TASKS)
            np.testing.assert_array_equal(filtered_tasks.ENV.env.steps_to_goal(task), steps[i : i + 1])


def test_compass_points_to_the_goal_and_shows_walls():
    i = int(np.argmax(np.asarray(TASKS.layout.key.any((1, 2)))))
    task = jax.tree.map(lambda x: np.asarray(x[i]), TASKS)
    obs, _ = jax.jit(filtered_tasks.ENV.reset_env)(jax.random.key(0), task)
    start, goal, key = (np.argwhere(x)[0] for x in (task.layout.start, task.layout.goal, task.layout.key))
    np.testing.assert_allclose(obs[:6], [*(goal - start) / 7, *(key - start) / 7, 1, 0], atol=1e-6)
    blocked = np.pad(task.layout.wall | task.layout.door, 2, constant_values=True)
    np.testing.assert_array_equal(obs[6:].reshape(5, 5), blocked[start[0] : start[0] + 5, start[1] : start[1] + 5])


def test_tasks_in_context_can_be_done_and_outcomes_are_at_the_end():
    places = jax.jit(jax.vmap(proposed_tasks.draw_place))(jax.random.split(jax.random.key(0), 50))
    shown = np.asarray(places.cell) >= 0
    assert (shown.sum(1) == proposed_tasks.SHOWN).all()
    kinds = np.asarray(proposed_tasks.propose(jax.random.key(1), shown))
    assert shown[np.arange(50), kinds].all()
    anything = np.asarray(proposed_tasks.propose(jax.random.key(1), np.ones_like(shown)))
    assert not shown[np.arange(50), anything].all()

    played = jax.jit(lambda places: proposed_tasks.play(proposed_tasks.walker, jax.random.key(2), places, kinds))(
        places
    )
    start = np.asarray(places.params.layout.start).reshape(50, -1).argmax(1)
    wall = np.asarray(places.params.layout.wall)
    for i in range(50):
        cell, path = np.array(divmod(start[i], 7)), []
        for action in np.asarray(played.action[:, i]):
            ahead = cell + np.asarray(proposed_tasks.MOVES)[action]
            free = ((ahead >= 0) & (ahead < 7)).all() and not wall[i][tuple(np.clip(ahead, 0, 6))]
            cell = ahead if free else cell
            path.append(int(cell @ [7, 1]))
        assert bool(played.success[i]) == (int(places.cell[i, kinds[i]]) in path[-3:])
