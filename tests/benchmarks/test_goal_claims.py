"""What claims on questions, ratings and trees compute by themselves, against plain programs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims import attribute_questions, behaviour_tree_search, rated_imitation
from rlx.envs.dialogue import AttributeDialogue


def test_fewest_questions_are_those_of_dynamic_programming():
    prior = np.zeros((4, 3))
    prior[:, :2] = [[0.5, 0.5], [0.9, 0.1], [0.98, 0.02], [0.7, 0.3]]
    wanted = AttributeDialogue(prior, threshold=0.5).optimal_questions()
    np.testing.assert_allclose(attribute_questions.fewest(jnp.asarray(prior)), wanted)


def test_priors_have_as_many_values_as_they_should():
    prior = np.asarray(attribute_questions.draw_prior(jax.random.key(0)))
    np.testing.assert_allclose(prior.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal((prior > 0).sum(1) <= np.arange(2, 10), True)


def test_clones_share_the_actions_of_demonstrations():
    policy = rated_imitation.clone(jnp.array([[3, 3, 3, 5]]), jnp.array([[1, 1, 2, 0]]))[0]
    np.testing.assert_allclose(policy[3], [0, 2 / 3, 1 / 3, 0], rtol=1e-6)
    np.testing.assert_allclose(policy[5], [1, 0, 0, 0])
    np.testing.assert_allclose(policy[4], 0.25)


def test_optimum_of_a_grid_is_the_shortest_way_around_hazards():
    """No hazard: the distance decides. The search's score of a tree can be no higher."""
    params = behaviour_tree_search.draw_grid(jax.random.key(1))
    empty = params.replace(layout=params.layout._replace(hazard=jnp.zeros_like(params.layout.hazard)))
    start, goal = (np.argwhere(np.asarray(x))[0] for x in (params.layout.start, params.layout.goal))
    distance = np.abs(start - goal).sum()
    best = behaviour_tree_search.optimum(empty)
    np.testing.assert_allclose(best, behaviour_tree_search.DISCOUNT ** (distance - 1), rtol=1e-5)
    assert behaviour_tree_search.optimum(params) <= best
    told = np.asarray(behaviour_tree_search.conditions(jnp.int32(start @ [7, 1]), params))
    up, left = goal < start
    down, right = goal > start
    np.testing.assert_array_equal(told[:4], [up, down, left, right])
