"""Logs of steps, for algorithms that learn from data: recorded, written, read, made of episodes, checked, drawn from.

A log is one `Transition` with leaves `[T, B, ...]`: `B` streams of `T` steps each. Order matters only to what looks at
more than one step; a log of whole episodes of any lengths is one stream (`log_of_episodes`). On disk it is a `.npz`
that NumPy reads without rlx: `action`, `reward`, `terminated`, ..., and `obs`, or `obs/NAME` for each part of it.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.nets import prepare
from rlx.nets.distribution import action_distribution, mask_logits
from rlx.runtime.rollout import EnvBatch, reset_batch, step_batch
from rlx.runtime.table import replacing
from rlx.space import Box, Dict, Discrete, MultiDiscrete, Space, from_gymnax
from rlx.types import Array, Environment, Policy, PyTree, RewardSource, Transition

FORMAT = 1


def record(
    policy: Policy | None,
    env: Environment,
    key: Array,
    num_steps: int,
    *,
    num_envs: int = 1,
    env_params: Any = None,
    greedy: bool = False,
    epsilon: Array | float = 0.0,
) -> Transition:
    """The log of `num_envs` environments over `num_steps` steps each; pure.

    Args:
      policy: who acts; None acts at random, as does any with `epsilon = 1`.
      env: rewards are its own.
      key: a random key.
      num_steps: of each environment; an episode under way at the end is cut there, without a mark.
      num_envs: side by side.
      env_params: parameters of `env`, else the default ones.
      greedy: whether the policy takes its best action.
      epsilon: probability of a random legal action in place of the policy's, uniform in a bounded space; `[num_envs]`
        for a log of actors who are not equally able.

    Returns:
      `[num_steps, num_envs, ...]`, with actions as the environment takes them, and zeros for `log_prob`, which a policy
      does not tell.

    Raises:
      ValueError: for counts below 1, or `epsilon` outside [0, 1] or of another shape.
    """
    check.count("num_steps", num_steps)
    check.count("num_envs", num_envs)
    check.in_range("epsilon", epsilon, 0.0, 1.0)
    shape = jnp.shape(epsilon)
    check.require(shape in ((), (num_envs,)), "the shape of epsilon", shape, f"() or ({num_envs},)")
    params = env.default_params if env_params is None else env_params
    obs_space, action_space = from_gymnax(env.observation_space(params)), from_gymnax(env.action_space(params))

    def at_random(key: Array, obs: PyTree) -> Array:
        if isinstance(action_space, Box):
            return jax.vmap(action_space.sample)(jax.random.split(key, num_envs))
        dist = action_distribution(action_space)
        legal = mask_logits(jnp.zeros((num_envs, dist.num_outputs)), prepare(obs_space, obs).mask)
        return dist.to_env(dist.sample(key, legal))

    def step(carry: tuple[EnvBatch, PyTree], key: Array) -> tuple[tuple[EnvBatch, PyTree], Transition]:
        batch, memory = carry
        act_key, random_key, which_key, env_key = jax.random.split(key, 4)
        action = at_random(random_key, batch.obs)
        if policy is not None:
            chosen, memory = policy.act(act_key, batch.obs, memory, batch.reset, greedy=greedy)
            explore = jax.random.bernoulli(which_key, epsilon, (num_envs,))
            action = jnp.where(explore.reshape(-1, *(1,) * (chosen.ndim - 1)), action.astype(chosen.dtype), chosen)
        after, s = step_batch(env, params, env_key, batch, action)
        log_prob = jnp.zeros(num_envs)
        return (after, memory), Transition(batch.obs, action, log_prob, s.reward, s.terminated, s.truncated, s.next_obs)

    reset_key, key = jax.random.split(key)
    start = reset_batch(env, params, reset_key, num_envs), () if policy is None else policy.init(num_envs)
    return jax.lax.scan(step, start, jax.random.split(key, num_steps))[1]


def log_of_episodes(episodes: Iterable[Mapping[str, Any]]) -> Transition:
    """One log `[N, 1, ...]` of episodes of any lengths, `N` steps in all.

    Args:
      episodes: each with `obs`, leaves `[L + 1, ...]` with the last observation; `action` `[L, ...]`; `reward` `[L]` or
        `[L, K]`; `terminated`, whether it ended in a terminal state: a bool, or `[L]` of them, of which the last one
        counts; and `log_prob` `[L]` where it is known. The last step of one that did not terminate is marked as cut.

    Raises:
      ValueError: without episodes, for one without a step, or one whose entries differ in length.
    """
    parts: list[Transition] = []
    for number, episode in enumerate(episodes):
        name = f"episode {number}"
        missing = {"obs", "action", "reward", "terminated"} - set(episode)
        check.require(not missing, name, sorted(episode), f"a mapping with {', '.join(sorted(missing))} as well")
        obs = jax.tree.map(_narrow, episode["obs"])
        action, reward = _narrow(episode["action"]), _narrow(episode["reward"])
        length = len(reward)
        check.require(length >= 1, f"{name}: the length of reward", length, "at least 1")
        log_prob = _narrow(episode.get("log_prob", np.zeros(length, np.float32)))
        for what, array, wanted in (
            ("action", action, length),
            ("log_prob", log_prob, length),
            *((f"obs{path}", leaf, length + 1) for path, leaf in _leaves(obs)),
        ):
            check.require(len(array) == wanted, f"{name}: the length of {what}", len(array), f"{wanted}, as of reward")
        ends = np.arange(length) == length - 1
        terminated: Any = ends & bool(np.ravel(episode["terminated"])[-1])
        before, after = jax.tree.map(lambda x: x[:-1], obs), jax.tree.map(lambda x: x[1:], obs)
        parts.append(Transition(before, action, log_prob, reward, terminated, ends & ~terminated, after))
    check.require(bool(parts), "episodes", "none", "at least one")
    try:
        return jax.tree.map(lambda *x: np.concatenate(x)[:, None], *parts)
    except ValueError as error:
        raise ValueError(f"episodes must have entries of the same structure and shapes per step: {error}") from None


def load_minari(dataset: Any) -> Transition:
    """A data set of Minari as a log; needs the extra `minari`.

    Args:
      dataset: a `MinariDataset`, or the name of one ("D4RL/pointmaze/umaze-v2"), downloaded if it is not there yet.
    """
    if isinstance(dataset, str):
        import minari

        dataset = minari.load_dataset(dataset, download=True)
    return log_of_episodes(
        {
            "obs": episode.observations,
            "action": episode.actions,
            "reward": episode.rewards,
            "terminated": episode.terminations,
        }
        for episode in dataset.iterate_episodes()
    )


def save_log(path: str | os.PathLike[str], log: Transition) -> None:
    """Write a log to the file `path`, which ends in `.npz`. An older one is replaced once the new one is complete.

    Raises:
      ValueError: for another ending, or a log that `check_log` refuses.
      OSError: if it cannot be written; an older one is intact.
    """
    path = _npz(path)
    check_log(log)
    arrays: dict[str, Any] = {"format": np.asarray(FORMAT)}
    arrays |= {
        f"{field}{name}": np.asarray(leaf) for field, value in log._asdict().items() for name, leaf in _leaves(value)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        np.savez(file, **arrays)


def load_log(path: str | os.PathLike[str], env: Environment | None = None, env_params: Any = None) -> Transition:
    """The log that `save_log` wrote, as NumPy arrays; with `env`, one that fits its spaces and rewards.

    Raises:
      ValueError: for a file that is no log or is damaged, or a log that `check_log` refuses.
      OSError: if it cannot be read.
    """
    path = _npz(path)
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a .npz file, or is damaged: {error}") from None
    found = int(arrays.pop("format", -1))
    check.require(found == FORMAT, f"the format of {path}", found, f"{FORMAT}, as written by save_log")
    fields: dict[str, Any] = {}
    for name, array in arrays.items():
        field, *parts = name.split("/")
        if not parts:
            fields[field] = array
            continue
        inner = fields.setdefault(field, {})
        for part in parts[:-1]:
            inner = inner.setdefault(part, {})
        inner[parts[-1]] = array
    missing = set(Transition._fields) - set(fields)
    check.require(not missing, f"{path} (entries)", sorted(fields), f"with {', '.join(sorted(missing))} as well")
    log = Transition(**{name: fields[name] for name in Transition._fields})
    if env is None:
        check_log(log)
        return log
    params = env.default_params if env_params is None else env_params
    check_log(log, from_gymnax(env.observation_space(params)), from_gymnax(env.action_space(params)))
    channels = len(getattr(env, "reward_channels", ())) or None
    width = None if log.reward.ndim == 2 else log.reward.shape[2]
    check.require(width == channels, "channels of the log's reward", width, f"{channels}, as of the environment")
    return log


def check_log(log: Any, obs_space: Space | None = None, action_space: Space | None = None) -> None:
    """Raise unless `log` is one, and holds what the spaces allow.

    Under `jit` the values are not there to be looked at: then only structure and shapes are checked.

    Raises:
      ValueError: for another type than `Transition`; no steps; fields of different lengths; flags that are not boolean;
        observations or actions of other shapes than the spaces'; actions outside the space; values that are not finite.
    """
    check.require(
        isinstance(log, Transition), "data", type(log).__name__, "a log, a Transition with leaves [T, B, ...]"
    )
    check.rank("data.terminated", log.terminated, 2)
    size = np.shape(log.terminated)
    check.require(min(size) >= 1, "the shape of data.terminated", size, "[T, B] with at least one step")
    for field, value in log._asdict().items():
        for name, leaf in _leaves(value):
            shape = np.shape(leaf)
            allowed = f"{size} and what a step has, as data.terminated"
            check.require(shape[:2] == size, f"the shape of data.{field}{name}", shape, allowed)
            if not isinstance(leaf, jax.core.Tracer) and jnp.issubdtype(leaf.dtype, jnp.floating):
                good = bool(np.isfinite(np.asarray(leaf)).all())
                check.require(good, f"data.{field}{name}", "NaN or infinity", "finite")
    for field in ("terminated", "truncated"):
        kind = getattr(log, field).dtype
        check.require(kind == np.bool_, f"the type of data.{field}", str(kind), "bool")
    if obs_space is not None:
        for field in ("obs", "next_obs"):
            _check_values(f"data.{field}", getattr(log, field), obs_space, bounds=False)
    if action_space is not None:
        _check_values("data.action", log.action, action_space, bounds=True)


def draw_rows(key: Array, data: Transition | None, spaces: tuple[Space, Space], number: int, *beside: Array) -> tuple:
    """`number` steps of a log, uniformly and with replacement: leaves `[N, ...]`; of arrays `[T, B, ...]` beside too.

    Raises:
      ValueError: without a log, or for one that `check_log` refuses with these spaces of observations and actions.
    """
    if data is None:
        raise ValueError("data must be a log, a Transition with leaves [T, B, ...]; got None: fit(..., data=log)")
    check_log(data, *spaces)
    num_envs = data.terminated.shape[1]
    index = jax.random.randint(key, (number,), 0, data.terminated.size)
    return jax.tree.map(lambda x: x[index // num_envs, index % num_envs], (data, *beside))


def scorer(rewards: RewardSource) -> Callable[[PyTree, Transition, Array], Array]:
    """`(source state, rows [N, ...], key) -> rewards [N, K]` of steps in any order.

    Raises:
      ValueError: for a source without `rescore`.
    """
    rescore = rewards.rescore
    if rescore is None:
        raise ValueError(f"rewards must have rescore, to score logged steps in any order; got {rewards!r}")
    return lambda state, step, key: rescore(state, jax.tree.map(lambda x: x[None], step), None, key)[0]


def _check_values(name: str, value: PyTree, space: Space, *, bounds: bool) -> None:
    if isinstance(space, Dict):
        parts = sorted(value) if isinstance(value, Mapping) else type(value).__name__
        check.require(parts == sorted(space.spaces), f"the parts of {name}", parts, str(sorted(space.spaces)))
        for part, inner in space.spaces.items():
            _check_values(f"{name}/{part}", value[part], inner, bounds=bounds)
        return
    check.require(not isinstance(value, Mapping), name, "a mapping", "an array, as the environment's")
    shape = np.shape(value)[2:]
    check.require(shape == space.shape, f"the shape of a step of {name}", shape, f"{space.shape}, as the environment's")
    low, high = _bounds(space)
    if bounds and not any(isinstance(x, jax.core.Tracer) for x in (value, low, high)):
        array = np.asarray(value)
        outside = np.argwhere((array < np.asarray(low)) | (array > np.asarray(high)))
        if len(outside):
            t, b = map(int, outside[0][:2])
            raise ValueError(f"{name} must lie in {space}; got {array[t, b]} at step {t} of stream {b}")


def _bounds(space: Box | Discrete | MultiDiscrete) -> tuple[Any, Any]:
    """The lowest and the highest value of each element."""
    if isinstance(space, Box):
        return space.low, space.high
    return 0, np.asarray(space.n if isinstance(space, Discrete) else space.nvec) - 1


def _leaves(value: PyTree) -> list[tuple[str, Any]]:
    """Paths such as `/speed`, empty for a bare array, and what is there."""
    if not isinstance(value, Mapping):
        return [("", value)]
    return [(f"/{name}{path}", leaf) for name, inner in value.items() for path, leaf in _leaves(inner)]


def _narrow(array: Any) -> Any:
    """In the 32 bits that the accelerator has."""
    array = np.asarray(array)
    narrow = {"f8": np.float32, "i8": np.int32, "u8": np.uint32}.get(array.dtype.str[1:])
    return array if narrow is None else array.astype(narrow)


def _npz(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    check.require(path.suffix == ".npz", "path", str(path), "a file whose name ends in .npz")
    return path
