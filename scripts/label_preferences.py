"""You are the teacher: an agent learns from which of two pieces of its behaviour you find better.

Open the address that is printed; the arrow keys answer. Stop it whenever you like (Ctrl-C): the same command goes on
where it was, and no answer is asked for twice.

python scripts/label_preferences.py [run directory] [environment] [environment steps] [comparisons] [port]
"""

import sys

from rlx import envs, runtime
from rlx.algos import ppo, settings
from rlx.reward.learned import preference_reward
from rlx.runtime.labelling import Labelling

OUT = sys.argv[1] if len(sys.argv) > 1 else "runs/labelled"
ENV = sys.argv[2] if len(sys.argv) > 2 else "CartPole-v1"
TOTAL_STEPS = int(sys.argv[3]) if len(sys.argv) > 3 else 65_536
COMPARISONS = int(sys.argv[4]) if len(sys.argv) > 4 else 100
PORT = int(sys.argv[5]) if len(sys.argv) > 5 else 8765
SESSIONS = 10

env, env_params = envs.make(ENV)
rewards = preference_reward(
    comparisons=COMPARISONS, sessions=SESSIONS, total_steps=TOTAL_STEPS, teacher=None, segment=40, flip_prob=0.05
)
config = ppo.Config(**{**settings.load("ppo", ENV), "normalise_reward": True})
algorithm = ppo.make(config, env, env_params, rewards=rewards)
chunk = -(-TOTAL_STEPS // (SESSIONS + 1) // algorithm.steps_per_update) * algorithm.steps_per_update
labelling = Labelling(f"{OUT}/labels", ENV, queries=COMPARISONS // SESSIONS, port=PORT)
run = runtime.fit(
    algorithm,
    total_steps=TOTAL_STEPS,
    env=env,
    env_params=env_params,
    out=OUT,
    log_every=chunk,
    checkpoint_every=chunk,
    eval_every=chunk,
    between=labelling,
)
runtime.save_reward(f"{OUT}/reward", run.state.source.model)
labelling.close()
for row in run.evaluations.rows():
    print(f"{row['step']:>8} steps: true return {row['return']:.0f}")
