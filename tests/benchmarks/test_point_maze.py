"""Searches of the point maze: what a genome does there, and what an image of it shows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims import point_maze
from rlx.envs.point import PIXELS


def genome(action):
    """A network whose action is the same everywhere."""
    return jnp.zeros(point_maze.GENES).at[-2:].set(jnp.arctanh(jnp.array(action)))


def test_the_wall_is_closed_and_ends_above_the_lower_border():
    """Straight on to the right the point stays on its side; what goes down far enough before x = 0 gets by."""
    straight = [genome([x, y]) for x in (0.5, 0.99) for y in (-0.2, 0.0, 0.2, 0.5)]
    ends = point_maze.final_positions(jnp.stack([*straight, genome([0.4, -0.9])]))
    assert np.all(ends[:8, 0] < 0.0)
    assert ends[8, 0] > 0.9


def test_the_spot_is_where_the_point_is():
    position = jax.random.uniform(jax.random.key(0), (5, 2), minval=-0.7, maxval=0.7)
    image = np.asarray(point_maze.image(position))[:, 0]
    middle = (np.arange(PIXELS) + 0.5) / PIXELS * 2 - 1
    weight = image / image.sum((1, 2), keepdims=True)
    centre = np.stack([(weight.sum(2) * middle).sum(1), (weight.sum(1) * middle).sum(1)], 1)
    np.testing.assert_allclose(centre, position, atol=0.01)
