"""What is measured: tasks, budgets, and the settings of the two sides. The own settings for Pendulum were chosen on
seeds 0 to 9; those for CartPole are not tuned.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Workload(NamedTuple):
    env: str
    steps: int  # environment steps of the agent
    comparisons: int
    ppo: dict[str, Any]  # fields of `ppo.Config`
    source: dict[str, Any]  # arguments of `preference_reward`
    teacher: dict[str, Any]  # of `synthetic_teacher`
    peer: dict[str, Any]  # of benchmarks/preferences/time_imitation.py


PPO = {"num_steps": 64, "hidden": (32, 32), "normalise_observation": True, "normalise_reward": True}
SOURCE = {"members": 1, "doubt": None, "hidden": (32, 32), "activation": "relu", "segment": 20, "batch_size": 32}

WORKLOADS = {
    "pendulum": Workload(
        "Pendulum-v1",
        40_000,
        500,
        {
            **PPO,
            "normalise_observation": False,
            "num_envs": 16,
            "num_minibatches": 16,
            "num_epochs": 10,
            "learning_rate": 2e-3,
            "decay_steps": 40_960,
            "discount": 0.95,
            "entropy_coefficient": 0.0,
        },
        {**SOURCE, "sessions": 20, "gradient_steps": 60},
        {"beta": 1.0},  # as imitation's
        {"fragment": 100, "variable": False},
    ),
    "cartpole": Workload(
        "CartPole-v1",
        60_000,
        200,
        {**PPO, "num_envs": 8, "num_minibatches": 4, "learning_rate": 1e-3, "decay_steps": 61_440},
        {**SOURCE, "sessions": 10, "gradient_steps": 30},
        {"equal": 0.5},  # segments are as good as they are long: equally long ones are a tie
        {"fragment": 20, "variable": True},
    ),
}
