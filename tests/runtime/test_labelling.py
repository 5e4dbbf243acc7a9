"""Labels from a person: what the page is told, what it may send, and that nothing answered is ever lost."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.reward.learned import preference_reward
from rlx.runtime.labelling import Labelling, append_answer, read_answers
from rlx.space import Box, Discrete
from rlx.types import EnvSpec, Transition

State = namedtuple("State", "source")
KEY = jax.random.key(0)
T, B, SEGMENT = 20, 3, 5
SOURCE = preference_reward(
    comparisons=8, total_steps=1, sessions=1, teacher=None, segment=SEGMENT, members=2, hidden=(4,), gradient_steps=1
)


@pytest.fixture
def state() -> State:
    """A source that has seen a stream of steps, each of which can be told from its observation."""
    number = jnp.arange(T * B, dtype=jnp.float32).reshape(T, B)
    flags = jnp.zeros((T, B), bool)
    obs = jnp.stack([number, -number], axis=-1)
    batch = Transition(obs, jnp.zeros((T, B), jnp.int32), number, number, flags, flags.at[9].set(True), obs)
    spec = EnvSpec(Box(-1.0, 1.0, (2,)), Discrete(2), ("reward",), B)
    return State(SOURCE.update(SOURCE.init(KEY, spec), batch, KEY)[0])


@pytest.fixture
def page(tmp_path):
    opened = []

    def start(**options) -> Labelling:
        opened.append(Labelling(tmp_path, "Maze-v0", port=0, **{"queries": 4, **options}))
        return opened[-1]

    yield start
    for labelling in opened:
        labelling.close()


def fetch(labelling: Labelling, path: str, content=None, **headers):
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(labelling.url + path, body, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return reply.read() if path == "" else json.loads(reply.read())


def given(labelling: Labelling, state: State, update: int, answers) -> State:
    """What the run gets when a person gives these answers while it waits."""
    result = []
    run = threading.Thread(target=lambda: result.append(labelling(state, update, lambda: False)))
    run.start()
    for said in answers:
        while (question := fetch(labelling, "question"))["query"] is None:
            time.sleep(0.02)
        fetch(labelling, "answer", {"query": question["query"], "answer": said})
    run.join(timeout=30)
    assert not run.is_alive()
    return result[0]


def test_answers_reach_the_state(state, page, tmp_path):
    labelling = page()
    untouched = labelling(state, 0, lambda: False)
    assert int(untouched.source.asked) == 0
    after = given(labelling, state, 1, ["left", "right", "equal", "skip"])
    found = after.source.preferences
    assert int(after.source.asked) == 4
    np.testing.assert_array_equal(found.target[:4], [[1, 0], [0, 1], [0.5, 0.5], [0.5, 0.5]])
    np.testing.assert_array_equal(found.weight, [1, 1, 1, 0, 0, 0, 0, 0])
    with np.load(tmp_path / "queries" / "00000001.npz") as kept:
        np.testing.assert_array_equal(found.obs[:4], kept["obs0"])
    again = given(labelling, after, 2, ["right"] * 4)
    np.testing.assert_array_equal(again.source.preferences.target[:2], [[1, 0], [0, 1]])
    assert int(again.source.asked) == 8
    assert int(labelling(again, 3, lambda: False).source.asked) == 8  # the budget is spent: nothing more is asked
    types = lambda tree: [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(tree)]  # noqa: E731
    assert types(again.source) == types(state.source)  # the compiled update takes it


def test_page_shows_whole_pieces_of_episodes(state, page):
    labelling = page()
    labelling(state, 1, lambda: True)  # does not wait when it is to stop
    question = fetch(labelling, "question")
    assert (question["env"], question["open"], question["answered"]) == ("Maze-v0", 4, 0)
    for segment in question["segments"]:
        numbers = np.array(segment["obs"])[:, 0]
        np.testing.assert_array_equal(np.diff(numbers), B)
        np.testing.assert_array_equal(np.array(segment["obs"])[:, 1], -numbers)
        assert segment["ended"] == (len(numbers) < SEGMENT)
    assert b"Which is better?" in fetch(labelling, "")


def test_killed_run_asks_the_same_and_keeps_its_answers(state, page, tmp_path):
    first = page()
    first(state, 1, lambda: True)
    asked = fetch(first, "question")
    fetch(first, "answer", {"query": asked["query"], "answer": "right"})
    with open(tmp_path / "answers.jsonl", "a") as file:
        file.write('{"query": "1/1", "ans')  # killed within a line
    second = page()  # of the program that is started again
    after = given(second, state, 1, ["left", "left", "equal"])
    np.testing.assert_array_equal(after.source.preferences.target[:4], [[0, 1], [1, 0], [1, 0], [0.5, 0.5]])
    assert len(list((tmp_path / "queries").iterdir())) == 1
    np.testing.assert_array_equal(np.array(asked["segments"][0]["obs"])[0], after.source.preferences.obs[0, 0, 0])


def test_last_answer_can_be_taken_back(state, page):
    labelling = page()
    labelling(state, 1, lambda: True)
    query = fetch(labelling, "question")["query"]
    assert fetch(labelling, "answer", {"query": query, "answer": "left"})["query"] != query
    assert fetch(labelling, "back", {})["query"] == query
    assert read_answers(labelling.folder / "answers.jsonl") == {}


@pytest.mark.parametrize(
    ("path", "content", "headers", "status"),
    [
        ("answer", {"query": "1/0", "answer": "best"}, {}, 400),
        ("answer", {"query": "9/0", "answer": "left"}, {}, 400),
        ("answer", {"query": "1/0"}, {}, 400),
        ("answer", {"query": "1/0", "answer": "left"}, {"Content-Type": "text/plain"}, 400),
        ("question", None, {"Host": "elsewhere.example:80"}, 403),
        ("nothing", None, {}, 404),
    ],
)
def test_what_is_no_answer_is_refused(state, page, path, content, headers, status):
    labelling = page()
    labelling(state, 1, lambda: True)
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(labelling, path, content, **headers)
    assert refused.value.code == status
    assert "error" in json.loads(refused.value.read())
    assert len(labelling.open()) == 4


def test_an_answer_after_a_cut_line_is_read(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"query": "1/0", "answer": "left"}\n{"query": "1/1", "answ')
    append_answer(path, {"query": "1/2", "answer": "skip"})
    assert read_answers(path) == {"1/0": "left", "1/2": "skip"}
