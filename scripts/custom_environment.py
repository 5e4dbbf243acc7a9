"""An environment of your own: the methods that `rlx.types.Environment` names, checked, then learned by PPO.

A cart on a line must be pushed to a point that changes from episode to episode.

python scripts/custom_environment.py [environment steps]
"""

import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rlx import envs, runtime
from rlx.algos import ppo
from rlx.envs.interface import TimeLimitParams, at_time_limit, reset, step
from rlx.space import Box

TOTAL_STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000


class State(NamedTuple):
    position: jax.Array
    velocity: jax.Array
    target: jax.Array
    time: jax.Array


class PushCart:
    name = "PushCart"
    default_params = TimeLimitParams(max_steps_in_episode=50)
    is_truncated, reset, step = at_time_limit, reset, step  # time limit and auto-reset, as gymnax has them

    def reset_env(self, key, params):
        position, target = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
        state = State(position, jnp.float32(0), target, jnp.int32(0))
        return self.observe(state), state

    def step_env(self, key, state, action, params):
        velocity = 0.9 * state.velocity + 0.1 * jnp.clip(action[0], -1.0, 1.0)
        state = State(state.position + velocity, velocity, state.target, state.time + 1)
        terminated = jnp.abs(state.position) > 3.0  # off the track; the time limit is not a termination
        reward = -jnp.abs(state.position - state.target) - 10.0 * terminated
        return self.observe(state), state, reward, terminated, {}

    def observe(self, state):
        return jnp.stack([state.position, state.velocity, state.target])

    def observation_space(self, params):
        return Box(-jnp.inf, jnp.inf, (3,))

    def action_space(self, params):
        return Box(-1.0, 1.0, (1,))


env = PushCart()
print(envs.check_env(env))
config = ppo.Config(num_envs=32, num_steps=64, learning_rate=1e-3, entropy_coefficient=0.0)
run = runtime.fit(ppo.make(config, env), total_steps=TOTAL_STEPS, env=env, eval_every=max(1, TOTAL_STEPS // 5))
for row in run.evaluations.rows():
    print(f"after {row['step']} steps: return {row['return']:.1f}")
