"""PPO on a brax robot, with the reference settings for it; checkpoints and curves in a run directory.

Needs the extra: pip install "rlx[brax]". Ant learns to walk in some minutes on a GPU; on a CPU begin with
`brax/inverted_pendulum`.

python scripts/brax_robot.py [environment] [environment steps] [run directory]
"""

import sys

from rlx import envs, runtime
from rlx.algos import ppo, settings
from rlx.runtime.report import report

NAME, TOTAL_STEPS, OUT = (
    sys.argv[1:] + ["brax/inverted_pendulum:spring", "1000000", "runs/robot"][len(sys.argv) - 1 :]
)[:3]

env, env_params = envs.make(NAME)
config = ppo.Config(**settings.load("ppo", NAME))
algorithm = ppo.make(config, env, env_params)
runtime.fit(
    algorithm,
    total_steps=int(TOTAL_STEPS),
    env=env,
    env_params=env_params,
    eval_every=max(1, int(TOTAL_STEPS) // 10),
    config=config,
    out=OUT,
)
result = report(OUT)
print(result.markdown, *result.files, sep="\n")
