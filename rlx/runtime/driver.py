"""The train driver: `train` is one pure scan, `fit` the same in chunks on the host, `sweep` a population of fits."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from rlx import check
from rlx.runtime import checkpoint
from rlx.runtime.learner import Learner
from rlx.runtime.loop import Between, Loop
from rlx.runtime.mesh import any_process, barrier, make_mesh
from rlx.runtime.population import Population
from rlx.runtime.progress import Progress
from rlx.runtime.run import FORMAT, Run, RunDirectory, RunError, as_json, digest, stored_description
from rlx.runtime.schedule import make_schedule
from rlx.runtime.sinks import Sink
from rlx.types import Algorithm, Environment, PyTree


def train(algorithm: Algorithm, key: jax.Array, num_updates: int, data: PyTree = None) -> tuple[PyTree, dict[str, Any]]:
    """`num_updates` updates from a fresh state as one scan: `(state, metrics)`, metrics stacked over updates.

    Pure: `jax.jit(jax.vmap(...))` over keys trains several seeds in one program. It keeps the metrics of every update
    and cannot be interrupted; for long runs take `fit`.
    """
    return jax.lax.scan(lambda state, _: algorithm.update(state, data), algorithm.init(key), length=num_updates)


def fit(
    algorithm: Algorithm,
    *,
    total_steps: int,
    seed: int = 0,
    env: Environment | None = None,
    env_params: Any = None,
    out: str | Path | None = None,
    config: Any = None,
    log_every: int | None = None,
    eval_every: int | None = None,
    eval_episodes: int = 32,
    checkpoint_every: int | None = None,
    keep: int = 3,
    resume: bool = True,
    on_nonfinite: str = "stop",
    data: PyTree = None,
    progress: bool = True,
    sinks: Sequence[Sink] = (),
    between: Between | None = None,
) -> Run:
    """Train one learner from `jax.random.key(seed)`, with rows, evaluation, checkpoints and exact resume.

    Args:
      algorithm: what to train; its `update` is compiled once.
      total_steps: environment steps, rounded up to whole updates of `algorithm.steps_per_update`.
      seed: from 0 to 2**32 - 1.
      env: environment to evaluate on; without it there is no evaluation. Episodes are played from keys of their own:
        training is the same whether and however often it is evaluated.
      env_params: its parameters, else the default ones.
      out: the run directory (layout: `rlx/runtime/run.py`); without it nothing is written. If it holds a run of the
        same configuration, that is continued from its last checkpoint exactly as if it had never stopped; a larger
        `total_steps` lengthens it.
      config: a dataclass or dictionary that config.json records and a resume compares.
      log_every: environment steps between log points, rounded up to whole updates; default a hundredth of the run.
      eval_every: environment steps between evaluations, rounded up to log points; the first is before training.
        Default: a single evaluation, at the end.
      eval_episodes: episodes of each evaluation, played greedily side by side.
      checkpoint_every: environment steps between checkpoints, rounded up to log points; default ten log points. The
        end of the run is always saved.
      keep: how many checkpoints stay.
      resume: whether a run in `out` may be continued; otherwise it is an error.
      on_nonfinite: "stop" raises `NonFiniteError` at the end of the chunk and saves nothing of it; "mark" goes on as
        long as a member is finite, and says which are not in the column `diverged`.
      data: passed to every update (a log, a preference set). A resume with other data is an error.
      progress: whether to show progress, on standard error.
      sinks: where else rows go, see `rlx.runtime.sinks`; they are closed at the end.
      between: called on the host with the state, the number of updates done and a function that tells whether to stop,
        before every chunk of `log_every` steps; training goes on with the state that it returns. What it does must
        follow from the state and from files of its own, so that a run that was killed goes on the same: the checkpoint
        holds the state before it.

    With `out`, SIGINT and SIGTERM let the chunk finish and save it, then raise `KeyboardInterrupt` or `SystemExit`.

    Raises:
      NonFiniteError: see `on_nonfinite`.
      RunError: if `out` holds a run with another configuration, or another process is writing it.
      OSError: if `out` cannot be written; checkpoints already in it are intact.
    """
    return _drive(
        Population(lambda _: algorithm, [{"seed": _seed(seed)}]),
        algorithm,
        total_steps=total_steps,
        env=env,
        env_params=env_params,
        out=out,
        config=config,
        log_every=log_every,
        eval_every=eval_every,
        eval_episodes=eval_episodes,
        checkpoint_every=checkpoint_every,
        keep=keep,
        resume=resume,
        on_nonfinite=on_nonfinite,
        data=data,
        progress=progress,
        sinks=sinks,
        between=between,
    )


def sweep(
    make: Callable[[Any], Algorithm],
    config: Any,
    *,
    total_steps: int,
    seeds: int | Sequence[int] = 8,
    over: Mapping[str, Sequence[float]] | None = None,
    mesh: Mesh | None = None,
    batch: str = "vmap",
    on_nonfinite: str = "mark",
    **options: Any,
) -> Run:
    """Train every combination of hyper-parameters and seeds in one program, spread over the devices of all processes.

    Members are numbered with seeds running fastest. The member with seed i and the values of `config` follows
    `fit(make(config), seed=i)` up to rounding.

    Args:
      make: configuration -> algorithm, such as `functools.partial(ppo.make, env=env)`.
      config: the configuration, a dataclass.
      total_steps: environment steps of each member.
      seeds: how many (0, 1, ...) or which.
      over: field of the configuration -> its values; all combinations are trained. Fields must hold floats: they are
        traced, so that all members share one program. To compare sizes or counts, make one sweep for each.
      mesh: one axis, over which members are spread evenly; default as many of the devices as divide their number.
      batch: "vmap" runs the members of a device together; "map" one after the other, which is faster where vmapped
        parameters are slow (convolutions on the CPU).
      on_nonfinite: as for `fit`; "mark" lets the other members go on.
      **options: the other keyword arguments of `fit`, but for `seed`.

    Raises:
      ValueError: if a swept field does not exist, is not a float or is used in ways that cannot be traced, or a value
        is one that `make` refuses.
    """
    check.require(batch in ("vmap", "map"), "batch", batch, "'vmap' or 'map'")
    numbers = range(seeds) if isinstance(seeds, int) else seeds
    check.count("the number of seeds", len(numbers))
    check.require(len(set(numbers)) == len(numbers), "seeds", seeds, "distinct")
    rows = _rows(config, over or {})
    for row in rows:
        algorithm = make(dataclasses.replace(config, **row))  # refuses bad values while they are concrete
    members = [{"seed": _seed(seed), **row} for row in rows for seed in numbers]
    mesh = _member_mesh(mesh, len(members))
    population = Population(lambda hyper: make(dataclasses.replace(config, **hyper)), members, batch, mesh)
    try:
        return _drive(
            population, algorithm, total_steps=total_steps, config=config, on_nonfinite=on_nonfinite, **options
        )
    except jax.errors.ConcretizationTypeError as error:
        if not over:
            raise
        fields = " or ".join(over)
        raise ValueError(f"cannot sweep over {fields}: the algorithm needs its value while it is compiled") from error


def _seed(seed: int) -> int:
    check.count("seed", seed, 0)
    check.require(seed < 2**32, "seed", seed, "below 2**32")
    return int(seed)


def _rows(config: Any, over: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """All combinations of the swept values."""
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"config must be an instance of a dataclass; got {config!r}")
    kinds = {field.name: field.type for field in dataclasses.fields(config)}
    floats = [
        name
        for name, kind in kinds.items()
        if kind in (float, "float", "float | None") or isinstance(getattr(config, name), float)
    ]
    for name, values in over.items():
        if name not in floats:
            what = "is not a float field" if name in kinds else "is not a field"
            raise ValueError(f"over: {name!r} {what} of {type(config).__name__}; can be swept: {', '.join(floats)}")
        check.count(f"the number of values of {name}", len(values))
    return [dict(zip(over, map(float, values), strict=True)) for values in itertools.product(*over.values())]


def _member_mesh(mesh: Mesh | None, num_members: int) -> Mesh | None:
    devices = jax.device_count() if mesh is None else mesh.size
    if mesh is None and jax.process_count() == 1:
        devices = max(n for n in range(1, devices + 1) if num_members % n == 0)
        return make_mesh(devices) if devices > 1 else None
    if mesh is not None and len(mesh.axis_names) != 1:
        raise ValueError(f"mesh must have one axis; got {mesh.axis_names}")
    if num_members % devices:
        raise ValueError(
            f"{num_members} members (seeds times combinations of hyper-parameters) cannot be spread evenly over "
            f"{devices} devices: change the number of seeds, or pass a mesh over fewer devices"
        )
    return mesh or make_mesh()


def _drive(
    population: Population,
    example: Algorithm,
    *,
    total_steps: int,
    env: Environment | None = None,
    env_params: Any = None,
    out: str | Path | None = None,
    config: Any = None,
    log_every: int | None = None,
    eval_every: int | None = None,
    eval_episodes: int = 32,
    checkpoint_every: int | None = None,
    keep: int = 3,
    resume: bool = True,
    on_nonfinite: str = "stop",
    data: PyTree = None,
    progress: bool = True,
    sinks: Sequence[Sink] = (),
    between: Between | None = None,
) -> Run:
    """Set a run up and let the loop take it to its end; `example` is the algorithm of any one member."""
    check.require(on_nonfinite in ("stop", "mark"), "on_nonfinite", on_nonfinite, "'stop' or 'mark'")
    check.count("keep", keep)
    check.count("eval_episodes", eval_episodes)
    if env is None and eval_every is not None:
        raise ValueError(f"eval_every = {eval_every} needs env, the environment to evaluate on")
    path = None if out is None else Path(out).absolute()
    steps = example.steps_per_update
    stored = {} if path is None else stored_description(path) or {}
    schedule = make_schedule(
        steps,
        total_steps,
        stored.get("log_every") if log_every is None else log_every,
        stored.get("eval_every") if eval_every is None else eval_every,
        checkpoint_every,
    )
    channels = [channel.name for channel in example.channels]
    learner = Learner(population, channels, data)
    evaluator = None if env is None else learner.evaluator(env, env_params, eval_episodes)
    ref = getattr(env, "reference_point", None)
    fronts = None if example.front is None else learner.fronts(channels, ref)
    mark = on_nonfinite == "mark"
    loop = Loop(
        learner,
        evaluator,
        fronts,
        schedule,
        steps,
        has_archive=example.heat_map is not None,
        mark_nonfinite=mark,
        path=path,
        keep=keep,
        between=between,
    )
    description = {
        "format": FORMAT,
        "kind": "fit" if population.batch is None else "sweep",
        "rlx": importlib.metadata.version("rlx"),
        "jax": jax.__version__,
        "environment": None if env is None else getattr(env, "name", type(env).__name__),
        "config": as_json(config),
        "channels": channels,
        "hyperparameters": population.hyperparameters,
        "members": population.members,
        "steps_per_update": steps,
        "total_steps": schedule.num_updates * steps,
        "log_every": schedule.log_every * steps,
        "eval_every": None if schedule.eval_every is None else schedule.eval_every * steps,
        "eval_episodes": eval_episodes,
        "on_nonfinite": on_nonfinite,
        "state": learner.types(),
    }
    if data is not None:
        description["data"] = digest(data)
    if fronts is not None:
        description["reference_point"] = fronts.ref
    with contextlib.ExitStack() as stack:
        if path is not None:
            loop.directory = _open(path, description, resume)
            if loop.directory is not None:
                stack.enter_context(loop.directory)
            loop.restore()
        writes = jax.process_index() == 0
        loop.open_tables()
        if writes:
            loop.sinks = sinks
        for sink in sinks:
            stack.callback(sink.close)
        total = schedule.num_updates * steps
        loop.progress = stack.enter_context(Progress(total, loop.update * steps, enabled=progress and writes))
        if total != total_steps:
            loop.progress.say(
                f"total_steps = {total_steps:,} is rounded up to {total:,}, {schedule.num_updates:,} updates"
            )
        if loop.update:
            loop.progress.say(f"continuing {path} after update {loop.update:,}")
        loop.run()
    barrier("rlx run is written")
    return loop.result()


def _open(path: Path, description: Mapping[str, Any], resume: bool) -> RunDirectory | None:
    """The run directory, opened by the process that writes it; if that fails, it fails in all processes."""
    directory, error = None, None
    if jax.process_index() == 0:
        try:
            _check_not_beyond(path, description)
            directory = RunDirectory(path, description, resume=resume)
        except (RunError, OSError) as problem:
            error = problem
    if any_process(error is not None):
        raise error or RunError(f"process 0 could not open {path}")
    return directory


def _check_not_beyond(path: Path, description: Mapping[str, Any]) -> None:
    steps = description["steps_per_update"] * max(checkpoint.updates(path / "checkpoints"), default=0)
    if steps > description["total_steps"]:
        raise RunError(f"{path} has already gone {steps} steps, beyond total_steps = {description['total_steps']}")
