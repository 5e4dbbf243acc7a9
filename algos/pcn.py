"""Pareto conditioned networks (Reymond, Bargiacchi and Nowe, "Pareto Conditioned Networks", 2022).

One policy for the whole front, learned by imitation: it sees the return that is asked of it and the number of steps it
may take, and is trained to repeat what led to the returns that past episodes have had. New episodes are asked for a
little more than the best ones reached. For environments without randomness, with discrete actions; in others a return
that was luck cannot be asked for again.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.nets import prepare
from rlx.nets.distribution import mask_logits
from rlx.nets.network import ACTIVATIONS
from rlx.pareto import nondominated_mask, pcn_command, pcn_priority
from rlx.runtime.problem import pose
from rlx.space import Discrete
from rlx.types import Algorithm, Array, Environment, Front, Mean, Policy, PyTree
from rlx.value import returns_to_go


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of PCN. Floats may be traced (swept in one program); the rest fix the program's shape."""

    num_episodes: int = 5  # played side by side in one update
    max_steps: int = 100  # of an episode, which is cut after as many; the environment's own limit may be lower
    buffer_size: int = 100  # episodes kept
    first_episodes: int = 50  # with random actions, which `init` takes
    gradient_steps: int = 50  # in one update; with half as many for an episode the far end of a front is often missed
    batch_size: int = 256  # steps of stored episodes in one gradient step; 256: morl-baselines
    learning_rate: float = 1e-3  # of Adam; 1e-3: morl-baselines
    epsilon: float = 0.1  # of a random action while collecting; 0: the paper, whose policy soon repeats itself
    threshold: float = 0.2  # crowding distance at which an episode counts for less; 0.2: the paper's code
    # What returns and horizon are divided by before the network sees them, one number for each channel and one more;
    # empty: the largest magnitude in the buffer, and `max_steps`.
    scale: tuple[float, ...] = ()
    hidden: int = 64  # width of the layers; 64: the paper
    activation: Literal["tanh", "relu", "silu", "elu"] = "relu"

    def __post_init__(self) -> None:
        for name in ("num_episodes", "max_steps", "buffer_size", "first_episodes", "gradient_steps", "batch_size"):
            check.count(name, getattr(self, name))
        check.count("hidden", self.hidden)
        check.positive("learning_rate", self.learning_rate)
        check.in_range("threshold", self.threshold, 0.0)
        check.in_range("epsilon", self.epsilon, 0.0, 1.0)


class Episodes(NamedTuple):
    """`E` episodes of up to `T` steps; what follows the end is padding."""

    obs: PyTree  # leaves [E, T, ...]
    action: Array  # [E, T]
    reward: Array  # [E, T, K]
    length: Array  # int [E]; 0: there is no such episode

    @property
    def returns(self) -> Array:
        return self.reward.sum(1)  # [E, K]

    @property
    def valid(self) -> Array:
        return self.length > 0


class Command(NamedTuple):
    """What is asked of the rest of an episode."""

    returns: Array  # [B, K]
    horizon: Array  # [B] steps


class State(NamedTuple):
    """Everything that PCN remembers between updates."""

    params: PyTree
    optimiser: PyTree
    buffer: Episodes
    key: Array


class ConditionedNetwork(nn.Module):
    """Logits of actions: embeddings of observation and command are multiplied."""

    num_actions: int
    hidden: int
    activation: str

    @nn.compact
    def __call__(self, x: Array, command: Array) -> Array:
        joint = nn.sigmoid(nn.Dense(self.hidden)(x)) * nn.sigmoid(nn.Dense(self.hidden)(command))
        return nn.Dense(self.num_actions)(ACTIVATIONS[self.activation](nn.Dense(self.hidden)(joint)))


def make(config: Config, env: Environment, env_params: Any = None) -> Algorithm:
    """PCN on `env`, with its reward channels as objectives, undiscounted.

    `steps_per_update` counts every episode as `max_steps` long; the metric `environment_steps` has the steps taken.
    `front` plays one greedy episode for each stored return that no other dominates, and has what these reach. `policy`
    follows the stored episode with the largest sum of returns, each divided by its scale: it asks at every step for
    what that episode still had to come, since a policy does not see its rewards.

    Raises:
      TypeError: for an action space that is not Discrete.
      ValueError: if `scale` has not one number for each channel and one more.
    """
    problem = pose(env, env_params, None, None, config.num_episodes)
    env_params, obs_space, action_space, channels = (
        problem.env_params,
        problem.obs_space,
        problem.action_space,
        problem.channels,
    )
    if not isinstance(action_space, Discrete):
        raise TypeError(f"PCN takes Discrete actions; got {action_space!r}")
    num_channels = len(channels)
    fits = len(config.scale) in (0, num_channels + 1) and all(x > 0 for x in config.scale)
    check.require(fits, "scale", config.scale, f"empty, or {num_channels + 1} positive numbers")
    network = ConditionedNetwork(action_space.n, config.hidden, config.activation)
    optimiser = optax.flatten(optax.adam(config.learning_rate))

    def scale_of(buffer: Episodes) -> Array:
        """`[K + 1]`."""
        if config.scale:
            return jnp.array(config.scale)
        largest = jnp.max(jnp.abs(buffer.returns), axis=0)
        return jnp.append(jnp.where(largest > 0, largest, 1), config.max_steps)

    def logits(params: PyTree, obs: PyTree, command: Command, scale: Array) -> Array:
        inputs = prepare(obs_space, obs)
        asked = jnp.concatenate([command.returns, command.horizon[..., None]], axis=-1) / scale
        if inputs.vector is None:
            raise TypeError(f"PCN takes observations that are vectors; got {obs_space!r}")
        return mask_logits(network.apply(params, inputs.vector, asked), inputs.mask)  # pyright: ignore[reportArgumentType]

    # --- 1. Play episodes side by side ---

    def play(act: Any, command: Command, key: Array) -> Episodes:
        """Episodes with `act(key, obs, command) -> action [B]`; rewards are taken from what is asked for."""
        size = len(command.horizon)
        reset_key, run_key = jax.random.split(key)
        start = jax.vmap(env.reset_env, (0, None))(jax.random.split(reset_key, size), env_params)

        def step(carry: tuple, key: Array) -> tuple[tuple, tuple]:
            obs, state, command, going = carry
            act_key, env_key = jax.random.split(key)
            action = act(act_key, obs, command)
            keys = jax.random.split(env_key, size)
            next_obs, state, reward, terminated, _ = jax.vmap(env.step_env, (0, 0, 0, None))(
                keys, state, action, env_params
            )
            reward = jnp.where(going[:, None], reward.reshape(size, num_channels), 0).astype(jnp.float32)
            ended = terminated.astype(bool) | jax.vmap(env.is_truncated, (0, None))(state, env_params)
            command = Command(command.returns - reward, jnp.maximum(command.horizon - 1, 1))
            return (next_obs, state, command, going & ~ended), (obs, action, reward, going)

        obs, state = jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), start)
        first = (obs, state, command, jnp.ones(size, bool))
        _, rows = jax.lax.scan(step, first, jax.random.split(run_key, config.max_steps))
        obs, action, reward, going = jax.tree.map(lambda x: x.swapaxes(0, 1), rows)
        return Episodes(obs, action, reward, going.sum(1))

    def play_randomly(key: Array) -> Episodes:
        def act(key: Array, obs: PyTree, command: Command) -> Array:
            mask = prepare(obs_space, obs).mask
            free = mask_logits(jnp.zeros((len(command.horizon), action_space.n)), mask)
            return jax.random.categorical(key, free).astype(action_space.dtype)

        nothing = Command(jnp.zeros((config.first_episodes, num_channels)), jnp.ones(config.first_episodes))
        return play(act, nothing, key)

    def play_commanded(state: State, command: Command, key: Array, greedy: bool) -> Episodes:
        scale = scale_of(state.buffer)

        def act(key: Array, obs: PyTree, command: Command) -> Array:
            values, mask = logits(state.params, obs, command, scale), prepare(obs_space, obs).mask
            if greedy:
                return jnp.argmax(values, -1).astype(action_space.dtype)
            probability = jax.nn.softmax(values)
            legal = jnp.ones_like(probability) if mask is None else mask
            explored = (1 - config.epsilon) * probability + config.epsilon * legal / legal.sum(-1, keepdims=True)
            return jax.random.categorical(key, jnp.log(explored)).astype(action_space.dtype)

        return play(act, command, key)

    # --- 2. Keep the episodes near the front ---

    def keep(*parts: Episodes) -> Episodes:
        pool = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
        priority = pcn_priority(pool.returns, pool.valid, threshold=config.threshold)
        order = jnp.argsort(-priority, stable=True)[: config.buffer_size]
        return jax.tree.map(lambda x: x[order], pool)

    # --- 3. Learn to repeat them ---

    def gradient_step(carry: tuple, key: Array, buffer: Episodes, to_go: Array, scale: Array) -> tuple[tuple, Array]:
        params, opt_state = carry
        episode_key, step_key = jax.random.split(key)
        row = jax.random.randint(episode_key, (config.batch_size,), 0, buffer.valid.sum())  # `keep` puts them first
        length = buffer.length[row]
        t = jnp.floor(jax.random.uniform(step_key, (config.batch_size,)) * length).astype(jnp.int32)
        obs, action = jax.tree.map(lambda x: x[row, t], (buffer.obs, buffer.action))
        command = Command(to_go[row, t], (length - t).astype(jnp.float32))

        def loss(params: PyTree) -> Array:
            values = logits(params, obs, command, scale)
            return optax.softmax_cross_entropy_with_integer_labels(values, action).mean()

        value, grads = jax.value_and_grad(loss)(params)
        change, opt_state = optimiser.update(grads, opt_state, params)
        return (optax.apply_updates(params, change), opt_state), value

    def init(key: Array) -> State:
        net_key, play_key, run_key = jax.random.split(key, 3)
        first = play_randomly(play_key)
        empty = jax.tree.map(lambda x: jnp.zeros((config.buffer_size, *x.shape[1:]), x.dtype), first)
        buffer = keep(first, empty)
        vector = prepare(obs_space, jax.tree.map(lambda x: x[:1, 0], first.obs)).vector
        if vector is None:
            raise TypeError(f"PCN takes observations that are vectors; got {obs_space!r}")
        params = network.init(net_key, vector, jnp.zeros((1, num_channels + 1)))
        return State(params, optimiser.init(params), buffer, run_key)

    # --- 4. One update ---

    def update(state: State, data: None = None) -> tuple[State, dict[str, Any]]:
        del data  # PCN collects its own
        key, command_key, play_key, learn_key = jax.random.split(state.key, 4)
        to_go = returns_to_go_of(state.buffer)
        scale = scale_of(state.buffer)
        (params, opt_state), losses = jax.lax.scan(
            lambda carry, key: gradient_step(carry, key, state.buffer, to_go, scale),
            (state.params, state.optimiser),
            jax.random.split(learn_key, config.gradient_steps),
        )
        state = state._replace(params=params, optimiser=opt_state, key=key)
        keys = jax.random.split(command_key, config.num_episodes)
        returns, lengths, valid = state.buffer.returns, state.buffer.length.astype(jnp.float32), state.buffer.valid
        command = Command(*jax.vmap(lambda key: pcn_command(key, returns, lengths, valid))(keys))
        played = play_commanded(state, command, play_key, greedy=False)
        buffer = keep(state.buffer, played)
        count = jnp.full(num_channels, config.num_episodes)
        metrics = {
            "loss/policy": losses.mean(),
            "episode_return": Mean(played.returns.sum(0), count),
            "episode_length": Mean(played.length.sum(), jnp.asarray(config.num_episodes)),
            "environment_steps": played.length.sum().astype(jnp.float32),
            "front_size": nondominated_mask(buffer.returns, buffer.valid).sum().astype(jnp.float32),
        }
        return state._replace(buffer=buffer), metrics

    # --- 5. Show the front, and act ---

    def front(state: State) -> Front:
        best = nondominated_mask(state.buffer.returns, state.buffer.valid)
        command = Command(state.buffer.returns, state.buffer.length.astype(jnp.float32))
        played = play_commanded(state, command, jax.random.key(0), greedy=True)
        return Front(played.returns, best)

    def policy(state: State) -> Policy:
        buffer, scale = state.buffer, scale_of(state.buffer)
        best = nondominated_mask(buffer.returns, buffer.valid)
        row = jnp.argmax(jnp.where(best, jnp.sum(buffer.returns / scale[:-1], axis=-1), -jnp.inf))
        to_go, length = returns_to_go_of(buffer)[row], buffer.length[row]

        def act(key: Array, obs: PyTree, t: Array, reset: Array, greedy: bool = False) -> tuple[Array, Array]:
            t = jnp.where(reset, 0, t)
            now = jnp.minimum(t, length - 1)
            values = logits(state.params, obs, Command(to_go[now], (length - now).astype(jnp.float32)), scale)
            chosen = jnp.argmax(values, -1) if greedy else jax.random.categorical(key, values)
            return chosen.astype(action_space.dtype), t + 1

        return Policy(lambda batch_size: jnp.zeros(batch_size, jnp.int32), act)

    return Algorithm(init, update, policy, config.num_episodes * config.max_steps, channels, front=front)


def returns_to_go_of(episodes: Episodes) -> Array:
    """`[E, T, K]`: the sum of rewards from each step on."""
    reward = episodes.reward.swapaxes(0, 1)
    return returns_to_go(reward, 1.0, jnp.zeros(reward.shape, bool)).swapaxes(0, 1)
