"""A reward of the state alone, learned from behaviour, is still right where actions lead elsewhere.

In small deterministic processes an expert that is softly optimal for a reward of the state shows 200 trajectories.
Maximum causal entropy fits a reward of the state, whose policy is to visit states as often and to earn as much. AIRL
fits its discriminator, a reward of the state and a potential, against the policy that is softly optimal for it; GAIL
fits one of state and action against a policy that climbs by steps. Policies are exact; only demonstrations are drawn.

Then every state's actions lead elsewhere at random, and the best policy for each learned reward is put to the true one.
Returns are shares of the way from the uniform policy to the best one. AIRL whose reward sees the action is the control:
it imitates as well, and explains the behaviour by what actions were good in the old process.

These are the kernels that the survey "Inverse Reinforcement Learning Meets Large Language Model Post-Training" (2025)
leads to; it has no experiment of this kind. Chosen on seeds 0 to 9: processes in which every state can be reached, as
no behaviour tells the reward of one that cannot, and a GAIL that keeps its learning rate and climbs slowly, without
which it did not imitate on every seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.claims.claim import Claim, Condition
from rlx.reward import adversarial_reward, airl_logit, discriminator_loss, mce_irl_loss
from rlx.types import Array, PyTree
from rlx.value import soft_policy_iteration

STATES, ACTIONS, GAMMA = 16, 4, 0.9
TEMPERATURE = 0.5  # of the expert; rewards of states are standard normal
TRAJECTORIES, STEPS = 200, 100
LEARNING_RATE, CLIMB = 0.05, 0.03  # of the rewards, and of GAIL's policy
START = jnp.full(STATES, 1 / STATES)


class Process(NamedTuple):
    following: Array  # int [S, A], the next state
    step: Array  # the same as probabilities [S, A, S]


def process(key: Array) -> Process:
    """One action goes round all states, the others go anywhere: every state is reached, so that its reward shows."""
    order_key, other_key = jax.random.split(key)
    order = jax.random.permutation(order_key, STATES)
    following = jax.random.randint(other_key, (STATES, ACTIONS), 0, STATES).at[order, 0].set(jnp.roll(order, 1))
    return Process(following, jax.nn.one_hot(following, STATES))


def visits(step: Array, policy: Array, start: Array = START) -> Array:
    """Discounted visits `[S, A]`, which sum to 1."""
    flow = jnp.eye(STATES) - GAMMA * jnp.einsum("sa,sat->st", policy, step)
    return (1 - GAMMA) * jnp.linalg.solve(flow.T, start)[:, None] * policy


def soft_policy(
    step: Array, reward: Array, temperature: Array | float = 1.0, start: Array | None = None
) -> tuple[Array, Array]:
    """Log-probabilities of the softly optimal policy, and its values to start from next time."""
    v, q = soft_policy_iteration(
        step, reward, GAMMA, temperature, start=start, num_iterations=20 if start is None else 3
    )
    return jax.nn.log_softmax(q / temperature), v


def demonstrate(key: Array, following: Array, log_policy: Array) -> tuple[Array, Array]:
    """Discounted visits of the trajectories `[S, A]`, and where they start `[S]`."""
    start_key, act_key = jax.random.split(key)

    def act(state: Array, key: Array) -> tuple[Array, tuple[Array, Array]]:
        action = jax.random.categorical(key, log_policy[state])
        return following[state, action], (state, action)

    first = jax.random.randint(start_key, (TRAJECTORIES,), 0, STATES)
    _, (state, action) = jax.lax.scan(act, first, jax.random.split(act_key, STEPS))
    weight = (1 - GAMMA) * GAMMA ** jnp.arange(STEPS)[:, None] / TRAJECTORIES
    counted = jnp.zeros((STATES, ACTIONS)).at[state, action].add(weight)
    return counted, jnp.zeros(STATES).at[first].add(1 / TRAJECTORIES)


def descend(
    step: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    parameters: PyTree,
    other: PyTree,
    updates: int,
    last: float = 0.0,
) -> tuple[PyTree, PyTree]:
    """Adam on gradients that `step` makes of parameters and all else that changes; its rate ends at a share `last`."""
    optimiser = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, updates, last))

    def update(carry: tuple, _: None) -> tuple[tuple, None]:
        parameters, other, state = carry
        gradient, other = step(parameters, other)
        changes, state = optimiser.update(gradient, state)
        return (optax.apply_updates(parameters, changes), other, state), None

    start = parameters, other, optimiser.init(parameters)
    parameters, other, _ = jax.lax.scan(update, start, None, length=updates)[0]
    return parameters, other


def mce(step: Array, shown: Array, start: Array, updates: int) -> tuple[Array, Array]:
    """A reward of the state `[S, A]` and its policy's log-probabilities."""

    def move(reward: Array, v: Array) -> tuple[Array, Array]:
        def loss(reward: Array) -> tuple[Array, tuple[Array, Array]]:
            table = jnp.broadcast_to(reward[:, None], shown.shape)
            scaled = shown / (1 - GAMMA)
            return mce_irl_loss(table, scaled, step, GAMMA, start, start=v, num_iterations=3)

        gradient, (v, _) = jax.grad(loss, has_aux=True)(reward)
        return gradient, v

    reward, _ = descend(move, jnp.zeros(STATES), jnp.zeros(STATES), updates)
    table = jnp.broadcast_to(reward[:, None], shown.shape)
    return table, soft_policy(step, table)[0]


def airl(process: Process, shown: Array, start: Array, updates: int, sees_action: bool) -> tuple[Array, Array]:
    """A reward `[S, A]`, which is one of the state unless it sees the action, and the policy's log-probabilities."""

    def parts(parameters: tuple[Array, Array]) -> tuple[Array, Array]:
        g, h = parameters
        return jnp.broadcast_to(g, shown.shape), h

    def move(parameters: tuple[Array, Array], v: Array) -> tuple[tuple[Array, Array], Array]:
        reward, h = parts(parameters)
        log_policy, v = soft_policy(process.step, reward + GAMMA * h[process.following] - h[:, None], start=v)
        own = visits(process.step, jnp.exp(log_policy), start)

        def loss(parameters: tuple[Array, Array]) -> Array:
            reward, h = parts(parameters)
            logit = airl_logit(reward, h[:, None], h[process.following], GAMMA, log_policy)
            expert = discriminator_loss(logit, jnp.ones(logit.shape))
            policy = discriminator_loss(logit, jnp.zeros(logit.shape))
            return jnp.sum(shown * expert + own * policy)

        return jax.grad(loss)(parameters), v

    zeros = jnp.zeros((STATES, ACTIONS if sees_action else 1)), jnp.zeros(STATES)
    parameters, _ = descend(move, zeros, jnp.zeros(STATES), updates)
    reward = parts(parameters)[0]
    return reward, soft_policy(process.step, reward)[0]


def gail(step: Array, shown: Array, start: Array, updates: int) -> tuple[Array, Array]:
    """The reward of a discriminator of state and action, and the policy's log-probabilities."""

    def move(logit: Array, log_policy: Array) -> tuple[Array, Array]:
        policy = jnp.exp(log_policy)
        own = visits(step, policy, start)

        def loss(logit: Array) -> Array:
            expert, mine = (discriminator_loss(logit, jnp.full(logit.shape, x)) for x in (1.0, 0.0))
            return jnp.sum(shown * expert + own * mine)

        reward = adversarial_reward(logit, "gail")
        flow = jnp.eye(STATES) - GAMMA * jnp.einsum("sa,sat->st", policy, step)
        q = reward + GAMMA * step @ jnp.linalg.solve(flow, jnp.sum(policy * reward, -1))
        return jax.grad(loss)(logit), jax.nn.log_softmax(log_policy + CLIMB * q)

    uniform = jnp.full(shown.shape, -jnp.log(ACTIONS))
    logit, log_policy = descend(move, jnp.zeros(shown.shape), uniform, updates, 1.0)
    return adversarial_reward(logit, "gail"), log_policy


def one(seed: Array, updates: int) -> dict[str, Array]:
    old_key, new_key, reward_key, show_key = jax.random.split(jax.random.key(seed), 4)
    old, new = process(old_key), process(new_key)
    true = jnp.broadcast_to(jax.random.normal(reward_key, (STATES, 1)), (STATES, ACTIONS))
    expert, _ = soft_policy(old.step, true, TEMPERATURE)
    shown, start = demonstrate(show_key, old.following, expert)

    def earned(step: Array, log_policy: Array) -> Array:
        return jnp.sum(visits(step, jnp.exp(log_policy)) * true)

    def best(step: Array, reward: Array) -> Array:
        """The best policy for a reward, softly at a thousandth of its deviation."""
        return soft_policy(step, reward, 1e-3 * (reward.std() + 1e-6))[0]

    uniform = jnp.full(true.shape, -jnp.log(ACTIONS))
    found = {}
    learned = {
        "maximum entropy": mce(old.step, shown, start, updates),
        "AIRL": airl(old, shown, start, updates, False),
        "AIRL that sees the action": airl(old, shown, start, updates, True),
        "GAIL": gail(old.step, shown, start, updates),
    }
    gap = visits(old.step, jnp.exp(learned["maximum entropy"][1]), start).sum(1) - shown.sum(1)
    found["largest difference of visits"] = jnp.abs(gap).max()
    low, high = earned(old.step, uniform), earned(old.step, expert)
    least, most = earned(new.step, uniform), earned(new.step, best(new.step, true))
    for name, (reward, log_policy) in learned.items():
        found[f"{name}: share of the expert"] = (earned(old.step, log_policy) - low) / (high - low)
        found[f"{name}: elsewhere"] = (earned(new.step, best(new.step, reward)) - least) / (most - least)
    found["the expert's policy: elsewhere"] = (earned(new.step, expert) - least) / (most - least)
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.jit(jax.vmap(lambda seed: one(seed, updates)))(jnp.asarray(seeds, jnp.uint32))
    return {name: np.asarray(values, np.float64).tolist() for name, values in found.items()}


CLAIM = Claim(
    name="reward_transfer",
    title="Learning Robust Rewards with Adversarial Inverse Reinforcement Learning",
    year=2018,
    cards=(189,),
    environment=f"deterministic processes of {STATES} states and {ACTIONS} actions with a reward of the state;"
    f" {TRAJECTORIES} trajectories of an expert",
    baseline="the reward of GAIL's discriminator; AIRL's reward if it sees the action",
    method="maximum causal entropy; AIRL with a reward of the state",
    metric="share of the way from the uniform policy to the expert, or to the best policy where actions lead elsewhere",
    conditions=(
        Condition("maximum entropy: above 0.95 of the expert", "maximum entropy: share of the expert", 0.95),
        Condition("maximum entropy: visits within 0.001", "largest difference of visits", 0.001, direction=-1),
        Condition("GAIL imitates: above 0.9 of the expert", "GAIL: share of the expert", 0.9),
        Condition("AIRL elsewhere: above 0.8", "AIRL: elsewhere", 0.8),
        Condition("GAIL elsewhere: below 0.8", "GAIL: elsewhere", 0.8, direction=-1),
        Condition("AIRL elsewhere: above GAIL", "AIRL: elsewhere", "GAIL: elsewhere", 0.2, paired=True),
        Condition(
            "AIRL elsewhere: above one that sees the action",
            "AIRL: elsewhere",
            "AIRL that sees the action: elsewhere",
            0.2,
            paired=True,
        ),
    ),
    settings={
        "discount": GAMMA,
        "temperature": TEMPERATURE,
        "trajectories": (TRAJECTORIES, STEPS),
        "learning_rate": LEARNING_RATE,
        "climb": CLIMB,
    },
    updates=2000,
    steps_per_update=1,
    run=run,
    seeds=range(1000, 1020),
)
