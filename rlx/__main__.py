"""rlx: train, compare and evaluate reinforcement-learning agents.

usage: rlx COMMAND [options]

  rlx train ppo --env CartPole-v1 --total-steps 500000 --seeds 8 --out runs/first --learning-rate 1e-3
  rlx sweep ppo --env CartPole-v1 --over learning_rate=1e-4,1e-3 --seeds 8
  rlx eval runs/first --episodes 100
  rlx collect runs/first --steps 100000 --out log.npz
  rlx train iql --env CartPole-v1 --data log.npz --total-steps 5000 --hidden 64 64
  rlx report runs/first runs/second
  rlx list

commands:
  train    train an algorithm with several seeds at once; the same command continues a run that was stopped
  sweep    train every combination of settings and seeds in one program
  eval     play fresh episodes with a trained policy
  collect  play and keep the steps, for algorithms that learn from a log
  report   draw learning curves and tabulate the scores of one run or several
  list     name the algorithms and environments

`rlx COMMAND --help` has the options, `rlx train ppo --help` also the settings of PPO. `--traceback` shows where an
error is from.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import difflib
import functools
import importlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

ALGORITHMS = (
    "ppo",
    "pqn",
    "dqn",
    "sac",
    "td3",
    "morld",
    "cmorl",
    "pgmorl",
    "gpi_ls",
    "pcn",
    "mo_q_learning",
    "pareto_q_learning",
    "online_alignment",
    "directional_alignment",
)  # modules of rlx.algos with `Config` and `make`
LOGGED = ("iql", "td3_bc", "cql", "conditioned", "hiql")  # the same, but they learn from a log
# and these from data that only a program can give them
OFFLINE = ("recoil", "oppo", "offline_alignment")
DEFAULT_CACHE = os.environ.get("JAX_COMPILATION_CACHE_DIR") or "~/.cache/rlx-jax"
EVALUATIONS = 10  # in a run, where --eval-every does not say


class UsageError(Exception):
    """What was typed cannot be understood."""


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors instead of printing a page about them."""

    def __init__(self, command: str, usage: str, **kwargs: Any):
        super().__init__(f"rlx {command}", usage=f"rlx {command} {usage}", allow_abbrev=False, **kwargs)
        self.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)

    def options(self) -> list[str]:
        return [option for action in self._actions for option in action.option_strings]

    def parse_all(self, arguments: list[str]) -> argparse.Namespace:
        """Parse arguments of which none may be unknown."""
        options, left = self.parse_known_args(arguments)
        if left:
            raise UsageError(_unknown("option", left[0].partition("=")[0], self.options()))
        return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit code 0; 1 if it failed; 2 if what was typed is wrong, told in one line."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _run(arguments)
        return 0
    except KeyboardInterrupt as stop:
        print(f"rlx: {stop}" if str(stop) else "rlx: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `rlx list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (UsageError, ImportError, ValueError, TypeError, OSError, RuntimeError, FloatingPointError) as error:
        if "--traceback" in arguments:
            raise
        message = str(error)
        if isinstance(error, OSError) and error.strerror and error.filename:
            message = f"{error.filename}: {error.strerror}"
        print(f"rlx: {' '.join(message.split())}", file=sys.stderr)
        return 2 if isinstance(error, UsageError | ValueError | TypeError) else 1


def _run(arguments: list[str]) -> None:
    commands = {
        "train": _train,
        "sweep": _train,
        "eval": _evaluate,
        "collect": _collect,
        "report": _report,
        "list": _list,
    }
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return
    command, rest = arguments[0], arguments[1:]
    if command not in commands:
        raise UsageError(_unknown("command", command, commands))
    commands[command](command, rest)


def _unknown(what: str, name: str, known: Iterable[str], otherwise: str = "") -> str:
    """One line about a name that is not known: the nearest ones, or else `otherwise`, or else all of them."""
    near = difflib.get_close_matches(name, known := list(known), n=2)
    advice = f"did you mean {' or '.join(near)}?" if near else otherwise or f"known: {', '.join(known)}"
    return f"unknown {what} {name!r}; {advice}"


# --- train and sweep ---


def _train(command: str, arguments: list[str]) -> None:
    algorithm = arguments.pop(0) if arguments and not arguments[0].startswith("-") else None
    if algorithm in OFFLINE:
        raise UsageError(f"{algorithm} learns from data, which a program gives it: algos/{algorithm}.py says how")
    if algorithm is not None and algorithm not in (*ALGORITHMS, *LOGGED):
        raise UsageError(_unknown("algorithm", algorithm, (*ALGORITHMS, *LOGGED, *OFFLINE)))
    parser = _training_parser(command, algorithm)
    options, flags = parser.parse_known_args(arguments)
    if options.help:
        print(parser.format_help())
        if algorithm is not None:
            _parse_config(algorithm, options.env, ["--help"], parser)
        return
    if algorithm is None:
        raise UsageError(f"{command} needs an algorithm: rlx {command} {'|'.join(ALGORITHMS)} ...")
    if options.env is None:
        raise UsageError(f"{command} needs an environment: --env NAME; `rlx list` has the names")
    if algorithm in LOGGED and options.data is None:
        raise UsageError(f"{algorithm} learns from a log: --data LOG.npz, which `rlx collect` makes of a run")
    if algorithm in LOGGED and not Path(options.data).exists():
        raise UsageError(f"--data {options.data}: no such file")
    if command == "sweep" and not options.over:
        raise UsageError("sweep needs values of a setting: --over learning_rate=1e-4,1e-3")
    _set_up_jax(options)
    config = _parse_config(algorithm, options.env, flags, parser)
    over = dict(map(_swept_values, options.over))
    name = options.env.replace("/", "-").replace(":", "-")
    out = Path(options.out or f"runs/{algorithm}-{name}{'-sweep' if over else ''}")

    from rlx import runtime
    from rlx.runtime.run import stored_description

    program = Program(algorithm, options.env)
    make, env, env_params = program.load()
    data = None if algorithm not in LOGGED else runtime.load_log(options.data, env, env_params)
    eval_every = options.eval_every
    if stored_description(out) is None:
        program.save(out)
        eval_every = eval_every or max(1, options.total_steps // EVALUATIONS)
    elif Program.of_run(out) != program:
        raise UsageError(f"{out} holds a run of {Program.of_run(out)}; choose another --out")
    runtime.sweep(
        make,
        config,
        total_steps=options.total_steps,
        seeds=options.seeds,
        over=over,
        batch=options.batch,
        env=env,
        env_params=env_params,
        out=out,
        log_every=options.log_every,
        eval_every=eval_every,
        eval_episodes=options.eval_episodes,
        checkpoint_every=options.checkpoint_every,
        data=data,
        progress=not options.quiet,
    )

    import jax

    if jax.process_index() == 0:
        _show_report([out], None)
        print(f"\nThe run is in {out}. `rlx eval {out}` plays it; the same command with more --total-steps goes on.")


def _training_parser(command: str, algorithm: str | None) -> Parser:
    """Options of `train` and `sweep`; flags that it does not know are settings of the algorithm."""
    parser = Parser(command, f"{algorithm or 'ALGORITHM'} --env NAME [options] [settings]", add_help=False)
    if algorithm is None:
        known = ", ".join((*ALGORITHMS, *LOGGED))
        parser.epilog = f"ALGORITHM is one of {known}; `rlx {command} ppo --help` adds the settings of ppo"
    add = parser.add_argument
    add("-h", "--help", action="store_true", help="show this")
    add("--env", metavar="NAME", help="environment, see `rlx list`")
    if command == "sweep":
        add(
            "--over", metavar="FIELD=V,V", action="append", help="values of a setting; several --over: all combinations"
        )
    else:
        parser.set_defaults(over=[])
    add(
        "--total-steps",
        metavar="N",
        type=_count,
        default=500_000,
        help="environment steps of each seed (default 500000), or updates where there is a log",
    )
    if algorithm in LOGGED:
        add("--data", metavar="LOG.npz", help="the log to learn from, as of `rlx collect`")
    add("--seeds", metavar="N", type=_count, default=8, help="train the seeds 0 to N-1 (default 8)")
    add("--out", metavar="DIR", help="run directory (default runs/ALGORITHM-ENV); a run that is in it goes on")
    add(
        "--eval-every", metavar="N", type=_count, help=f"steps between evaluations (default 1/{EVALUATIONS} of the run)"
    )
    add("--eval-episodes", metavar="N", type=_count, default=32, help="episodes of each evaluation (default 32)")
    add("--log-every", metavar="N", type=_count, help="steps between rows of metrics (default 1/100 of the run)")
    add("--checkpoint-every", metavar="N", type=_count, help="steps between checkpoints (default 10 rows)")
    how = "train the members of a device side by side, or in turn: faster for images on a CPU (default vmap)"
    add("--batch", choices=("vmap", "map"), default="vmap", help=how)
    add("--distributed", action="store_true", help="this is one process of several: jax.distributed.initialize()")
    add("--quiet", action="store_true", help="no progress bar")
    _add_cache_options(parser)
    return parser


def _add_cache_options(parser: Parser) -> None:
    kept = f"where compiled programs are kept (default {DEFAULT_CACHE})"
    parser.add_argument("--cache", default=DEFAULT_CACHE, metavar="DIR", help=kept)
    parser.add_argument("--no-cache", dest="cache", action="store_const", const=None, help="keep no compiled programs")


def _count(text: str) -> int:
    """`500000`, `500_000` or `5e5`."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if number != int(number) or number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1; got {text!r}")
    return int(number)


def _swept_values(text: str) -> tuple[str, list[float]]:
    field, _, values = text.partition("=")
    try:
        return field.replace("-", "_"), [float(value) for value in values.split(",")]
    except ValueError:
        raise UsageError(f"--over must be FIELD=NUMBER,NUMBER,...; got {text!r}") from None


def _parse_config(algorithm: str, env: str | None, flags: list[str], parser: Parser) -> Any:
    """The algorithm's Config: its defaults, under the reference settings for the environment, under the flags."""
    import tyro

    from rlx.algos import settings

    kind = importlib.import_module(f"rlx.algos.{algorithm}").Config
    default = kind(**(settings.load(algorithm, env) if env else {}))
    printed = io.StringIO()
    with contextlib.nullcontext() if flags == ["--help"] else contextlib.redirect_stderr(printed):
        try:
            config, left = tyro.cli(
                kind, prog=f"{parser.prog} {algorithm}", args=flags, default=default, return_unknown_args=True
            )
        except SystemExit as stop:
            if not stop.code:
                return None
            raise UsageError(_first_paragraph(printed.getvalue()).removeprefix("Error parsing Config: ")) from None
    if left:
        known = [re.sub("_(?=.)", "-", f"--{field.name}") for field in dataclasses.fields(kind)]
        known += parser.options()
        raise UsageError(
            _unknown("option", left[0].partition("=")[0], known, f"see `{parser.prog} {algorithm} --help`")
        )
    return config


def _first_paragraph(box: str) -> str:
    """What a framed message says above its first rule."""
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    rule = next((index for index, line in enumerate(lines) if set(line) <= set("─╰╯")), len(lines))
    return " ".join(lines[:rule])


def _set_up_jax(options: argparse.Namespace) -> None:
    """To be called before anything else uses jax, as `jax.distributed.initialize` asks."""
    import jax

    if options.cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(Path(options.cache).expanduser()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    if getattr(options, "distributed", False):
        jax.distributed.initialize()


class Program(NamedTuple):
    """What was run, as the command line names it; kept as `command.json` in the run directory."""

    algorithm: str
    env: str

    def __str__(self) -> str:
        return f"{self.algorithm} on {self.env}"

    def load(self) -> tuple[Callable[[Any], Any], Any, Any]:
        """`make(config) -> Algorithm`, the environment and its parameters."""
        from rlx import envs

        env, env_params = envs.make(self.env)
        make = importlib.import_module(f"rlx.algos.{self.algorithm}").make
        return functools.partial(make, env=env, env_params=env_params), env, env_params

    def save(self, run: Path) -> None:
        run.mkdir(parents=True, exist_ok=True)
        (run / "command.json").write_text(json.dumps(self._asdict()) + "\n")

    @classmethod
    def of_run(cls, run: Path) -> Program:
        file = run / "command.json"
        if not file.exists():
            raise UsageError(f"{run} is not a run that `rlx train` or `rlx sweep` made: it has no command.json")
        return cls(**json.loads(file.read_text()))


# --- eval ---


def _evaluate(command: str, arguments: list[str]) -> None:
    parser = Parser(command, "RUN [options]", description="Play fresh episodes with the last checkpoint of a run.")
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")
    parser.add_argument("--episodes", metavar="N", type=_count, default=100, help="episodes of each seed (default 100)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the episodes (default 0)")
    parser.add_argument("--sample", action="store_true", help="draw actions instead of taking the best one")
    _add_cache_options(parser)
    options = parser.parse_all(arguments)
    program = Program.of_run(options.run)

    import jax
    import numpy as np

    from rlx import runtime
    from rlx.runtime.report import summarise

    _set_up_jax(options)
    make, env, env_params = program.load()
    config = runtime.restore_config(options.run, importlib.import_module(f"rlx.algos.{program.algorithm}").Config)
    state, update, members = runtime.restore(options.run, make(config))

    def play(state: Any, hyperparameters: Any, key: Any) -> Any:
        policy = make(dataclasses.replace(config, **hyperparameters)).policy(state)
        return runtime.evaluate(policy, env, key, options.episodes, env_params=env_params, greedy=not options.sample)

    keys = jax.random.split(jax.random.key(options.seed), len(members))
    played = jax.jit(jax.vmap(play))(state, _hyperparameters(members), keys)
    returns = np.asarray(played.returns.mean(axis=1)).reshape(len(members), -1)
    channels = getattr(env, "reward_channels", ("reward",))
    names = ["return"] if len(channels) == 1 else [f"return/{channel}" for channel in channels]
    columns = dict(zip(names, returns.T, strict=True))
    columns |= {"length": played.lengths.mean(axis=1), "finished": played.finished.mean(axis=1)}
    title = f"{program} after update {update:,}, {options.episodes} episodes of each seed"
    _show_table(summarise(members, columns), title)


def _hyperparameters(members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Swept values, an entry for each member."""
    import numpy as np

    swept = [name for name in members[0] if name != "seed"]
    return {name: np.array([member[name] for member in members], np.float32) for name in swept}


# --- collect ---


def _collect(command: str, arguments: list[str]) -> None:
    parser = Parser(
        command,
        "RUN|--env NAME --steps N --out LOG.npz [options]",
        description="Play with the last checkpoint of a run, or at random, and keep the steps as a log.",
    )
    add = parser.add_argument
    add("run", metavar="RUN", type=Path, nargs="?", help="run directory, all of whose seeds play")
    add("--env", metavar="NAME", help="without a run: the environment to act in at random")
    add("--steps", metavar="N", type=_count, default=100_000, help="in all, rounded up (default 100000)")
    add("--out", metavar="LOG.npz", type=Path, required=True, help="where to write")
    add("--epsilon", metavar="P", type=float, default=0.0, help="probability of a random action (default 0)")
    add("--greedy", action="store_true", help="take the policy's best action instead of drawing one")
    add("--envs", metavar="N", type=_count, default=8, help="environments of each seed, side by side (default 8)")
    add("--seed", metavar="N", type=int, default=0, help="of the episodes (default 0)")
    _add_cache_options(parser)
    options = parser.parse_all(arguments)
    if (options.run is None) == (options.env is None):
        raise UsageError("collect needs a run directory, or --env NAME to act at random; one of them")
    if options.run is not None:
        program = Program.of_run(options.run)

    import jax
    import jax.numpy as jnp
    import numpy as np

    from rlx import envs, runtime

    _set_up_jax(options)
    key = jax.random.key(options.seed)
    how = dict(num_envs=options.envs, greedy=options.greedy, epsilon=options.epsilon)
    if options.run is None:
        env, env_params = envs.make(options.env)
        steps = -(-options.steps // options.envs)
        log = jax.jit(lambda: runtime.record(None, env, key, steps, env_params=env_params, num_envs=options.envs))()
    else:
        make, env, env_params = program.load()
        config = runtime.restore_config(options.run, importlib.import_module(f"rlx.algos.{program.algorithm}").Config)
        state, _, members = runtime.restore(options.run, make(config))
        steps = -(-options.steps // (options.envs * len(members)))

        def play(state: Any, hyperparameters: Any, key: Any) -> Any:
            policy = make(dataclasses.replace(config, **hyperparameters)).policy(state)
            return runtime.record(policy, env, key, steps, env_params=env_params, **how)

        streams = jax.jit(jax.vmap(play, out_axes=1))(
            state, _hyperparameters(members), jax.random.split(key, len(members))
        )
        log = jax.tree.map(lambda x: x.reshape(steps, -1, *x.shape[3:]), streams)
    runtime.save_log(options.out, log)
    ended = np.asarray(log.terminated | log.truncated).sum()
    mean = float(jnp.mean(log.reward))
    print(f"{log.terminated.size:,} steps, {ended:,} episodes ended; mean reward {mean:.4g}: {options.out}")


# --- report ---


def _report(command: str, arguments: list[str]) -> None:
    parser = Parser(command, "RUN [RUN ...] [options]", description="Draw learning curves and tabulate scores.")
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="run directories")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where to write (default RUN/report)")
    options = parser.parse_all(arguments)
    _show_report(options.runs, options.out)


def _show_report(runs: Sequence[Path], out: Path | None) -> None:
    from rlx.runtime.report import report

    result = report(*runs, out=out)
    _show_table(result.rows, "Scores at the end of training" if result.front else "Return at the end of training")
    if result.front:
        print(f"{result.front}\n")
    for file in result.files:
        print(file)


def _show_table(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from rlx.runtime.report import table_cells

    names, cells = table_cells(rows)
    table = Table(box=box.SIMPLE_HEAD)
    for name in names:
        table.add_column(name, justify="left" if name == "run" else "right")
    for row in cells:
        table.add_row(*row)
    print(f"\n{title}: interquartile mean over seeds [95 % bootstrap interval]")
    Console().print(table)


# --- list ---


def _list(command: str, arguments: list[str]) -> None:
    Parser(command, "", description="Name the algorithms and environments.").parse_all(arguments)

    from rlx import envs

    width = max(map(len, (*ALGORITHMS, *LOGGED, *OFFLINE)))
    for title, algorithms in (
        ("algorithms", ALGORITHMS),
        ("algorithms that learn from a log", LOGGED),
        ("algorithms that learn from other data, in programs", OFFLINE),
    ):
        print(title)
        for name in algorithms:
            source = (Path(__file__).parent / "algos" / f"{name}.py").read_text()
            print(f"  {name:{width}}  {(ast.get_docstring(ast.parse(source)) or '').splitlines()[0]}")
    print("environments")
    for name in envs.names():
        print(f"  {name}")


if __name__ == "__main__":
    sys.exit(main())
