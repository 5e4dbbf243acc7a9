"""Time rlx: training in pieces of equal length, after each of which the policies are written down for the judge."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.speed.meter import Lap, Meter, worker


class Learner(NamedTuple):
    """An algorithm on a task, and how its policies are read."""

    algorithm: Any
    begun: Callable[[Any], int]  # state -> environment steps that `init` has taken
    # state -> (what is read of each policy [P, ...]: its actions or returns, which of them exist [P])
    read: Callable[[Any], tuple[Any, Any]]
    kind: str  # of what is read: "tables" or "points"


def measure(spec: dict[str, Any], meter: Meter) -> dict[str, Any]:
    """One run for each seed of `spec["seeds"]`, with the same compiled programs.

    A checkpoint is what has been used since the start of the run, without writing policies down. It comes after the
    first update that completes another `spec["every"]` environment steps.
    """
    import jax
    import jax.numpy as jnp

    learner = make_learner(spec)
    algorithm = learner.algorithm

    def piece(state: Any, steps: Any) -> Any:
        def one(carry: tuple[Any, Any]) -> tuple[Any, Any]:
            state, metrics = algorithm.update(carry[0])
            taken = metrics.get("environment_steps", algorithm.steps_per_update)
            return state, carry[1] + jnp.asarray(taken, jnp.int32)

        end = (steps // spec["every"] + 1) * spec["every"]
        return jax.lax.while_loop(lambda carry: carry[1] < end, one, (state, steps))

    meter.lap()
    init = jax.jit(algorithm.init).lower(jax.random.key(0)).compile()
    count = jax.ShapeDtypeStruct((), jnp.int32)
    train = jax.jit(piece).lower(jax.eval_shape(algorithm.init, jax.random.key(0)), count).compile()
    compile_lap = meter.lap()
    read = jax.jit(learner.read)
    runs = []
    for seed in spec["seeds"]:
        meter.lap()
        state = jax.block_until_ready(init(jax.random.key(seed)))
        used, steps, checkpoints = meter.lap(), learner.begun(state), []
        while True:
            found, exist = jax.device_get(read(state))
            checkpoints.append({"steps": steps, "used": used, learner.kind: found[exist].tolist()})
            if steps >= spec["steps"]:
                break
            meter.lap()
            state, taken = jax.block_until_ready(train(state, jnp.int32(steps)))
            used, steps = add(used, meter.lap()), int(taken)
        runs.append(checkpoints)
    return {"compile": compile_lap, "runs": runs}


def add(one: Lap, other: Lap) -> Lap:
    """What two laps used together."""
    return {key: None if value is None else value + other[key] for key, value in one.items()}


def make_learner(spec: dict[str, Any]) -> Learner:
    """The algorithm that `spec` names, with its settings."""
    import jax
    import jax.numpy as jnp

    from benchmarks.fronts.task import DISCOUNT, Task
    from rlx.algos import gpi_ls, morld, pareto_q_learning, pcn
    from rlx.envs.wrappers import Preference
    from rlx.runtime import evaluate
    from rlx.runtime.members import MEMBERS, policy_state
    from rlx.space import PREFERENCE

    task = Task(spec["task"], spec.get("observation"))
    settings, name = dict(spec["settings"]), spec["algorithm"]
    inputs, weights = jnp.asarray(task.inputs), jnp.asarray(task.weights, jnp.float32)

    def greedy_actions(policy: Any, obs: Any, count: int) -> Any:
        return policy.act(jax.random.key(0), obs, policy.init(count), jnp.zeros(count, bool), greedy=True)[0]

    def conditioned(algorithm: Any) -> Callable[[Any], tuple[Any, Any]]:
        """Reads a policy that takes a preference, for all of `weights`."""
        rows, count = len(weights), len(inputs)
        asked = {
            "observation": jnp.tile(inputs, (rows, *[1] * (inputs.ndim - 1))),
            PREFERENCE: jnp.repeat(weights, count, axis=0),
        }

        def read(state: Any) -> tuple[Any, Any]:
            actions = greedy_actions(algorithm.policy(state), asked, rows * count)
            return actions.reshape(rows, count, *actions.shape[1:]), jnp.ones(rows, bool)

        return read

    if name in ("dqn", "sac"):
        module = importlib.import_module(f"rlx.algos.{name}")
        env = Preference(task.env)
        algorithm = module.make(module.Config(**settings), env, env.default_params)
        return Learner(algorithm, lambda state: settings["learning_starts"], conditioned(algorithm), "tables")

    if name == "gpi_ls":
        learner = settings.pop("learner")  # the field of the configuration, and the module
        own = {key: settings.pop(key) for key in ("num_updates", "support") if key in settings}
        inner = importlib.import_module(f"rlx.algos.{learner}").Config(**settings)
        config = gpi_ls.Config(**own, discount=DISCOUNT, **{learner: inner})
        algorithm = gpi_ls.make(config, task.env, task.params)
        return Learner(algorithm, lambda state: settings["learning_starts"], conditioned(algorithm), "tables")

    if name == "morld":
        module = importlib.import_module(f"rlx.algos.{settings.pop('member')}")
        own = {key: settings.pop(key) for key in ("population", "num_updates", "episodes", "adapt", "transfer")}
        config = morld.Config(**own, discount=DISCOUNT, greedy=True)
        share = {"replay_axis": MEMBERS} if settings.pop("shared_buffer") else {}
        members: list[Any] = []

        def member(weighting: Any) -> Any:
            members.append(module.make(module.Config(**settings), task.env, task.params, weighting=weighting, **share))
            return members[-1]

        algorithm = morld.make(config, task.env, task.params, member=member)

        def read(state: Any) -> tuple[Any, Any]:
            def actions(row: Any) -> Any:
                one = policy_state(members[-1], state.members, state.archive, row)
                return greedy_actions(members[-1].policy(one), inputs, len(inputs))

            return jax.vmap(actions)(jnp.arange(config.capacity)), state.archive.front.valid

        sweep = algorithm.steps_per_update if config.transfer else 0
        begun = config.population * settings["learning_starts"] + sweep
        return Learner(algorithm, lambda state: begun, read, "tables")

    if name == "pareto_q_learning":
        algorithm = pareto_q_learning.make(pareto_q_learning.Config(**settings), task.env, task.params)

        def follow(state: Any) -> tuple[Any, Any]:
            known = pareto_q_learning.discounted_front(state)

            def played(point: Any) -> Any:
                policy = algorithm.policy(state._replace(target=point))
                return evaluate(policy, task.env, jax.random.key(0), 1, discount=settings["discount"]).returns[0]

            return jax.lax.map(played, known.points), known.valid

        return Learner(algorithm, lambda state: 0, follow, "points")

    if name == "pcn":
        algorithm: Any = pcn.make(pcn.Config(**settings), task.env, task.params)
        return Learner(algorithm, lambda state: int(state.buffer.length.sum()), algorithm.front, "points")

    raise ValueError(f"no algorithm {name!r}")


if __name__ == "__main__":
    worker(measure)
