"""The command line: what it trains is what the library trains, and what is typed wrongly is told in one line."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from rlx import envs, runtime
from rlx.__main__ import ALGORITHMS, LOGGED, OFFLINE, main
from rlx.algos import ppo
from rlx.runtime.table import Table

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["--num-envs", "4", "--num-steps", "32", "--hidden", "8", "--eval-episodes", "4", "--quiet"]
SMALL_CONFIG = ppo.Config(num_envs=4, num_steps=32, hidden=(8,))


def say(capsys, *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, str]:
    """A sweep over two learning rates and three seeds, and what the command printed."""
    out = tmp_path_factory.mktemp("runs") / "sweep"
    command = ["sweep", "ppo", "--env", "rlx/corridor-5", "--over", "learning_rate=1e-3,3e-3", "--seeds", "3", *SMALL]
    done = subprocess.run(
        [sys.executable, "-m", "rlx", *command, "--total-steps", "1024", "--entropy-coefficient", "0.02", "--out", out],
        capture_output=True,
        text=True,
        check=True,
    )
    return out, done.stdout


def test_sweep_is_the_one_of_the_library(trained):
    out, _ = trained
    env, env_params = envs.make("rlx/corridor-5")
    run = runtime.sweep(
        functools.partial(ppo.make, env=env, env_params=env_params),
        dataclasses.replace(SMALL_CONFIG, entropy_coefficient=0.02),
        total_steps=1024,
        seeds=3,
        over={"learning_rate": [1e-3, 3e-3]},
        progress=False,
    )
    written = Table.read(out / "metrics.csv")
    assert written.columns == run.table.columns
    for column in ("step", "seed", "learning_rate", "entropy", "loss/policy"):
        np.testing.assert_allclose(written[column], run.table[column], rtol=1e-4, atol=1e-5)


def test_sweep_ends_with_a_table_a_plot_and_the_place(trained):
    out, printed = trained
    assert re.search(r"learning_rate +seeds +diverged", printed)
    assert re.search(r"0\.003 +3 +0 +1,024", printed)
    assert str(out / "report" / "returns.png") in printed
    assert f"The run is in {out}" in printed
    for line in printed.splitlines():
        if line.startswith(str(out)):
            assert Path(line).stat().st_size > 0


def test_eval_plays_the_trained_policies(trained, capsys):
    """Against the same policies restored and played by hand."""
    out, _ = trained
    code, printed, _ = say(capsys, "eval", out, "--episodes", 8)
    assert code == 0
    env, env_params = envs.make("rlx/corridor-5")
    algorithm = ppo.make(SMALL_CONFIG, env, env_params)
    state = runtime.restore(out, algorithm).state
    keys = jax.random.split(jax.random.key(0), 6)

    @jax.vmap
    def length(state, key):
        return runtime.evaluate(algorithm.policy(state), env, key, 8, env_params=env_params).lengths.mean()

    expected = np.asarray(length(state, keys)).reshape(2, 3).mean(axis=1)
    rows = re.findall(r"^ *(0\.00[13]) +3 +\S+ \[.*?\] +(\S+) ", printed, re.MULTILINE)
    assert [rate for rate, _ in rows] == ["0.001", "0.003"]
    np.testing.assert_allclose([float(mean.replace(",", "")) for _, mean in rows], expected, rtol=1e-3)


def test_a_log_is_collected_and_learned_from(trained, tmp_path, capsys):
    out, _ = trained
    path = tmp_path / "log.npz"
    assert say(capsys, "collect", out, "--steps", 200, "--envs", 2, "--epsilon", 0.5, "--out", path)[0] == 0
    env, env_params = envs.make("rlx/corridor-5")
    log = runtime.load_log(path, env, env_params)
    assert log.terminated.shape == (17, 12)  # 200 steps of 6 members with 2 environments each, rounded up
    algorithm = ppo.make(SMALL_CONFIG, env, env_params)
    last = jax.tree.map(lambda x: x[-1], runtime.restore(out, algorithm).state)
    key = jax.random.split(jax.random.key(0), 6)[-1]
    own = runtime.record(
        algorithm.policy(last), env, key, 17, num_envs=2, env_params=env_params, epsilon=0.5, greedy=False
    )
    np.testing.assert_array_equal(log.action[:, -2:], own.action)

    run = ["train", "iql", "--env", "rlx/corridor-5", "--seeds", 2, "--out", tmp_path / "run", "--hidden", 8]
    run += ["--total-steps", 20, "--eval-episodes", 4, "--quiet"]
    assert say(capsys, *run, "--data", path)[0] == 0
    assert Table.read(tmp_path / "run" / "metrics.csv")["step"][-1] == 20
    assert say(capsys, "collect", "--env", "rlx/corridor-5", "--steps", 64, "--out", path)[0] == 0
    code, _, error = say(capsys, *run, "--data", path)
    assert code == 1
    assert "data: " in error


def test_report_of_two_runs(trained, tmp_path, capsys):
    out, _ = trained
    code, printed, _ = say(capsys, "report", out, out, "--out", tmp_path / "both")
    assert code == 0
    assert {path.name for path in (tmp_path / "both").iterdir()} >= {"returns.png", "report.md", "scores.csv"}
    assert printed.count("0.003") == 2


def test_the_same_command_goes_on(tmp_path, capsys):
    out = tmp_path / "run"
    words = ["train", "ppo", "--env", "rlx/corridor-5", "--seeds", 2, "--out", out, *SMALL]
    assert say(capsys, *words, "--total-steps", 1024)[0] == 0
    first = (out / "metrics.csv").read_text()
    assert say(capsys, *words, "--total-steps", 2048)[0] == 0
    longer = (out / "metrics.csv").read_text()
    assert longer.startswith(first)
    assert len(longer.splitlines()) == 2 * len(first.splitlines()) - 1
    code, _, error = say(capsys, *words, "--total-steps", 2048, "--clip", 0.3)
    assert code == 1
    assert "clip: 0.2 in the run, 0.3 asked for" in error
    code, _, error = say(capsys, "train", "ppo", "--env", "rlx/open-4", "--out", out, *SMALL)
    assert code == 2
    assert "holds a run of ppo on rlx/corridor-5" in error


def test_reference_settings_lie_under_the_flags(tmp_path, capsys, monkeypatch):
    from rlx.algos import settings

    chosen = {"num_envs": 4, "num_steps": 32, "hidden": (8,), "clip": 0.3, "lambda_": 0.5}
    monkeypatch.setattr(settings, "load", lambda algorithm, env: chosen if env == "rlx/corridor-5" else {})
    flags = ["--clip", 0.1, "--total-steps", 128, "--seeds", 1, "--quiet", "--out", tmp_path]
    assert say(capsys, "train", "ppo", "--env", "rlx/corridor-5", *flags)[0] == 0
    config = json.loads((tmp_path / "config.json").read_text())["config"]
    assert config == {**dataclasses.asdict(SMALL_CONFIG), "hidden": [8], "clip": 0.1, "lambda_": 0.5}


def test_interrupt_saves_and_tells_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "rlx", "train", "ppo", "--env", "rlx/corridor-5", "--total-steps", "100000000"]
    process = subprocess.Popen(
        [*command, "--log-every", "1024", "--seeds", "1", "--out", tmp_path / "run", *SMALL],
        stderr=subprocess.PIPE,
        text=True,
    )
    table = tmp_path / "run" / "metrics.csv"
    while process.poll() is None and not (table.exists() and len(table.read_text().splitlines()) > 2):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert "run the same again to continue" in error.splitlines()[-1]
    assert list((tmp_path / "run" / "checkpoints").glob("*.json"))


TRAIN = ["train", "ppo", "--env", "CartPole-v1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown command 'trian'; did you mean train?"),
        (["frobnicate"], "unknown command 'frobnicate'; known: train, sweep, eval, collect, report, list"),
        (["train", "pppo"], "unknown algorithm 'pppo'; did you mean ppo"),
        (["train"], "train needs an algorithm"),
        (["train", "oppo"], "oppo learns from data, which a program gives it"),
        (["train", "iql", "--env", "rlx/corridor-5"], "iql learns from a log: --data LOG.npz"),
        (["train", "iql", "--env", "rlx/corridor-5", "--data", "nowhere.npz"], "--data nowhere.npz: no such file"),
        (["collect", "--out", "log.npz"], "a run directory, or --env NAME"),
        (["train", "ppo"], "train needs an environment"),
        (["train", "ppo", "--env", "CartPole-v2"], "no environment named 'CartPole-v2'; nearest: CartPole-v1"),
        ([*TRAIN, "--learning-rat", "1"], "unknown option '--learning-rat'; did you mean --learning-rate?"),
        ([*TRAIN, "--total-step", "1"], "unknown option '--total-step'; did you mean --total-steps"),
        ([*TRAIN, "--lambda=1"], "unknown option '--lambda'; did you mean --lambda_?"),
        ([*TRAIN, "stray"], "unknown option 'stray'"),
        ([*TRAIN, "--learning-rate", "abc"], "--learning-rate: could not convert string to float: 'abc'"),
        ([*TRAIN, "--learning-rate"], "--learning-rate"),
        ([*TRAIN, "--learning-rate", "-1"], "learning_rate must be"),
        ([*TRAIN, "--num-minibatches", "7"], "num_minibatches must divide"),
        ([*TRAIN, "--surrogate", "clap"], "'clap'"),
        ([*TRAIN, "--total-steps", "1.5"], "--total-steps: must be a whole number"),
        ([*TRAIN, "--batch", "pmap"], "--batch: invalid choice: 'pmap'"),
        (["sweep", *TRAIN[1:]], "--over"),
        (
            ["sweep", *TRAIN[1:], "--over", "learning_rate=x"],
            "--over must be FIELD=NUMBER,NUMBER,...; got 'learning_rate=x'",
        ),
        (["sweep", *TRAIN[1:], "--over", "lr=1"], "'lr' is not a field of Config; can be swept: learning_rate"),
        (["eval"], "RUN"),
        (["eval", "nowhere"], "nowhere is not a run"),
        (["eval", "nowhere", "--episode", "3"], "did you mean --episodes"),
        (["report", "nowhere"], "nowhere is not a run directory"),
    ],
)
def test_one_line_says_what_is_wrong(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, printed, error = say(capsys, *words)
    assert code == 2
    assert printed == ""
    assert error.count("\n") == 1
    assert message in error


def test_a_place_that_cannot_be_written_is_told(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, _, error = say(capsys, *TRAIN, "--out", tmp_path / "file" / "run", *SMALL)
    assert code == 1
    assert error.count("\n") == 1
    assert str(tmp_path / "file") in error


def test_traceback_shows_where(capsys):
    with pytest.raises(ValueError, match="CartPole-v2"):
        main(["train", "ppo", "--env", "CartPole-v2", "--traceback"])


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["sweep", "-h"]])
def test_help_loads_no_jax(words):
    program = f"import sys; from rlx.__main__ import main; main({words!r}); assert 'jax' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "--env" in done.stdout
    assert "ppo" in done.stdout


def test_help_of_an_algorithm_has_its_settings(capsys):
    code, printed, _ = say(capsys, "train", "ppo", "--help")
    assert code == 0
    for option in ("--total-steps", "--learning-rate", "--num-minibatches"):
        assert option in printed
    for words in (["eval", "--help"], ["report", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0


def test_list_names_everything(capsys):
    code, printed, _ = say(capsys, "list")
    assert code == 0
    words = printed.split()
    assert set(ALGORITHMS) <= set(words)
    assert set(envs.names()) <= set(words)


def test_every_algorithm_is_on_the_command_line():
    modules = {path.stem for path in (ROOT / "algos").glob("*.py") if "\ndef make(" in path.read_text()}
    over_functions = {"map_elites", "novelty_search"}  # they score solutions, and play no environment
    assert modules == {*ALGORITHMS, *LOGGED, *OFFLINE, *over_functions}
    for name in (*ALGORITHMS, *LOGGED):
        assert dataclasses.is_dataclass(importlib.import_module(f"rlx.algos.{name}").Config)


def test_module_runs():
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-m", "rlx"], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.startswith("rlx: train")
