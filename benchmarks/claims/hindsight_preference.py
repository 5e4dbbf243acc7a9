"""Preferences find the context on which to condition a policy learned in hindsight, without a reward.

The data are paths of a robot that went to one of four goals, clumsily; preferences between 500 pairs of them follow the
return for one goal. OPPO (`rlx.algos.oppo`) gives each path a context, imitates the path in it, and looks for the
context that preferred paths have. Scores are returns, on a scale where imitation of everything is 0 and the behaviour
that went to the right goal is 1.

Compared with the usual two steps: a reward is fitted to the same preferences, and implicit Q-learning (`rlx.algos.iql`)
maximises it on the same paths. Imitation is that with inverse temperature 0. Control: random preferences.

Tried for OPPO on seeds 0 to 3: batches of 16 at a learning rate of 2e-3 with 800 and with 2,500 updates, and batches
of 64 at 1e-3 with 1,500; the first was best (0.88, 0.85 and 0.81). For implicit Q-learning on seeds 0 to 9, with the
fitted reward: inverse temperature 3 with expectile 0.7 and 10 with 0.9 after 800 updates, when some seeds are half-way
(0.86 and 0.76 in the mean); and after 2,400 all four pairs, each with discounts of 0.9 and 0.99, all of which end
within 1.4 of the return of the right behaviour on every seed. The best is taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.segments import trajectory
from rlx.algos import iql, oppo
from rlx.envs import make
from rlx.reward.learned import fit_reward_model, learned_reward, predict_reward
from rlx.runtime import evaluate, train
from rlx.types import Array, PreferenceBatch, Transition

PATHS, STEPS, PAIRS, GOALS = 256, 15, 500, 4
ROBOTS = 64
HIDDEN, BATCH = (32, 32), 16
LEARNING_RATE = 2e-3
INVERSE_TEMPERATURE, EXPECTILE, DISCOUNT = 3.0, 0.7, 0.9
MORE = 3  # updates of implicit Q-learning for each of OPPO
ARMS = ("preferences", "random preferences", "imitation", "reward and implicit Q-learning")

ENV, PARAMS = make(f"rlx/point-goals-{GOALS}", observe_goal=False)
PARAMS = PARAMS.replace(max_steps_in_episode=STEPS)
FIRST_GOAL = PARAMS.replace(goal=PARAMS.goal[:1])  # where policies are judged
SPACES = ENV.observation_space(PARAMS), ENV.action_space(PARAMS)


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


def as_log(paths: dict[str, Array]) -> Transition:
    """Paths `[N, T, ...]` as rows `[T, N, ...]` of episodes that were cut, without rewards."""
    obs, action, next_obs = (paths[name].swapaxes(0, 1) for name in ("obs", "action", "next_obs"))
    zeros, never = jnp.zeros(obs.shape[:2]), jnp.zeros(obs.shape[:2], bool)
    return Transition(obs, action, zeros, zeros, never, never.at[-1].set(True), next_obs)


def one(seed: Array, steps: int) -> dict[str, Array]:
    data_key, pair_key, oppo_key, reward_key, iql_key, run_key = jax.random.split(jax.random.key(seed), 6)
    paths, goals = draw_paths(data_key)
    gold = returns(paths["next_obs"])
    drawn = jax.random.randint(pair_key, (PAIRS, 2), 0, PATHS)
    first_better = gold[drawn[:, 0]] > gold[drawn[:, 1]]
    answers = jnp.stack([first_better, ~first_better], axis=1).astype(jnp.float32)
    mask = jnp.ones((PAIRS, 2, STEPS), bool)

    def queries(target: Array) -> PreferenceBatch:
        return PreferenceBatch(paths["obs"][drawn], paths["action"][drawn], mask, target)

    hindsight = oppo.make(
        oppo.Config(
            batch_size=BATCH, learning_rate=LEARNING_RATE, context_learning_rate=10 * LEARNING_RATE, hidden=HIDDEN
        ),
        ENV,
        FIRST_GOAL,
    )
    log = as_log(paths)
    model, _ = fit_reward_model(
        reward_key, queries(answers), log, *SPACES, gradient_steps=steps, batch_size=BATCH, hidden=HIDDEN, centred=True
    )

    def two_steps(inverse_temperature: Array):
        config = iql.Config(
            batch_size=BATCH * STEPS,
            learning_rate=LEARNING_RATE,
            inverse_temperature=inverse_temperature,  # type: ignore[arg-type]
            level=EXPECTILE,
            discount=DISCOUNT,
            hidden=HIDDEN,
        )
        return iql.make(config, ENV, FIRST_GOAL, rewards=learned_reward(model))

    def play(policy) -> Array:
        return evaluate(policy, ENV, run_key, ROBOTS, env_params=FIRST_GOAL).returns.mean()

    def with_preferences(target: Array) -> Array:
        return play(hindsight.policy(train(hindsight, oppo_key, steps, queries(target))[0]))

    def with_reward(inverse_temperature: Array) -> Array:
        algorithm = two_steps(inverse_temperature)
        return play(algorithm.policy(train(algorithm, iql_key, MORE * steps, log)[0]))

    first_always = jnp.tile(jnp.array([1.0, 0.0]), (PAIRS, 1))  # whichever was drawn first
    scores = jnp.concatenate(
        [
            jax.vmap(with_preferences)(jnp.stack([answers, first_always])),
            jax.vmap(with_reward)(jnp.array([0.0, INVERSE_TEMPERATURE])),
        ]
    )
    right = gold.mean(where=goals == 0)
    normalised = (scores - scores[2]) / (right - scores[2])
    found = {f"{arm}: return": scores[i] for i, arm in enumerate(ARMS)}
    found |= {arm: normalised[i] for i, arm in enumerate(ARMS) if arm != "imitation"}
    learned = predict_reward(model, log.obs, log.action).sum(0)
    return {
        **found,
        "lead over reward and implicit Q-learning": normalised[0] - normalised[3],
        "right behaviour: return": right,
        "learned reward: correlation with the return": jnp.corrcoef(learned, gold)[0, 1],
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
    baseline="imitation of all paths; a reward fitted to the preferences, with implicit Q-learning; random preferences",
    method="a policy learned in hindsight, in the context that preferences find",
    metric="return for the preferred goal: imitation is 0, the behaviour that went there is 1",
    conditions=(
        Condition("above half of the way from imitation to the right behaviour", "preferences", 0.5),
        Condition(
            "at most a tenth behind a reward and implicit Q-learning", "lead over reward and implicit Q-learning", -0.1
        ),
        Condition("above random preferences", "preferences", "random preferences", 0.5, paired=True),
    ),
    settings={
        "hidden": list(HIDDEN),
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "context_learning_rate": 10 * LEARNING_RATE,
        "inverse_temperature": INVERSE_TEMPERATURE,
        "expectile": EXPECTILE,
        "discount": DISCOUNT,
        "updates of implicit Q-learning": f"{MORE} times as many",
        "others": "defaults of rlx.algos.oppo and rlx.algos.iql",
        "margins": "those of the project's card, set before any run; 0.5 over random preferences, likewise",
    },
    updates=800,
    steps_per_update=BATCH * STEPS,
    run=run,
    seeds=range(1020, 1030),
    history=(
        "the training, written out here before, is that of rlx.algos.oppo; the baseline, imitation of whole paths "
        "weighted by the fitted reward, became implicit Q-learning with that reward, which is what the card asks for. "
        "The verdict before, on seeds 1000 to 1009, was reproduced",
        "on seeds 1010 to 1019 it was reproduced too, with a lead of 0.21, but the baseline had failed on four of them "
        "(0.71 in the mean), having been tried on four seeds only. It was given three times the updates, a discount of "
        "0.9 and a centred reward, chosen on seeds 0 to 9; judged on new seeds",
    ),
)
