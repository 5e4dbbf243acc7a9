"""Reference settings: for an algorithm on an environment, what differs from its `Config`'s defaults.

The command line and the benchmarks start from these; they were chosen on seeds 0 to 9. They live beside the algorithms
so that an installed `rlx` has them. Libraries below this folder know of no environment by name.
"""

from __future__ import annotations

from typing import Any

_MINATAR = dict(
    num_envs=64,
    num_steps=64,
    num_epochs=2,
    num_minibatches=16,
    learning_rate=1e-3,
    decay_steps=2_000_000,
    value_clip=None,
    hidden=(64,),
    activation="relu",
)
_BRAX = dict(
    num_envs=64,
    num_steps=64,
    num_minibatches=16,
    learning_rate=3e-4,
    entropy_coefficient=0.0,
    normalise_observation=True,
    normalise_reward=True,
    hidden=(64, 64),
)

SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("ppo", "CartPole-v1"): dict(num_envs=4),
    ("ppo", "Acrobot-v1"): dict(num_envs=16, learning_rate=1e-3, num_minibatches=8, decay_steps=1_000_000),
    ("ppo", "Breakout-MinAtar"): _MINATAR,
    ("ppo", "SpaceInvaders-MinAtar"): _MINATAR,
    ("ppo", "MemoryChain-bsuite"): dict(num_envs=16, learning_rate=1e-3, memory=32, hidden=(32,)),
    ("ppo", "brax/inverted_pendulum:spring"): _BRAX,
    ("ppo", "brax/reacher:spring"): {
        **_BRAX,
        "num_envs": 32,
        "num_steps": 128,
        "num_epochs": 8,
        "learning_rate": 1e-3,
        "decay_steps": 1_000_000,
        "discount": 0.9875,
        "lambda_": 0.985,
        "value_clip": None,
        "activation": "silu",
    },
    ("ppo", "brax/ant:spring"): {
        **_BRAX,
        "num_steps": 32,
        "num_epochs": 8,
        "learning_rate": 6e-4,
        "decay_steps": 1_000_000,
        "discount": 0.97,
        "value_clip": None,
        "hidden": (128, 128),
        "activation": "silu",
    },
    ("ppo", "Pendulum-v1"): dict(
        num_envs=16, learning_rate=1e-3, discount=0.9, num_minibatches=16, num_epochs=10, entropy_coefficient=0.0
    ),
    ("pqn", "CartPole-v1"): dict(
        num_envs=32,
        num_steps=64,
        num_epochs=4,
        num_minibatches=16,
        learning_rate=1e-4,
        decay_steps=500_000,
        lambda_=0.95,
        epsilon_steps=100_000,
        reward_scale=0.1,
        hidden=(256, 256),
    ),
    ("dqn", "CartPole-v1"): dict(
        num_envs=10,
        batch_size=64,
        learning_rate=3e-4,
        target_period=1,
        tau=0.005,
        epsilon_steps=100_000,
        n_step=3,
        hidden=(64, 64),
    ),
    ("sac", "Pendulum-v1"): dict(
        num_envs=10,
        gradient_steps=4,
        batch_size=128,
        actor_learning_rate=1e-3,
        critic_learning_rate=1e-3,
        temperature_learning_rate=1e-3,
        hidden=(64, 64),
    ),
}


def load(algorithm: str, env: str) -> dict[str, Any]:
    """Fields of `algorithm`'s `Config` for `env`; empty where the defaults are the reference."""
    return dict(SETTINGS.get((algorithm, env), {}))
