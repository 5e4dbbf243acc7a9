"""Time PPO learners, each with a weight vector of its own, that train side by side in one program."""

from __future__ import annotations

from typing import Any

from benchmarks.speed.meter import Meter, time_program, worker


def measure(spec: dict[str, Any], meter: Meter) -> dict[str, Any]:
    """`spec["learners"]` of them, with weights evenly spaced; one alone has equal weights.

    The score is the mean over learners of the weighted return of the episodes at the end.
    """
    import jax
    import jax.numpy as jnp

    from rlx.algos import ppo
    from rlx.envs import make
    from rlx.pareto import linear, simplex_grid
    from rlx.runtime import train

    env: Any
    env, params = make(f"rlx/{spec['task']}", observation="features")
    config, learners = ppo.Config(**spec["settings"]), spec["learners"]
    objectives = len(env.reward_channels)
    last = max(1, spec["updates"] // 4)

    def program(key: jax.Array, weights: jax.Array) -> Any:
        algorithm = ppo.make(config, env, params, weighting=linear(weights))
        state, metrics = train(algorithm, key, spec["updates"])
        returns = jax.tree.map(lambda x: x[-last:].sum(0), metrics["episode_return"])
        return state, returns.total @ weights / jnp.maximum(returns.count, 1)

    even = jnp.full((1, objectives), 1.0 / objectives)
    weights = even if learners == 1 else simplex_grid(objectives, learners - 1)
    keys = jax.random.split(jax.random.key(0), learners)
    (_, returns), compile_lap, run_lap = time_program(meter, jax.vmap(program), keys, weights)
    steps = spec["updates"] * config.num_envs * config.num_steps * learners
    return {"compile": compile_lap, "run": run_lap, "steps": steps, "score": float(returns.mean())}


if __name__ == "__main__":
    worker(measure)
