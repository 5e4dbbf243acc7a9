"""One bonus on one task, all seeds in one program; and the processor time of an update with each bonus.

Tasks pay at their end only. PPO, its settings and every bonus's are the same on all of them: the defaults of the
sources, with the weights of "Exploration by Random Network Distillation" (2018), 2 for the task's advantage and 1 for
the bonus's. Nothing was tuned.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx import space
from rlx.algos import ppo
from rlx.envs import make as make_env
from rlx.envs.wrappers import Wrapper
from rlx.exploration import rnd, visit_count
from rlx.exploration.dynamics import elliptical, icm, novelty
from rlx.pareto import linear
from rlx.reward import chain, extrinsic, normalise_by_return, stack
from rlx.types import Algorithm, RewardSource

BONUSES: dict[str, Callable[[], RewardSource] | None] = {
    "none": None,
    "visit_count": visit_count,
    "rnd": rnd,
    "rdd": lambda: rnd(target="gaussian"),
    "drnd": lambda: rnd(target="mixture"),
    "coin_flip": lambda: rnd(target="coin_flip"),
    "icm": icm,
    "ellipse": lambda: elliptical(lifelong=True, learn=False),
    "e3b": lambda: chain(elliptical(), normalise_by_return(0.99, False)),
    "ngu": lambda: novelty("ngu"),
    "ride": lambda: novelty("ride"),
    "noveld": lambda: novelty("noveld"),
}
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"DeepSea {n}": ("DeepSea-bsuite", {"size": n}) for n in (10, 20, 50)},
    "key and door": ("rlx/keydoor-11", {}),
    "noisy TV": ("rlx/keydoor-11", {"noise": 32}),
    "vehicle": ("rlx/point-patrols-2", {"radius": 0.5}),
}
WEIGHTS = (2.0, 1.0)
CONFIG = ppo.Config(num_envs=32, num_steps=128, learning_rate=1e-3, clip=0.1, value_clip=None)
STEPS_PER_UPDATE = CONFIG.num_envs * CONFIG.num_steps
UPDATES = 80
CODE = 128  # signs
CHUNK = 10  # updates between looks at whether all seeds are done
SOLVED = 0.5  # mean return of the episodes that end in an update; each task's best is .99 or 1
SEEDS = tuple(range(1000, 1010))
ROUNDS = 7  # of timing


class Coded(Wrapper):
    """DeepSea with a code of fixed random signs for each cell, in place of a picture of `N^2` numbers.

    Codes of different cells are nearly orthogonal, so nothing is said of neighbours, as in the picture. At size 50 it
    has a twentieth of the inputs.
    """

    def __init__(self, env: Any):
        super().__init__(env)
        self.code = jax.random.rademacher(jax.random.key(0), (env.env.size, env.env.size, CODE), jnp.float32)

    def reset_env(self, key: jax.Array, params: Any) -> tuple[jax.Array, Any]:
        obs, state = self.env.reset_env(key, params)
        return self._observe(obs), state

    def step_env(self, key: jax.Array, state: Any, action: jax.Array, params: Any) -> tuple[Any, ...]:
        obs, *rest = self.env.step_env(key, state, action, params)
        return self._observe(obs), *rest

    def observation_space(self, params: Any) -> space.Box:
        del params
        return space.Box(-1.0, 1.0, (CODE,))

    def _observe(self, obs: jax.Array) -> jax.Array:
        """Zeros after the last row, as in the picture."""
        flat = obs.ravel()
        return self.code.reshape(-1, CODE)[jnp.argmax(flat)] * flat.max()


class Cell(NamedTuple):
    """A bonus on a task."""

    steps: list[int | None]  # [S]: environment steps of the first update that is above `SOLVED`; None: none was
    seconds: float  # wall time, with compilation


def make(bonus: str, task: str) -> Algorithm:
    name, options = TASKS[task]
    env, params = make_env(name, **options)
    env = Coded(env) if name == "DeepSea-bsuite" else env
    source = BONUSES[bonus]
    if source is None:
        return ppo.make(CONFIG, env, params)
    return ppo.make(CONFIG, env, params, rewards=stack(extrinsic(), source()), weighting=linear(WEIGHTS))


def run(bonus: str, task: str, updates: int = UPDATES, seeds: tuple[int, ...] = SEEDS) -> Cell:
    """Train until all seeds have solved the task, or for `updates`."""
    start = time.perf_counter()
    algorithm = make(bonus, task)

    def update(state: Any, _: None) -> tuple[Any, jax.Array]:
        state, metrics = algorithm.update(state, None)
        returns = metrics["episode_return"]
        return state, jnp.ravel(returns.total / returns.count)[0]  # of the task; NaN where no episode has ended

    @jax.jit
    @jax.vmap
    def advance(state: Any) -> tuple[Any, jax.Array]:
        return jax.lax.scan(update, state, length=min(CHUNK, updates))

    state = jax.jit(jax.vmap(algorithm.init))(jax.vmap(jax.random.key)(np.asarray(seeds, np.uint32)))
    solved = np.zeros((len(seeds), 0), bool)
    while solved.shape[1] < updates and not (solved.size and solved.any(axis=1).all()):
        state, returns = advance(state)
        solved = np.concatenate([solved, np.asarray(returns) > SOLVED], axis=1)
    first = [(int(row.argmax()) + 1) * STEPS_PER_UPDATE if row.any() else None for row in solved]
    return Cell(first, time.perf_counter() - start)


def overhead(task: str, rounds: int = ROUNDS, updates: int = 5) -> dict[str, list[float]]:
    """Processor seconds of an update of one seed with each bonus, one number for each round; rounds go A B C, A B C."""
    programs = {}
    for bonus in BONUSES:
        algorithm = make(bonus, task)
        step = jax.jit(
            lambda state, algorithm=algorithm: jax.lax.scan(
                lambda state, _: (algorithm.update(state, None)[0], None), state, length=updates
            )[0]
        )
        programs[bonus] = step, jax.block_until_ready(step(algorithm.init(jax.random.key(0))))
    taken: dict[str, list[float]] = {bonus: [] for bonus in BONUSES}
    for _ in range(rounds):
        for bonus, (step, state) in programs.items():
            start = time.process_time()
            jax.block_until_ready(step(state))
            taken[bonus].append((time.process_time() - start) / updates)
    return taken
