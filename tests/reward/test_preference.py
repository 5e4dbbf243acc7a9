"""Scores of segments, pairs, relabelling and the synthetic teacher against loops, frequencies and closed forms."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from rlx.reward import (
    bootstrap_indices,
    flip_labels,
    length_normalise,
    segment_score,
    swap_candidates,
    synthetic_teacher,
    to_pairs,
    trex_pairs,
)
from rlx.types import PreferenceBatch

RNG = np.random.default_rng(0)


def batch(candidates: int = 2, queries: int = 5, **fields) -> PreferenceBatch:
    made = PreferenceBatch(
        obs={"x": RNG.normal(size=(queries, candidates, 3, 2)), "y": RNG.normal(size=(queries, candidates, 3))},
        action=RNG.integers(4, size=(queries, candidates, 3)),
        mask=np.ones((queries, candidates, 3), bool),
        target=RNG.dirichlet(np.ones(candidates), queries),
        prompt=RNG.normal(size=(queries, 4)),
        annotator=np.arange(queries),
    )
    return made._replace(**fields)


def test_segment_score_is_a_loop():
    reward, lengths = RNG.normal(size=(6, 5)), [5, 3, 1, 0, 2, 4]
    mask = np.arange(5) < np.array(lengths)[:, None]
    sums = [sum(0.9**t * reward[b, t] for t in range(n)) for b, n in enumerate(lengths)]
    norms = [sum(0.9**t for t in range(n)) or 1.0 for n in lengths]
    lasts = [reward[b, n - 1] if n else 0.0 for b, n in enumerate(lengths)]
    np.testing.assert_allclose(segment_score(reward, mask, 0.9), sums, rtol=1e-5)
    np.testing.assert_allclose(segment_score(reward, mask, 0.9, "mean"), np.array(sums) / norms, rtol=1e-5)
    np.testing.assert_allclose(segment_score(reward, mask, 0.9, "last"), lasts, rtol=1e-6)
    infinite = np.where(mask, reward, np.nan)
    grad = jax.grad(lambda r: segment_score(r, mask).sum())(infinite)
    np.testing.assert_array_equal(grad, mask.astype(np.float32))


def test_pairs_are_those_of_a_loop():
    full = batch(3, rank=np.array([[0, 1, 2], [1, 1, 0], [0, -1, 1], [-1, -1, -1], [2, 0, 0]]))
    full.mask[1, 0] = False
    made = to_pairs(full)
    for row, (b, (i, j)) in enumerate(itertools.product(range(5), itertools.combinations(range(3), 2))):
        np.testing.assert_array_equal(made.obs["x"][row], np.asarray(full.obs["x"][b, [i, j]], np.float32))
        np.testing.assert_array_equal(made.action[row], full.action[b, [i, j]])
        np.testing.assert_array_equal(made.prompt[row], np.asarray(full.prompt[b], np.float32))
        assert made.annotator[row] == b
        ranks = full.rank[b, i], full.rank[b, j]
        known = min(ranks) >= 0 and full.mask[b, [i, j]].any(-1).all()
        assert made.weight[row] == known
        if known:
            assert made.target[row, 0] == (0.5 if ranks[0] == ranks[1] else float(ranks[0] < ranks[1]))
    np.testing.assert_allclose(made.target.sum(1), 1.0)
    assert made.rank is None


def test_pairs_of_a_choice_are_its_conditionals_and_keep_weights():
    full = batch(3, target=np.array([[0.5, 0.3, 0.2], [1.0, 0, 0]] + [[0.2, 0.2, 0.6]] * 3), weight=np.arange(5.0))
    made = to_pairs(full)
    np.testing.assert_allclose(made.target[:3, 0], [5 / 8, 5 / 7, 3 / 5], rtol=1e-6)
    np.testing.assert_array_equal(made.weight, [0, 0, 0, 1, 1, 0, 2, 2, 2, 3, 3, 3, 4, 4, 4])


def test_drawn_pairs_differ_and_are_uniform():
    full = batch(4, 3000, obs=None)
    full = full._replace(action=np.broadcast_to(np.arange(4)[:, None], (3000, 4, 3)))
    made = to_pairs(full, jax.random.key(0), 2)
    ids = np.asarray(made.action[:, :, 0]).reshape(3000, 2, 2) @ [4, 1]
    assert np.all(ids[:, 0] != ids[:, 1])
    _, counts = np.unique(ids, return_counts=True)
    assert len(counts) == 6
    np.testing.assert_allclose(counts, 1000, atol=5 * np.sqrt(1000))


def test_length_normalise_keeps_the_order_of_equally_long_answers_and_brings_long_ones_down():
    score, length = RNG.uniform(0, 2, 50), RNG.integers(1, 9, 50)
    found = np.asarray(length_normalise(score, length))
    np.testing.assert_allclose(found, score / np.log(1 + length), rtol=1e-5)
    assert length_normalise(jnp.ones(2), jnp.array([3, 9]))[1] < length_normalise(jnp.ones(2), jnp.array([3, 9]))[0]
    with pytest.raises(ValueError, match="length must be a finite number"):
        length_normalise(jnp.ones(1), jnp.array([-1]))


def demonstrations(rank, lengths) -> PreferenceBatch:
    """Of one query: step t of demonstration c has the number `100 c + t`."""
    count, steps = len(lengths), max(lengths)
    number = 100.0 * np.arange(count)[:, None] + np.arange(steps)
    mask = np.arange(steps) < np.array(lengths)[:, None]
    one = np.ones((1, count)) / count
    return PreferenceBatch(number[None, ..., None], None, mask[None], one, rank=np.array([rank]), gold=one)


def test_trex_pairs_are_pieces_of_the_demonstrations_that_their_ranks_judge():
    rank, lengths, length = np.array([2, 0, 1, -1, 2]), [9, 12, 3, 12, 10], 5
    made = trex_pairs(jax.random.key(0), demonstrations(rank, lengths), 4000, length)
    first = np.asarray(made.obs[..., 0], int)[..., 0]
    demo, start = first // 100, first % 100
    assert np.all(demo[:, 0] != demo[:, 1])
    for c in range(2):
        valid = np.asarray(made.mask[:, c])
        np.testing.assert_array_equal(valid.sum(1), np.minimum(np.array(lengths)[demo[:, c]], length))
        steps = np.asarray(made.obs[:, c, :, 0], int)
        expected = first[:, c, None] + np.arange(length)
        np.testing.assert_array_equal(steps[valid], expected[valid])
    difference = rank[demo[:, 1]] - rank[demo[:, 0]]
    np.testing.assert_array_equal(made.target[:, 0], 0.5 + 0.5 * np.sign(difference))
    np.testing.assert_array_equal(made.weight, 1.0)
    later = np.where(difference > 0, start[:, 0] - start[:, 1], start[:, 1] - start[:, 0])
    assert np.all(later[difference != 0] >= 0)
    pairs, counts = np.unique(np.sort(demo, axis=1) @ [10, 1], return_counts=True)
    assert set(pairs) == {1, 2, 4, 12, 14, 24}  # the third demonstration, of rank -1, is never drawn
    np.testing.assert_allclose(counts, 4000 / 6, atol=5 * np.sqrt(4000 / 6))
    ahead = start[(difference != 0) & (np.sort(demo, axis=1) @ [10, 1] == 1)].max()
    assert ahead == 12 - length  # the best one's last piece is drawn too
    assert made.gold is None
    assert made.rank is None


def test_trex_pairs_need_two_demonstrations():
    made = trex_pairs(jax.random.key(0), demonstrations([0, -1], [4, 4]), 3, 2)
    np.testing.assert_array_equal(made.weight, 0.0)
    with pytest.raises(ValueError, match=r"length must be in \[1, 4\]"):
        trex_pairs(jax.random.key(0), demonstrations([0, 1], [4, 4]), 3, 5)
    with pytest.raises(ValueError, match=r"batch\.rank must be int"):
        trex_pairs(jax.random.key(0), batch(), 3, 2)


def test_pieces_of_the_better_demonstration_are_further_on():
    """Demonstrations go along a line at different speeds. How far on a piece is agrees with the ranks in all pairs,
    and in fewer of those whose pieces are drawn anywhere: late ones of slow demonstrations pass early ones of fast.
    """
    speed, steps, length = np.arange(1, 6) / 5, 20, 8
    obs, mask = (speed[:, None] * np.arange(steps))[None], np.ones((1, 5, steps), bool)
    ranked = PreferenceBatch(obs, None, mask, np.full((1, 5), 0.2), rank=np.arange(5)[None, ::-1])
    made = trex_pairs(jax.random.key(0), ranked, 500, length)
    far = np.asarray(made.obs).sum(-1)
    np.testing.assert_array_equal(far[:, 0] > far[:, 1], made.target[:, 0] == 1)
    demo = np.asarray(jax.random.randint(jax.random.key(1), (500, 2), 0, 5))
    begin = RNG.integers(0, steps - length + 1, (500, 2))
    middle = speed[demo] * (begin + (length - 1) / 2)
    unequal = demo[:, 0] != demo[:, 1]
    assert np.mean(((middle[:, 0] > middle[:, 1]) == (demo[:, 0] > demo[:, 1]))[unequal]) < 0.9


def test_swap_and_flip_undo_themselves_and_differ_in_what_moves():
    full = batch(rank=np.array([[0, 1]] * 5), gold=RNG.normal(size=(5, 2)), weight=np.ones(5))
    full = jax.tree.map(jnp.asarray, full)
    where = jnp.array([True, False, True, False, False])
    swapped, flipped = swap_candidates(full, where), flip_labels(full, where)
    for got in (swap_candidates(swapped, where), flip_labels(flipped, where)):
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(full), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(swapped.gold[0], full.gold[0, ::-1])
    np.testing.assert_array_equal(flipped.gold, full.gold)
    np.testing.assert_array_equal(flipped.target, swapped.target)
    np.testing.assert_array_equal(swapped.obs["x"][1], full.obs["x"][1])
    np.testing.assert_array_equal(swapped.prompt, full.prompt)


def test_every_field_with_candidates_is_moved():
    """Fields are told apart by their documented shape: a batch whose sizes all differ shows which axis is which."""
    sizes = dict(obs=(5, 2, 3), action=(5, 2, 3), mask=(5, 2, 3), target=(5, 2), next_obs=(5, 2, 4), prompt=(5, 7))
    sizes |= dict(prompt_mask=(5, 7), rank=(5, 2), weight=(5,), strength=(5,), annotator=(5,), principle=(5, 7))
    sizes |= dict(factor=(5, 2, 6), factor_mask=(5, 2, 6), step_label=(5, 2, 3, 8), step_mask=(5, 2, 3, 8))
    sizes |= dict(binary=(5, 2), binary_mask=(5, 2), source=(5,), behaviour_log_prob=(5, 2, 3))
    sizes |= dict(reference_log_prob=(5, 2, 3), gold=(5, 2))
    assert set(sizes) == set(PreferenceBatch._fields)
    full = PreferenceBatch(**{name: jnp.asarray(RNG.normal(size=size)) for name, size in sizes.items()})
    swapped = swap_candidates(full)
    for name, size in sizes.items():
        before, after = getattr(full, name), getattr(swapped, name)
        np.testing.assert_array_equal(after, before[:, ::-1] if size[1:2] == (2,) else before)


def test_bootstrap_draws_with_replacement():
    index = np.asarray(bootstrap_indices(jax.random.key(0), 1000, 4))
    assert index.shape == (4, 1000)
    assert index.min() >= 0
    assert index.max() < 1000
    np.testing.assert_allclose([len(np.unique(row)) / 1000 for row in index], 1 - np.exp(-1), atol=0.05)


def repeated(reward: list, times: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rewards = np.broadcast_to(np.asarray(reward, np.float32), (times, *np.shape(reward)))
    return rewards, np.ones(rewards.shape, bool)


def test_teacher_chooses_by_luces_rule():
    """Discounted from the end, so the last step counts in full: 0.5 * 1 + 0 against 0.5 * 0 + 1."""
    reward, mask = repeated([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    target, weight = synthetic_teacher(jax.random.key(0), reward, mask, beta=2.0, discount=0.5)
    np.testing.assert_allclose(target.mean(0), scipy.special.softmax([1.0, 2.0, 3.0]), atol=0.03)
    assert np.all(weight == 1)


def test_teacher_errs_as_often_as_told_and_never_about_padding():
    reward, mask = repeated([[1.0, 0.0], [0.0, 0.0], [9.0, 9.0]])
    mask[:, 2] = False
    target, _ = synthetic_teacher(jax.random.key(1), reward, mask, mistake=0.2)
    np.testing.assert_allclose(target.mean(0), [0.8, 0.2, 0.0], atol=0.03)


def test_teacher_discounts_from_each_candidates_own_end():
    reward = np.array([[[2.0, 1.0, 99.0], [1.0, 1.0, 1.0]]])
    mask = np.array([[[True, True, False], [True, True, True]]])
    target, _ = synthetic_teacher(jax.random.key(0), reward, mask, discount=0.5)  # 2 against 1.75
    assert target.tolist() == [[1.0, 0.0]]


def test_teacher_ties_and_skips():
    reward = np.array([[[1.0], [1.2]], [[1.0], [2.0]], [[-1.0], [-2.0]]])
    target, weight = synthetic_teacher(
        jax.random.key(0), reward, np.ones((3, 2, 1), bool), mistake=1.0, equal=0.5, skip=0.0
    )
    assert target.tolist() == [[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]  # mistakes do not touch a tie
    assert weight.tolist() == [1.0, 1.0, 0.0]


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="how"):
        segment_score(np.zeros(2), np.ones(2, bool), how="max")
    with pytest.raises(ValueError, match="discount"):
        segment_score(np.zeros(2), np.ones(2, bool), 1.5)
    with pytest.raises(ValueError, match="pairs"):
        to_pairs(batch(3), jax.random.key(0), 4)
    with pytest.raises(ValueError, match="key"):
        to_pairs(batch(3), pairs=2)
    with pytest.raises(ValueError, match="where"):
        swap_candidates(batch(), np.ones(3, bool))
    with pytest.raises(ValueError, match="target"):
        flip_labels(batch(3), np.ones(5, bool))
    with pytest.raises(ValueError, match="members"):
        bootstrap_indices(jax.random.key(0), 3, 0)
    with pytest.raises(ValueError, match="beta"):
        synthetic_teacher(jax.random.key(0), np.zeros((1, 2, 1)), np.ones((1, 2, 1), bool), beta=0.0)
    with pytest.raises(ValueError, match="reward"):
        synthetic_teacher(jax.random.key(0), np.zeros((2, 1)), np.ones((2, 1), bool))
