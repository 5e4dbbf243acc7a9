"""Time brax's own PPO: run by its own environment with a specification (JSON) as argument."""

from __future__ import annotations

import functools
from typing import Any

from benchmarks.speed.meter import Lap, Meter, worker


def measure(spec: dict[str, Any], meter: Meter) -> dict[str, Any]:
    """brax's `train`, without evaluation, in three parts: it jits inside, and compiles again at the second part.

    The third is the run; compilation is the other two less the run's time twice. brax collects `batch_size *
    num_minibatches / num_envs` unrolls for an update: one, with these sizes.
    """
    import jax.numpy as jnp
    from brax import envs
    from brax.training.agents.ppo import networks
    from brax.training.agents.ppo import train as ppo

    settings = spec["settings"]
    name, _, backend = spec["env"].removeprefix("brax/").partition(":")
    part = -(-spec["updates"] // 3) * settings["num_envs"] * settings["num_steps"]
    laps: list[Lap] = []
    meter.lap()
    ppo.train(
        environment=envs.get_environment(name, backend=backend),
        num_timesteps=3 * part,
        num_evals=4,
        run_evals=False,
        policy_params_fn=lambda *_: laps.append(meter.lap()),  # before training and after each part
        episode_length=1000,
        num_envs=settings["num_envs"],
        unroll_length=settings["num_steps"],
        num_updates_per_batch=settings["num_epochs"],
        num_minibatches=settings["num_minibatches"],
        batch_size=settings["num_envs"] // settings["num_minibatches"],
        learning_rate=settings["learning_rate"],
        discounting=settings["discount"],
        gae_lambda=settings["lambda_"],
        clipping_epsilon=settings["clip"],
        entropy_cost=settings["entropy_coefficient"],
        max_grad_norm=settings["max_grad_norm"],
        normalize_observations=settings["normalise_observation"],
        network_factory=functools.partial(
            networks.make_ppo_networks,
            policy_hidden_layer_sizes=settings["hidden"],
            value_hidden_layer_sizes=settings["hidden"],
            activation=getattr(jnp, settings["activation"]),
        ),
    )
    _, first, second, run = laps
    compile_lap = {key: None if run[key] is None else first[key] + second[key] - 2 * run[key] for key in run}
    return {"compile": compile_lap, "run": run, "steps": part, "score": None}


if __name__ == "__main__":
    worker(measure)
