"""Seeds and learning rates side by side in one compiled program: `vmap` over the whole of training.

`rlx.runtime.sweep` does this with progress, tables, checkpoints and several devices; here is the bare idea.

python scripts/vmap_learning_rate.py [updates]
"""

import dataclasses
import sys

import jax
import jax.numpy as jnp

from rlx import envs, runtime
from rlx.algos import ppo

UPDATES = int(sys.argv[1]) if len(sys.argv) > 1 else 100
env, env_params = envs.make("CartPole-v1")
config = ppo.Config(num_envs=8, num_steps=128)


def returns(learning_rate, key):
    """Mean return of the episodes that ended in the last tenth of training."""
    algorithm = ppo.make(dataclasses.replace(config, learning_rate=learning_rate), env, env_params)
    _, metrics = runtime.train(algorithm, key, UPDATES)
    last = jax.tree.map(lambda x: x[-max(1, UPDATES // 10) :].sum(0), metrics["episode_return"])
    return last.total.sum() / jnp.maximum(1, last.count)


learning_rates = jnp.array([3e-5, 3e-4, 3e-3, 3e-2])
keys = jax.vmap(jax.random.key)(jnp.arange(4))
over_seeds = jax.vmap(returns, (None, 0))
table = jax.jit(jax.vmap(over_seeds, (0, None)))(learning_rates, keys)
for learning_rate, row in zip(learning_rates, table, strict=True):
    print(f"learning rate {learning_rate:.0e}: " + " ".join(f"{value:6.1f}" for value in row))
