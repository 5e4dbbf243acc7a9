"""A sweep over all the devices of a pod: run this same file on every host (`scripts/README.md` tells how).

Members (seeds x learning rates) are spread over the devices and never wait for each other; process 0 writes tables, and
all write their part of the checkpoints, so `OUT` must be on storage that every host sees. Run it again to continue.

python scripts/pod.py [run directory] [environment steps] [seeds]
"""

import functools
import os
import sys

import jax

OUT, TOTAL_STEPS, SEEDS = (sys.argv[1:] + ["runs/pod", "1000000", "64"][len(sys.argv) - 1 :])[:3]

# On TPU and Slurm jax finds the hosts itself. Elsewhere set these three; without them this is a single process.
if "COORDINATOR" in os.environ:
    jax.distributed.initialize(
        os.environ["COORDINATOR"], int(os.environ["NUM_PROCESSES"]), int(os.environ["PROCESS_ID"])
    )
elif os.environ.get("TPU_WORKER_HOSTNAMES", "").count(",") or "SLURM_NTASKS" in os.environ:
    jax.distributed.initialize()

from rlx import envs, runtime  # noqa: E402 - nothing may use jax before the line above
from rlx.algos import ppo  # noqa: E402

env, env_params = envs.make("CartPole-v1")
run = runtime.sweep(
    functools.partial(ppo.make, env=env, env_params=env_params),
    ppo.Config(num_envs=16, num_steps=128),
    total_steps=int(TOTAL_STEPS),
    seeds=int(SEEDS),
    over={"learning_rate": [3e-4, 1e-3]},
    env=env,
    env_params=env_params,
    out=OUT,
)
if jax.process_index() == 0:
    from rlx.runtime.report import report

    print(f"{len(run.members)} members on {jax.device_count()} devices of {jax.process_count()} processes")
    print(report(OUT).markdown)
