"""The smallest algorithm and environment with all that a driver must carry: keys, two channels, means over nothing."""

from __future__ import annotations

import dataclasses
import resource
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.space import Box, Discrete
from rlx.types import Algorithm, Channel, Mean, Policy


@dataclasses.dataclass(frozen=True)
class Config:
    learning_rate: float = 0.1
    noise: float = 0.5  # standard deviation of the targets
    batch: int = 8
    size: int = 3
    break_at: int = -1  # the update whose second channel's loss becomes NaN


class State(NamedTuple):
    key: jax.Array
    params: dict[str, jax.Array]
    momentum: jax.Array
    target: jax.Array
    updates: jax.Array
    smallest: jax.Array  # starts infinite


def make(config: Config, *, axis_name: str | None = None) -> Algorithm:
    """Two linear regressions, one for each channel, by momentum descent on fresh noisy batches."""
    check.positive("learning_rate", config.learning_rate)

    def init(key: jax.Array) -> State:
        target_key, key = jax.random.split(key)
        if axis_name is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        zeros = jnp.zeros((2, config.size))
        target = jax.random.normal(target_key, (2, config.size))
        return State(key, {"weights": zeros}, zeros, target, jnp.int32(0), jnp.float32(jnp.inf))

    def update(state: State, data: Any = None) -> tuple[State, dict[str, Any]]:
        key, x_key, noise_key, episode_key = jax.random.split(state.key, 4)
        x = jax.random.normal(x_key, (config.batch, config.size))
        y = x @ state.target.T + config.noise * jax.random.normal(noise_key, (config.batch, 2))
        if data is not None:
            y = y + data
        broken = (state.updates + 1 == config.break_at) & (jnp.arange(2) == 1)
        y = jnp.where(broken, jnp.nan, y)

        def loss(params: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
            per_channel = jnp.mean((x @ params["weights"].T - y) ** 2, axis=0)
            return per_channel.sum(), per_channel

        (_, losses), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        if axis_name is not None:
            grads, losses = jax.lax.pmean((grads, losses), axis_name)
        momentum = 0.9 * state.momentum + grads["weights"]
        params = {"weights": state.params["weights"] - config.learning_rate * momentum}
        episodes = jax.random.bernoulli(episode_key, 0.3).astype(jnp.int32)
        metrics = {
            "loss/value": losses,
            "scale": jnp.abs(params["weights"]).mean(),
            "episode_return": Mean(-losses * episodes, episodes),
        }
        smallest = jnp.minimum(state.smallest, losses.min())
        return State(key, params, momentum, state.target, state.updates + 1, smallest), metrics

    def policy(state: State) -> Policy:
        """Goes right as often as the squashed first weight says; greedily, if that is above a half."""

        def act(key, obs, carry, reset, greedy=False):
            right = jax.nn.sigmoid(state.params["weights"][0, 0])
            draw = 0.5 if greedy else jax.random.uniform(key, obs.shape[:1])
            return jnp.broadcast_to(right > draw, obs.shape[:1]).astype(jnp.int32), carry

        return Policy(lambda batch_size: (), act)

    return Algorithm(init, update, policy, config.batch, (Channel("task"), Channel("safety")))


class WalkParams(NamedTuple):
    goal: int = 3
    max_steps_in_episode: int = 10


class Walk:
    """A walk on the integers from a start of 0 or 1; +1 per step, and in a second channel minus the position."""

    name = "Walk"
    reward_channels = ("alive", "away")
    default_params = WalkParams()

    def reset_env(self, key: jax.Array, params: WalkParams) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        position = jax.random.randint(key, (), 0, 2)
        return position[None].astype(jnp.float32), (position, jnp.int32(0))

    def step_env(self, key: jax.Array, state: tuple[jax.Array, jax.Array], action: jax.Array, params: WalkParams):
        position = state[0] + jnp.where(action == 1, 1, -1)
        state = (position, state[1] + 1)
        reward = jnp.stack([jnp.float32(1), -position.astype(jnp.float32)])
        return position[None].astype(jnp.float32), state, reward, position >= params.goal, {}

    def is_truncated(self, state: tuple[jax.Array, jax.Array], params: WalkParams) -> jax.Array:
        return state[1] >= params.max_steps_in_episode

    def reset(self, key, params):
        return self.reset_env(key, params)

    def step(self, key, state, action, params):
        obs, state, reward, terminated, info = self.step_env(key, state, action, params)
        return obs, state, reward, terminated, self.is_truncated(state, params), info

    def observation_space(self, params: WalkParams) -> Box:
        return Box(-jnp.inf, jnp.inf, (1,))

    def action_space(self, params: WalkParams) -> Discrete:
        return Discrete(2)


def run(out: str, **options: Any) -> Any:
    """A fit with the options that the tests of resuming share; they call it in processes of its own."""
    from rlx import runtime

    config = options.pop("config", Config())
    defaults = {"total_steps": 300 * config.batch, "log_every": config.batch, "checkpoint_every": config.batch}
    return runtime.fit(make(config), out=out, config=config, progress=False, **{**defaults, **options})


def run_until_interrupted(out: str, **options: Any) -> None:
    """Exit code 17 for an interrupt that says how to go on."""
    try:
        run(out, **options)
    except KeyboardInterrupt as stop:
        if "run the same again to continue" in str(stop):
            sys.exit(17)


def run_on_a_small_disk(limit: int, report: Any, out: str, **options: Any) -> None:
    """A run that may write no file larger than `limit` bytes; reports its error's message and file name."""
    jax.config.update("jax_enable_compilation_cache", False)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        run(out, **options)
    except OSError as error:
        report.send((str(error), error.filename))
