"""ReCOIL (Sikchi et al., "Dual RL: Unification and New Methods for Reinforcement and Imitation Learning", 2024).

Imitation of a few expert steps with the help of many other ones, without rewards and without a discriminator: action
values rise on what the expert did and fall on what the policy does in offline states, backups carry both through the
offline steps, and the policy imitates what values favour. Discrete, MultiDiscrete and Box actions.
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
from rlx.runtime.log import draw_rows
from rlx.runtime.problem import pose
from rlx.space import Box
from rlx.types import Algorithm, Array, Environment, Policy, PyTree, Transition
from rlx.value import implicit_max_loss, recoil_q_loss


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of ReCOIL. Floats may be traced (swept in one program); the rest fix the program's shape."""

    batch_size: int = 256  # logged steps in a gradient step, half of them the expert's; 256: the paper
    learning_rate: float = 3e-4  # of Adam, for actor, critics and value; 3e-4: the paper
    value_loss: Literal["expectile", "pinball", "gumbel", "tv", "chi2", "chi2_flat"] = "expectile"  # of the value
    level: float = 0.8  # of the value loss, see `rlx.value.implicit_max_loss`
    inverse_temperature: float = 3.0  # of the policy, per unit of the learned values; 3: the paper
    max_weight: float = 100.0  # of a logged action in the policy's loss
    discount: float = 0.99  # per step
    tau: float = 0.005  # how far the target critics move in a gradient step; 0.005: the paper
    num_critics: int = 2  # of which the most pessimistic counts
    hidden: tuple[int, ...] = (256, 256)  # widths of the layers, of each network
    activation: Literal["tanh", "relu", "silu", "elu"] = "relu"
    layer_norm: bool = True  # after each layer, before the activation; the paper has it
    conv_features: int = 16  # channels of the 3x3 convolution that images go through

    def __post_init__(self) -> None:
        for name in ("num_critics", "conv_features"):
            check.count(name, getattr(self, name))
        check.count("batch_size", self.batch_size, 2)
        check.divides("2", 2, "batch_size", self.batch_size)
        check.positive("learning_rate", self.learning_rate)
        implicit_max_loss(jnp.zeros(1), self.value_loss, self.level)  # refuses what it cannot take
        check.in_range("inverse_temperature", self.inverse_temperature, 0.0)
        check.positive("max_weight", self.max_weight)
        check.in_range("discount", self.discount, 0.0, 1.0)
        check.in_range("tau", self.tau, 0.0, 1.0, open_low=True)


class Logs(NamedTuple):
    """What ReCOIL learns from; rewards and log-probabilities are not read."""

    expert: Transition  # leaves [T, B, ...]
    offline: Transition  # likewise, of other sizes; may hold the expert's too


class State(NamedTuple):
    """Everything that ReCOIL remembers between updates."""

    params: PyTree  # "actor", "critic" (leaves stacked over critics), "value"
    target_critic: PyTree
    optimiser: PyTree
    key: Array


def make(config: Config, env: Environment, env_params: Any = None) -> Algorithm:
    """ReCOIL for `env`, which gives spaces and is never stepped; its rewards are not read.

    `update(state, data)` is a gradient step on rows drawn from both parts of `data`, `Logs`. An update counts as one
    step.

    Raises:
      ValueError: for an unbounded Box or one not of rank 1; in `update`, without data.
    """
    problem = pose(env, env_params, None, None, 1)
    obs_space, action_space = problem.obs_space, problem.action_space
    continuous = isinstance(action_space, Box)
    if continuous:
        action_bounds(action_space)  # refuses what has none

    dist = action_distribution(action_space)
    sizes = (config.hidden, config.activation, config.layer_norm, config.conv_features)
    actor_network = Network(dist.num_outputs, *sizes, output_scale=0.01)
    critic_network = Network(1, *sizes)
    optimiser = optax.flatten(optax.adam(config.learning_rate))
    half = config.batch_size // 2

    def outputs(network: Network, params: PyTree, inputs: Any) -> Array:
        """`[N, num_outputs]`."""
        return network.apply(params, jax.tree.map(lambda x: x[None], inputs), (), None)[0][0]

    def action_outputs(actor: PyTree, obs: PyTree) -> Array:
        """Parameters of the distribution of actions."""
        inputs = prepare(obs_space, obs)
        return policy_outputs(action_space, outputs(actor_network, actor, inputs), inputs.mask)

    def with_action(obs: PyTree, action: Array) -> Any:
        return prepare(obs_space, obs).beside(prepare(action_space, dist.from_env(action)).vector)

    def action_values(critic: PyTree, inputs: Any) -> Array:
        """`[critics, N]`."""
        return jax.vmap(lambda params: outputs(critic_network, params, inputs)[:, 0])(critic)

    # --- 1. Learn ---

    def loss(params: PyTree, target_critic: PyTree, step: Transition, key: Array) -> tuple[Array, dict[str, Any]]:
        """The three losses in one, each of which moves its own part of the parameters."""
        taken = with_action(step.obs, step.action)
        slow = action_values(target_critic, taken).min(0)
        value = outputs(critic_network, params["value"], prepare(obs_space, step.obs))[:, 0]
        value_loss = implicit_max_loss(slow - value, config.value_loss, config.level).mean()

        found = action_outputs(params["actor"], step.obs)
        drawn = jax.lax.stop_gradient(dist.to_env(dist.sample(key, found)))
        q = action_values(params["critic"], taken)
        of_policy = action_values(params["critic"], with_action(step.obs, drawn))
        following = outputs(critic_network, params["value"], prepare(obs_space, step.next_obs))[:, 0]
        expert = jnp.arange(2 * half) < half
        critic_loss = recoil_q_loss(
            q,
            of_policy,
            jnp.broadcast_to(following, q.shape),
            config.discount * ~step.terminated,
            jnp.broadcast_to(expert, q.shape),
            0.5,
        )
        imitation = awr_weights(slow - value, config.inverse_temperature, config.max_weight)
        policy_loss = -(imitation * dist.log_prob(found, dist.from_env(step.action))).mean()
        metrics = {
            "loss/value": value_loss,
            "loss/critic": critic_loss.mean(),
            "loss/policy": policy_loss,
            "q_value/expert": q[:, :half].mean(),
            "q_value/offline": q[:, half:].mean(),
            "q_value/policy": of_policy[:, half:].mean(),
        }
        return value_loss + critic_loss.mean(1).sum() + policy_loss, metrics

    def init(key: Array) -> State:
        actor_key, critic_key, value_key, run_key = jax.random.split(key, 4)
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
        return State(params, jax.tree.map(jnp.copy, params["critic"]), optimiser.init(params), run_key)

    # --- 2. One update ---

    def update(state: State, data: Logs | None = None) -> tuple[State, dict[str, Any]]:
        if data is None:
            raise ValueError("data must be rlx.algos.recoil.Logs(expert, offline); got None: fit(..., data=logs)")
        key, expert_key, offline_key, loss_key = jax.random.split(state.key, 4)
        spaces = obs_space, action_space
        (expert,) = draw_rows(expert_key, data.expert, spaces, half)
        (offline,) = draw_rows(offline_key, data.offline, spaces, half)
        step = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), expert, offline)
        grads, metrics = jax.grad(loss, has_aux=True)(state.params, state.target_critic, step, loss_key)
        updates, opt_state = optimiser.update(grads, state.optimiser, state.params)
        params: PyTree = optax.apply_updates(state.params, updates)
        target_critic = optax.incremental_update(params["critic"], state.target_critic, config.tau)
        return State(params, target_critic, opt_state, key), metrics

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

    return Algorithm(init, update, policy, 1, problem.channels, learned, with_learned)
