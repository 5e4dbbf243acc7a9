"""A reward learned from comparisons by one program and used by another: a pendulum that is never told its true reward.

python scripts/learned_reward.py learn reward/ [environment steps] [comparisons]   PPO, and a teacher made of code
python scripts/learned_reward.py use reward/ [environment steps]                   SAC, on what was learned
"""

import functools
import sys

from rlx import envs, runtime
from rlx.algos import ppo, sac, settings
from rlx.reward import synthetic_teacher
from rlx.reward.learned import learned_reward, preference_reward

MODE, FOLDER = sys.argv[1], sys.argv[2]
TOTAL_STEPS = int(sys.argv[3]) if len(sys.argv) > 3 else 60_000
COMPARISONS = int(sys.argv[4]) if len(sys.argv) > 4 else 500

env, env_params = envs.make("Pendulum-v1")
if MODE == "learn":
    rewards = preference_reward(
        comparisons=COMPARISONS,
        total_steps=0.75 * TOTAL_STEPS,
        teacher=functools.partial(synthetic_teacher, mistake=0.05),  # wrong once in twenty times
        flip_prob=0.05,
        segment=25,
    )
    config = ppo.Config(**{**settings.load("ppo", "Pendulum-v1"), "normalise_reward": True})
    algorithm = ppo.make(config, env, env_params, rewards=rewards)
else:
    model = runtime.load_reward(FOLDER)
    rewards = learned_reward(model)
    algorithm = sac.make(sac.Config(**settings.load("sac", "Pendulum-v1")), env, env_params, rewards=rewards)

run = runtime.fit(algorithm, total_steps=TOTAL_STEPS, env=env, env_params=env_params, progress=False)
print(f"true return after {run.steps} steps: {run.evaluations['return'][-1]:.0f}")
if MODE == "learn":
    runtime.save_reward(FOLDER, run.state.source.model)
    *_, row = run.table.rows()
    print(f"{row['source/comparisons']:.0f} comparisons, of which the members predict {row['source/accuracy']:.0%}")
