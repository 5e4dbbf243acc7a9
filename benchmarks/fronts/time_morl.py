"""Time morl-baselines: run by its own environment with a specification (JSON) as argument.

Its training is called once. The environment counts the steps, and at each checkpoint stops the clock and writes down
what the agent would do, for the judge.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

from benchmarks.speed.meter import Meter, worker

# pyright: reportMissingImports=false, reportPrivateImportUsage=false


class Finished(Exception):
    """The last checkpoint has been taken."""


def measure(spec: dict[str, Any], meter: Meter) -> dict[str, Any]:
    """One run for each seed of `spec["seeds"]`; the lap of the imports counts as compilation."""
    import random

    import numpy as np
    import torch

    torch.set_num_threads(1)
    agent_of = AGENTS[spec["algorithm"]]
    runs = []
    with contextlib.redirect_stdout(io.StringIO()):  # they print
        make_env(spec)
        imports = meter.lap()
        for seed in spec["seeds"]:
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002 - what they draw from
            torch.manual_seed(seed)
            env, checkpoints = make_env(spec), []
            env.action_space.seed(seed)
            env.reset(seed=seed)
            train, read = agent_of(env, make_env(spec), spec, seed)
            watch(env, spec, meter, checkpoints, read)
            with contextlib.suppress(Finished):
                train()
            runs.append(checkpoints)
    return {"compile": imports, "runs": runs}


def make_env(spec: dict[str, Any]) -> Any:
    """The environment, with observations and rewards divided by constants, and a `watcher` called at each step."""
    import gymnasium
    import mo_gymnasium
    import numpy as np

    class Watched(gymnasium.Wrapper):
        watcher: Callable[[], None] | None = None

        def __init__(self, env: Any):
            super().__init__(env)
            if spec["observation_scale"]:
                high = env.observation_space.high / np.float32(spec["observation_scale"])
                self.observation_space = gymnasium.spaces.Box(np.zeros_like(high), high, dtype=np.float32)

        def scaled(self, obs: Any) -> Any:
            scale = spec["observation_scale"]
            return np.asarray(obs, np.float32) / np.float32(scale) if scale else obs

        def reset(self, **kwargs: Any) -> Any:
            obs, info = self.env.reset(**kwargs)
            return self.scaled(obs), info

        def step(self, action: Any) -> Any:
            obs, reward, terminated, truncated, info = self.env.step(action)
            if self.watcher is not None:
                self.watcher()
            return self.scaled(obs), reward / spec["reward_scale"], terminated, truncated, info

    return Watched(mo_gymnasium.make(spec["env"], **spec["env_options"]))


def watch(env: Any, spec: dict[str, Any], meter: Meter, checkpoints: list[Any], read: Callable[[], Any]) -> None:
    """Take a checkpoint every so many steps from now on, and end the training after the last."""
    steps = 0
    used = {"cpu_s": 0.0, "wall_s": 0.0, "cycles": None}

    def watcher() -> None:
        nonlocal steps
        steps += 1
        if steps % spec["every"]:
            return
        lap = meter.lap()
        used.update(cpu_s=used["cpu_s"] + lap["cpu_s"], wall_s=used["wall_s"] + lap["wall_s"])
        checkpoints.append({"steps": steps, "used": dict(used), **read()})
        if steps >= spec["steps"]:
            raise Finished
        meter.lap()

    meter.lap()
    env.watcher = watcher


Agent = tuple[Callable[[], Any], Callable[[], dict[str, Any]]]  # train, and read its policies


def envelope(env: Any, eval_env: Any, spec: dict[str, Any], seed: int) -> Agent:
    from morl_baselines.multi_policy.envelope.envelope import Envelope

    del eval_env
    agent = Envelope(env, log=False, device="cpu", seed=seed, **spec["agent"])
    return lambda: agent.train(spec["steps"] + 1), lambda: conditioned(agent.eval, spec)


def gpi_ls(env: Any, eval_env: Any, spec: dict[str, Any], seed: int) -> Agent:
    import numpy as np
    from morl_baselines.multi_policy.gpi_pd.gpi_pd import GPILS
    from morl_baselines.multi_policy.gpi_pd.gpi_pd_continuous_action import GPILSContinuousAction

    make = GPILSContinuousAction if spec["continuous"] else GPILS
    agent = make(env, log=False, device="cpu", seed=seed, **spec["agent"])

    def train() -> None:
        # one iteration more: its evaluations before the first step of an iteration belong to the one before
        every = spec["every"]
        agent.train(spec["steps"] + every, eval_env, np.asarray(spec["reference"]), timesteps_per_iter=every,
                    num_eval_episodes_for_front=1, checkpoints=False)  # fmt: skip

    return train, lambda: conditioned(agent.eval, spec)


def capql(env: Any, eval_env: Any, spec: dict[str, Any], seed: int) -> Agent:
    import numpy as np
    from morl_baselines.multi_policy.capql.capql import CAPQL

    agent = CAPQL(env, log=False, device="cpu", seed=seed, **spec["agent"])
    return lambda: agent.train(spec["steps"] + 1, eval_env, np.asarray(spec["reference"])), lambda: conditioned(
        agent.eval, spec
    )


def morld(env: Any, eval_env: Any, spec: dict[str, Any], seed: int) -> Agent:
    import numpy as np
    import torch
    from morl_baselines.multi_policy.morld.morld import MORLD

    agent = MORLD(env, log=False, device="cpu", seed=seed, **spec["agent"])
    inputs = torch.tensor(spec["inputs"]).float()

    def read() -> dict[str, Any]:
        with torch.no_grad():
            found = [policy.wrapped.actor.get_action(inputs)[2].tolist() for policy in agent.archive.individuals]
        return {"tables": found}

    def train() -> None:
        agent.train(spec["steps"] + spec["every"], eval_env, np.asarray(spec["reference"]),
                    num_eval_episodes_for_front=5, checkpoints=False)  # fmt: skip

    return train, read


def pareto_q_learning(env: Any, eval_env: Any, spec: dict[str, Any], seed: int) -> Agent:
    import numpy as np
    from morl_baselines.multi_policy.pareto_q_learning.pql import PQL

    agent = PQL(env, np.asarray(spec["reference"]), log=False, seed=seed, **spec["agent"])

    def read() -> dict[str, Any]:
        return {"points": [agent.track_policy(point, eval_env).tolist() for point in agent.get_local_pcs(state=0)]}

    return lambda: agent.train(spec["steps"] + 1, eval_env), read


def pcn(env: Any, eval_env: Any, spec: dict[str, Any], seed: int) -> Agent:
    import numpy as np
    from morl_baselines.common.pareto import get_non_dominated_inds
    from morl_baselines.multi_policy.pcn.pcn import PCN

    options = dict(spec["agent"])
    training = options.pop("train")
    scaling = np.asarray(options.pop("scaling_factor"), np.float32)
    agent = PCN(env, scaling, log=False, device="cpu", seed=seed, **options)
    bound = np.full(len(spec["reference"]), 100.0, np.float32)  # its default
    # It would play all its commands after every update, for logs; and write its network to the working directory.
    agent.evaluate = lambda *arguments, **options: ([], [], [])
    agent.save = lambda *arguments, **options: None

    def played(episode: Any) -> Any:
        steps = agent._run_episode(eval_env, episode[0].reward, np.float32(len(episode)), bound, eval_mode=True)
        return np.sum([step.reward for step in steps], axis=0).tolist()

    def read() -> dict[str, Any]:
        episodes = [entry[2] for entry in agent.experience_replay]
        best = get_non_dominated_inds(np.array([episode[0].reward for episode in episodes]))
        return {"points": [played(episode) for episode, keep in zip(episodes, best, strict=True) if keep]}

    return lambda: agent.train(spec["steps"] + 1, eval_env, np.asarray(spec["reference"]), **training), read


def conditioned(act: Callable[..., Any], spec: dict[str, Any]) -> dict[str, Any]:
    """The actions of a policy that takes a weight vector."""
    import numpy as np

    inputs, weights = np.asarray(spec["inputs"], np.float32), np.asarray(spec["weights"], np.float32)
    return {"tables": [[np.asarray(act(obs, weight)).tolist() for obs in inputs] for weight in weights]}


AGENTS = {
    "envelope": envelope,
    "gpi_ls": gpi_ls,
    "capql": capql,
    "morld": morld,
    "pareto_q_learning": pareto_q_learning,
    "pcn": pcn,
}


if __name__ == "__main__":
    worker(measure)
