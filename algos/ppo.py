"""Proximal policy optimisation (Schulman et al., "Proximal Policy Optimization Algorithms", 2017).

Discrete, MultiDiscrete and Box actions, with or without memory, over any number of reward channels: the critic has a
head for each channel, with its own discount and lambda, and a weighting combines their advantages.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from rlx import check
from rlx.nets import Inputs, Network, prepare, vector_size
from rlx.nets.distribution import action_distribution, mask_logits
from rlx.policy import (
    adapt_kl_coefficient,
    clip_fraction,
    kl_estimate,
    normalise_advantage,
    ppo_clip_loss,
    ppo_kl_loss,
)
from rlx.reward import RunningMoments, init_moments, normalise, normalise_by_return, update_moments
from rlx.runtime.problem import pose, prefixed, reweigh
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
from rlx.space import Box
from rlx.types import Algorithm, Array, Environment, Policy, PyTree, RewardSource, Transition, Weighting
from rlx.value import clipped_value_loss, gae, td_loss


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of PPO. Floats may be traced (swept in one program); the rest fix the program's shape."""

    num_envs: int = 8  # environments stepped side by side; 8: Schulman et al. 2017 (Atari)
    num_steps: int = 128  # steps of each environment in one update; 128: the same
    num_epochs: int = 4  # passes over the collected steps; 4: CleanRL
    num_minibatches: int = 4  # gradient steps in a pass; 4: CleanRL
    learning_rate: float = 2.5e-4  # of Adam; 2.5e-4: CleanRL
    decay_steps: int | None = None  # environment steps over which the learning rate falls linearly to 0; None: constant
    discount: float = 0.99  # per step, for channels that do not say
    lambda_: float = 0.95  # trace decay of generalised advantage estimation, for channels that do not say
    surrogate: Literal["clip", "kl"] = "clip"  # clipped ratio, or an adaptive penalty on KL(old || new)
    clip: float = 0.2  # how far the probability ratio may move, with "clip"
    kl_target: float = 0.01  # nats per step, to which the penalty adapts, with "kl"
    value_clip: float | None = 0.2  # how far a value may move in one update, units of reward; 0.2: CleanRL; None: any
    entropy_coefficient: float = 0.01  # nats of entropy against one unit of normalised advantage
    max_grad_norm: float = 0.5  # norm at which the gradient is clipped, of the actor and of the critic each
    normalise_advantage: bool = True  # to mean 0, deviation 1 in each minibatch
    normalise_channels: bool = False  # every channel's advantage by itself, over the batch, before they are added
    normalise_observation: bool = False  # by running mean and deviation; not applied to images
    normalise_reward: bool = False  # by the running deviation of the discounted return
    hidden: tuple[int, ...] = (64, 64)  # widths of the layers, actor and critic each
    activation: Literal["tanh", "relu", "silu", "elu"] = "tanh"
    layer_norm: bool = False  # after each layer, before the activation
    conv_features: int = 16  # channels of the 3x3 convolution that images go through
    memory: int = 0  # units of gated recurrent memory, actor and critic each; 0: feed-forward
    gradient_chunk: int | None = None  # samples in one gradient; None: 1024 on CPU where that divides, else all

    def __post_init__(self) -> None:
        for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches", "conv_features"):
            check.count(name, getattr(self, name))
        check.count("memory", self.memory, 0)
        check.positive("learning_rate", self.learning_rate)
        check.in_range("discount", self.discount, 0.0, 1.0)
        check.in_range("lambda_", self.lambda_, 0.0, 1.0)
        for name in ("clip", "kl_target", "max_grad_norm"):
            check.positive(name, getattr(self, name))
        if self.value_clip is not None:
            check.positive("value_clip", self.value_clip)
        check.in_range("entropy_coefficient", self.entropy_coefficient, 0.0)
        if self.decay_steps is not None:
            check.count("decay_steps", self.decay_steps)
        check.require(self.surrogate in ("clip", "kl"), "surrogate", self.surrogate, "'clip' or 'kl'")
        if self.memory:
            check.divides(
                "num_minibatches",
                self.num_minibatches,
                "num_envs (with memory, minibatches are of whole environments)",
                self.num_envs,
            )
        else:
            samples = self.num_envs * self.num_steps
            check.divides("num_minibatches", self.num_minibatches, "num_envs * num_steps", samples)
        if self.gradient_chunk is not None:
            check.count("gradient_chunk", self.gradient_chunk)
            check.require(self.memory == 0, "gradient_chunk", self.gradient_chunk, "None with memory")
            minibatch = self.num_envs * self.num_steps // self.num_minibatches
            check.divides("gradient_chunk", self.gradient_chunk, "the samples of a minibatch", minibatch)


class State(NamedTuple):
    """Everything that PPO remembers between updates."""

    params: PyTree  # "actor" and "critic"
    optimiser: PyTree
    kl_coefficient: Array  # of the penalty, with surrogate "kl"
    envs: EnvBatch
    actor_memory: PyTree
    critic_memory: PyTree
    episodes: EpisodeSums
    observations: RunningMoments | None  # of the observation vector, if normalised
    returns: PyTree  # of the reward normaliser, if used
    source: PyTree
    weighting: PyTree
    key: Array


LEARNED = ("params", "optimiser", "kl_coefficient", "observations", "returns")  # of the state, for `Algorithm.learned`


class Batch(NamedTuple):
    """What a gradient step reads; leaves `[T', N, ...]`: T' = 1 without memory, whole rollouts with it."""

    inputs: Inputs
    action: Array
    log_prob: Array
    advantage: Array  # [T', N], channels already combined
    value: Array  # [T', N, K], of the critic before the update
    target: Array  # [T', N, K]
    reset: Array
    actor_memory: PyTree  # [1, N, ...]: memory before the first step
    critic_memory: PyTree


def make(
    config: Config,
    env: Environment,
    env_params: Any = None,
    *,
    rewards: RewardSource | None = None,
    weighting: Weighting | None = None,
    axis_name: str | None = None,
) -> Algorithm:
    """PPO on `env`, for the channels of `rewards` (the environment's own by default) combined by `weighting` (their
    sum).

    With `axis_name` the functions must run under a mapped axis of that name (`rlx.runtime.data_parallel` does it):
    each shard has `num_envs` environments of its own, and gradients, statistics and metrics are averaged over the
    shards.

    Raises:
      TypeError: for an action space that is not Discrete, MultiDiscrete or Box.
      ValueError: for a weighting of another number of channels.
    """
    problem = pose(env, env_params, rewards, weighting, config.num_envs, gram=True)
    env_params, obs_space, action_space, rewards, channels, weighting, spec = problem
    dist = action_distribution(action_space)
    num_channels = len(channels)
    gamma, lambda_, episodic = problem.discounts(config.discount), problem.lambdas(config.lambda_), problem.episodic
    reward_scale = normalise_by_return(gamma, episodic, axis_name=axis_name) if config.normalise_reward else None

    num_inputs = vector_size(obs_space)  # 0 where the observation is an image alone

    is_box, penalised = isinstance(action_space, Box), config.surrogate == "kl"
    network = dict(
        hidden=config.hidden,
        activation=config.activation,
        layer_norm=config.layer_norm,
        conv_features=config.conv_features,
        memory=config.memory,
    )
    actor = Network(dist.num_outputs // 2 if is_box else dist.num_outputs, **network, output_scale=0.01)
    critic = Network(num_channels, **network)
    optimiser = make_optimiser(config)

    def mean_over_shards(tree: PyTree) -> PyTree:
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    def observe(moments: RunningMoments | None, obs: PyTree) -> Any:
        inputs = prepare(obs_space, obs)
        return inputs if moments is None else inputs._replace(vector=normalise(inputs.vector, moments, clip=10.0))

    def policy_outputs(params: PyTree, inputs: Any, memory: PyTree, reset: Array) -> tuple[Array, PyTree]:
        outputs, memories = actor.apply(params["actor"], inputs, memory, reset)
        if is_box:
            outputs = jnp.concatenate(
                [outputs, jnp.broadcast_to(params["actor"]["params"]["log_std"], outputs.shape)], axis=-1
            )
        return mask_logits(outputs, inputs.mask), memories

    # --- 0. Begin ---

    def init(key: Array) -> State:
        actor_key, critic_key, source_key, env_key, run_key = jax.random.split(key, 5)
        if axis_name is not None:  # shards share parameters and differ in their environments
            env_key, run_key = (jax.random.fold_in(k, jax.lax.axis_index(axis_name)) for k in (env_key, run_key))
        envs = reset_batch(env, env_params, env_key, config.num_envs)
        inputs = jax.tree.map(lambda x: x[None], prepare(obs_space, envs.obs))
        memory = actor.initial_carry(config.num_envs)
        params = {
            "actor": actor.init(actor_key, inputs, memory, envs.reset[None]),
            "critic": critic.init(critic_key, inputs, memory, envs.reset[None]),
        }
        if is_box:
            params["actor"]["params"]["log_std"] = jnp.zeros(action_space.shape)
        return State(
            params,
            optimiser.init(params),
            jnp.ones(()),
            envs,
            memory,
            memory,
            init_episode_sums(config.num_envs, num_channels),
            init_moments((num_inputs,)) if config.normalise_observation and num_inputs else None,
            None if reward_scale is None else reward_scale.init(spec, num_channels),
            rewards.init(source_key, spec),
            weighting.init(num_channels),
            run_key,
        )

    # --- 1. Collect: only the actor runs inside the scan over time ---

    def collect(state: State, noise_key: Array, env_key: Array) -> tuple[EnvBatch, PyTree, Array, Array, Transition]:
        def step(carry: tuple[EnvBatch, PyTree], xs: tuple[Array, Array]) -> tuple[tuple[EnvBatch, PyTree], Any]:
            envs, memory = carry
            noise, key = xs
            inputs = jax.tree.map(lambda x: x[None], observe(state.observations, envs.obs))
            outputs, memories = policy_outputs(state.params, inputs, memory, envs.reset[None])
            action = dist.perturb(noise, outputs[0])
            after, stepped = step_batch(env, env_params, key, envs, dist.to_env(action))
            memory = jax.tree.map(lambda m: m[-1], memories)
            return (after, memory), (envs.obs, envs.reset, outputs[0], action, stepped)

        noise = dist.noise(noise_key, (config.num_steps, config.num_envs))
        (envs, memory), (obs, reset, outputs, action, stepped) = jax.lax.scan(
            step, (state.envs, state.actor_memory), (noise, jax.random.split(env_key, config.num_steps))
        )
        log_prob = dist.log_prob(outputs, action)
        reward, terminated, truncated, next_obs = stepped
        return envs, memory, reset, Transition(obs, action, log_prob, reward, terminated, truncated, next_obs)

    # --- 2. Value: the critic reads the whole rollout at once ---

    def evaluate(state: State, batch: Transition, reset: Array, envs: EnvBatch) -> tuple[Array, Array, PyTree]:
        """Values and next values `[T, B, K]`, and the critic's memory after the rollout."""
        value, memories = critic.apply(
            state.params["critic"], observe(state.observations, batch.obs), state.critic_memory, reset
        )

        def value_of(obs: PyTree, memory: PyTree, reset: Array) -> Array:
            inputs = jax.tree.map(lambda x: x[None], observe(state.observations, obs))
            return critic.apply(state.params["critic"], inputs, memory, reset[None])[0][0]

        def after_step(reached: tuple[PyTree, PyTree]) -> Array:
            return value_of(*reached, jnp.zeros(config.num_envs, bool))

        last_memory = jax.tree.map(lambda m: m[-1], memories)
        last = value_of(envs.obs, last_memory, envs.reset)
        # the true next observation is read with the memory of the episode that it ends
        next_value = next_values(value, last, batch.truncated, episodic, after_step, (batch.next_obs, memories))
        return value, next_value, last_memory

    # --- 3. Learn ---

    def loss(params: PyTree, batch: Batch, kl_coefficient: Array) -> tuple[Array, dict[str, Array]]:
        actor_memory, critic_memory = jax.tree.map(lambda m: m[0], (batch.actor_memory, batch.critic_memory))
        outputs, _ = policy_outputs(params, batch.inputs, actor_memory, batch.reset)
        value, _ = critic.apply(params["critic"], batch.inputs, critic_memory, batch.reset)
        log_prob = dist.log_prob(outputs, batch.action)
        kl = kl_estimate(batch.log_prob, log_prob)
        if penalised:
            surrogate = ppo_kl_loss(log_prob, batch.log_prob, batch.advantage, kl, kl_coefficient)
        else:
            surrogate = ppo_clip_loss(log_prob, batch.log_prob, batch.advantage, config.clip)
        if config.value_clip is None:
            value_loss = td_loss(value, batch.target)
        else:
            value_loss = clipped_value_loss(value, batch.value, batch.target, config.value_clip)
        metrics = {
            "loss/policy": surrogate.mean(),
            "loss/value": value_loss.mean((0, 1)),
            "entropy": dist.entropy(outputs).mean(),
            "kl": kl.mean(),
            "clip_fraction": clip_fraction(log_prob, batch.log_prob, config.clip).mean(),
        }
        total = metrics["loss/policy"] + metrics["loss/value"].sum() - config.entropy_coefficient * metrics["entropy"]
        return total, metrics

    def gradient(params: PyTree, batch: Batch, kl_coefficient: Array) -> tuple[PyTree, dict[str, Array]]:
        """Mean gradient and metrics of a minibatch, in chunks whose activations stay in the cache."""
        if config.normalise_advantage:
            batch = batch._replace(advantage=normalise_advantage(batch.advantage, axis_name=axis_name))
        size = batch.advantage.shape[1]
        chunk = chunk_size(config, size)
        if chunk == size:
            grads, metrics = jax.grad(loss, has_aux=True)(params, batch, kl_coefficient)
        else:

            def add(total: PyTree, part: Batch) -> tuple[PyTree, None]:
                return jax.tree.map(jnp.add, total, jax.grad(loss, has_aux=True)(params, part, kl_coefficient)), None

            parts = jax.tree.map(lambda x: x.reshape(size // chunk, 1, chunk, *x.shape[2:]), batch)
            zeros = jax.tree.map(
                lambda x: jnp.zeros(x.shape, x.dtype),
                jax.eval_shape(
                    jax.grad(loss, has_aux=True), params, jax.tree.map(lambda x: x[0], parts), kl_coefficient
                ),
            )
            total, _ = jax.lax.scan(add, zeros, parts)
            grads, metrics = jax.tree.map(lambda x: x * (chunk / size), total)
        return mean_over_shards((grads, metrics))

    def learn(state: State, data: Batch, key: Array) -> tuple[PyTree, PyTree, Array, dict[str, Array]]:
        """All epochs of minibatches, in an order drawn anew for each epoch; also the mean KL in the last epoch."""

        def step(carry: tuple[PyTree, PyTree], batch: Batch) -> tuple[tuple[PyTree, PyTree], dict[str, Array]]:
            params, opt_state = carry
            grads, metrics = gradient(params, batch, state.kl_coefficient)
            updates, opt_state = optimiser.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), metrics

        def epoch(carry: tuple[PyTree, PyTree], order: Array) -> tuple[tuple[PyTree, PyTree], dict[str, Array]]:
            def split(x: Array) -> Array:  # [T', N, ...] -> [num_minibatches, T', N / num_minibatches, ...]
                x = x[:, order].reshape(x.shape[0], config.num_minibatches, -1, *x.shape[2:])
                return jnp.moveaxis(x, 1, 0)

            return jax.lax.scan(step, carry, jax.tree.map(split, data))

        orders = shuffle(key, data.advantage.shape[1], config.num_epochs)
        (params, opt_state), metrics = jax.lax.scan(epoch, (state.params, state.optimiser), orders)
        return params, opt_state, metrics["kl"][-1].mean(), jax.tree.map(lambda m: m.mean((0, 1)), metrics)

    def channel_gram(params: PyTree, data: Batch, advantage: Array) -> Array:
        """Inner products `[K, K]` of the channels' policy gradients, at the policy that collected."""

        def objective(params: PyTree, mix: Array) -> Array:
            outputs, _ = policy_outputs(
                params, data.inputs, jax.tree.map(lambda m: m[0], data.actor_memory), data.reset
            )
            return jnp.mean(dist.log_prob(outputs, data.action) * (advantage @ mix))

        grads = jax.vmap(lambda mix: ravel_pytree(jax.grad(objective)(params, mix))[0])(jnp.eye(num_channels))
        grads = mean_over_shards(grads)
        return jnp.matmul(grads, grads.T, precision="highest")  # lengths are square roots of it

    # --- 4. One update ---

    def update(state: State, data: None = None) -> tuple[State, dict[str, Any]]:
        del data  # PPO collects its own
        key, noise_key, env_key, compute_key, learn_key, source_key = jax.random.split(state.key, 6)
        envs, actor_memory, reset, batch = collect(state, noise_key, env_key)
        source_batch = batch._replace(action=dist.to_env(batch.action))
        reward, source = rewards.compute(state.source, source_batch, compute_key)
        done = batch.terminated | batch.truncated
        episodes, returns, lengths = finished_episodes(state.episodes, reward, done)
        if axis_name is not None:
            returns, lengths = jax.lax.psum((returns, lengths), axis_name)
        scaled, return_state = reward, state.returns
        if reward_scale is not None:
            scaled, return_state = reward_scale.apply(state.returns, reward, source_batch)

        value, next_value, critic_memory = evaluate(state, batch, reset, envs)
        discount = gamma * jnp.where(episodic, 1.0 - batch.terminated[..., None], 1.0)
        advantage, target = gae(value, next_value, scaled, discount, lambda_, done[..., None] & episodic)
        if config.normalise_channels:
            advantage = normalise_advantage(advantage, per_channel=True, axis_name=axis_name)

        samples = Batch(
            observe(state.observations, batch.obs),
            batch.action,
            batch.log_prob,
            jnp.zeros(done.shape),
            value,
            target,
            reset,
            jax.tree.map(lambda m: m[None], state.actor_memory),
            jax.tree.map(lambda m: m[None], state.critic_memory),
        )
        gram = channel_gram(state.params, samples, advantage) if weighting.needs_gram else None
        weights, weighting_state, weighting_metrics = reweigh(weighting, state.weighting, returns, gram)
        samples = samples._replace(advantage=jnp.sum(advantage * problem.channel_weights(weights, batch.obs), -1))
        if not config.memory:  # single steps are the samples; with memory, whole rollouts are
            samples = jax.tree.map(lambda x: x.reshape(1, -1, *x.shape[2:]), samples)

        params, opt_state, kl, metrics = learn(state, samples, learn_key)
        source, source_metrics = rewards.update(source, source_batch, source_key)
        observations = state.observations
        if observations is not None:
            vector = prepare(obs_space, batch.obs).vector
            observations = update_moments(observations, vector.reshape(-1, vector.shape[-1]), axis_name=axis_name)
        metrics |= prefixed("source", source_metrics) | weighting_metrics
        metrics |= {
            "episode_return": returns,
            "episode_length": lengths,
            "explained_variance": mean_over_shards(1 - (target - value).var((0, 1)) / (target.var((0, 1)) + 1e-8)),
        }
        state = State(
            params,
            opt_state,
            adapt_kl_coefficient(state.kl_coefficient, kl, config.kl_target) if penalised else state.kl_coefficient,
            envs,
            actor_memory,
            critic_memory,
            episodes,
            observations,
            return_state,
            source,
            weighting_state,
            key,
        )
        return state, metrics

    # --- 5. Act ---

    def policy(state: State) -> Policy:
        def act(key: Array, obs: PyTree, memory: PyTree, reset: Array, greedy: bool = False) -> tuple[Array, PyTree]:
            inputs = jax.tree.map(lambda x: x[None], observe(state.observations, obs))
            outputs, memories = policy_outputs(state.params, inputs, memory, reset[None])
            action = dist.mode(outputs[0]) if greedy else dist.sample(key, outputs[0])
            return dist.to_env(action), jax.tree.map(lambda m: m[-1], memories)

        return Policy(actor.initial_carry, act)

    def learned(state: State) -> dict[str, Any]:
        return {name: getattr(state, name) for name in LEARNED}

    def with_learned(state: State, learned: dict[str, Any]) -> State:
        return state._replace(**learned)

    return Algorithm(init, update, policy, config.num_envs * config.num_steps, channels, learned, with_learned)


def make_optimiser(config: Config) -> optax.GradientTransformation:
    """Adam behind a clip of the gradient's norm, for actor and critic each: a critic of large returns must not drown
    the actor.

    The learning rate falls linearly to zero over `decay_steps`, if given.
    """
    rate = config.learning_rate
    if config.decay_steps is not None:
        steps_per_gradient = config.num_envs * config.num_steps / (config.num_epochs * config.num_minibatches)
        rate = optax.linear_schedule(rate, 0.0, round(config.decay_steps / steps_per_gradient))
    # flat: one norm and one Adam step on one vector, in place of many on small arrays
    step = optax.flatten(optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.adam(rate, eps=1e-5)))
    return optax.partition({"actor": step, "critic": step}, {"actor": "actor", "critic": "critic"})


def chunk_size(config: Config, minibatch: int) -> int:
    """Samples per gradient: `gradient_chunk`, or by default 1024 on CPU where that divides the minibatch."""
    if config.gradient_chunk is not None:
        return config.gradient_chunk
    chunked = jax.default_backend() == "cpu" and not config.memory and minibatch % 1024 == 0
    return 1024 if chunked else minibatch
