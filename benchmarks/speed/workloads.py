"""What is timed: each workload with its settings (rlx's names) and the sides that run it."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple


class Side(NamedTuple):
    """A program that runs a workload: a module, the environment whose Python runs it, and what it is told besides."""

    module: str
    peer: str | None = None  # environment under `.peers/`; None: this one
    options: tuple[tuple[str, Any], ...] = ()


SIDES = {
    "rlx": Side("benchmarks.speed.own", options=(("driver", "train"),)),
    "rlx fit": Side("benchmarks.speed.own", options=(("driver", "fit"),)),
    "rlx, 1 device": Side("benchmarks.speed.own", options=(("driver", "train"),)),
    "rlx, 2 devices": Side("benchmarks.speed.own", options=(("driver", "train"), ("devices", 2))),
    "rejax": Side("benchmarks.speed.peers.time_rejax", "rejax"),
    "brax": Side("benchmarks.speed.peers.time_brax", "brax"),
    "rlx, seeds by vmap": Side("benchmarks.speed.offline", options=(("seeds_by", "vmap"),)),
    "rlx, one by one": Side("benchmarks.speed.offline", options=(("seeds_by", "turns"),)),
    "PyTorch, one by one": Side("benchmarks.speed.peers.time_torch", "torch"),
    "environment": Side("benchmarks.speed.limit", options=(("part", "environment"),)),
    "network": Side("benchmarks.speed.limit", options=(("part", "network"),)),
}


@dataclasses.dataclass(frozen=True)
class Workload:
    """One table of the report."""

    title: str
    algorithm: str
    env: str
    settings: dict[str, Any]
    updates: int  # for each seed
    sides: tuple[str, ...] = ("rlx", "rejax", "environment", "network")
    seeds: int = 1
    log_steps: int = 0  # of random actions, in the log to learn from; then an update is one gradient step
    score: str = "return"

    @property
    def steps(self) -> int:
        """Environment steps over all seeds, or gradient steps with a log."""
        if self.log_steps:
            return self.updates * self.seeds
        return self.updates * self.settings["num_envs"] * self.settings["num_steps"] * self.seeds


PPO = {
    "num_epochs": 4,
    "num_minibatches": 4,
    "discount": 0.99,
    "lambda_": 0.95,
    "clip": 0.2,
    "entropy_coefficient": 0.01,
    "max_grad_norm": 0.5,
    "hidden": (64, 64),
    "activation": "tanh",
}
NARROW = {**PPO, "num_envs": 4, "num_steps": 128, "learning_rate": 2.5e-4}
WIDE = {**PPO, "num_envs": 2048, "num_steps": 32, "learning_rate": 2.5e-3}
PENDULUM = {
    **PPO,
    "num_envs": 256,
    "num_steps": 20,
    "num_minibatches": 8,
    "learning_rate": 3e-4,
    "normalise_observation": True,
    "value_clip": None,
}
BREAKOUT = {
    "num_envs": 128,
    "num_steps": 32,
    "num_epochs": 2,
    "num_minibatches": 32,
    "learning_rate": 5e-4,
    "discount": 0.99,
    "lambda_": 0.65,
    "hidden": (128,),
    "conv_features": 16,
    "layer_norm": True,
    "activation": "relu",
}
IQL = {
    "learning_rate": 3e-4,
    "discount": 0.99,
    "tau": 0.005,
    "level": 0.7,
    "inverse_temperature": 3.0,
}
OFFLINE_SIDES = ("rlx, seeds by vmap", "rlx, one by one", "PyTorch, one by one")
CARTPOLE = "CartPole-v1"
WORKLOADS = {
    "narrow": Workload(
        "PPO, CartPole, 4 environments x 128 steps",
        "ppo",
        CARTPOLE,
        NARROW,
        977,
        ("rlx", "rlx fit", "rejax", "environment", "network"),
    ),
    "narrow-8": Workload("The same, 8 seeds by vmap", "ppo", CARTPOLE, NARROW, 196, seeds=8),
    "narrow-64": Workload("The same, 64 seeds by vmap", "ppo", CARTPOLE, NARROW, 40, seeds=64),
    "wide": Workload(
        "PPO, CartPole, 2048 environments x 32 steps",
        "ppo",
        CARTPOLE,
        WIDE,
        16,
        ("rlx", "rlx fit", "rejax", "environment", "network"),
    ),
    "wide-8": Workload("The same, 8 seeds by vmap", "ppo", CARTPOLE, WIDE, 4, seeds=8),
    "wide-64": Workload("The same, 64 seeds by vmap", "ppo", CARTPOLE, WIDE, 1, seeds=64),
    "devices": Workload(
        "PPO, wide, 2 seeds: by vmap on 1 device and core, or on 2 host devices and cores",
        "ppo",
        CARTPOLE,
        WIDE,
        16,
        ("rlx, 1 device", "rlx, 2 devices"),
        seeds=2,
    ),
    "breakout": Workload(
        "PQN, MinAtar Breakout, 128 environments x 32 steps",
        "pqn",
        "Breakout-MinAtar",
        BREAKOUT,
        16,
        ("rlx", "environment", "network"),
    ),
    "pendulum": Workload(
        "PPO, brax inverted_pendulum (spring), 256 environments x 20 steps",
        "ppo",
        "brax/inverted_pendulum:spring",
        PENDULUM,
        39,
        ("rlx", "brax", "environment", "network"),
    ),
    "offline": Workload(
        "IQL, 100,000 logged steps of CartPole, 32 seeds, 64-64 networks, batches of 64",
        "iql",
        CARTPOLE,
        {**IQL, "hidden": (64, 64), "batch_size": 64},
        300,
        OFFLINE_SIDES,
        seeds=32,
        log_steps=100_000,
        score="critics' loss",
    ),
    "offline-wide": Workload(
        "The same, 256-256 networks, batches of 256",
        "iql",
        CARTPOLE,
        {**IQL, "hidden": (256, 256), "batch_size": 256},
        40,
        OFFLINE_SIDES,
        seeds=32,
        log_steps=100_000,
        score="critics' loss",
    ),
}
