"""One-step environments of two rewards whose best action for every preference is known."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from rlx.space import Box, Discrete, Space

ARMS = ((1.0, 0.0), (0.0, 1.0), (0.8, 0.8))


class Arms:
    """An action pays one of `ARMS`; or, for a Box, `-(a - 1)^2` and `-(a + 1)^2`, best at `a = w_0 - w_1`."""

    default_params: Any = None
    reward_channels = ("first", "second")
    reference_point = (-5.0, -5.0)

    def __init__(self, continuous: bool = False):
        self.continuous = continuous

    def observation_space(self, params: Any) -> Space:
        return Box(0.0, 1.0, (1,))

    def action_space(self, params: Any) -> Space:
        return Box(-2.0, 2.0, (1,)) if self.continuous else Discrete(len(ARMS))

    def reset_env(self, key: jax.Array, params: Any) -> tuple[Any, Any]:
        return jnp.ones(1), jnp.zeros(())

    def step_env(self, key: jax.Array, state: Any, action: jax.Array, params: Any) -> tuple:
        reward = -jnp.square(action[0] - jnp.array([1.0, -1.0])) if self.continuous else jnp.array(ARMS)[action]
        return jnp.ones(1), state, reward, jnp.ones((), bool), {}

    def is_truncated(self, state: Any, params: Any) -> jax.Array:
        return jnp.zeros((), bool)
