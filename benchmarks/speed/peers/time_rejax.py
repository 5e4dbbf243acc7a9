"""Time rejax's PPO: run by its own environment with a specification (JSON) as argument."""

from __future__ import annotations

from typing import Any

from benchmarks.speed.meter import Meter, over_seeds, peak_rss_mib, time_program, worker


def measure(spec: dict[str, Any], meter: Meter) -> dict[str, Any]:
    """rejax's `train` on the workload. Its evaluation is taken out of the timed run and done once after it."""
    import jax
    import jax.numpy as jnp
    from rejax import PPO  # pyright: ignore[reportMissingImports]

    settings = spec["settings"]
    total = spec["updates"] * settings["num_envs"] * settings["num_steps"]
    algorithm = PPO.create(
        env=spec["env"],
        agent_kwargs={"activation": settings["activation"], "hidden_layer_sizes": settings["hidden"]},
        num_envs=settings["num_envs"],
        num_steps=settings["num_steps"],
        num_epochs=settings["num_epochs"],
        num_minibatches=settings["num_minibatches"],
        learning_rate=settings["learning_rate"],
        gamma=settings["discount"],
        gae_lambda=settings["lambda_"],
        clip_eps=settings["clip"],
        ent_coef=settings["entropy_coefficient"],
        max_grad_norm=settings["max_grad_norm"],
        vf_coef=0.5,
        total_timesteps=total,
        eval_freq=total,
        skip_initial_evaluation=True,
    )
    evaluate = algorithm.eval_callback
    algorithm = algorithm.replace(eval_callback=lambda *_: jnp.zeros(()))
    train, keys = over_seeds(algorithm.train, jax.random.PRNGKey, spec["seeds"])
    (states, _), compile_lap, run_lap = time_program(meter, train, keys)
    memory = peak_rss_mib()  # of the training alone
    first = states if spec["seeds"] == 1 else jax.tree.map(lambda x: x[0], states)
    score = float(evaluate(algorithm, first, jax.random.PRNGKey(1))[1].mean())
    return {
        "compile": compile_lap,
        "run": run_lap,
        "steps": total * spec["seeds"],
        "score": score,
        "rss_mib": memory,
    }


if __name__ == "__main__":
    worker(measure)
