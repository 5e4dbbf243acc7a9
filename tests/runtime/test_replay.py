"""Oracles: the last rows of a stream, loops over it in NumPy, and the chi-square law of how often items are drawn."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from rlx.runtime.replay import (
    add,
    add_priorities,
    capacity_for,
    importance_weights,
    init_priorities,
    init_replay,
    n_step,
    rows_of_all,
    sample_by_priority,
    sample_uniform,
    set_priorities,
    window,
)


class Row(NamedTuple):
    stamp: Any  # [T, B] number of the step, over all environments
    reward: Any  # [T, B, K]
    terminated: Any
    truncated: Any


def stream(rng, length, num_envs, channels=2):
    """Random steps; each row's stamps go on from the row before."""
    terminated = rng.random((length, num_envs)) < 0.2
    return Row(
        np.arange(length * num_envs, dtype=np.int32).reshape(length, num_envs),
        rng.normal(size=(length, num_envs, channels)).astype(np.float32),
        terminated,
        (rng.random((length, num_envs)) < 0.15) & ~terminated,
    )


def filled(rows, capacity, block):
    """A ring to which all of `rows` was added, `block` at a time."""
    replay = init_replay(jax.tree.map(lambda x: x[:block], rows), capacity)
    write = jax.jit(add)
    for block_rows in zip(*(np.split(x, len(x) // block) for x in rows), strict=True):
        replay = write(replay, Row(*block_rows))
    return replay


@pytest.mark.parametrize(("length", "capacity", "block"), [(3, 5, 1), (5, 5, 1), (13, 5, 1), (6, 12, 3), (30, 12, 3)])
def test_ring_keeps_the_last_rows(length, capacity, block):
    rows = stream(np.random.default_rng(0), length, 2)
    replay = filled(rows, capacity, block)
    kept = rows.stamp[-capacity:]
    assert int(replay.size) == len(kept)
    oldest = (int(replay.head) - int(replay.size)) % capacity
    found = np.roll(replay.rows.stamp, -oldest, axis=0)[: len(kept)]
    np.testing.assert_array_equal(found, kept)


@pytest.mark.parametrize("length", [4, 6, 17])
def test_uniform_draws_are_uniform_over_what_is_stored(length):
    rows = stream(np.random.default_rng(1), length, 3)
    replay = filled(rows, 6, 1)
    index = jax.jit(sample_uniform, static_argnums=2)(replay, jax.random.key(0), 20_000)
    stamps = np.asarray(window(replay, index, 1)[0].stamp[0])
    kept = rows.stamp[-6:].ravel()
    counts = np.array([(stamps == stamp).sum() for stamp in kept])
    assert counts.sum() == len(stamps)  # nothing but what is stored
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("length", [4, 11])
def test_a_window_runs_on_in_time_and_stops_at_the_newest_row(length):
    rows, capacity, num_envs, n = stream(np.random.default_rng(2), length, 2), 5, 2, 4
    replay = filled(rows, capacity, 1)
    index = sample_uniform(replay, jax.random.key(1), 200)
    steps, stored = jax.jit(window, static_argnums=2)(replay, index, n)
    first = np.asarray(steps.stamp[0])
    expected = first + num_envs * np.arange(n)[:, None]
    np.testing.assert_array_equal(stored, expected < length * num_envs)
    np.testing.assert_array_equal(np.asarray(steps.stamp)[np.asarray(stored)], expected[np.asarray(stored)])


def n_step_by_loop(rows, time, env, n, gamma):
    """Reward, discount and the stamp of the last step, for the targets that start at one step of a stream."""
    reward = np.zeros(gamma.shape)
    for i in range(n):
        t = time + i
        reward += gamma**i * rows.reward[t, env]
        over = rows.terminated[t, env] or rows.truncated[t, env]
        if over or i == n - 1 or t == len(rows.stamp) - 1:
            return reward, gamma ** (i + 1) * (not rows.terminated[t, env]), rows.stamp[t, env]
    raise AssertionError


@pytest.mark.parametrize("n", [1, 3, 8])
def test_n_step_is_a_loop_over_the_stream(n):
    rows, gamma = stream(np.random.default_rng(3), 40, 3), np.array([0.9, 0.5])
    replay = filled(rows, 16, 2)
    index = jnp.concatenate([sample_uniform(replay, jax.random.key(2), 300), jnp.arange(16 * 3)])
    steps, stored = window(replay, index, n)
    reward, discount, last = jax.jit(n_step)(
        steps.reward, steps.terminated, steps.truncated, stored, jnp.asarray(gamma, jnp.float32)
    )
    for i, stamp in enumerate(np.asarray(steps.stamp[0])):
        want_reward, want_discount, want_stamp = n_step_by_loop(rows, stamp // 3, stamp % 3, n, gamma)
        np.testing.assert_allclose(reward[i], want_reward, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(discount[i], want_discount, rtol=1e-5)
        assert steps.stamp[int(last[i]), i] == want_stamp


def test_n_step_bootstraps_at_truncation_and_not_at_termination():
    reward, stored, gamma = jnp.ones((2, 3, 1)), jnp.ones((2, 3), bool), jnp.array([0.5])
    terminated = jnp.array([[True, False, False], [False, False, True]])
    truncated = jnp.array([[False, True, False], [False, False, False]])
    total, discount, last = n_step(reward, terminated, truncated, stored, gamma)
    np.testing.assert_array_equal(total[:, 0], [1.0, 1.0, 1.5])
    np.testing.assert_array_equal(discount[:, 0], [0.0, 0.5, 0.0])
    np.testing.assert_array_equal(last, [0, 0, 1])


def test_blocks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must divide capacity = 5; got 2"):
        init_replay(stream(np.random.default_rng(0), 2, 1), 5)


def test_learners_along_an_axis_share_their_rows():
    rows = stream(np.random.default_rng(0), 3, 4)
    each = jax.tree.map(lambda x: jnp.stack([x, x + 100 if x.dtype == np.int32 else x]), rows)  # two learners
    found = jax.vmap(lambda rows: rows_of_all(rows, "learners"), axis_name="learners")(each)
    expected = np.concatenate([rows.stamp, rows.stamp + 100], axis=1)
    np.testing.assert_array_equal(found.stamp, np.stack([expected, expected]))
    assert rows_of_all(rows, None) is rows
    assert capacity_for(rows, 100) == 27  # 9 blocks of 3 rows of 4
    assert capacity_for(jax.tree.map(lambda x: x[0], found), 100) == 15


def test_donated_ring_is_written_in_place():
    rows = stream(np.random.default_rng(4), 64, 4)
    replay = filled(rows, 64, 1)
    block = jax.tree.map(lambda x: jnp.asarray(x[:1]), rows)
    before = jax.tree.map(lambda x: x.unsafe_buffer_pointer(), replay.rows)
    after = jax.jit(add, donate_argnums=0)(replay, block)
    assert jax.tree.map(lambda x: x.unsafe_buffer_pointer(), after.rows) == before


def test_batched_rings_equal_single_ones():
    parts = [stream(np.random.default_rng(seed), 8, 2) for seed in range(3)]
    rings = [filled(part, 6, n) for part, n in zip(parts, (2, 2, 1), strict=True)]
    together = jax.tree.map(lambda *x: jnp.stack(x), *rings)
    block = jax.tree.map(lambda x: jnp.asarray(x[:2]), parts[0])
    batched = jax.vmap(add, in_axes=(0, None))(together, block)
    alone = [add(ring, block) for ring in rings]
    jax.tree.map(np.testing.assert_array_equal, batched, jax.tree.map(lambda *x: jnp.stack(x), *alone))


# --- Priorities ---


def reference_tree(priority, leaves):
    tree = np.zeros(2 * leaves, np.float32)
    tree[leaves : leaves + len(priority)] = priority
    for node in range(leaves - 1, 0, -1):
        tree[node] = tree[2 * node] + tree[2 * node + 1]
    return tree


@pytest.mark.parametrize("num_items", [1, 2, 5, 64, 100])
def test_every_node_is_the_sum_of_its_children(num_items):
    rng, priorities, want = np.random.default_rng(5), init_priorities(num_items), np.zeros(num_items, np.float32)
    write = jax.jit(set_priorities)
    for _ in range(20):
        index = rng.integers(0, num_items, 7)
        want[index] = rng.exponential(size=num_items).astype(np.float32)[index]
        priorities = write(priorities, index, want[index])
    np.testing.assert_array_equal(priorities.tree, reference_tree(want, len(priorities.tree) // 2))


@pytest.mark.parametrize("num_items", [5, 37])
def test_draws_are_proportional_to_priority(num_items):
    rng = np.random.default_rng(6)
    priority = (rng.exponential(size=num_items) ** 2).astype(np.float32)
    priority[::4] = 0.0
    priorities = set_priorities(init_priorities(num_items), jnp.arange(num_items), jnp.asarray(priority))
    draw = jax.jit(jax.vmap(lambda key: sample_by_priority(priorities, key, 8)))
    index, probability = jax.tree.map(np.ravel, draw(jax.random.split(jax.random.key(0), 4000)))
    share = priority / priority.sum()
    counts = np.bincount(index, minlength=num_items)
    assert not counts[priority == 0].any()
    positive = share > 0
    assert scipy.stats.chisquare(counts[positive], share[positive] * len(index)).pvalue > 1e-3
    np.testing.assert_allclose(probability, share[index], rtol=1e-5)


def test_an_item_of_priority_zero_is_never_drawn_at_any_scale():
    priority = np.zeros(1000, np.float32)
    priority[[3, 998]] = 1e-30, 1e30
    priorities = set_priorities(init_priorities(1000), jnp.arange(1000), jnp.asarray(priority))
    index, _ = sample_by_priority(priorities, jax.random.key(0), 10_000)
    assert set(np.unique(index)) <= {3, 998}


def test_new_items_get_the_largest_priority_so_far():
    rows = stream(np.random.default_rng(7), 6, 2)
    block = jax.tree.map(lambda x: x[:2], rows)
    replay, priorities = init_replay(block, 4), init_priorities(8)
    for _ in range(2):  # fill rows 0 to 3
        priorities, replay = add_priorities(priorities, replay, 2), add(replay, block)
    np.testing.assert_array_equal(priorities.tree[-8:], np.ones(8))
    priorities = set_priorities(priorities, jnp.array([1, 6]), jnp.array([5.0, 0.25]))
    priorities = set_priorities(priorities, jnp.array([1]), jnp.array([0.5]))  # the maximum is of the whole past
    priorities = add_priorities(priorities, replay, 2)
    np.testing.assert_array_equal(priorities.tree[-8:], [5, 5, 5, 5, 1, 1, 0.25, 1])


def test_importance_weights_correct_the_bias():
    probability = jnp.array([0.5, 0.25, 0.125, 0.125])
    np.testing.assert_allclose(importance_weights(probability, 4, 0.5), np.sqrt([0.25, 0.5, 1.0, 1.0]), rtol=1e-6)
    np.testing.assert_array_equal(importance_weights(probability, 4, 0.0), np.ones(4))
    # exponent 1: the weighted mean under the draws is the plain mean over items
    value, weight = jnp.array([1.0, -2.0, 5.0, 7.0]), importance_weights(probability, 4, 1.0)
    np.testing.assert_allclose(
        jnp.sum(probability * weight * value) / jnp.sum(probability * weight), value.mean(), rtol=1e-6
    )
