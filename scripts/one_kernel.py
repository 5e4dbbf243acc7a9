"""One kernel in a loop of your own: generalised advantage estimation from rlx, everything else by hand.

python scripts/one_kernel.py [updates]
"""

import sys

import gymnax
import jax
import jax.numpy as jnp
import optax

from rlx.value import gae

UPDATES = int(sys.argv[1]) if len(sys.argv) > 1 else 300
NUM_ENVS, NUM_STEPS = 32, 64
env, env_params = gymnax.make("CartPole-v1")
optimiser = optax.adam(3e-3)


def network(params, obs):
    hidden = jnp.tanh(obs @ params["w"] + params["b"])
    return hidden @ params["policy"], (hidden @ params["value"])[..., 0]


def rollout(params, obs, env_state, key):
    def step(carry, key):
        obs, env_state = carry
        act_key, env_key = jax.random.split(key)
        action = jax.random.categorical(act_key, network(params, obs)[0])
        step_envs = jax.vmap(env.step, (0, 0, 0, None))
        next_obs, env_state, reward, terminated, truncated, info = step_envs(
            jax.random.split(env_key, NUM_ENVS), env_state, action, env_params
        )
        return (next_obs, env_state), (obs, action, reward, terminated, truncated, info["final_observation"])

    return jax.lax.scan(step, (obs, env_state), jax.random.split(key, NUM_STEPS))


def loss(params, batch):
    obs, action, reward, terminated, truncated, final_obs = batch
    logits, value = network(params, obs)
    next_value = network(params, final_obs)[1]  # of the state that was reached, not of the one after a reset
    discount = 0.99 * (1.0 - terminated)
    advantage, target = jax.lax.stop_gradient(gae(value, next_value, reward, discount, 0.95, terminated | truncated))
    log_prob = jnp.take_along_axis(jax.nn.log_softmax(logits), action[..., None], axis=-1)[..., 0]
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    return -(log_prob * advantage).mean() + 0.5 * ((value - target) ** 2).mean() / 100.0


@jax.jit
def update(params, optimiser_state, obs, env_state, key):
    (obs, env_state), batch = rollout(params, obs, env_state, key)
    updates, optimiser_state = optimiser.update(jax.grad(loss)(params, batch), optimiser_state)
    length = NUM_ENVS * NUM_STEPS / jnp.maximum(1, (batch[3] | batch[4]).sum())
    return optax.apply_updates(params, updates), optimiser_state, obs, env_state, length


keys = jax.random.split(jax.random.key(0), 4)
params = {"w": jax.random.normal(keys[0], (4, 64)) * 0.5, "b": jnp.zeros(64), "value": jnp.zeros((64, 1))}
params["policy"] = jax.random.normal(keys[1], (64, 2)) * 0.01
optimiser_state = optimiser.init(params)
obs, env_state = jax.vmap(env.reset, (0, None))(jax.random.split(keys[2], NUM_ENVS), env_params)
for index, key in enumerate(jax.random.split(keys[3], UPDATES)):
    params, optimiser_state, obs, env_state, length = update(params, optimiser_state, obs, env_state, key)
    if (index + 1) % 50 == 0 or index + 1 == UPDATES:
        print(f"update {index + 1}: an episode lasts about {float(length):.0f} steps")
