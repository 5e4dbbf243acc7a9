"""Logs: what is recorded is what happened, what is written is what is read, what cannot be learned from is refused."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import envs, runtime
from rlx.algos import iql
from rlx.envs import point
from rlx.envs.grid import GridWorld, open_room
from rlx.runtime import report
from rlx.space import Box, Discrete
from rlx.types import Policy

STEPS, ENVS = 30, 3


def always(action: int) -> Policy:
    """Counts its steps in its memory, and starts again where it is told that an episode begins."""

    def act(key, obs, memory, reset, greedy=False):
        del key, greedy
        memory = jnp.where(reset, 0, memory + 1)
        return jnp.full(len(memory), action) * (memory % 2 == 0), memory

    return Policy(lambda batch_size: jnp.zeros(batch_size, jnp.int32), act)


@functools.cache
def corridor(epsilon: float = 0.0, policy: Policy | None = None) -> tuple:
    env, params = envs.make("rlx/corridor-5")
    params = params.replace(max_steps_in_episode=9)
    play = jax.jit(
        lambda key: runtime.record(policy, env, key, STEPS, num_envs=ENVS, env_params=params, epsilon=epsilon)
    )
    return env, params, play(jax.random.key(0))


def test_a_log_is_what_the_environment_did():
    policy = always(3)
    log = corridor(0.0, policy)[2]
    done = np.asarray(log.terminated | log.truncated)
    since = np.zeros(ENVS, int)
    for t in range(STEPS):  # the memory began anew with every episode
        np.testing.assert_array_equal(log.action[t], 3 * (since % 2 == 0))
        since = np.where(done[t], 0, since + 1)
    inner = ~done[:-1]
    np.testing.assert_array_equal(np.asarray(log.obs)[1:][inner], np.asarray(log.next_obs)[:-1][inner])
    assert not np.any(log.terminated & log.truncated)
    assert done.any()
    lengths = np.diff(np.flatnonzero(done[:, 0]), prepend=-1)
    assert np.all((lengths == 9) == np.asarray(log.truncated)[np.flatnonzero(done[:, 0]), 0])


def test_random_actions_are_legal_and_as_frequent_as_asked():
    log = corridor(1.0, always(3))[2]
    share = np.bincount(np.ravel(log.action), minlength=4) / log.action.size
    assert np.all(np.abs(share - 0.25) < 3 * np.sqrt(0.25 * 0.75 / log.action.size))
    with pytest.raises(ValueError, match=r"epsilon must be .* in \[0, 1\]; got 1.5"):
        corridor(1.5)


POINT = point.goals()
EXPERT = runtime.scripted(lambda key, obs: POINT.expert(obs))
KEY = jax.random.key(0)


def test_actors_are_as_able_as_they_are_said_to_be():
    skill = jnp.repeat(jnp.array([1.0, 0.5, 0.0]), 20)
    log = jax.jit(lambda: runtime.record(EXPERT, POINT, KEY, 50, num_envs=60, epsilon=1 - skill))()
    returns = np.asarray(log.reward.sum(0)).reshape(3, 20)
    first = log.obs[0]
    np.testing.assert_allclose(returns[0], POINT.bound(first[:20, :2], first[:20, 4:6]), atol=1e-4)
    error = returns.std(1) / np.sqrt(20)
    assert np.all(-np.diff(returns.mean(1)) > 3 * (error[:-1] + error[1:]))
    np.testing.assert_array_equal(log.truncated[-1], True)
    assert not log.truncated[:-1].any()
    drawn = np.asarray(log.action)[:, 40:].reshape(-1, 2)
    np.testing.assert_allclose(drawn.mean(0), 0.0, atol=0.08)
    np.testing.assert_allclose(drawn.var(0), 1 / 3, atol=0.04)  # uniform in [-1, 1]
    share = np.mean(np.all(np.abs(log.action - POINT.expert(log.obs)) < 1e-6, -1), 0).reshape(3, 20).mean(1)
    np.testing.assert_allclose(share, [1.0, 0.5, 0.0], atol=0.05)


def test_single_steps_scatter_around_the_start():
    params = POINT.default_params.replace(spread=0.6, max_steps_in_episode=1)
    log = runtime.record(None, POINT, KEY, 20, num_envs=50, env_params=params)
    position = np.asarray(log.obs)[..., :2]
    assert bool(log.truncated.all())
    np.testing.assert_allclose(position.reshape(-1, 2).var(0), 0.6**2 / 3, atol=0.02)
    assert np.abs(position).max() <= 0.6


def test_shares_of_random_actions_that_cannot_be_are_refused():
    for epsilon, message in (
        (jnp.array([1.5, 0.0]), r"epsilon must be .* in \[0, 1\]"),
        (jnp.zeros(3), "the shape of epsilon"),
    ):
        with pytest.raises(ValueError, match=message):
            runtime.record(EXPERT, POINT, KEY, 3, num_envs=2, epsilon=epsilon)


@functools.cache
def masked() -> tuple:
    """A log whose observations have parts, made by nobody."""
    env = GridWorld(open_room(5), mask_actions=True)
    return env, jax.jit(lambda key: runtime.record(None, env, key, 40, num_envs=2))(jax.random.key(1))


def test_random_actions_are_legal():
    log = masked()[1]
    legal = np.take_along_axis(np.asarray(log.obs["action_mask"]), np.asarray(log.action)[..., None], axis=-1)
    assert legal.all()
    assert not np.asarray(log.obs["action_mask"]).all()


def test_what_is_written_is_read(tmp_path):
    env, log = masked()
    path = tmp_path / "logs" / "some.npz"
    runtime.save_log(path, jax.tree.map(jnp.zeros_like, log))
    runtime.save_log(path, log)
    read = runtime.load_log(path, env)
    assert jax.tree.structure(read) == jax.tree.structure(log)
    jax.tree.map(np.testing.assert_array_equal, read, log)
    assert [file.name for file in path.parent.iterdir()] == ["some.npz"]
    with np.load(path) as file:
        np.testing.assert_array_equal(file["obs/action_mask"], log.obs["action_mask"])


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    path = tmp_path / "log.npz"
    runtime.save_log(path, corridor()[2])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        runtime.load_log(path)
    np.savez(path, action=np.zeros(3))
    with pytest.raises(ValueError, match="format"):
        runtime.load_log(path)
    np.savez(path, format=1, action=np.zeros(3))
    with pytest.raises(ValueError, match="with log_prob, next_obs, obs, reward, terminated, truncated as well"):
        runtime.load_log(path)
    with pytest.raises(ValueError, match=r"ends in .npz; got .*log.csv"):
        runtime.load_log(tmp_path / "log.csv")
    with pytest.raises(FileNotFoundError):
        runtime.load_log(tmp_path / "none.npz")


def episodes() -> list[dict]:
    """Of three lengths, with numbers that say where they are from."""
    made = []
    for number, length in enumerate((3, 1, 4)):
        time = np.arange(length + 1, dtype=np.float64)
        obs = {"time": time[:, None], "episode": np.full((length + 1, 2), number)}
        reward = 10.0 * number + time[:-1]
        made.append({"obs": obs, "action": np.arange(length), "reward": reward, "terminated": number != 1})
    return made


def test_episodes_of_any_length_are_one_log():
    log = runtime.log_of_episodes(episodes())
    assert np.ravel(log.reward).tolist() == [0, 1, 2, 10, 20, 21, 22, 23]
    assert np.flatnonzero(log.terminated).tolist() == [2, 7]
    assert np.flatnonzero(log.truncated).tolist() == [3]
    np.testing.assert_array_equal(log.next_obs["time"], log.obs["time"] + 1)
    assert np.ravel(log.obs["episode"][..., 0]).tolist() == [0, 0, 0, 1, 2, 2, 2, 2]
    assert log.reward.dtype == np.float32
    assert log.action.dtype == np.int32
    runtime.check_log(log)


def test_bad_episodes_are_refused():
    with pytest.raises(ValueError, match="episodes must be at least one; got 'none'"):
        runtime.log_of_episodes([])
    empty, short, other = episodes(), episodes(), episodes()
    empty[1] = {"obs": np.zeros((1, 2)), "action": np.zeros(0), "reward": np.zeros(0), "terminated": True}
    with pytest.raises(ValueError, match="episode 1: the length of reward must be at least 1"):
        runtime.log_of_episodes(empty)
    short[2]["obs"]["time"] = short[2]["obs"]["time"][:-1]
    with pytest.raises(ValueError, match="episode 2: the length of obs/time must be 5, as of reward; got 4"):
        runtime.log_of_episodes(short)
    other[0]["obs"] = other[0]["obs"]["time"]
    with pytest.raises(ValueError, match="same structure"):
        runtime.log_of_episodes(other)
    del other[0]["action"]
    with pytest.raises(ValueError, match="episode 0 must be a mapping with action as well"):
        runtime.log_of_episodes(other)


def test_logs_that_cannot_be_learned_from_are_refused():
    log = jax.tree.map(np.array, corridor()[2])
    runtime.check_log(log, Box(0.0, 1.0, (7,)), Discrete(4))

    def refused(message: str, **changes) -> None:
        with pytest.raises(ValueError, match=message):
            runtime.check_log(log._replace(**changes), Box(0.0, 1.0, (7,)), Discrete(4))

    refused(r"terminated must have rank 2; got shape \(90,\)", terminated=log.terminated.ravel())
    refused("at least one step", **jax.tree.map(lambda x: x[:0], log)._asdict())
    refused(r"shape of data.reward must be", reward=log.reward[:-1])
    refused(r"type of data.truncated must be bool; got 'float32'", truncated=log.truncated.astype(np.float32))
    refused(r"shape of a step of data.obs must be \(7,\)", obs=log.obs[..., :4])
    refused(r"data.reward must be finite; got 'NaN or infinity'", reward=np.where(log.reward == 0, np.nan, log.reward))
    wrong = log.action.copy()
    wrong[7, 2] = 4
    refused(r"data.action must lie in Discrete.*; got 4 at step 7 of stream 2", action=wrong)
    refused(r"data.obs must be an array", obs={"place": log.obs})
    with pytest.raises(ValueError, match="data must be a log, a Transition"):
        runtime.check_log({"obs": log.obs})
    with pytest.raises(ValueError, match=r"parts of data.obs must be"):
        runtime.check_log(log, GridWorld(open_room(5), mask_actions=True).observation_space(None))


def test_a_run_goes_on_with_its_own_log_only(tmp_path, monkeypatch):
    env, params, log = corridor(1.0, always(3))
    algorithm = iql.make(iql.Config(batch_size=8, hidden=(4,)), env, params)
    run = functools.partial(runtime.fit, algorithm, out=tmp_path, progress=False)
    run(total_steps=2, data=log)
    with pytest.raises(runtime.RunError, match="data: "):
        run(total_steps=4, data=log._replace(reward=log.reward + 1))
    assert run(total_steps=4, data=jax.tree.map(np.asarray, log)).updates == 4
    axes = []
    monkeypatch.setattr(report, "draw", lambda *panels, steps: axes.append(steps))
    report.report(tmp_path)
    assert set(axes) == {"updates"}  # none of the environment was stepped


def test_a_data_set_of_minari_is_a_log(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    gymnasium, minari = pytest.importorskip("gymnasium"), pytest.importorskip("minari")
    collector = minari.DataCollector(gymnasium.make("CartPole-v1", max_episode_steps=12))
    lengths, ends = [], []
    for seed in range(4):
        collector.reset(seed=seed)
        length, over = 0, False
        while not over:
            *_, terminated, truncated, _ = collector.step(seed % 2 if seed < 2 else length % 2)
            length, over = length + 1, terminated or truncated
        lengths.append(length)
        ends.append(terminated)
    collector.create_dataset(
        "test/cartpole-v0", algorithm_name="none", author="none", author_email="none", code_permalink="none"
    )
    log = runtime.load_minari("test/cartpole-v0")
    env, params = envs.make("CartPole-v1")
    runtime.check_log(log, Box(-1.0, 1.0, (4,)), Discrete(2))
    cuts = np.flatnonzero(log.terminated | log.truncated)
    assert np.diff(cuts, prepend=-1).tolist() == lengths
    assert np.ravel(log.terminated)[cuts].tolist() == ends
    assert sorted({*ends}) == [False, True]
    inner = ~np.ravel(log.terminated | log.truncated)[:-1]
    np.testing.assert_array_equal(log.obs[1:, 0][inner], log.next_obs[:-1, 0][inner])
    runtime.save_log(tmp_path / "log.npz", log)
    runtime.load_log(tmp_path / "log.npz", env, params)
