"""The benchmark of fronts: its worker measures what the workload says, its judge is right, and its report adds up."""

import numpy as np
import pytest

from benchmarks.fronts import own, report
from benchmarks.fronts.task import Task
from benchmarks.fronts.workloads import PEER, WORKLOADS
from benchmarks.peers import environment
from benchmarks.speed.meter import Meter


def measured(name: str, steps: int, **settings) -> tuple[list, Task]:
    """Checkpoints of one run of rlx with other settings, and the task."""
    workload = WORKLOADS[name]
    side = workload.sides["rlx"]
    spec = {
        "algorithm": side.spec["algorithm"],
        "settings": side.spec["settings"] | settings,
        "task": workload.task,
        "observation": workload.observation,
        "steps": steps,
        "every": steps // 2,
        "seeds": [0],
    }
    result = own.measure(spec, Meter())
    assert result["compile"]["cpu_s"] > 0
    return result["runs"][0], Task(workload.task, workload.observation, workload.discount)


@pytest.mark.slow
def test_tables_are_read_at_equal_distances():
    run, task = measured("treasure-envelope", 80, learning_starts=40, buffer_size=100, batch_size=4, hidden=(4,))
    assert [checkpoint["steps"] for checkpoint in run] == [40, 80]
    assert run[0]["used"]["cpu_s"] <= run[1]["used"]["cpu_s"]
    tables = np.asarray(run[-1]["tables"])
    assert tables.shape == (len(task.weights), len(task.inputs))
    assert task.returns(tables).shape == (len(task.weights), 2)


def test_pcn_counts_the_steps_it_takes():
    run, task = measured(
        "treasure-pcn", 200, first_episodes=4, num_episodes=2, batch_size=4, gradient_steps=1, hidden=4
    )
    steps = [checkpoint["steps"] for checkpoint in run]
    assert steps == sorted(set(steps))
    assert 200 <= steps[-1] < 200 + 2 * 100  # the last update goes beyond by less than its two episodes
    assert 0 <= task.hypervolume(np.asarray(run[-1]["points"])) <= task.hypervolume(task.exact)


def test_pareto_q_learning_plays_its_front():
    run, task = measured("treasure-tabular", 400)
    shares = [task.hypervolume(np.asarray(c["points"])) / task.hypervolume(task.exact) for c in run]
    assert 0 < shares[-1] <= 1 + 1e-5


def test_the_judge_knows_the_way_down():
    task = Task("deep-sea-treasure-convex", "features", 0.9)
    down = int(np.flatnonzero([task.returns([[a] * len(task.inputs)])[0][0] > 0 for a in range(4)])[0])
    returns = task.returns([[down] * len(task.inputs)])[0]
    np.testing.assert_allclose(returns, [0.7, -1.0], atol=1e-6)  # the first treasure, one step away


def run_of(*checkpoints: tuple[int, float, float]) -> list[dict]:
    return [
        {"steps": steps, "used": {"cpu_s": seconds, "wall_s": 2 * seconds}, "hypervolume": hypervolume}
        for steps, seconds, hypervolume in checkpoints
    ]


def result_of(own_runs: list, peer_runs: list) -> dict:
    lap = {"cpu_s": 3.0, "wall_s": 3.0}
    sides = {"rlx": own_runs, PEER: peer_runs}
    return {
        "full": 10.0,
        "exact": True,
        "enough": 0.95,
        "steps": 200,
        "sides": {name: [{"runs": runs, "compile": lap, "rss_mib": 100.0}] for name, runs in sides.items()},
    }


def test_speedups_are_to_equal_fronts():
    fast = run_of((100, 0.5, 8.0), (200, 1.0, 9.6))
    result = result_of([fast, fast], [run_of((100, 40.0, 5.0), (200, 80.0, 9.5))])
    text = report.summary({"treasure-gpi": result})
    assert "| treasure-gpi | 80 | 80 | 80 | met | 0.960, 0.950 | yes |" in text
    assert "- 50 times faster: treasure-gpi." in text
    assert "- A worse front: none." in text
    assert "0.960 (0.960-0.960)" in report.table("treasure-gpi", result)


def test_a_worse_front_is_no_success():
    poor = run_of((100, 0.001, 4.0), (200, 0.002, 4.0))
    text = report.summary({"treasure-gpi": result_of([poor], [run_of((100, 40.0, 5.0), (200, 80.0, 9.5))])})
    assert "| missed | 0.400, 0.950 | worse |" in text
    assert "- A worse front: treasure-gpi." in text


def test_a_peer_that_never_gets_there_gives_a_lower_bound():
    text = report.summary({"treasure-gpi": result_of([run_of((200, 1.0, 9.6))], [run_of((200, 60.0, 5.0))])})
    assert "| > 60 (rlx 1 of 1, peer 0 of 1) |" in text


def test_a_side_that_fails_becomes_a_line():
    result = result_of([run_of((200, 1.0, 9.6))], [])
    result["sides"][PEER] = [{"error": "AttributeError: gone"}]
    assert "did not run: AttributeError: gone" in report.table("treasure-gpi", result)
    assert "treasure-gpi" not in report.summary({"treasure-gpi": result})


def test_an_environment_behind_a_link_is_left_alone(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (tmp_path / ".peers").mkdir()
    (tmp_path / ".peers" / "morl").symlink_to(elsewhere)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    with pytest.raises(environment.PeerError, match="link"):
        environment.python_of("morl")
    assert (elsewhere / "kept").exists()
