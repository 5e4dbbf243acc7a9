"""OPPO (Kang et al., "Beyond Reward: Offline Preference-guided Policy Optimization", 2023).

Learns from segments and preferences between them, without a reward. An encoder gives each segment a context; a policy
of state and context imitates the segment, in hindsight; and one more context is drawn to those of preferred segments
and away from the others, as they are to and from it. The policy then acts in that context, made one of norm 1.

    queries = ...  # a PreferenceBatch of pairs: `rlx.reward.learned.draw_queries`, answered
    run = runtime.fit(oppo.make(oppo.Config(), env, env_params), total_steps=10_000, data=queries)
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.nets import Network, prepare
from rlx.nets.distribution import action_bounds, action_distribution, mask_logits
from rlx.reward import triplet_loss, unit_norm_loss
from rlx.runtime.problem import pose
from rlx.space import Box
from rlx.types import Algorithm, Array, Environment, Policy, PreferenceBatch, PyTree


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of OPPO. Floats may be traced (swept in one program); the rest fix the program's shape."""

    batch_size: int = 64  # pairs of segments in a gradient step; 64: ours
    context: int = 8  # numbers in a context; 8: the authors' code
    learning_rate: float = 1e-4  # of Adam, for encoder and policy; 1e-4: the authors' code
    context_learning_rate: float = 1e-3  # of Adam, for the preferred context; 1e-3: the authors' code
    preference_weight: float = 0.1  # of the triplet loss of segments, against imitation; 0.1: the authors' code
    norm_weight: float = 0.1  # of the contexts' distance from the unit sphere; 0.1: the authors' code
    margin: float = 1.0  # of the triplet loss; 1: the authors' code
    hidden: tuple[int, ...] = (128, 128)  # widths of the layers, encoder and policy each
    activation: Literal["tanh", "relu", "silu", "elu"] = "relu"
    layer_norm: bool = False  # after each layer, before the activation
    conv_features: int = 16  # channels of the 3x3 convolution that images go through

    def __post_init__(self) -> None:
        for name in ("batch_size", "context", "conv_features"):
            check.count(name, getattr(self, name))
        for name in ("learning_rate", "context_learning_rate"):
            check.positive(name, getattr(self, name))
        for name in ("preference_weight", "norm_weight", "margin"):
            check.in_range(name, getattr(self, name), 0.0)


class State(NamedTuple):
    """Everything that OPPO remembers between updates."""

    params: PyTree  # "encoder", "policy", "context" [D]
    optimiser: PyTree
    key: Array


def make(config: Config, env: Environment, env_params: Any = None) -> Algorithm:
    """OPPO for `env`, which gives spaces and is never stepped; its rewards are not read.

    `update(state, data)` is a gradient step on queries drawn from `data`, a `PreferenceBatch` of pairs with
    observations and actions (as the environment takes them). All candidates are imitated, those of queries with weight
    0 too: what nobody was asked about goes there. An update counts as one step, so that `fit(..., total_steps=n,
    data=queries)` takes n gradient steps. The encoder is a network of single steps, averaged over a segment; the paper
    has a transformer. A Box policy is deterministic and imitates by squared error, another one by cross-entropy.

    Raises:
      ValueError: for an unbounded Box or one not of rank 1; in `update`, without data, or for data that is not of pairs
        with observations and actions.
    """
    problem = pose(env, env_params, None, None, 1)
    obs_space, action_space = problem.obs_space, problem.action_space
    continuous = isinstance(action_space, Box)
    if continuous:
        action_bounds(action_space)  # refuses what has none
    dist = action_distribution(action_space)
    sizes = (config.hidden, config.activation, config.layer_norm, config.conv_features)
    encoder_network = Network(config.context, *sizes)
    policy_network = Network(dist.num_outputs // 2 if continuous else dist.num_outputs, *sizes)
    rates = {
        "encoder": config.learning_rate,
        "policy": config.learning_rate,
        "context": config.context_learning_rate,
    }
    optimiser = optax.partition(
        {part: optax.flatten(optax.adam(rate)) for part, rate in rates.items()}, {part: part for part in rates}
    )

    def encode(encoder: PyTree, segments: PreferenceBatch) -> Array:
        """Contexts `[S, D]` of `S` segments, leaves `[S, T, ...]`."""
        taken: Any = prepare(action_space, dist.from_env(segments.action)).vector  # pyright: ignore[reportArgumentType]
        steps, _ = encoder_network.apply(encoder, prepare(obs_space, segments.obs).beside(taken), (), None)
        count = jnp.maximum(jnp.sum(segments.mask, axis=1, keepdims=True), 1)
        return jnp.sum(jnp.where(segments.mask[..., None], steps, 0), axis=1) / count

    def decide(policy: PyTree, obs: PyTree, context: Array) -> Array:
        """What the policy puts out for leaves `[S, T, ...]` and contexts `[S, T, D]`: actions of a Box, or logits."""
        inputs = prepare(obs_space, obs).beside(context)
        found, _ = policy_network.apply(policy, inputs, (), None)
        return jnp.tanh(found) if continuous else mask_logits(found, inputs.mask)

    # --- 1. Learn ---

    def loss(params: PyTree, batch: PreferenceBatch) -> tuple[Array, dict[str, Any]]:
        """Encoder and policy imitate; contexts move to the preferred one, and it to theirs, each in its own term."""
        segments = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch._replace(target=None, weight=None))
        context = encode(params["encoder"], segments)
        everywhere = jnp.broadcast_to(context[:, None], (*segments.mask.shape, config.context))
        found, action = decide(params["policy"], segments.obs, everywhere), dist.from_env(segments.action)
        error = 0.5 * jnp.square(found - action).sum(-1) if continuous else -dist.log_prob(found, action)
        imitation = jnp.sum(jnp.where(segments.mask, error, 0)) / jnp.maximum(jnp.sum(segments.mask), 1)

        pair = context.reshape(-1, 2, config.context)
        weight: Any = batch.weight

        def preference(anchor: Array, pair: Array) -> Array:
            """Of the two orders, each as probable as the answer makes it."""
            first, second = pair[:, 0], pair[:, 1]
            orders = [
                triplet_loss(anchor, *x, config.margin, squared=False) for x in ((first, second), (second, first))
            ]
            each = weight * jnp.sum(batch.target * jnp.stack(orders, axis=1), axis=1)
            return jnp.sum(each) / jnp.maximum(jnp.sum(weight), 1)

        towards = preference(jax.lax.stop_gradient(params["context"]), pair)
        moved = preference(params["context"], jax.lax.stop_gradient(pair))
        norm = unit_norm_loss(context).mean()
        total = imitation + config.preference_weight * towards + config.norm_weight * norm + moved
        metrics = {"loss/imitation": imitation, "loss/preference": towards, "loss/context": moved, "loss/norm": norm}
        return total, metrics | {"context_norm": jnp.linalg.norm(params["context"])}

    def init(key: Array) -> State:
        encoder_key, policy_key, context_key, run_key = jax.random.split(key, 4)
        obs, action = (
            jax.tree.map(lambda x: jnp.zeros((1, 1, *x.shape), x.dtype), jax.eval_shape(space.sample, key))
            for space in (obs_space, action_space)
        )
        taken: Any = prepare(action_space, action).vector
        context = jax.random.normal(context_key, (config.context,))
        params = {
            "encoder": encoder_network.init(encoder_key, prepare(obs_space, obs).beside(taken), (), None),
            "policy": policy_network.init(policy_key, prepare(obs_space, obs).beside(context[None, None]), (), None),
            "context": context / jnp.linalg.norm(context),
        }
        return State(params, optimiser.init(params), run_key)

    # --- 2. One update ---

    def update(state: State, data: PreferenceBatch | None = None) -> tuple[State, dict[str, Any]]:
        if data is None:
            raise ValueError("data must be a PreferenceBatch of pairs; got None: fit(..., data=queries)")
        check.require(data.target.shape[1] == 2, "data.target", data.target.shape, "of shape [B, 2]")
        if data.obs is None or data.action is None:
            raise ValueError("data must have obs and action; one of them is None")
        key, row_key = jax.random.split(state.key)
        queries = data.target.shape[0]
        row = jax.random.randint(row_key, (config.batch_size,), 0, queries)
        weight = jnp.ones(queries) if data.weight is None else data.weight
        kept = PreferenceBatch(data.obs, data.action, data.mask, data.target, weight=weight)
        batch = jax.tree.map(lambda x: x[row], kept)
        grads, metrics = jax.grad(loss, has_aux=True)(state.params, batch)
        updates, opt_state = optimiser.update(grads, state.optimiser, state.params)
        return State(optax.apply_updates(state.params, updates), opt_state, key), metrics

    # --- 3. Act ---

    def policy(state: State) -> Policy:
        context = state.params["context"] / jnp.maximum(jnp.linalg.norm(state.params["context"]), 1e-8)

        def act(key: Array, obs: PyTree, memory: PyTree, reset: Array, greedy: bool = False) -> tuple[Array, PyTree]:
            everywhere = jnp.broadcast_to(context, (1, *reset.shape, config.context))
            found = decide(state.params["policy"], jax.tree.map(lambda x: x[None], obs), everywhere)[0]
            if continuous:
                return dist.to_env(found), memory
            return dist.to_env(dist.mode(found) if greedy else dist.sample(key, found)), memory

        return Policy(lambda batch_size: (), act)

    def with_learned(state: State, learned: PyTree) -> State:
        params, opt_state = learned
        return state._replace(params=params, optimiser=opt_state)

    return Algorithm(
        init, update, policy, 1, problem.channels, lambda state: (state.params, state.optimiser), with_learned
    )
