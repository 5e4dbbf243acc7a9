"""Preferences find the context on which to condition a policy learned in hindsight, without a reward.

The data are paths of a robot that went to one of four goals, clumsily; preferences between 500 pairs of them follow the
return for one goal. An encoder gives each path a context, a policy of that context imitates the path, and a preferred
context is drawn to preferred paths and away from the others, as their contexts are to and from it. The policy then acts
in the preferred context. Scores are returns, on a scale where imitation of everything is 0 and the behaviour that went
to the right goal is 1.

Compared with imitation weighted by a learned reward of preferences, the usual two steps. Control: random preferences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import Parameters, network, outputs
from benchmarks.claims.segments import minimise, trajectory
from rlx.envs import make
from rlx.reward import preference_loss, triplet_loss, unit_norm_loss
from rlx.types import Array

PATHS, STEPS, PAIRS = 256, 15, 500
GOALS, CONTEXT, HIDDEN, BATCH = 4, 8, 32, 16
PREFERENCE_WEIGHT, NORM_WEIGHT, MARGIN = 0.1, 0.1, 1.0
FASTER = 10.0  # learning rate of the preferred context, over that of the networks
LEARNING_RATE = 2e-3
ADVANTAGE_SCALE = 1.0  # of standardised rewards, in the weights of imitation
ROBOTS = 64
ARMS = ("preferences", "random preferences", "imitation", "weighted imitation")

ENV, PARAMS = make(f"rlx/point-goals-{GOALS}", observe_goal=False)
PARAMS = PARAMS.replace(max_steps_in_episode=STEPS)


class Model(NamedTuple):
    encoder: Parameters
    policy: Parameters
    context: Array  # [CONTEXT], the preferred one over `FASTER`: Adam's steps do not depend on the scale


def draw_paths(key: Array) -> tuple[dict[str, Array], Array]:
    """Paths to a goal each, with noise, and the goals."""
    goal_key, path_key = jax.random.split(key)
    goals = jax.random.randint(goal_key, (PATHS,), 0, GOALS)

    def path(key: Array, goal: Array) -> dict[str, Array]:
        def clumsy(key: Array, obs: Array) -> Array:
            towards = (PARAMS.goal[goal] - obs[:2]) / PARAMS.speed
            action = towards / jnp.maximum(jnp.linalg.norm(towards), 1) + 0.5 * jax.random.normal(key, (2,))
            return action / jnp.maximum(jnp.linalg.norm(action), 1)

        return trajectory(ENV, PARAMS, key, clumsy, STEPS)

    return jax.vmap(path)(jax.random.split(path_key, PATHS), goals), goals


def returns(next_obs: Array) -> Array:
    """For the first goal, `[..., T, 4]` -> `[...]`."""
    return -jnp.linalg.norm(next_obs[..., :2] - PARAMS.goal[0], axis=-1).sum(-1)


def encode(encoder: Parameters, steps: Array) -> Array:
    return outputs(encoder, steps).mean(-2)


def train(key: Array, paths: dict[str, Array], pairs: Array, hindsight: Array, weight: Array, steps: int) -> Model:
    """`pairs [Q, 2]` with the preferred path first; without `hindsight` contexts are 0. `weight [N]` of imitation."""
    encoder_key, policy_key, context_key, train_key = jax.random.split(key, 4)
    data = jnp.concatenate([paths["obs"], paths["action"]], -1)
    context = jax.random.normal(context_key, (CONTEXT,))
    start = Model(
        network(encoder_key, (6, HIDDEN, HIDDEN, CONTEXT)),
        network(policy_key, (4 + CONTEXT, HIDDEN, HIDDEN, 2)),
        context / jnp.linalg.norm(context) / FASTER,
    )

    def loss(model: Model, key: Array) -> Array:
        row_key, pair_key = jax.random.split(key)
        rows = jax.random.randint(row_key, (BATCH,), 0, PATHS)
        z = encode(model.encoder, data[rows])
        action = act(model.policy, paths["obs"][rows], hindsight * z)
        imitation = jnp.square(action - paths["action"][rows]).mean((1, 2)) * weight[rows]
        pair = encode(model.encoder, data[pairs[jax.random.randint(pair_key, (BATCH,), 0, PAIRS)]])
        best, fixed = FASTER * model.context, jax.lax.stop_gradient(pair)
        towards = triplet_loss(jax.lax.stop_gradient(best), pair[:, 0], pair[:, 1], MARGIN, squared=False)
        moved = triplet_loss(best, fixed[:, 0], fixed[:, 1], MARGIN, squared=False)
        return jnp.mean(imitation + PREFERENCE_WEIGHT * towards + NORM_WEIGHT * unit_norm_loss(z) + moved)

    return minimise(train_key, start, loss, steps, LEARNING_RATE)


def act(policy: Parameters, obs: Array, z: Array) -> Array:
    """`[..., T, 4]`, `[..., CONTEXT]` -> `[..., T, 2]`."""
    z = jnp.broadcast_to(z[..., None, :], (*obs.shape[:-1], CONTEXT))
    return outputs(policy, jnp.concatenate([obs, z], -1))


def learned_reward(key: Array, paths: dict[str, Array], pairs: Array, steps: int) -> Array:
    """Bradley and Terry's, summed over each path and standardised: `[N]`."""
    start_key, train_key = jax.random.split(key)
    obs = paths["next_obs"]

    def loss(parameters: Parameters, key: Array) -> Array:
        rows = pairs[jax.random.randint(key, (BATCH,), 0, PAIRS)]
        score = outputs(parameters, obs[rows])[..., 0].sum(-1)
        return preference_loss(score[:, 0] - score[:, 1], jnp.ones(BATCH)).mean()

    parameters = minimise(train_key, network(start_key, (4, HIDDEN, HIDDEN, 1)), loss, steps, LEARNING_RATE)
    reward = outputs(parameters, obs)[..., 0].sum(-1)
    return (reward - reward.mean()) / reward.std()


def one(seed: Array, steps: int) -> dict[str, Array]:
    data_key, pair_key, model_key, reward_key, run_key = jax.random.split(jax.random.key(seed), 5)
    paths, goals = draw_paths(data_key)
    gold = returns(paths["next_obs"])
    drawn = jax.random.randint(pair_key, (PAIRS, 2), 0, PATHS)
    first_better = gold[drawn[:, :1]] > gold[drawn[:, 1:]]
    pairs = jnp.where(first_better, drawn, drawn[:, ::-1])
    reward = learned_reward(reward_key, paths, pairs, steps)
    advantage = jnp.exp(jnp.clip(ADVANTAGE_SCALE * reward, -4, 4))

    def arm(pairs: Array, hindsight: Array, weight: Array) -> Model:
        return train(model_key, paths, pairs, hindsight, weight, steps)

    models = jax.vmap(arm)(
        jnp.stack([pairs, drawn, pairs, pairs]),
        jnp.array([1.0, 1.0, 0.0, 0.0]),
        jnp.stack([jnp.ones(PATHS)] * 3 + [advantage / advantage.mean()]),
    )

    def score(model: Model, hindsight: Array) -> Array:
        z = hindsight * model.context / jnp.linalg.norm(model.context)
        policy = lambda _, obs: act(model.policy, obs[None], z)[0]  # noqa: E731
        keys = jax.random.split(run_key, ROBOTS)
        run = jax.vmap(lambda key: trajectory(ENV, PARAMS, key, policy, STEPS))(keys)
        return returns(run["next_obs"]).mean()

    scores = jax.vmap(score)(models, jnp.array([1.0, 1.0, 0.0, 0.0]))
    right = gold.mean(where=goals == 0)
    normalised = (scores - scores[2]) / (right - scores[2])
    found = {f"{arm}: return": scores[i] for i, arm in enumerate(ARMS)}
    found |= {arm: normalised[i] for i, arm in enumerate(ARMS) if arm != "imitation"}
    return {
        **found,
        "lead over weighted imitation": normalised[0] - normalised[3],
        "right behaviour: return": right,
        "learned reward: correlation with the return": jnp.corrcoef(reward, gold)[0, 1],
    }


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.jit(lambda seeds: jax.lax.map(lambda seed: one(seed, updates), seeds))(jnp.asarray(seeds, jnp.uint32))
    return {name: np.asarray(values, np.float64).tolist() for name, values in found.items()}


CLAIM = Claim(
    name="hindsight_preference",
    title="Beyond Reward: Offline Preference-guided Policy Optimization",
    year=2023,
    cards=(50,),
    environment=f"{PATHS} clumsy paths of a point robot to one of {GOALS} goals, {PAIRS} preferences for one of them",
    baseline="imitation of all paths, and imitation weighted by a learned reward; random preferences",
    method="a policy learned in hindsight, in the context that preferences find",
    metric="return for the preferred goal: imitation is 0, the behaviour that went there is 1",
    conditions=(
        Condition("above half of the way from imitation to the right behaviour", "preferences", 0.5),
        Condition("at most a tenth behind weighted imitation", "lead over weighted imitation", -0.1),
        Condition("above random preferences", "preferences", "random preferences", 0.5, paired=True),
    ),
    settings={
        "context": CONTEXT,
        "hidden": HIDDEN,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "preference_weight": PREFERENCE_WEIGHT,
        "norm_weight": NORM_WEIGHT,
        "margin": MARGIN,
        "faster": FASTER,
        "advantage_scale": ADVANTAGE_SCALE,
        "margins": "those of the project's card, set before any run; 0.5 over random preferences, likewise",
    },
    updates=800,
    steps_per_update=BATCH * STEPS,
    run=run,
)
