"""A reward that is conditioned on who judges tells users apart by a few of their preferences; one reward cannot.

Every user of a point robot wants to be near one of two goals, and does not say which. Eight of a user's preferences
are encoded into a latent variable, on which the reward depends; the others are predicted. New users judge: accuracy on
their remaining preferences, and whether a robot that goes where their reward rises ends at their goal. Among pairs
about which the two kinds of user disagree one reward for all is right half of the time, whatever it is.

Control: the latent variable of another user, of either kind. The reward scaled by a reference is reported: how much the
range of rewards differs between users, before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.reward_model import Parameters, network, outputs
from benchmarks.claims.segments import minimise, trajectory, wander
from rlx.envs import make
from rlx.policy import gaussian_kl
from rlx.reward import pair_accuracy, preference_loss, reference_scaled_reward
from rlx.types import Array

GOALS, USERS, PAIRS, CONTEXT, STEPS = 2, 256, 16, 8, 4
LATENT, HIDDEN = 8, 32
BATCH = 8  # users
KL_WEIGHT = 0.05  # against the sum of a user's losses
LEARNING_RATE = 2e-3
ROBOTS = 64  # of new users
HEADINGS = 16  # directions a robot chooses from
REACHED = 0.4  # a quarter of the distance between the goals

ENV, PARAMS = make(f"rlx/point-goals-{GOALS}", observe_goal=False)
ANYWHERE = PARAMS.replace(spread=1.0)


class Users(NamedTuple):
    obs: Array  # [U, Q, 2, T, 4]
    target: Array  # [U, Q]
    score: Array  # [U, Q, 2, G], what each kind of user would give
    goal: Array  # int [U]


class Model(NamedTuple):
    pair: Parameters
    user: Parameters
    reward: Parameters


def draw_users(key: Array) -> Users:
    goal_key, path_key = jax.random.split(key)
    keys = jax.random.split(path_key, (USERS, PAIRS, 2))
    paths = jax.vmap(jax.vmap(jax.vmap(lambda key: wander(ENV, ANYWHERE, key, STEPS))))(keys)
    distance = jnp.linalg.norm(paths["next_obs"][..., None, :2] - PARAMS.goal, axis=-1)
    score = -distance.mean(-2)
    goal = jax.random.randint(goal_key, (USERS,), 0, GOALS)
    own = jnp.take_along_axis(score, goal[:, None, None, None], -1)[..., 0]
    return Users(paths["next_obs"], (own[..., 0] > own[..., 1]).astype(jnp.float32), score, goal)


def init(key: Array) -> Model:
    pair_key, user_key, reward_key = jax.random.split(key, 3)
    return Model(
        network(pair_key, (2 * STEPS * 4 + 1, HIDDEN, HIDDEN)),
        network(user_key, (HIDDEN, HIDDEN, 2 * LATENT)),
        network(reward_key, (4 + LATENT, HIDDEN, HIDDEN, 1)),
    )


def encode(model: Model, obs: Array, target: Array) -> tuple[Array, Array]:
    """Mean and logarithm of the deviation of the latent variable, from a set of pairs `[..., Q, ...]`."""
    features = jnp.concatenate([obs.reshape(*target.shape, -1), 2 * target[..., None] - 1], -1)
    pooled = jax.nn.relu(outputs(model.pair, features)).mean(-2)
    mean, log_std = jnp.split(outputs(model.user, pooled), 2, -1)
    return mean, log_std


def rewards(model: Model, obs: Array, z: Array) -> Array:
    """Of each step: `[..., 4]`, `[..., LATENT]` (broadcast over what is between) -> `[...]`."""
    z = jnp.broadcast_to(z.reshape(z.shape[:-1] + (1,) * (obs.ndim - z.ndim) + z.shape[-1:]), (*obs.shape[:-1], LATENT))
    return outputs(model.reward, jnp.concatenate([obs, z], -1))[..., 0]


def losses(model: Model, users: Users, z: Array) -> Array:
    """Negative log-likelihood of a user's preferences, `[U]`."""
    score = rewards(model, users.obs, z).sum(-1)
    return preference_loss(score[..., 0] - score[..., 1], users.target).sum(-1)


def train(key: Array, users: Users, steps: int, latent: Array) -> Model:
    """With a latent variable, or (`latent` 0) without."""
    init_key, train_key = jax.random.split(key)

    def loss(model: Model, key: Array) -> Array:
        row_key, noise_key = jax.random.split(key)
        rows = jax.random.randint(row_key, (BATCH,), 0, USERS)
        batch = jax.tree.map(lambda x: x[rows], users)
        mean, log_std = encode(model, batch.obs[:, :CONTEXT], batch.target[:, :CONTEXT])
        z = mean + jnp.exp(log_std) * jax.random.normal(noise_key, mean.shape)
        divergence = gaussian_kl(mean, log_std, jnp.zeros_like(mean), jnp.zeros_like(mean))
        return (losses(model, batch, latent * z) + latent * KL_WEIGHT * divergence).mean()

    return minimise(train_key, init(init_key), loss, steps, LEARNING_RATE)


def goal_reached(model: Model, z: Array, goal: Array, key: Array) -> Array:
    """Whether a robot that always takes the step of the highest reward ends near the goal."""
    angle = 2 * jnp.pi * jnp.arange(HEADINGS) / HEADINGS
    heading = jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)

    def policy(_: Array, obs: Array) -> Array:
        there = jnp.concatenate([jnp.clip(obs[:2] + PARAMS.speed * heading, -1, 1), heading], -1)
        return heading[jnp.argmax(rewards(model, there, z))]

    last = trajectory(ENV, PARAMS, key, policy, 30)["next_obs"][-1, :2]
    return jnp.linalg.norm(last - PARAMS.goal[goal]) < REACHED


def judge(model: Model, z: Array, users: Users, key: Array) -> dict[str, Array]:
    score = rewards(model, users.obs[:, CONTEXT:], z).sum(-1)
    right = pair_accuracy(score[..., 0] - score[..., 1], users.target[:, CONTEXT:])
    preferred = users.score[:, CONTEXT:, 0] > users.score[:, CONTEXT:, 1]
    disputed = jnp.any(preferred != preferred[..., :1], -1)
    reached = jax.vmap(lambda z, goal, key: goal_reached(model, z, goal, key))(
        z[:ROBOTS], users.goal[:ROBOTS], jax.random.split(key, ROBOTS)
    )
    return {
        "accuracy": right.mean(),
        "accuracy where users disagree": right.mean(where=disputed),
        "goal reached": reached.mean(),
    }


def one(seed: Array, steps: int) -> dict[str, Array]:
    data_key, new_key, model_key, run_key = jax.random.split(jax.random.key(seed), 4)
    drawn = jax.vmap(draw_users)(jnp.stack([data_key, new_key]))
    users, new = (jax.tree.map(lambda x: x[i], drawn) for i in (0, 1))  # noqa: B023
    latent = jnp.array([1.0, 0.0])
    models = jax.vmap(lambda latent: train(model_key, users, steps, latent))(latent)
    model = jax.tree.map(lambda x: x[0], models)
    z, _ = encode(model, new.obs[:, :CONTEXT], new.target[:, :CONTEXT])
    arms = jnp.stack([z, 0 * z, jnp.roll(z, 1, 0)])
    chosen = jax.tree.map(lambda x: x[jnp.array([0, 1, 0])], models)
    judged = jax.vmap(lambda model, z: judge(model, z, new, run_key))(chosen, arms)
    found = {
        f"{name}: {what}": values[i]
        for what, values in judged.items()
        for i, name in enumerate(("latent", "one reward", "another user's latent"))
    }
    raw = rewards(model, jnp.broadcast_to(new.obs.reshape(-1, 4)[:200], (USERS, 200, 4)), z)
    for kind, reward in (("raw", raw), ("scaled", reference_scaled_reward(raw, raw[:, None]))):
        spread = reward.std(-1)
        found[f"range of rewards over users, {kind}"] = spread.std() / spread.mean()
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.jit(lambda seeds: jax.lax.map(lambda seed: one(seed, updates), seeds))(jnp.asarray(seeds, jnp.uint32))
    return {name: np.asarray(values, np.float64).tolist() for name, values in found.items()}


CLAIM = Claim(
    name="personal_reward",
    title="Personalizing Reinforcement Learning from Human Feedback with Variational Preference Learning",
    year=2024,
    cards=(70,),
    environment=f"a point robot's paths of {STEPS} steps, judged by {USERS} users of {GOALS} kinds, {PAIRS} pairs each",
    baseline="one reward for all users; the latent variable of another user",
    method=f"variational preference learning from {CONTEXT} pairs of a user",
    metric="share of a new user's other preferences that are predicted, and of robots that end at the user's goal",
    conditions=(
        Condition("accuracy above 0.9", "latent: accuracy", 0.9),
        Condition("accuracy above one reward's", "latent: accuracy", "one reward: accuracy", 0.15, paired=True),
        Condition(
            "one reward is no better than chance where users disagree: below 0.55",
            "one reward: accuracy where users disagree",
            0.55,
            direction=-1,
        ),
        Condition(
            "accuracy above that with another user's latent",
            "latent: accuracy",
            "another user's latent: accuracy",
            0.15,
            paired=True,
        ),
        Condition("goal reached, above 0.8", "latent: goal reached", 0.8),
        Condition("goal reached with one reward, below 0.55", "one reward: goal reached", 0.55, direction=-1),
    ),
    settings={
        "latent": LATENT,
        "hidden": HIDDEN,
        "batch": BATCH,
        "context": CONTEXT,
        "kl_weight": KL_WEIGHT,
        "learning_rate": LEARNING_RATE,
        "margins": "those of the project's card, set before any run",
    },
    updates=1200,
    steps_per_update=BATCH * PAIRS,
    run=run,
)
