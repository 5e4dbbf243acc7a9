"""A critic learned offline re-ranks the action samples of two policies, which know nothing of it.

A point robot is to reach the one of four goals that it is shown, within twenty steps. The log has 600 episodes of
scripted experts of three qualities: to the goal, to a wrong one, and at random; all with noise. Two "generalists" clone
all of them, a network with a normal distribution and one with a mixture of five. While they act, K of their actions are
drawn at each step and one is taken with probabilities softmax(Q / temperature): `value_guided_logits` with logits 0.
The critic is one of implicit Q-learning, from the same log, paid 1 at the goal; both policies are given the same one.
Re-ranking at random is the policy itself, and measured as such.

Settings are the first that were tried, on seeds 0 and 1; nothing was tuned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.descent import descend
from rlx.envs import point
from rlx.types import Array, PyTree
from rlx.value import implicit_max_loss, td_loss, value_guided_logits

STEPS_PER_EPISODE = 20
ENV = point.goals(4, goal_radius=0.1, max_steps_in_episode=STEPS_PER_EPISODE)
PARAMS = ENV.default_params
EPISODES, NOISE = 600, 0.3  # of the log, and of its experts' actions
HIDDEN, BATCH, LEARNING_RATE, STEPS = 64, 256, 3e-3, 1000
MIXTURE = 5
EXPECTILE, DISCOUNT, SLOW = 0.9, 0.95, 50  # the target critic is renewed every so many steps
TEMPERATURE = 0.05  # reward per nat
CANDIDATES = (1, 3, 10, 30)
TRIALS = 200  # episodes by which success is measured


class Rows(NamedTuple):
    """Steps of the log; those with weight 0 were not made."""

    obs: Array  # [N, 6]
    action: Array  # [N, 2]
    success: Array  # [N]
    after: Array  # [N, 6]
    weight: Array  # [N]


def begin(key: Array, inputs: int, outputs: int) -> PyTree:
    sizes = (inputs, HIDDEN, HIDDEN, outputs)
    return [
        (jax.random.normal(k, (n, m)) / n**0.5, jnp.zeros(m))
        for k, n, m in zip(jax.random.split(key, 3), sizes[:-1], sizes[1:], strict=True)
    ]


def apply(params: PyTree, *parts: Array) -> Array:
    x = jnp.concatenate(parts, -1)
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    return x @ params[-1][0] + params[-1][1]


def play(key: Array, act: Callable[[Array, Array], Array], episodes: int) -> Rows:
    """`act(key, obs [6])` plays: rows `[episodes, T]`."""

    def episode(key: Array) -> Rows:
        reset_key, run_key = jax.random.split(key)
        obs, state = ENV.reset_env(reset_key, PARAMS)

        def move(carry: tuple, key: Array) -> tuple[tuple, Rows]:
            obs, state, playing = carry
            action = act(key, obs)
            after, state, _, ended, _ = ENV.step_env(key, state, action, PARAMS)
            row = Rows(obs, action, (playing & ended).astype(jnp.float32), after, playing.astype(jnp.float32))
            return (after, state, playing & ~ended), row

        start = obs, state, jnp.bool_(True)
        return jax.lax.scan(move, start, jax.random.split(run_key, STEPS_PER_EPISODE))[1]

    return jax.vmap(episode)(jax.random.split(key, episodes))


def expert(kind: int) -> Callable[[Array, Array], Array]:
    """0: to the goal; 1: to the next one; 2: at random."""

    def act(key: Array, obs: Array) -> Array:
        goal = obs[4:]
        aim = (goal, jnp.array([-goal[1], goal[0]]), None)[kind]
        noise = NOISE * jax.random.normal(key, (2,))
        if aim is None:
            return jnp.clip(noise / NOISE, -1.0, 1.0)
        way = aim - obs[:2]
        return jnp.clip(way / jnp.maximum(jnp.linalg.norm(way), 0.1) + noise, -1.0, 1.0)

    return act


def mixture(out: Array) -> tuple[Array, Array, Array]:
    """Logits `[..., M]`, means and log deviations `[..., M, 2]` from outputs `[..., 5 M]`."""
    logits, rest = out[..., : out.shape[-1] // 5], out[..., out.shape[-1] // 5 :]
    mean, log_std = jnp.split(rest.reshape(*rest.shape[:-1], -1, 4), 2, -1)
    return logits, mean, jnp.clip(log_std, -3.0, 1.0)


def clone_loss(params: PyTree, rows: Rows) -> Array:
    logits, mean, log_std = mixture(apply(params, rows.obs))
    z = (rows.action[:, None] - mean) * jnp.exp(-log_std)
    each = jnp.sum(-0.5 * z**2 - log_std, -1)
    return -jax.nn.logsumexp(jax.nn.log_softmax(logits) + each, axis=-1).mean()


def sample(params: PyTree, key: Array, obs: Array, number: int) -> Array:
    """`number` actions `[number, 2]` of a generalist."""
    which_key, noise_key = jax.random.split(key)
    logits, mean, log_std = mixture(apply(params, obs))
    which = jax.random.categorical(which_key, logits, shape=(number,))
    drawn = mean[which] + jnp.exp(log_std[which]) * jax.random.normal(noise_key, (number, 2))
    return jnp.clip(drawn, -1.0, 1.0)


def fit_critic(key: Array, some: Callable[[Array], Rows], steps: int) -> PyTree:
    q_key, v_key, run_key = jax.random.split(key, 3)
    rounds = max(1, steps // SLOW)

    def stretch(params: tuple[PyTree, PyTree], keys: Array) -> tuple[tuple[PyTree, PyTree], None]:
        slow = params[0]

        def loss(params: tuple[PyTree, PyTree], key: Array) -> Array:
            rows = some(key)
            q, v = apply(params[0], rows.obs, rows.action)[:, 0], apply(params[1], rows.obs)[:, 0]
            ahead = jnp.where(rows.success > 0, 0.0, apply(params[1], rows.after)[:, 0])
            diff = jax.lax.stop_gradient(apply(slow, rows.obs, rows.action)[:, 0]) - v
            value_loss = implicit_max_loss(diff, "expectile", EXPECTILE)
            return jnp.mean(td_loss(q, rows.success + DISCOUNT * ahead) + value_loss)

        return descend(loss, params, keys[None], LEARNING_RATE)[0], None

    start = begin(q_key, 8, 1), begin(v_key, 6, 1)
    return jax.lax.scan(stretch, start, jax.random.split(run_key, (rounds, steps // rounds)))[0][0]


def one(seed: Array, steps: int) -> dict[str, Array]:
    keys = jax.random.split(jax.random.key(seed), 12)
    logs = [play(k, expert(kind), EPISODES // 3) for kind, k in enumerate(keys[:3])]
    rows: Rows = jax.tree.map(lambda *x: jnp.concatenate([a.reshape(-1, *a.shape[2:]) for a in x]), *logs)
    order, number = jnp.argsort(-rows.weight), rows.weight.sum().astype(jnp.int32)

    def some(key: Array) -> Rows:
        index = order[jax.random.randint(key, (BATCH,), 0, number)]
        return jax.tree.map(lambda x: x[index], rows)

    critic = fit_critic(keys[3], some, steps)
    found = {"log": rows.success.sum() / EPISODES}
    for name, parts, key in (("normal", 1, keys[4]), ("mixture", MIXTURE, keys[5])):
        run_keys = jax.random.split(jax.random.fold_in(key, 1), (1, steps))
        params, _ = descend(lambda p, k: clone_loss(p, some(k)), begin(key, 6, 5 * parts), run_keys, LEARNING_RATE)

        def act(key: Array, obs: Array, candidates: Array, strength: Array, params: PyTree = params) -> Array:
            draw_key, pick_key = jax.random.split(key)
            action = sample(params, draw_key, obs, max(CANDIDATES))
            q = apply(critic, jnp.broadcast_to(obs, (len(action), 6)), action)[:, 0]
            drawn = jnp.where(jnp.arange(len(action)) < candidates, 0.0, -jnp.inf)
            return action[jax.random.categorical(pick_key, value_guided_logits(drawn, q, strength))]

        def success(key: Array, candidates: Array, strength: Array, act: Callable[..., Array] = act) -> Array:
            return (
                play(key, lambda step_key, obs: act(step_key, obs, candidates, strength), TRIALS).success.sum() / TRIALS
            )

        numbers = jnp.array([*CANDIDATES, 10])
        strengths = jnp.append(jnp.full(len(CANDIDATES), 1 / TEMPERATURE), 0.0)
        rates = jax.vmap(success)(jax.random.split(keys[6], len(numbers)), numbers, strengths)
        found |= {f"{name}, best of {k}": rates[i] for i, k in enumerate(CANDIDATES)}
        found[f"{name}, any of 10"] = rates[-1]
        gain = {k: found[f"{name}, best of {k}"] for k in CANDIDATES}
        found[f"{name}: gain to 10"], found[f"{name}: gain from 10 to 30"] = gain[10] - gain[1], gain[30] - gain[10]
        found[f"{name}: off, at random"] = jnp.abs(found[f"{name}, any of 10"] - gain[1])
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.jit(jax.vmap(lambda seed: one(seed, updates)))(jnp.asarray(seeds, jnp.uint32))
    return {name: np.asarray(x, np.float64).tolist() for name, x in found.items()}


BASES = ("normal", "mixture")
CLAIM = Claim(
    name="value_guidance",
    title="Steering Your Generalists: Improving Robotic Foundation Models via Value Guidance",
    year=2024,
    cards=(181,),
    environment="rlx/point-goals-4 with 20 steps, 600 episodes of experts of three qualities",
    baseline="two policies that clone all of them: a normal distribution, a mixture of five",
    method="one of 10 of their actions, by softmax of the values of a critic that was learned offline",
    metric=f"share of {TRIALS} episodes that reach the goal",
    conditions=(
        *(
            Condition(f"{name}: over the policy, by 0.1", f"{name}, best of 10", f"{name}, best of 1", 0.1, paired=True)
            for name in BASES
        ),
        *(
            Condition(f"{name}: any of 10, within 0.1 of the policy", f"{name}: off, at random", 0.1, direction=-1)
            for name in BASES
        ),
        *(
            Condition(
                f"{name}: gained up to 10 candidates, over 10 to 30",
                f"{name}: gain to 10",
                f"{name}: gain from 10 to 30",
                paired=True,
            )
            for name in BASES
        ),
    ),
    settings={
        "episodes": EPISODES,
        "noise": NOISE,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "expectile": EXPECTILE,
        "discount": DISCOUNT,
        "slow": SLOW,
        "temperature": TEMPERATURE,
        "hidden": HIDDEN,
    },
    updates=STEPS,
    steps_per_update=BATCH,
    run=run,
)
