"""The driver with a whole algorithm: PPO in two parts, in a sweep, and over shards."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from rlx import envs, runtime
from rlx.algos import ppo

ENV, PARAMS = envs.make("rlx/chain-10")
CONFIG = ppo.Config(num_envs=4, num_steps=8, num_epochs=2, num_minibatches=2, hidden=(8,))
STEPS = CONFIG.num_envs * CONFIG.num_steps
make = functools.partial(ppo.make, env=ENV, env_params=PARAMS)


def arrays(state) -> list[np.ndarray]:
    leaves = jax.tree.leaves(state)
    return [np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x) for x in leaves]


def fit(**options):
    return runtime.fit(make(CONFIG), env=ENV, env_params=PARAMS, log_every=2 * STEPS, progress=False, **options)


def test_ppo_in_two_parts_and_in_a_sweep(tmp_path):
    in_one_go = fit(total_steps=8 * STEPS, eval_every=4 * STEPS)
    fit(total_steps=4 * STEPS, eval_every=4 * STEPS, out=tmp_path / "run")
    resumed = fit(total_steps=8 * STEPS, out=tmp_path / "run")
    assert list(resumed.table.rows()) == list(in_one_go.table.rows())
    assert list(resumed.evaluations.rows()) == list(in_one_go.evaluations.rows())
    for leaf, same in zip(arrays(resumed.state), arrays(in_one_go.state), strict=True):
        assert leaf.tobytes() == same.tobytes()

    over = {"learning_rate": [CONFIG.learning_rate, 0.01]}
    population = runtime.sweep(
        make, CONFIG, total_steps=8 * STEPS, seeds=2, over=over, log_every=2 * STEPS, progress=False
    )
    mine = population.table.where(seed=0, learning_rate=CONFIG.learning_rate)
    for column in ("episode_return", "loss/value", "entropy"):
        np.testing.assert_allclose(mine[column], in_one_go.table[column], rtol=2e-3, atol=1e-5)
    for leaf, same in zip(arrays(population.state.params), arrays(in_one_go.state.params), strict=True):
        np.testing.assert_allclose(leaf[0], same, rtol=2e-3, atol=1e-4)


def two_shards(shards) -> dict:
    """Metrics and parameters of two updates."""
    algorithm = runtime.data_parallel(functools.partial(make, CONFIG), shards)
    run = runtime.fit(algorithm, total_steps=4 * STEPS, log_every=1, progress=False)
    params = arrays(run.state.params)
    assert all((leaf[0] == leaf[1]).all() for leaf in params)
    return {"rows": [*run.table.rows()], "params": [leaf[0].tolist() for leaf in params]}


def test_ppo_over_two_devices_equals_two_shards_on_one():
    expected = two_shards(2)
    assert [row["step"] for row in expected["rows"]] == [2 * STEPS, 4 * STEPS]
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "XLA_FLAGS": os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    for row, same in zip(result["rows"], expected["rows"], strict=True):
        assert row.keys() == same.keys()
        filled = [name for name, value in same.items() if value is not None]
        np.testing.assert_allclose([row[n] for n in filled], [same[n] for n in filled], rtol=1e-3, atol=1e-5)
    for leaf, same in zip(result["params"], expected["params"], strict=True):
        np.testing.assert_allclose(leaf, same, rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
    print(json.dumps(two_shards(runtime.make_mesh(axis="data"))))
