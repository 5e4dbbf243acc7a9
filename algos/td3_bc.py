"""TD3+BC (Fujimoto and Gu, "A Minimalist Approach to Offline Reinforcement Learning", 2021).

TD3 on a log, whose policy also stays near the logged actions: one more term in one loss. Box actions, over any number
of reward channels. With `alpha = 0` it is behaviour cloning by the squared error.

The paper standardises observations; give the log, and the environment, observations of one scale.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.nets import Network, prepare
from rlx.nets.distribution import action_bounds, action_distribution
from rlx.policy import smooth_action, td3_bc_loss
from rlx.runtime.log import draw_rows, scorer
from rlx.runtime.problem import initial_weights, pose
from rlx.space import Box
from rlx.types import Algorithm, Array, Environment, Policy, PyTree, RewardSource, Transition, Weighting
from rlx.value import td_loss, twin_min_target


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of TD3+BC. Floats may be traced (swept in one program); the rest fix the program's shape."""

    batch_size: int = 256  # logged steps in a gradient step; 256: the paper
    learning_rate: float = 3e-4  # of Adam, for actor and critics; 3e-4: the paper
    alpha: float = 2.5  # of the value in the policy's loss, per mean magnitude of the value; 2.5: the paper
    discount: float = 0.99  # per step, for channels that do not say
    tau: float = 0.005  # how far target networks move when they do; 0.005: the paper
    policy_period: int = 2  # gradient steps of the critics for one of the actor and target networks; 2: TD3
    target_noise: float = 0.2  # deviation of the target policy's noise, of actions in [-1, 1]; 0.2: TD3
    noise_clip: float = 0.5  # its largest magnitude; 0.5: TD3
    num_critics: int = 2  # of which the most pessimistic counts in targets; 2: the paper
    hidden: tuple[int, ...] = (256, 256)  # widths of the layers, of each network
    activation: Literal["tanh", "relu", "silu", "elu"] = "relu"
    layer_norm: bool = False  # after each layer, before the activation
    conv_features: int = 16  # channels of the 3x3 convolution that images go through

    def __post_init__(self) -> None:
        for name in ("batch_size", "policy_period", "num_critics", "conv_features"):
            check.count(name, getattr(self, name))
        check.positive("learning_rate", self.learning_rate)
        for name in ("alpha", "target_noise", "noise_clip"):
            check.in_range(name, getattr(self, name), 0.0)
        check.in_range("discount", self.discount, 0.0, 1.0)
        check.in_range("tau", self.tau, 0.0, 1.0, open_low=True)


class State(NamedTuple):
    """Everything that TD3+BC remembers between updates."""

    params: PyTree  # "actor", "critic" (leaves stacked over critics)
    target: PyTree  # the same, slower
    optimiser: PyTree
    steps: Array  # int32 [], gradient steps taken
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
    if not isinstance(action_space, Box):
        raise TypeError(f"TD3+BC takes Box actions; got {action_space!r}: use iql or cql")
    score = scorer(rewards)
    num_channels, num_components = len(channels), action_bounds(action_space)[0].shape[0]
    gamma = problem.discounts(config.discount)
    first_weights, _ = initial_weights(weighting, num_channels)
    scale = action_distribution(action_space)  # between the space and [-1, 1]

    sizes = (config.hidden, config.activation, config.layer_norm, config.conv_features)
    actor_network = Network(num_components, *sizes, output_scale=0.01)
    critic_network = Network(num_channels, *sizes)
    rate = config.learning_rate
    optimisers = {part: optax.flatten(optax.adam(rate)) for part in ("actor", "critic")}

    def actions(actor: PyTree, obs: PyTree) -> Array:
        """`[N, D]` in [-1, 1]."""
        inputs = jax.tree.map(lambda x: x[None], prepare(obs_space, obs))
        return jnp.tanh(actor_network.apply(actor, inputs, (), None)[0][0])

    def action_values(critic: PyTree, obs: PyTree, action: Array) -> Array:
        """`[critics, N, K]`."""
        inputs = prepare(obs_space, obs)
        vector = action if inputs.vector is None else jnp.concatenate([inputs.vector, action], axis=-1)
        inputs = jax.tree.map(lambda x: x[None], inputs._replace(vector=vector))
        return jax.vmap(lambda params: critic_network.apply(params, inputs, (), None)[0][0])(critic)

    # --- 1. Learn ---

    def critic_loss(critic: PyTree, target: PyTree, step: Transition, reward: Array, key: Array) -> tuple[Array, Array]:
        weights = problem.channel_weights(first_weights, step.obs)
        following = actions(target["actor"], step.next_obs)
        noise = config.target_noise * jax.random.normal(key, following.shape)
        following = smooth_action(following, noise, config.noise_clip, -1.0, 1.0)
        next_q = action_values(target["critic"], step.next_obs, following)
        goal = twin_min_target(
            next_q, jnp.zeros_like(reward), reward, gamma * ~step.terminated[:, None], 0.0, weights=weights
        )
        q = action_values(critic, step.obs, scale.from_env(step.action))
        return td_loss(q, jnp.broadcast_to(goal, q.shape)).mean(1).sum(), q.mean((0, 1))

    def actor_loss(actor: PyTree, critic: PyTree, step: Transition) -> Array:
        action = actions(actor, step.obs)
        weights = problem.channel_weights(first_weights, step.obs)
        q = jnp.sum(action_values(critic, step.obs, action)[0] * weights, axis=-1)  # of the first critic
        return td3_bc_loss(q, action, scale.from_env(step.action), config.alpha).mean()

    def init(key: Array) -> State:
        actor_key, critic_key, source_key, run_key = jax.random.split(key, 4)
        obs = jax.tree.map(lambda x: jnp.zeros((1, 1, *x.shape), x.dtype), jax.eval_shape(obs_space.sample, key))
        inputs, action = prepare(obs_space, obs), jnp.zeros((1, 1, num_components))
        vector = action if inputs.vector is None else jnp.concatenate([inputs.vector, action], axis=-1)
        params = {
            "actor": actor_network.init(actor_key, inputs, (), None),
            "critic": jax.vmap(lambda key: critic_network.init(key, inputs._replace(vector=vector), (), None))(
                jax.random.split(critic_key, config.num_critics)
            ),
        }
        optimiser = {part: optimisers[part].init(params[part]) for part in params}
        target = jax.tree.map(jnp.copy, params)
        return State(params, target, optimiser, jnp.zeros((), jnp.int32), rewards.init(source_key, spec), run_key)

    # --- 2. One update ---

    def update(state: State, data: Transition | None = None) -> tuple[State, dict[str, Any]]:
        key, index_key, score_key, noise_key = jax.random.split(state.key, 4)
        (step,) = draw_rows(index_key, data, (obs_space, action_space), config.batch_size)
        reward = score(state.source, step, score_key)
        of_critic = jax.value_and_grad(critic_loss, has_aux=True)
        (value_loss, q_value), grads = of_critic(state.params["critic"], state.target, step, reward, noise_key)
        updates, critic_state = optimisers["critic"].update(grads, state.optimiser["critic"], state.params["critic"])
        critic: PyTree = optax.apply_updates(state.params["critic"], updates)

        policy_loss, grads = jax.value_and_grad(actor_loss)(state.params["actor"], critic, step)
        updates, actor_state = optimisers["actor"].update(grads, state.optimiser["actor"], state.params["actor"])
        moved = {"actor": optax.apply_updates(state.params["actor"], updates), "critic": critic}
        slow = optax.incremental_update(moved, state.target, config.tau)
        turn = (state.steps + 1) % config.policy_period == 0
        still = (state.params["actor"], state.optimiser["actor"], state.target)
        actor, actor_state, target = jax.tree.map(
            lambda new, old: jnp.where(turn, new, old), (moved["actor"], actor_state, slow), still
        )
        metrics = {"loss/critic": value_loss, "loss/policy": policy_loss, "q_value": q_value}
        params, optimiser = {"actor": actor, "critic": critic}, {"actor": actor_state, "critic": critic_state}
        return State(params, target, optimiser, state.steps + 1, state.source, key), metrics

    # --- 3. Act ---

    def policy(state: State) -> Policy:
        def act(key: Array, obs: PyTree, memory: PyTree, reset: Array, greedy: bool = False) -> tuple[Array, PyTree]:
            del key, reset, greedy  # deterministic, no memory
            return scale.to_env(actions(state.params["actor"], obs)), memory

        return Policy(lambda batch_size: (), act)

    def learned(state: State) -> PyTree:
        return state.params, state.target, state.optimiser

    def with_learned(state: State, learned: PyTree) -> State:
        params, target, optimiser = learned
        return state._replace(params=params, target=target, optimiser=optimiser)

    return Algorithm(init, update, policy, 1, channels, learned, with_learned)
