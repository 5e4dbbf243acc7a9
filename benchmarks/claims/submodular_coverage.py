"""Rewards that diminish: a policy gradient of marginal gains covers two rooms, where a reward for each cell does not.

Differs from the paper, whose policy is a network of state and time: here it is a table of logits for each cell and
step, so that only the objective differs. All three variants see the same rollouts' statistics: a baseline that is the
batch's mean at each step. Sizes are those of the method's card but for a batch of half of it; seed 0 was looked at,
and nothing was tuned.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.claims.claim import Claim, Condition
from rlx.envs import grid
from rlx.exploration import coverage, marginal_gains
from rlx.policy import policy_gradient_loss
from rlx.types import Array
from rlx.value import returns_to_go

MOVES = 39  # steps, so that a path has 40 cells
BATCH = 256  # paths in one update
LEARNING_RATE = 0.05  # of Adam
WINDOW = 10  # updates at the end, whose paths are counted
FREE = ~np.asarray(grid.two_rooms().wall)
START = 3 * FREE.shape[1] + 1


def successors() -> np.ndarray:
    """The cell that each move leads to, `[S, 5]`: up, down, left, right, stay; no cell ends the path."""
    cells = np.pad(FREE, 1)
    index = np.pad(np.arange(FREE.size).reshape(FREE.shape), 1)
    moved = [
        np.where(np.roll(cells, shift, axis), np.roll(index, shift, axis), index)[1:-1, 1:-1].ravel()
        for axis, shift in ((0, 1), (0, -1), (1, 1), (1, -1))
    ]
    return np.stack([*moved, index[1:-1, 1:-1].ravel()], axis=1)


NEXT = successors()
COVERS = np.eye(FREE.size, dtype=bool)[NEXT].any(1)  # a cell and its free neighbours
DISCOUNT = {"submodular": 1.0, "greedy": 0.0, "additive": 1.0}


def covered(key: Array, updates: int, variant: str) -> Array:
    """Mean number of cells covered by a path, over the paths of the last updates."""
    function, after = coverage(jnp.asarray(COVERS)), jnp.asarray(NEXT)
    alone = jnp.sum(jnp.asarray(COVERS), 1, dtype=jnp.float32)  # of a cell by itself
    optimiser = optax.adam(LEARNING_RATE)

    def paths(logits: Array, key: Array) -> tuple[Array, Array]:
        def move(cell: Array, xs: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
            table, noise = xs
            action = jnp.argmax(table[cell] + noise, axis=-1)
            return after[cell, action], (cell, action)

        noise = jax.random.gumbel(key, (MOVES, BATCH, after.shape[1]))
        last, (cells, actions) = jax.lax.scan(move, jnp.full(BATCH, START), (logits, noise))
        return jnp.concatenate([cells, last[None]]), actions  # [T + 1, B], [T, B]

    def loss(logits: Array, cells: Array, actions: Array, reward: Array) -> Array:
        returns = returns_to_go(reward, DISCOUNT[variant], jnp.zeros(reward.shape, bool))
        log_prob = jax.nn.log_softmax(logits)[jnp.arange(MOVES)[:, None], cells[:-1], actions]
        return jnp.sum(policy_gradient_loss(log_prob, returns - returns.mean(1, keepdims=True)), 0).mean()

    def update(carry: tuple[Array, optax.OptState], key: Array) -> tuple[tuple[Array, optax.OptState], Array]:
        logits, state = carry
        cells, actions = paths(logits, key)
        gains = jax.vmap(lambda path: marginal_gains(function, path), 1, 1)(cells)
        reward = alone[cells[1:]] if variant == "additive" else gains[1:]
        change, state = optimiser.update(jax.grad(loss)(logits, cells, actions, reward), state)
        return (logits + jnp.asarray(change), state), gains.sum(0).mean()

    logits = jnp.zeros((MOVES, FREE.size, after.shape[1]))
    return jax.lax.scan(update, (logits, optimiser.init(logits)), jax.random.split(key, updates))[1]


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    samples = {}
    for variant in DISCOUNT:
        curve = jax.jit(lambda keys, v=variant: jax.lax.map(lambda key: covered(key, updates, v), keys))(keys)
        cells = np.asarray(curve[:, -WINDOW:].mean(1), np.float64)
        samples[variant] = np.log(cells).tolist()
        samples[f"{variant}: cells"] = cells.tolist()
        samples[f"{variant}: cells at the start"] = np.asarray(curve[:, 0], np.float64).tolist()
    return samples


CLAIM = Claim(
    name="submodular_coverage",
    title="Submodular Reinforcement Learning",
    year=2024,
    cards=(83,),
    environment=f"two rooms and a corridor, 7 x 14 with {FREE.sum()} free cells; a path of {MOVES} moves covers its"
    " cells and their neighbours",
    baseline="additive rewards, what each cell covers alone (ModPO); and gains without those that follow (greedy)",
    method="policy gradient with marginal gains as rewards, summed to the end of the path (SubPO)",
    metric=f"logarithm of the number of cells that a sampled path covers, mean over the last {WINDOW} updates",
    conditions=(
        Condition("over additive rewards, twice as many", "submodular", "additive", float(np.log(2))),
        Condition("over greedy gains, 1.2 times as many", "submodular", "greedy", float(np.log(1.2))),
    ),
    settings={"moves": MOVES, "batch": BATCH, "learning_rate": LEARNING_RATE, "window": WINDOW},
    updates=400,
    steps_per_update=MOVES * BATCH,
    run=run,
)
