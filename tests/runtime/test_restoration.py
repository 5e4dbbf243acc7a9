"""A restored state is the one that the run ended with, and refuses what is not that run."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
import toy

from rlx import runtime


def assert_same(left, right):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        if jax.numpy.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


def test_restore_gives_the_state_of_a_fit(tmp_path):
    algorithm = toy.make(toy.Config())
    run = runtime.fit(algorithm, total_steps=80, out=tmp_path, config=toy.Config(), progress=False)
    restored = runtime.restore(tmp_path, algorithm)
    assert_same(restored.state, run.state)
    assert isinstance(restored.state, toy.State)
    assert (restored.update, restored.members) == (10, [{"seed": 0}])


@dataclasses.dataclass(frozen=True)
class NestedConfig:
    hidden: tuple[int, ...] = (64, 64)
    ranges: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    name: str | None = None
    inner: toy.Config = dataclasses.field(default_factory=toy.Config)


def test_restore_config_gives_the_configuration(tmp_path):
    config = NestedConfig(hidden=(3,), name="x", inner=toy.Config(learning_rate=0.3))
    runtime.fit(toy.make(toy.Config()), total_steps=8, out=tmp_path, config=config, progress=False)
    assert runtime.restore_config(tmp_path, NestedConfig) == config
    with pytest.raises(ValueError, match=r"Config differs in: batch, .*hidden"):
        runtime.restore_config(tmp_path, toy.Config)


def test_restore_gives_the_states_of_a_sweep(tmp_path):
    over = {"learning_rate": [0.1, 0.2]}
    run = runtime.sweep(toy.make, toy.Config(), total_steps=80, seeds=3, over=over, out=tmp_path, progress=False)
    restored = runtime.restore(tmp_path, toy.make(toy.Config(learning_rate=0.7)))
    assert_same(restored.state, run.state)
    assert restored.members == run.members
    assert restored.members[4] == {"seed": 1, "learning_rate": 0.2}


def test_restored_learner_goes_on_like_the_first(tmp_path):
    algorithm = toy.make(toy.Config())
    runtime.fit(algorithm, total_steps=80, out=tmp_path, progress=False)
    state = runtime.restore(tmp_path, algorithm).state
    for _ in range(5):
        state, _ = algorithm.update(state)
    straight = runtime.fit(algorithm, total_steps=120, progress=False).state
    np.testing.assert_allclose(state.params["weights"], straight.params["weights"], rtol=1e-4)


def test_errors_name_what_is_wrong(tmp_path):
    algorithm = toy.make(toy.Config())
    with pytest.raises(ValueError, match="not a run directory"):
        runtime.restore(tmp_path / "nothing", algorithm)
    runtime.fit(algorithm, total_steps=16, out=tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"params\.weights = float32\[2,4\].*float32\[2,3\]"):
        runtime.restore(tmp_path, toy.make(toy.Config(size=4)))
    for file in (tmp_path / "checkpoints").glob("*.json"):
        file.unlink()
    with pytest.raises(ValueError, match="no checkpoint yet"):
        runtime.restore(tmp_path, algorithm)
