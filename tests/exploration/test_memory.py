"""Memories of episodes against Python's lists, and the bonuses that read them against formulas and limits."""

from __future__ import annotations

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.exploration import EpisodeMemory, episodic_count, nearest_neighbours, ngu_bonus, novelty_gate, remember

B, M = 3, 5


def test_memory_is_a_queue_that_an_episode_empties():
    rng = np.random.default_rng(0)
    memory = EpisodeMemory(jnp.zeros((B, M), jnp.int32), jnp.zeros(B, jnp.int32))
    queues = [deque(maxlen=M) for _ in range(B)]
    put = jax.jit(remember)
    for entries, reset in zip(rng.integers(3, size=(40, B)), rng.random((40, B)) < 0.1, strict=True):
        memory = put(memory, jnp.asarray(entries), jnp.asarray(reset))
        for queue, entry, begins in zip(queues, entries.tolist(), reset, strict=True):
            if begins:
                queue.clear()
            queue.append(entry)
        for env, queue in enumerate(queues):
            assert sorted(np.asarray(memory.entries[env])[np.asarray(memory.mask[env])]) == sorted(queue)
        asked = rng.integers(3, size=B)
        assert episodic_count(memory, jnp.asarray(asked)).tolist() == [
            queue.count(x) for queue, x in zip(queues, asked.tolist(), strict=True)
        ]


def test_gates_in_numpy():
    rng = np.random.default_rng(0)
    after, before, visits = rng.random(50), rng.random(50), rng.integers(1, 4, size=50)
    x, y = jnp.asarray(after, jnp.float32), jnp.asarray(before, jnp.float32)
    np.testing.assert_allclose(novelty_gate(x, visits, "ride"), after / np.sqrt(visits), rtol=1e-6)
    wanted = [max(a - 0.7 * b, 0.0) if n == 1 else 0.0 for a, b, n in zip(after, before, visits, strict=True)]
    np.testing.assert_allclose(novelty_gate(x, visits, "noveld", y, alpha=0.7), wanted, rtol=1e-5, atol=1e-7)


def ngu(query, memories, k, **options):
    return ngu_bonus(nearest_neighbours(jnp.atleast_2d(query), jnp.asarray(memories), k=k)[0], **options)[0]


def test_ngu_is_its_formula_in_double_precision():
    rng = np.random.default_rng(0)
    query, memories, scale = rng.normal(size=3), 0.3 * rng.normal(size=(20, 3)), 0.4
    nearest = np.sort(((query - memories) ** 2).sum(-1))[:10] / scale
    kernel = 1e-3 / (np.maximum(nearest - 0.008, 0) + 1e-3)
    found = ngu(jnp.asarray(query, jnp.float32), memories.astype(np.float32), 10, mean_square=scale)
    np.testing.assert_allclose(found, 1 / (np.sqrt(kernel.sum()) + 1e-3), rtol=1e-4)


@pytest.mark.parametrize("visits", [1, 4, 10, 30])
def test_ngu_of_a_place_seen_before_falls_with_the_root_of_the_visits_up_to_k(visits):
    same, far = np.zeros((visits, 2), np.float32), np.full((5, 2), 1e4, np.float32)
    found = ngu(jnp.zeros(2), np.concatenate([same, far]), 10, mean_square=1.0)
    np.testing.assert_allclose(found, 1 / (np.sqrt(min(visits, 10)) + 1e-3), rtol=1e-4)


def test_ngu_pays_nothing_beyond_the_limit_which_ten_neighbours_never_reach():
    memories = np.zeros((100, 2), np.float32)
    assert ngu(jnp.zeros(2), memories, 10, mean_square=1.0) > 0.3
    assert ngu(jnp.zeros(2), memories, 65, mean_square=1.0) == 0.0
    np.testing.assert_allclose(ngu(jnp.zeros(2), memories, 60, mean_square=0.0), 1 / (60**0.5 + 1e-3), rtol=1e-5)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="previous"):
        novelty_gate(jnp.ones(2), jnp.ones(2))
    with pytest.raises(ValueError, match="kind"):
        novelty_gate(jnp.ones(2), jnp.ones(2), "first")
    with pytest.raises(ValueError, match="shape of entry"):
        remember(EpisodeMemory(jnp.zeros((B, M)), jnp.zeros(B, jnp.int32)), jnp.zeros((B, 2)), jnp.zeros(B, bool))
    with pytest.raises(ValueError, match="epsilon"):
        ngu_bonus(jnp.zeros(3), 1.0, epsilon=0.0)
