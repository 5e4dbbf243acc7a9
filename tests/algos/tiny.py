"""A one-state environment of any action space, whose best action and values are known."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx.space import Box, Dict, Discrete, MultiDiscrete, Space


class TinyState(NamedTuple):
    time: jax.Array
    phase: jax.Array


class Tiny:
    """Reward 1, or for the action that matches a random observation where `guess`; ends by `end` after `limit`
    steps.
    """

    default_params: Any = None
    reward_channels = ("reward",)

    def __init__(self, actions: Space, limit: int = 1, end: str = "terminated", guess: bool = True, mask: bool = False):
        self.actions, self.limit, self.end, self.guess, self.mask = actions, limit, end, guess, mask

    def observation_space(self, params: Any) -> Space:
        box = Box(-1.0, 1.0, (2,))
        return Dict({"x": box, "action_mask": Box(0, 1, (self.actions.n,), bool)}) if self.mask else box  # type: ignore

    def action_space(self, params: Any) -> Space:
        return self.actions

    def _observe(self, state: TinyState) -> Any:
        x = jnp.stack([state.phase, 1.0 - state.phase])
        if not self.mask:
            return x
        return {"x": x, "action_mask": jnp.arange(self.actions.n) != state.phase}  # type: ignore

    def reset_env(self, key: jax.Array, params: Any) -> tuple[Any, TinyState]:
        phase = jax.random.bernoulli(key).astype(jnp.float32) if self.guess else jnp.float32(0)
        state = TinyState(jnp.int32(0), phase)
        return self._observe(state), state

    def step_env(self, key: jax.Array, state: TinyState, action: jax.Array, params: Any) -> tuple:
        if not self.guess:
            reward = jnp.float32(1)
        elif isinstance(self.actions, Discrete):
            reward = (action == state.phase).astype(jnp.float32)
        elif isinstance(self.actions, MultiDiscrete):
            reward = jnp.mean((action == jnp.stack([state.phase, 2 * state.phase])).astype(jnp.float32))
        else:
            reward = -jnp.sum((action - (2 * state.phase - 1)) ** 2)
        state = state._replace(time=state.time + 1)
        terminated = (state.time >= self.limit) & (self.end == "terminated")
        return self._observe(state), state, reward, terminated, {}

    def is_truncated(self, state: TinyState, params: Any) -> jax.Array:
        return (state.time >= self.limit) & (self.end == "truncated")
