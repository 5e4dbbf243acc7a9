"""A GFlowNet that learns from Pareto dominance alone draws the front, where weighted rewards spread over much more.

A trajectory starts in a corner of a 32 x 32 grid, goes up or right and stops somewhere: that cell is the object, with
two objectives (Branin and Currin, scaled to be maximised on the unit square). All 1,024 cells are known, so
the true front is, and the probability of ending in a cell follows exactly from the policy: figures have no sampling
error.

The baselines need no training either. A preference-conditioned GFlowNet with reward `(w . f)^exponent` that has learned
perfectly ends in each cell with probability in proportion to its reward; here averaged over 100 weights. The higher the
exponent, the more of it lies on the front, and the less evenly: what is compared is the total variation distance to the
uniform distribution on the front, at the best exponent.

Differs from the paper: logits in a table in place of a network, a uniform backward policy, no replay of the front, and
no training towards a scalar reward afterwards. log Z is not trained, as the loss does not depend on it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.claims.claim import Claim, Condition
from rlx.pareto import nondominated_mask
from rlx.policy import order_loss_pareto, tb_log_reward
from rlx.types import Array

SIDE = 32
MAX_STEPS = 2 * SIDE - 1  # the last one is a stop
RIGHT, UP, STOP = range(3)
BATCH = 128
LEARNING_RATE = 0.05
EXPLORATION = 0.05  # probability of a uniformly random legal action
EXPONENTS = (1, 16, 96, 200, 1000)
BEST = 200  # of these and 300, 500, 3000 and 10000, the one nearest to the uniform distribution on the front
NUM_WEIGHTS = 100
ENTROPY = ("entropy after a third", "entropy after two thirds", "entropy")


class Trajectory(NamedTuple):
    """The steps of `B` trajectories; what follows a stop is padding."""

    place: Array  # int [T, B, 2]
    action: Array  # int [T, B]
    going: Array  # bool [T, B]


def objectives() -> np.ndarray:
    """Both functions `[SIDE, SIDE, 2]` on the grid, at least 0 and about 1 at best."""
    x, y = np.meshgrid(*[np.linspace(0, 1, SIDE)] * 2, indexing="ij")
    a, b = 15 * x - 5, 15 * y
    branin = (b - 5.1 / (4 * np.pi**2) * a**2 + 5 / np.pi * a - 6) ** 2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(a) + 10
    decay = 1 - np.exp(np.divide(-0.5, y, out=np.full_like(y, -np.inf), where=y > 0))
    currin = decay * (2300 * x**3 + 1900 * x**2 + 2092 * x + 60) / (100 * x**3 + 500 * x**2 + 4 * x + 20)
    return np.stack([1 - branin / 308.13, currin / 13.77], axis=-1)


VALUES = objectives()
FRONT = np.asarray(nondominated_mask(jnp.asarray(VALUES).reshape(-1, 2), keep_duplicates=True)).reshape(SIDE, SIDE)
LEGAL = np.ones((SIDE, SIDE, 3), bool)  # [x, y, action]
LEGAL[-1, :, RIGHT] = LEGAL[:, -1, UP] = False


def log_policy(logits: Array) -> Array:
    return jax.nn.log_softmax(jnp.where(LEGAL, logits, -jnp.inf))


def sample(key: Array, log_probs: Array) -> Trajectory:
    explore = jnp.log((1 - EXPLORATION) * jnp.exp(log_probs) + EXPLORATION * LEGAL / LEGAL.sum(-1, keepdims=True))

    def step(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], Trajectory]:
        place, going = carry
        action = jax.random.categorical(key, explore[place[:, 0], place[:, 1]])
        move = jnp.stack([action == RIGHT, action == UP], axis=-1) & going[:, None]
        return (place + move, going & (action != STOP)), Trajectory(place, action, going)

    start = jnp.zeros((BATCH, 2), jnp.int32), jnp.ones(BATCH, bool)
    return jax.lax.scan(step, start, jax.random.split(key, MAX_STEPS))[1]


def loss(logits: Array, walk: Trajectory) -> Array:
    x, y = walk.place[..., 0], walk.place[..., 1]
    forward = log_policy(logits)[x, y, walk.action]
    to_x, to_y = x + (walk.action == RIGHT), y + (walk.action == UP)
    backward = -jnp.log(2.0) * ((walk.action != STOP) & (to_x > 0) & (to_y > 0))
    log_reward = tb_log_reward(0.0, forward, backward, walk.going)
    end = walk.place[-1]
    best = nondominated_mask(jnp.asarray(VALUES)[end[:, 0], end[:, 1]], keep_duplicates=True)
    return order_loss_pareto(log_reward, best)


def end_probabilities(logits: Array) -> Array:
    """The probability `[SIDE, SIDE]` of ending in each cell, by the flow along anti-diagonals."""
    policy = jnp.exp(log_policy(logits))

    def advance(visit: Array, _: None) -> tuple[Array, Array]:
        right = jnp.pad((visit * policy[..., RIGHT])[:-1], ((1, 0), (0, 0)))
        up = jnp.pad((visit * policy[..., UP])[:, :-1], ((0, 0), (1, 0)))
        return right + up, visit

    start = jnp.zeros((SIDE, SIDE)).at[0, 0].set(1.0)
    visits = jax.lax.scan(advance, start, length=MAX_STEPS)[1]
    return visits.sum(0) * policy[..., STOP]


def figures(p: Array) -> dict[str, Array]:
    return {
        "mass": jnp.sum(p * FRONT),
        "covered": jnp.sum((p > 1 / SIDE**2) & FRONT) / FRONT.sum(),
        "distance": jnp.sum(jnp.abs(p - FRONT / FRONT.sum())) / 2,
        "entropy": -jnp.sum(jax.scipy.special.xlogy(p, p)),
    }


@functools.partial(jax.jit, static_argnames="updates")
@functools.partial(jax.vmap, in_axes=(0, None))
def learn(seed: Array, updates: int) -> dict[str, Array]:
    """Figures `[3]` after each third of the updates."""
    optimiser = optax.adam(LEARNING_RATE)

    def update(carry: tuple[Array, optax.OptState], key: Array) -> tuple[tuple[Array, optax.OptState], None]:
        logits, state = carry
        walk = sample(key, log_policy(logits))
        step, state = optimiser.update(jax.grad(loss)(logits, walk), state)
        return (jnp.asarray(optax.apply_updates(logits, step)), state), None

    def third(carry: tuple[Array, optax.OptState], keys: Array) -> tuple[tuple[Array, optax.OptState], Array]:
        carry, _ = jax.lax.scan(update, carry, keys)
        return carry, end_probabilities(carry[0])

    logits = jnp.zeros((SIDE, SIDE, 3))
    keys = jax.random.split(jax.random.key(seed), (3, max(updates // 3, 1)))
    return jax.vmap(figures)(jax.lax.scan(third, (logits, optimiser.init(logits)), keys)[1])


def ideal(exponent: float) -> dict[str, Array]:
    """Figures of perfectly trained GFlowNets on weighted rewards, their distributions averaged over weights."""
    weight = jnp.linspace(0, 1, NUM_WEIGHTS)
    log_reward = exponent * jnp.log(VALUES @ jnp.stack([weight, 1 - weight])).reshape(SIDE**2, NUM_WEIGHTS)
    return figures(jax.nn.softmax(log_reward, axis=0).mean(1).reshape(SIDE, SIDE))


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = learn(np.asarray(seeds, np.uint32), updates)
    samples = {name: np.asarray(values)[:, -1].tolist() for name, values in found.items()}
    for third, name in enumerate(("a third", "two thirds")):
        samples |= {f"{key} after {name}": np.asarray(values)[:, third].tolist() for key, values in found.items()}
    for exponent in EXPONENTS:
        samples |= {f"ideal {exponent}: {key}": [float(x)] * len(seeds) for key, x in ideal(exponent).items()}
    return samples


CLAIM = Claim(
    name="order_preserving_gflownet",
    title="Order-Preserving GFlowNets",
    year=2024,
    cards=(99,),
    environment=f"grid of {SIDE} x {SIDE} cells with Branin and Currin as objectives; {FRONT.sum()} cells on the front",
    baseline="perfectly trained preference-conditioned GFlowNets with reward (w . f)^exponent, exactly computed and"
    f" averaged over {NUM_WEIGHTS} weights",
    method="GFlowNet trained by the order of each batch, non-dominated or not",
    metric="exact distribution of the cells where trajectories end: its total variation distance to the uniform one on"
    " the true front, its mass there, the share of front cells with more than 1/1024, and its entropy",
    conditions=(
        Condition("distance, below that of the best ideal", "distance", f"ideal {BEST}: distance", 0.2, direction=-1),
        Condition("mass on the front, above 0.9", "mass", 0.9),
        Condition("share of front cells more probable than by a uniform draw, above 0.8", "covered", 0.8),
        Condition("entropy falls in the second third", ENTROPY[1], ENTROPY[0], direction=-1, paired=True),
        Condition("and in the last third", ENTROPY[2], ENTROPY[1], direction=-1, paired=True),
    ),
    settings={
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "exploration": EXPLORATION,
        "exponents": EXPONENTS,
        "weights": NUM_WEIGHTS,
    },
    updates=3000,
    steps_per_update=BATCH * MAX_STEPS,
    run=run,
    seeds=range(1000, 1020),
)
