"""The table of learning shows the settings that a user gets."""

from __future__ import annotations

import dataclasses
import json

import pytest

from benchmarks import learning
from rlx.algos import settings


@pytest.mark.parametrize("name", learning.TARGETS)
def test_stored_results_are_of_the_present_target_and_settings(name):
    stored = json.loads((learning.RESULTS / f"{name}.json").read_text())
    target = learning.TARGETS[name]
    present = {"target": dataclasses.asdict(target), "settings": settings.load(target.algorithm, target.env)}
    assert {key: stored[key] for key in present} == json.loads(json.dumps(present))


def test_the_table_is_that_of_the_stored_results():
    assert (learning.HERE / "LEARNING.md").read_text() == learning.markdown()


def test_verdicts_follow_from_the_scores():
    ours = learning.Learnt("ours", [], [], [10.0, 11.0, 12.0])
    below = learning.Learnt("below", [], [], [1.0, 2.0, 3.0])
    at_least = learning.Target("ppo", "CartPole-v1", 1, at_least=11.5)
    peer = learning.Target("ppo", "CartPole-v1", 1, peer="x.json")
    variant = learning.Target("ppo", "CartPole-v1", 1, variant={})
    assert not learning.verdict(at_least, ours, None)[0]
    assert learning.verdict(peer, ours, below)[0]
    assert not learning.verdict(peer, below, ours)[0]
    assert learning.verdict(variant, ours, below)[0]
    assert not learning.verdict(variant, ours, ours)[0]
