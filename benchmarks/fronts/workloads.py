"""What is compared: for each workload the task, and the sides with their settings.

Both sides have the same inputs (features scaled to [0, 1], or the state's number for tables), networks, batches,
replay, exploration, discount and number of gradient steps for each environment step, unless the report's head or a
side's name says otherwise.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple


class Side(NamedTuple):
    """A program that runs a workload."""

    module: str
    peer: str | None  # environment under `.peers/`; None: this one
    spec: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Workload:
    """One table of the report."""

    title: str
    task: str
    sides: dict[str, Side]
    observation: str | None = None
    steps: int = 10_000  # environment steps at which fronts are compared; the peer ends there
    peer_seeds: int = 2  # in a round
    longer: int = 2  # rlx goes on to so many times as many, to find when it has the front
    every: int = 1_000  # environment steps from one checkpoint to the next
    reference: tuple[float, ...] | None = None  # of the hypervolume; None: the environment's
    discount: float = 0.99  # of the judged returns
    enough: float = 0.95  # share of the whole hypervolume, the time to which is told


PEERS = {  # the environment of MO-Gymnasium, and what its observations are divided by
    "deep-sea-treasure-convex": ("deep-sea-treasure-v0", {}, (10.0, 10.0)),
    "deep-sea-treasure-concave": ("deep-sea-treasure-concave-v0", {}, None),
    "resource-gathering": ("resource-gathering-v0", {}, (4.0, 4.0, 1.0, 1.0)),
    "water-reservoir": ("water-reservoir-v0", {"normalized_action": True}, (100.0,)),
}


def own(algorithm: str, **settings: Any) -> Side:
    return Side("benchmarks.fronts.own", None, {"algorithm": algorithm, "settings": settings})


def morl(algorithm: str, **agent: Any) -> Side:
    return Side("benchmarks.fronts.time_morl", "morl", {"algorithm": algorithm, "agent": agent})


PEER = "morl-baselines"
DQN = {
    "num_envs": 4,
    "gradient_steps": 4,  # one for each environment step
    "batch_size": 64,
    "buffer_size": 20_000,
    "learning_starts": 1_000,
    "learning_rate": 1e-3,
    "max_grad_norm": 100.0,
    "discount": 0.99,
    "target_period": 100,
    "epsilon_steps": 5_000,
    "hidden": (64, 64),
}
MORL_DQN = {
    "net_arch": [64, 64],
    "batch_size": 64,
    "buffer_size": 20_000,
    "learning_starts": 1_000,
    "learning_rate": 1e-3,
    "max_grad_norm": 100.0,
    "gamma": 0.99,
    "target_net_update_freq": 100,
    "initial_epsilon": 1.0,
    "final_epsilon": 0.05,
    "epsilon_decay_steps": 5_000,
}
SAC = {
    "num_envs": 4,
    "gradient_steps": 4,
    "batch_size": 64,
    "buffer_size": 20_000,
    "learning_starts": 1_000,
    "actor_learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
    "temperature_learning_rate": 1e-3,
    "discount": 0.99,
    "hidden": (64, 64),
}
MORL_SAC = {
    "net_arch": [64, 64],
    "batch_size": 64,
    "buffer_size": 20_000,
    "learning_starts": 1_000,
    "learning_rate": 1e-3,
    "gamma": 0.99,
}

ENVELOPE = {
    "rlx": own("dqn", **DQN, relabel=4, envelope=True),
    "rlx, no envelope": own("dqn", **DQN, relabel=1),
    PEER: morl("envelope", **MORL_DQN, per=False, num_sample_w=4),
}
GPI_LS = {
    "rlx": own("gpi_ls", **DQN, layer_norm=True, prioritised=True, n_step=3, relabel=1, learner="dqn", num_updates=250),
    PEER: morl("gpi_ls", **MORL_DQN, gradient_updates=1),
}
FEATURES: dict[str, Any] = {"observation": "features"}
RESERVOIR: dict[str, Any] = {"task": "water-reservoir", "reference": (-1_000.0, -1_000.0)}

WORKLOADS = {
    "treasure-envelope": Workload(
        "Envelope Q-learning, deep sea treasure (convex)",
        "deep-sea-treasure-convex",
        ENVELOPE,
        peer_seeds=3,
        **FEATURES,
    ),
    "treasure-gpi": Workload(
        "GPI-LS, deep sea treasure (convex)", "deep-sea-treasure-convex", GPI_LS, peer_seeds=5, **FEATURES
    ),
    "treasure-tabular": Workload(
        "Pareto Q-learning, tables, deep sea treasure (concave)",
        "deep-sea-treasure-concave",
        {
            "rlx": own("pareto_q_learning", num_envs=8, num_steps=25, discount=0.99, epsilon_steps=10_000),
            PEER: morl("pareto_q_learning", gamma=0.99, epsilon_decay_steps=10_000, final_epsilon=0.1),
        },
        "index",
        every=400,
        peer_seeds=3,
        steps=20_000,
        longer=1,
        enough=1.0 - 1e-4,  # all of it, but for rounding
    ),
    "treasure-pcn": Workload(
        "PCN, deep sea treasure (convex), not discounted",
        "deep-sea-treasure-convex",
        {
            "rlx": own(
                "pcn",
                num_episodes=5,
                first_episodes=20,
                gradient_steps=50,
                buffer_size=100,
                batch_size=256,
                learning_rate=1e-3,
                hidden=64,
                scale=(10.0, 10.0, 100.0),
            ),
            PEER: morl(
                "pcn",
                train={"num_er_episodes": 20, "num_step_episodes": 10, "num_model_updates": 50, "max_buffer_size": 100},
                batch_size=256,
                learning_rate=1e-3,
                scaling_factor=(0.1, 0.1, 0.01),
                hidden_dim=64,
            ),
        },
        **FEATURES,
        every=500,
        peer_seeds=5,
        longer=1,
        discount=1.0,
    ),
    "gathering-envelope": Workload(
        "Envelope Q-learning, resource gathering", "resource-gathering", ENVELOPE, longer=1, **FEATURES
    ),
    "gathering-gpi": Workload(
        "GPI-LS, resource gathering", "resource-gathering", GPI_LS, longer=1, peer_seeds=5, **FEATURES
    ),
    "reservoir-capql": Workload(
        "CAPQL, water reservoir",
        sides={
            "rlx": own("sac", **SAC | {"temperature_learning_rate": 0.0, "initial_temperature": 0.2}),
            "rlx, relabelled": own(
                "sac", **SAC | {"temperature_learning_rate": 0.0, "initial_temperature": 0.2, "relabel": 1}
            ),
            PEER: morl("capql", **MORL_SAC, alpha=0.2),
        },
        **RESERVOIR,
    ),
    "reservoir-gpi": Workload(
        "GPI-LS, water reservoir (rlx: SAC, peer: TD3)",
        sides={
            "rlx": own("gpi_ls", **SAC, relabel=1, learner="sac", num_updates=250),
            PEER: morl("gpi_ls", **MORL_SAC, gradient_updates=1),
        },
        **RESERVOIR,
    ),
    "reservoir-morld": Workload(
        "MORL/D, water reservoir, 6 SAC learners",
        sides={
            "rlx": own(
                "morld",
                **SAC | {"learning_starts": 160},
                member="sac",
                population=6,
                num_updates=40,
                episodes=5,
                adapt="none",
                transfer=False,
                shared_buffer=True,
            ),
            PEER: morl(
                "morld",
                pop_size=6,
                exchange_every=960,
                gamma=0.99,
                shared_buffer=True,
                sharing_mechanism=[],
                policy_args={
                    "net_arch": [64, 64],
                    "batch_size": 64,
                    "buffer_size": 20_000,
                    "learning_starts": 960,
                    "policy_lr": 1e-3,
                    "q_lr": 1e-3,
                },
            ),
        },
        steps=5_760,
        every=960,
        peer_seeds=3,
        **RESERVOIR,
    ),
}

POPULATION = {  # PPO on deep sea treasure (convex): a learner for each weight vector
    "task": "deep-sea-treasure-convex",
    "updates": 20,
    "settings": {
        "num_envs": 8,
        "num_steps": 64,
        "num_epochs": 4,
        "num_minibatches": 4,
        "learning_rate": 3e-3,
        "discount": 0.99,
        "value_clip": None,
        "hidden": (64, 64),
    },
}
