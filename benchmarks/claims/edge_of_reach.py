"""Short rollouts in a perfect model make values diverge, and pessimism over an ensemble of critics prevents it.

A point on a square moves a quarter in one of four directions or stays, and is paid for being near a place; the data are
states in a small square around that place. Q-learning on rollouts of three steps from the data, in the *true* dynamics,
takes its targets from states at which no rollout ever continues. Nothing corrects their values, and what the maximum
finds there goes back into the data. The model cannot be at fault. With rollouts of 30 steps there is hardly such an
edge; with the least of ten critics as the target, errors at the edge are pulled down instead.

The published method adds a loss that diversifies critics by their gradients in the action (`ensemble_diversity_loss`),
which discrete actions do not have; here their initialisation alone makes them differ. The policy that rolls out is
greedy with a tenth of random actions, and the rollouts of the last five rounds are kept.

Values are compared with 20, which no policy can exceed: a reward of at most 1 at a discount of 0.95.

Tuned on seeds 0 to 9 in three rounds. With networks of two layers, or target networks that move by 0.01, the values of
one critic stay below 20 and its return is that of the others (17.5), with rollouts of one step as with three; so they
do where targets move by 0.05 for most seeds after 4,000 updates. With three layers, 0.05 and 6,000 updates, eight of
ten seeds diverge with one critic, none of the others. The failure needs a network that extrapolates and backups enough
to carry it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.claims.claim import Claim, Condition
from rlx.nets import MLP
from rlx.runtime.rollout import truncated_rollout
from rlx.types import Array, PyTree
from rlx.value import edge_of_reach, greedy_action, q_target, take_action, td_loss

GAMMA, SIDE, SCALE, DATA, STEP = 0.95, 2.0, 0.5, 0.5, 0.25
GOAL, WIDTH = (0.25, 0.25), 0.25  # of the place that pays
MOVES = STEP * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)
HIDDEN, LEARNING_RATE, TAU, BATCH = (32, 32, 32), 1e-3, 0.05, 128
COLLECTED = 960  # steps in the model in a round, whatever their length
KEPT, UPDATES, EPSILON = 5, 100, 0.1  # rounds that are kept, updates in a round, share of random actions
EVALUATED, HORIZON, CELLS = 32, 100, 16
ARMS = {  # critics, and steps of a rollout
    "one critic": (1, 3),
    "ten critics": (10, 3),
    "one critic, long rollouts": (1, 30),
}


def dynamics(key: Array, place: Array, action: Array) -> tuple[Array, Array, Array]:
    del key
    place = jnp.clip(place + jnp.asarray(MOVES)[action], -SIDE, SIDE)
    reward = jnp.exp(-jnp.sum(jnp.square(place - jnp.array(GOAL)), -1) / (2 * WIDTH**2))
    return place, reward, jnp.zeros(reward.shape, bool)


def starts(key: Array, number: int) -> Array:
    return jax.random.uniform(key, (number, 2), minval=-DATA, maxval=DATA)


NETWORK = nn.Sequential([MLP(HIDDEN, "relu"), nn.Dense(len(MOVES))])


def values(critics: PyTree, place: Array) -> Array:
    """Of each critic, `[N, ..., A]`."""
    return jnp.asarray(jax.vmap(lambda params: NETWORK.apply(params, place / SCALE))(critics))


def least(critics: PyTree, place: Array) -> Array:
    """The least of the critics' values, `[..., A]`."""
    return values(critics, place).min(0)


def cell(place: Array) -> Array:
    index = jnp.clip(((place + SIDE) / (2 * SIDE) * CELLS).astype(jnp.int32), 0, CELLS - 1)
    return index[..., 0] * CELLS + index[..., 1]


@functools.partial(jax.jit, static_argnames=("critics", "length", "rounds"))
@functools.partial(jax.vmap, in_axes=(0, None, None, None))
def trial(seed: Array, critics: int, length: int, rounds: int) -> dict[str, Array]:
    init_key, first_key, run_key, judge_key = jax.random.split(jax.random.key(seed), 4)
    optimiser = optax.adam(LEARNING_RATE)
    params = jax.vmap(lambda key: NETWORK.init(key, jnp.zeros(2)))(jax.random.split(init_key, critics))

    def collect(key: Array, params: PyTree) -> tuple[Array, Array, Array, Array]:
        start_key, roll_key = jax.random.split(key)

        def act(key: Array, place: Array) -> Array:
            coin_key, action_key = jax.random.split(key)
            random = jax.random.randint(action_key, place.shape[:1], 0, len(MOVES))
            explores = jax.random.bernoulli(coin_key, EPSILON, random.shape)
            return jnp.where(explores, random, greedy_action(least(params, place)))

        begin = starts(start_key, COLLECTED // length)
        step, _ = truncated_rollout(dynamics, roll_key, begin, length, act)
        rows = (step.obs, step.action, step.reward, step.next_obs)
        return jax.tree.map(lambda x: x.reshape(COLLECTED, *x.shape[2:]), rows)

    def update(carry: tuple[PyTree, PyTree, PyTree], key: Array, kept: tuple) -> tuple[tuple, None]:
        params, target, state = carry
        row = jax.random.randint(key, (BATCH,), 0, KEPT * COLLECTED)
        place, action, reward, after = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[row], kept)
        following = least(target, after)
        wanted = q_target(following, following, reward, GAMMA, double=False)

        def loss(params: PyTree) -> Array:
            q = jax.vmap(lambda q: take_action(q, action))(values(params, place))
            return td_loss(q, jnp.broadcast_to(wanted, q.shape)).mean(-1).sum()

        change, state = optimiser.update(jax.grad(loss)(params), state)
        params = optax.apply_updates(params, change)
        return (params, optax.incremental_update(params, target, TAU), state), None

    def one_round(carry: tuple, key: Array) -> tuple[tuple, None]:
        learner, kept = carry
        collect_key, learn_key = jax.random.split(key)
        fresh = collect(collect_key, learner[0])
        kept = jax.tree.map(lambda old, new: jnp.concatenate([old[1:], new[None]]), kept, fresh)
        learner, _ = jax.lax.scan(
            lambda learner, key: update(learner, key, kept), learner, jax.random.split(learn_key, UPDATES)
        )
        return (learner, kept), None

    kept = jax.vmap(lambda key: collect(key, params))(jax.random.split(first_key, KEPT))
    learner = (params, params, optimiser.init(params))
    ((params, _, _), kept), _ = jax.lax.scan(one_round, (learner, kept), jax.random.split(run_key, rounds))

    begin = starts(judge_key, EVALUATED)
    step, _ = truncated_rollout(
        dynamics, judge_key, begin, HORIZON, lambda key, place: greedy_action(least(params, place))
    )
    centre = (jnp.stack(jnp.meshgrid(*[jnp.arange(CELLS)] * 2, indexing="ij"), -1) + 0.5) / CELLS * 2 * SIDE - SIDE
    edge = edge_of_reach(cell(kept[0]), cell(kept[3]), CELLS**2)
    at_edge = least(params, centre.reshape(-1, 2)).max(-1)
    return {
        "return": (GAMMA ** jnp.arange(HORIZON) @ step.reward).mean(),
        "value": least(params, begin).max(-1).mean(),
        "value at the edge": jnp.sum(at_edge * edge) / jnp.maximum(edge.sum(), 1),
        "share of cells at the edge": edge.mean(),
    }


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    samples = {}
    for name, (critics, length) in ARMS.items():
        found = trial(np.asarray(seeds, np.uint32), critics, length, max(1, updates // UPDATES))
        samples |= {f"{name}: {what}": np.asarray(x, np.float64).tolist() for what, x in found.items()}
    return samples


CLAIM = Claim(
    name="edge_of_reach",
    title="The Edge-of-Reach Problem in Offline Model-Based Reinforcement Learning",
    year=2024,
    cards=(149,),
    environment="a point on a square with its true dynamics; data in a square of a sixteenth of the area",
    baseline="Q-learning on rollouts of three steps from the data, with one critic",
    method="the same with the least of ten critics as the target, or with rollouts of 30 steps",
    metric="discounted return from states of the data, and the mean value that the critic gives them; at most 20",
    conditions=(
        Condition("return with ten critics, over one", "ten critics: return", "one critic: return", 5.0),
        Condition(
            "return with long rollouts, over short", "one critic, long rollouts: return", "one critic: return", 5.0
        ),
        Condition("value with one critic, above what is possible", "one critic: value", 20.0),
        Condition("value with ten critics, below what is possible", "ten critics: value", 20.0, direction=-1),
    ),
    settings={
        "discount": GAMMA,
        "hidden": HIDDEN,
        "learning_rate": LEARNING_RATE,
        "tau": TAU,
        "batch": BATCH,
        "collected": COLLECTED,
        "kept": KEPT,
        "epsilon": EPSILON,
    },
    updates=6000,
    steps_per_update=BATCH,
    run=run,
)
