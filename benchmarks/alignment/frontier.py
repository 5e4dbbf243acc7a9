"""One loss, offline or online, for a grid of beta and all seeds in one program; every figure is a sum over answers.

The task is `toy_seq("tiny")` with four prompts, 1555 answers to each. The reference is a small GRU that imitated the
demonstrator. A judge compares two answers by Bradley and Terry's rule with four times the gold reward. Offline, pairs
of the reference's answers are the data; online, each update compares 32 pairs of the current policy's. Both see as many
labels: an offline run passes over its data about once.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rlx.algos import offline_alignment, online_alignment
from rlx.envs.token import toy_seq
from rlx.nets.language import GRULM, enumerated_log_prob, init, sft
from rlx.reward import tilt

# the default of beta by loss, which the grid multiplies
LOSSES = {
    "dpo": 0.1,
    "cdpo": 0.1,
    "rdpo": 0.1,
    "fdpo_js": 0.1,
    "ipo": 0.1,
    "slic": 1.0,
    "rso": 0.1,
    "exo": 0.1,
    "simpo": 2.0,
    "orpo": 0.1,
    "cpo": 0.1,
    "sppo": 0.1,
    "nca": 0.1,
    "apo_zero": 0.1,
    "apo_down": 0.1,
    "discopop": 0.1,
    "aot": 0.1,
    "kto": 0.1,
}
MODES = ("offline", "online")
GRID = (0.25, 1.0, 4.0, 16.0, 64.0)  # times the default
SEEDS = tuple(range(1000, 1010))
FIGURES = ("gold", "divergence", "length", "entropy", "verify", "style")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The same for all losses."""

    updates: int = 200  # gradient steps
    pairs: int = 32  # in each
    learning_rate: float = 5e-3  # of Adam
    label_scale: float = 4.0  # of the judge: log-odds per unit of gold reward
    width: int = 32  # of the model
    reference_steps: int = 300  # of supervised training


class Task(NamedTuple):
    """What all runs share."""

    env: Any
    model: Any
    reference: Any
    every: Any
    log_reference: jax.Array  # [X, N]
    gold: jax.Array  # [X, N]


@functools.cache
def task(settings: Settings) -> Task:
    env = toy_seq("tiny", prompts=4)
    model = GRULM(env.task.vocabulary, settings.width, depth=1)

    @jax.jit
    def imitate(key: jax.Array) -> Any:
        draw = functools.partial(env.demonstrations, count=128)
        return sft(model, init(model, key), key, draw, settings.reference_steps, 1e-2)[0]

    reference, every = imitate(jax.random.key(0)), env.enumerate()
    log_reference = enumerated_log_prob(model, reference, env.prompts, env.prompts != 0, every)
    gold = env.score(env.prompts[:, None], every.token, every.mask)
    return Task(env, model, reference, every, log_reference, gold)


def figures(on: Task, log_prob: jax.Array) -> dict[str, jax.Array]:
    """Exact means over prompts; length in tokens, entropy and divergence from the reference in nats."""
    probability = jnp.exp(log_prob)
    mean = lambda x: jnp.mean(jnp.sum(probability * x, axis=-1))  # noqa: E731
    every = on.env.gold_reward(on.env.prompts[:, None], on.every.token, on.every.mask)
    return {
        "gold": mean(on.gold),
        "divergence": mean(log_prob - on.log_reference),
        "length": mean(jnp.sum(on.every.mask, axis=-1)),
        "entropy": mean(-log_prob),
        "verify": mean(every[..., 0]),
        "style": mean(every[..., 1]),
    }


def optimum(settings: Settings, beta: np.ndarray) -> dict[str, np.ndarray]:
    """The figures of the reference tilted by the gold reward over beta: no policy has more gold at its divergence."""
    on = task(settings)
    found = jax.jit(jax.vmap(lambda beta: figures(on, tilt(on.log_reference, on.gold, beta))))(jnp.asarray(beta))
    return {name: np.asarray(x) for name, x in found.items()}


def run(loss: str, mode: str, settings: Settings, seeds: tuple[int, ...] = SEEDS) -> dict[str, Any]:
    """All figures `[beta, seed]` at the end of training, and how long it took."""
    on = task(settings)
    shared = {"loss": loss, "learning_rate": settings.learning_rate}
    asking = {"label_scale": settings.label_scale, "width": settings.width, "depth": 1}
    start = time.perf_counter()

    def one(beta: Any, seed: jax.Array) -> dict[str, jax.Array]:
        data_key, run_key = jax.random.split(jax.random.key(seed))
        if mode == "online":
            config = online_alignment.Config(**shared, **asking, beta=beta, num_prompts=settings.pairs)
            algorithm = online_alignment.make(config, on.env, model=on.model, reference=on.reference)
            data = None
        else:
            labels = settings.updates * settings.pairs
            config = online_alignment.Config(**asking, num_prompts=labels, sampler="reference")
            collect = online_alignment.collector(config, on.env, on.env.default_params, on.model)
            data = collect(data_key, None, None, on.reference).rows
            config = offline_alignment.Config(**shared, beta=beta, batch_size=settings.pairs)
            algorithm = offline_alignment.make(config, on.env, model=on.model, reference=on.reference)
        step = lambda state, _: (algorithm.update(state, data)[0], None)  # noqa: E731
        state, _ = jax.lax.scan(step, algorithm.init(run_key), length=settings.updates)
        log_prob = enumerated_log_prob(on.model, state.params, on.env.prompts, on.env.prompts != 0, on.every)
        return figures(on, log_prob)

    beta = LOSSES[loss] * jnp.asarray(GRID, jnp.float32)
    program = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))
    found = jax.block_until_ready(program(beta, jnp.asarray(seeds)))
    taken = {name: np.asarray(found[name], np.float64).tolist() for name in FIGURES}
    return {"beta": np.asarray(beta).tolist(), "seconds": time.perf_counter() - start, **taken}
