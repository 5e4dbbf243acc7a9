"""Wrappers against loops by hand around the environment that they wrap."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import space
from rlx.envs import GridWorld, check_env, grid, make, wrappers
from rlx.envs.interface import TimeLimitParams, at_time_limit, reset, step


class CounterState(NamedTuple):
    count: Any
    time: Any


class Counter:
    """Counts from 3: the action is added, the reward is the count, and 12 or more ends the episode."""

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(self, max_steps=9):
        self.default_params = TimeLimitParams(jnp.int32(max_steps))

    def reset_env(self, key, params):
        return jnp.array([3.0, 0.0]), CounterState(jnp.float32(3), jnp.int32(0))

    def step_env(self, key, state, action, params):
        count, time = state.count + action, state.time + 1
        state = CounterState(count, time)
        return jnp.stack([count, state.time.astype(jnp.float32)]), state, count, count >= 12, {"count": count}

    def observation_space(self, params):
        return space.Box(-jnp.inf, jnp.inf, (2,))

    def action_space(self, params):
        return space.Discrete(4)


def rollout(env, actions, key=0):
    """`step` through `actions`: the first observation and, stacked, what every step gave."""
    params = env.default_params
    obs, state = jax.jit(env.reset)(jax.random.key(key), params)

    def one_step(state, inputs):
        action, key = inputs
        obs, state, reward, terminated, truncated, info = env.step(key, state, action, params)
        return state, (obs, reward, terminated, truncated, info)

    actions = jnp.asarray(actions)
    keys = jax.random.split(jax.random.key(key + 1), len(actions))
    _, steps = jax.jit(lambda state: jax.lax.scan(one_step, state, (actions, keys)))(state)
    return obs, jax.tree.map(np.asarray, steps)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda env: wrappers.TimeLimit(env, 5),
        lambda env: wrappers.StickyActions(env),
        lambda env: wrappers.ActionRepeat(env, 3),
        lambda env: wrappers.LastActionReward(env),
        lambda env: wrappers.Distractors(env, 3, persistence=0.5),
        lambda env: wrappers.FrameStack(env, 2),
        lambda env: wrappers.DelayedReward(env, 3),
        lambda env: wrappers.Skill(env, 3),
        lambda env: wrappers.FrameStack(wrappers.Distractors(wrappers.DelayedReward(env), 2), 2),
    ],
    ids=["limit", "sticky", "repeat", "last", "distractors", "stack", "delayed", "skill", "nested"],
)
def test_wrapped_environments_conform(wrap):
    report = check_env(wrap(Counter()), num_envs=2, steps=30)
    assert report.terminations > 0


def test_skills_last_an_episode_and_are_drawn_anew():
    _, (obs, _, terminated, truncated, info) = rollout(wrappers.Skill(Counter(max_steps=3), 4), [0] * 60)
    before_reset, after_reset = info["final_observation"]["skill"], obs["skill"]
    np.testing.assert_array_equal(after_reset.sum(-1), 1.0)
    ended = terminated | truncated
    np.testing.assert_array_equal(before_reset[1:], after_reset[:-1])  # what an episode began with it ends with
    np.testing.assert_array_equal(before_reset[~ended], after_reset[~ended])
    assert len(set(after_reset[ended].argmax(-1).tolist())) == 4


def test_time_limit_counts_its_own_steps():
    _, (_, _, terminated, truncated, info) = rollout(wrappers.TimeLimit(Counter(max_steps=9), 4), [0] * 9)
    np.testing.assert_array_equal(np.flatnonzero(truncated), [3, 7])
    assert not terminated.any()
    np.testing.assert_array_equal(info["final_observation"][3], [3.0, 4.0])
    _, (_, _, _, truncated, _) = rollout(wrappers.TimeLimit(Counter(max_steps=3), 4), [0] * 9)
    np.testing.assert_array_equal(np.flatnonzero(truncated), [2, 5, 8])


def test_sticky_actions_repeat_the_action_executed_last():
    """The action executed is the difference of counts: it is either the chosen one or the one executed before."""
    env = wrappers.StickyActions(Counter(max_steps=10_000), 0.25)
    chosen = np.tile([1, -1, 2, -2], 500)  # no action equals its predecessor
    first, (obs, _, terminated, _, _) = rollout(env, chosen)
    counts = np.r_[float(first[0]), obs[:, 0]]
    ended = np.r_[False, terminated[:-1]]
    executed = np.diff(counts)
    stuck = 0
    total = 0
    for t in range(1, len(chosen)):
        if terminated[t]:
            continue  # the count is already the next episode's
        if ended[t]:
            assert executed[t] == chosen[t]
            continue
        if terminated[t - 1]:
            continue
        assert executed[t] in (chosen[t], executed[t - 1])
        if executed[t - 1] != chosen[t]:
            total += 1
            stuck += executed[t] != chosen[t]
    assert abs(stuck / total - 0.25) < 5 * np.sqrt(0.25 * 0.75 / total)
    _, (obs, *_) = rollout(wrappers.StickyActions(Counter(100), 1.0), [1, 0, 0, 0])
    np.testing.assert_array_equal(obs[:, 0], [4, 5, 6, 7])  # always stuck, but not to anything before the first


def test_action_repeat_sums_rewards_until_the_episode_ends():
    env = wrappers.ActionRepeat(Counter(max_steps=100), 3)
    _, (_obs, reward, terminated, _, info) = rollout(env, [1, 2, 1])
    # 4 + 5 + 6; then 8 + 10 + 12, which ends; then anew
    np.testing.assert_array_equal(reward, [15, 30, 15])
    np.testing.assert_array_equal(terminated, [False, True, False])
    np.testing.assert_array_equal(info["final_observation"][:, 0], [6, 12, 6])
    _, (_, reward, terminated, _, info) = rollout(env, [3, 3])
    np.testing.assert_array_equal(reward, [6 + 9 + 12, 27])
    _, (_, reward, terminated, _, info) = rollout(wrappers.ActionRepeat(Counter(100), 4), [3])
    np.testing.assert_array_equal(reward, [27])  # the fourth is not taken
    np.testing.assert_array_equal(info["count"], [12])
    _, (_, reward, _, truncated, _) = rollout(wrappers.ActionRepeat(Counter(max_steps=2), 3), [1])
    np.testing.assert_array_equal(reward, [9])  # 4 + 5, then the time limit
    assert truncated[0]


def test_rescaled_actions_reach_the_bounds_and_stay_inside():
    bare, params = make("Pendulum-v1")  # torque in [-2, 2]
    env = wrappers.RescaleActions(bare)
    assert env.action_space(params) == space.Box(-1.0, 1.0, (1,))
    _, state = bare.reset(jax.random.key(0), params)
    for given, torque in ((-1.0, -2.0), (0.5, 1.0), (7.0, 2.0)):
        ours = jax.jit(env.step_env)(jax.random.key(1), state, jnp.array([given]), params)
        theirs = jax.jit(bare.step_env)(jax.random.key(1), state, jnp.array([torque]), params)
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)
        np.testing.assert_allclose(ours[2], theirs[2], rtol=1e-6)
    with pytest.raises(TypeError, match="actions must be a Box"):
        wrappers.RescaleActions(Counter())


def test_flatten_joins_parts_in_order_and_keeps_the_mask():
    class Parts(Counter):
        def observation_space(self, params):
            return space.Dict(
                {
                    "image": space.Box(0.0, 9.0, (2, 2)),
                    "kind": space.Discrete(3),
                    "action_mask": space.Box(False, True, (4,), jnp.bool_),
                    "pair": space.MultiDiscrete((2, 3)),
                }
            )

        def reset_env(self, key, params):
            return self.parts(), CounterState(jnp.float32(3), jnp.int32(0))

        def parts(self):
            return {
                "image": jnp.array([[1.0, 2.0], [3.0, 4.0]]),
                "kind": jnp.int32(2),
                "action_mask": jnp.array([True, False, True, True]),
                "pair": jnp.array([1, 0]),
            }

    env = wrappers.FlattenObservation(Parts())
    obs, _ = env.reset(jax.random.key(0), env.default_params)
    np.testing.assert_array_equal(obs["observation"], [1, 2, 3, 4, 0, 0, 1, 0, 1, 1, 0, 0])
    np.testing.assert_array_equal(obs["action_mask"], [True, False, True, True])
    whole = env.observation_space(env.default_params)
    assert isinstance(whole, space.Dict)
    part = whole.spaces["observation"]
    np.testing.assert_array_equal(part.high, [9, 9, 9, 9, 1, 1, 1, 1, 1, 1, 1, 1])
    lake, params = make("FrozenLake-misc")
    obs, _ = wrappers.FlattenObservation(lake).reset(jax.random.key(0), params)
    np.testing.assert_array_equal(obs, np.eye(16)[0])


def test_last_action_and_reward_are_observed_and_forgotten_at_resets():
    _, (obs, _, terminated, _, info) = rollout(wrappers.LastActionReward(Counter(max_steps=100)), [1, 3, 0, 3, 3])
    np.testing.assert_array_equal(obs[0], [4, 1, 0, 1, 0, 0, 4])
    np.testing.assert_array_equal(obs[1], [7, 2, 0, 0, 0, 1, 7])
    assert terminated[4]
    np.testing.assert_array_equal(info["final_observation"][4], [13, 5, 0, 0, 0, 1, 13])
    np.testing.assert_array_equal(obs[4], [3, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("persistence", [0.0, 0.9])
def test_distractors_are_standard_normal_and_as_persistent_as_asked(persistence):
    env = wrappers.Distractors(Counter(max_steps=100_000), 4, persistence)
    _, (obs, *_) = rollout(env, np.zeros(6000, int))
    np.testing.assert_array_equal(obs[:, 0], 3.0)
    noise = obs[:, 2:]
    # the effective number of samples is n (1 - rho) / (1 + rho)
    samples = noise.size * (1 - persistence) / (1 + persistence)
    assert abs(noise.mean()) < 5 / np.sqrt(samples)
    assert abs(noise.var() - 1) < 5 * np.sqrt(2 / samples)
    assert abs((noise[1:] * noise[:-1]).mean() - persistence) < 5 * np.sqrt(2 / samples)


def test_frames_are_stacked_oldest_first_and_refilled_at_resets():
    first, (obs, _, _, truncated, info) = rollout(wrappers.FrameStack(Counter(max_steps=3), 3), [1, 1, 1, 1])
    np.testing.assert_array_equal(first, [3, 0] * 3)
    np.testing.assert_array_equal(obs[1], [3, 0, 4, 1, 5, 2])
    np.testing.assert_array_equal(info["final_observation"][2], [4, 1, 5, 2, 6, 3])
    assert truncated[2]
    np.testing.assert_array_equal(obs[2], [3, 0] * 3)
    np.testing.assert_array_equal(obs[3], [3, 0, 3, 0, 4, 1])
    image = wrappers.FrameStack(GridWorld(grid.open_room(3), observation="image"), 2)
    assert image.observation_space(image.default_params).shape == (3, 3, 16)


def test_delayed_rewards_are_paid_in_full():
    actions = [1, 0, 1, 0, 1, 0, 0, 1]
    _, (_, plain, _, truncated, _) = rollout(Counter(max_steps=5), actions)
    _, (_, every, _, _, _) = rollout(wrappers.DelayedReward(Counter(max_steps=5), 3), actions)
    _, (_, end, _, _, _) = rollout(wrappers.DelayedReward(Counter(max_steps=5)), actions)
    assert np.flatnonzero(truncated).tolist() == [4]
    np.testing.assert_array_equal(every, [0, 0, plain[:3].sum(), 0, plain[3:5].sum(), 0, 0, plain[5:8].sum()])
    np.testing.assert_array_equal(end, [0, 0, 0, 0, plain[:5].sum(), 0, 0, 0])


def test_vector_rewards_pass_through():
    env = wrappers.DelayedReward(GridWorld(grid.hazards(5), costs=True))
    assert env.reward_channels == ("reward", "cost")
    check_env(env, steps=20)
    right = [grid.ACTIONS.index("right")] * 4
    _, (_, reward, _, _, _) = rollout(env, right)
    np.testing.assert_array_equal(reward, [[0, 0], [0, 0], [0, 0], [1, 3]])
    last = wrappers.LastActionReward(GridWorld(grid.hazards(5), costs=True))
    assert last.observation_space(last.default_params).shape == (27 + 4 + 2,)


def test_preferences_are_drawn_at_resets_and_kept_until_the_next():
    env = wrappers.Preference(make("rlx/deep-sea-treasure-convex", observation="features")[0])
    listed = jnp.array([[1.0, 0.0], [0.3, 0.7], [0.0, 1.0]])
    params = env.default_params._replace(weights=listed, probability=jnp.array([1.0, 3.0, 0.0]))
    drawn = jax.vmap(lambda key: env.reset_env(key, params)[0]["preference"])(jax.random.split(jax.random.key(0), 2000))
    share = np.mean(np.asarray(drawn) == np.float32(listed[1]), axis=0)
    assert abs(share - 0.75).max() < 0.04
    assert not (np.asarray(drawn) == np.float32(listed[2])).all(1).any()
    everywhere = jax.vmap(lambda key: env.reset_env(key, env.default_params)[0]["preference"])
    uniform = np.asarray(everywhere(jax.random.split(jax.random.key(1), 2000)))
    np.testing.assert_allclose(uniform.sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(np.quantile(uniform[:, 0], [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.05)
    assert check_env(env, num_envs=2, steps=60).terminations > 0
    obs, state = env.reset_env(jax.random.key(2), params)
    plain, _ = env.env.reset_env(jax.random.key(2), params.inner)
    later, _, reward, _, _ = env.step_env(jax.random.key(3), state, jnp.int32(1), params)
    np.testing.assert_array_equal(obs["observation"], plain)
    np.testing.assert_array_equal(later["preference"], obs["preference"])
    assert reward.shape == (2,)
    np.testing.assert_array_equal(params.listed()[1], [True, True, False])
    with pytest.raises(ValueError, match="weights must be an array"):
        env.default_params.listed()


def test_wrappers_can_be_copied_and_miss_attributes_as_usual():
    import copy

    env = copy.deepcopy(wrappers.FrameStack(GridWorld(grid.corridor(4)), 2))
    assert env.num_actions == 4
    with pytest.raises(AttributeError, match="nothing_like_that"):
        _ = env.nothing_like_that


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda: wrappers.TimeLimit(Counter(), 0), "max_steps"),
        (lambda: wrappers.StickyActions(Counter(), 1.5), "probability"),
        (lambda: wrappers.ActionRepeat(Counter(), 0), "repeats"),
        (lambda: wrappers.Distractors(GridWorld(grid.corridor(3), observation="image"), 2), "FlattenObservation"),
        (lambda: wrappers.FrameStack(Counter(), 0), "n must be"),
        (lambda: wrappers.DelayedReward(Counter(), 0), "interval"),
        (lambda: wrappers.Preference(Counter()), "reward_channels"),
    ],
)
def test_errors_name_the_argument(wrap, message):
    with pytest.raises(ValueError, match=message):
        wrap()
