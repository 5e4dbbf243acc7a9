"""A run whose values stop being finite says where, and leaves the last good checkpoint."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import toy

from rlx import runtime
from rlx.runtime import checkpoint

STEPS = toy.Config().batch
fit = functools.partial(runtime.fit, progress=False)
sweep = functools.partial(runtime.sweep, progress=False)


def test_it_names_update_channel_parameter_and_member(tmp_path):
    config = toy.Config(break_at=17)
    with pytest.raises(runtime.NonFiniteError) as caught:
        fit(
            toy.make(config),
            seed=4,
            total_steps=40 * STEPS,
            log_every=5 * STEPS,
            checkpoint_every=5 * STEPS,
            out=tmp_path / "run",
        )
    error = caught.value
    assert error.update == 17
    assert "loss/value/safety" in error.columns
    assert "loss/value/task" not in error.columns
    assert error.parameters[0] == "params.weights"
    assert error.member == {"seed": 4}
    for part in (
        "seed=4",
        "loss/value/safety",
        "update 17",
        "params.weights",
        "checkpoint of update 15",
        str(tmp_path),
    ):
        assert part in str(error)
    assert checkpoint.updates(tmp_path / "run" / "checkpoints")[-1] == 15
    table = runtime.Table.read(tmp_path / "run" / "metrics.csv")
    assert table["update"].tolist() == [5, 10, 15]


def test_parameters_alone_are_noticed_at_the_end_of_the_chunk():
    algorithm = toy.make(toy.Config())

    def update(state, data=None):
        state, metrics = algorithm.update(state, data)
        state = state._replace(momentum=jnp.where(state.updates == 4, jnp.inf, state.momentum))
        return state, {"updates": metrics["scale"] * 0}

    with pytest.raises(runtime.NonFiniteError, match=r"momentum became non-finite by update 4\. No checkpoint"):
        fit(algorithm._replace(update=update), total_steps=8 * STEPS, log_every=4 * STEPS)


def test_what_starts_infinite_may_stay_infinite():
    algorithm = toy.make(toy.Config())

    def update(state, data=None):
        new, metrics = algorithm.update(state, data)
        return new._replace(smallest=state.smallest), metrics

    assert np.isinf(fit(algorithm._replace(update=update), total_steps=3 * STEPS).state.smallest)


def test_a_sweep_marks_the_diverged_and_goes_on(capsys):
    over = {"learning_rate": [0.1, 1000.0]}
    run = runtime.sweep(toy.make, toy.Config(), total_steps=60 * STEPS, seeds=2, over=over, log_every=6 * STEPS)
    assert run.updates == 60
    for seed in range(2):
        assert not run.table.where(seed=seed, learning_rate=0.1)["diverged"].any()
        marks = run.table.where(seed=seed, learning_rate=1000.0)["diverged"]
        assert marks[-1]
        assert (np.diff(marks) >= 0).all()
        single = fit(toy.make(toy.Config()), seed=seed, total_steps=60 * STEPS, log_every=6 * STEPS)
        mine = run.table.where(seed=seed, learning_rate=0.1)
        np.testing.assert_allclose(mine["scale"], single.table["scale"], rtol=1e-3)
    assert "2 of 4 members diverged: seed=0, learning_rate=1000.0 at update" in capsys.readouterr().err


def test_the_marks_survive_a_resume(tmp_path, capsys):
    def diverged_at(run):
        assert run.table.where(learning_rate=1000.0)["diverged"].tolist() == [0, 1, 1, 1, 1, 1]
        return [line for line in capsys.readouterr().err.splitlines() if "1 of 2 members diverged" in line]

    options = {"seeds": 1, "over": {"learning_rate": [0.1, 1000.0]}, "log_every": 5 * STEPS}
    in_one_go = runtime.sweep(toy.make, toy.Config(), total_steps=30 * STEPS, **options)
    expected = diverged_at(in_one_go)
    sweep(toy.make, toy.Config(), total_steps=20 * STEPS, out=tmp_path / "run", **options)
    resumed = runtime.sweep(toy.make, toy.Config(), total_steps=30 * STEPS, out=tmp_path / "run", **options)
    assert diverged_at(resumed) == expected
    assert len(expected) == 1


def test_a_sweep_stops_if_asked_or_if_nothing_is_left():
    options: dict[str, Any] = {"seeds": 1, "total_steps": 100 * STEPS}
    with pytest.raises(runtime.NonFiniteError, match=r"seed=0, learning_rate=1000\.0: .*loss/value"):
        sweep(toy.make, toy.Config(), over={"learning_rate": [0.1, 1000.0]}, on_nonfinite="stop", **options)
    with pytest.raises(runtime.NonFiniteError, match="No member is finite any more"):
        sweep(toy.make, toy.Config(), over={"learning_rate": [500.0, 1000.0]}, **options)
