"""Does a slow annotator hold up training? Steps per second of PPO with labels from nobody, a script, and threads.

  python -m benchmarks.annotators              a minute; prints a table

The stand-in for a language model sleeps for a lognormal time with a median of half a second. "in step" is what to
compare with: the same questions asked in turn while the program waits for each answer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

from rlx.algos import ppo
from rlx.envs import make
from rlx.envs.grid import DOOR, EVENTS, GOAL, KEY
from rlx.exploration import Annotator, Answers, labelled_events, scripted_annotator
from rlx.pareto import linear
from rlx.reward import extrinsic, stack
from rlx.runtime.annotation import HostAnnotator
from rlx.types import Array, Transition

ENV, PARAMS = make("rlx/keydoor-15")
CELLS = ENV.height * ENV.width
CAPTIONS = len(ENV.events) + CELLS  # a step without an event is "walked from cell c"
CONFIG = ppo.Config(num_envs=16, num_steps=64)
RATE, WORKERS = 4, 16
SPREAD = 0.5  # deviation of the logarithm of the answering time


class Row(NamedTuple):
    name: str
    steps: float  # per second
    answers: float  # per second


def caption(batch: Transition) -> Array:
    event = ENV.event(batch.obs, batch.action)
    cell = jnp.argmax(batch.obs[..., :CELLS], -1).astype(event.dtype)
    return jnp.where(event < EVENTS.index("key"), len(ENV.events) + cell, event)


def helpful(caption: int) -> float:
    return float(caption in (KEY, DOOR, GOAL))


def measure(annotator: Annotator | None, updates: int, answered: Callable[[], int] = lambda: 0) -> tuple[float, float]:
    """Environment steps and answers per second over `updates`, after the first, which compiles."""
    if annotator is None:
        algorithm = ppo.make(CONFIG, ENV, PARAMS)
    else:
        source = labelled_events(caption, CAPTIONS, annotator, rate=RATE)
        algorithm = ppo.make(CONFIG, ENV, PARAMS, rewards=stack(extrinsic(), source), weighting=linear((1.0, 0.1)))
    update = jax.jit(algorithm.update)
    state = algorithm.init(jax.random.key(0))
    state, _ = jax.block_until_ready(update(state))
    before, start = answered(), time.perf_counter()
    for _ in range(updates):
        state, _ = update(state)
    jax.block_until_ready(state)
    seconds = time.perf_counter() - start
    return updates * CONFIG.num_envs * CONFIG.num_steps / seconds, (answered() - before) / seconds


def rows(updates: int, median: float) -> list[Row]:
    times = median * np.random.default_rng(0).lognormal(0.0, SPREAD, CAPTIONS)

    def answer(caption: int, content: None) -> list[float]:
        del content
        time.sleep(times[caption])
        return [helpful(caption)]

    def in_step(state: Array, asked: Array, content: None) -> tuple:
        shapes = jax.ShapeDtypeStruct(asked.shape, jnp.float32)

        def ask(asked: Array) -> np.ndarray:
            told = [answer(int(c), None)[0] if c >= 0 else 0.0 for c in np.asarray(asked)]
            counted.extend(np.asarray(asked)[np.asarray(asked) >= 0].tolist())
            return np.array(told, np.float32)

        label = io_callback(ask, shapes, asked)
        return Answers(asked, label[:, None], asked >= 0), state

    counted: list[int] = []
    truth = np.array([helpful(c) for c in range(CAPTIONS)], bool)[:, None]
    found = [
        Row("no annotator", *measure(None, updates)),
        Row("scripted, on the device", *measure(scripted_annotator(jnp.asarray(truth)), updates)),
    ]
    host = HostAnnotator(answer, 1, workers=WORKERS)
    found.append(Row(f"in {WORKERS} threads", *measure(host.annotator, updates, host.answered)))
    host.close()
    waiting = Annotator(lambda key, num: (), in_step, 1)
    found.append(Row("in step", *measure(waiting, max(1, updates // 10), lambda: len(counted))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--median", type=float, default=0.5, help="seconds to an answer")
    options = parser.parse_args()
    print("| labels | steps/s | answers/s |\n|---|---|---|")
    for row in rows(options.updates, options.median):
        print(f"| {row.name} | {row.steps:,.0f} | {row.answers:.1f} |")


if __name__ == "__main__":
    main()
