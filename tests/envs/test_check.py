"""`check_env` finds each fault that it promises to find, planted one at a time in an environment without any."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import pytest

from rlx import space
from rlx.envs import check_env
from rlx.envs.interface import TimeLimitParams, at_time_limit, reset, step

right_step: Any = step  # faulty environments do not have the type that it asks for


class WalkState(NamedTuple):
    place: Any
    time: Any


class Walk:
    """A random walk from 0 that ends at -3 and 3."""

    is_truncated = at_time_limit
    reset = reset
    step = step
    default_params = TimeLimitParams(20)

    def reset_env(self, key, params):
        return jnp.zeros(1), WalkState(jnp.float32(0), jnp.int32(0))

    def step_env(self, key, state, action, params):
        place = state.place + 2.0 * action - 1.0
        return place[None], WalkState(place, state.time + 1), jnp.float32(1.0), jnp.abs(place) >= 3, {}

    def observation_space(self, params):
        return space.Box(-3.0, 3.0, (1,))

    def action_space(self, params):
        return space.Discrete(2)


class WrongShape(Walk):
    def step_env(self, key, state, action, params):
        obs, *rest = super().step_env(key, state, action, params)
        return obs[0], *rest


class OutOfBounds(Walk):
    def observation_space(self, params):
        return space.Box(-2.0, 2.0, (1,))


class IntegerReward(Walk):
    def step_env(self, key, state, action, params):
        obs, state, _, terminated, info = super().step_env(key, state, action, params)
        return obs, state, jnp.int32(1), terminated, info


class UnnamedChannels(Walk):
    def step_env(self, key, state, action, params):
        obs, state, reward, terminated, info = super().step_env(key, state, action, params)
        return obs, state, jnp.stack([reward, reward]), terminated, info


class FloatFlag(Walk):
    def step(self, key, state, action, params):
        obs, state, reward, terminated, truncated, info = right_step(self, key, state, action, params)
        return obs, state, reward, terminated.astype(jnp.float32), truncated, info


class StateChangesType(Walk):
    def reset_env(self, key, params):
        return jnp.zeros(1), WalkState(jnp.int32(0), jnp.int32(0))

    def step(self, key, state, action, params):
        # without this the fault shows up in the auto-reset of the reference
        obs, state, reward, terminated, _info = self.step_env(key, state, action, params)
        truncated = self.is_truncated(state, params)
        return obs, state, reward, terminated, truncated, {"final_observation": obs}


class NoFinalObservation(Walk):
    def step(self, key, state, action, params):
        *rest, _info = right_step(self, key, state, action, params)
        return *rest, {}


class FinalObservationAfterReset(Walk):
    def step(self, key, state, action, params):
        obs, *rest, info = right_step(self, key, state, action, params)
        return obs, *rest, {**info, "final_observation": obs}


class TruncationIsTermination(Walk):
    """One source for both flags: the time limit reported as an end of the task (and never as a limit)."""

    def step_env(self, key, state, action, params):
        obs, state, reward, terminated, info = super().step_env(key, state, action, params)
        return obs, state, reward, terminated | at_time_limit(self, state, params), info

    def is_truncated(self, state, params):
        return jnp.zeros((), bool)


class NoReset(Walk):
    def step(self, key, state, action, params):
        obs, state, reward, terminated, _info = self.step_env(key, state, action, params)
        truncated = self.is_truncated(state, params)
        return obs, state, reward, terminated, truncated, {"final_observation": obs}


class NoLimit(Walk):
    def is_truncated(self, state, params):
        return jnp.zeros((), bool)

    def step_env(self, key, state, action, params):
        obs, state, reward, terminated, info = super().step_env(key, state, action, params)
        return jnp.clip(obs, -3, 3), state, reward, jnp.zeros_like(terminated), info


class NotFinite(Walk):
    def step_env(self, key, state, action, params):
        obs, state, reward, terminated, info = super().step_env(key, state, action, params)
        return obs, state, jnp.where(terminated, jnp.nan, reward), terminated, info


class AllMasked(Walk):
    def observation_space(self, params):
        mask = space.Box(False, True, (2,), jnp.bool_)
        return space.Dict({"place": super().observation_space(params), "action_mask": mask})

    def reset_env(self, key, params):
        obs, state = super().reset_env(key, params)
        return {"place": obs, "action_mask": jnp.ones(2, bool)}, state

    def step_env(self, key, state, action, params):
        obs, *rest = super().step_env(key, state, action, params)
        return {"place": obs, "action_mask": jnp.zeros(2, bool)}, *rest


class ShortMask(AllMasked):
    def observation_space(self, params):
        mask = space.Box(False, True, (3,), jnp.bool_)
        return space.Dict({"place": Walk.observation_space(self, params), "action_mask": mask})


class FiveValues(Walk):
    def step(self, key, state, action, params):
        return right_step(self, key, state, action, params)[:5]


def test_a_faultless_environment_passes_and_both_endings_are_met():
    report = check_env(Walk())
    assert report.steps == 2 * 4 * 64
    assert report.terminations > 0
    assert report.truncations > 0


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        (WrongShape, "the space declares"),
        (OutOfBounds, "outside of the declared space"),
        (IntegerReward, "reward is int32"),
        (UnnamedChannels, "reward_channels = None"),
        (FloatFlag, "terminated is float32"),
        (StateChangesType, "state after a step"),
        (NoFinalObservation, "final_observation"),
        (FinalObservationAfterReset, "final_observation"),
        (NoReset, "reset_env where terminated"),
        (NoLimit, "lasted 64 steps with max_steps_in_episode = 8"),
        (TruncationIsTermination, "no episode was truncated"),
        (NotFinite, "not finite"),
        (AllMasked, "forbids every action"),
        (ShortMask, "action mask"),
        (FiveValues, "got 5 values"),
    ],
    ids=lambda x: x.__name__ if isinstance(x, type) else "",
)
def test_each_fault_is_found(faulty, message):
    with pytest.raises(ValueError, match=message) as error:
        check_env(faulty())
    assert str(error.value).startswith(f"{faulty.__name__} breaks the environment interface")


def test_what_is_no_environment_at_all():
    with pytest.raises(ValueError, match="lacks reset_env"):
        check_env(object())  # pyright: ignore[reportArgumentType]


def test_time_limits_beyond_the_steps_taken_are_no_fault():
    check_env(Walk(), TimeLimitParams(jnp.int32(10_000)), steps=16)
