"""A policy from a log and some comparisons: no reward, and not one more step of the environment.

Somebody has swung a pendulum up, clumsily; a teacher says which of two pieces of that was better. A reward is fitted to
what it said, and implicit Q-learning makes of log and reward a policy that does better than the log.

python scripts/offline_preferences.py [gradient steps] [comparisons] [episodes in the log]
"""

import sys

import jax
import jax.numpy as jnp

from rlx import envs, runtime
from rlx.algos import iql
from rlx.reward import synthetic_teacher
from rlx.reward.learned import draw_queries, fit_reward_model, learned_reward, predict_reward
from rlx.runtime.rollout import reset_batch, rollout

GRADIENT_STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 6_000
COMPARISONS = int(sys.argv[2]) if len(sys.argv) > 2 else 500
EPISODES = int(sys.argv[3]) if len(sys.argv) > 3 else 100
SEGMENT, STEPS = 25, 200

env, env_params = envs.make("Pendulum-v1")
spaces = env.observation_space(env_params), env.action_space(env_params)
reset_key, log_key, query_key, teacher_key, fit_key = jax.random.split(jax.random.key(0), 5)


def clumsy(key, obs):
    """Pump energy in below, hold on above, and tremble."""
    cosine, sine, speed = obs[:, 0], obs[:, 1], obs[:, 2]
    energy = speed**2 / 6 + 5 * (cosine - 1)  # 0 at rest above
    torque = jnp.where(cosine > 0.9, -10 * sine - 2 * speed, -speed * jnp.sign(energy))
    action = torque + 4.0 * jax.random.normal(key, torque.shape)
    return jnp.clip(action, -2.0, 2.0)[:, None], jnp.zeros(len(obs))


log = rollout(env, env_params, log_key, reset_batch(env, env_params, reset_key, EPISODES), STEPS, clumsy)[1]
queries, reward = draw_queries(query_key, log, COMPARISONS, SEGMENT)
target, weight = synthetic_teacher(teacher_key, reward, queries.mask, mistake=0.05)  # wrong once in twenty times
queries = queries._replace(target=target, weight=weight)
fit = {"flip_prob": 0.05, "centred": True, "gradient_steps": -(-GRADIENT_STEPS // 6)}
model, fitted = jax.jit(lambda: fit_reward_model(fit_key, queries, log, *spaces, **fit))()
told = jnp.corrcoef(predict_reward(model, log.obs, log.action).ravel(), log.reward.ravel())[0, 1]
print(f"{COMPARISONS} comparisons, of which the members predict {fitted['accuracy']:.0%}; correlation {told:.2f}")

blind = log._replace(reward=jnp.zeros_like(log.reward))  # what the learner gets to see
config = iql.Config(hidden=(64, 64), learning_rate=1e-3)
algorithm = iql.make(config, env, env_params, rewards=learned_reward(model))
run = runtime.fit(algorithm, total_steps=GRADIENT_STEPS, data=blind, env=env, env_params=env_params, progress=False)
before, after = log.reward.sum(0).mean(), run.evaluations["return"][-1]
print(f"true return of the log {before:.0f}, after implicit Q-learning {after:.0f}")
