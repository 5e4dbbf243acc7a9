"""Time imitation's preference comparisons, as in its own tutorial but for the number of iterations.

Runs in `.peers/imitation`.
"""

from __future__ import annotations

from typing import Any

from benchmarks.speed.meter import Meter, worker

# pyright: reportMissingImports=false


def measure(spec: dict[str, Any], meter: Meter) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    returns, laps = [], []
    for seed in spec["seeds"]:
        meter.lap()
        agent, venv = learn(spec, seed)
        laps.append(meter.lap())
        returns.append(play(agent, venv, spec["episodes"]))
    total = {name: None if laps[0][name] is None else sum(lap[name] for lap in laps) for name in laps[0]}
    nothing = {name: 0.0 for name in total}
    steps = spec["steps"] * len(returns)
    return {
        "compile": nothing,
        "run": total,
        "steps": steps,
        "comparisons": [spec["comparisons"]] * len(returns),
        "returns": returns,
    }


def learn(spec: dict[str, Any], seed: int) -> tuple[Any, Any]:
    import numpy as np
    from imitation.algorithms import preference_comparisons as pc  # pyright: ignore[reportMissingImports]
    from imitation.policies.base import (  # pyright: ignore[reportMissingImports]
        FeedForward32Policy,
        NormalizeFeaturesExtractor,
    )
    from imitation.rewards.reward_nets import BasicRewardNet  # pyright: ignore[reportMissingImports]
    from imitation.util.networks import RunningNorm  # pyright: ignore[reportMissingImports]
    from imitation.util.util import make_vec_env  # pyright: ignore[reportMissingImports]
    from stable_baselines3 import PPO  # pyright: ignore[reportMissingImports]

    rng = np.random.default_rng(seed)
    venv = make_vec_env(spec["env"], rng=rng, n_envs=8)
    net = BasicRewardNet(venv.observation_space, venv.action_space, normalize_input_layer=RunningNorm)
    preferences = pc.PreferenceModel(net)
    agent = PPO(
        policy=FeedForward32Policy,
        policy_kwargs={
            "features_extractor_class": NormalizeFeaturesExtractor,
            "features_extractor_kwargs": {"normalize_class": RunningNorm},
        },
        env=venv,
        seed=seed,
        n_steps=2048 // venv.num_envs,
        clip_range=0.1,
        ent_coef=0.01,
        gae_lambda=0.95,
        n_epochs=10,
        gamma=0.97,
        learning_rate=2e-3,
        device="cpu",
    )
    trainer = pc.AgentTrainer(algorithm=agent, reward_fn=net, venv=venv, exploration_frac=0.05, rng=rng)
    comparisons = pc.PreferenceComparisons(
        trainer,
        net,
        num_iterations=20,
        fragmenter=pc.RandomFragmenter(warning_threshold=0, rng=rng),
        preference_gatherer=pc.SyntheticGatherer(rng=rng),
        reward_trainer=pc.BasicRewardTrainer(
            preference_model=preferences, loss=pc.CrossEntropyRewardLoss(), epochs=3, rng=rng
        ),
        fragment_length=spec["fragment"],
        transition_oversampling=1,
        initial_comparison_frac=0.1,
        allow_variable_horizon=spec["variable"],
        initial_epoch_multiplier=4,
        query_schedule="hyperbolic",
    )
    comparisons.train(total_timesteps=spec["steps"], total_comparisons=spec["comparisons"])
    return agent, venv


def play(agent: Any, venv: Any, episodes: int) -> float:
    """The mean true return."""
    from stable_baselines3.common.evaluation import evaluate_policy  # pyright: ignore[reportMissingImports]

    mean, _ = evaluate_policy(agent.policy, venv, episodes, deterministic=True)
    return float(mean)


if __name__ == "__main__":
    worker(measure)
