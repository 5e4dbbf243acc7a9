from __future__ import annotations

from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.runtime.rollout import (
    finished_episodes,
    init_episode_sums,
    next_values,
    reset_batch,
    step_batch,
    truncated_rollout,
)
from rlx.runtime.shuffle import shuffle
from rlx.value import edge_of_reach


class CountState(NamedTuple):
    time: jax.Array
    length: jax.Array


class Count:
    """Counts its steps; ends at a random length, by termination if that is even and by truncation if it is odd."""

    def reset_env(self, key: jax.Array, params: Any) -> tuple[jax.Array, CountState]:
        state = CountState(jnp.int32(0), jax.random.randint(key, (), 1, 6))
        return jnp.float32(state.time), state

    def step_env(self, key: jax.Array, state: CountState, action: jax.Array, params: Any) -> tuple:
        state = state._replace(time=state.time + 1)
        ended = (state.time == state.length) & (state.length % 2 == 0)
        return jnp.float32(state.time), state, jnp.float32(action), ended, {}

    def is_truncated(self, state: CountState, params: Any) -> jax.Array:
        return state.time == state.length


def rollout(seed: int = 0, num_envs: int = 5, num_steps: int = 23):
    env: Any = Count()
    first = reset_batch(env, None, jax.random.key(seed), num_envs)

    def step(batch, key):
        after, stepped = step_batch(env, None, key, batch, jnp.arange(num_envs))
        return after, (batch, stepped)

    keys = jax.random.split(jax.random.key(seed + 1), num_steps)
    last, (before, stepped) = jax.jit(lambda b: jax.lax.scan(step, b, keys))(first)
    return jax.tree.map(np.asarray, (before, stepped, last))


def test_episodes_end_reset_and_keep_their_last_observation():
    before, stepped, last = rollout()
    seen = set()
    for b in range(before.obs.shape[1]):
        clock = 0
        for t in range(before.obs.shape[0]):
            assert before.obs[t, b] == clock
            assert before.reset[t, b] == (clock == 0)
            clock += 1
            assert stepped.next_obs[t, b] == clock  # not the first of the next episode
            length = before.state.length[t, b]
            ended = clock == length
            assert stepped.terminated[t, b] == (ended and length % 2 == 0)
            assert stepped.truncated[t, b] == (ended and length % 2 == 1)
            if ended:
                clock = 0
                seen.add(int(length))
        assert last.obs[b] == clock
    assert len(seen) > 3  # resets draw anew


def test_a_rollout_does_not_change_types():
    env, params = gymnax.make("CartPole-v1")  # whose first state has a literal for the time
    first = jax.eval_shape(lambda key: reset_batch(env, params, key, 3), jax.random.key(0))
    after, _ = jax.eval_shape(
        lambda key, batch: step_batch(env, params, key, batch, jnp.zeros(3, int)), jax.random.key(0), first
    )
    assert jax.tree.leaves(jax.tree.map(lambda x, y: x == y and not x.weak_type, first, after)) == [True] * 7


def test_resets_do_not_depend_on_where_episodes_end():
    # the branch that skips resets must give what resetting at every step would
    before, stepped, _ = rollout(3)
    keys = jax.random.split(jax.random.key(4), 23)
    for t in range(22):
        reset_keys = jax.random.split(keys[t], (2, 5))[1]
        drawn = jax.vmap(Count().reset_env, in_axes=(0, None))(reset_keys, None)[1].length
        done = stepped.terminated[t] | stepped.truncated[t]
        np.testing.assert_array_equal(before.state.length[t + 1][done], np.asarray(drawn)[done])


def test_next_values_match_a_loop():
    # three rollouts at once, where none, a few and most steps are cut off: more than one batch of 5 has room for
    T, B, K = 7, 5, 2
    rng = np.random.default_rng(0)
    value, last = rng.normal(size=(3, T, B, K)), rng.normal(size=(3, B, K))
    truncated = rng.random((3, T, B)) < np.array([0.0, 0.1, 0.8])[:, None, None]
    reached = rng.normal(size=(3, T, B, 4)).astype(np.float32)
    head = rng.normal(size=(4, K)).astype(np.float32)
    episodic = jnp.array([True, False])

    def of_one(value, last, truncated, reached):
        return next_values(value, last, truncated, episodic, lambda obs: obs @ head, reached)

    batched = jax.jit(jax.vmap(of_one))(*map(jnp.asarray, (value, last, truncated, reached)))
    for i in range(3):
        alone = of_one(*(jnp.asarray(x[i]) for x in (value, last, truncated, reached)))
        for t in range(T):
            for b in range(B):
                expected = (value[i, t + 1, b] if t + 1 < T else last[i, b]).copy()
                if truncated[i, t, b]:
                    expected[0] = (reached[i, t, b] @ head)[0]
                np.testing.assert_allclose(alone[t, b], expected, rtol=1e-5)
                np.testing.assert_allclose(batched[i, t, b], expected, rtol=1e-5)


@pytest.mark.parametrize("split", [1, 4, 24])
def test_finished_episodes_match_a_loop(split):
    rng = np.random.default_rng(0)
    num_steps, num_envs = 24, 5
    reward = rng.normal(size=(num_steps, num_envs, 2)).astype(np.float32)
    done = rng.random((num_steps, num_envs)) < 0.2
    done[:, 0] = False
    returns, lengths = [], []
    for b in range(num_envs):
        total, length = np.zeros(2), 0
        for t in range(num_steps):
            total, length = total + reward[t, b], length + 1
            if done[t, b]:
                returns.append(total)
                lengths.append(length)
                total, length = np.zeros(2), 0
    sums, totals = init_episode_sums(num_envs, 2), []
    for part in np.split(np.arange(num_steps), split):
        sums, mean_return, mean_length = finished_episodes(sums, jnp.asarray(reward[part]), jnp.asarray(done[part]))
        totals.append((mean_return.total, mean_return.count, mean_length.total))
    np.testing.assert_allclose(sum(t[0] for t in totals), np.sum(returns, axis=0), rtol=1e-4, atol=1e-4)
    assert sum(float(t[1]) for t in totals) == len(returns)
    assert sum(float(t[2]) for t in totals) == sum(lengths)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
def test_shuffle_is_a_permutation(size):
    orders = np.asarray(shuffle(jax.random.key(0), size, 3))
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(size))


def test_shuffle_is_uniform():
    from scipy import stats

    orders = np.asarray(shuffle(jax.random.key(1), 4, 24_000))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


def test_shuffle_orders_neighbours_either_way():
    size, repeats = 2**12, 2000
    orders = np.asarray(shuffle(jax.random.key(2), size, repeats))
    position = np.argsort(orders, axis=1)
    in_order = (position[:, 0::2] < position[:, 1::2]).mean()
    assert abs(in_order - 0.5) < 4 * 0.5 / np.sqrt(repeats * size / 2)


def test_shuffle_refuses_sizes_that_leave_too_few_random_bits():
    with pytest.raises(ValueError, match="size must be between"):
        shuffle(jax.random.key(0), 2**22 + 1)


def test_model_rollouts_stop_where_they_end_and_are_cut_at_the_last_step():
    """On a line whose place 5 is terminal."""

    def dynamics(key, place, action):
        del key
        return place + action, 10.0 * place, place + action == 5

    starts = jnp.array([0, 2, 3])
    steps, valid = truncated_rollout(dynamics, jax.random.key(0), starts, 3, lambda key, place: jnp.ones_like(place))
    for b, start in enumerate([0, 2, 3]):
        going = True
        for t in range(3):
            place = start + t
            assert bool(valid[t, b]) is going
            if going:
                row = jax.tree.map(lambda x, t=t, b=b: x[t, b].item(), steps)
                assert row == (place, 1, 0.0, 10.0 * place, place == 4, t == 2 and place != 4, place + 1)
            going = going and place != 4
    used = valid & ~steps.terminated
    edge = edge_of_reach(jnp.where(valid, steps.obs, -1), steps.next_obs, 8, used)
    np.testing.assert_array_equal(np.flatnonzero(edge), [])  # 3 is where another begins, 5 is the end
    edge = edge_of_reach(steps.obs[:, :1], steps.next_obs[:, :1], 8, used[:, :1])
    np.testing.assert_array_equal(np.flatnonzero(edge), [3])
    with pytest.raises(ValueError, match="num_steps"):
        truncated_rollout(dynamics, jax.random.key(0), starts, 0, lambda key, place: place)
