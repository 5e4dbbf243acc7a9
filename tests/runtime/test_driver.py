"""`train`, `fit` and `sweep` against a plain Python loop over updates, and against each other."""

from __future__ import annotations

import dataclasses
import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from rlx import runtime
from rlx.runtime.learner import EVALUATION, Learner
from rlx.runtime.population import Population
from rlx.types import Algorithm, Mean

CONFIG = toy.Config()
STEPS = CONFIG.batch  # environment steps of one update
fit = functools.partial(runtime.fit, progress=False)
sweep = functools.partial(runtime.sweep, progress=False)


@functools.cache
def by_hand(num_updates: int, seed: int = 0, config: toy.Config = CONFIG):
    """State and list of metrics from calling `update` again and again."""
    algorithm = toy.make(config)
    update = jax.jit(algorithm.update)
    state, metrics = algorithm.init(jax.random.key(seed)), []
    for _ in range(num_updates):
        state, new = update(state)
        metrics.append(jax.device_get(new))
    return state, metrics


def assert_states_close(state, expected):
    for leaf, other in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf, other = jax.random.key_data(leaf), jax.random.key_data(other)
        np.testing.assert_allclose(leaf, other, rtol=2e-4, atol=1e-5)


def test_train_is_the_loop_over_updates():
    expected, metrics = by_hand(7)
    state, stacked = jax.jit(lambda key: runtime.train(toy.make(CONFIG), key, 7))(jax.random.key(0))
    assert_states_close(state, expected)
    np.testing.assert_allclose(stacked["loss/value"], [m["loss/value"] for m in metrics], rtol=1e-4)


def test_train_vmaps_over_seeds_without_leaks():
    with jax.checking_leaks():
        keys = jax.vmap(jax.random.key)(jnp.arange(3))
        state, _ = jax.jit(jax.vmap(lambda key: runtime.train(toy.make(CONFIG), key, 5)))(keys)
    for seed in range(3):
        assert_states_close(jax.tree.map(lambda x, i=seed: x[i], state), by_hand(5, seed)[0])


def test_train_passes_data():
    state, _ = runtime.train(toy.make(CONFIG), jax.random.key(0), 5, data=jnp.float32(100))
    assert jnp.max(jnp.abs(state.params["weights"] - by_hand(5)[0].params["weights"])) > 1


def test_rows_are_means_over_the_updates_since_the_last_log_point():
    expected, metrics = by_hand(10)
    run = fit(toy.make(CONFIG), total_steps=10 * STEPS, log_every=4 * STEPS)
    assert_states_close(run.state, expected)
    assert run.updates == 10
    assert run.table["update"].tolist() == [4, 8, 10]
    assert run.table["step"].tolist() == [4 * STEPS, 8 * STEPS, 10 * STEPS]
    for row, chunk in zip(run.table.rows(), (metrics[:4], metrics[4:8], metrics[8:]), strict=True):
        losses = np.mean([m["loss/value"] for m in chunk], axis=0)
        np.testing.assert_allclose([row["loss/value/task"], row["loss/value/safety"]], losses, rtol=1e-4)
        np.testing.assert_allclose(row["scale"], np.mean([m["scale"] for m in chunk]), rtol=1e-4)
        episodes = sum(int(m["episode_return"].count) for m in chunk)
        total = np.sum([m["episode_return"].total for m in chunk], axis=0)
        if episodes:
            np.testing.assert_allclose(row["episode_return/task"], total[0] / episodes, rtol=1e-4)
        else:
            assert row["episode_return/task"] is None


def test_a_mean_over_nothing_is_an_empty_cell():
    _, metrics = by_hand(20)
    run = fit(toy.make(CONFIG), total_steps=20 * STEPS, log_every=STEPS)
    none_ended = [int(m["episode_return"].count) == 0 for m in metrics]
    assert 0 < sum(none_ended) < 20
    assert np.isnan(run.table["episode_return/task"]).tolist() == none_ended


def test_one_channel_has_a_plain_name():
    def update(state, data=None):
        return state, {"loss": jnp.ones(1), "weights": jnp.arange(3.0), "seed": jnp.float32(2)}

    algorithm = Algorithm(lambda key: jnp.zeros(()), update, toy.make(CONFIG).policy, 1, toy.make(CONFIG).channels[:1])
    (row,) = fit(algorithm, total_steps=1).table.rows()
    expected = {"loss": 1.0, "weights/0": 0.0, "weights/1": 1.0, "weights/2": 2.0, "metric/seed": 2.0}
    assert row == {"update": 1, "step": 1, "seed": 0, **expected}


def test_a_metric_of_another_shape_is_refused():
    algorithm = toy.make(CONFIG)._replace(update=lambda state, data=None: (state, {"image": jnp.ones((2, 2))}))
    with pytest.raises(ValueError, match="metric 'image' must be a scalar, a vector or a Mean"):
        fit(algorithm, total_steps=10)


def test_steps_are_rounded_up_and_it_is_said(capsys):
    run = runtime.fit(toy.make(CONFIG), total_steps=5 * STEPS + 1)
    assert (run.updates, run.steps) == (6, 6 * STEPS)
    assert "total_steps = 41 is rounded up to 48, 6 updates" in capsys.readouterr().err


def test_evaluation_does_not_disturb_training():
    quiet = fit(toy.make(CONFIG), total_steps=12 * STEPS, log_every=2 * STEPS)
    watched = fit(toy.make(CONFIG), total_steps=12 * STEPS, log_every=2 * STEPS, env=toy.Walk(), eval_every=3 * STEPS)
    assert list(quiet.table.rows()) == list(watched.table.rows())
    assert watched.evaluations["update"].tolist() == [0, 4, 8, 12]  # every 3 is rounded up to log points
    assert len(quiet.evaluations) == 0


def test_evaluation_uses_the_policy_of_its_moment():
    run = fit(toy.make(CONFIG), total_steps=40 * STEPS, log_every=10 * STEPS, env=toy.Walk(), eval_every=10 * STEPS)
    for row in run.evaluations.rows():
        goes_right = by_hand(row["update"])[0].params["weights"][0, 0] > 0
        assert (row["length"] <= 3) == bool(goes_right)
        assert row["return/alive"] == row["length"]


def test_evaluation_keys_are_not_those_of_training():
    key = jax.random.key(0)
    used = jax.random.fold_in(key, EVALUATION)
    children = jax.random.key_data(jax.random.split(key, 1000))
    assert not np.any(np.all(np.asarray(children) == np.asarray(jax.random.key_data(used)), axis=-1))
    # the reason for a large number: small ones give the children of split
    assert jax.random.key_data(jax.random.fold_in(key, 7)).tolist() == children[7].tolist()


def test_the_update_is_traced_once_however_many_chunks():
    traces = []

    def counted(num_updates: int) -> int:
        traces.clear()
        algorithm = toy.make(CONFIG)

        def update(state, data=None):
            traces.append(1)
            return algorithm.update(state, data)

        fit(algorithm._replace(update=update), total_steps=num_updates * STEPS, log_every=3 * STEPS)
        return len(traces)

    assert counted(3) == counted(50)


def test_memory_does_not_grow_with_the_run():
    class Watch:
        def __init__(self):
            self.bytes = []

        def write(self, rows):
            self.bytes.append(sum(array.nbytes for array in jax.live_arrays()))

        def close(self):
            self.closed = True

    watch = Watch()
    fit(toy.make(CONFIG), total_steps=3000 * STEPS, log_every=100 * STEPS, sinks=[watch])
    assert len(watch.bytes) == 30
    assert len(set(watch.bytes[1:])) == 1
    assert watch.closed


def test_sweep_members_follow_the_fits_of_their_seed_and_config():
    over = {"learning_rate": [0.01, 0.1], "noise": [0.0, 1.0]}
    run = sweep(toy.make, CONFIG, total_steps=12 * STEPS, seeds=[0, 5], over=over, log_every=6 * STEPS)
    assert run.members[:3] == [
        {"seed": 0, "learning_rate": 0.01, "noise": 0.0},
        {"seed": 5, "learning_rate": 0.01, "noise": 0.0},
        {"seed": 0, "learning_rate": 0.01, "noise": 1.0},
    ]
    assert len(run.members) == 8
    for i in (0, 3, 6):
        member = run.members[i]
        seed, hyper = member["seed"], {k: v for k, v in member.items() if k != "seed"}
        single = fit(
            toy.make(dataclasses.replace(CONFIG, **hyper)), seed=seed, total_steps=12 * STEPS, log_every=6 * STEPS
        )
        assert_states_close(jax.tree.map(lambda x, i=i: x[i], run.state), single.state)
        mine = run.table.where(**member)
        np.testing.assert_allclose(mine["loss/value/task"], single.table["loss/value/task"], rtol=1e-4)
        assert mine["update"].tolist() == [6, 12]


def test_map_and_vmap_agree_and_leak_nothing():
    with jax.checking_leaks():
        runs = [
            sweep(toy.make, CONFIG, total_steps=9 * STEPS, seeds=3, batch=batch, env=toy.Walk())
            for batch in ("vmap", "map")
        ]
    assert_states_close(runs[0].state, runs[1].state)
    for column in ("return/away", "length"):
        np.testing.assert_allclose(runs[0].evaluations[column], runs[1].evaluations[column], rtol=1e-4)


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"size": [1, 2]}, "'size' is not a float field of Config; can be swept: learning_rate, noise"),
        ({"lr": [0.1]}, "'lr' is not a field of Config; can be swept: learning_rate, noise"),
        ({"learning_rate": []}, "number of values of learning_rate must be an integer >= 1"),
        ({"learning_rate": [0.1, -1.0]}, "learning_rate must be a finite number in .*got -1.0"),
    ],
)
def test_what_cannot_be_swept_is_refused_by_name(over, message):
    with pytest.raises(ValueError, match=message):
        sweep(toy.make, CONFIG, total_steps=STEPS, over=over)


def test_a_field_that_cannot_be_traced_is_named():
    def make(config):
        return toy.make(dataclasses.replace(config, batch=8 if config.noise > 0.1 else 4))

    with pytest.raises(ValueError, match="cannot sweep over noise"):
        sweep(make, CONFIG, total_steps=STEPS, over={"noise": [0.2, 0.4]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total_steps": 0}, "total_steps must be an integer >= 1; got 0"),
        ({"log_every": 0}, "log_every must be an integer >= 1"),
        ({"eval_every": 10}, "needs env"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**32}, "seed must be below"),
        ({"on_nonfinite": "ignore"}, "on_nonfinite must be 'stop' or 'mark'"),
        ({"keep": 0}, "keep must be"),
    ],
)
def test_bad_options_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        fit(toy.make(CONFIG), **{"total_steps": 10, **options})


def test_progress_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    runtime.fit(toy.make(CONFIG), total_steps=20 * STEPS, log_every=STEPS)
    assert "160/160 steps" in terminal.getvalue()
    assert "return" in terminal.getvalue()


def test_tensorboard_gets_the_rows_of_each_member(tmp_path):
    tensorboard = pytest.importorskip("tensorboardX")
    assert tensorboard
    sweep(
        toy.make,
        CONFIG,
        total_steps=4 * STEPS,
        seeds=2,
        env=toy.Walk(),
        sinks=[runtime.TensorBoard(tmp_path / "board")],
    )
    folders = sorted(path.name for path in (tmp_path / "board").iterdir())
    assert folders == ["seed=0", "seed=1"]
    events = b"".join(path.read_bytes() for path in (tmp_path / "board" / "seed=1").iterdir())
    assert b"loss/value/task" in events
    assert b"evaluation/return/alive" in events


def test_a_running_sum_equals_the_sum_in_numpy():
    """The device's reduction against NumPy, for every kind of metric at once."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 2)).astype(np.float32)
    counts = rng.integers(0, 3, size=6)

    def update(state, data=None):
        index = state
        return index + 1, {
            "integer": index,
            "vector": jnp.asarray(values)[index],
            "mean": Mean(jnp.asarray(values)[index], jnp.asarray(counts)[index]),
        }

    algorithm = Algorithm(lambda key: jnp.int32(0), update, toy.make(CONFIG).policy, 1, toy.make(CONFIG).channels)
    learner = Learner(Population(lambda _: algorithm, [{"seed": 0}]), ["a", "b"], None)
    learner.compile()
    reduced = learner.advance(0, 6)
    np.testing.assert_allclose(reduced.sums["integer"], [15])
    np.testing.assert_allclose(reduced.sums["vector"], [values.sum(0)], rtol=1e-6)
    np.testing.assert_allclose(reduced.sums["mean"].total, [values.sum(0)], rtol=1e-6)
    np.testing.assert_array_equal(reduced.sums["mean"].count, [counts.sum()])
