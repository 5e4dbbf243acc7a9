"""Dialogues against sums over all answers: optima, beliefs under wrong answers, what coupling is worth."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import entropy

from rlx.envs import check_env
from rlx.envs.dialogue import AttributeDialogue, coupled_attributes, unequal_attributes

KEY = jax.random.key(0)


def play(env, order, key=KEY):
    """Entropies before and after questions asked in a given order, rewards, and endings."""

    def ask(state, xs):
        key, action = xs
        _, after, reward, ended, info = env.step_env(key, state, action, env.default_params)
        return after, (reward, ended, info["entropy"])

    _, state = env.reset_env(key, env.default_params)
    keys = jax.random.split(key, len(order))
    last, (rewards, ended, left) = jax.jit(lambda s: jax.lax.scan(ask, s, (keys, jnp.asarray(order))))(state)
    return state, last, np.array([env.entropy(state), *left]), np.asarray(rewards), np.asarray(ended)


@pytest.mark.parametrize(
    "env",
    [
        AttributeDialogue(unequal_attributes(4)),
        AttributeDialogue(unequal_attributes(3), joint=True, error=0.1, cost=0.2),
        AttributeDialogue(coupled_attributes(), joint=True, reward="resolved"),
    ],
)
def test_environment_keeps_the_interface(env):
    check_env(env)


def test_rewards_add_up_to_the_entropy():
    env = AttributeDialogue(unequal_attributes(5), cost=0.25)
    state, last, left, rewards, ended = play(env, [3, 0, 4, 2, 1])
    np.testing.assert_allclose(left[0], np.log2([2, 3, 4, 5, 6]).sum(), rtol=1e-5)
    np.testing.assert_allclose(rewards.sum(), left[0] - left[-1] - 5 * 0.25, rtol=1e-5)
    np.testing.assert_allclose(rewards, np.log2([5, 2, 6, 4, 3]) - 0.25, rtol=1e-4)
    np.testing.assert_array_equal(ended, [False] * 4 + [True])
    np.testing.assert_array_equal(jnp.argmax(last.belief, -1), state.value)


def test_optimum_of_independent_attributes_is_the_greedy_one():
    """Until at most 3 bits are left of 9.49: the largest first."""
    env = AttributeDialogue(unequal_attributes(5), threshold=3.0)
    assert env.optimal_questions() == pytest.approx(3)
    *_, ended = play(env, [4, 3, 2])
    np.testing.assert_array_equal(ended, [False, False, True])


def brute_force(env, threshold):
    """The best expected number of questions over all decision trees, by recursion on sets of vectors."""
    params = env.default_params
    value, prob = np.asarray(params.value), np.asarray(params.prob, float)

    def best(rows):
        p = prob[list(rows)]
        if entropy(p / p.sum(), base=2) <= threshold + 1e-6:
            return 0.0
        found = np.inf
        for k, groups in zip(np.asarray(params.attribute), np.asarray(params.group), strict=True):
            parts = [[r for r in rows if groups[value[r, k]] == g] for g in range(groups.max() + 1)]
            parts = [part for part in parts if part]
            if len(parts) > 1:
                found = min(found, 1 + sum(prob[part].sum() / p.sum() * best(tuple(part)) for part in parts))
        return found

    return best(tuple(range(len(value))))


def test_optimum_with_groups_and_coupling_is_that_of_all_decision_trees():
    rng = np.random.default_rng(0)
    value = np.array(list(itertools.product(range(3), range(2), range(2))))[rng.permutation(12)[:8]]
    prob = rng.dirichlet(np.ones(8))
    questions = [0, 0, 1, 2], [[0, 0, 1], [0, 1, 1], [0, 1, -1], [0, 1, -1]]
    env = AttributeDialogue((value, prob), questions, joint=True, threshold=0.3)
    np.testing.assert_allclose(env.optimal_questions(), brute_force(env, 0.3), rtol=1e-5)


def test_knowing_how_attributes_depend_saves_two_questions():
    """Whoever believes them independent has to ask about all three until it is sure."""
    one, other = (AttributeDialogue(coupled_attributes(), joint=joint, threshold=0.0) for joint in (True, False))
    assert (one.optimal_questions(), other.optimal_questions()) == pytest.approx((1, 3))


def test_wrong_answers_are_weighed():
    """Answers to one question many times over: the belief is Bayes' rule for the answers, and finds the value."""
    env = AttributeDialogue(np.array([[0.5, 0.3, 0.2]]), error=0.3, threshold=0.0)
    state, last, left, rewards, _ = play(env, [0] * 60)
    assert int(jnp.argmax(last.belief[0])) == int(state.value[0])
    np.testing.assert_allclose(rewards.sum(), left[0] - left[-1], rtol=1e-3, atol=1e-4)
    assert rewards.min() < 0


def test_resolved_attributes_count_as_one():
    env = AttributeDialogue(unequal_attributes(4), reward="resolved")
    np.testing.assert_array_equal(play(env, [3, 3, 0, 1])[3], [1, 0, 1, 1])
