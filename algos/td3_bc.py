"""TD3+BC (Fujimoto and Gu, "A Minimalist Approach to Offline Reinforcement Learning", 2021).

TD3 on a log, whose policy also stays near the logged actions: one more term in one loss. Box actions, over any number
of reward channels. With `alpha = 0` it is behaviour cloning by the squared error.

The paper standardises observations; give the log, and the environment, observations of one scale.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax

from rlx import check
from rlx.algos.td3 import Learner, LearnerConfig, learning
from rlx.nets.distribution import action_distribution
from rlx.policy import td3_bc_loss
from rlx.runtime.log import draw_rows, scorer
from rlx.runtime.problem import initial_weights, pose
from rlx.types import Algorithm, Array, Environment, Policy, PyTree, RewardSource, Transition, Weighting


@dataclasses.dataclass(frozen=True)
class Config(LearnerConfig):
    """Settings of TD3+BC."""

    alpha: float = 2.5  # of the value in the policy's loss, per mean magnitude of the value; 2.5: the paper

    def __post_init__(self) -> None:
        super().__post_init__()
        check.in_range("alpha", self.alpha, 0.0)


class State(NamedTuple):
    """Everything that TD3+BC remembers between updates."""

    learner: Learner
    source: PyTree
    key: Array


def make(
    config: Config,
    env: Environment,
    env_params: Any = None,
    *,
    rewards: RewardSource | None = None,
    weighting: Weighting | None = None,
) -> Algorithm:
    """TD3+BC for `env`, which gives spaces and channels and is never stepped.

    `update(state, data)` is a gradient step on rows drawn from `data`, as in `rlx.algos.iql`; so are the rewards and
    the weights of channels. The actor and the target networks move in every `policy_period`-th.

    Raises:
      TypeError: for an action space that is not a Box.
      ValueError: for an unbounded Box or one not of rank 1, a source without `rescore`, a channel that is not episodic,
        a weighting that needs policy gradients; in `update`, without data.
    """
    problem = pose(env, env_params, rewards, weighting, 1, continuing=False)
    env_params, obs_space, action_space, rewards, channels, weighting, spec = problem
    parts = learning(config, problem, lambda q, action, taken: td3_bc_loss(q, action, taken, config.alpha))
    score = scorer(rewards)
    first_weights, _ = initial_weights(weighting, len(channels))
    to_env = action_distribution(action_space).to_env

    def init(key: Array) -> State:
        net_key, source_key, run_key = jax.random.split(key, 3)
        return State(parts.init(net_key), rewards.init(source_key, spec), run_key)

    def update(state: State, data: Transition | None = None) -> tuple[State, dict[str, Any]]:
        key, index_key, score_key, learn_key = jax.random.split(state.key, 4)
        (step,) = draw_rows(index_key, data, (obs_space, action_space), config.batch_size)
        reward = score(state.source, step, score_key)
        weights = problem.channel_weights(first_weights, step.obs)
        learner, metrics = parts.step(state.learner, step, reward, weights, learn_key)
        return State(learner, state.source, key), metrics

    def policy(state: State) -> Policy:
        def act(key: Array, obs: PyTree, memory: PyTree, reset: Array, greedy: bool = False) -> tuple[Array, PyTree]:
            del key, reset, greedy  # deterministic, no memory
            return to_env(parts.act(state.learner, obs)), memory

        return Policy(lambda batch_size: (), act)

    def with_learned(state: State, learned: Learner) -> State:
        return state._replace(learner=learned)

    return Algorithm(init, update, policy, 1, channels, lambda state: state.learner, with_learned)
