"""The maze of the claims about sparse rewards: the wall is closed, the goals can be reached, and what they pay."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims import point_maze


def genome(action):
    """A network whose action is the same everywhere."""
    return jnp.zeros(point_maze.GENES).at[-2:].set(jnp.arctanh(jnp.array(action)))


def test_the_wall_is_closed_and_ends_above_the_lower_border():
    """Straight on to the right the point stays on its side; what goes down far enough before x = 0 gets by."""
    straight = [genome([x, y]) for x in (0.5, 0.99) for y in (-0.2, 0.0, 0.2, 0.5)]
    ends = point_maze.final_positions(jnp.stack([*straight, genome([0.4, -0.9])]))
    assert np.all(ends[:8, 0] < 0.0)
    assert ends[8, 0] > 0.9


def test_steps_across_the_wall_are_not_made():
    """Random steps from random places, against the height at which the line between both ends meets x = 0."""
    rng = np.random.default_rng(0)
    start, action = rng.uniform(-0.1, 0.1, (400, 2)) - [0, 0.5], rng.uniform(-1, 1, (400, 2))
    end = np.asarray(jax.vmap(point_maze.move)(jnp.asarray(start), jnp.asarray(action)))
    wanted = start + 0.1 * action
    for a, b, got in zip(start, wanted, end, strict=True):
        crosses = a[0] * b[0] < 0 and np.interp(0.0, *zip(*sorted([tuple(a), tuple(b)]), strict=True)) > -0.5
        np.testing.assert_allclose(got, a if crosses else b, atol=1e-6)
    assert 0.05 < np.mean((end == start.astype(np.float32)).all(1)) < 0.5


def test_rewards_of_positions():
    near = jnp.array([point_maze.GOALS[0], (-0.7, -0.7 + point_maze.RADIUS / 4), (0.0, 0.0)])
    np.testing.assert_allclose(point_maze.rewards(near), [[1, 0], [0, 0.75], [0, 0]], atol=1e-5)


def test_the_spot_is_where_the_point_is():
    position = jax.random.uniform(jax.random.key(0), (5, 2), minval=-0.7, maxval=0.7)
    image = np.asarray(point_maze.image(position))[:, 0]
    middle = (np.arange(point_maze.PIXELS) + 0.5) / point_maze.PIXELS * 2 - 1
    weight = image / image.sum((1, 2), keepdims=True)
    centre = np.stack([(weight.sum(2) * middle).sum(1), (weight.sum(1) * middle).sum(1)], 1)
    np.testing.assert_allclose(centre, position, atol=0.01)
