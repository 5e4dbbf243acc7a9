"""Fronts from an algorithm that keeps one, through the driver to tables and figures."""

from __future__ import annotations

import csv
import json
import re

import jax
import jax.numpy as jnp
import moocore
import numpy as np
import pytest
import toy

from rlx import runtime
from rlx.__main__ import main
from rlx.runtime.front import best_rows, front_table, measure, plot_front, plot_hypervolume
from rlx.runtime.report import report
from rlx.types import Front


class Walk(toy.Walk):
    reference_point = (0.0, -1.0)


def make(config: toy.Config):
    """The toy algorithm with a front whose volume above (0, -1) after n updates is 2 n."""

    def front(state):
        n = state.updates.astype(jnp.float32)
        stairs = jnp.stack([jnp.stack([n, 0 * n]), jnp.stack([0 * n + 1, n]), jnp.full(2, jnp.nan), jnp.zeros(2)])
        return Front(stairs, jnp.arange(4) < 3)

    return toy.make(config)._replace(front=front)


def volume(n: int) -> float:
    return n + n  # a row of n x 1 below one of 1 x (n + 1)


def train(**options):
    config = toy.Config()
    return runtime.fit(make(config), total_steps=10 * config.batch, log_every=config.batch, progress=False, **options)


def test_best_rows_are_sorted_and_non_dominated():
    points = np.random.default_rng(0).normal(size=(50, 3)).round(1)
    points[7] = np.nan
    kept = best_rows(points)
    clean = np.delete(points, 7, axis=0)
    expected = clean[moocore.is_nondominated(clean, maximise=True, keep_weakly=False)]
    np.testing.assert_array_equal(points[kept], expected[np.lexsort(-expected.T[::-1])])
    assert best_rows(np.zeros((0, 3))).tolist() == []


@pytest.mark.parametrize("objectives", [2, 3, 7])
def test_hypervolume_is_exact_or_close(objectives):
    points = np.random.default_rng(objectives).uniform(size=(40, objectives)).astype(np.float32)
    found = jax.jit(measure)(Front(points, jnp.arange(40) < 30), np.full(objectives, -0.1, np.float32))
    expected = moocore.hypervolume(points[:30], ref=np.full(objectives, -0.1), maximise=True)
    assert float(found) == pytest.approx(expected, rel=1e-5 if objectives < 7 else 0.02)


def test_table_has_rows_labels_and_contributions():
    points = [[1.0, 2.0], [3.0, 1.0], [1.0, 1.0], [np.nan, 9.0]]
    lines = front_table(points, ("speed", "safety"), ref=(0, 0), labels={"seed": [4, 5, 6, 7]}).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["speed", "safety", "seed", "adds"],
        ["3", "1", "5", "2"],
        ["1", "2", "4", "1"],
    ]
    assert lines[3] == "2 points, hypervolume 4 above (0, 0)"
    assert front_table(np.zeros((0, 2)), ("a", "b"), ref=(0, 0)).splitlines() == ["a  b", "0 points"]
    many = front_table(np.stack([np.arange(100), -np.arange(100)], axis=1), ("a", "b"), limit=5)
    assert re.findall(r"^ *(\d+) ", many, re.M)[:5] == ["99", "74", "49", "25", "0"]  # both ends are there
    assert many.endswith("100 points of which 5 are shown")


@pytest.mark.parametrize("objectives", [2, 3, 6])
def test_figures_show_every_set(tmp_path, objectives):
    """The colours of both sets and of the known front are in the picture."""
    from matplotlib.image import imread

    rng = np.random.default_rng(objectives)
    sets = {"first": rng.normal(size=(8, objectives)), "second": 1 + rng.normal(size=(8, objectives))}
    names = [f"objective {k}" for k in range(objectives)]
    ref, exact = [-4.0] * objectives, 2 + rng.normal(size=(8, objectives))
    path = plot_front(sets, names, tmp_path / "front.png", ref=ref, exact=exact, title="two sets")
    picture = np.asarray(imread(path))[..., :3]
    for colour in ("#1f5fa8", "#d1601c", "#b9bec4"):
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        assert (np.abs(picture - rgb).max(axis=-1) < 0.1).sum() > 30, colour


def test_hypervolume_is_drawn(tmp_path):
    steps = np.arange(1, 11) * 100
    path = plot_hypervolume({"a": (steps, steps), "b": (steps, np.ones((4, 10)))}, tmp_path / "volume.png", ref=(0, -1))
    assert path.stat().st_size > 10_000


def test_errors_name_the_argument(tmp_path):
    with pytest.raises(ValueError, match=r"points must be of shape \[N, 2\]"):
        front_table(np.zeros((3, 3)), ("a", "b"))
    with pytest.raises(ValueError, match="labels"):
        front_table(np.zeros((3, 2)), ("a", "b"), labels={"seed": [1]})
    with pytest.raises(ValueError, match="number of names"):
        plot_front(np.zeros((3, 1)), ("a",), tmp_path / "front.png")
    with pytest.raises(ValueError, match="at least one row"):
        plot_front(np.full((3, 2), np.nan), ("a", "b"), tmp_path / "front.png")
    with pytest.raises(ValueError, match="values of 'x'"):
        plot_hypervolume({"x": ([1, 2], [1, 2, 3])}, tmp_path / "volume.png")


def test_a_run_logs_hypervolume_and_keeps_the_front(tmp_path):
    run = train(env=Walk(), out=tmp_path)
    assert run.table["hypervolume"].tolist() == [volume(n) for n in range(1, 11)]
    expected = [{"seed": 0, "task": 10, "safety": 0}, {"seed": 0, "task": 1, "safety": 10}]
    assert list(run.front.rows()) == expected
    assert list(runtime.Table.read(tmp_path / "front.csv").rows()) == expected
    assert json.loads((tmp_path / "config.json").read_text())["reference_point"] == [0.0, -1.0]


def test_a_stopped_run_ends_with_the_same_bytes(tmp_path):
    train(env=Walk(), out=tmp_path / "once")
    short = {"total_steps": 32, "log_every": 8, "progress": False, "env": Walk(), "out": tmp_path / "twice"}
    runtime.fit(make(toy.Config()), **short)
    runtime.fit(make(toy.Config()), **{**short, "total_steps": 80})
    for name in ("metrics.csv", "front.csv"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


def test_without_a_reference_point_there_is_no_hypervolume():
    run = train(env=toy.Walk())
    assert "hypervolume" not in run.table.columns
    assert len(run.front) == 2
    assert len(runtime.fit(toy.make(toy.Config()), total_steps=8, env=Walk(), progress=False).front) == 0


def test_shards_are_one_front():
    algorithm = runtime.data_parallel(
        lambda axis_name: make(toy.Config())._replace(update=toy.make(toy.Config(), axis_name=axis_name).update), 2
    )
    front = algorithm.front(algorithm.init(jax.random.key(0)))
    assert front.points.shape == (8, 2)
    assert front.valid.tolist() == [True, True, True, False] * 2


def test_report_of_a_sweep(tmp_path, capsys):
    """Two settings of three seeds: hypervolume is the score, and one setting's front is listed."""
    options = dict(seeds=3, over={"learning_rate": [0.1, 0.2]}, progress=False)
    runtime.sweep(make, toy.Config(), total_steps=80, log_every=8, env=Walk(), out=tmp_path, **options)
    result = report(tmp_path)
    assert [row["hypervolume"] for row in result.rows] == [20.0, 20.0]
    assert [path.name for path in result.files] == [
        "returns.png",
        "diagnostics.png",
        "front.png",
        "report.md",
        "scores.csv",
    ]
    lines = [line.split() for line in result.front.splitlines()]
    assert lines[1:4] == [["task", "safety", "seed", "adds"], ["10", "0", "0", "9"], ["1", "10", "0", "10"]]
    assert result.front.endswith("2 points, hypervolume 20 above (0, -1)")
    assert result.front in (tmp_path / "report" / "report.md").read_text()
    with open(tmp_path / "report" / "scores.csv") as file:
        assert [row["hypervolume"] for row in csv.DictReader(file)] == ["20.0", "20.0"]
    assert main(["report", str(tmp_path)]) == 0
    assert result.front in capsys.readouterr().out
