"""What holds for every algorithm: one seed is the same run alone, under vmap and sharded; nothing leaks; nothing is
NaN.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from layouts import ALGORITHMS  # noqa: E402


@pytest.fixture(scope="module")
def differences():
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, HERE / "layouts.py", *ALGORITHMS],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_twenty_updates_are_the_same_alone_vmapped_and_sharded(name, differences):
    found = differences[name]
    assert found["devices"] == 4
    assert found["vmap"] < 1e-3
    assert found["sharded"] < 1e-3


@pytest.mark.parametrize(
    "name", [name if name in ("ppo", "sac") else pytest.param(name, marks=pytest.mark.slow) for name in ALGORITHMS]
)
def test_no_leaks_and_no_nans(name):
    with jax.checking_leaks(), jax.debug_nans(True):
        algorithm = ALGORITHMS[name]()
        state = jax.jit(algorithm.init)(jax.random.key(0))
        update = jax.jit(algorithm.update)
        for _ in range(3):
            state, _ = update(state)
