"""Ratings from noisy comparisons find out how good imitators are of which nobody can write down the reward.

Three tasks in a world of four rooms, each with a hidden reward that only judges know: stay in the far room, keep
close to walls without bumping into them, go back and forth between rooms. An expert follows the best policy with a
little noise; others clone 1, 3, 10, 30 and 100 of its episodes by counting; one acts at random. Judges see an episode
each of two agents drawn at random and prefer one with probability `sigmoid` of the difference of returns over half of
their standard deviation. TrueSkill takes the comparisons one after the other.

Chosen on seeds 0 to 9 in two rounds. In the first, episodes began in one corner of a 7 x 7 world: a single
demonstration showed all there was to learn, its clone was as good as the expert, and there were no ranks to find out.
In the second the rank correlation was 0.86 with 30 comparisons for each agent; 100 are judged.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.envs.grid import GridWorld, four_rooms
from rlx.policy import rank_correlation
from rlx.reward import normalised_task_scores, trueskill_update
from rlx.types import Array

SIDE, STEPS = 11, 40
EXPERT_NOISE = 0.1  # share of random actions
DEMONSTRATIONS = (1, 3, 10, 30, 100)
AGENTS = ("random", *(f"cloned from {n}" for n in DEMONSTRATIONS), "expert")
EPISODES = 200  # of each agent, for its true quality and for the judges to draw from
FEW = 5  # comparisons for each agent after which ratings are first read
LAYOUT = four_rooms(SIDE)
MDP = GridWorld(LAYOUT._replace(goal=np.eye(1, SIDE**2, SIDE - 1).reshape(SIDE, SIDE) > 0)).to_mdp()
# [S, A]; the goal, which would end episodes, is a corner like any other here
NEXT = np.argmax(np.asarray(MDP.default_params.P), axis=-1)
STATES, ACTIONS = NEXT.shape


def rewards() -> np.ndarray:
    """`[3, S, A]`."""
    cell = np.arange(STATES)
    room = np.asarray(LAYOUT.room).ravel()
    wall = np.pad(np.asarray(LAYOUT.wall), 1, constant_values=True)
    beside = np.sum([np.roll(wall, shift, axis) for axis in (0, 1) for shift in (-1, 1)], 0)[1:-1, 1:-1].ravel()
    bump = cell[:, None] == NEXT
    far = (room[NEXT] == 3) * 1.0
    walls = 0.5 * beside[NEXT] - 2.0 * bump
    travel = (room[NEXT] != room[cell][:, None]) * 1.0 - 0.2 * bump
    return np.stack([far, walls, travel])


def best_policies() -> np.ndarray:
    """`[3, STEPS, S, A]`, one action each: finite horizons, by backward induction."""
    policies = np.zeros((3, STEPS, STATES, ACTIONS))
    for task, reward in enumerate(rewards()):
        value = np.zeros(STATES)
        for t in reversed(range(STEPS)):
            q = reward + value[NEXT]
            policies[task, t] = np.eye(ACTIONS)[q.argmax(1)]
            value = q.max(1)
    return policies


REWARDS = jnp.asarray(rewards())
EXPERTS = jnp.asarray((1 - EXPERT_NOISE) * best_policies() + EXPERT_NOISE / ACTIONS)


def play(key: Array, policy: Array) -> tuple[Array, Array]:
    """States and actions `[STEPS]` of an episode of a policy `[STEPS, S, A]`."""

    def step(state: Array, xs: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        key, prob = xs
        action = jax.random.categorical(key, jnp.log(prob[state]))
        return jnp.asarray(NEXT)[state, action], (state, action)

    start_key, key = jax.random.split(key)
    start = jax.random.categorical(start_key, jnp.where(jnp.asarray(LAYOUT.wall).ravel(), -jnp.inf, 0.0))
    return jax.lax.scan(step, start, (jax.random.split(key, STEPS), policy))[1]


def clone(states: Array, actions: Array) -> Array:
    """Shares of actions in each state, whenever; uniform where there was none: `[STEPS, S, A]`."""
    count = jnp.zeros((STATES, ACTIONS)).at[states.ravel(), actions.ravel()].add(1.0)
    total = count.sum(-1, keepdims=True)
    policy = jnp.where(total > 0, count / jnp.maximum(total, 1), 1 / ACTIONS)
    return jnp.broadcast_to(policy, (STEPS, STATES, ACTIONS))


def returns_of_agents(key: Array, reward: Array, expert: Array) -> Array:
    """`[agents, EPISODES]`."""
    demo_key, play_key = jax.random.split(key)
    states, actions = jax.vmap(play, (0, None))(jax.random.split(demo_key, max(DEMONSTRATIONS)), expert)
    cloned = [clone(states[:n], actions[:n]) for n in DEMONSTRATIONS]
    agents = jnp.stack([jnp.full_like(expert, 1 / ACTIONS), *cloned, expert])
    keys = jax.random.split(play_key, (len(AGENTS), EPISODES))
    states, actions = jax.vmap(jax.vmap(play, (0, None)))(keys, agents)
    return reward[states, actions].sum(-1)


def rate(key: Array, returns: Array, comparisons: int) -> tuple[Array, Array]:
    """Ratings `[comparisons, agents]` after each comparison, and the deviations at last."""
    scale = returns.std() / 2

    def compare(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], Array]:
        mean, deviation = carry
        pair_key, episode_key, judge_key = jax.random.split(key, 3)
        pair = jax.random.choice(pair_key, len(AGENTS), (2,), replace=False)
        seen = returns[pair, jax.random.randint(episode_key, (2,), 0, EPISODES)]
        first = jax.random.bernoulli(judge_key, jax.nn.sigmoid((seen[0] - seen[1]) / scale))
        ordered = jnp.where(first, pair, pair[::-1])
        after = trueskill_update(mean[ordered], deviation[ordered], jnp.zeros((), bool))
        mean, deviation = mean.at[ordered].set(after.mean), deviation.at[ordered].set(after.deviation)
        return (mean, deviation), mean

    start = jnp.full(len(AGENTS), 25.0), jnp.full(len(AGENTS), 25 / 3)
    (_, deviation), means = jax.lax.scan(compare, start, jax.random.split(key, comparisons))
    return means, deviation


@functools.partial(jax.jit, static_argnames="comparisons")
@functools.partial(jax.vmap, in_axes=(0, None))
def trial(seed: Array, comparisons: int) -> dict[str, Array]:
    agent_key, judge_key = jax.random.split(jax.random.key(seed))
    returns = jax.vmap(returns_of_agents)(jax.random.split(agent_key, 3), REWARDS, EXPERTS)
    means, _ = jax.vmap(rate, (0, 0, None))(jax.random.split(judge_key, 3), returns, comparisons)
    quality, last = returns.mean(-1), means[:, -1]
    early = means[:, min(FEW * len(AGENTS) // 2, comparisons) - 1]
    scores = normalised_task_scores(last)
    found = {f"score of {name}": score for name, score in zip(AGENTS, scores, strict=True)}
    return found | {
        "correlation with quality": rank_correlation(last, quality).mean(),
        "correlation after few comparisons": rank_correlation(early, quality).mean(),
    }


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = trial(np.asarray(seeds, np.uint32), updates)
    return {name: np.asarray(x, np.float64).tolist() for name, x in found.items()}


CLAIM = Claim(
    name="rated_imitation",
    title="The MineRL BASALT Competition on Learning from Human Feedback",
    year=2021,
    cards=(32,),
    environment=f"three tasks with hidden rewards in four rooms of a {SIDE} x {SIDE} grid, {STEPS} steps",
    baseline="fewer comparisons, fewer demonstrations, random actions",
    method="behaviour cloning, judged by comparisons that TrueSkill turns into ratings",
    metric="rank correlation of ratings with the agents' hidden returns; ratings normalised over tasks",
    conditions=(
        Condition("rank correlation of ratings with quality: at least 0.9", "correlation with quality", 0.9),
        Condition(
            "more comparisons: higher rank correlation",
            "correlation with quality",
            "correlation after few comparisons",
            0.05,
            paired=True,
        ),
        Condition(
            "100 demonstrations: rated above 10", "score of cloned from 100", "score of cloned from 10", paired=True
        ),
        Condition("the expert: rated above its clone", "score of expert", "score of cloned from 100", paired=True),
        Condition("10 demonstrations: rated above random", "score of cloned from 10", "score of random", paired=True),
    ),
    settings={"noise of the expert": EXPERT_NOISE, "episodes": EPISODES, "agents": AGENTS},
    updates=100 * len(AGENTS) // 2,  # comparisons in each task: 100 for each agent
    steps_per_update=2 * STEPS,
    run=run,
    seeds=range(1000, 1020),
)
