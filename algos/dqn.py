"""Deep Q-networks (Mnih et al., "Human-level control through deep reinforcement learning", 2015).

Discrete actions, with masks, over any number of reward channels: the network has a value of each action for each
channel, and the greedy action is that of their weighted sum. Double, dueling, n-step and prioritised replay are
switches, as in Hessel et al., "Rainbow: Combining Improvements in Deep Reinforcement Learning" (2018). So is what a
value is: a number, the logits of a histogram learned by classification (two_hot, hl_gauss, c51), or quantiles of the
return (qr, iqn); `rlx.nets.value_head` says how each learns.

With quantiles, and a stock in the observation (`rlx.envs.stock.Stock`), actions can maximise more than the mean: CVaR,
staying near a set point, any functional that survives the discount (D-eta-N: Pires et al., "Optimizing Return
Distributions with Distributional Dynamic Programming", 2025).

Where the observation holds a preference (`rlx.envs.wrappers.Preference`) one network serves all preferences: each
replayed step can be learned under several, with the targets of envelope Q-learning (Yang et al., "A Generalized
Algorithm for Multi-Objective Reinforcement Learning and Policy Adaptation", 2019) or without.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rlx import check, space
from rlx.nets import HeadKind, Network, QuantileNetwork, prepare, value_head
from rlx.nets.distribution import mask_logits
from rlx.runtime.problem import initial_weights, pose, prefixed, reweigh, under_preferences
from rlx.runtime.replay import (
    Priorities,
    Replay,
    Scored,
    add,
    add_priorities,
    capacity_for,
    importance_weights,
    init_priorities,
    init_replay,
    n_step,
    rows_of_all,
    sample_by_priority,
    sample_uniform,
    set_priorities,
    window,
)
from rlx.runtime.rollout import EnvBatch, EpisodeSums, finished_episodes, init_episode_sums, reset_batch, rollout
from rlx.space import Dict, Discrete
from rlx.types import Algorithm, Array, Environment, Mean, Policy, PyTree, RewardSource, Transition, Weighting
from rlx.value import (
    dueling,
    envelope_target,
    gpi_action,
    greedy_action,
    q_target,
    stock_greedy,
    take_action,
    td_loss,
)
from rlx.value.stock import Utility


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of DQN. Floats may be traced (swept in one program); the rest fix the program's shape."""

    num_envs: int = 8  # environments stepped side by side; 8: ours
    num_steps: int = 1  # steps of each environment in one update (the train frequency)
    gradient_steps: int = 1  # in one update
    batch_size: int = 128  # steps in one gradient step; 128: CleanRL
    buffer_size: int = 50_000  # steps that the replay holds, rounded up to whole updates
    learning_starts: int = 1_000  # environment steps with random actions that `init` takes, rounded up to whole updates
    learning_rate: float = 2.5e-4  # of Adam; 2.5e-4: CleanRL
    max_grad_norm: float = 10.0  # norm at which the gradient is clipped; 10: Wang et al. 2016
    discount: float = 0.99  # per step, for channels that do not say
    n_step: int = 1  # rewards in a target; the steps after the first are off-policy, and not corrected for it
    double: bool = True  # choose the target's action with the online network (van Hasselt et al. 2016)
    dueling: bool = False  # a state value and advantages as heads on one torso (Wang et al. 2016)
    head: HeadKind = "mean"  # what the network says of a return: its mean, or a distribution
    atoms: int = 51  # numbers for each action in a head that is not "mean"; 51: C51 (QR-DQN has 200, IQN 8)
    low: float = -10.0  # least return of the support of two_hot, hl_gauss and c51; -10: C51
    high: float = 10.0  # greatest; centre the support on the returns, since learning begins in its middle
    utility: Utility = "mean"  # of the stock and the return, which actions maximise: "cvar", "homeostatic", a callable
    # Where errors are far above `huber`, values follow the median of their targets, and overshoot.
    # None: squared (CleanRL; Mnih et al. have 1), and 1 for quantiles (QR-DQN)
    huber: float | None = None  # error beyond which the loss is linear
    tau: float = 1.0  # how far the target network moves towards the online one; 1: a copy
    target_period: int = 100  # gradient steps from one such move to the next; 1 with a small tau: Polyak averaging
    epsilon_start: float = 1.0  # probability of a random action at the first update
    epsilon_end: float = 0.05  # the same from `epsilon_steps` on; 0.05: CleanRL
    epsilon_steps: int = 50_000  # environment steps over which it falls linearly
    prioritised: bool = False  # sample by priority |TD error| (Schaul et al. 2016), else uniformly
    priority_exponent: float = 0.6  # 0: uniform; 0.6: the same paper
    importance_start: float = 0.4  # exponent of the importance weights at the first update; 0.4: the same
    importance_steps: int = 500_000  # environment steps over which it rises linearly to 1
    # preferences (or stocks, from others of the batch) drawn for each replayed step, to learn it under
    relabel: int = 0  # 0: that under which it was taken
    envelope: bool = False  # the target maximises over those preferences too (Yang et al. 2019)
    homotopy_steps: int | None = None  # gradient steps over which the loss turns into that of the weighted sum; None: 0
    improve: bool = False  # act by the best of the policies for the preferences that env_params list (GPI)
    hidden: tuple[int, ...] = (128, 128)  # widths of the layers
    activation: Literal["tanh", "relu", "silu", "elu"] = "relu"
    layer_norm: bool = False  # after each layer, before the activation
    conv_features: int = 16  # channels of the 3x3 convolution that images go through

    def __post_init__(self) -> None:
        for name in ("num_envs", "num_steps", "gradient_steps", "batch_size", "buffer_size", "n_step", "target_period"):
            check.count(name, getattr(self, name))
        for name in ("epsilon_steps", "importance_steps", "conv_features"):
            check.count(name, getattr(self, name))
        check.count("learning_starts", self.learning_starts, 0)
        check.positive("learning_rate", self.learning_rate)
        check.positive("max_grad_norm", self.max_grad_norm)
        for name in ("discount", "epsilon_start", "epsilon_end", "priority_exponent", "importance_start"):
            check.in_range(name, getattr(self, name), 0.0, 1.0)
        check.in_range("tau", self.tau, 0.0, 1.0, open_low=True)
        if self.huber is not None:
            check.positive("huber", self.huber)
        check.count("relabel", self.relabel, 0)
        check.require(self.relabel > 0 or not self.envelope, "relabel", self.relabel, "at least 1 with envelope")
        if self.homotopy_steps is not None:
            check.count("homotopy_steps", self.homotopy_steps)
        head = value_head(self.head, self.atoms, self.low, self.high, self.huber)
        check.require(not self.envelope or head.target is None, "head", self.head, "one of a scalar target (envelope)")
        scalar = self.head == "mean" or self.homotopy_steps is None
        check.require(scalar, "head", self.head, "'mean' with homotopy_steps")
        allowed = "'qr' or 'iqn' with a utility other than 'mean'"
        check.require(self.utility == "mean" or head.levels is not None, "head", self.head, allowed)
        allowed = "'mean', 'cvar', 'homeostatic' or a callable"
        known = callable(self.utility) or self.utility in ("mean", "cvar", "homeostatic")
        check.require(known, "utility", self.utility, allowed)


class Learner(NamedTuple):
    """What a gradient step changes."""

    params: PyTree
    target_params: PyTree
    optimiser: PyTree
    priorities: Priorities | None  # with prioritised replay
    gradient_steps: Array  # int32 []: taken so far


class State(NamedTuple):
    """Everything that DQN remembers between updates."""

    learner: Learner
    replay: Replay  # of `Scored`
    envs: EnvBatch
    episodes: EpisodeSums
    source: PyTree
    weighting: PyTree
    weights: Array  # [K] of the channels
    updates: Array  # int32 []: taken so far, on which the schedules depend
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
    """DQN on `env`, for the channels of `rewards` (by default the environment's) combined by `weighting` (their sum).

    `init` fills the replay with `learning_starts` steps of uniformly random actions, so that `update` learns from the
    first on and needs no branch: after n updates `learning_starts + n * steps_per_update` environment steps have been
    taken, the former rounded up to a multiple of `steps_per_update`.

    With `replay_axis` the functions must run under a mapped axis of that name, whose learners learn from the steps of
    all: each holds the same replay, of `buffer_size` steps in all.

    Raises:
      TypeError: for an action space that is not Discrete.
      ValueError: for a channel that is not episodic, a weighting that needs policy gradients, or `relabel` and
        `improve` without a preference in the observation.
    """
    problem = pose(env, env_params, rewards, weighting, config.num_envs, continuing=False)
    env_params, obs_space, action_space, rewards, channels, weighting, spec = problem
    num_channels = len(channels)
    if not isinstance(action_space, Discrete):
        raise TypeError(f"DQN takes Discrete actions; got {action_space!r}: use ppo, or for a Box sac")
    gamma = problem.discounts(config.discount)
    stocked = isinstance(obs_space, Dict) and space.STOCK in obs_space.spaces
    problem.require_preference(relabel=0 if stocked else config.relabel, improve=config.improve)
    if config.utility != "mean":
        require_stock(config, env, stocked, num_channels)

    steps_per_update = config.num_envs * config.num_steps
    num_heads = action_space.n + config.dueling
    head = value_head(config.head, config.atoms, config.low, config.high, config.huber)
    layers = (config.hidden, config.activation, config.layer_norm, config.conv_features)
    network = Network(num_heads * num_channels * head.size, *layers)
    quantile_network = QuantileNetwork(num_heads * num_channels, *layers)  # for iqn
    optimiser = optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm),
        optax.flatten(optax.adam(config.learning_rate)),  # one step on one vector, in place of many on small arrays
    )

    def epsilon(updates: Array) -> Array:
        progress = updates * (steps_per_update / config.epsilon_steps)
        return ramp(config.epsilon_start, config.epsilon_end, progress)

    def numbers(params: PyTree, obs: PyTree, levels: Array | None = None) -> tuple[Array, Array | None]:
        """The network's numbers for each action `[N, A, K, M]`, and the mask of legal actions `[N, A]`, or None.

        With `levels [N, M]` they are quantiles at those.
        """
        inputs = prepare(obs_space, obs)
        if config.head == "iqn":
            size = jax.tree.leaves(inputs)[0].shape[0]
            levels = jnp.broadcast_to(head.levels, (size, head.size)) if levels is None else levels
            heads: Any = quantile_network.apply(params, inputs._replace(mask=None), levels)
            heads = jnp.moveaxis(heads, 1, -1)
        else:
            heads, _ = network.apply(params, jax.tree.map(lambda x: x[None], inputs), (), None)
        heads = heads.reshape(-1, num_heads, num_channels, head.size)
        return dueling(heads[:, 0], heads[:, 1:], axis=-3) if config.dueling else heads, inputs.mask

    def q_values(params: PyTree, obs: PyTree) -> tuple[Array, Array | None]:
        """Action values `[N, A, K]` and the mask."""
        found, mask = numbers(params, obs)
        return head.value(found), mask

    def best(found: Array, weights: Array, obs: PyTree, mask: Array | None) -> Array:
        """The greedy actions `[N]` of numbers `[N, A, K, M]`."""
        if config.utility != "mean":
            return stock_greedy(found[:, :, 0], obs[space.STOCK], config.utility, mask)
        return greedy_action(head.value(found), mask, weights=weights)

    def of_action(found: Array, action: Array) -> Array:
        """`[N, K, M]`."""
        return take_action(found.reshape(*found.shape[:2], -1), action).reshape(-1, *found.shape[2:])

    def greedy(params: PyTree, weights: Array, obs: PyTree) -> tuple[Array, Array | None]:
        """Greedy actions `[N]` and the mask of legal ones."""
        weights = problem.channel_weights(weights, obs)
        if not config.improve:
            found, mask = numbers(params, obs)
            return best(found, weights, obs, mask), mask
        size = weights.shape[0]
        listed, exists = env_params.listed()
        q, mask = q_values(params, under_preferences(obs, jnp.broadcast_to(listed, (size, *listed.shape))))
        q = q.reshape(size, len(listed), *q.shape[1:])
        possible = jnp.broadcast_to(exists[:, None], q.shape[:-1])
        if mask is not None:
            mask = mask.reshape(possible.shape)
            possible, mask = possible & mask, mask[:, 0]
        return gpi_action(q, weights, possible), mask

    def epsilon_greedy(params: PyTree, weights: Array, key: Array, obs: PyTree, epsilon: Array | float) -> Array:
        random_key, choice_key = jax.random.split(key)
        action, mask = greedy(params, weights, obs)
        random = jax.random.categorical(random_key, mask_logits(jnp.zeros((*action.shape, action_space.n)), mask))
        explore = jax.random.uniform(choice_key, random.shape) < epsilon
        return jnp.where(explore, random, action).astype(action_space.dtype)

    # --- 1. Collect, score and store ---

    def collect(
        params: PyTree, weights: Array, envs: EnvBatch, key: Array, epsilon: Array | float
    ) -> tuple[EnvBatch, Transition]:
        def act(key: Array, obs: PyTree) -> tuple[Array, Array]:
            return epsilon_greedy(params, weights, key, obs, epsilon), jnp.zeros(config.num_envs)

        return rollout(env, env_params, key, envs, config.num_steps, act)

    def interact(state: State, key: Array, epsilon: Array | float) -> tuple[State, Transition, Mean, Mean]:
        collect_key, compute_key = jax.random.split(key)
        envs, batch = collect(state.learner.params, state.weights, state.envs, collect_key, epsilon)
        reward, source = rewards.compute(state.source, batch, compute_key)
        episodes, returns, lengths = finished_episodes(state.episodes, reward, batch.terminated | batch.truncated)
        learner = state.learner
        if learner.priorities is not None:
            learner = learner._replace(priorities=add_priorities(learner.priorities, state.replay, config.num_steps))
        replay = add(state.replay, rows_of_all(Scored(batch, reward), replay_axis))
        state = state._replace(learner=learner, replay=replay, envs=envs, episodes=episodes, source=source)
        return state, batch, returns, lengths

    # --- 2. Sample ---

    def sample(state: State, learner: Learner, key: Array) -> tuple[Array, Scored, Array, Array]:
        """Items `[N]`, their `n_step` rows `[n, N, ...]`, which of those are stored, and importance weights `[N]`."""
        if learner.priorities is None:
            index = sample_uniform(state.replay, key, config.batch_size)
            weight = jnp.ones(config.batch_size)
        else:
            index, probability = sample_by_priority(learner.priorities, key, config.batch_size)
            progress = state.updates * (steps_per_update / config.importance_steps)
            exponent = ramp(config.importance_start, 1.0, progress)
            num_items = state.replay.size * state.replay.rows.reward.shape[1]
            weight = importance_weights(probability, num_items, exponent)
        return index, *window(state.replay, index, config.n_step), weight

    # --- 3. Learn ---

    def gradient_step(state: State, learner: Learner, key: Array) -> tuple[Learner, dict[str, Array]]:
        sample_key, score_key, preference_key = jax.random.split(key, 3)
        index, rows, stored, weight = sample(state, learner, sample_key)
        steps = rows.step
        reward = rows.reward
        if rewards.rescore is not None:
            reward = rewards.rescore(state.source, steps, reward, score_key)
        reward, discount, last = n_step(reward, steps.terminated, steps.truncated, stored, gamma)
        next_obs = jax.tree.map(lambda x: x[last, jnp.arange(config.batch_size)], steps.next_obs)
        obs, action = jax.tree.map(lambda x: x[0], (steps.obs, steps.action))
        if config.relabel and stocked:
            repeated = [jnp.repeat(x, config.relabel, axis=0) for x in (reward, discount, action, weight)]
            reward, discount, action, weight = repeated
            obs, next_obs = under_stocks(preference_key, obs, next_obs, reward, discount, config.relabel)
        elif config.relabel:
            drawn = env.sample_preferences(preference_key, env_params, config.batch_size * config.relabel)
            preferences = drawn.reshape(config.batch_size, config.relabel, -1)
            obs, next_obs = under_preferences(obs, preferences), under_preferences(next_obs, preferences)
            repeated = (reward, discount, action, weight)
            reward, discount, action, weight = (jnp.repeat(x, config.relabel, axis=0) for x in repeated)
        weights = problem.channel_weights(state.weights, obs)
        next_numbers, mask = numbers(learner.target_params, next_obs)
        online_numbers = numbers(learner.params, next_obs)[0] if config.double else next_numbers
        if head.target is not None:
            after = of_action(next_numbers, best(online_numbers, weights, next_obs, mask))
            target = head.target(reward, discount, after)
        elif config.envelope:
            sets = [
                x if x is None else x.reshape(config.batch_size, config.relabel, *x.shape[1:])
                for x in (head.value(online_numbers), head.value(next_numbers), reward, discount, weights, mask)
            ]
            online, slow, reward, discount, preferred, mask = sets
            target = envelope_target(online, slow, reward[:, 0], discount[:, 0], preferred, config.double, mask)
            target = target.reshape(-1, num_channels)
        else:
            online, slow = head.value(online_numbers), head.value(next_numbers)
            target = q_target(online, slow, reward, discount, config.double, mask, weights=weights)
        levels = head.levels
        if config.head == "iqn":
            levels = jax.random.uniform(jax.random.fold_in(key, 0), (len(action), 1, head.size))

        def loss(params: PyTree) -> tuple[Array, tuple[Array, Array]]:
            drawn = levels[:, 0] if config.head == "iqn" else None
            taken = of_action(numbers(params, obs, drawn)[0], action)
            q = head.value(taken)
            losses = (weight[:, None] * head.loss(taken, target, levels)).mean(0)
            total = losses.sum()
            if config.homotopy_steps is not None:
                of_sum = td_loss(jnp.sum(weights * q, -1), jnp.sum(weights * target, -1), huber=config.huber)
                turned = jnp.minimum(learner.gradient_steps / config.homotopy_steps, 1.0)
                total = (1.0 - turned) * total + turned * (weight * of_sum).mean()
            return total, (losses, q)

        grads, (losses, q) = jax.grad(loss, has_aux=True)(learner.params)
        updates, opt_state = optimiser.update(grads, learner.optimiser, learner.params)
        params = optax.apply_updates(learner.params, updates)
        count = learner.gradient_steps + 1
        # a branch would cost as much under vmap, where both sides of one are computed
        move = jnp.where(count % config.target_period == 0, config.tau, 0.0)
        target_params = optax.incremental_update(params, learner.target_params, move)
        priorities = learner.priorities
        if priorities is not None:
            error = (
                jnp.abs(jnp.sum((head.target_mean(target) - q) * weights, axis=-1))
                .reshape(config.batch_size, -1)
                .max(1)
                + 1e-6
            )
            priorities = set_priorities(priorities, index, error**config.priority_exponent)
        metrics = {"loss/value": losses, "q_value": q.mean(0)}
        if head.clipped is not None:
            metrics["clipped_targets"] = head.clipped(target).mean(0)  # beyond the support
        return Learner(params, target_params, opt_state, priorities, count), metrics

    # --- 4. Begin: fill the replay at random ---

    def init(key: Array) -> State:
        net_key, source_key, env_key, fill_key, run_key = jax.random.split(key, 5)
        envs = reset_batch(env, env_params, env_key, config.num_envs)
        inputs = prepare(obs_space, envs.obs)
        if config.head == "iqn":
            levels = jnp.broadcast_to(head.levels, (config.num_envs, head.size))
            params = quantile_network.init(net_key, inputs._replace(mask=None), levels)
        else:
            params = network.init(net_key, jax.tree.map(lambda x: x[None], inputs), (), None)
        weights, weighting_state = initial_weights(weighting, num_channels)

        def first_rows() -> Scored:
            _, batch = collect(params, weights, envs, fill_key, 1.0)
            return rows_of_all(Scored(batch, jnp.zeros((*batch.terminated.shape, num_channels))), replay_axis)

        rows = jax.eval_shape(first_rows)
        capacity = capacity_for(rows, config.buffer_size)
        learner = Learner(
            params,
            jax.tree.map(jnp.copy, params),
            optimiser.init(params),
            init_priorities(capacity * rows.reward.shape[1]) if config.prioritised else None,
            jnp.zeros((), jnp.int32),
        )
        state = State(
            learner,
            init_replay(rows, capacity),
            envs,
            init_episode_sums(config.num_envs, num_channels),
            rewards.init(source_key, spec),
            weighting_state,
            weights,
            jnp.zeros((), jnp.int32),
            run_key,
        )
        fill_keys = jax.random.split(fill_key, math.ceil(config.learning_starts / steps_per_update))
        return jax.lax.scan(lambda state, key: (interact(state, key, 1.0)[0], None), state, fill_keys)[0]

    # --- 5. One update ---

    def update(state: State, data: None = None) -> tuple[State, dict[str, Any]]:
        del data  # DQN collects its own
        key, interact_key, learn_key, source_key = jax.random.split(state.key, 4)
        state, batch, returns, lengths = interact(state, interact_key, epsilon(state.updates))
        learner, metrics = jax.lax.scan(
            lambda learner, key: gradient_step(state, learner, key),
            state.learner,
            jax.random.split(learn_key, config.gradient_steps),
        )
        source, source_metrics = rewards.update(state.source, batch, source_key)
        weights, weighting_state, weighting_metrics = reweigh(weighting, state.weighting, returns)
        metrics = jax.tree.map(lambda m: m.mean(0), metrics)
        metrics |= prefixed("source", source_metrics) | weighting_metrics
        metrics |= {"episode_return": returns, "episode_length": lengths, "epsilon": epsilon(state.updates)}
        state = state._replace(
            learner=learner,
            source=source,
            weighting=weighting_state,
            weights=weights,
            updates=state.updates + 1,
            key=key,
        )
        return state, metrics

    # --- 6. Act ---

    def policy(state: State) -> Policy:
        def act(key: Array, obs: PyTree, memory: PyTree, reset: Array, greedy: bool = False) -> tuple[Array, PyTree]:
            del reset  # no memory
            rate = 0.0 if greedy else epsilon(state.updates)
            return epsilon_greedy(state.learner.params, state.weights, key, obs, rate), memory

        return Policy(lambda batch_size: (), act)

    def learned(state: State) -> Learner:
        return state.learner._replace(priorities=None)

    def with_learned(state: State, learned: Learner) -> State:
        return state._replace(learner=learned._replace(priorities=state.learner.priorities))

    return Algorithm(init, update, policy, steps_per_update, channels, learned, with_learned)


def ramp(start: Array | float, end: Array | float, progress: Array) -> Array:
    """Linear from `start` at progress 0 to `end` at 1, and constant from there on."""
    return start + (end - start) * jnp.minimum(progress, 1.0)


def require_stock(config: Config, env: Environment, stocked: bool, num_channels: int) -> None:
    """Refuse a utility of the return where actions cannot maximise it."""
    allowed = "one with a stock in the observation (rlx.envs.stock.Stock)"
    check.require(stocked, "env", env, f"{allowed}, for the utility {config.utility!r}")
    check.require(num_channels == 1, "the number of channels", num_channels, f"1 with the utility {config.utility!r}")
    own = getattr(env, "discount", config.discount)
    same = isinstance(config.discount, jax.Array) or own == config.discount
    check.require(same, "discount", config.discount, f"{own}, that of the stock in the observation")


def under_stocks(
    key: Array, obs: PyTree, next_obs: PyTree, reward: Array, discount: Array, count: int
) -> tuple[PyTree, PyTree]:
    """Steps `[N]` under `count` stocks each, those of other steps: their dynamics do not depend on it. `[N count]`.

    `reward` and `discount` are those of the repeated steps `[N count, 1]`. Where a step terminates its next stock has
    no meaning.
    """
    repeat = lambda tree: jax.tree.map(lambda x: jnp.repeat(x, count, axis=0), tree)  # noqa: E731
    stock = jax.random.choice(key, obs[space.STOCK], (len(reward),))
    after = (stock + reward[:, 0]) / jnp.where(discount > 0, discount, 1.0)[:, 0]
    return {**repeat(obs), space.STOCK: stock}, {**repeat(next_obs), space.STOCK: after}
