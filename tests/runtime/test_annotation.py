"""An annotator outside the program: it is never waited for, asked once, and nothing it said is lost."""

from __future__ import annotations

import threading
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.exploration import labelled_events
from rlx.runtime.annotation import HostAnnotator
from rlx.space import Box, Discrete
from rlx.types import EnvSpec, Transition

KEY = jax.random.key(0)
E, T, B = 9, 4, 3
SPEC = EnvSpec(Box(0.0, float(E), (1,)), Discrete(2), ("reward",), B)
CAPTIONS = np.arange(T * B).reshape(T, B) % E


def batch_of(captions) -> Transition:
    obs = jnp.asarray(captions, jnp.float32)[..., None]
    zeros, flags = jnp.zeros(captions.shape), jnp.zeros(captions.shape, bool)
    return Transition(obs, zeros, zeros, zeros, flags, flags, obs)


def source_of(host: HostAnnotator, **options):
    return labelled_events(
        lambda batch: batch.obs[..., 0].astype(jnp.int32), E, host.annotator, decay=0.0, **{"rate": E, **options}
    )


@pytest.fixture
def host():
    opened = []

    def start(answer, num_labels=1, **options) -> HostAnnotator:
        opened.append(HostAnnotator(answer, num_labels, **options))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def test_steps_do_not_wait_for_answers(host):
    """Twenty computes end while no question has been answered; when all have been, the next ones pay."""
    gate = threading.Event()
    annotator = host(lambda caption, content: [gate.wait(60) and caption])
    source = source_of(annotator)
    compute = jax.jit(lambda state: source.compute(state, batch_of(CAPTIONS), KEY))
    state = source.init(KEY, SPEC)
    for _ in range(20):
        rewards, state = compute(state)
    assert not np.asarray(rewards).any()
    assert annotator.open() == E
    gate.set()
    annotator.wait()
    rewards, state = compute(state)
    np.testing.assert_array_equal(rewards[..., 0], CAPTIONS)


def test_answers_come_in_a_scan_over_members_and_each_caption_is_asked_once(host):
    asked = Counter()
    annotator = host(lambda caption, content: asked.update([caption]) or [caption])
    source = source_of(annotator, rate=2)

    def run(state, captions):
        return jax.lax.scan(lambda s, _: source.compute(s, batch_of(captions), KEY)[::-1], state, length=8)

    members = np.stack([CAPTIONS, CAPTIONS[:, ::-1]])
    state = jax.tree.map(lambda x: jnp.stack([x, x]), source.init(KEY, SPEC))
    step = jax.jit(jax.vmap(run))
    for _ in range(2):
        state, rewards = jax.block_until_ready(step(state, members))
        annotator.wait()
    state, rewards = step(state, members)
    assert asked == Counter(range(E))
    np.testing.assert_array_equal(rewards[:, -1, ..., 0], members)


def test_restarted_program_has_all_answers_and_asks_again_what_was_open(host, tmp_path):
    gate = threading.Event()
    first = host(lambda caption, content: [caption] if caption != 3 else [gate.wait(60)], folder=tmp_path, workers=1)
    first.exchange(0, [5, 3, 7])
    while first.open() > 2:
        pass
    with open(tmp_path / "annotations.jsonl", "a") as file:
        file.write('{"caption": 1, "lab')  # killed within a line
    second = host(lambda caption, content: [-caption], folder=tmp_path)
    second.wait()
    caption, label, valid, read = second.exchange(0, [-1, -1, -1])
    assert valid.all()
    assert dict(zip(caption.tolist(), label[:, 0].tolist(), strict=True)) == {5: 5, 3: -3, 7: -7}
    assert second.exchange(read, [5, 3, -1])[0].tolist() == [-1] * 3
    assert second.open() == 0
    gate.set()


def test_failures_are_tried_again_then_count_as_no_answer(host, capsys):
    tries = Counter()

    def answer(caption, content):
        tries[caption] += 1
        if caption == 0 or tries[caption] < 3:
            raise ConnectionError("busy")
        return [1.0] if caption == 1 else [1.0, 2.0] if caption == 2 else None

    annotator = host(answer, retries=2)
    annotator.exchange(0, [0, 1, 2, 3])
    annotator.wait()
    caption, _, valid, _ = annotator.exchange(0, [-1] * 4)
    assert set(caption[valid].tolist()) == {1}
    assert sorted(caption.tolist()) == [0, 1, 2, 3]
    assert annotator.failures == 2
    assert "busy" in capsys.readouterr().err


def test_contents_are_shown(host):
    annotator = host(lambda caption, content: [content["image"].sum()])
    annotator.exchange(0, [4, -1], {"image": np.array([[1.0, 2.0], [5.0, 5.0]])})
    annotator.wait()
    assert annotator.exchange(0, [-1])[1].tolist() == [[3.0]]
