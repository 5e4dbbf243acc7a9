"""Runs that are killed, stopped, damaged or asked for again, in real processes and on a real disk."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from rlx import runtime
from rlx.runtime import checkpoint

STEPS = toy.Config().batch
TABLES = ("metrics.csv", "evaluations.csv")


@pytest.fixture(scope="module")
def processes():
    """Starts processes that have already imported what a run needs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["toy", "rlx.runtime.driver", "orbax.checkpoint.v1"])
    return context


def start(processes, function, *args, **kwargs):
    process = processes.Process(target=function, args=args, kwargs=kwargs)
    process.start()
    return process


def wait_for(condition, process) -> None:
    while not condition():
        assert process.is_alive(), "the run ended before it could be disturbed"
        time.sleep(0.002)


def assert_same_run(path: Path, expected: Path, **options) -> None:
    """Once both have come to their end: tables of the same bytes, states of the same bits."""
    state, other = toy.run(str(path), **options).state, toy.run(str(expected), **options).state
    for name in TABLES:
        if (expected / name).exists():
            assert (path / name).read_bytes() == (expected / name).read_bytes()
    for leaf, same in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf, same = jax.random.key_data(leaf), jax.random.key_data(same)
        assert np.asarray(leaf).tobytes() == np.asarray(same).tobytes()


def saved(path: Path) -> list[int]:
    return checkpoint.updates(path / "checkpoints")


def unfinished(path: Path) -> set[tuple[str, int]]:
    """Checkpoints that are being written, or whose writing was killed: name and time of the last change."""
    found = set()
    for folder in (path / "checkpoints").glob("*.orbax-checkpoint-tmp*"):
        with contextlib.suppress(FileNotFoundError):  # finished in this moment
            found.add((folder.name, folder.stat().st_ctime_ns))
    return found


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_many_times_is_the_same_run(processes, tmp_path, kills):
    options = {"env": toy.Walk(), "eval_every": 25 * STEPS}
    toy.run(str(tmp_path / "undisturbed"), checkpoint_every=10**6, **options)
    rng, path, in_save = random.Random(0), tmp_path / "killed", 0
    for kill in range(kills):
        before, torn = saved(path)[-1] if saved(path) else 0, unfinished(path)
        assert before < 290, "the run is too short for so many kills"
        process = start(processes, toy.run, str(path), **options)
        if kill % 2:  # somewhere in the few log points to come
            wait_for(lambda before=before: bool(saved(path)) and saved(path)[-1] > before, process)
            time.sleep(rng.uniform(0, 0.1))
        else:  # while the directory of a checkpoint is being written
            wait_for(lambda torn=torn: unfinished(path) - torn, process)
            time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        in_save += bool(unfinished(path))
    assert in_save > 0
    assert_same_run(path, tmp_path / "undisturbed", **options)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops(processes, tmp_path, number):
    options = {"checkpoint_every": 10**6, "total_steps": 2000 * STEPS}
    process = start(processes, toy.run_until_interrupted, str(tmp_path / "run"), **options)
    timing = tmp_path / "run" / "timing.csv"
    wait_for(lambda: timing.exists() and timing.read_text().count("\n") > 1, process)  # a header, and a first chunk
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == (17 if number == signal.SIGINT else 128 + number)
    (update,) = saved(tmp_path / "run")
    assert 0 < update < 2000
    toy.run(str(tmp_path / "undisturbed"), **options)
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed", **options)


def test_a_finished_run_is_returned_at_once(tmp_path):
    first = toy.run(str(tmp_path / "run"), total_steps=5 * STEPS)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "checkpoints").rglob("*")}
    again = toy.run(str(tmp_path / "run"), total_steps=5 * STEPS)
    assert list(again.table.rows()) == list(first.table.rows())
    np.testing.assert_array_equal(again.state.params["weights"], first.state.params["weights"])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "checkpoints").rglob("*")} == written


def test_a_finished_run_can_be_lengthened_but_not_shortened(tmp_path):
    toy.run(str(tmp_path / "run"), total_steps=5 * STEPS)
    toy.run(str(tmp_path / "run"), total_steps=9 * STEPS)
    toy.run(str(tmp_path / "undisturbed"), total_steps=9 * STEPS)
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed", total_steps=9 * STEPS)
    with pytest.raises(runtime.RunError, match="already gone 72 steps, beyond total_steps = 40"):
        toy.run(str(tmp_path / "run"), total_steps=5 * STEPS)


def test_intervals_that_are_not_given_are_those_of_the_run(tmp_path):
    options = {"log_every": None, "checkpoint_every": None}
    toy.run(str(tmp_path / "run"), total_steps=300 * STEPS, **options)
    run = toy.run(str(tmp_path / "run"), total_steps=400 * STEPS, **options)
    assert run.table["update"].tolist() == [*range(3, 400, 3), 400]


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    toy.run(str(tmp_path / "run"), total_steps=9 * STEPS, keep=2)
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["8", "8.json", "9", "9.json"]


def damage(path: Path, how: str) -> None:
    if how == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "one bit":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif how == "garbage":
        path.write_bytes(os.urandom(path.stat().st_size))
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["truncated", "one bit", "garbage", "missing"])
@pytest.mark.parametrize("file", ["largest", "manifest"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, how, file):
    options = {"checkpoint_every": 3 * STEPS, "config": toy.Config(size=100)}
    path, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    toy.run(str(path), total_steps=8 * STEPS, **options)
    toy.run(str(undisturbed), total_steps=12 * STEPS, **options)
    newest = path / "checkpoints" / "8"
    files = [file for file in newest.rglob("*") if file.is_file()]
    damage(max(files, key=lambda f: f.stat().st_size) if file == "largest" else newest.with_suffix(".json"), how)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = toy.run(str(path), total_steps=12 * STEPS, **options)
    named = [str(w.message) for w in caught if "passed over" in str(w.message)]
    if file == "manifest" and how == "missing":
        assert not named  # as after a kill during the save
    else:
        assert len(named) == 1
        assert str(newest) in named[0]
    assert run.updates == 12
    assert_same_run(path, undisturbed, total_steps=12 * STEPS, **options)


def test_when_all_checkpoints_are_damaged_it_says_so(tmp_path):
    toy.run(str(tmp_path / "run"), total_steps=4 * STEPS)
    for file in (tmp_path / "run" / "checkpoints").rglob("manifest.ocdbt"):
        damage(file, "garbage")
    before = (tmp_path / "run" / "metrics.csv").read_bytes()
    with pytest.warns(UserWarning, match="passed over"), pytest.raises(runtime.CheckpointError, match="are damaged"):
        toy.run(str(tmp_path / "run"), total_steps=8 * STEPS)
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == before


def test_another_configuration_is_refused_and_nothing_touched(tmp_path):
    toy.run(str(tmp_path / "run"), total_steps=4 * STEPS)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    other = toy.Config(learning_rate=0.2, size=5)
    with pytest.raises(runtime.RunError) as caught:
        toy.run(str(tmp_path / "run"), total_steps=4 * STEPS, config=other, seed=3, log_every=2 * STEPS)
    lines = str(caught.value).splitlines()
    assert str(tmp_path / "run") in lines[0]
    assert sorted(line.strip() for line in lines[1:]) == [
        "config.learning_rate: 0.1 in the run, 0.2 asked for",
        "config.size: 3 in the run, 5 asked for",
        "log_every: 8 in the run, 16 asked for",
        "members: [{'seed': 0}] in the run, [{'seed': 3}] asked for",
        "state.momentum: 'float32[2,3]' in the run, 'float32[2,5]' asked for",
        "state.params.weights: 'float32[2,3]' in the run, 'float32[2,5]' asked for",
        "state.target: 'float32[2,3]' in the run, 'float32[2,5]' asked for",
    ]
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_run_is_not_continued_unless_asked(tmp_path):
    toy.run(str(tmp_path / "run"), total_steps=4 * STEPS)
    with pytest.raises(runtime.RunError, match="already holds a run"):
        toy.run(str(tmp_path / "run"), total_steps=8 * STEPS, resume=False)


def test_two_processes_cannot_write_one_run(processes, tmp_path):
    process = start(processes, toy.run, str(tmp_path / "run"), total_steps=2000 * STEPS)
    wait_for((tmp_path / "run" / "metrics.csv").exists, process)
    with pytest.raises(runtime.RunError, match="another process is writing"):
        toy.run(str(tmp_path / "run"), total_steps=2000 * STEPS)
    process.kill()
    process.join()
    assert toy.run(str(tmp_path / "run"), total_steps=2000 * STEPS, checkpoint_every=10**7)


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "run", Path("/proc/run")):
        with pytest.raises(OSError, match="cannot write the run directory") as caught:
            toy.run(str(place))
        assert caught.value.filename == str(place)


@pytest.mark.parametrize("what", ["checkpoint", "table"])
def test_a_full_disk_leaves_older_checkpoints_intact(processes, tmp_path, what):
    """The limit on the size of files stands for the full disk: it fails the same writes."""
    config = toy.Config(size=3000, learning_rate=1e-5)
    toy.run(str(tmp_path / "run"), config=config, total_steps=4 * STEPS)
    toy.run(str(tmp_path / "undisturbed"), config=config, total_steps=600 * STEPS, checkpoint_every=10**6)
    receive, send = processes.Pipe(duplex=False)
    limit, every = (20_000, STEPS) if what == "checkpoint" else (4_000, 10**6)
    process = start(
        processes,
        toy.run_on_a_small_disk,
        limit,
        send,
        str(tmp_path / "run"),
        config=config,
        total_steps=600 * STEPS,
        checkpoint_every=every,
    )
    process.join()
    message, filename = receive.recv()
    assert "File too large" in message
    assert "intact" in message
    assert str(tmp_path / "run") in filename
    assert all(
        checkpoint.damage_of(tmp_path / "run" / "checkpoints", update) is None for update in saved(tmp_path / "run")
    )
    run = toy.run(str(tmp_path / "run"), config=config, total_steps=600 * STEPS, checkpoint_every=10**6)
    assert run.updates == 600
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed", config=config, total_steps=600 * STEPS)


def test_an_unfinished_last_line_is_cut(tmp_path):
    options = {"checkpoint_every": 4 * STEPS}
    toy.run(str(tmp_path / "run"), total_steps=8 * STEPS, **options)
    toy.run(str(tmp_path / "undisturbed"), total_steps=12 * STEPS, **options)
    table = tmp_path / "run" / "metrics.csv"
    table.write_text(table.read_text() + "9,72,0,0.1,0.2,0.3,0.4,0.5\n10,80,0,0.")
    toy.run(str(tmp_path / "run"), total_steps=12 * STEPS, **options)
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed", total_steps=12 * STEPS, **options)


def test_the_configuration_is_readable(tmp_path):
    toy.run(str(tmp_path / "run"), total_steps=4 * STEPS, config=toy.Config(size=2), env=toy.Walk())
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["config"] == {"learning_rate": 0.1, "noise": 0.5, "batch": 8, "size": 2, "break_at": -1}
    assert stored["environment"] == "Walk"
    assert stored["members"] == [{"seed": 0}]
    assert stored["state"]["params.weights"] == "float32[2,2]"
