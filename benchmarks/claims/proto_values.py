"""Features learned from values of many random rewards serve tasks that nobody had named, the better the more there are.

Four rooms, and a random walk in them. Features are a table, a vector for each cell, and learn together with linear
heads, one for each action and random reward, by expected SARSA under the uniform policy; rewards are random functions
of the cell, paid in a tenth of the cells each, their thresholds settled first. Then features are frozen, and goals are
given, one after another: fitted Q-iteration with linear heads on them, over all cells and actions. Judged is the
discounted return of its greedy policy as a share of the optimum's, over starts and goals; the baselines are features as
they are drawn, and features from few rewards.

In the paper features are deep networks on Atari games, and tasks are learned from interaction.

Tried once, on seeds 0 and 1 with 1000 updates (0.56 with 256 rewards, 0.35 with 4, 0.18 with features as drawn), and
nothing was changed. Also there and no condition: 32 rewards, no features but a constant, and the leading singular
vectors of the exact successor measure of states, of which learned features fall short only if they are worse than that
ideal for goals; on those seeds they were better.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.claims.claim import Claim, Condition
from rlx.envs import GoalGrid
from rlx.envs.grid import four_rooms
from rlx.types import Array, PyTree
from rlx.value import indicator_bias_loss, proto_value_loss, random_indicator, take_action

ENV = GoalGrid(four_rooms(9))
EPISODES, LENGTH = 100, 100  # of the log
SIZE = 16  # of the features
REWARDS = (4, 32, 256)
SHARE = 0.1  # of the cells in which a random reward is paid
SETTINGS = {"discount": 0.95, "learning_rate": 1e-2, "tau": 0.02, "batch": 64, "bias_updates": 500, "bias_rate": 0.05}
TASKS, ITERATIONS = 16, 150  # goals of a seed; of fitted Q-iteration and of evaluation
AFTER = jnp.asarray(ENV.after)


def settle(score: Array) -> Array:
    """Thresholds `[K]` of scores `[S, K]`."""
    cells = score[ENV.free]

    def update(bias: Array, step: Array) -> tuple[Array, None]:
        slope = jax.grad(lambda bias: indicator_bias_loss(cells, bias, SHARE).mean(0).sum())(bias)
        return bias - SETTINGS["bias_rate"] * slope / jnp.sqrt(1 + step / 20), None

    start = -jnp.mean(cells, 0) - jnp.std(cells, 0)
    return jax.lax.scan(update, start, jnp.arange(SETTINGS["bias_updates"], dtype=jnp.float32))[0]


def features(key: Array, cell: Array, action: Array, after: Array, rewards: int, updates: int) -> tuple[Array, Array]:
    """Learned `[S, SIZE]`, and the share of cells in which a reward is paid, from steps `[N]`."""
    score_key, phi_key, head_key, key = jax.random.split(key, 4)
    score = jax.random.normal(score_key, (ENV.num_cells, rewards))
    indicator = random_indicator(score, settle(score))
    params = {
        "phi": first_features(phi_key),
        "head": 0.1 * jax.random.normal(head_key, (SIZE, ENV.num_actions * rewards)),
    }
    optimiser = optax.adam(SETTINGS["learning_rate"])

    def values(params: PyTree, cell: Array) -> Array:
        """`[N, K, A]`."""
        return (params["phi"][cell] @ params["head"]).reshape(-1, rewards, ENV.num_actions)

    def update(carry: tuple, key: Array) -> tuple[tuple, None]:
        params, target, state = carry
        row = jax.random.randint(key, (SETTINGS["batch"],), 0, len(cell))
        there = values(target, after[row])

        def loss(params: PyTree) -> Array:
            taken = jnp.repeat(action[row][:, None], rewards, 1)
            q = take_action(values(params, cell[row]), taken)
            return proto_value_loss(q, there, indicator[after[row]], SETTINGS["discount"]).mean(0).sum()

        change, state = optimiser.update(jax.grad(loss)(params), state)
        params = optax.apply_updates(params, change)
        return (params, optax.incremental_update(params, target, SETTINGS["tau"]), state), None

    carry = (params, params, optimiser.init(params))
    (params, _, _), _ = jax.lax.scan(update, carry, jax.random.split(key, updates))
    return params["phi"], indicator[ENV.free].mean()


def first_features(key: Array) -> Array:
    return jax.random.normal(key, (ENV.num_cells, SIZE)) / jnp.sqrt(SIZE)


def control(phi: Array, goal: Array) -> Array:
    """Discounted return of fitted Q-iteration's greedy policy for a goal, as a share of the optimum, `[]`."""
    gamma = SETTINGS["discount"]
    free = jnp.asarray(ENV.free)
    inputs = jnp.concatenate([phi, jnp.ones((len(phi), 1))], 1)
    inverse = jnp.linalg.pinv(inputs[free])
    entered = goal == AFTER

    def backup(value: Array) -> Array:
        """`[S, A]` from `[S]`."""
        return jnp.where(entered, 1.0, gamma * value[AFTER])

    def fit(q: Array, _: None) -> tuple[Array, None]:
        target = backup(jnp.clip(q.max(1), 0.0, 1.0))
        return inputs @ (inverse @ target[free]), None

    q, _ = jax.lax.scan(fit, jnp.zeros(AFTER.shape), length=ITERATIONS)
    action = q.argmax(1)
    own, _ = jax.lax.scan(lambda v, _: (take_action(backup(v), action), None), jnp.zeros(len(AFTER)), length=ITERATIONS)
    best, _ = jax.lax.scan(lambda v, _: (backup(v).max(1), None), jnp.zeros(len(AFTER)), length=ITERATIONS)
    others = jnp.where(free == goal, 0.0, 1.0)
    return jnp.sum(others * own[free]) / jnp.sum(others * best[free])


@functools.partial(jax.jit, static_argnames="updates")
@functools.partial(jax.vmap, in_axes=(0, None))
def trial(seed: Array, updates: int) -> dict[str, Array]:
    log_key, goal_key, random_key, *keys = jax.random.split(jax.random.key(seed), 3 + len(REWARDS))
    log = ENV.log(log_key, EPISODES, LENGTH, noise=1.0)
    cell, after = (x["observation"].ravel() for x in (log.obs, log.next_obs))
    goals = jax.random.choice(goal_key, jnp.asarray(ENV.free), (TASKS,), replace=False)

    def returns(phi: Array) -> Array:
        return jax.vmap(lambda goal: control(phi, goal))(goals).mean()

    found = {
        "features as drawn": returns(first_features(random_key)),
        "no features": returns(jnp.zeros((len(AFTER), 1))),
    }
    for key, rewards in zip(keys, REWARDS, strict=True):
        phi, share = features(key, cell, log.action.ravel(), after, rewards, updates)
        found |= {f"{rewards} rewards": returns(phi), f"{rewards} rewards: share paid": share}
    psi = jnp.asarray(exact_features())
    return found | {"singular vectors of the successor measure": returns(psi)}


def exact_features() -> np.ndarray:
    """The leading left singular vectors of the successor measure of the uniform policy, `[S, SIZE]`."""
    walk = np.zeros((ENV.num_cells, ENV.num_cells))
    np.add.at(walk, (np.arange(ENV.num_cells)[:, None], ENV.after), 1 / ENV.num_actions)
    walk = walk[np.ix_(ENV.free, ENV.free)]
    left = np.linalg.svd(np.linalg.inv(np.eye(len(walk)) - SETTINGS["discount"] * walk))[0]
    found = np.zeros((ENV.num_cells, SIZE))
    found[ENV.free] = left[:, :SIZE]
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = trial(np.asarray(seeds, np.uint32), updates)
    return {name: np.asarray(x, np.float64).tolist() for name, x in found.items()}


CLAIM = Claim(
    name="proto_values",
    title="Proto-Value Networks: Scaling Representation Learning with Auxiliary Tasks",
    year=2023,
    cards=(156,),
    environment="rlx/goal-fourrooms-9",
    baseline="features as drawn; features from values of 4 random rewards",
    method="features from values of 256 random rewards",
    metric=f"discounted return as a share of the optimum, over {TASKS} goals and all starts",
    conditions=(
        Condition("return, over features as drawn", "256 rewards", "features as drawn", 0.2, paired=True),
        Condition("return, over 4 rewards", "256 rewards", "4 rewards", paired=True),
    ),
    settings={**SETTINGS, "size": SIZE, "rewards": REWARDS, "share": SHARE, "log": (EPISODES, LENGTH)},
    updates=2000,
    steps_per_update=64,
    run=run,
)
