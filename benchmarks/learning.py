"""Does it learn? Each target is an algorithm, an environment, a budget and a number to reach.

  python -m benchmarks.learning list
  python -m benchmarks.learning run ppo-cartpole
  python -m benchmarks.learning run --all          writes LEARNING.md, and figures and numbers in results/learning/

A run's score is the mean return of 128 fresh episodes after training. The verdict compares the interquartile mean of
the scores over seeds with a number, with the scores of another library's own implementation (`benchmarks/parity/`),
or with a variant of the settings. These seeds are from 100; settings were chosen on 0 to 9.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rlx.algos import settings
from rlx.envs import make as make_env
from rlx.runtime import evaluate, sweep
from rlx.runtime.statistics import Estimate, bootstrap, difference, interquartile_mean

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "learning"
FIRST_SEED = 100
EPISODES = 128
SCORE_KEY = 0x5C0E_0000  # folded into a seed's key: beyond any number that training splits it into


@dataclasses.dataclass(frozen=True)
class Target:
    """One row of the table: exactly one of `at_least`, `peer` and `variant` says what to reach."""

    algorithm: str
    env: str
    steps: int  # environment steps of each seed
    seeds: int = 10
    at_least: float | None = None  # the interquartile mean must not be below it
    peer: str | None = None  # file in benchmarks/parity: the interquartile mean must not be below the peer's
    variant: dict[str, Any] | None = None  # settings of a baseline: the difference's interval must lie above zero


TARGETS = {
    "ppo-cartpole": Target("ppo", "CartPole-v1", 500_000, at_least=495),
    "ppo-acrobot": Target("ppo", "Acrobot-v1", 1_000_000, at_least=-90),
    "pqn-cartpole": Target("pqn", "CartPole-v1", 500_000, at_least=450),
    "dqn-cartpole": Target("dqn", "CartPole-v1", 500_000, at_least=450),
    "sac-pendulum": Target("sac", "Pendulum-v1", 60_000, at_least=-200),
    "ppo-breakout": Target("ppo", "Breakout-MinAtar", 2_000_000, 5, peer="rejax_breakout.json"),
    "ppo-spaceinvaders": Target("ppo", "SpaceInvaders-MinAtar", 2_000_000, 5, peer="rejax_spaceinvaders.json"),
    "ppo-inverted-pendulum": Target("ppo", "brax/inverted_pendulum:spring", 2_000_000, 5, at_least=900),
    "ppo-reacher": Target("ppo", "brax/reacher:spring", 1_000_000, 3, peer="brax_reacher.json"),
    "ppo-ant": Target("ppo", "brax/ant:spring", 1_000_000, 3, peer="brax_ant.json"),
    "ppo-memory-chain": Target("ppo", "MemoryChain-bsuite", 500_000, variant={"memory": 0}),
}


@dataclasses.dataclass(frozen=True)
class Learnt:
    """Seeds trained with one configuration: their curves and scores."""

    label: str
    steps: list[int]
    curve: list[list[float | None]]  # [seed][log point]: mean return of the training episodes that ended
    scores: list[float]  # [seed]


def learn(target: Target, label: str, overrides: dict[str, Any]) -> Learnt:
    """Train all seeds in one program and score each.

    Against a peer whose evaluation samples actions ours does too; otherwise it takes the best ones.
    """
    module = importlib.import_module(f"rlx.algos.{target.algorithm}")
    config = module.Config(**(settings.load(target.algorithm, target.env) | overrides))
    env, params = make_env(target.env)
    make = functools.partial(module.make, env=env, env_params=params)
    seeds = range(FIRST_SEED, FIRST_SEED + target.seeds)
    run = sweep(make, config, total_steps=target.steps, seeds=seeds, log_every=target.steps // 50)

    def score(state: Any, seed: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(seed), SCORE_KEY)
        policy = make(config).policy(state)
        return evaluate(policy, env, key, EPISODES, env_params=params, greedy=target.peer is None).returns.mean()

    scores = jax.jit(jax.vmap(score))(run.state, np.asarray(seeds, np.uint32))
    curve = [run.table.where(seed=seed)["episode_return"] for seed in seeds]
    return Learnt(
        label,
        run.table.where(seed=FIRST_SEED)["step"].tolist(),
        [[None if np.isnan(x) else round(float(x), 4) for x in line] for line in curve],
        [round(float(x), 4) for x in scores],
    )


def peer_learnt(file: str) -> Learnt:
    """What a peer's own implementation reached; its curve is of evaluations."""
    stored = json.loads((HERE / "parity" / file).read_text())
    return Learnt(stored["library"], stored["steps"], stored["returns"], [line[-1] for line in stored["returns"]])


def verdict(target: Target, ours: Learnt, baseline: Learnt | None) -> tuple[bool, str]:
    """Whether the target is reached, and what was asked."""
    value = interquartile_mean(ours.scores)
    if baseline is None:
        return bool(value >= target.at_least), f"at least {target.at_least:g}"
    if target.peer:
        theirs = interquartile_mean(baseline.scores)
        return bool(value >= theirs), f"at least {theirs:.4g} ({baseline.label})"
    gain = bootstrap(difference(interquartile_mean), ours.scores, baseline.scores)
    return bool(gain.low > 0), f"above {interval(bootstrap(interquartile_mean, baseline.scores))} ({baseline.label})"


def run_target(name: str) -> dict[str, Any]:
    """Train, score and judge one target; writes its numbers and its figure."""
    target = TARGETS[name]
    start = time.process_time()
    ours, baseline = learn(target, "rlx", {}), None
    if target.peer:
        baseline = peer_learnt(target.peer)
    elif target.variant:
        baseline = learn(target, ", ".join(f"{k} = {v}" for k, v in target.variant.items()), target.variant)
    passed, asked = verdict(target, ours, baseline)
    result = {
        "target": dataclasses.asdict(target),
        "settings": settings.load(target.algorithm, target.env),
        "seeds": [FIRST_SEED + i for i in range(target.seeds)],
        "ours": dataclasses.asdict(ours),
        "baseline": None if baseline is None else dataclasses.asdict(baseline),
        "asked": asked,
        "reached": interval(bootstrap(interquartile_mean, ours.scores)),
        "passed": passed,
        "cpu_s": round(time.process_time() - start),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result) + "\n")
    draw(name, target, [ours] if baseline is None else [ours, baseline])
    return result


def interval(estimate: Estimate) -> str:
    """`value [low, high]`."""
    return f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"


def draw(name: str, target: Target, learnt: list[Learnt]) -> None:
    """Learning curves: interquartile mean over seeds with its bootstrap interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axis = figure.add_subplot()
    for one in learnt:
        values = np.asarray(one.curve, float)
        known = np.isfinite(values).all(0)  # log points at which every seed had finished an episode
        if not known.any():
            continue
        estimate = bootstrap(interquartile_mean, values[:, known])
        steps = np.asarray(one.steps)[known]
        (line,) = axis.plot(steps, estimate.value, label=one.label)
        axis.fill_between(steps, estimate.low, estimate.high, color=line.get_color(), alpha=0.2, linewidth=0)
    if target.at_least is not None:
        axis.axhline(target.at_least, color="0.5", linestyle=":", label="target")
    axis.set(title=f"{target.algorithm.upper()}, {target.env}", xlabel="environment steps", ylabel="return")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.savefig(RESULTS / f"{name}.png", dpi=120)


HEAD = """# Learning

Written by `python -m benchmarks.learning run --all`. **Reached** is the interquartile mean over seeds, with its 95%
bootstrap interval, of the mean return of 128 episodes after training: the greedy policy's, or with sampled actions
where a peer's figure is. Settings are the reference ones, `rlx.algos.settings`. Seeds are 100, 101, ...; settings
were chosen on others (0 to 9).

| target | algorithm, environment | steps | seeds | asked | reached | verdict | CPU-s |
|---|---|---|---|---|---|---|---|
"""


def markdown() -> str:
    """The table of all targets, from the stored results."""
    rows: list[str] = []
    peers: dict[tuple[str, str], list[str]] = {}
    for name, target in TARGETS.items():
        path = RESULTS / f"{name}.json"
        head = f"| {name} | {target.algorithm.upper()}, {target.env} | {target.steps:,} | {target.seeds} |"
        if not path.exists():
            rows.append(f"{head} | | not run | |")
            continue
        result = json.loads(path.read_text())
        label = "pass" if result["passed"] else "**fail**"
        rows.append(
            f"{head} {result['asked']} | {result['reached']} | [{label}](results/learning/{name}.png) "
            f"| {result['cpu_s']} |"
        )
    for path in sorted((HERE / "parity").glob("*.json")):
        stored = json.loads(path.read_text())
        peers.setdefault((stored["library"], " ".join(stored["notes"])), []).append(stored["environment"])
    notes = [f"- {library} on {', '.join(envs)}. {note}" for (library, note), envs in peers.items()]
    return HEAD + "\n".join(rows) + "\n\nThe peers, with their own settings:\n\n" + "\n".join(notes) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what there is to run")
    run = commands.add_parser("run", help="train and judge")
    run.add_argument("names", nargs="*", metavar="NAME")
    run.add_argument("--all", action="store_true")
    args = parser.parse_args(arguments)
    if args.command == "list":
        for name, target in TARGETS.items():
            print(f"{name:24}{target.algorithm.upper()}, {target.env}, {target.steps:,} steps, {target.seeds} seeds")
        return
    unknown = [name for name in args.names if name not in TARGETS]
    if unknown or not (args.names or args.all):
        parser.error(f"no target {', '.join(unknown)}; choose from {', '.join(TARGETS)} or --all")
    for name in TARGETS if args.all else args.names:
        result = run_target(name)
        label = "pass" if result["passed"] else "FAIL"
        print(f"{name}: {label}, {result['reached']}, asked {result['asked']}", flush=True)
        (HERE / "LEARNING.md").write_text(markdown())


if __name__ == "__main__":
    main()
