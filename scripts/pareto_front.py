"""A front of policies from one program: a PPO learner for each of many weight vectors, trained side by side.

`rlx train morld --env rlx/deep-sea-treasure-convex` and its relatives look for fronts with more care; this is the idea.

python scripts/pareto_front.py [learners] [updates] [figure]
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from rlx import envs, runtime
from rlx.algos import ppo
from rlx.pareto import hypervolume, linear, nondominated_mask, simplex_grid

LEARNERS = int(sys.argv[1]) if len(sys.argv) > 1 else 64
UPDATES = int(sys.argv[2]) if len(sys.argv) > 2 else 40
FIGURE = sys.argv[3] if len(sys.argv) > 3 else "front.png"
DISCOUNT = 0.99

env, env_params = envs.make("rlx/deep-sea-treasure-convex", observation="features")
config = ppo.Config(num_envs=8, num_steps=64, learning_rate=3e-3, discount=DISCOUNT, value_clip=None)


def learn(weights, key):
    """The discounted returns of both objectives that a learner with these weights ends with."""
    algorithm = ppo.make(config, env, env_params, weighting=linear(weights))
    state, _ = runtime.train(algorithm, key, UPDATES)
    return runtime.evaluate(algorithm.policy(state), env, key, 1, discount=DISCOUNT, greedy=True).returns[0]


weights = simplex_grid(2, LEARNERS - 1)
points = jax.jit(jax.vmap(learn))(weights, jax.random.split(jax.random.key(0), LEARNERS))
exact, reference = jnp.asarray(env.pareto_front(DISCOUNT)), jnp.asarray(env.reference_point)
volume = jax.jit(hypervolume)
share = volume(points, reference) / volume(exact, reference)
found = np.unique(points[nondominated_mask(points)], axis=0)
print(f"{LEARNERS} learners, {len(found)} points of {len(exact)}, {share:.1%} of the exact hypervolume")
runtime.plot_front(found, env.reward_channels, FIGURE, exact=np.asarray(exact), ref=env.reference_point)
