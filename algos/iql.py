"""Implicit Q-learning (Kostrikov et al., "Offline Reinforcement Learning with Implicit Q-Learning", 2022).

Learns from a log alone, and never asks for the value of an action that is not in it: a state's value is an upper
expectile of those of its logged actions, and the policy imitates these, the good ones more. Discrete, MultiDiscrete and
Box actions, over any number of reward channels. Its relatives are settings:

    extreme Q-learning (XQL)        value_loss="gumbel", level: its temperature
    dual V-learning (f-DVL)         value_loss="tv" or "chi2" (published) or "chi2_flat", level=0.8, huber=20.0
    advantage-weighted (AWR, AWAC)  level=0.5, the value of the behaviour; AWAC with weights="softmax"
    critic-regularised (CRR)        level=0.5, weights="step"; or "exp" with max_weight=20.0
    behaviour cloning               inverse_temperature=0.0

With a reward that was fitted to preferences (`rewards=learned_reward(model)`), it is offline reinforcement learning
from preferences: `scripts/offline_preferences.py`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.nets import Network, prepare
from rlx.nets.distribution import action_bounds, action_distribution, policy_outputs
from rlx.policy import awr_weights
from rlx.runtime.log import draw_rows, scorer
from rlx.runtime.problem import initial_weights, pose
from rlx.space import Box
from rlx.types import Algorithm, Array, Environment, Policy, PyTree, RewardSource, Transition, Weighting
from rlx.value import implicit_max_loss, td_loss

ImplicitMax = Literal["expectile", "pinball", "gumbel", "tv", "chi2", "chi2_flat", "chi2_conjugate"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of IQL. Floats may be traced (swept in one program); the rest fix the program's shape."""

    batch_size: int = 256  # logged steps in a gradient step; 256: the paper
    learning_rate: float = 3e-4  # of Adam, for actor, critics and value; 3e-4: the paper
    value_loss: ImplicitMax = "expectile"  # see `rlx.value.implicit_max_loss`
    level: float = 0.7  # of the value loss, as an expectile of logged actions' values; 0.7: the paper, 0.9 in its mazes
    huber: float | None = None  # where the critics' loss becomes linear, in units of return; None: nowhere
    inverse_temperature: float = 3.0  # of the policy, per unit of return; 3: the paper (locomotion), 10 in its mazes
    max_weight: float = 100.0  # of a logged action in the policy's loss; 100: the paper
    weights: Literal["exp", "softmax", "step"] = "exp"  # of logged actions, see `rlx.policy.awr_weights`
    discount: float = 0.99  # per step, for channels that do not say
    tau: float = 0.005  # how far the target critics move in a gradient step; 0.005: the paper
    num_critics: int = 2  # of which the most pessimistic counts; 2: the paper
    hidden: tuple[int, ...] = (256, 256)  # widths of the layers, of each network
    activation: Literal["tanh", "relu", "silu", "elu"] = "relu"
    layer_norm: bool = False  # after each layer, before the activation
    conv_features: int = 16  # channels of the 3x3 convolution that images go through

    def __post_init__(self) -> None:
        for name in ("batch_size", "num_critics", "conv_features"):
            check.count(name, getattr(self, name))
        check.positive("learning_rate", self.learning_rate)
        # an argument that a kernel refuses is refused here, where the setting's name is known
        implicit_max_loss(jnp.zeros(1), self.value_loss, self.level)
        awr_weights(jnp.zeros(1), 0.0, kind=self.weights)
        if self.huber is not None:
            check.positive("huber", self.huber)
        check.in_range("inverse_temperature", self.inverse_temperature, 0.0)
        check.positive("max_weight", self.max_weight)
        check.in_range("discount", self.discount, 0.0, 1.0)
        check.in_range("tau", self.tau, 0.0, 1.0, open_low=True)


class State(NamedTuple):
    """Everything that IQL remembers between updates."""

    params: PyTree  # "actor", "critic" (leaves stacked over critics), "value"
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
    """IQL for `env`, which gives spaces and channels and is never stepped.

    `update(state, data)` is a gradient step on rows drawn from `data`, a `Transition` with leaves `[T, B, ...]` in any
    order, with actions as the environment takes them; `log_prob` is not read. An update counts as one step, so that
    `fit(..., total_steps=n, data=log)` takes n gradient steps. Rows are scored by `rewards` as they are drawn, in its
    first state. The weights of channels are the first ones of `weighting`: there are no returns to change them by.

    Raises:
      ValueError: for an unbounded Box or one not of rank 1, a source without `rescore`, a channel that is not episodic,
        a weighting that needs policy gradients, several channels with a value loss that has no advantage of its own
        (other than expectile and pinball); in `update`, without data.
    """
    problem = pose(env, env_params, rewards, weighting, 1, continuing=False)
    env_params, obs_space, action_space, rewards, channels, weighting, spec = problem
    score = scorer(rewards)
    num_channels = len(channels)
    by_advantage = config.value_loss in ("expectile", "pinball")
    allowed = "'expectile' or 'pinball' with several channels"
    check.require(by_advantage or num_channels == 1, "value_loss", config.value_loss, allowed)
    gamma = problem.discounts(config.discount)
    first_weights, _ = initial_weights(weighting, num_channels)
    continuous = isinstance(action_space, Box)
    if continuous:
        action_bounds(action_space)  # refuses what has none

    dist = action_distribution(action_space)
    sizes = (config.hidden, config.activation, config.layer_norm, config.conv_features)
    actor_network = Network(dist.num_outputs, *sizes, output_scale=0.01)
    critic_network = Network(num_channels, *sizes)
    optimiser = optax.flatten(optax.adam(config.learning_rate))  # one step on one vector

    def outputs(network: Network, params: PyTree, inputs: Any) -> Array:
        """`[N, num_outputs]`."""
        return network.apply(params, jax.tree.map(lambda x: x[None], inputs), (), None)[0][0]

    def action_outputs(actor: PyTree, obs: PyTree) -> Array:
        """Parameters of the distribution of actions."""
        inputs = prepare(obs_space, obs)
        return policy_outputs(action_space, outputs(actor_network, actor, inputs), inputs.mask)

    def with_action(obs: PyTree, action: Array) -> Any:
        return prepare(obs_space, obs).beside(prepare(action_space, dist.from_env(action)).vector)

    # --- 1. Learn ---

    def loss(params: PyTree, target_critic: PyTree, step: Transition, reward: Array) -> tuple[Array, dict[str, Any]]:
        """The three losses in one, each of which moves its own part of the parameters."""
        here, there = prepare(obs_space, step.obs), prepare(obs_space, step.next_obs)
        taken = with_action(step.obs, step.action)
        weights = problem.channel_weights(first_weights, step.obs)

        slow = jax.vmap(lambda critic: outputs(critic_network, critic, taken))(target_critic)  # [critics, N, K]
        least = jnp.argmin(jnp.sum(slow * weights, axis=-1), axis=0)
        slow = jnp.take_along_axis(slow, least[None, :, None], axis=0)[0]
        value = outputs(critic_network, params["value"], here)
        advantage = jax.lax.stop_gradient(jnp.sum((slow - value) * weights, axis=-1))
        above = jnp.broadcast_to(advantage[:, None], value.shape) if by_advantage else None
        value_loss = implicit_max_loss(slow - value, config.value_loss, config.level, above).mean(0)

        following = outputs(critic_network, params["value"], there)
        target = reward + gamma * ~step.terminated[:, None] * following
        q = jax.vmap(lambda critic: outputs(critic_network, critic, taken))(params["critic"])
        critic_loss = td_loss(q, jnp.broadcast_to(target, q.shape), huber=config.huber).mean(1).sum(0)

        imitation = awr_weights(advantage, config.inverse_temperature, config.max_weight, kind=config.weights)
        log_prob = dist.log_prob(action_outputs(params["actor"], step.obs), dist.from_env(step.action))
        policy_loss = -(imitation * log_prob).mean()
        metrics = {
            "loss/value": value_loss,
            "loss/critic": critic_loss,
            "loss/policy": policy_loss,
            "log_prob": log_prob.mean(),
            "imitation_weight": imitation.mean(),
            "q_value": q.mean((0, 1)),
        }
        return value_loss.sum() + critic_loss.sum() + policy_loss, metrics

    def init(key: Array) -> State:
        actor_key, critic_key, value_key, source_key, run_key = jax.random.split(key, 5)
        obs, action = (
            jax.tree.map(lambda x: jnp.zeros((1, 1, *x.shape), x.dtype), jax.eval_shape(space.sample, key))
            for space in (obs_space, action_space)
        )
        here, taken = prepare(obs_space, obs), with_action(obs, action)
        params = {
            "actor": actor_network.init(actor_key, here, (), None),
            "critic": jax.vmap(lambda key: critic_network.init(key, taken, (), None))(
                jax.random.split(critic_key, config.num_critics)
            ),
            "value": critic_network.init(value_key, here, (), None),
        }
        target_critic = jax.tree.map(jnp.copy, params["critic"])
        return State(params, target_critic, optimiser.init(params), rewards.init(source_key, spec), run_key)

    # --- 2. One update ---

    def update(state: State, data: Transition | None = None) -> tuple[State, dict[str, Any]]:
        key, sample_key = jax.random.split(state.key)
        index_key, score_key = jax.random.split(sample_key)
        (step,) = draw_rows(index_key, data, (obs_space, action_space), config.batch_size)
        reward = score(state.source, step, score_key)
        grads, metrics = jax.grad(loss, has_aux=True)(state.params, state.target_critic, step, reward)
        metrics["gradient/value"] = optax.tree.norm(grads["value"])
        updates, opt_state = optimiser.update(grads, state.optimiser, state.params)
        params: PyTree = optax.apply_updates(state.params, updates)
        target_critic = optax.incremental_update(params["critic"], state.target_critic, config.tau)
        return State(params, target_critic, opt_state, state.source, key), metrics

    # --- 3. Act ---

    def policy(state: State) -> Policy:
        def act(key: Array, obs: PyTree, memory: PyTree, reset: Array, greedy: bool = False) -> tuple[Array, PyTree]:
            del reset  # no memory
            found = action_outputs(state.params["actor"], obs)
            return dist.to_env(dist.mode(found) if greedy else dist.sample(key, found)), memory

        return Policy(lambda batch_size: (), act)

    def learned(state: State) -> PyTree:
        return state.params, state.target_critic, state.optimiser

    def with_learned(state: State, learned: PyTree) -> State:
        params, target_critic, opt_state = learned
        return state._replace(params=params, target_critic=target_critic, optimiser=opt_state)

    return Algorithm(init, update, policy, 1, channels, learned, with_learned)
