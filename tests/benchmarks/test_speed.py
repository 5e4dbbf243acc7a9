"""The speed benchmark: its workers measure what the workload says, on tiny sizes, and its report adds up."""

import dataclasses
import math
import os

import pytest

from benchmarks.speed import limit, offline, report
from benchmarks.speed.__main__ import collect, run_side
from benchmarks.speed.meter import Meter
from benchmarks.speed.workloads import WORKLOADS

TINY = dataclasses.replace(
    WORKLOADS["narrow"],
    updates=3,
    seeds=2,
    settings={**WORKLOADS["narrow"].settings, "num_steps": 16, "hidden": (8,)},
)
pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="pins processes to cores, as Linux can")


@pytest.mark.slow
def test_a_worker_measures_the_workload():
    result = run_side(TINY, "rlx", device="cpu", cores=sorted(os.sched_getaffinity(0)), quick=False)
    assert "error" not in result, result
    assert result["steps"] == 3 * 4 * 16 * 2 == TINY.steps
    assert 0 < result["run"]["cpu_s"] < result["compile"]["cpu_s"]  # so little work takes less than its compilation
    assert result["rss_mib"] > 50
    assert 1 <= result["score"] <= 500  # CartPole pays 1 a step, at most 500 times


@pytest.mark.parametrize("part", ["environment", "network"])
def test_the_limit_runs_the_same_steps(part):
    spec = {**dataclasses.asdict(TINY), "part": part}
    result = limit.measure(spec, Meter())
    assert result["steps"] == TINY.steps
    assert 0 < result["run"]["cpu_s"] < result["compile"]["cpu_s"]


def test_seeds_learn_the_same_from_a_log_together_and_one_by_one(tmp_path):
    workload = dataclasses.replace(
        WORKLOADS["offline"],
        updates=10,
        seeds=2,
        settings={**WORKLOADS["offline"].settings, "hidden": (8,), "batch_size": 16},
        log_steps=100,
    )
    collect(workload, tmp_path / "log.npz")
    spec = {**dataclasses.asdict(workload), "log": str(tmp_path / "log.npz")}
    found = [offline.measure({**spec, "seeds_by": how}, Meter()) for how in ("vmap", "turns")]
    assert found[0]["steps"] == found[1]["steps"] == workload.steps == 20
    assert found[0]["score"] == pytest.approx(found[1]["score"], rel=1e-4)


def test_a_side_that_fails_becomes_a_line():
    broken = dataclasses.replace(TINY, env="NoSuchTask-v0")
    result = run_side(broken, "environment", device="cpu", cores=[min(os.sched_getaffinity(0))], quick=False)
    assert "NoSuchTask-v0" in result["error"]
    assert "\n" not in result["error"]


def test_meter_tells_work_from_waiting():
    meter = Meter()
    os.sched_yield()
    meter.lap()
    total = sum(math.sqrt(i) for i in range(200_000))
    worked, idle = meter.lap(), meter.lap()
    assert total > 0
    assert worked["cpu_s"] > idle["cpu_s"] >= 0


def measured(cpu_s: float, steps: int = 1000) -> dict:
    lap = {"cpu_s": cpu_s, "wall_s": 2 * cpu_s, "cycles": None}
    return {"run": lap, "compile": lap, "steps": steps, "score": None, "rss_mib": 100.0}


def test_ratios_are_of_the_same_round_and_errors_stay_visible():
    sides = {
        "rlx": [measured(1.0), measured(2.0), measured(4.0)],
        "rejax": [measured(2.0), measured(6.0), measured(4.0)],  # ratios 2, 3, 1
        "environment": [measured(0.5), measured(1.0), measured(1.0)],
        "network": [measured(0.5), measured(1.0), measured(3.0)],  # sums 1, 2, 4: as rlx
        "brax": [{"error": "AttributeError: gone"}],
    }
    text = report.table("narrow", sides, "CPU ns", "cpu")
    assert "2.00 (1.00-3.00)" in text
    assert "rlx over environment + network: 1.00 (1.00-1.00)" in text
    assert "did not run: AttributeError: gone" in text
    assert "2,000,000 (1,000,000-4,000,000)" in text  # rlx: median 2 s over 1000 steps, in nanoseconds


def test_cycles_are_preferred_where_counted():
    result = measured(1.0)
    result["run"] = {**result["run"], "cycles": 5_000}
    assert report.cost(result, "cpu") == 5.0
    assert report.cost(result, "gpu") == 2.0 / 1000 * 1e9
