"""The queue against a list, and rewards of annotated events against those written by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.envs import make
from rlx.envs.grid import EVENTS, GOAL, KEY
from rlx.exploration import (
    Annotator,
    Answers,
    init_annotations,
    labelled_events,
    pop_captions,
    push_captions,
    scripted_annotator,
)
from rlx.space import Box, Discrete
from rlx.types import EnvSpec, Transition

RNG = np.random.default_rng(0)
KEY_ = jax.random.key(0)
E, T, B = 9, 6, 2
SPEC = EnvSpec(Box(0.0, float(E), (1,)), Discrete(2), ("reward",), B)


def batch_of(captions: np.ndarray, done: np.ndarray | bool = False) -> Transition:
    """Steps whose captions can be read from their observations."""
    obs = jnp.asarray(captions, jnp.float32)[..., None]
    zeros, flags = jnp.zeros(captions.shape), jnp.zeros(captions.shape, bool)
    return Transition(obs, zeros.astype(jnp.int32), zeros, zeros, flags | done, flags, obs)


def caption(batch: Transition) -> jax.Array:
    return batch.obs[..., 0].astype(jnp.int32)


def test_queue_is_a_stack_of_what_was_never_asked():
    queue = init_annotations(E, 1, 4, jnp.int32(0))
    waiting: list[int] = []
    asked: set[int] = set()
    content: dict[int, int] = {}
    push, pop = jax.jit(push_captions), jax.jit(pop_captions, static_argnums=1)
    dropped = 0
    for round in range(12):
        new, mask = RNG.integers(-1, E + 1, 6), RNG.random(6) < 0.8
        numbers = np.arange(6) + 10 * round
        queue = push(queue, new, numbers, mask)
        last = {c: i for i, c in enumerate(new.tolist()) if mask[i] and 0 <= c < E}
        for c, i in sorted(last.items(), key=lambda x: x[1]):
            if c not in asked:
                waiting.append(c)
                asked.add(c)
                content[c] = numbers[i]
        dropped += len(waiting[:-4])
        asked -= set(waiting[:-4])
        waiting = waiting[-4:]
        assert [c for c in queue.waiting.tolist() if c >= 0] == waiting
        assert set(np.flatnonzero(queue.asked).tolist()) == asked
        if round % 4 == 3:
            queue, out, shown = pop(queue, 2)
            wanted = waiting[:-3:-1]
            assert out.tolist() == wanted + [-1] * (2 - len(wanted))
            assert shown.tolist()[: len(wanted)] == [content[c] for c in wanted]
            waiting = waiting[:-2]
    assert dropped


def hand_written(captions, done, start, label, decay):
    """Rewards of captions whose label is known, by a loop; `start [B, E]` counts go on."""
    rewards = np.zeros(captions.shape)
    for t, b in np.ndindex(captions.shape):
        start[b, captions[t, b]] += 1
        rewards[t, b] = label[captions[t, b]] * start[b, captions[t, b]] ** -decay
        if done[t, b]:
            start[b] = 0
    return rewards


def test_perfect_annotator_at_once_is_the_reward_written_by_hand():
    label = RNG.random(E) < 0.5
    source = labelled_events(caption, E, scripted_annotator(label[:, None]), rate=12, capacity=12, decay=2.0)
    state, start = source.init(KEY_, SPEC), np.zeros((B, E))
    compute = jax.jit(source.compute)
    for _ in range(3):
        captions, done = RNG.integers(E, size=(T, B)), RNG.random((T, B)) < 0.2
        rewards, state = compute(state, batch_of(captions, done), KEY_)
        np.testing.assert_allclose(rewards[..., 0], hand_written(captions, done, start, label, 2.0), rtol=1e-5)


def test_labels_count_from_when_they_come():
    """One caption at a time, answered two questions later; the newest is asked about first."""
    source = labelled_events(caption, E, scripted_annotator(np.ones((E, 1), bool), latency=2), rate=1, decay=0.0)
    state, compute = source.init(KEY_, SPEC), jax.jit(source.compute)
    captions = np.array([[0, 1], [2, 3]])  # the newest is 3
    paid = []
    for _ in range(6):
        rewards, state = compute(state, batch_of(captions), KEY_)
        paid.append(rewards[..., 0].tolist())
    none, three, two = [[0, 0], [0, 0]], [[0, 0], [0, 1]], [[0, 0], [1, 1]]
    assert paid == [none, none, three, two, [[0, 1], [1, 1]], [[1, 1], [1, 1]]]
    assert source.update(state, batch_of(captions), KEY_)[1] == {"known": 4, "waiting": 0}


def test_what_is_not_covered_is_not_asked_again():
    source = labelled_events(caption, E, scripted_annotator(np.ones((E, 1), bool), coverage=0.0), rate=12, capacity=12)
    state, compute = source.init(KEY_, SPEC), jax.jit(source.compute)
    for _ in range(2):
        rewards, state = compute(state, batch_of(RNG.integers(4, size=(T, B))), KEY_)
        assert not rewards.any()
    assert not state.queue.known.any()
    assert (state.queue.waiting == -1).all()


def test_content_goes_with_its_caption_and_labels_are_weighed():
    """An annotator that reads the content: twice the caption, as a label and its negative."""

    def ask(state, asked, content):
        return Answers(asked, jnp.stack([content["image"], -content["image"]], 1), asked >= 0), state

    source = labelled_events(
        caption,
        E,
        Annotator(lambda key, num: (), ask, 2),
        content=lambda batch: {"image": 2.0 * batch.obs[..., 0]},
        weight=jnp.array([1.0, 0.25]),
        rate=12,
        capacity=12,
        decay=0.0,
    )
    captions = RNG.integers(E, size=(T, B))
    rewards, _ = jax.jit(source.compute)(source.init(KEY_, SPEC), batch_of(captions), KEY_)
    np.testing.assert_allclose(rewards[..., 0], 1.5 * captions)


def test_shards_ask_about_what_any_of_them_met():
    make_source = lambda axis: labelled_events(  # noqa: E731
        caption, E, scripted_annotator(np.arange(E)[:, None] % 2 == 0, latency=1), rate=4, capacity=24, axis_name=axis
    )
    captions = RNG.integers(E, size=(3, T, 2 * B))

    def run(source, captions):
        state = source.init(KEY_, SPEC._replace(num_envs=captions.shape[2]))
        state, rewards = jax.lax.scan(lambda s, x: source.compute(s, batch_of(x), KEY_)[::-1], state, captions)
        return rewards[-1], state.queue.known

    halves = jnp.stack(jnp.split(jnp.asarray(captions), 2, axis=2))
    wanted, known = jax.jit(lambda x: run(make_source(None), x))(captions)
    found, each = jax.jit(jax.vmap(lambda x: run(make_source("data"), x), axis_name="data"))(halves)
    assert known.sum() == 8
    np.testing.assert_array_equal(each.sum(1), 8)  # which ones depends on the order of environments
    np.testing.assert_array_equal(each[0], each[1])
    assert wanted.shape == (T, 2 * B, 1)
    assert found.shape == (2, T, B, 1)


@pytest.mark.parametrize("options", [{"mask_actions": True}, {"noise": 3}])
def test_grid_tells_events_from_observations(options):
    env, params = make("rlx/keydoor-5", **options)

    def step(carry, key):
        obs, state = carry
        action_key, step_key = jax.random.split(key)
        action = jax.random.randint(action_key, (8,), 0, 4)
        keys = jax.random.split(step_key, 8)
        after, state, *_, info = jax.vmap(env.step, (0, 0, 0, None))(keys, state, action, params)
        return (after, state), (env.event(obs, action), info["event"])

    first = jax.vmap(env.reset, (0, None))(jax.random.split(KEY_, 8), params)
    _, (told, wanted) = jax.jit(lambda x: jax.lax.scan(step, x, jax.random.split(KEY_, 200)))(first)
    np.testing.assert_array_equal(told, wanted)
    assert {KEY, GOAL, len(EVENTS)} <= set(np.asarray(told).ravel().tolist())


def test_events_cannot_be_told_from_coordinates():
    env, _ = make("rlx/keydoor-5", observation="xy")
    with pytest.raises(ValueError, match="onehot"):
        env.event(jnp.zeros(4), jnp.int32(0))


def test_rate_must_fit_the_queue():
    with pytest.raises(ValueError, match="rate"):
        labelled_events(caption, E, scripted_annotator(np.ones((E, 1), bool)), rate=9, capacity=8)
