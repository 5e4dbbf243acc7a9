"""Conservative Q-learning (Kumar et al., "Conservative Q-Learning for Offline Reinforcement Learning", 2020).

Q-learning on a log with a penalty on the values of actions that are not in it. For Discrete actions it is double
Q-learning; for Box actions soft actor-critic without an entropy bonus in its targets, the penalty's sum over actions
being estimated from uniform actions and the policy's in both states. With `calibrated`, values of the policy's actions
are pushed down no further than to the returns that the log has (Nakamoto et al., "Cal-QL: Calibrated Offline RL
Pre-Training for Efficient Online Fine-Tuning", 2023).

Without the penalty (`penalty = 0`) and with more critics it is SAC-N, and with `diversity` EDAC, which needs fewer of
them (An et al., "Uncertainty-Based Offline Reinforcement Learning with Diversified Q-Ensemble", 2021).
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
from rlx.nets.distribution import action_bounds, action_distribution, bounded_log_std
from rlx.policy import sac_policy_loss, sac_temperature_loss, tanh_log_det
from rlx.runtime.log import draw_rows, scorer
from rlx.runtime.problem import initial_weights, pose
from rlx.space import Box, Discrete
from rlx.types import Algorithm, Array, Environment, Policy, PyTree, RewardSource, Transition, Weighting
from rlx.value import (
    cql_penalty,
    ensemble_diversity_loss,
    greedy_action,
    returns_to_go,
    take_action,
    td_loss,
    twin_min_target,
)

_NEVER = -1e9  # value of a masked action in the penalty's sum


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of CQL. Floats may be traced (swept in one program); the rest fix the program's shape."""

    batch_size: int = 256  # logged steps in a gradient step; 256: the paper
    learning_rate: float = 3e-4  # of Adam; 3e-4: the paper, for critics
    penalty: float = 1.0  # weight of the penalty, times half the squared error; the paper: 5 for D4RL, 1 for Atari
    temperature: float = 1.0  # of the penalty's soft maximum, in units of return; 1: the paper
    num_samples: int = 10  # actions of each of three kinds that estimate it, for a Box; 10: the paper
    diversity: float | None = None  # weight of the loss that keeps critics apart, for a Box; 1: EDAC, None: without
    calibrated: bool = False  # compare with the log's returns; the log is then read in stream order
    discount: float = 0.99  # per step, for channels that do not say
    tau: float = 0.005  # how far the target critics move in a gradient step; 0.005: the paper
    num_critics: int = 2  # of which the most pessimistic counts in targets; 2: the paper
    hidden: tuple[int, ...] = (256, 256)  # widths of the layers, of each network
    activation: Literal["tanh", "relu", "silu", "elu"] = "relu"
    layer_norm: bool = False  # after each layer, before the activation
    conv_features: int = 16  # channels of the 3x3 convolution that images go through

    def __post_init__(self) -> None:
        for name in ("batch_size", "num_samples", "num_critics", "conv_features"):
            check.count(name, getattr(self, name))
        check.positive("learning_rate", self.learning_rate)
        check.in_range("penalty", self.penalty, 0.0)
        if self.diversity is not None:
            check.in_range("diversity", self.diversity, 0.0)
            check.count("num_critics", self.num_critics, 2)
        check.positive("temperature", self.temperature)
        check.in_range("discount", self.discount, 0.0, 1.0)
        check.in_range("tau", self.tau, 0.0, 1.0, open_low=True)


class State(NamedTuple):
    """Everything that CQL remembers between updates."""

    params: PyTree  # "critic" (leaves stacked over critics); for a Box "actor" and "log_temperature" too
    target_critic: PyTree
    optimiser: PyTree
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
    """CQL for `env`, which gives spaces and channels and is never stepped.

    `update(state, data)` is a gradient step on rows drawn from `data`, as in `rlx.algos.iql`; so are the rewards and
    the weights of channels. The penalty is on the weighted sum of the channels' values.

    Raises:
      TypeError: for an action space that is neither Discrete nor a Box.
      ValueError: for `diversity` with Discrete actions, which have no gradient, an unbounded Box or one not of rank 1,
        a source without `rescore`, a channel that is not episodic, a weighting that needs policy gradients; in
        `update`, without data.
    """
    problem = pose(env, env_params, rewards, weighting, 1, continuing=False)
    env_params, obs_space, action_space, rewards, channels, weighting, spec = problem
    if not isinstance(action_space, Box | Discrete):
        raise TypeError(f"CQL takes Discrete or Box actions; got {action_space!r}: use iql")
    score = scorer(rewards)
    num_channels = len(channels)
    gamma = problem.discounts(config.discount)
    first_weights, _ = initial_weights(weighting, num_channels)
    sizes = (config.hidden, config.activation, config.layer_norm, config.conv_features)
    continuous = isinstance(action_space, Box)
    allowed = "None with Discrete actions, which have no gradient"
    check.require(continuous or config.diversity is None, "diversity", config.diversity, allowed)
    dist = action_distribution(action_space)
    num_components = action_bounds(action_space)[0].shape[0] if isinstance(action_space, Box) else 0
    num_actions = action_space.n if isinstance(action_space, Discrete) else 1
    actor_network = Network(2 * num_components, *sizes, output_scale=0.01)
    critic_network = Network(num_actions * num_channels, *sizes)
    optimiser = optax.flatten(optax.adam(config.learning_rate))

    def outputs(network: Network, params: PyTree, inputs: Any) -> Array:
        """`[N, num_outputs]`."""
        return network.apply(params, jax.tree.map(lambda x: x[None], inputs), (), None)[0][0]

    def all_values(critic: PyTree, obs: PyTree) -> Array:
        """`[critics, N, A, K]` of every action."""
        inputs = prepare(obs_space, obs)
        q = jax.vmap(lambda params: outputs(critic_network, params, inputs))(critic)
        return q.reshape(*q.shape[:-1], num_actions, num_channels)

    def values_of(critic: PyTree, obs: PyTree, action: Array) -> Array:
        """`[critics, N, K]` of actions `[N, D]` in [-1, 1]."""
        inputs = prepare(obs_space, obs).beside(action)
        return jax.vmap(lambda params: outputs(critic_network, params, inputs))(critic)

    def sample_action(actor: PyTree, key: Array, obs: PyTree, count: int) -> tuple[Array, Array]:
        """Reparametrised actions `[count, N, D]` in [-1, 1] and their log-probabilities `[count, N]`."""
        mean, spread = jnp.split(outputs(actor_network, actor, prepare(obs_space, obs)), 2, axis=-1)
        log_std = bounded_log_std(spread)
        noise = jax.random.normal(key, (count, *mean.shape))
        u = mean + jnp.exp(log_std) * noise
        log_normal = -0.5 * jnp.square(noise) - log_std - 0.5 * math.log(2 * math.pi)
        return jnp.tanh(u), jnp.sum(log_normal - tanh_log_det(u), axis=-1)

    # --- 1. Learn: Discrete actions ---

    def discrete_loss(
        params: PyTree, target_critic: PyTree, step: Transition, reward: Array, floor: Array, key: Array
    ) -> tuple[Array, dict[str, Any]]:
        del key
        weights = problem.channel_weights(first_weights, step.obs)
        mask, next_mask = prepare(obs_space, step.obs).mask, prepare(obs_space, step.next_obs).mask
        following = greedy_action(all_values(params["critic"], step.next_obs).mean(0), next_mask, weights=weights)
        slow = all_values(target_critic, step.next_obs)
        next_q = jax.vmap(lambda q: take_action(q, following))(slow)
        every = all_values(params["critic"], step.obs)
        q = jax.vmap(lambda q: take_action(q, step.action))(every)
        worth = jnp.sum(every * (weights if weights.ndim == 1 else weights[:, None]), axis=-1)
        worth = jnp.maximum(worth, floor[:, None])
        penalty = cql_penalty(
            worth if mask is None else jnp.where(mask, worth, _NEVER),
            jnp.sum(q * weights, axis=-1),
            config.temperature,
        )
        return critic_loss(q, next_q, step, reward, weights, penalty)

    def critic_loss(
        q: Array, next_q: Array, step: Transition, reward: Array, weights: Array, penalty: Array
    ) -> tuple[Array, dict[str, Any]]:
        """Of values `[critics, N, K]` of what was done."""
        target = twin_min_target(
            next_q, jnp.zeros_like(reward), reward, gamma * ~step.terminated[:, None], 0.0, weights=weights
        )
        error = td_loss(q, jnp.broadcast_to(target, q.shape)).mean(1).sum(0)
        metrics = {"loss/critic": error, "penalty": penalty.mean(), "q_value": q.mean((0, 1))}
        return error.sum() + config.penalty * penalty.mean(1).sum(), metrics

    # --- 2. Learn: a Box ---

    def box_loss(
        params: PyTree, target_critic: PyTree, step: Transition, reward: Array, floor: Array, key: Array
    ) -> tuple[Array, dict[str, Any]]:
        """The three losses in one, each of which moves its own part of the parameters."""
        next_key, here_key, there_key, uniform_key, actor_key = jax.random.split(key, 5)
        weights = problem.channel_weights(first_weights, step.obs)
        actor, size, count = jax.lax.stop_gradient(params["actor"]), config.batch_size, config.num_samples
        following, _ = sample_action(actor, next_key, step.next_obs, 1)
        next_q = values_of(target_critic, step.next_obs, following[0])
        q = values_of(params["critic"], step.obs, dist.from_env(step.action))

        here, here_log_prob = sample_action(actor, here_key, step.obs, count)
        there, there_log_prob = sample_action(actor, there_key, step.next_obs, count)
        anywhere = jax.random.uniform(uniform_key, here.shape, minval=-1.0)
        action = jnp.concatenate([here, there, anywhere])
        log_prob = jnp.concatenate(
            [here_log_prob, there_log_prob, jnp.full((count, size), -num_components * math.log(2.0))]
        )
        many = jax.tree.map(lambda x: jnp.tile(x, (3 * count,) + (1,) * (x.ndim - 1)), step.obs)
        sampled = values_of(params["critic"], many, action.reshape(-1, num_components))
        worth = jnp.sum(sampled.reshape(-1, 3 * count, size, num_channels) * weights, axis=-1)
        of_policy = (jnp.arange(3 * count) < 2 * count)[:, None]
        worth = jnp.where(of_policy, jnp.maximum(worth, floor), worth)
        log_probs = jnp.broadcast_to(log_prob, worth.shape)
        # the mean over samples, not the sum, estimates the integral
        penalty = cql_penalty(
            jnp.moveaxis(worth, 1, -1),
            jnp.sum(q * weights, axis=-1),
            config.temperature,
            jnp.moveaxis(log_probs, 1, -1),
        ) - config.temperature * math.log(3 * count)
        total, metrics = critic_loss(q, next_q, step, reward, weights, penalty)
        if config.diversity is not None:

            def worth_of(critic: PyTree, action: Array) -> Array:
                inputs = prepare(obs_space, step.obs).beside(action)
                return jnp.sum(outputs(critic_network, critic, inputs) * weights)

            slopes = jax.vmap(jax.grad(worth_of, argnums=1), (0, None))(params["critic"], dist.from_env(step.action))
            alike = ensemble_diversity_loss(slopes).mean()
            total, metrics = total + config.diversity * alike, metrics | {"loss/diversity": alike}

        (drawn,), (drawn_log_prob,) = sample_action(params["actor"], actor_key, step.obs, 1)
        of_actor = values_of(jax.lax.stop_gradient(params["critic"]), step.obs, drawn)
        least = jnp.min(jnp.sum(of_actor * weights, axis=-1), axis=0)
        log_temperature = params["log_temperature"]
        policy_loss = sac_policy_loss(drawn_log_prob, least, jnp.exp(log_temperature)).mean()
        temperature_loss = sac_temperature_loss(log_temperature, drawn_log_prob, -num_components).mean()
        metrics |= {"loss/policy": policy_loss, "temperature": jnp.exp(log_temperature)}
        return total + policy_loss + temperature_loss, metrics

    # --- 3. One update ---

    def init(key: Array) -> State:
        actor_key, critic_key, source_key, run_key = jax.random.split(key, 4)
        obs = jax.tree.map(lambda x: jnp.zeros((1, 1, *x.shape), x.dtype), jax.eval_shape(obs_space.sample, key))
        inputs = prepare(obs_space, obs)
        taken = inputs.beside(jnp.zeros((1, 1, num_components))) if continuous else inputs
        params: dict[str, PyTree] = {
            "critic": jax.vmap(lambda key: critic_network.init(key, taken, (), None))(
                jax.random.split(critic_key, config.num_critics)
            )
        }
        if continuous:
            params |= {"actor": actor_network.init(actor_key, inputs, (), None), "log_temperature": jnp.zeros(())}
        target_critic = jax.tree.map(jnp.copy, params["critic"])
        return State(params, target_critic, optimiser.init(params), rewards.init(source_key, spec), run_key)

    def logged_returns(state: State, data: Transition, key: Array) -> Array:
        """`[T, B]`, discounted, of the weighted sum of rewards, to the end of each episode in the log."""
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), data)
        weights = problem.channel_weights(first_weights, flat.obs)
        reward = jnp.sum(score(state.source, flat, key) * weights, axis=-1).reshape(data.terminated.shape)
        return returns_to_go(reward, config.discount, data.terminated | data.truncated)

    def update(state: State, data: Transition | None = None) -> tuple[State, dict[str, Any]]:
        key, index_key, score_key, loss_key = jax.random.split(state.key, 4)
        beside = (logged_returns(state, data, score_key),) if config.calibrated and data is not None else ()
        step, *returns = draw_rows(index_key, data, (obs_space, action_space), config.batch_size, *beside)
        reward = score(state.source, step, score_key)
        floor = returns[0] if returns else jnp.full(config.batch_size, -jnp.inf)
        loss = box_loss if continuous else discrete_loss
        grads, metrics = jax.grad(loss, has_aux=True)(state.params, state.target_critic, step, reward, floor, loss_key)
        updates, opt_state = optimiser.update(grads, state.optimiser, state.params)
        params: PyTree = optax.apply_updates(state.params, updates)
        target_critic = optax.incremental_update(params["critic"], state.target_critic, config.tau)
        return State(params, target_critic, opt_state, state.source, key), metrics

    # --- 4. Act ---

    def policy(state: State) -> Policy:
        def act(key: Array, obs: PyTree, memory: PyTree, reset: Array, greedy: bool = False) -> tuple[Array, PyTree]:
            del reset  # no memory
            if not continuous:
                weights = problem.channel_weights(first_weights, obs)
                q = all_values(state.params["critic"], obs).mean(0)
                return greedy_action(q, prepare(obs_space, obs).mask, weights=weights), memory
            if greedy:
                mean, _ = jnp.split(outputs(actor_network, state.params["actor"], prepare(obs_space, obs)), 2, axis=-1)
                return dist.to_env(jnp.tanh(mean)), memory
            return dist.to_env(sample_action(state.params["actor"], key, obs, 1)[0][0]), memory

        return Policy(lambda batch_size: (), act)

    def learned(state: State) -> PyTree:
        return state.params, state.target_critic, state.optimiser

    def with_learned(state: State, learned: PyTree) -> State:
        params, target_critic, opt_state = learned
        return state._replace(params=params, target_critic=target_critic, optimiser=opt_state)

    return Algorithm(init, update, policy, 1, channels, learned, with_learned)
