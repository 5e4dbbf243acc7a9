"""rejax's own PPO, with its own settings, learning: run by rejax's environment, not by ours.

    python -m benchmarks.parity.rejax_ppo breakout OUT.json

Settings are rejax's published ones (its `benchmark/breakout_1m.yaml` and `configs/gymnax/cartpole.yaml`); only the
budget and the evaluation interval are ours. rejax publishes none for SpaceInvaders: it gets those of Breakout.
"""

import argparse
import json
import time

MINATAR = {
    "agent_kwargs": {"activation": "tanh"},  # its default network: a 64-64 perceptron on the flattened grid
    "num_envs": 32,
    "num_steps": 32,
    "num_epochs": 4,
    "num_minibatches": 4,
    "learning_rate": 0.00025674088686342003,
    "max_grad_norm": 1.0,
    "gamma": 0.995,
    "gae_lambda": 0.95,
    "clip_eps": 0.2,
    "ent_coef": 0.01,
    "vf_coef": 0.5,
}
CARTPOLE = {
    "agent_kwargs": {"activation": "tanh"},
    "num_envs": 5,
    "num_steps": 100,
    "num_epochs": 5,
    "num_minibatches": 5,
    "learning_rate": 0.00075,
    "max_grad_norm": 0.5,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_eps": 0.2,
    "ent_coef": 0.01,
    "vf_coef": 0.5,
}
# name: environment, settings, steps, evaluation interval, seeds
RUNS = {
    "breakout": ("Breakout-MinAtar", MINATAR, 2_000_000, 100_000, range(100, 105)),
    "spaceinvaders": ("SpaceInvaders-MinAtar", MINATAR, 2_000_000, 100_000, range(100, 105)),
    "cartpole": ("CartPole-v1", CARTPOLE, 500_000, 25_000, range(100, 110)),
}
NOTES = (
    "Each evaluation is the mean return of 128 episodes, actions sampled from the policy.",
    "rejax 0.1.3 passes max_grad_norm to optax.clip, which clips each element and not the norm.",
    "It zeroes the value after a time limit as after a terminal state.",
    "It runs on gymnax 0.0.9 (five-value step); rlx runs on gymnax 1.",
)


def learn(name: str, scale: float = 1.0) -> dict:
    """Train all seeds of run `name` at `scale` times its budget; returns the learning curves."""
    import jax
    import numpy as np
    from rejax import PPO  # pyright: ignore[reportMissingImports]

    env, settings, steps, interval, seeds = RUNS[name]
    steps = int(steps * scale)
    algorithm = PPO.create(env=env, total_timesteps=steps, eval_freq=interval, **settings)
    keys = jax.numpy.stack([jax.random.PRNGKey(seed) for seed in seeds])
    start, cpu = time.perf_counter(), time.process_time()
    _, (_, returns) = jax.block_until_ready(jax.jit(jax.vmap(algorithm.train))(keys))  # [seeds, evaluations, episodes]
    iteration = settings["num_envs"] * settings["num_steps"]
    actual_interval = -(-interval // iteration) * iteration  # rejax rounds up to whole iterations
    return {
        "library": "rejax 0.1.3",
        "environment": env,
        "settings": settings,
        "seeds": list(seeds),
        "steps": [i * actual_interval for i in range(returns.shape[1])],
        "returns": np.asarray(returns.mean(-1), np.float64).round(4).tolist(),
        "cpu_s": round(time.process_time() - cpu, 1),
        "wall_s": round(time.perf_counter() - start, 1),
        "notes": NOTES,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=RUNS)
    parser.add_argument("out")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the budget, for a trial")
    args = parser.parse_args()
    result = learn(args.name, args.scale)
    with open(args.out, "w") as file:
        json.dump(result, file, indent=1)
    print(args.name, [round(curve[-1], 2) for curve in result["returns"]], result["cpu_s"], "CPU-s")


if __name__ == "__main__":
    main()
