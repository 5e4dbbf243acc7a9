"""Exploration bonuses as reward sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.exploration.count import count_bonus, simhash
from rlx.exploration.distillation import distill_bonus, distill_loss
from rlx.nets import Inputs, Torso
from rlx.nets.network import orthogonal
from rlx.reward import RunningMoments, chain, init_moments, normalise, normalise_by_return, update_moments
from rlx.space import ACTION_MASK, Dict, Discrete, MultiDiscrete, Space
from rlx.types import Array, Channel, EnvSpec, PyTree, RewardSource, Transition


class Features(nn.Module):
    """A torso and a linear layer."""

    hidden: Sequence[int]
    size: int

    @nn.compact
    def __call__(self, inputs: Inputs) -> Array:
        x = Torso(self.hidden, activation="relu")(inputs)
        return nn.Dense(self.size, kernel_init=orthogonal(2**0.5))(x)


def apply(module: nn.Module, params: PyTree, inputs: Inputs) -> Any:
    return module.apply(params, inputs)


class RNDState(NamedTuple):
    """State of `rnd`, without that of its reward normaliser."""

    predictor: PyTree
    target: PyTree  # drawn once, never trained
    optimiser: PyTree
    observations: list[RunningMoments]  # of each part of the observation


def rnd(
    *,
    discount: Array | float = 0.99,
    episodic: bool = False,
    hidden: tuple[int, ...] = (64,),
    features: int = 32,
    learning_rate: Array | float = 1e-3,
    num_epochs: int = 1,
    num_minibatches: int = 4,
    keep: float = 1.0,
    obs_clip: float = 5.0,
    name: str = "rnd",
    axis_name: str | None = None,
) -> RewardSource:
    """Random network distillation: the error in predicting a fixed random network's features of the next observation.

    `compute` takes the batch into the running moments of observations, normalises `next_obs` by them, and divides
    `distill_bonus` by the running deviation of its discounted return. `update` trains the predictor on the batch; its
    metric is the mean `loss`. Replayed transitions are scored by the newest predictor.

    Args:
      discount: of the channel, and of the return that the bonus is divided by.
      episodic: whether the channel's value ends with the episode. What the next episode may find is worth as much, and
        an episodic bonus would make every ending costly; hence False.
      hidden: widths of the target's layers; the predictor has two more, as wide as the last.
      features: how many numbers are predicted.
      learning_rate: of the predictor's Adam.
      num_epochs: passes over the batch in one `update`.
      num_minibatches: gradient steps in a pass; the i-th takes rows i, i + num_minibatches, ...
      keep: share of the rows, drawn anew at each step, that the predictor learns from; 32 / num_envs in the paper.
      obs_clip: bound on the normalised observations.
      name: of the channel.
      axis_name: mapped axis over whose shards gradients and statistics are taken.

    Raises:
      ValueError: for an option out of range; in `update`, if `num_minibatches` does not divide the steps of a batch.

    Source: Burda et al., "Exploration by Random Network Distillation" (2018). Differs from it: the moments of
    observations start with the first batch, not with a warm-up of random actions; sizes suit small observations (the
    paper: a convolutional target with 512 features, learning rate 1e-4).
    """
    for label, number in (("features", features), ("num_epochs", num_epochs), ("num_minibatches", num_minibatches)):
        check.count(label, number)
    check.require(len(hidden) > 0, "hidden", hidden, "one width or more")
    check.positive("learning_rate", learning_rate)
    check.in_range("keep", keep, 0.0, 1.0, open_low=True)
    check.positive("obs_clip", obs_clip)
    target = Features(hidden, features)
    predictor = Features((*hidden, hidden[-1], hidden[-1]), features)
    optimiser = optax.adam(learning_rate)

    def init(key: Array, spec: EnvSpec) -> RNDState:
        target_key, predictor_key = jax.random.split(key)
        moments = [init_moments(shape) for shape in encoded_shapes(spec.observation_space)]
        inputs = to_inputs([m.mean[None, None] for m in moments])
        params = predictor.init(predictor_key, inputs)
        return RNDState(params, target.init(target_key, inputs), optimiser.init(params), moments)

    def read(state: RNDState, batch: Transition) -> Inputs:
        parts = encode(batch.next_obs, [m.mean.shape for m in state.observations])
        return to_inputs([normalise(x, m, obs_clip) for x, m in zip(parts, state.observations, strict=True)])

    def score(state: RNDState, batch: Transition) -> Array:
        inputs = read(state, batch)
        return distill_bonus(apply(predictor, state.predictor, inputs), apply(target, state.target, inputs))[..., None]

    def compute(state: RNDState, batch: Transition, key: Array) -> tuple[Array, RNDState]:
        del key
        parts = encode(batch.next_obs, [m.mean.shape for m in state.observations])
        moments = [update_moments(m, x, axis_name=axis_name) for m, x in zip(state.observations, parts, strict=True)]
        state = state._replace(observations=moments)
        return score(state, batch), state

    def loss(params: PyTree, inputs: Inputs, wanted: Array, weight: Array) -> Array:
        return jnp.sum(weight * distill_loss(apply(predictor, params, inputs), wanted))

    def update(state: RNDState, batch: Transition, key: Array) -> tuple[RNDState, dict[str, Any]]:
        num_rows = batch.terminated.size
        check.divides("num_minibatches", num_minibatches, "the steps of a batch", num_rows)
        inputs = read(state, batch)

        def split(x: Array) -> Array:  # [T, B, ...] -> [num_minibatches, rows, ...]
            return x.reshape(num_rows // num_minibatches, num_minibatches, *x.shape[2:]).swapaxes(0, 1)

        minibatches = jax.tree.map(split, (inputs, apply(target, state.target, inputs)))

        def step(carry: tuple[PyTree, PyTree], xs: tuple[tuple[Inputs, Array], Array]) -> tuple[Any, Array]:
            params, opt_state = carry
            (inputs, wanted), key = xs
            kept = jax.random.bernoulli(key, keep, wanted.shape[:1]).astype(jnp.float32)
            weight = kept / jnp.maximum(over_shards(kept.sum()), 1.0)
            value, grads = over_shards(jax.value_and_grad(loss)(params, inputs, wanted, weight))
            updates, opt_state = optimiser.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), value

        def epoch(carry: tuple[PyTree, PyTree], key: Array) -> tuple[Any, Array]:
            return jax.lax.scan(step, carry, (minibatches, jax.random.split(key, num_minibatches)))

        (params, opt_state), losses = jax.lax.scan(
            epoch, (state.predictor, state.optimiser), jax.random.split(key, num_epochs)
        )
        return state._replace(predictor=params, optimiser=opt_state), {"loss": losses.mean()}

    def over_shards(tree: PyTree) -> PyTree:
        return tree if axis_name is None else jax.lax.psum(tree, axis_name)

    channel = Channel(name, discount=discount, episodic=episodic)
    raw = RewardSource(init, compute, update, (channel,), lambda state, batch, stored, key: score(state, batch))
    return chain(raw, normalise_by_return(discount, episodic, axis_name=axis_name))


class VisitState(NamedTuple):
    """State of `visit_count`."""

    projections: list[Array]  # [..., bits], one for each part of the observation
    visits: Array  # [2 ** bits], in the batches before the present one


def visit_count(
    *,
    bits: int = 16,
    discount: Array | float = 0.99,
    episodic: bool = False,
    name: str = "visits",
    axis_name: str | None = None,
) -> RewardSource:
    """Visit counts of hashed next observations: `count_bonus` of the visits in earlier batches and the present one.

    The visits of a batch count from the next one on, so its rewards do not depend on the order of steps and
    environments. Metric: `visited`, how many hashes have been met. Replayed transitions are scored by the newest
    counts.

    Args:
      bits: of the hash (`simhash`), for a table of `2 ** bits` counts. Two one-hot observations fall together with
        probability `2 ** -bits`, and such that have further parts in common more often.
      discount: of the channel.
      episodic: whether the channel's value ends with the episode, see `rnd`.
      name: of the channel.
      axis_name: mapped axis over whose shards visits are added up.

    Raises:
      ValueError: if `bits` is not from 1 to 24.

    Source: Tang et al., "#Exploration: A Study of Count-Based Exploration for Deep Reinforcement Learning" (2017).
    """
    check.count("bits", bits)
    check.require(bits <= 24, "bits", bits, "at most 24, a table of 16 million counts")

    def init(key: Array, spec: EnvSpec) -> VisitState:
        shapes = encoded_shapes(spec.observation_space)
        keys = jax.random.split(key, len(shapes))
        projections = [jax.random.normal(k, (*shape, bits)) for k, shape in zip(keys, shapes, strict=True)]
        return VisitState(projections, jnp.zeros(2**bits))

    def index(state: VisitState, batch: Transition) -> Array:
        parts = encode(batch.next_obs, [p.shape[:-1] for p in state.projections])
        features = jnp.concatenate([x.reshape(*x.shape[:2], -1) for x in parts], axis=-1)
        return simhash(features, jnp.concatenate([p.reshape(-1, bits) for p in state.projections]))

    def score(state: VisitState, batch: Transition) -> Array:
        return count_bonus(state.visits[index(state, batch)] + 1.0)[..., None]

    def update(state: VisitState, batch: Transition, key: Array) -> tuple[VisitState, dict[str, Any]]:
        del key
        new = jnp.zeros_like(state.visits).at[index(state, batch).ravel()].add(1.0)
        visits = state.visits + (new if axis_name is None else jax.lax.psum(new, axis_name))
        return state._replace(visits=visits), {"visited": jnp.sum(visits > 0, dtype=jnp.float32)}

    return RewardSource(
        init,
        lambda state, batch, key: (score(state, batch), state),
        update,
        (Channel(name, discount=discount, episodic=episodic),),
        lambda state, batch, stored, key: score(state, batch),
    )


def encoded_shapes(space: Space) -> list[tuple[int, ...]]:
    """Shapes of the parts that `encode` makes of an observation: integers become one-hot, action masks go."""
    if isinstance(space, Dict):
        return [
            shape
            for name in sorted(space.spaces)
            if name != ACTION_MASK
            for shape in encoded_shapes(space.spaces[name])
        ]
    if isinstance(space, Discrete):
        return [(space.n,)]
    if isinstance(space, MultiDiscrete):
        return [(len(space.nvec), max(space.nvec))]
    return [space.shape]


def encode(obs: PyTree, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """The parts `[T, B, *shape]` of observations with leading axes `[T, B]`, for the shapes of their space.

    A source has the space in `init` only. That a part is one-hot shows in a shape with one more axis than its data has.
    """

    def parts(obs: PyTree) -> list[Array]:
        if isinstance(obs, Mapping):
            return [part for name in sorted(obs) if name != ACTION_MASK for part in parts(obs[name])]
        return [obs]

    return [
        jax.nn.one_hot(x, shape[-1]) if x.ndim - 2 < len(shape) else x.astype(jnp.float32)
        for x, shape in zip(parts(obs), shapes, strict=True)
    ]


def to_inputs(parts: Sequence[Array]) -> Inputs:
    """Parts `[T, B, ...]` as one vector and one image: those of rank 3 are images."""
    vectors = [x.reshape(*x.shape[:2], -1) for x in parts if x.ndim != 5]
    images = [x for x in parts if x.ndim == 5]
    return Inputs(*(jnp.concatenate(x, axis=-1) if x else None for x in (vectors, images)), mask=None)
