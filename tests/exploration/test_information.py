"""Beliefs against Bayes' rule on a joint table, entropies against SciPy."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.stats import entropy

from rlx.exploration import belief_update, information_gain

RNG = np.random.default_rng(0)


def test_gain_is_the_difference_of_entropies_in_bits():
    before, after = RNG.dirichlet(np.ones(5), (2, 3, 4))
    after[0, 0] = [1, 0, 0, 0, 0]
    weight = RNG.normal(size=4)
    wanted = entropy(before, base=2, axis=-1) - entropy(after, base=2, axis=-1)
    np.testing.assert_allclose(information_gain(before, after), wanted.sum(-1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(information_gain(before, after, weight), wanted @ weight, rtol=1e-4, atol=1e-5)


def test_gains_of_a_dialogue_add_up_and_are_positive_on_average():
    belief = RNG.dirichlet(np.ones(6), 1)
    beliefs, expected = [belief], []
    for _ in range(5):
        likelihood = np.array([[0.8, 0.8, 0.8, 0.2, 0.2, 0.2], [0.2, 0.2, 0.2, 0.8, 0.8, 0.8]])[:, RNG.permutation(6)]
        answers = [belief_update(beliefs[-1], likelihood[a][None]) for a in (0, 1)]
        prob = likelihood @ beliefs[-1][0]
        expected.append(sum(p * float(information_gain(beliefs[-1], x)) for p, x in zip(prob, answers, strict=True)))
        beliefs.append(np.asarray(answers[RNG.integers(2)]))
    gains = [float(information_gain(a, b)) for a, b in itertools.pairwise(beliefs)]
    np.testing.assert_allclose(sum(gains), float(information_gain(beliefs[0], beliefs[-1])), rtol=1e-4, atol=1e-5)
    assert min(expected) > 0 > min(gains)


def test_a_truthful_answer_about_an_attribute_gains_its_entropy():
    belief = RNG.dirichlet(np.ones(4), 3)
    named = np.array([[0, 0, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]], bool)
    after = belief_update(belief, named)
    np.testing.assert_allclose(information_gain(belief, after), entropy(belief[0], base=2), rtol=1e-5)


def test_an_impossible_answer_changes_nothing():
    belief = np.array([[0.5, 0.5, 0.0]])
    np.testing.assert_array_equal(belief_update(belief, np.array([[False, False, True]])), belief)
