"""Parallelised Q-network (Gallici et al., "Simplifying Deep Temporal Difference Learning", 2024).

Q(lambda) on the steps of many environments side by side, with layer normalisation in place of a replay and a target
network. Discrete actions, with masks, over any number of reward channels: the network has a value of each action for
each channel, and the greedy action is that of their weighted sum.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.nets import Inputs, Network, prepare
from rlx.nets.distribution import mask_logits
from rlx.runtime.problem import initial_weights, pose, prefixed, reweigh
from rlx.runtime.rollout import (
    EnvBatch,
    EpisodeSums,
    finished_episodes,
    init_episode_sums,
    next_values,
    reset_batch,
    step_batch,
)
from rlx.runtime.shuffle import shuffle
from rlx.space import Discrete
from rlx.types import Algorithm, Array, Environment, Policy, PyTree, RewardSource, Transition, Weighting
from rlx.value import greedy_action, q_lambda, take_action, td_loss


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of PQN. Floats may be traced (swept in one program); the rest fix the program's shape."""

    num_envs: int = 128  # environments stepped side by side; 128: the paper (MinAtar)
    num_steps: int = 32  # steps of each environment in one update; 32: the paper
    num_epochs: int = 2  # passes over the collected steps; 2: the paper
    num_minibatches: int = 32  # gradient steps in a pass; 32: the paper
    learning_rate: float = 5e-4  # of rectified Adam; 5e-4: the paper
    decay_steps: int | None = None  # environment steps over which the learning rate falls linearly to 0; None: constant
    max_grad_norm: float = 10.0  # norm at which the gradient is clipped; 10: the paper
    discount: float = 0.99  # per step, for channels that do not say
    lambda_: float = 0.65  # trace decay, for channels that do not say; 0.65: the paper
    epsilon_start: float = 1.0  # probability of a random action at the first update; 1: the paper
    epsilon_end: float = 0.05  # the same from `epsilon_steps` on; 0.05: the paper
    epsilon_steps: int = 1_000_000  # environment steps over which it falls linearly; the paper: a tenth of the run
    reward_scale: float = 1.0  # factor on rewards in the loss; metrics show them unscaled
    hidden: tuple[int, ...] = (128,)  # widths of the layers; one of 128: the paper (MinAtar)
    activation: Literal["tanh", "relu", "silu", "elu"] = "relu"
    layer_norm: bool = True  # after each layer, before the activation: what makes the method stable
    conv_features: int = 16  # channels of the 3x3 convolution that images go through

    def __post_init__(self) -> None:
        for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches", "epsilon_steps", "conv_features"):
            check.count(name, getattr(self, name))
        for name in ("learning_rate", "max_grad_norm", "reward_scale"):
            check.positive(name, getattr(self, name))
        for name in ("discount", "lambda_", "epsilon_start", "epsilon_end"):
            check.in_range(name, getattr(self, name), 0.0, 1.0)
        if self.decay_steps is not None:
            check.count("decay_steps", self.decay_steps)
        samples = self.num_envs * self.num_steps
        check.divides("num_minibatches", self.num_minibatches, "num_envs * num_steps", samples)


class State(NamedTuple):
    """Everything that PQN remembers between updates."""

    params: PyTree
    optimiser: PyTree
    envs: EnvBatch
    episodes: EpisodeSums
    source: PyTree
    weighting: PyTree
    weights: Array  # [K] of the channels
    updates: Array  # int32 []: taken so far, on which the schedules depend
    key: Array


class Batch(NamedTuple):
    """What a gradient step reads; leaves `[N, ...]`."""

    inputs: Inputs
    action: Array
    target: Array  # [N, K]


def make(
    config: Config,
    env: Environment,
    env_params: Any = None,
    *,
    rewards: RewardSource | None = None,
    weighting: Weighting | None = None,
) -> Algorithm:
    """PQN on `env`, for the channels of `rewards` (by default the environment's) combined by `weighting` (their sum).

    Raises:
      TypeError: for an action space that is not Discrete.
      ValueError: for a weighting of another number of channels, or one that needs policy gradients.
    """
    problem = pose(env, env_params, rewards, weighting, config.num_envs)
    env_params, obs_space, action_space, rewards, channels, weighting, spec = problem
    if not isinstance(action_space, Discrete):
        raise TypeError(f"PQN takes Discrete actions; got {action_space!r}: use ppo, or for a Box sac")
    num_channels = len(channels)
    gamma, lambda_, episodic = problem.discounts(config.discount), problem.lambdas(config.lambda_), problem.episodic

    steps_per_update = config.num_envs * config.num_steps
    epsilon = optax.linear_schedule(
        config.epsilon_start, config.epsilon_end, math.ceil(config.epsilon_steps / steps_per_update)
    )
    network = Network(
        action_space.n * num_channels, config.hidden, config.activation, config.layer_norm, config.conv_features
    )
    optimiser = make_optimiser(config)

    def q_values(params: PyTree, inputs: Inputs) -> Array:
        """Action values `[N, A, K]` of inputs `[N, ...]`."""
        q, _ = network.apply(params, jax.tree.map(lambda x: x[None], inputs), (), None)
        return q.reshape(-1, action_space.n, num_channels)

    # --- 0. Begin ---

    def init(key: Array) -> State:
        net_key, source_key, env_key, run_key = jax.random.split(key, 4)
        envs = reset_batch(env, env_params, env_key, config.num_envs)
        params = network.init(net_key, jax.tree.map(lambda x: x[None], prepare(obs_space, envs.obs)), (), None)
        weights, weighting_state = initial_weights(weighting, num_channels)
        return State(
            params,
            optimiser.init(params),
            envs,
            init_episode_sums(config.num_envs, num_channels),
            rewards.init(source_key, spec),
            weighting_state,
            weights,
            jnp.zeros((), jnp.int32),
            run_key,
        )

    # --- 1. Collect ---

    def collect(state: State, key: Array) -> tuple[EnvBatch, Transition, Array]:
        """The environments after the rollout, its steps, and the value `[T, B, K]` of acting greedily in each."""
        explore_key, random_key, env_key = jax.random.split(key, 3)
        shape = (config.num_steps, config.num_envs)
        explore = jax.random.uniform(explore_key, shape) < epsilon(state.updates)
        noise = jax.random.gumbel(random_key, (*shape, action_space.n))

        def step(envs: EnvBatch, xs: tuple[Array, Array, Array]) -> tuple[EnvBatch, tuple[Transition, Array]]:
            explore, noise, key = xs
            inputs = prepare(obs_space, envs.obs)
            q = q_values(state.params, inputs)
            greedy = greedy_action(q, inputs.mask, weights=problem.channel_weights(state.weights, envs.obs))
            random = jnp.argmax(mask_logits(noise, inputs.mask), axis=-1)
            action = jnp.where(explore, random, greedy).astype(action_space.dtype)
            after, s = step_batch(env, env_params, key, envs, action)
            no_log_prob = jnp.zeros(config.num_envs)
            batch = Transition(envs.obs, action, no_log_prob, s.reward, s.terminated, s.truncated, s.next_obs)
            return after, (batch, take_action(q, greedy))

        keys = jax.random.split(env_key, config.num_steps)
        envs, (batch, value) = jax.lax.scan(step, state.envs, (explore, noise, keys))
        return envs, batch, value

    # --- 2. Target: Q(lambda), bootstrapped from the true next observation ---

    def targets(state: State, batch: Transition, value: Array, reward: Array, envs: EnvBatch) -> Array:
        """Targets `[T, B, K]`."""

        def greedy_value(obs: PyTree) -> Array:
            inputs = prepare(obs_space, obs)
            q = q_values(state.params, inputs)
            weights = problem.channel_weights(state.weights, obs)
            return take_action(q, greedy_action(q, inputs.mask, weights=weights))

        last = greedy_value(envs.obs)
        next_value = next_values(value, last, batch.truncated, episodic, greedy_value, batch.next_obs)
        done = (batch.terminated | batch.truncated)[..., None]
        discount = gamma * jnp.where(episodic, 1.0 - batch.terminated[..., None], 1.0)
        return q_lambda(next_value, config.reward_scale * reward, discount, lambda_, done & episodic)

    # --- 3. Learn ---

    def learn(state: State, data: Batch, key: Array) -> tuple[PyTree, PyTree, dict[str, Array]]:
        """All epochs of minibatches, in an order drawn anew for each epoch."""

        def loss(params: PyTree, batch: Batch) -> tuple[Array, dict[str, Array]]:
            q = take_action(q_values(params, batch.inputs), batch.action)
            losses = td_loss(q, batch.target).mean(0)
            return losses.sum(), {"loss/value": losses, "q_value": q.mean(0) / config.reward_scale}

        def step(carry: tuple[PyTree, PyTree], order: Array) -> tuple[tuple[PyTree, PyTree], dict[str, Array]]:
            params, opt_state = carry
            grads, metrics = jax.grad(loss, has_aux=True)(params, jax.tree.map(lambda x: x[order], data))
            updates, opt_state = optimiser.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), metrics

        orders = shuffle(key, steps_per_update, config.num_epochs)
        orders = orders.reshape(config.num_epochs * config.num_minibatches, -1)
        (params, opt_state), metrics = jax.lax.scan(step, (state.params, state.optimiser), orders)
        return params, opt_state, jax.tree.map(lambda m: m.mean(0), metrics)

    # --- 4. One update ---

    def update(state: State, data: None = None) -> tuple[State, dict[str, Any]]:
        del data  # PQN collects its own
        key, collect_key, compute_key, learn_key, source_key = jax.random.split(state.key, 5)
        envs, batch, value = collect(state, collect_key)
        reward, source = rewards.compute(state.source, batch, compute_key)
        episodes, returns, lengths = finished_episodes(state.episodes, reward, batch.terminated | batch.truncated)
        target = targets(state, batch, value, reward, envs)
        samples = Batch(prepare(obs_space, batch.obs), batch.action, target)
        samples = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), samples)
        params, opt_state, metrics = learn(state, samples, learn_key)
        source, source_metrics = rewards.update(source, batch, source_key)
        weights, weighting_state, weighting_metrics = reweigh(weighting, state.weighting, returns)
        metrics |= prefixed("source", source_metrics) | weighting_metrics
        metrics |= {"episode_return": returns, "episode_length": lengths, "epsilon": epsilon(state.updates)}
        state = State(params, opt_state, envs, episodes, source, weighting_state, weights, state.updates + 1, key)
        return state, metrics

    # --- 5. Act ---

    def policy(state: State) -> Policy:
        def act(key: Array, obs: PyTree, carry: PyTree, reset: Array, greedy: bool = False) -> tuple[Array, PyTree]:
            inputs = prepare(obs_space, obs)
            weights = problem.channel_weights(state.weights, obs)
            action = greedy_action(q_values(state.params, inputs), inputs.mask, weights=weights)
            if not greedy:
                explore_key, random_key = jax.random.split(key)
                noise = jax.random.gumbel(random_key, (*action.shape, action_space.n))
                random = jnp.argmax(mask_logits(noise, inputs.mask), axis=-1)
                action = jnp.where(jax.random.uniform(explore_key, action.shape) < config.epsilon_end, random, action)
            return action.astype(action_space.dtype), carry

        return Policy(lambda batch_size: (), act)

    return Algorithm(init, update, policy, steps_per_update, channels)


def make_optimiser(config: Config) -> optax.GradientTransformation:
    """Rectified Adam behind a clip of the norm; the rate falls linearly to zero over `decay_steps`, if given."""
    rate = config.learning_rate
    if config.decay_steps is not None:
        steps_per_gradient = config.num_envs * config.num_steps / (config.num_epochs * config.num_minibatches)
        rate = optax.linear_schedule(rate, 0.0, round(config.decay_steps / steps_per_gradient))
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.flatten(optax.radam(rate)))
