"""Run by `test_layouts` with four devices: 20 updates of 4 seeds alone, under vmap, and sharded; prints the
differences.
"""

from __future__ import annotations

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from tiny import Tiny

from rlx.algos import dqn, mo_q_learning, pareto_q_learning, ppo, pqn, sac, td3
from rlx.envs import make
from rlx.runtime import make_mesh
from rlx.space import Box, Discrete

BOX, DISCRETE = Tiny(Box(-1.0, 1.0, (1,)), limit=3, end="truncated"), Tiny(Discrete(2), limit=3)
VECTOR, _ = make("rlx/resource-gathering")
ALGORITHMS = {
    "ppo": lambda: ppo.make(ppo.Config(num_envs=4, num_steps=8, num_minibatches=2, hidden=(8,)), DISCRETE),
    "ppo-memory": lambda: ppo.make(
        ppo.Config(
            num_envs=4,
            num_steps=4,
            num_epochs=2,
            num_minibatches=2,
            hidden=(8,),
            memory=4,
            normalise_observation=True,
            normalise_reward=True,
        ),
        BOX,
    ),
    "pqn": lambda: pqn.make(pqn.Config(num_envs=4, num_steps=8, num_minibatches=2, hidden=(8,)), DISCRETE),
    "dqn": lambda: dqn.make(
        dqn.Config(num_envs=4, batch_size=8, buffer_size=64, learning_starts=16, hidden=(8,), prioritised=True),
        DISCRETE,
    ),
    "mo_q_learning": lambda: mo_q_learning.make(mo_q_learning.Config(num_envs=4), VECTOR),
    "pareto_q_learning": lambda: pareto_q_learning.make(
        pareto_q_learning.Config(num_envs=4, num_steps=8, capacity=4, exploration="cardinality"), VECTOR
    ),
    "sac": lambda: sac.make(sac.Config(num_envs=4, batch_size=8, buffer_size=64, learning_starts=16, hidden=(8,)), BOX),
    "td3": lambda: td3.make(td3.Config(num_envs=4, batch_size=8, buffer_size=64, learning_starts=16, hidden=(8,)), BOX),
}


def plain(tree):
    """Every leaf as an array of numbers, keys too."""
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)  # noqa: E731
    return [np.asarray(jax.random.key_data(x) if is_key(x) else x, np.float64) for x in jax.tree.leaves(tree)]


def difference(a, b) -> float:
    return max(float(np.max(np.abs(x - y) / (1 + np.abs(y)), initial=0.0)) for x, y in zip(a, b, strict=True))


def compare(algorithm) -> dict[str, float]:
    def run(key):
        return jax.lax.scan(lambda s, _: algorithm.update(s), algorithm.init(key), None, length=20)[0]

    keys = jax.vmap(jax.random.key)(jnp.arange(4))
    alone = [plain(jax.jit(run)(jax.random.key(i))) for i in range(4)]
    alone = [np.stack(leaves) for leaves in zip(*alone, strict=True)]
    members = jax.jit(jax.vmap(run))
    mesh = make_mesh(4)
    sharded = members(jax.device_put(keys, NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))))
    spread = len(jax.tree.leaves(sharded)[0].sharding.device_set)
    vmapped = plain(members(keys))
    return {"vmap": difference(vmapped, alone), "sharded": difference(plain(sharded), vmapped), "devices": spread}


if __name__ == "__main__":
    print(json.dumps({name: compare(ALGORITHMS[name]()) for name in sys.argv[1:]}))
