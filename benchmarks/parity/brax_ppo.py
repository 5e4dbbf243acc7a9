"""brax's own PPO, learning: run by brax's environment (an older jax), not by ours.

    python -m benchmarks.parity.brax_ppo reacher OUT.json

brax publishes its settings (in its training notebook) for budgets of 50M steps on accelerators: 2048 or 4096
environments, where one training step takes 1,638,400 (reacher) or 327,680 (ant) environment steps. For 1M steps we
divide `num_envs` and `batch_size` by 64, so that the number of training steps and gradient steps stays near the
published one (reacher 40 against 31, ant 196 against 153), and keep everything else.
"""

import argparse
import json
import time
from collections.abc import Mapping
from typing import Any

# As published, for 50M steps.
PUBLISHED = {
    "reacher": {
        "reward_scaling": 5,
        "episode_length": 1000,
        "normalize_observations": True,
        "action_repeat": 4,
        "unroll_length": 50,
        "num_minibatches": 32,
        "num_updates_per_batch": 8,
        "discounting": 0.95,
        "learning_rate": 3e-4,
        "entropy_cost": 1e-3,
        "num_envs": 2048,
        "batch_size": 256,
    },
    "ant": {
        "reward_scaling": 10,
        "episode_length": 1000,
        "normalize_observations": True,
        "action_repeat": 1,
        "unroll_length": 5,
        "num_minibatches": 32,
        "num_updates_per_batch": 4,
        "discounting": 0.97,
        "learning_rate": 3e-4,
        "entropy_cost": 1e-2,
        "num_envs": 4096,
        "batch_size": 2048,
    },
}
SHRINK = 64
STEPS = 1_000_000
EVALUATIONS = 11  # the first before training
EPISODES = 128
SEEDS = range(100, 103)
NOTES = (
    "Evaluation: mean return of 128 episodes of 1000 steps, actions sampled from the policy.",
    "Steps are physics steps: with action_repeat an action counts as often as it is applied.",
    "num_envs and batch_size are the published ones divided by 64, for 1M steps instead of 50M.",
)


def learn(name: str, seed: int, scale: float) -> tuple[list[int], list[float]]:
    """Steps and mean evaluation returns of one run of brax's PPO."""
    from brax import envs
    from brax.training.agents.ppo import train as ppo

    settings = dict(PUBLISHED[name])
    settings.update({field: settings[field] // SHRINK for field in ("num_envs", "batch_size")})
    steps, returns = [], []

    def progress(step: int, metrics: Mapping[str, Any]) -> None:
        steps.append(int(step))
        returns.append(round(float(metrics["eval/episode_reward"]), 4))

    ppo.train(
        environment=envs.get_environment(name, backend="spring"),
        num_timesteps=int(STEPS * scale),
        num_evals=EVALUATIONS,
        num_eval_envs=EPISODES,
        seed=seed,
        progress_fn=progress,
        **settings,
    )
    return steps, returns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=PUBLISHED)
    parser.add_argument("out")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the budget, for a trial")
    args = parser.parse_args()
    steps, curves = [], []
    start, cpu = time.perf_counter(), time.process_time()
    for seed in SEEDS:
        steps, returns = learn(args.name, seed, args.scale)
        curves.append(returns)
        print(args.name, seed, returns, flush=True)
    result = {
        "library": "brax 0.14.2 PPO",
        "environment": f"brax/{args.name}:spring",
        "settings": {**PUBLISHED[args.name], "shrink": SHRINK},
        "seeds": list(SEEDS),
        "steps": steps,
        "returns": curves,
        "cpu_s": round(time.process_time() - cpu, 1),
        "wall_s": round(time.perf_counter() - start, 1),
        "notes": NOTES,
    }
    with open(args.out, "w") as file:
        json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
