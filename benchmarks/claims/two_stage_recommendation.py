"""Time watched as the main reward and three rare responses: first a policy for each, then one that stays close to all.

A random user for each seed, of whom 20,000 recommendations of a careless policy are logged. All methods learn from the
log alone: critics by sweeps of expected TD over what was counted in it, actors by gradient steps on the logged actions,
logits in tables. Stage one is an advantage actor-critic for each response, stage two learns the main reward with
`tscac_weights`, in which the three count alike, for nine sums of multipliers. Compared are the same actor-critic for
the main reward alone and for the sum of all four. Returns are exact, discounted at 0.9.

The sweep gives a course of policies from the main reward's towards the responses'; "matched" are its returns where the
main return is 2% below the main actor-critic's, or equal to the sum's, by linear interpolation.

Chosen on seeds 0 to 9, in three rounds: the range of the sums, so that the course reaches the 2%; the bound of the
weights (100, 1e6, 1e12); how long the first stage learns (1, 0.2, 0.05 and 0.02 of the second's steps), since policies
that are nearly deterministic weigh the same whatever the sum. What is left of the responses at 2% is little in all of
these; where more may be lost, much is gained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.claims.claim import Claim, Condition
from rlx.envs.tabular import USER_CHANNELS, TabularMDP, floor_optimum, user_mdp
from rlx.policy import tscac_weights
from rlx.types import Array
from rlx.value import policy_evaluation

STATES, ACTIONS, GAMMA = 20, 10, 0.9
LOGGED, EPISODE = 20_000, 50
SPREAD = 1.0  # of the logits of the logging policy
LEARNING_RATE, STEPS = 0.05, 1500
FIRST_STAGE = 0.2  # share of the steps of the second stage that the first one takes
TOTALS = tuple(np.geomspace(0.001, 1.0, 13).round(4).tolist())  # sums of the multipliers
MAX_WEIGHT = 100.0


def log_counts(key: Array, P: Array, behaviour: Array, rho0: Array) -> Array:
    """How often the log has each transition, `[S, A, S]`."""

    def move(state: Array, key: Array) -> tuple[Array, Array]:
        action_key, state_key = jax.random.split(key)
        action = jax.random.categorical(action_key, jnp.log(behaviour[state]))
        after = jax.random.categorical(state_key, jnp.log(P[state, action]))
        place = jnp.ravel_multi_index((state, action, after), (STATES, ACTIONS, STATES), mode="clip")
        return after, place

    first_key, run_key = jax.random.split(key)
    number = LOGGED // EPISODE
    first = jax.random.categorical(first_key, jnp.log(rho0), shape=(number,))
    moves = jax.vmap(lambda s, k: jax.lax.scan(move, s, jax.random.split(k, EPISODE))[1])
    places = moves(first, jax.random.split(run_key, number))
    return jnp.zeros(STATES * ACTIONS * STATES).at[places.ravel()].add(1.0).reshape(STATES, ACTIONS, STATES)


def learn(counts: Array, reward: Array, loss: Callable[[Array, Array], Array], steps: int) -> Array:
    """Log-probabilities `[S, A]`: an actor whose `loss(log_policy, advantage)` `[S, A]` is that of a logged action."""
    visits = counts.sum(-1)
    share, seen = visits / visits.sum(), visits > 0
    after = counts / jnp.maximum(visits, 1.0)[..., None]
    optimiser = optax.adam(LEARNING_RATE)

    def update(carry: tuple[Array, Array, optax.OptState], _: None) -> tuple[tuple, None]:
        logits, q, state = carry
        policy = jax.nn.softmax(logits)
        q = jnp.where(seen, reward + GAMMA * after @ jnp.sum(policy * q, -1), 0.0)
        advantage = q - jnp.sum(policy * q, -1, keepdims=True)

        def mean(logits: Array) -> Array:
            return jnp.sum(share * loss(jax.nn.log_softmax(logits), advantage))

        change, state = optimiser.update(jax.grad(mean)(logits), state)
        return (optax.apply_updates(logits, change), q, state), None

    logits = jnp.zeros((STATES, ACTIONS))
    start = logits, jnp.zeros((STATES, ACTIONS)), optimiser.init(logits)
    (logits, _, _), _ = jax.lax.scan(update, start, length=steps)
    return jax.nn.log_softmax(logits)


def policies(key: Array, P: Array, R: Array, rho0: Array, steps: int) -> Array:
    """Log-probabilities `[3 + L, S, A]`: the logging policy's, the main actor-critic's, the sum's, then the sweep's."""
    behaviour_key, log_key = jax.random.split(key)
    log_behaviour = jax.nn.log_softmax(SPREAD * jax.random.normal(behaviour_key, (STATES, ACTIONS)))
    counts = log_counts(log_key, P, jnp.exp(log_behaviour), rho0)

    def actor_critic(reward: Array, steps: int) -> Array:
        def loss(log_policy: Array, advantage: Array) -> Array:
            ratio = jax.lax.stop_gradient(jnp.exp(log_policy - log_behaviour))
            return -ratio * advantage * log_policy

        return learn(counts, reward, loss, steps)

    main, together = actor_critic(R[..., 0], steps), actor_critic(R.sum(-1), steps)
    first = max(1, int(FIRST_STAGE * steps))
    responses = jax.vmap(lambda reward: actor_critic(reward, first), -1, -1)(R[..., 1:])

    def second_stage(total: Array) -> Array:
        multiplier = jnp.full(3, total / 3)

        def loss(log_policy: Array, advantage: Array) -> Array:
            return -log_policy * tscac_weights(responses, log_behaviour, advantage, multiplier, MAX_WEIGHT)

        return learn(counts, R[..., 0], loss, steps)

    return jnp.concatenate([jnp.stack([log_behaviour, main, together]), jax.vmap(second_stage)(jnp.array(TOTALS))])


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    envs = [user_mdp(jax.random.key(seed), STATES, ACTIONS, gamma=GAMMA) for seed in seeds]
    keys = jnp.stack([jax.random.key(seed + 10_000) for seed in seeds])
    params = jax.tree.map(lambda *x: jnp.stack(x), *(env.default_params for env in envs))
    learned = jax.jit(jax.vmap(lambda key, p: policies(key, p.P, p.R, p.rho0, updates)))(keys, params)
    samples: dict[str, list[float]] = {}
    for env, each in zip(envs, np.asarray(jnp.exp(learned), np.float64), strict=True):
        for name, value in measure(env, each / each.sum(-1, keepdims=True)).items():
            samples.setdefault(name, []).append(float(value))
    return samples


def measure(env: TabularMDP, policy: np.ndarray) -> dict[str, float]:
    P, R, discount, rho0 = env.arrays()
    returns = np.stack([rho0 @ policy_evaluation(P, R, discount, each)[0] for each in policy])  # [3 + L, 4]
    behaviour, main, together, course = *returns[:3], returns[3:]
    order = np.argsort(course[:, 0])

    def matched(main: float) -> np.ndarray:
        return np.array([np.interp(main, course[order, 0], course[order, k]) for k in range(4)])

    as_main, as_sum = matched(0.98 * main[0]), matched(together[0])
    best, _ = floor_optimum(env, as_main[1:] - 1e-6)
    named = {
        "log": behaviour,
        "main alone": main,
        "sum": together,
        "matched to main": as_main,
        "matched to sum": as_sum,
    }
    found = {f"{name}: {c}": x[k] for name, x in named.items() for k, c in enumerate(USER_CHANNELS)}
    steps = np.diff(course, axis=0)
    return found | {
        "matched to main: most watched with these responses": best[0],
        "course: responses gained": course[-1, 1:].sum() - course[0, 1:].sum(),
        "course: watch lost": course[0, 0] - course[-1, 0],
        "course: share of steps with less watched": np.mean(steps[:, 0] < 0),
        "course: highest main": course[:, 0].max(),
    }


CLAIM = Claim(
    name="two_stage_recommendation",
    title="Two-Stage Constrained Actor-Critic for Short Video Recommendation",
    year=2023,
    cards=(64,),
    environment="rlx/user: 20 states, 10 recommendations, responses in 10, 5 and 2% of both; a log of 20,000 steps",
    baseline="advantage actor-critics on the log, for the time watched alone and for the sum of all rewards",
    method="a policy for each response, then TSCAC's weights for the time watched, the sum of multipliers swept",
    metric="discounted returns, exactly",
    conditions=(
        *(
            Condition(
                f"{name}, where 2% less is watched: over the actor-critic of the time alone",
                f"matched to main: {name}",
                f"main alone: {name}",
                paired=True,
            )
            for name in USER_CHANNELS[1:]
        ),
        Condition(
            "the rarest response, where as much is watched: over the actor-critic of the sum",
            "matched to sum: share",
            "sum: share",
            paired=True,
        ),
        Condition("responses gained along the course", "course: responses gained", 0.0),
        Condition("time lost along the course", "course: watch lost", 0.0),
    ),
    settings={
        "learning_rate": LEARNING_RATE,
        "totals": TOTALS,
        "max_weight": MAX_WEIGHT,
        "logged": LOGGED,
        "first_stage": FIRST_STAGE,
        "spread": SPREAD,
        "gamma": GAMMA,
    },
    updates=STEPS,
    steps_per_update=1,
    run=run,
    seeds=range(1000, 1040),
)
