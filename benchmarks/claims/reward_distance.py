"""STARC's distance says how much regret one reward causes under another; EPIC's and DARD's only up to what they miss.

A seed draws 100 random processes with two rewards each: the second one is a mix of the first with noise, scaled and
shaped by a random potential. In half of them it also pays elsewhere: what a state and action earn is moved between the
next states, at equal expectation, which no policy can tell. The regret of a pair is what the best policy for one reward
loses under the other, as a share of the gap between the best and the worst policy there, in the worse direction.

What is compared is the rank correlation between distance and regret over the processes. Without the moved reward all
three remove the same thing, so STARC's lead there should vanish: that half is the control.

EPIC and DARD get uniform coverage of next states, their usual form for a table; weighted by how probable a transition
is ("weighted") they are a little better.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from benchmarks.claims.claim import Claim, Condition
from rlx.reward import dard_canonical, epic_canonical, pearson_distance, reward_distance, starc_canonical
from rlx.types import Array
from rlx.value import soft_policy_iteration

STATES, ACTIONS, GAMMA = 16, 4, 0.9
CONCENTRATION = 0.15  # of next states' probabilities: a few successors are likely
MOVED = 4.0  # highest standard deviation of the reward that is moved between next states; uniform from 0 on
POTENTIAL = 4.0  # of the potential, likewise
TEMPERATURE = 1e-4  # of planning; greedy in effect
DISTANCES = ("STARC", "STARC minimal", "EPIC", "EPIC weighted", "DARD", "DARD weighted", "Pearson")


def draw(key: Array, moved: Array) -> tuple[Array, Array, Array]:
    """Transitions and two rewards, `[S, A, S]` each."""
    keys = jax.random.split(key, 8)
    shape = STATES, ACTIONS, STATES
    P = jax.random.dirichlet(keys[0], jnp.full(STATES, CONCENTRATION), shape[:2])
    first, noise, elsewhere = (jax.random.normal(k, shape) for k in keys[1:4])
    share, scale = jax.random.uniform(keys[4]), jnp.exp(jax.random.normal(keys[5]))
    shaped, paid = jax.random.uniform(keys[6], (2,), maxval=jnp.array([POTENTIAL, MOVED]))
    potential = shaped * jax.random.normal(keys[7], (STATES,))
    second = (1 - share) * first + share * noise
    second += GAMMA * potential - potential[:, None, None]
    second += moved * paid * (elsewhere - jnp.sum(P * elsewhere, -1, keepdims=True))
    return P, first, scale * second


def regret(P: Array, first: Array, second: Array) -> Array:
    """What the best policy for either reward loses under the other, the larger share of the two."""
    first, second = jnp.sum(P * first, -1), jnp.sum(P * second, -1)

    def best(reward: Array) -> Array:
        return jnp.argmax(soft_policy_iteration(P, reward, GAMMA, TEMPERATURE)[1], -1)

    def value(reward: Array, action: Array) -> Array:
        state = jnp.arange(STATES)
        return jnp.linalg.solve(jnp.eye(STATES) - GAMMA * P[state, action], reward[state, action]).mean()

    def lost(mine: Array, other: Array) -> Array:
        top, bottom = value(mine, best(mine)), value(mine, best(-mine))
        return (top - value(mine, best(other))) / (top - bottom)

    return jnp.maximum(lost(first, second), lost(second, first))


def figures(key: Array, moved: Array) -> tuple[Array, Array]:
    """The regret of a pair of rewards and their distances, in the order of `DISTANCES`."""
    P, first, second = draw(key, moved)
    starc = [[starc_canonical(r, P, GAMMA, kind=kind) for r in (first, second)] for kind in ("value", "minimal")]
    epic = [epic_canonical(r, GAMMA) for r in (first, second)]
    dard = [dard_canonical(r, P, GAMMA) for r in (first, second)]
    distances = [
        *(reward_distance(a, b) / 2 for a, b in starc),
        *(pearson_distance(a, b, weights) for a, b in (epic, dard) for weights in (None, P)),
        pearson_distance(first, second),
    ]
    return regret(P, first, second), jnp.stack(distances)


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's; 0 for a single pair."""
    return float(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1]) if len(x) > 1 else 0.0


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    moved = np.arange(updates) % 2
    keys = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed), updates))(np.asarray(seeds, np.uint32))
    lost, distances = jax.jit(jax.vmap(jax.vmap(figures), (0, None)))(keys, jnp.asarray(moved, jnp.float32))
    samples = {}
    for half, chosen in (("", moved >= 0), (", reward moved", moved == 1), (", not moved", moved == 0)):
        for k, name in enumerate(DISTANCES):
            samples[name + half] = [
                rank_correlation(x, y)
                for x, y in zip(np.asarray(lost)[:, chosen], np.asarray(distances)[:, chosen, k], strict=True)
            ]
    samples["mean regret"] = lost.mean(1).tolist()
    for other in ("EPIC", "DARD"):
        pairs = zip(samples["STARC, not moved"], samples[f"{other}, not moved"], strict=True)
        samples[f"lead over {other}, not moved"] = [a - b for a, b in pairs]
    return samples


CLAIM = Claim(
    name="reward_distance",
    title="STARC: A General Framework For Quantifying Differences Between Reward Functions",
    year=2024,
    cards=(213,),
    environment=f"100 random processes of {STATES} states and {ACTIONS} actions for each seed, in half of which the"
    " second reward is moved between next states at equal expectation",
    baseline="EPIC, DARD, and the Pearson distance of the bare rewards",
    method="STARC with values of the uniform policy",
    metric="Spearman correlation between the distance of two rewards and the larger of their normalised regrets",
    conditions=(
        Condition("STARC, above 0.9", "STARC", 0.9),
        *(
            Condition(f"STARC, above {other}", "STARC", other, margin, paired=True)
            for other, margin in (("EPIC", 0.1), ("DARD", 0.1), ("Pearson", 0.2))
        ),
        *(
            Condition(
                f"above {other} where reward is moved",
                "STARC, reward moved",
                f"{other}, reward moved",
                0.15,
                paired=True,
            )
            for other in ("EPIC", "DARD")
        ),
        *(
            Condition(
                f"lead over {other} where it is not, below 0.03", f"lead over {other}, not moved", 0.03, direction=-1
            )
            for other in ("EPIC", "DARD")
        ),
    ),
    settings={
        "states": STATES,
        "actions": ACTIONS,
        "discount": GAMMA,
        "concentration": CONCENTRATION,
        "moved": MOVED,
        "potential": POTENTIAL,
    },
    updates=100,  # processes for each seed
    steps_per_update=1,
    run=run,
    seeds=range(1000, 1020),
)
