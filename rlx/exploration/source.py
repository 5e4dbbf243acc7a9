"""Exploration bonuses as reward sources."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.exploration.count import count_bonus, simhash
from rlx.exploration.distillation import distill_bonus, distill_loss
from rlx.nets import Inputs, Torso, prepare
from rlx.reward import init_moments, normalise, normalise_by_return, update_moments
from rlx.space import Space, example
from rlx.types import Array, Channel, EnvSpec, PyTree, RewardSource, Transition


class RNDState(NamedTuple):
    """State of `rnd`."""

    predictor: PyTree
    target: PyTree  # never trained
    optimiser: PyTree
    observations: PyTree  # running moments of each part of the observation
    returns: PyTree  # of the reward normaliser


class _Features(nn.Module):
    """A torso and a linear layer."""

    hidden: Sequence[int]
    size: int

    @nn.compact
    def __call__(self, inputs: Inputs) -> Array:
        x = Torso(self.hidden, activation="relu")(inputs)
        return nn.Dense(self.size, kernel_init=nn.initializers.orthogonal(2**0.5))(x)


def rnd(
    *,
    discount: float | Array = 0.99,
    episodic: bool = False,
    hidden: Sequence[int] = (64,),
    features: int = 32,
    learning_rate: float | Array = 3e-4,
    num_epochs: int = 4,
    num_minibatches: int = 4,
    keep: float = 1.0,
    obs_clip: float = 5.0,
    name: str = "rnd",
    axis_name: Hashable | None = None,
) -> RewardSource:
    """Random network distillation: the error in predicting a fixed random network's features of the next observation.

    `compute` takes the batch into the running moments of observations, normalises `next_obs` by them, and divides the
    `distill_bonus` by the running deviation of its forward discounted return (no mean is subtracted). `update` trains the
    predictor on the batch. Metric: `<name>/loss`, the predictor's mean loss during `update`.

    The channel is memoryless: replayed transitions are scored by the predictor and the statistics of the moment.

    Args:
      discount: of the channel, and of the return that the bonus is divided by.
      episodic: whether the channel's value ends with the episode. Novelty found in the next episode is worth the same, and an
        episodic bonus makes dying costly; hence False.
      hidden: widths of the target's layers; the predictor has two more, as wide as the last.
      features: size of the output.
      learning_rate: of the predictor's Adam.
      num_epochs: passes over the batch in one `update`.
      num_minibatches: gradient steps in a pass, each on rows a fixed stride apart.
      keep: share of rows, drawn anew at each step, that the predictor learns from; 32 / num_envs in the paper.
      obs_clip: normalised observations are clipped to +-obs_clip. Without normalising, the bonus nearly vanishes.
      name: of the channel.
      axis_name: mapped axis over whose shards gradients and statistics are taken.

    Source: Burda et al., "Exploration by Random Network Distillation", 2018. Differs from it: the moments of observations
    start with the first batch instead of a warm-up of random actions, and defaults are for small observations (the paper
    has a convolutional target, 512 features, learning rate 1e-4).
    """
    for label, number in (("features", features), ("num_epochs", num_epochs), ("num_minibatches", num_minibatches)):
        check.count(label, number)
    check.require(len(hidden) > 0, "hidden", hidden, "at least one width")
    check.in_range("keep", keep, 0.0, 1.0, open_low=True)
    check.positive("learning_rate", learning_rate)
    check.positive("obs_clip", obs_clip)
    target = _Features(tuple(hidden), features)
    predictor = _Features((*hidden, hidden[-1], hidden[-1]), features)
    optimiser = optax.adam(learning_rate)
    reward_scale = normalise_by_return(discount, episodic=episodic, axis_name=axis_name)

    def over_shards(x: PyTree) -> PyTree:
        return x if axis_name is None else jax.lax.psum(x, axis_name)

    def normalised(state: RNDState, inputs: Inputs) -> Inputs:
        return jax.tree.map(lambda x, m: normalise(x, m, obs_clip), inputs, state.observations)

    def init(key: Array, spec: EnvSpec) -> RNDState:
        target_key, predictor_key = jax.random.split(key)
        moments = _init_moments(spec.observation_space)
        inputs = _to_inputs(jax.tree.map(lambda m: m.mean[None, None], moments, is_leaf=_is_moments))
        params = predictor.init(predictor_key, inputs)
        return RNDState(params, target.init(target_key, inputs), optimiser.init(params), moments, reward_scale.init(spec, 1))

    def read(state: RNDState, batch: Transition) -> Inputs:
        parts = _encode(state.observations, batch.next_obs)
        return _to_inputs(jax.tree.map(lambda m, x: normalise(x, m, obs_clip), state.observations, parts, is_leaf=_is_moments))

    def compute(state: RNDState, batch: Transition, key: Array) -> tuple[Array, RNDState]:
        del key
        observations = jax.tree.map(
            lambda m, x: update_moments(m, x, axis_name=axis_name),
            state.observations,
            _encode(state.observations, batch.next_obs),
            is_leaf=_is_moments,
        )
        state = state._replace(observations=observations)
        inputs = read(state, batch)
        bonus = distill_bonus(predictor.apply(state.predictor, inputs), target.apply(state.target, inputs))
        rewards, returns = reward_scale.apply(state.returns, bonus[..., None], batch)
        return rewards, state._replace(returns=returns)

    def loss(params: PyTree, inputs: Inputs, wanted: Array, weight: Array) -> Array:
        return jnp.sum(weight * distill_loss(predictor.apply(params, inputs), wanted))

    def update(state: RNDState, batch: Transition, key: Array) -> tuple[RNDState, dict[str, Any]]:
        num_rows = batch.terminated.size
        check.divides("num_minibatches", num_minibatches, "rows of the batch", num_rows)
        inputs = read(state, batch)
        rows = (inputs, target.apply(state.target, inputs))
        # minibatch i takes rows i, i + num_minibatches, ...
        minibatches = jax.tree.map(
            lambda x: x.reshape(num_rows // num_minibatches, num_minibatches, *x.shape[2:]).swapaxes(0, 1), rows
        )

        def step(carry: tuple[PyTree, PyTree], xs: tuple[tuple[Inputs, Array], Array]) -> tuple[tuple[PyTree, PyTree], Array]:
            params, opt_state = carry
            (inputs, wanted), key = xs
            kept = jax.random.bernoulli(key, keep, wanted.shape[:1]).astype(jnp.float32)
            weight = kept / jnp.maximum(over_shards(kept.sum()), 1.0)
            value, gradient = over_shards(jax.value_and_grad(loss)(params, inputs, wanted, weight))
            updates, opt_state = optimiser.update(gradient, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), value

        def epoch(carry: tuple[PyTree, PyTree], key: Array) -> tuple[tuple[PyTree, PyTree], Array]:
            return jax.lax.scan(step, carry, (minibatches, jax.random.split(key, num_minibatches)))

        (params, opt_state), losses = jax.lax.scan(
            epoch, (state.predictor, state.optimiser), jax.random.split(key, num_epochs)
        )
        return state._replace(predictor=params, optimiser=opt_state), {f"{name}/loss": losses.mean()}

    return RewardSource(init, compute, update, (Channel(name, discount=discount, episodic=episodic),))


class CountState(NamedTuple):
    """State of `count`."""

    projection: Array  # [D, bits]
    visits: Array  # [2 ** bits]


def count(
    *,
    bits: int = 16,
    discount: float | Array = 0.99,
    episodic: bool = False,
    name: str = "count",
    axis_name: Hashable | None = None,
) -> RewardSource:
    """Visit counts of hashed next observations: bonus `1 / sqrt(n)`, `n` = visits in earlier batches and the present one.

    Visits within a batch count from the next batch on (`update` adds them), so the bonus does not depend on the order of
    environments, and replayed transitions are scored without being counted again.

    Args:
      bits: of the hash (`simhash`); the table has 2 ** bits float32 entries. Two one-hot vectors fall together with
        probability 2 ** -bits. An entry stops counting at 2 ** 24 when it is visited once a batch.
      discount: of the channel.
      episodic: as in `rnd`.
      name: of the channel.
      axis_name: mapped axis over whose shards visits are added up.

    Source: Tang et al., "#Exploration: A Study of Count-Based Exploration for Deep Reinforcement Learning", 2017.
    """
    check.count("bits", bits)
    check.require(bits <= 24, "bits", bits, "at most 24 (a table of 16 million entries)")

    def init(key: Array, spec: EnvSpec) -> CountState:
        parts = jax.tree.map(lambda m: m.mean.size, _init_moments(spec.observation_space), is_leaf=_is_moments)
        return CountState(jax.random.normal(key, (sum(jax.tree.leaves(parts)), bits)), jnp.zeros(2**bits))
    ...
