"""Time rlx: PPO on `preference_reward`, all seeds of a round in one program. Run as a process of its own."""

from __future__ import annotations

from typing import Any

from benchmarks.speed.meter import Meter, time_program, worker


def measure(spec: dict[str, Any], meter: Meter) -> dict[str, Any]:
    import functools

    import jax
    import jax.numpy as jnp

    from rlx import envs, runtime
    from rlx.algos import ppo
    from rlx.reward import synthetic_teacher
    from rlx.reward.learned import preference_reward

    env, env_params = envs.make(spec["env"])
    source: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in spec["source"].items()
    }
    rewards = preference_reward(
        comparisons=spec["comparisons"],
        total_steps=0.8 * spec["steps"],
        teacher=functools.partial(synthetic_teacher, **spec["teacher"]),
        **source,
    )
    algorithm = ppo.make(ppo.Config(**spec["settings"]), env, env_params, rewards=rewards)
    updates = -(-spec["steps"] // algorithm.steps_per_update)

    def learn(key: jax.Array) -> tuple[Any, jax.Array]:
        state, metrics = runtime.train(algorithm, key, updates)
        return state, metrics["source/comparisons"][-1]

    def play(state: Any, key: jax.Array) -> jax.Array:
        policy = algorithm.policy(state)
        return runtime.evaluate(policy, env, key, spec["episodes"], env_params=env_params).returns.mean()

    keys = jax.vmap(jax.random.key)(jnp.array(spec["seeds"]))
    (states, asked), compiled, ran = time_program(meter, jax.vmap(learn), keys)
    returns = jax.jit(jax.vmap(play))(states, keys)
    return {
        "compile": compiled,
        "run": ran,
        "steps": updates * algorithm.steps_per_update * len(spec["seeds"]),
        "comparisons": asked.tolist(),
        "returns": returns.ravel().tolist(),
    }


if __name__ == "__main__":
    worker(measure)
