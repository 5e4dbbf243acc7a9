"""What own environments and adapters share: `step` and `reset` on top of `step_env` and `reset_env`.

An environment class defines `default_params`, `reset_env`, `step_env`, `observation_space` and `action_space`, and
takes the rest from here, one line each:

    class MyEnv:
        is_truncated = at_time_limit
        reset = reset
        step = step
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from rlx.types import Array, Environment, PyTree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TimeLimitParams:
    """Parameters of an environment that has none but its time limit."""

    max_steps_in_episode: Any = 1000  # steps

    def replace(self, **changes: Any) -> TimeLimitParams:
        return dataclasses.replace(self, **changes)


def at_time_limit(env: Environment, state: Any, params: Any) -> Array:
    """`is_truncated` for a state that counts its steps in `time`, as gymnax defines it."""
    del env
    return jnp.asarray(state.time >= params.max_steps_in_episode)


def reset(env: Environment, key: Array, params: Any = None) -> tuple[PyTree, PyTree]:
    """`reset` of an environment; `params = None` means its default parameters."""
    return env.reset_env(key, env.default_params if params is None else params)


def step(
    env: Environment, key: Array, state: PyTree, action: Array, params: Any = None
) -> tuple[PyTree, PyTree, Array, Array, Array, dict[str, Any]]:
    """`step` of an environment: one `step_env`, then a new episode if that ended one.

    `key` is split into one key for the step and one for the reset, as gymnax does, so the same key gives the same step
    as gymnax's own. Episodes end where `terminated | truncated`; bootstrap from `info["final_observation"]` with
    `info["discount"] = 1 - terminated`. (The usual mistake is `1 - done`, which says that a state reached at the time
    limit is worth nothing.)

    Returns:
      `(obs, state, reward, terminated, truncated, info)`; `obs` and `state` are those of the new episode where one
      began; `info` adds `terminated`, `truncated`, `discount` and `final_observation` to what `step_env` gave.
    """
    params = env.default_params if params is None else params
    step_key, reset_key = jax.random.split(key)
    final_obs, last_state, reward, terminated, info = env.step_env(step_key, state, action, params)
    truncated = env.is_truncated(last_state, params)
    first = env.reset_env(reset_key, params)
    obs, state = select(terminated | truncated, first, (final_obs, last_state))
    info = {
        **info,
        "terminated": terminated,
        "truncated": truncated,
        "discount": 1.0 - terminated.astype(jnp.float32),
        "final_observation": final_obs,
    }
    return obs, state, reward, terminated, truncated, info


def select(condition: Array, if_true: PyTree, if_false: PyTree) -> PyTree:
    """One of two pytrees of the same structure, by a scalar condition."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), if_true, if_false)


def strong(tree: PyTree) -> PyTree:
    """The same leaves as arrays whose dtype is fixed.

    Python numbers and arrays made from them are "weakly typed": they take on the type of what they meet, which makes
    `scan` carries change type and programs compile twice.
    """
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.result_type(x)), tree)
