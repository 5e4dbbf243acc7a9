"""Five demonstrations without labels, split where their features change, are reward enough to repeat a task.

A point robot has to come to three places one after the other; at each a lamp goes on. What is seen are 256 random
features of where it is and of the lamps, with noise, and as many that are nothing but noise. The demonstrations stay a
while at each place, some longer than others. They are split into four steps, 32 features mark each step, and
closeness to these is the reward.

How far the splits are from the moments at which lamps went on; how well the reward of a moment goes with the progress
made, over new attempts of which half are given up at a random time; and how often the cross-entropy method finds a plan
that solves the task from the sum of rewards, or from whether the task was solved.

Control: the same with the demonstrations split at random. The sum of true progress says what the search can do at all.

Chosen on seeds 0 to 3: pauses long against moves, bright lamps, and parts of eight steps at least, without which the
sum of deviations is lowest for a few short parts and a long one, wherever the lamps go on (19 steps off); and a target
so small, and a search so short, that the reward for a solved task alone does not do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from benchmarks.claims.claim import Claim, Condition
from rlx.envs import PointRobot
from rlx.envs.point import PointParams, PointState
from rlx.reward import perceptual_reward, segment_demo, select_features
from rlx.types import Array

STEPS, PLACES, LEG, RADIUS = 60, 3, 0.7, 0.1
PAUSE = (6, 14)  # steps that demonstrations stay at a place
CLUMSY = 0.3  # deviation of their actions
SIZE, NOISE, LAMP = 256, 0.1, 2.0  # features; what a camera adds to them; how bright lamps are, against positions
DEMOS, FRESH = 5, 32
PARTS, SHORTEST, CHOSEN = PLACES + 1, 8, 32
KNOTS, POPULATION, ELITE, WIDEST = 20, 32, 5, 1.0  # of plans, and their deviation at first
SEARCHES = 4  # each from a start of its own

ENV = PointRobot(np.zeros((PLACES + 1, 2)), observe_goal=False, spread=0.1, speed=0.2)
Policy = Callable[[Array, Array, PointState, Array], Array]  # (key, step, state, steps since the last place) -> action


class Path(NamedTuple):
    position: Array  # [..., T, 2]
    lamps: Array  # int [..., T], how many are on
    progress: Array  # [..., T] in [0, PLACES]


class Reward(NamedTuple):
    seen: Array  # int [PARTS * CHOSEN], the features that are used
    centre: Array  # [PARTS * CHOSEN], of the demonstrations' frames
    scale: Array
    mean: Array  # [PARTS, PARTS * CHOSEN]
    std: Array
    chosen: Array


def places(key: Array) -> PointParams:
    """A start and three places on half a circle; the last place stands twice."""
    angle = 2 * jnp.pi * jax.random.uniform(key) + jnp.pi / 3 * jnp.arange(PLACES + 1)
    corner = LEG * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
    return ENV.default_params.replace(start=corner[0], goal=corner[jnp.array([1, 2, 3, 3])])


def walk(params: PointParams, key: Array, policy: Policy) -> Path:
    """An attempt; the environment's goal is the next place, and the last one for ever."""
    start_key, run_key = jax.random.split(key)
    _, state = ENV.reset_env(start_key, params)

    def forward(carry: tuple[PointState, Array], now: tuple[Array, Array]) -> tuple[tuple[PointState, Array], Path]:
        (state, since), (step, key) = carry, now
        _, state, *_, info = ENV.step_env(key, state, policy(key, step, state, since), params)
        distance = info["factor"][0]
        arrived = (distance < RADIUS) & (state.goal < PLACES)
        goal = state.goal + arrived
        near = jnp.where(arrived | (goal == PLACES), 0, jnp.clip(1 - distance / LEG, 0, 1))
        carry = state._replace(goal=goal), jnp.where(arrived, 0, since + 1)
        return carry, Path(state.position, goal, goal + near)

    start = state._replace(goal=jnp.zeros((), jnp.int32)), jnp.zeros((), jnp.int32)
    return jax.lax.scan(forward, start, (jnp.arange(STEPS), jax.random.split(run_key, STEPS)))[1]


def demonstrate(params: PointParams, key: Array, until: Array | int = STEPS) -> Path:
    """From place to place with a pause at each; after step `until` without aim."""
    key, pause_key, away_key = jax.random.split(key, 3)
    pause = jax.random.randint(pause_key, (PLACES + 1,), *PAUSE)
    away = jax.random.normal(away_key, (2,))

    def policy(key: Array, step: Array, state: PointState, since: Array) -> Array:
        ahead = (params.goal[state.goal] - state.position) / params.speed
        ahead = jnp.where(since < pause[state.goal], 0.0, ahead / jnp.maximum(jnp.linalg.norm(ahead), 1.0))
        return jnp.where(step < until, ahead, away) + CLUMSY * jax.random.normal(key, (2,))

    return walk(params, key, policy)


def background(key: Array) -> Array:
    """What a camera adds, `[T, 2 SIZE]`: noise to the features, and those that mean nothing."""
    return jnp.repeat(jnp.array([NOISE, 1.0]), SIZE) * jax.random.normal(key, (STEPS, 2 * SIZE))


def look(camera: Array, path: Path, behind: Array) -> Array:
    """Features `[..., T, 2 SIZE]`, by weights `[6, SIZE]` of position, lamps and 1."""
    on = LAMP * (path.lamps[..., None] > jnp.arange(PLACES))
    signal = jax.nn.relu(jnp.concatenate([path.position, on, jnp.ones_like(path.position[..., :1])], -1) @ camera)
    return jnp.concatenate([signal, jnp.zeros_like(signal)], -1) + behind


def learn(frames: Array, bounds: Array) -> Reward:
    """From demonstrations `[DEMOS, T, D]` that are split at `bounds [DEMOS, PARTS + 1]`."""
    centre, scale = frames.mean((0, 1)), frames.std((0, 1))
    x = ((frames - centre) / scale).reshape(-1, frames.shape[-1])
    part = jnp.sum(jnp.arange(STEPS)[None, :, None] >= bounds[:, None, 1:-1], -1).reshape(-1)
    within = jax.nn.one_hot(part, PARTS, axis=0)

    def moments(weight: Array) -> tuple[Array, Array]:
        weight = weight / weight.sum(1, keepdims=True)
        mean = weight @ x
        return mean, jnp.sqrt(jnp.maximum(weight @ x**2 - mean**2, 0))

    (mean, std), others = moments(within), moments(1 - within)
    chosen = select_features(mean, std, *others, CHOSEN)
    seen = jnp.argsort(~chosen.any(0))[: PARTS * CHOSEN]
    return Reward(seen, centre[seen], scale[seen], mean[:, seen], std[:, seen], chosen[:, seen])


def value(reward: Reward, frames: Array) -> Array:
    x = (frames[..., reward.seen] - reward.centre) / reward.scale
    return perceptual_reward(x, reward.mean, reward.std, reward.chosen)


def search(params: PointParams, key: Array, returns: Callable[[Array, Path], Array], rounds: int) -> Array:
    """Whether the best plan of the last population solves the task."""
    start_key, key = jax.random.split(key)

    def forward(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], Array]:
        mean, std = carry
        draw_key, return_key = jax.random.split(key)
        knots = mean + std * jax.random.normal(draw_key, (POPULATION, KNOTS, 2))
        plans = jnp.repeat(knots, STEPS // KNOTS, axis=1)
        paths = jax.vmap(lambda plan: walk(params, start_key, lambda key, step, *_: plan[step]))(plans)
        order = jnp.argsort(-returns(return_key, paths))
        elite = knots[order[:ELITE]]
        return (elite.mean(0), elite.std(0) + 0.05), paths.lamps[order[0], -1] == PLACES

    start = jnp.zeros((KNOTS, 2)), jnp.full((KNOTS, 2), WIDEST)
    return jax.lax.scan(forward, start, jax.random.split(key, rounds))[1][-1].astype(jnp.float32)


def one(seed: Array, rounds: int) -> dict[str, Array]:
    place_key, camera_key, demo_key, new_key, split_key, search_key = jax.random.split(jax.random.key(seed), 6)
    params = places(place_key)
    camera = jax.random.normal(camera_key, (2 + PLACES + 1, SIZE))

    def demos(key: Array, number: int, until: Array | int = STEPS) -> tuple[Path, Array]:
        walk_key, behind_key = jax.random.split(key)
        until = jnp.broadcast_to(until, (number,))
        paths = jax.vmap(lambda key, until: demonstrate(params, key, until))(jax.random.split(walk_key, number), until)
        return paths, look(camera, paths, jax.vmap(background)(jax.random.split(behind_key, number)))

    paths, frames = demos(demo_key, DEMOS)
    centred = (frames - frames.mean((0, 1))) / frames.std((0, 1))
    true = jnp.argmax(paths.lamps[..., None] > jnp.arange(PLACES), 1)  # [DEMOS, PLACES]
    found = jax.vmap(lambda x: segment_demo(x, PARTS, SHORTEST))(centred)
    places_ = jax.vmap(lambda key: jnp.sort(jax.random.permutation(key, jnp.arange(1, STEPS))[:PLACES]))
    random = jnp.pad(places_(jax.random.split(split_key, DEMOS)), ((0, 0), (1, 1)), constant_values=(0, STEPS))
    rewards = {"perceptual": learn(frames, found), "random splits": learn(frames, random)}

    give_up, fresh_key = jax.random.split(new_key)
    until = jnp.where(jnp.arange(FRESH) % 2 == 0, STEPS, jax.random.randint(give_up, (FRESH,), 0, STEPS))
    fresh, fresh_frames = demos(fresh_key, FRESH, until)
    samples = {"progress": fresh.progress, "demonstrations that solve": (paths.lamps[:, -1] == PLACES).mean()}
    for name, bounds in (("perceptual", found), ("random splits", random)):
        samples[f"{name}: steps from the true bounds"] = jnp.abs(bounds[:, 1:-1] - true).mean()
        samples[f"{name}: reward"] = value(rewards[name], fresh_frames)

    def perceptual(reward: Reward) -> Callable[[Array, Path], Array]:
        return lambda key, paths: value(reward, look(camera, paths, background(key))).sum(-1)

    objectives = {name: perceptual(reward) for name, reward in rewards.items()} | {
        "sparse": lambda key, paths: (paths.lamps[..., -1] == PLACES).astype(jnp.float32),
        "true progress": lambda key, paths: paths.progress.sum(-1),
    }
    keys = jax.random.split(search_key, SEARCHES)

    def solved(objective: Array) -> Array:
        def returns(key: Array, paths: Path) -> Array:
            return jax.lax.switch(objective, list(objectives.values()), key, paths)

        return jax.vmap(lambda key: search(params, key, returns, rounds))(keys).mean()

    share = jax.lax.map(solved, jnp.arange(len(objectives)))
    samples |= {f"{name}: solved": share[i] for i, name in enumerate(objectives)}
    return samples


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.jit(lambda seeds: jax.lax.map(lambda seed: one(seed, updates), seeds))(jnp.asarray(seeds, jnp.uint32))
    values = {name: np.asarray(x, np.float64) for name, x in found.items()}
    progress = values.pop("progress")
    samples = {}
    for name, x in values.items():
        samples[name] = x.tolist()
        if name.endswith(": reward"):
            samples[f"{name} and progress"] = [
                float(np.asarray(stats.spearmanr(a.ravel(), b.ravel()))[0]) for a, b in zip(x, progress, strict=True)
            ]
            del samples[name]
    return samples


CLAIM = Claim(
    name="perceptual_rewards",
    title="Unsupervised Perceptual Rewards for Imitation Learning",
    year=2017,
    cards=(193,),
    environment=f"a point robot with {PLACES} places to come to in order, seen through {SIZE} random features and as"
    " many that mean nothing",
    baseline="demonstrations split at random; a reward for a solved task",
    method=f"closeness to the steps of {DEMOS} demonstrations, split without labels",
    metric="steps between found and true bounds; Spearman correlation of reward and progress; share of searches that"
    " solve the task",
    conditions=(
        Condition("bounds found: within 3 steps", "perceptual: steps from the true bounds", 3.0, direction=-1),
        Condition("rank correlation with progress above 0.8", "perceptual: reward and progress", 0.8),
        Condition(
            "rank correlation with progress above random splits'",
            "perceptual: reward and progress",
            "random splits: reward and progress",
            0.3,
            paired=True,
        ),
        Condition("perceptual reward: above 0.8 solved", "perceptual: solved", 0.8),
        Condition("sparse reward: below 0.2 solved", "sparse: solved", 0.2, direction=-1),
    ),
    settings={
        "steps": STEPS,
        "pause": PAUSE,
        "clumsy": CLUMSY,
        "noise": NOISE,
        "lamp": LAMP,
        "shortest": SHORTEST,
        "features_of_a_step": CHOSEN,
        "knots": KNOTS,
        "population": POPULATION,
        "elite": ELITE,
        "searches": SEARCHES,
        "margins": "the project's card's",
    },
    updates=15,  # populations of the search
    steps_per_update=POPULATION * STEPS,
    run=run,
    seeds=range(1000, 1020),
)
