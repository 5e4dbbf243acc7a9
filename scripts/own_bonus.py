"""A reward source of your own as a second channel of PPO: a bonus for cells that were seldom visited.

The key-door maze pays only at its end, so PPO alone finds nothing; compare `python scripts/own_bonus.py` with weight 0.

python scripts/own_bonus.py [environment steps] [weight of the bonus]
"""

import sys

import jax.numpy as jnp

from rlx import envs, runtime
from rlx.algos import ppo
from rlx.pareto import linear
from rlx.reward import extrinsic, stack
from rlx.types import Channel, RewardSource

TOTAL_STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 400_000
WEIGHT = float(sys.argv[2]) if len(sys.argv) > 2 else 0.5


def visit_bonus(num_cells):
    """1 / sqrt(number of visits) of the observed cell; the state is the table of visits."""

    def init(key, spec):
        return jnp.ones(num_cells)

    def compute(visits, batch, key):
        cell = batch.next_obs.argmax(axis=-1)  # [T, B] of one-hot observations
        visits = visits.at[cell.ravel()].add(1.0)
        return 1.0 / jnp.sqrt(visits[cell])[..., None], visits  # [T, B, 1]

    def update(visits, batch, key):
        return visits, {"seen": (visits > 1).mean()}

    # not episodic: the bonus of the next episode counts too, so dying is no escape from boredom
    return RewardSource(init, compute, update, (Channel("visits", discount=0.99, episodic=False),))


env, env_params = envs.make("rlx/keydoor-11")
num_cells = env.observation_space(env_params).shape[0]
algorithm = ppo.make(
    ppo.Config(num_envs=16, num_steps=128, learning_rate=1e-3),
    env,
    env_params,
    rewards=stack(extrinsic(), visit_bonus(num_cells)),
    weighting=linear(jnp.array([1.0, WEIGHT])),
)
run = runtime.fit(algorithm, total_steps=TOTAL_STEPS, env=env, env_params=env_params, log_every=TOTAL_STEPS // 8)
for row in run.table.rows():
    found, seen = row["episode_return/reward"] or 0, row["source/visits/seen"]
    print(f"{row['step']:>8} steps: return {found:.2f}, cells seen {seen:.0%}")
