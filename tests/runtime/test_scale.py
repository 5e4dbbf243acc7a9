"""The same run on one device, on eight virtual devices and in two processes; and one learner over several devices."""

from __future__ import annotations

import functools
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import scale
import toy

from rlx import runtime
from rlx.runtime.learner import Learner
from rlx.runtime.population import Population

FORCE_DEVICES = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count="


def launch(function: str, out: Path, updates: int, devices: int = 1, num_processes: int = 1) -> list[dict]:
    """Run one of the programs of `scale.py`; what each of its processes printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, scale.__file__, function, str(out), str(updates), str(port), str(num_processes), str(i)],
            env={**os.environ, "XLA_FLAGS": FORCE_DEVICES + str(devices)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(num_processes)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [json.loads(output.splitlines()[-1]) for output, _ in outputs]


def assert_same(result: dict, expected: dict) -> None:
    for table in ("rows", "evaluations"):
        assert len(result[table]) == len(expected[table]) > 0
        for row, same in zip(result[table], expected[table], strict=True):
            assert row.keys() == same.keys()
            for name, value in row.items():
                if value is None or same[name] is None:
                    assert value is same[name]
                else:
                    np.testing.assert_allclose(value, same[name], rtol=1e-4, atol=1e-5, err_msg=name)
    for leaf, same in zip(result["state"], expected["state"], strict=True):
        np.testing.assert_allclose(np.asarray(leaf, float), np.asarray(same, float), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def single(tmp_path_factory) -> dict:
    """The sweep on one device in this process, never stopped."""
    return scale.sweep(str(tmp_path_factory.mktemp("single") / "run"), 12)


def test_eight_devices_equal_one(single, tmp_path):
    (result,) = launch("sweep", tmp_path / "run", 12, devices=8)
    assert result["devices"] == 8
    assert_same(result, single)


def test_two_processes_resumed_equal_one(single, tmp_path):
    launch("sweep", tmp_path / "run", 8, devices=2, num_processes=2)
    results = launch("sweep", tmp_path / "run", 12, devices=2, num_processes=2)
    for result in results:
        assert result["devices"] == 4
        # the sweep that stopped at 8 was evaluated there too
        result["evaluations"] = [row for row in result["evaluations"] if row["update"] == 12]
        assert_same(result, single)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoints",
        "config.json",
        "evaluations.csv",
        "lock",
        "metrics.csv",
        "timing.csv",
    ]


def test_a_checkpoint_of_eight_devices_continues_on_one(single, tmp_path):
    launch("sweep", tmp_path / "run", 8, devices=8)
    result = scale.sweep(str(tmp_path / "run"), 12)
    assert result["devices"] == 1
    result["evaluations"] = [row for row in result["evaluations"] if row["update"] == 12]
    assert_same(result, single)


def test_one_learner_over_devices_and_processes(tmp_path):
    """Four shards: on four devices, on two devices of each of two processes, and vmapped on one device."""
    (devices,) = launch("one_learner", tmp_path / "devices", 6, devices=4)
    processes = launch("one_learner", tmp_path / "processes", 6, devices=2, num_processes=2)
    algorithm = runtime.data_parallel(functools.partial(toy.make, toy.Config()), 4)
    run = runtime.fit(
        algorithm,
        total_steps=6 * algorithm.steps_per_update,
        log_every=algorithm.steps_per_update,
        progress=False,
        env=toy.Walk(),
    )
    expected = {"rows": [*run.table.rows()], "evaluations": [*run.evaluations.rows()], "state": scale.leaves(run.state)}
    for result in (devices, *processes):
        result["evaluations"] = [row for row in result["evaluations"] if row["update"] == 6]
        assert_same(result, expected)


def test_shards_average_their_gradients():
    """One step of four shards equals one step on the four batches together (not four times it)."""
    config = toy.Config()
    shards = 4
    algorithm = runtime.data_parallel(functools.partial(toy.make, config), shards)
    assert algorithm.steps_per_update == shards * config.batch
    state, metrics = jax.jit(algorithm.update)(algorithm.init(jax.random.key(0)))
    single = toy.make(config)
    steps = []
    for shard in range(shards):
        start = single.init(jax.random.key(0))
        steps.append(single.update(start._replace(key=jax.random.fold_in(start.key, shard)))[0].momentum)
    np.testing.assert_allclose(state.momentum, np.broadcast_to(np.mean(steps, 0), (shards, 2, 3)), rtol=1e-5)
    assert metrics["loss/value"].shape == (2,)


def test_sweep_needs_members_that_divide_over_an_explicit_mesh():
    if jax.device_count() > 1:
        pytest.skip("needs a machine with one device")
    with pytest.raises(ValueError, match="num_devices must be at most 1"):
        runtime.make_mesh(2)
    program = (
        "import toy; from rlx import runtime\n"
        "run = runtime.sweep(toy.make, toy.Config(), total_steps=8, seeds=6, progress=False)\n"
        "print(len(run.state.momentum.sharding.device_set))\n"
        "try: runtime.sweep(toy.make, toy.Config(), total_steps=8, seeds=6, mesh=runtime.make_mesh(4))\n"
        "except ValueError as error: print(error)"
    )
    environment = {**os.environ, "XLA_FLAGS": FORCE_DEVICES + "4"}
    folder = Path(scale.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    spread, message = done.stdout.splitlines()
    assert spread == "3"
    assert "6 members" in message
    assert "over 4 devices" in message


def test_a_sharded_sweep_compiles_without_collectives():
    program = "import toy, test_scale\nprint(test_scale.compiled_sweep())"
    environment = {**os.environ, "XLA_FLAGS": FORCE_DEVICES + "8"}
    folder = Path(scale.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert "num_partitions=8" in done.stdout
    assert not re.search("all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter", done.stdout)


def compiled_sweep() -> str:
    """The optimised program of a chunk over eight devices."""
    members = [{"seed": seed} for seed in range(8)]
    population = Population(lambda _: toy.make(toy.Config()), members, "vmap", runtime.make_mesh())
    learner = Learner(population, ["task", "safety"], None)
    return learner.compile().as_text() or ""
