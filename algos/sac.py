"""Soft actor-critic (Haarnoja et al., "Soft Actor-Critic Algorithms and Applications", 2018).

Box actions, squashed by tanh into the bounds of the space, over any number of reward channels: each critic has a head
for each channel and one for the entropy bonus, which is a channel of weight 1 that the weighting does not see. With
one channel of weight 1 the sum of the heads is the usual soft action value.

Where the observation holds a preference (`rlx.envs.wrappers.Preference`) one actor serves all preferences: concave-
augmented Pareto Q-learning (Lu, Herman and Yu, "Multi-Objective Reinforcement Learning: Convexity, Stationarity and
Pareto Optimality", 2023), whose concave term is the entropy.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.nets import Network, prepare
from rlx.nets.distribution import action_bounds, bounded_log_std
from rlx.policy import sac_policy_loss, sac_temperature_loss, tanh_log_det
from rlx.runtime.problem import initial_weights, pose, prefixed, reweigh, under_preferences
from rlx.runtime.replay import Replay, Scored, add, capacity_for, init_replay, rows_of_all, sample_uniform, window
from rlx.runtime.rollout import EnvBatch, EpisodeSums, finished_episodes, init_episode_sums, reset_batch, rollout
from rlx.space import Box
from rlx.types import Algorithm, Array, Environment, Mean, Policy, PyTree, RewardSource, Transition, Weighting
from rlx.value import greedy_action, td_loss, twin_min_target


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of SAC. Floats may be traced (swept in one program); the rest fix the program's shape."""

    num_envs: int = 8  # environments stepped side by side; 8: ours
    num_steps: int = 1  # steps of each environment in one update
    gradient_steps: int = 8  # in one update; the update-to-data ratio is this over num_envs * num_steps, 1 in the paper
    batch_size: int = 256  # steps in one gradient step; 256: the paper
    buffer_size: int = 100_000  # steps that the replay holds, rounded up to whole updates
    learning_starts: int = 1_000  # environment steps with random actions that `init` takes, rounded up to whole updates
    actor_learning_rate: float = 3e-4  # of Adam; 3e-4: the paper
    critic_learning_rate: float = 3e-4  # the same
    temperature_learning_rate: float = 3e-4  # the same; 0 keeps the temperature fixed
    initial_temperature: float = 1.0  # reward per nat; 1: CleanRL
    target_entropy: float | None = None  # nats, of actions scaled to [-1, 1]; None: minus their number of components
    discount: float = 0.99  # per step, for channels that do not say
    tau: float = 0.005  # how far the target critics move in a gradient step; 0.005: the paper
    num_critics: int = 2  # of which the most pessimistic counts; 2: the paper
    relabel: int = 0  # preferences drawn for each replayed step, to learn it under; 0: that under which it was taken
    improve: bool = False  # act by the best of the policies for the preferences that env_params list (GPI)
    hidden: tuple[int, ...] = (256, 256)  # widths of the layers, actor and critics each
    activation: Literal["tanh", "relu", "silu", "elu"] = "relu"
    layer_norm: bool = False  # after each layer, before the activation
    conv_features: int = 16  # channels of the 3x3 convolution that images go through

    def __post_init__(self) -> None:
        for name in ("num_envs", "num_steps", "gradient_steps", "batch_size", "buffer_size", "num_critics"):
            check.count(name, getattr(self, name))
        check.count("conv_features", self.conv_features)
        check.count("learning_starts", self.learning_starts, 0)
        for name in ("actor_learning_rate", "critic_learning_rate", "initial_temperature"):
            check.positive(name, getattr(self, name))
        check.in_range("temperature_learning_rate", self.temperature_learning_rate, 0.0)
        check.in_range("discount", self.discount, 0.0, 1.0)
        check.in_range("tau", self.tau, 0.0, 1.0, open_low=True)
        if self.target_entropy is not None:
            check.in_range("target_entropy", self.target_entropy)
        check.count("relabel", self.relabel, 0)


class Learner(NamedTuple):
    """What a gradient step changes."""

    params: PyTree  # "actor", "critic" (leaves stacked over critics), "log_temperature"
    target_critic: PyTree
    optimiser: PyTree


class State(NamedTuple):
    """Everything that SAC remembers between updates."""

    learner: Learner
    replay: Replay  # of `Scored`, with actions in [-1, 1]
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
    replay_axis: str | None = None,
) -> Algorithm:
    """SAC on `env`, for the channels of `rewards` (by default the environment's) combined by `weighting` (their sum).

    `init` fills the replay with `learning_starts` steps of uniformly random actions, so that `update` learns from the
    first on and needs no branch: after n updates `learning_starts + n * steps_per_update` environment steps have been
    taken, the former rounded up to a multiple of `steps_per_update`.

    With `replay_axis` the functions must run under a mapped axis of that name, whose learners learn from the steps of
    all: each holds the same replay, of `buffer_size` steps in all.

    Raises:
      TypeError: for an action space that is not a Box.
      ValueError: for a Box that is unbounded or not of rank 1, a channel that is not episodic, a weighting that needs
        policy gradients, or `relabel` and `improve` without a preference in the observation.
    """
    problem = pose(env, env_params, rewards, weighting, config.num_envs, continuing=False)
    env_params, obs_space, action_space, rewards, channels, weighting, spec = problem
    num_channels = len(channels)
    if not isinstance(action_space, Box):
        raise TypeError(f"SAC takes Box actions; got {action_space!r}: use ppo, or for Discrete dqn")
    problem.require_preference(relabel=config.relabel, improve=config.improve)
    low, high = action_bounds(action_space)
    num_components = low.shape[0]
    gamma = jnp.append(problem.discounts(config.discount), config.discount)  # the last head is the entropy bonus
    is_bonus = jnp.arange(num_channels + 1) == num_channels
    target_entropy = -float(num_components) if config.target_entropy is None else config.target_entropy

    steps_per_update = config.num_envs * config.num_steps
    sizes = (config.hidden, config.activation, config.layer_norm, config.conv_features)
    actor_network = Network(2 * num_components, *sizes, output_scale=0.01)
    critic_network = Network(num_channels + 1, *sizes)
    rates = {
        "actor": config.actor_learning_rate,
        "critic": config.critic_learning_rate,
        "log_temperature": config.temperature_learning_rate,
    }
    # flat: one step on one vector, in place of many on small arrays
    optimiser = optax.partition(
        {part: optax.flatten(optax.adam(rate)) for part, rate in rates.items()}, {part: part for part in rates}
    )

    def gaussian(actor: PyTree, obs: PyTree) -> tuple[Array, Array]:
        """Mean and log standard deviation `[N, D]` of the action before squashing."""
        inputs = jax.tree.map(lambda x: x[None], prepare(obs_space, obs))
        mean, spread = jnp.split(actor_network.apply(actor, inputs, (), None)[0][0], 2, axis=-1)
        return mean, bounded_log_std(spread)

    def sample_action(actor: PyTree, key: Array, obs: PyTree) -> tuple[Array, Array]:
        """A reparametrised action `[N, D]` in [-1, 1] and its log-probability `[N]`."""
        mean, log_std = gaussian(actor, obs)
        noise = jax.random.normal(key, mean.shape)
        u = mean + jnp.exp(log_std) * noise
        log_normal = -0.5 * jnp.square(noise) - log_std - 0.5 * math.log(2 * math.pi)
        return jnp.tanh(u), jnp.sum(log_normal - tanh_log_det(u), axis=-1)

    def action_values(critic: PyTree, obs: PyTree, action: Array) -> Array:
        """`[critics, N, K + 1]`."""
        inputs = jax.tree.map(lambda x: x[None], prepare(obs_space, obs).beside(action))
        return jax.vmap(lambda params: critic_network.apply(params, inputs, (), None)[0][0])(critic)

    def with_bonus(weights: Array, obs: PyTree) -> Array:
        """Weights of the critics' heads in each state, `[..., K + 1]`."""
        weights = problem.channel_weights(weights, obs)
        return jnp.concatenate([weights, jnp.ones_like(weights[..., :1])], axis=-1)

    def act_by_best(params: PyTree, weights: Array, key: Array, obs: PyTree, greedy: bool) -> tuple[Array, Array]:
        """Of the listed preferences' actions the one that their own critics value highest, and its log-probability."""
        listed, exists = env_params.listed()
        size = jax.tree.leaves(obs)[0].shape[0]
        each = under_preferences(obs, jnp.broadcast_to(listed, (size, *listed.shape)))
        action, log_prob = sample_action(params["actor"], key, each)
        if greedy:
            action = jnp.tanh(gaussian(params["actor"], each)[0])
        q = action_values(params["critic"], each, action).min(0)[:, :-1].reshape(size, len(listed), -1)
        best = greedy_action(q, jnp.broadcast_to(exists, q.shape[:-1]), weights=problem.channel_weights(weights, obs))
        chosen = jnp.arange(size) * len(listed) + best
        return action[chosen], log_prob[chosen]

    def to_env(action: Array) -> Array:
        return (low + 0.5 * (action + 1.0) * (high - low)).astype(action_space.dtype)

    # --- 1. Collect, score and store ---

    def collect(
        params: PyTree, weights: Array, envs: EnvBatch, key: Array, at_random: bool
    ) -> tuple[EnvBatch, Transition]:
        def act(key: Array, obs: PyTree) -> tuple[Array, Array]:
            if not at_random:
                if config.improve:
                    return act_by_best(params, weights, key, obs, greedy=False)
                return sample_action(params["actor"], key, obs)
            action = jax.random.uniform(key, (config.num_envs, num_components), minval=-1.0)
            return action, jnp.full(config.num_envs, -num_components * math.log(2.0))

        return rollout(env, env_params, key, envs, config.num_steps, act, to_env)

    def interact(state: State, key: Array, at_random: bool = False) -> tuple[State, Transition, Mean, Mean]:
        collect_key, compute_key = jax.random.split(key)
        envs, batch = collect(state.learner.params, state.weights, state.envs, collect_key, at_random)
        source_batch = batch._replace(action=to_env(batch.action))
        reward, source = rewards.compute(state.source, source_batch, compute_key)
        episodes, returns, lengths = finished_episodes(state.episodes, reward, batch.terminated | batch.truncated)
        replay = add(state.replay, rows_of_all(Scored(batch, reward), replay_axis))
        state = state._replace(replay=replay, envs=envs, episodes=episodes, source=source)
        return state, source_batch, returns, lengths

    # --- 2. Sample ---

    def sample(state: State, key: Array) -> tuple[Transition, Array]:
        """A batch of steps, leaves `[N, ...]`, and their rewards `[N, K]`."""
        index_key, score_key, preference_key = jax.random.split(key, 3)
        index = sample_uniform(state.replay, index_key, config.batch_size)
        (step, reward), _ = window(state.replay, index, 1)
        if rewards.rescore is not None:
            reward = rewards.rescore(state.source, step._replace(action=to_env(step.action)), reward, score_key)
        step, reward = jax.tree.map(lambda x: x[0], (step, reward))
        if config.relabel:
            drawn = env.sample_preferences(preference_key, env_params, config.batch_size * config.relabel)
            preferences = drawn.reshape(config.batch_size, config.relabel, -1)
            obs, next_obs = (under_preferences(x, preferences) for x in (step.obs, step.next_obs))
            step, reward = jax.tree.map(
                lambda x: jnp.repeat(x, config.relabel, axis=0), (step._replace(obs=(), next_obs=()), reward)
            )
            step = step._replace(obs=obs, next_obs=next_obs)
        return step, reward

    # --- 3. Learn ---

    def critic_target(learner: Learner, key: Array, step: Transition, reward: Array, weights: Array) -> Array:
        """Targets `[N, K + 1]`: those of the critic that is the most pessimistic about the weighted sum."""
        next_action, next_log_prob = sample_action(learner.params["actor"], key, step.next_obs)
        next_q = action_values(learner.target_critic, step.next_obs, next_action)
        return twin_min_target(
            next_q,
            next_log_prob[:, None],
            jnp.pad(reward, ((0, 0), (0, 1))),
            gamma * ~step.terminated[:, None],
            jnp.exp(learner.params["log_temperature"]) * is_bonus,
            weights=weights,
        )

    def loss(
        params: PyTree, step: Transition, target: Array, weights: Array, key: Array
    ) -> tuple[Array, dict[str, Any]]:
        """The three losses in one, each of which moves its own part of the parameters."""
        q = action_values(params["critic"], step.obs, step.action)
        value_loss = td_loss(q, jnp.broadcast_to(target, q.shape)).mean(1).sum(0)
        action, log_prob = sample_action(params["actor"], key, step.obs)
        q_of_policy = action_values(jax.lax.stop_gradient(params["critic"]), step.obs, action)
        log_temperature = params["log_temperature"]
        temperature = jnp.exp(log_temperature)
        least = jnp.min(jnp.sum(q_of_policy * weights, axis=-1), axis=0)
        policy_loss = sac_policy_loss(log_prob, least, temperature).mean()
        temperature_loss = sac_temperature_loss(log_temperature, log_prob, target_entropy).mean()
        metrics = {
            "loss/value": value_loss[:-1],
            "loss/bonus": value_loss[-1],
            "loss/policy": policy_loss,
            "entropy": -log_prob.mean(),
            "temperature": temperature,
            "q_value": q.mean((0, 1))[:-1],
        }
        return value_loss.sum() + policy_loss + temperature_loss, metrics

    def gradient_step(state: State, learner: Learner, key: Array) -> tuple[Learner, dict[str, Array]]:
        sample_key, target_key, loss_key = jax.random.split(key, 3)
        step, reward = sample(state, sample_key)
        weights = with_bonus(state.weights, step.obs)
        target = critic_target(learner, target_key, step, reward, weights)
        grads, metrics = jax.grad(loss, has_aux=True)(learner.params, step, target, weights, loss_key)
        updates, opt_state = optimiser.update(grads, learner.optimiser, learner.params)
        params: PyTree = optax.apply_updates(learner.params, updates)
        target_critic = optax.incremental_update(params["critic"], learner.target_critic, config.tau)
        return Learner(params, target_critic, opt_state), metrics

    # --- 4. Begin: fill the replay at random ---

    def init(key: Array) -> State:
        actor_key, critic_key, source_key, env_key, fill_key, run_key = jax.random.split(key, 6)
        envs = reset_batch(env, env_params, env_key, config.num_envs)
        inputs = jax.tree.map(lambda x: x[None], prepare(obs_space, envs.obs))
        with_action = inputs.beside(jnp.zeros((1, config.num_envs, num_components)))
        params = {
            "actor": actor_network.init(actor_key, inputs, (), None),
            "critic": jax.vmap(lambda key: critic_network.init(key, with_action, (), None))(
                jax.random.split(critic_key, config.num_critics)
            ),
            "log_temperature": jnp.log(jnp.asarray(config.initial_temperature, jnp.float32)),
        }
        weights, weighting_state = initial_weights(weighting, num_channels)

        def first_rows() -> Scored:
            _, batch = collect(params, weights, envs, fill_key, True)
            return rows_of_all(Scored(batch, jnp.zeros((*batch.terminated.shape, num_channels))), replay_axis)

        rows = jax.eval_shape(first_rows)
        capacity = capacity_for(rows, config.buffer_size)
        state = State(
            Learner(params, jax.tree.map(jnp.copy, params["critic"]), optimiser.init(params)),
            init_replay(rows, capacity),
            envs,
            init_episode_sums(config.num_envs, num_channels),
            rewards.init(source_key, spec),
            weighting_state,
            weights,
            run_key,
        )
        fill_keys = jax.random.split(fill_key, math.ceil(config.learning_starts / steps_per_update))
        return jax.lax.scan(lambda state, key: (interact(state, key, at_random=True)[0], None), state, fill_keys)[0]

    # --- 5. One update ---

    def update(state: State, data: None = None) -> tuple[State, dict[str, Any]]:
        del data  # SAC collects its own
        key, interact_key, learn_key, source_key = jax.random.split(state.key, 4)
        state, batch, returns, lengths = interact(state, interact_key)
        learner, metrics = jax.lax.scan(
            lambda learner, key: gradient_step(state, learner, key),
            state.learner,
            jax.random.split(learn_key, config.gradient_steps),
        )
        source, source_metrics = rewards.update(state.source, batch, source_key)
        weights, weighting_state, weighting_metrics = reweigh(weighting, state.weighting, returns)
        metrics = jax.tree.map(lambda m: m.mean(0), metrics)
        metrics |= prefixed("source", source_metrics) | weighting_metrics
        metrics |= {"episode_return": returns, "episode_length": lengths}
        state = state._replace(learner=learner, source=source, weighting=weighting_state, weights=weights, key=key)
        return state, metrics

    # --- 6. Act ---

    def policy(state: State) -> Policy:
        params = state.learner.params
        actor = params["actor"]

        def act(key: Array, obs: PyTree, memory: PyTree, reset: Array, greedy: bool = False) -> tuple[Array, PyTree]:
            del reset  # no memory
            if config.improve:
                action = act_by_best(params, state.weights, key, obs, greedy)[0]
            else:
                action = jnp.tanh(gaussian(actor, obs)[0]) if greedy else sample_action(actor, key, obs)[0]
            return to_env(action), memory

        return Policy(lambda batch_size: (), act)

    def with_learned(state: State, learned: Learner) -> State:
        return state._replace(learner=learned)

    return Algorithm(init, update, policy, steps_per_update, channels, lambda state: state.learner, with_learned)
