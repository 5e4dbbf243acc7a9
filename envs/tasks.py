"""Spaces of tasks: one environment with many sets of parameters, one of which is drawn at each reset."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx.envs.wrappers import Wrapped, WrapperWithMemory
from rlx.types import Array, PyTree


class TaskParams(NamedTuple):
    """Parameters of `Tasks`."""

    tasks: Any  # parameters of the wrapped environment, leaves [N, ...]
    probability: Array | None = None  # [N] of each, up to a factor, not all 0; None: all the same

    @property
    def max_steps_in_episode(self) -> Any:
        """The longest task's."""
        return jnp.max(self.tasks.max_steps_in_episode)

    def task(self, index: Array) -> Any:
        return jax.tree.map(lambda x: jnp.asarray(x)[index], self.tasks)


class Tasks(WrapperWithMemory):
    """Plays a task for an episode, drawn at the reset: a layout, a gravity, whatever the wrapped parameters say.

    Of the task policies see what the wrapped environment shows of its parameters; `info["task"]` is its number. Since
    tasks and probabilities are parameters, a curriculum is a new `probability`, and an evaluation on tasks held out the
    same environment with others:

        tasks = jax.vmap(draw)(jax.random.split(key, 100))  # parameters of `env`, leaves [100, ...]
        algorithm = ppo.make(config, Tasks(env), TaskParams(tasks))

    All tasks share their spaces.
    """

    @property
    def default_params(self) -> TaskParams:
        return TaskParams(jax.tree.map(lambda x: jnp.asarray(x)[None], self.env.default_params))

    def reset_env(self, key: Array, params: TaskParams) -> tuple[PyTree, Wrapped]:
        task_key, reset_key = jax.random.split(key)
        num = jax.tree.leaves(params.tasks)[0].shape[0]
        if params.probability is None:
            index = jax.random.randint(task_key, (), 0, num)
        else:
            index = jax.random.choice(task_key, num, p=params.probability / params.probability.sum())
        obs, inner = self.env.reset_env(reset_key, params.task(index))
        return obs, Wrapped(inner, index)

    def step_env(
        self, key: Array, state: Wrapped, action: Array, params: TaskParams
    ) -> tuple[PyTree, Wrapped, Array, Array, Any]:
        result = self.env.step_env(key, state.inner, action, params.task(state.memory))
        obs, inner, reward, terminated, info = result
        return obs, Wrapped(inner, state.memory), reward, terminated, {**info, "task": state.memory}

    def is_truncated(self, state: Wrapped, params: TaskParams) -> Array:
        return super().is_truncated(state, params.task(state.memory))

    def observation_space(self, params: TaskParams) -> Any:
        return super().observation_space(params.task(jnp.int32(0)))

    def action_space(self, params: TaskParams) -> Any:
        return super().action_space(params.task(jnp.int32(0)))
