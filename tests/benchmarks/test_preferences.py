"""The benchmark of learning from preferences: its arithmetic, and that its settings are taken."""

from __future__ import annotations

import pytest

from benchmarks.preferences import report
from benchmarks.preferences.__main__ import main
from benchmarks.preferences.workloads import WORKLOADS
from rlx.algos import ppo


def result(seconds: float, compiling: float, returns: list[float]) -> dict:
    return {"run": {"cpu_s": seconds}, "compile": {"cpu_s": compiling}, "returns": returns}


def test_ratios_are_seconds_of_a_seed():
    sides = {"rlx": result(2.0, 18.0, [-200.0, -300.0]), "imitation": result(100.0, 0.0, [-250.0])}
    table = "\n".join(report.table("pendulum", sides))
    assert "| rlx | 2 | 1.00 | 10.00 | -250 | -250 | -300 |" in table
    assert "100 times less after compilation, 10 times less with it" in table


def test_a_side_that_failed_is_told():
    sides = {"rlx": result(2.0, 18.0, [500.0]), "imitation": {"error": "ValueError: too short"}}
    table = "\n".join(report.table("cartpole", sides))
    assert "| imitation | failed: ValueError: too short |" in table
    assert "times less" not in table


@pytest.mark.parametrize("name", WORKLOADS)
def test_learning_ends_with_the_budget(name):
    workload = WORKLOADS[name]
    config = ppo.Config(**workload.ppo)
    assert workload.steps <= (config.decay_steps or 0) < 1.05 * workload.steps
    assert workload.comparisons % workload.source["sessions"] == 0


@pytest.mark.slow
def test_a_quick_run(capsys):
    main(["--quick", "--no-peers", "--only", "cartpole"])
    assert "| rlx | 2 |" in capsys.readouterr().out
