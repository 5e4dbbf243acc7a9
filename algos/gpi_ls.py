"""GPI-LS: one policy for all preferences, trained where it promises most (Alegre et al., 2023).

A learner conditioned on the preference, DQN or SAC, acts by the best of its policies for a support of preferences
(generalised policy improvement). The support follows the convex coverage set: next come the corner weights at which
improvement promises most beyond the best known values. The paper begins with the corners of the simplex. Here the
support is filled up with evenly spread preferences: a policy that sees one objective alone can be hard to learn.

Source: Alegre et al., "Sample-Efficient Multi-Objective Learning via Generalized Policy Improvement Prioritization"
(2023).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.algos import dqn as dqn_module
from rlx.algos import sac as sac_module
from rlx.algos.pgmorl import spread_weights
from rlx.envs.wrappers import Preference, PreferenceParams
from rlx.pareto import archive_insert, corner_weights, improvement_priority
from rlx.runtime.members import evaluate_preferences
from rlx.space import PREFERENCE, Discrete, from_gymnax
from rlx.types import Algorithm, Array, Environment, Front, Policy, PyTree


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of GPI-LS. Floats may be traced (swept in one program); the rest fix the program's shape."""

    num_updates: int = 1_000  # of the learner in one iteration, after which the support is chosen anew
    support: int = 12  # preferences of the support: those of the front's value vectors, then evenly spread ones
    num_corners: int = 4  # corner weights trained for beside the support, half of the time; 4: the paper's code
    episodes: int = 1  # to evaluate a preference with, not counted as environment steps; more where chance plays a part
    discount: float = 0.99  # of the evaluated returns, which should be the learner's
    dqn: dqn_module.Config = dataclasses.field(default_factory=dqn_module.Config)  # for Discrete actions; acts by GPI
    sac: sac_module.Config = dataclasses.field(default_factory=sac_module.Config)  # for a Box of actions; acts by GPI

    def __post_init__(self) -> None:
        for name in ("num_updates", "support", "num_corners", "episodes"):
            check.count(name, getattr(self, name))
        check.in_range("discount", self.discount, 0.0, 1.0)


class State(NamedTuple):
    """Everything that GPI-LS remembers between iterations."""

    learner: PyTree
    preferences: Array  # [C + corners, m]: the support, then corner weights
    probability: Array  # [C + corners] of being trained for, up to a factor; 0: does not exist
    front: Front  # [C, m] returns measured at the last iteration
    key: Array


def make(config: Config, env: Environment, env_params: Any = None) -> Algorithm:
    """GPI-LS on `env`, an environment of vector rewards.

    Raises:
      TypeError: for actions that the learner does not take.
      ValueError: if the environment has no vector reward.
    """
    conditioned = Preference(env)
    inner = env.default_params if env_params is None else env_params
    num_objectives = conditioned.num_objectives
    discrete = isinstance(from_gymnax(env.action_space(inner)), Discrete)
    settings = config.dqn if discrete else config.sac
    settings = dataclasses.replace(settings, relabel=max(1, settings.relabel), improve=True)
    make_learner: Any = dqn_module.make if discrete else sac_module.make
    ref = getattr(env, "reference_point", None)
    ref = None if ref is None or num_objectives > 3 else jnp.asarray(ref, jnp.float32)

    def params(preferences: Array, probability: Array) -> PreferenceParams:
        return PreferenceParams(inner, preferences, probability)

    def learner(preferences: Array, probability: Array) -> Algorithm:
        return make_learner(settings, conditioned, params(preferences, probability))

    check.in_range("support", config.support, num_objectives)
    spread = spread_weights(config.support, num_objectives)
    nothing = Front(jnp.zeros((config.support, num_objectives)), jnp.zeros(config.support, bool))
    sizes = (config.support, config.num_corners)
    share = jnp.concatenate([jnp.full(size, 1.0 / size) for size in sizes])

    def first() -> tuple[Array, Array]:
        """Preferences and their probabilities before anything is known: all over the simplex, no corners yet."""
        preferences = jnp.concatenate([spread, jnp.full((config.num_corners, num_objectives), 1.0 / num_objectives)])
        return preferences, jnp.where(jnp.arange(len(preferences)) < config.support, share, 0.0)

    example = learner(*first())

    def init(key: Array) -> State:
        learner_key, key = jax.random.split(key)
        return State(example.init(learner_key), *first(), nothing, key)

    def measure(state: State, key: Array, preferences: Array) -> Array:
        """Returns `[R, m]` of generalised policy improvement on the support."""
        listed = learner(state.preferences, state.probability)
        asked = functools.partial(evaluate_preferences, discount=config.discount)
        return asked(
            listed.policy(state.learner),
            conditioned,
            params(state.preferences, state.probability),
            key,
            preferences,
            config.episodes,
        )

    def update(state: State, data: None = None) -> tuple[State, dict[str, Any]]:
        del data  # the learner collects its own
        key, support_key, corner_key = jax.random.split(state.key, 3)
        trained = learner(state.preferences, state.probability)
        inner_state, metrics = jax.lax.scan(
            lambda inner, _: trained.update(inner), state.learner, length=config.num_updates
        )
        state = state._replace(learner=inner_state, key=key)
        values = measure(state, support_key, state.preferences)
        front, index = archive_insert(nothing, values, state.probability > 0, ref=ref)
        found = state.preferences[jnp.maximum(index - config.support, 0)]
        support = jnp.where(front.valid[:, None], found, spread)

        corners, exists = corner_weights(*front)
        promised = measure(state, corner_key, corners)
        priority = jnp.where(exists, improvement_priority(corners, promised, front), -jnp.inf)
        best, chosen = jax.lax.top_k(priority, config.num_corners)
        preferences = jnp.concatenate([support, corners[chosen]])
        probability = share * jnp.concatenate([jnp.ones(config.support), jnp.isfinite(best)])
        metrics = jax.tree.map(lambda x: x.mean(0), metrics)
        metrics |= {
            "evaluation": values.mean(0),
            "front_size": front.valid.sum().astype(jnp.float32),
            "priority": best[0],
        }
        return State(inner_state, preferences, probability, front, key), metrics

    def policy(state: State) -> Policy:
        """It acts for the preference in the observation, and where there is none for that of equal weights."""
        inner = learner(state.preferences, state.probability).policy(state.learner)
        even = jnp.full(num_objectives, 1.0 / num_objectives)

        def act(key: Array, obs: PyTree, carry: PyTree, reset: Array, greedy: bool = False) -> tuple[Array, PyTree]:
            if not (isinstance(obs, dict) and PREFERENCE in obs):
                obs = jax.vmap(conditioned.observe, (0, None))(obs, even)
            return inner.act(key, obs, carry, reset, greedy)

        return Policy(inner.init, act)

    steps = config.num_updates * example.steps_per_update
    return Algorithm(init, update, policy, steps, example.channels, front=lambda state: state.front)
