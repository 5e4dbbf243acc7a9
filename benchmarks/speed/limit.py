"""The limit: what is left of a workload's update when only its environment, or only its networks, are run.

`environment` steps the environments with random actions, resets included. `network` acts on and differentiates the
same numbers of samples with the same networks, gradient chunks and optimiser, but takes them as they lie: no shuffle,
returns or episodes. The sum of the two is not a lower bound for every implementation: it is what these networks cost
in this layout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.speed.meter import Meter, over_seeds, time_program, worker
from rlx.envs import make
from rlx.nets import Network, prepare
from rlx.runtime.rollout import reset_batch, step_batch
from rlx.space import Discrete, from_gymnax


def measure(spec: dict[str, Any], meter: Meter) -> dict[str, Any]:
    program = {"environment": environment, "network": network}[spec["part"]](spec)
    _, compile_lap, run_lap = time_program(meter, *over_seeds(program, jax.random.key, spec["seeds"]))
    settings = spec["settings"]
    steps = spec["updates"] * settings["num_envs"] * settings["num_steps"] * spec["seeds"]
    return {"compile": compile_lap, "run": run_lap, "steps": steps, "score": None}


def environment(spec: dict[str, Any]) -> Callable[[jax.Array], Any]:
    """Steps with random actions; returns sums of what they gave, so that nothing is optimised away."""
    env, params = make(spec["env"])
    space: Any = from_gymnax(env.action_space(params))
    num_envs = spec["settings"]["num_envs"]

    def step(carry: tuple[Any, jax.Array], key: jax.Array) -> tuple[tuple[Any, jax.Array], None]:
        batch, total = carry
        act_key, step_key = jax.random.split(key)
        if isinstance(space, Discrete):
            action = jax.random.randint(act_key, (num_envs,), 0, space.n)
        else:
            action = jax.random.uniform(act_key, (num_envs, *space.shape), minval=-1.0)
        batch, stepped = step_batch(env, params, step_key, batch, action)
        return (batch, total + stepped.reward.sum() + jax.tree.leaves(stepped.next_obs)[0].sum()), None

    def program(key: jax.Array) -> Any:
        reset_key, key = jax.random.split(key)
        keys = jax.random.split(key, spec["updates"] * spec["settings"]["num_steps"])
        return jax.lax.scan(step, (reset_batch(env, params, reset_key, num_envs), jnp.zeros(())), keys)[0]

    return program


def network(spec: dict[str, Any]) -> Callable[[jax.Array], Any]:
    """Acting, value and gradient passes of `updates` updates on fixed random observations; squares as loss."""
    settings = spec["settings"]
    env, params = make(spec["env"])
    obs_space = from_gymnax(env.observation_space(params))
    action_space: Any = from_gymnax(env.action_space(params))
    outputs = action_space.n if isinstance(action_space, Discrete) else action_space.shape[0]
    fields = ("hidden", "activation", "layer_norm", "conv_features")
    architecture: dict[str, Any] = {name: settings[name] for name in fields if name in settings}
    actor = Network(outputs, **architecture)
    # PPO has a critic besides, and reads a value at each step
    critic = Network(1, **architecture) if spec["algorithm"] == "ppo" else None
    nets = [actor] if critic is None else [actor, critic]
    samples = settings["num_envs"] * settings["num_steps"]
    minibatch = samples // settings["num_minibatches"]
    chunk = 1024 if jax.default_backend() == "cpu" and minibatch % 1024 == 0 else minibatch
    optimiser = optax.flatten(optax.chain(optax.clip_by_global_norm(0.5), optax.adam(settings["learning_rate"])))

    def apply(net: Network, parameters: Any, obs: Any) -> jax.Array:
        return net.apply(parameters, prepare(obs_space, obs), (), None)[0]

    def loss(parameters: Any, obs: Any) -> jax.Array:
        losses = [jnp.square(apply(net, p, obs)).mean() for net, p in zip(nets, parameters, strict=True)]
        return jnp.stack(losses).sum()

    def gradient_step(carry: Any, obs: Any) -> tuple[Any, None]:
        parameters, optimiser_state = carry
        add = lambda total, part: (jax.tree.map(jnp.add, total, jax.grad(loss)(parameters, part)), None)  # noqa: E731
        grads, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, parameters), obs)
        updates, optimiser_state = optimiser.update(grads, optimiser_state, parameters)
        return (optax.apply_updates(parameters, updates), optimiser_state), None

    def update(carry: Any, obs: Any) -> tuple[Any, jax.Array]:
        """`obs` is `[T, B, ...]`."""
        parameters = carry[0]
        act = lambda total, x: (total + apply(actor, parameters[0], x[None]).sum(), None)  # noqa: E731
        used, _ = jax.lax.scan(act, jnp.zeros(()), obs)
        if critic is not None:
            used += apply(critic, parameters[1], obs).sum()
        parts = obs.reshape(-1, minibatch // chunk, 1, chunk, *obs.shape[2:])
        epoch = lambda carry, _: (jax.lax.scan(gradient_step, carry, parts)[0], None)  # noqa: E731
        return jax.lax.scan(epoch, carry, length=settings["num_epochs"])[0], used

    def program(key: jax.Array) -> Any:
        obs_key, *net_keys = jax.random.split(key, 1 + len(nets))
        obs_keys = jax.random.split(obs_key, (settings["num_steps"], settings["num_envs"]))
        obs = jnp.asarray(jax.vmap(jax.vmap(obs_space.sample))(obs_keys))
        inputs = prepare(obs_space, obs[:1])
        parameters = [net.init(k, inputs, (), None) for net, k in zip(nets, net_keys, strict=True)]
        carry = parameters, optimiser.init(parameters)
        return jax.lax.scan(lambda carry, _: update(carry, obs), carry, length=spec["updates"])

    return program


if __name__ == "__main__":
    worker(measure)
