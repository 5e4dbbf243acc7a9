"""Rewards from labels by loops, goals by sets, filters by NumPy; limits in which one is the other."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from rlx.exploration import (
    add_goal,
    annotation_scores,
    compose_goal,
    goal_prob,
    goals_reached,
    init_goals,
    label_count,
    label_reward,
    noisy_labels,
    record_goal,
    subgoal_automaton_reward,
    task_filter,
)
from rlx.value import value_iteration

RNG = np.random.default_rng(0)
T, B, G = 12, 3, 4
LABEL, DONE = RNG.random((T, B, G)) < 0.4, RNG.random((T, B)) < 0.2


def test_counts_and_rewards_of_a_loop_over_episodes():
    weight, start = np.array([1.0, -0.5, 2.0, 0.3]), RNG.integers(3, size=(B, G))
    counts, after = label_count(LABEL, DONE, start)
    found = label_reward(1.0 * LABEL, counts, weight, decay=3.0)
    seen = start.copy()
    for t in range(T):
        for b in range(B):
            seen[b] += LABEL[t, b]
            paid = sum(weight[g] * seen[b, g] ** -3.0 for g in range(G) if LABEL[t, b, g])
            np.testing.assert_allclose(found[t, b], paid, rtol=1e-5, atol=1e-6)
            if DONE[t, b]:
                seen[b] = 0
    np.testing.assert_array_equal(after, seen)


@pytest.mark.parametrize(("decay", "paid"), [(0.0, [1, 1, 1]), (1.0, [1, 1 / 2, 1 / 3]), (math.inf, [1, 0, 0])])
def test_decay(decay, paid):
    np.testing.assert_allclose(label_reward(jnp.ones((3, 1)), jnp.array([[1], [2], [3]]), decay=decay), paid, rtol=1e-6)


def test_automaton_without_order_pays_labels_once():
    """And in an episode it pays as much as it has distinct subgoals."""
    start = np.zeros((B, G), bool)
    reward, state = subgoal_automaton_reward(LABEL, DONE, start)
    counts, _ = label_count(LABEL, DONE, start.astype(int))
    np.testing.assert_allclose(reward, label_reward(1.0 * LABEL, counts, decay=math.inf))
    assert state.shape == (T + 1, B, G)
    for b in range(B):
        ends = [-1, *np.flatnonzero(DONE[:, b]), T - 1]
        for first, last in itertools.pairwise(ends):
            part = slice(first + 1, last + 1)
            np.testing.assert_allclose(reward[part, b].sum(), LABEL[part, b].any(0).sum())
            np.testing.assert_array_equal(state[first + 1, b], False)


def test_order_lets_only_the_next_one_count():
    reward, state = subgoal_automaton_reward(LABEL, DONE, np.zeros((B, G), bool), ordered=True, bonus=2.0)
    for b in range(B):
        line = 0
        for t in range(T):
            hit = line < G and LABEL[t, b, line]
            assert reward[t, b] == 2.0 * hit
            np.testing.assert_array_equal(state[t, b], np.arange(G) < line)
            line = 0 if DONE[t, b] else line + hit


def test_potential_of_achieved_subgoals_keeps_the_best_policy_and_the_bonus_need_not():
    """A corridor: 1 leads on to the end (reward 1 at once), 0 to a subgoal on the spot; then both lead to the end."""
    # states: start, start after the subgoal, end; the end from either
    P = np.zeros((3, 2, 3))
    P[0, 0, 1] = P[0, 1, 2] = P[1, :, 2] = P[2, :, 2] = 1
    gamma, achieved = 0.5, np.array([0.0, 1.0, 0.0])  # potential 0 at the end
    R = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    bonus = np.where(np.arange(3)[:, None] == 0, [[2.0, 0.0]], 0.0)  # paid once, on reaching the subgoal
    shaping = gamma * P @ achieved - achieved[:, None]
    plain, shaped, paid = (int(value_iteration(P, r, gamma)[1][0].argmax()) for r in (R, R + shaping, R + bonus))
    assert (plain, shaped, paid) == (1, 1, 0)


def test_scores_are_scikit_learns():
    predicted, actual, mask = RNG.random((3, 60)) < 0.4
    found = annotation_scores(predicted, actual, mask)
    said, true = predicted[mask], actual[mask]
    wanted = [f(true, said) for f in (accuracy_score, precision_score, recall_score, f1_score)]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    nothing = annotation_scores(predicted, actual, np.zeros(60, bool))
    np.testing.assert_array_equal(nothing, 0.0)


def test_f1_of_a_noisy_labeller_has_its_closed_form():
    """100,000 labels: standard error of F1 below 0.004."""
    tpr, fpr, rate = 0.8, 0.1, 0.2
    truth = RNG.random((100_000, 1)) < rate
    label, valid = noisy_labels(jax.random.key(0), truth, tpr=tpr, fpr=fpr, coverage=0.7)
    np.testing.assert_allclose(valid.mean(), 0.7, atol=0.01)
    found = annotation_scores(label[:, 0], truth[:, 0], valid)
    np.testing.assert_allclose(found.f1, 2 * tpr * rate / (tpr * rate + fpr * (1 - rate) + rate), atol=0.015)
    np.testing.assert_allclose(found.recall, tpr, atol=0.015)


def test_library_is_a_set_of_goals():
    library, add = init_goals(3, 4, window=4, horizon=2), jax.jit(add_goal)
    known: list[frozenset] = []
    for atoms in RNG.random((8, 4)) < 0.4:
        library, row = add(library, atoms)
        goal = frozenset(np.flatnonzero(atoms))
        if goal and goal not in known and len(known) < 3:
            known.append(goal)
        assert int(row) == (known.index(goal) if goal in known else -1)
    assert [frozenset(np.flatnonzero(x)) for x in library.atoms] == known
    assert not add_goal(init_goals(3, 4), jnp.ones(4, bool), False)[0].valid.any()


def test_records_keep_the_last_outcomes_and_the_shortest_success():
    library, _ = add_goal(init_goals(2, 2, window=3, horizon=2), jnp.array([True, False]))
    record = jax.jit(record_goal)
    tries = [(False, 1), (True, 9), (True, 5), (True, 7), (False, 2)]
    for i, (success, length) in enumerate(tries):
        library = record(library, 0, success, jnp.array([i, i]), length)
    library = record(library, -1, True, jnp.array([8, 8]), 1)
    np.testing.assert_array_equal(library.outcomes, [[True, True, False], [False] * 3])
    np.testing.assert_array_equal(library.tries, [5, 0])
    np.testing.assert_array_equal(library.length, [5, 0])
    np.testing.assert_array_equal(library.action, [[2, 2], [0, 0]])
    np.testing.assert_array_equal(record_goal(library, 0, True).action, library.action)


def test_goals_are_reached_when_their_last_atom_has_happened():
    atoms, event, mask = RNG.random((6, 4)) < 0.4, RNG.integers(-1, 5, T), np.arange(T) < 9
    reached, steps = goals_reached(atoms, event, mask)
    for g, wanted in enumerate(atoms):
        needed = set(np.flatnonzero(wanted))
        when = [t + 1 for t in range(T) if needed and mask[t] and needed <= set(event[: t + 1])]
        assert (bool(reached[g]), int(steps[g])) == ((True, when[0]) if when else (False, 0))


def test_a_composition_is_of_two_mastered_goals():
    atoms = np.eye(5, dtype=bool)
    mastered = np.array([True, False, True, True, False])
    pairs = set()
    for key in jax.random.split(jax.random.key(0), 30):
        goal, valid = compose_goal(key, atoms, mastered)
        assert valid
        pairs.add(tuple(np.flatnonzero(goal)))
    assert pairs == {(0, 2), (0, 3), (2, 3)}
    assert not compose_goal(jax.random.key(0), atoms, np.arange(5) == 1)[1]


def test_rules_of_drawing_goals():
    outcomes = np.array([[0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]], bool)
    tries, valid = np.array([9, 9, 9, 9, 1]), np.array([True, True, True, True, True])
    weight = np.array([1.1, 1.1, 0.1, 0.1, 1.1])  # the last has one try: 1 in the newer half, nothing before
    np.testing.assert_allclose(goal_prob(outcomes, tries, valid), weight / weight.sum(), rtol=1e-5)
    weight = np.array([1.1, 1.1, 0.1, 1.1, 0.1])
    np.testing.assert_allclose(goal_prob(outcomes, tries, valid, rule="window"), weight / weight.sum(), rtol=1e-5)
    fewest = goal_prob(outcomes, np.array([3, 1, 1, 5, 0]), valid & (np.arange(5) < 4), rule="least_tried")
    np.testing.assert_allclose(fewest, [0, 0.5, 0.5, 0, 0])
    np.testing.assert_allclose(goal_prob(outcomes, tries, valid, rule="uniform"), 0.2, rtol=1e-6)
    np.testing.assert_array_equal(goal_prob(outcomes, tries, ~valid), 0.0)
    with pytest.raises(ValueError, match="rule"):
        goal_prob(outcomes, tries, valid, rule="hardest")


def test_filter_of_tasks():
    returns, control = RNG.random((2, 50, 10))
    limits = dict(solved_return=0.5, solved_share=0.6, better_margin=0.1, better_share=0.3, control_limit=0.5)
    mean = control.mean(1)
    wanted = ((returns > 0.5).mean(1) < 0.6) & ((returns > mean[:, None] + 0.1).mean(1) > 0.3) & (mean < 0.5)
    np.testing.assert_array_equal(task_filter(returns, control, **limits), wanted)
    assert 0 < wanted.sum() < 50
    everything = dict(solved_return=0, solved_share=1.1, better_margin=0, better_share=-0.1, control_limit=np.inf)
    assert task_filter(returns, control, **everything).all()
