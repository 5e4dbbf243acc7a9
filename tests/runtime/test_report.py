"""Reports from run directories written by hand, so that every number is known."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import toy

from rlx import runtime
from rlx.runtime import report as report_module
from rlx.runtime.report import report, summarise
from rlx.runtime.statistics import bootstrap, interquartile_mean
from rlx.runtime.table import Table


def write_run(path, metrics, evaluations=None, *, seeds=1, settings=({},)):
    """A run directory whose tables have the given rows: update, step, seed, hyper-parameters, values."""
    path.mkdir(parents=True)
    members = [{"seed": seed, **setting} for setting in settings for seed in range(seeds)]
    description = {"environment": "CartPole-v1", "hyperparameters": list(settings[0]), "members": members}
    (path / "config.json").write_text(json.dumps(description))
    for name, rows in (("metrics", metrics), ("evaluations", evaluations)):
        if rows is not None:
            with open(path / f"{name}.csv", "w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
    return path


def rows_of(function, *, seeds, points=20, settings=({},), **constant):
    """Log rows at steps 100, 200, ...: `function(step, seed, setting) -> {column: value}`."""
    return [
        {"update": n, "step": 100 * n, "seed": seed, **setting, **constant, **function(100 * n, seed, setting)}
        for n in range(1, points + 1)
        for setting in settings
        for seed in range(seeds)
    ]


def test_score_is_that_of_the_last_evaluation(tmp_path):
    metrics = rows_of(lambda step, *_: {"episode_return": step}, seeds=4)
    evaluations = rows_of(lambda step, seed, _: {"return": step * 0.01 + 10 * seed**2}, seeds=4, points=3)
    run = write_run(tmp_path / "run", metrics, evaluations, seeds=4)
    result = report(run)
    (row,) = result.rows
    last = 3.0 + 10 * np.arange(4) ** 2
    assert row["return"] == pytest.approx(np.sort(last)[1:3].mean())
    expected = bootstrap(interquartile_mean, last)
    assert (row["return low"], row["return high"]) == pytest.approx((expected.low, expected.high))
    assert {"run": "run", "seeds": 4, "diverged": 0}.items() <= row.items()
    assert f"{row['return']:.4g} [{row['return low']:.4g}, {row['return high']:.4g}]" in result.markdown
    assert (run / "report" / "report.md").read_text().startswith(result.markdown)


def test_score_without_evaluation_is_the_last_tenth_of_training(tmp_path):
    run = write_run(tmp_path / "run", rows_of(lambda step, *_: {"episode_return": step}, seeds=1))
    (row,) = report(run).rows
    assert row["episode_return"] == pytest.approx((1800 + 1900 + 2000) / 3)
    assert np.isnan(row["episode_return low"])


def test_empty_cells_are_no_zeros(tmp_path):
    """No episode ended at some log points: they are filled from their neighbours, not counted as zero."""

    def returns(step, seed, _):
        return {"episode_return": "" if (step + 100 * seed) % 300 else 7.0}

    run = write_run(tmp_path / "run", rows_of(returns, seeds=2), seeds=2)
    (row,) = report(run).rows
    assert (row["episode_return"], row["episode_return low"], row["episode_return high"]) == (7.0, 7.0, 7.0)


def test_diverged_seeds_are_counted_and_left_out(tmp_path):
    def metrics(step, seed, _):
        gone = seed == 1 and step > 1000
        return {"diverged": int(gone), "episode_return": 1e6 if gone else 5.0}

    (row,) = report(write_run(tmp_path / "run", rows_of(metrics, seeds=3), seeds=3)).rows
    assert (row["seeds"], row["diverged"], row["episode_return"]) == (3, 1, 5.0)


def test_all_diverged_gives_no_score(tmp_path):
    metrics = rows_of(lambda *_: {"diverged": 1, "episode_return": 5.0}, seeds=2)
    (row,) = report(write_run(tmp_path / "run", metrics, seeds=2)).rows
    assert row["diverged"] == 2
    assert np.isnan(row["episode_return"])


def test_sweep_has_a_row_for_each_setting(tmp_path):
    settings = [{"learning_rate": rate} for rate in (1e-4, 1e-3, 1e-2)]

    def metrics(step, seed, setting):
        return {"episode_return/reward": 1e4 * setting["learning_rate"] + seed, "episode_return/bonus": -seed}

    rows = rows_of(metrics, seeds=3, settings=settings)
    result = report(write_run(tmp_path / "sweep", rows, seeds=3, settings=settings))
    assert [row["learning_rate"] for row in result.rows] == [1e-4, 1e-3, 1e-2]
    assert [row["episode_return/reward"] for row in result.rows] == pytest.approx([2.0, 11.0, 101.0])
    assert [row["episode_return/bonus"] for row in result.rows] == pytest.approx([-1.0] * 3)
    with open(tmp_path / "sweep" / "report" / "scores.csv") as file:
        written = list(csv.DictReader(file))
    assert [float(row["episode_return/reward"]) for row in written] == pytest.approx([2.0, 11.0, 101.0])


def test_runs_with_different_columns_are_compared(tmp_path):
    first = write_run(tmp_path / "first", rows_of(lambda *_: {"episode_return": 1.0}, seeds=2), seeds=2)
    rates = [{"learning_rate": 0.1}]
    rows = rows_of(lambda *_: {"episode_return": 2.0, "kl": 0.1}, seeds=2, settings=rates)
    second = write_run(tmp_path / "second", rows, seeds=2, settings=rates)
    result = report(first, second, out=tmp_path / "both")
    assert [(row["run"], row["episode_return"]) for row in result.rows] == [("first", 1.0), ("second", 2.0)]
    assert "| first |  | 2 |" in result.markdown
    assert "| second | 0.1 | 2 |" in result.markdown
    assert [path.parent for path in result.files] == [tmp_path / "both"] * 4


def test_figures_show_the_curves(tmp_path):
    """The colour of a setting is in the picture, above where a lower curve is."""
    from matplotlib.image import imread

    settings = [{"learning_rate": rate} for rate in (0.1, 0.2)]
    rows = rows_of(lambda step, seed, s: {"episode_return": 100 * s["learning_rate"]}, seeds=2, settings=settings)
    result = report(write_run(tmp_path / "run", rows, seeds=2, settings=settings))
    picture = np.asarray(imread(result.files[0]))[..., :3]
    heights = []
    for colour in ("#1f5fa8", "#d1601c"):
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        mask = np.abs(picture - rgb).max(axis=-1) < 0.01
        row = int(mask.sum(axis=1).argmax())
        assert mask[row].sum() > 0.3 * picture.shape[1]
        heights.append(row)
    assert heights[1] < heights[0]


def test_summary_groups_members_by_setting():
    members = [{"seed": seed, "clip": clip} for clip in (0.1, 0.2) for seed in range(4)]
    rows = summarise(members, {"return": np.array([1.0, 2.0, 3.0, 100.0, 7.0, 7.0, 7.0, 7.0])})
    assert [(row["clip"], row["seeds"], row["return"]) for row in rows] == [(0.1, 4, 2.5), (0.2, 4, 7.0)]
    assert rows[0]["return low"] < 2.5 < rows[0]["return high"]


def test_many_settings_stay_readable(tmp_path):
    settings = [{"learning_rate": rate / 10} for rate in range(1, 10)]
    rows = rows_of(lambda step, seed, s: {"episode_return": s["learning_rate"]}, seeds=1, points=150, settings=settings)
    result = report(write_run(tmp_path / "run", rows, settings=settings))
    assert len(result.rows) == 9
    assert result.files[0].stat().st_size > 10_000


def test_a_real_sweep_is_read(tmp_path):
    """What the driver writes, with a swept value that its tables round."""
    runtime.sweep(
        toy.make,
        toy.Config(),
        total_steps=160,
        seeds=3,
        over={"learning_rate": [0.1, 1 / 30]},
        env=toy.Walk(),
        eval_every=40,
        out=tmp_path,
        progress=False,
    )
    result = report(tmp_path)
    assert [row["learning_rate"] for row in result.rows] == [0.1, 1 / 30]
    evaluations = Table.read(tmp_path / "evaluations.csv")
    last = evaluations.where(step=160, learning_rate=0.1)["return/alive"]
    assert len(last) == 3
    assert result.rows[0]["return/alive"] == pytest.approx(last.mean())  # of three values none is cut off


@pytest.mark.parametrize("contents", ["nothing", "no rows"])
def test_errors_name_the_path(tmp_path, contents):
    path = tmp_path / "run"
    if contents == "no rows":
        write_run(path, rows_of(lambda *_: {}, seeds=1, points=1), None)
        (path / "metrics.csv").write_text("update,step,seed,episode_return\n")
    with pytest.raises(ValueError, match=str(path)):
        report(path)
    with pytest.raises(ValueError, match="at least one"):
        report()


def test_likelihoods_of_preferred_answers_and_others_share_a_panel(tmp_path):
    def metrics(step, seed, setting):
        return {"log_prob/chosen": -step / 100, "log_prob/rejected": -step / 10 - setting["beta"] + seed}

    settings = ({"beta": 0.1}, {"beta": 1.0})
    run = write_run(tmp_path / "run", rows_of(metrics, seeds=2, settings=settings), seeds=2, settings=settings)
    result = report(run)
    assert [path.name for path in result.files][:2] == ["diagnostics.png", "displacement.png"]
    assert "![displacement](displacement.png)" in (run / "report" / "report.md").read_text()
    other = write_run(tmp_path / "other", rows_of(lambda step, *_: {"log_prob": step}, seeds=1))
    assert "displacement.png" not in [path.name for path in report(other).files]


def test_visits_of_all_seeds_are_added(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", rows_of(lambda *_: {"episode_return": 1.0}, seeds=2), seeds=2)
    (run / "visits.csv").write_text("seed,width,height,x,y,value\n0,2,3,1,0,4\n1,2,3,1,0,5\n1,2,3,0,2,1\n")
    drawn = {}

    def note(value, filled, path, **_):
        drawn.update(value=value, filled=filled)
        return path

    monkeypatch.setattr(report_module, "plot_archive", note)
    report(run)
    np.testing.assert_array_equal(drawn["value"][""], [[0, 0, 1], [9, 0, 0]])
    np.testing.assert_array_equal(drawn["filled"][""], [[False, False, True], [True, False, False]])
