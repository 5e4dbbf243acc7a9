"""Take a trained policy out of a run directory, in another program, and act with it one step at a time.

rlx train ppo --env CartPole-v1 --seeds 4 --out runs/first
python scripts/restore_checkpoint.py runs/first
"""

import sys

import jax

from rlx import envs, runtime
from rlx.algos import ppo

RUN = sys.argv[1] if len(sys.argv) > 1 else "runs/first"

env, env_params = envs.make("CartPole-v1")
algorithm = ppo.make(runtime.restore_config(RUN, ppo.Config), env, env_params)
restored = runtime.restore(RUN, algorithm)
print(f"update {restored.update}, members {restored.members}")

first_seed = jax.tree.map(lambda leaf: leaf[0], restored.state)  # a run with several seeds has a leading member axis
policy = algorithm.policy(first_seed)
act, step = jax.jit(policy.act, static_argnames="greedy"), jax.jit(env.step)

key = jax.random.key(0)
obs, env_state = env.reset(key, env_params)
carry, first, total, done = policy.init(1), jax.numpy.array([True]), 0.0, False
while not done:
    key, act_key, step_key = jax.random.split(key, 3)
    action, carry = act(act_key, obs[None], carry, first, greedy=True)
    obs, env_state, reward, terminated, truncated, _ = step(step_key, env_state, action[0], env_params)
    first, total, done = jax.numpy.array([False]), total + float(reward), bool(terminated | truncated)
print(f"return {total:.0f}")
