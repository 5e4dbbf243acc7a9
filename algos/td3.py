"""TD3 (Fujimoto, van Hoof and Meger, "Addressing Function Approximation Error in Actor-Critic Methods", 2018).

Box actions, over any number of reward channels: a deterministic policy that follows critics, of which the most
pessimistic makes the targets, at actions blurred by clipped noise. Its learner is that of `rlx.algos.td3_bc` too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.nets import Network, prepare
from rlx.nets.distribution import action_bounds, action_distribution
from rlx.policy import smooth_action
from rlx.runtime.problem import Problem, initial_weights, pose, prefixed, reweigh
from rlx.runtime.replay import Replay, Scored, add, capacity_for, init_replay, sample_uniform, window
from rlx.runtime.rollout import EnvBatch, EpisodeSums, finished_episodes, init_episode_sums, reset_batch, rollout
from rlx.space import Box
from rlx.types import Algorithm, Array, Environment, Mean, Policy, PyTree, RewardSource, Transition, Weighting
from rlx.value import td_loss, twin_min_target


@dataclasses.dataclass(frozen=True)
class LearnerConfig:
    """How TD3 learns from steps. Floats may be traced (swept in one program); the rest fix the program's shape."""

    batch_size: int = 256  # steps in a gradient step; 256: the authors' code
    learning_rate: float = 3e-4  # of Adam, for actor and critics; 3e-4: the authors' code
    discount: float = 0.99  # per step, for channels that do not say
    tau: float = 0.005  # how far target networks move when they do; 0.005: the paper
    policy_period: int = 2  # gradient steps of the critics for one of the actor and target networks; 2: the paper
    target_noise: float = 0.2  # deviation of the target policy's noise, of actions in [-1, 1]; 0.2: the paper
    noise_clip: float = 0.5  # its largest magnitude; 0.5: the paper
    num_critics: int = 2  # of which the most pessimistic counts in targets; 2: the paper
    hidden: tuple[int, ...] = (256, 256)  # widths of the layers, of each network
    activation: Literal["tanh", "relu", "silu", "elu"] = "relu"
    layer_norm: bool = False  # after each layer, before the activation
    conv_features: int = 16  # channels of the 3x3 convolution that images go through

    def __post_init__(self) -> None:
        for name in ("batch_size", "policy_period", "num_critics", "conv_features"):
            check.count(name, getattr(self, name))
        check.positive("learning_rate", self.learning_rate)
        for name in ("target_noise", "noise_clip"):
            check.in_range(name, getattr(self, name), 0.0)
        check.in_range("discount", self.discount, 0.0, 1.0)
        check.in_range("tau", self.tau, 0.0, 1.0, open_low=True)


@dataclasses.dataclass(frozen=True)
class Config(LearnerConfig):
    """Settings of TD3."""

    num_envs: int = 8  # environments stepped side by side; 8: ours
    num_steps: int = 1  # steps of each environment in one update
    gradient_steps: int = 8  # in one update; the update-to-data ratio is this over num_envs * num_steps, 1 in the paper
    buffer_size: int = 100_000  # steps that the replay holds, rounded up to whole updates
    learning_starts: int = 1_000  # environment steps with random actions that `init` takes, rounded up to whole updates
    exploration_noise: float = 0.1  # deviation of what is added to actions in [-1, 1]; 0.1: the paper

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_envs", "num_steps", "gradient_steps", "buffer_size"):
            check.count(name, getattr(self, name))
        check.count("learning_starts", self.learning_starts, 0)
        check.in_range("exploration_noise", self.exploration_noise, 0.0)


class Learner(NamedTuple):
    """What a gradient step changes."""

    params: PyTree  # "actor", "critic" (leaves stacked over critics)
    target: PyTree  # the same, slower
    optimiser: PyTree
    steps: Array  # int32 [], gradient steps taken


class Learning(NamedTuple):
    """How a learner begins, acts and takes a gradient step; actions are in [-1, 1]."""

    init: Callable[[Array], Learner]  # key
    act: Callable[[Learner, PyTree], Array]  # observations [N, ...] -> actions [N, D]
    # (learner, steps [N, ...], rewards [N, K], weights of channels [K] or [N, K], key) -> learner, metrics
    step: Callable[[Learner, Transition, Array, Array, Array], tuple[Learner, dict[str, Array]]]


def learning(config: LearnerConfig, problem: Problem, policy_loss: Callable[[Array, Array, Array], Array]) -> Learning:
    """TD3's learning on the steps of a problem.

    Args:
      config: its settings.
      problem: with Box actions.
      policy_loss: `(q [N], action [N, D], taken [N, D]) -> [N]` of the policy's actions, the weighted sum of the first
        critic's values of them, and the actions that were taken.

    Raises:
      TypeError: for an action space that is not a Box.
      ValueError: for a Box that is unbounded or not of rank 1.
    """
    obs_space, action_space = problem.obs_space, problem.action_space
    if not isinstance(action_space, Box):
        raise TypeError(f"TD3 takes Box actions; got {action_space!r}: for Discrete use dqn, from a log iql or cql")
    num_channels, num_components = len(problem.channels), action_bounds(action_space)[0].shape[0]
    gamma = problem.discounts(config.discount)
    from_env = action_distribution(action_space).from_env
    sizes = (config.hidden, config.activation, config.layer_norm, config.conv_features)
    actor_network = Network(num_components, *sizes, output_scale=0.01)
    critic_network = Network(num_channels, *sizes)
    optimisers = {part: optax.flatten(optax.adam(config.learning_rate)) for part in ("actor", "critic")}

    def actions(actor: PyTree, obs: PyTree) -> Array:
        inputs = jax.tree.map(lambda x: x[None], prepare(obs_space, obs))
        return jnp.tanh(actor_network.apply(actor, inputs, (), None)[0][0])

    def action_values(critic: PyTree, obs: PyTree, action: Array) -> Array:
        """`[critics, N, K]`."""
        inputs = jax.tree.map(lambda x: x[None], prepare(obs_space, obs).beside(action))
        return jax.vmap(lambda params: critic_network.apply(params, inputs, (), None)[0][0])(critic)

    def critic_loss(
        critic: PyTree, target: PyTree, step: Transition, reward: Array, weights: Array, key: Array
    ) -> tuple[Array, Array]:
        following = actions(target["actor"], step.next_obs)
        noise = config.target_noise * jax.random.normal(key, following.shape)
        following = smooth_action(following, noise, config.noise_clip, -1.0, 1.0)
        next_q = action_values(target["critic"], step.next_obs, following)
        discount = gamma * ~step.terminated[:, None]
        goal = twin_min_target(next_q, jnp.zeros_like(reward), reward, discount, 0.0, weights=weights)
        q = action_values(critic, step.obs, from_env(step.action))
        return td_loss(q, jnp.broadcast_to(goal, q.shape)).mean(1).sum(), q.mean((0, 1))

    def actor_loss(actor: PyTree, critic: PyTree, step: Transition, weights: Array) -> Array:
        action = actions(actor, step.obs)
        q = jnp.sum(action_values(critic, step.obs, action)[0] * weights, axis=-1)
        return policy_loss(q, action, from_env(step.action)).mean()

    def init(key: Array) -> Learner:
        actor_key, critic_key = jax.random.split(key)
        obs = jax.tree.map(lambda x: jnp.zeros((1, 1, *x.shape), x.dtype), jax.eval_shape(obs_space.sample, key))
        inputs = prepare(obs_space, obs)
        with_action = inputs.beside(jnp.zeros((1, 1, num_components)))
        params = {
            "actor": actor_network.init(actor_key, inputs, (), None),
            "critic": jax.vmap(lambda key: critic_network.init(key, with_action, (), None))(
                jax.random.split(critic_key, config.num_critics)
            ),
        }
        optimiser = {part: optimisers[part].init(params[part]) for part in params}
        return Learner(params, jax.tree.map(jnp.copy, params), optimiser, jnp.zeros((), jnp.int32))

    def step(
        learner: Learner, step: Transition, reward: Array, weights: Array, key: Array
    ) -> tuple[Learner, dict[str, Array]]:
        params, optimiser = learner.params, learner.optimiser
        of_critic = jax.value_and_grad(critic_loss, has_aux=True)
        (value_loss, q), grads = of_critic(params["critic"], learner.target, step, reward, weights, key)
        updates, critic_state = optimisers["critic"].update(grads, optimiser["critic"], params["critic"])
        critic: PyTree = optax.apply_updates(params["critic"], updates)

        policy_loss, grads = jax.value_and_grad(actor_loss)(params["actor"], critic, step, weights)
        updates, actor_state = optimisers["actor"].update(grads, optimiser["actor"], params["actor"])
        moved: PyTree = {"actor": optax.apply_updates(params["actor"], updates), "critic": critic}
        slow: PyTree = optax.incremental_update(moved, learner.target, config.tau)
        turn = (learner.steps + 1) % config.policy_period == 0
        still = (params["actor"], optimiser["actor"], learner.target)
        actor, actor_state, target = jax.tree.map(
            lambda new, old: jnp.where(turn, new, old), (moved["actor"], actor_state, slow), still
        )
        metrics = {"loss/critic": value_loss, "loss/policy": policy_loss, "q_value": q}
        params, optimiser = {"actor": actor, "critic": critic}, {"actor": actor_state, "critic": critic_state}
        return Learner(params, target, optimiser, learner.steps + 1), metrics

    return Learning(init, lambda learner, obs: actions(learner.params["actor"], obs), step)


class State(NamedTuple):
    """Everything that TD3 remembers between updates."""

    learner: Learner
    replay: Replay  # of `Scored`
    envs: EnvBatch
    episodes: EpisodeSums
    source: PyTree
    weighting: PyTree
    weights: Array  # [K] of the channels
    key: Array


def make(
    config: Config,
    env: Environment,
    env_params: Any = None,
    *,
    rewards: RewardSource | None = None,
    weighting: Weighting | None = None,
) -> Algorithm:
    """TD3 on `env`, for the channels of `rewards` (by default the environment's) combined by `weighting` (their sum).

    `init` fills the replay with `learning_starts` steps of uniformly random actions, so that `update` learns from the
    first on: after n updates `learning_starts + n * steps_per_update` environment steps have been taken, the former
    rounded up to a multiple of `steps_per_update`.

    Raises:
      TypeError: for an action space that is not a Box.
      ValueError: for a Box that is unbounded or not of rank 1, a channel that is not episodic, or a weighting that
        needs policy gradients.
    """
    problem = pose(env, env_params, rewards, weighting, config.num_envs, continuing=False)
    env_params, _, action_space, rewards, channels, weighting, spec = problem
    parts = learning(config, problem, lambda q, action, taken: -q)
    num_channels = len(channels)
    to_env = action_distribution(action_space).to_env
    steps_per_update = config.num_envs * config.num_steps

    def blurred(action: Array, key: Array) -> Array:
        noise = config.exploration_noise * jax.random.normal(key, action.shape)
        return jnp.clip(action + noise, -1.0, 1.0)

    # --- 1. Collect, score and store ---

    def collect(learner: Learner, envs: EnvBatch, key: Array, at_random: bool) -> tuple[EnvBatch, Transition]:
        def act(key: Array, obs: PyTree) -> tuple[Array, Array]:
            if at_random:
                action = jax.vmap(action_space.sample)(jax.random.split(key, config.num_envs))
            else:
                action = to_env(blurred(parts.act(learner, obs), key))
            return action, jnp.zeros(config.num_envs)  # no density

        return rollout(env, env_params, key, envs, config.num_steps, act)

    def interact(state: State, key: Array, at_random: bool = False) -> tuple[State, Transition, Mean, Mean]:
        collect_key, compute_key = jax.random.split(key)
        envs, batch = collect(state.learner, state.envs, collect_key, at_random)
        reward, source = rewards.compute(state.source, batch, compute_key)
        episodes, returns, lengths = finished_episodes(state.episodes, reward, batch.terminated | batch.truncated)
        replay = add(state.replay, Scored(batch, reward))
        state = state._replace(replay=replay, envs=envs, episodes=episodes, source=source)
        return state, batch, returns, lengths

    # --- 2. Learn ---

    def gradient_step(state: State, learner: Learner, key: Array) -> tuple[Learner, dict[str, Array]]:
        index_key, score_key, learn_key = jax.random.split(key, 3)
        index = sample_uniform(state.replay, index_key, config.batch_size)
        (step, reward), _ = window(state.replay, index, 1)
        if rewards.rescore is not None:
            reward = rewards.rescore(state.source, step, reward, score_key)
        step, reward = jax.tree.map(lambda x: x[0], (step, reward))
        return parts.step(learner, step, reward, problem.channel_weights(state.weights, step.obs), learn_key)

    # --- 3. Begin: fill the replay at random ---

    def init(key: Array) -> State:
        net_key, source_key, env_key, fill_key, run_key = jax.random.split(key, 5)
        envs = reset_batch(env, env_params, env_key, config.num_envs)
        learner = parts.init(net_key)
        weights, weighting_state = initial_weights(weighting, num_channels)

        def first_rows() -> Scored:
            _, batch = collect(learner, envs, fill_key, True)
            return Scored(batch, jnp.zeros((*batch.terminated.shape, num_channels)))

        rows = jax.eval_shape(first_rows)
        state = State(
            learner,
            init_replay(rows, capacity_for(rows, config.buffer_size)),
            envs,
            init_episode_sums(config.num_envs, num_channels),
            rewards.init(source_key, spec),
            weighting_state,
            weights,
            run_key,
        )
        fill_keys = jax.random.split(fill_key, math.ceil(config.learning_starts / steps_per_update))
        return jax.lax.scan(lambda state, key: (interact(state, key, at_random=True)[0], None), state, fill_keys)[0]

    # --- 4. One update ---

    def update(state: State, data: None = None) -> tuple[State, dict[str, Any]]:
        del data  # TD3 collects its own
        key, interact_key, learn_key, source_key = jax.random.split(state.key, 4)
        state, batch, returns, lengths = interact(state, interact_key)
        learner, metrics = jax.lax.scan(
            lambda learner, key: gradient_step(state, learner, key),
            state.learner,
            jax.random.split(learn_key, config.gradient_steps),
        )
        source, source_metrics = rewards.update(state.source, batch, source_key)
        weights, weighting_state, weighting_metrics = reweigh(weighting, state.weighting, returns)
        metrics: dict[str, Any] = jax.tree.map(lambda m: m.mean(0), metrics)
        metrics |= prefixed("source", source_metrics) | weighting_metrics
        metrics |= {"episode_return": returns, "episode_length": lengths}
        state = state._replace(learner=learner, source=source, weighting=weighting_state, weights=weights, key=key)
        return state, metrics

    # --- 5. Act ---

    def policy(state: State) -> Policy:
        def act(key: Array, obs: PyTree, memory: PyTree, reset: Array, greedy: bool = False) -> tuple[Array, PyTree]:
            del reset  # no memory
            action = parts.act(state.learner, obs)
            return to_env(action if greedy else blurred(action, key)), memory

        return Policy(lambda batch_size: (), act)

    def with_learned(state: State, learned: Learner) -> State:
        return state._replace(learner=learned)

    return Algorithm(init, update, policy, steps_per_update, channels, lambda state: state.learner, with_learned)
