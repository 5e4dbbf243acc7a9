"""PPO's learning rate and entropy bonus on CartPole, tuned: short runs show a model where long ones are worth it.

python scripts/tune_settings.py [steps of a long run] [long runs that the budget is worth]
"""

import functools
import sys

from rlx import envs
from rlx.algos import ppo
from rlx.runtime.tuning import Range, training_scores, tune

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 65_536
BUDGET = float(sys.argv[2]) if len(sys.argv) > 2 else 6.0
env, env_params = envs.make("CartPole-v1")
evaluate = training_scores(
    functools.partial(ppo.make, env=env, env_params=env_params),
    ppo.Config(num_envs=8, num_steps=128),
    steps=(STEPS // 8, STEPS),
    seeds=2,
)
space = {"learning_rate": Range(1e-5, 1e-1, log=True), "entropy_coefficient": Range(1e-4, 1e-1, log=True)}
tuned = tune(evaluate, space, costs=(1 / 8, 1.0), budget=BUDGET)
for trial in tuned.trials.rows():
    print(" ".join(f"{name} {value:.4g}" for name, value in trial.items()))
chosen = ", ".join(f"{name} {value:.2g}" for name, value in tuned.best.items())
print(f"best of {len(tuned.trials)} trials: {chosen}, return {tuned.score:.0f}")
