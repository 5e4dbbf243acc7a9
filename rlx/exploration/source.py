"""Exploration bonuses as reward sources."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.exploration.count import count_bonus, simhash
from rlx.exploration.distillation import TARGETS, Target, distill_bonus, distill_loss, distill_target
from rlx.exploration.skills import diayn_reward
from rlx.nets import Inputs, Torso
from rlx.nets.network import orthogonal
from rlx.reward import RunningMoments, chain, init_moments, normalise, normalise_by_return, update_moments
from rlx.space import ACTION_MASK, SKILL, Dict, Discrete, MultiDiscrete, Space
from rlx.types import Array, Channel, EnvSpec, PyTree, RewardSource, Transition


class Features(nn.Module):
    """A torso and a linear layer."""

    hidden: Sequence[int]
    size: int

    @nn.compact
    def __call__(self, inputs: Inputs) -> Array:
        x = Torso(self.hidden, activation="relu")(inputs)
        return nn.Dense(self.size, kernel_init=orthogonal(2**0.5))(x)


def apply(module: nn.Module, params: PyTree, *inputs: Any) -> Any:
    return module.apply(params, *inputs)


class Training(NamedTuple):
    """How a source's networks learn from a batch: Adam on minibatches of its steps."""

    learning_rate: Array | float = 1e-3
    num_epochs: int = 1  # passes over the batch in one `update`
    num_minibatches: int = 4  # gradient steps in a pass; the i-th takes steps i, i + num_minibatches, ...
    keep: float = 1.0  # share of the steps, drawn anew for each gradient, that it is taken from
    axis_name: str | None = None  # mapped axis over whose shards gradients and losses are taken

    def check(self) -> Training:
        """Itself.

        Raises:
          ValueError: for an option out of range.
        """
        check.count("num_epochs", self.num_epochs)
        check.count("num_minibatches", self.num_minibatches)
        check.positive("learning_rate", self.learning_rate)
        check.in_range("keep", self.keep, 0.0, 1.0, open_low=True)
        return self

    @property
    def optimiser(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def run(
        self,
        loss: Callable[[PyTree, PyTree, Array], Array],
        params: PyTree,
        opt_state: PyTree,
        data: PyTree,
        key: Array,
    ) -> tuple[PyTree, PyTree, Array]:
        """Parameters and optimiser after learning from `data` with leaves `[T, B, ...]`, and the mean loss.

        `loss(params, rows, key) -> [N]` of rows `[N, ...]`.

        Raises:
          ValueError: if `num_minibatches` does not divide the steps of the batch.
        """
        num_rows = math.prod(jax.tree.leaves(data)[0].shape[:2])
        check.divides("num_minibatches", self.num_minibatches, "the steps of a batch", num_rows)

        def split(x: Array) -> Array:  # [T, B, ...] -> [num_minibatches, rows, ...]
            return x.reshape(num_rows // self.num_minibatches, self.num_minibatches, *x.shape[2:]).swapaxes(0, 1)

        minibatches = jax.tree.map(split, data)

        def step(carry: tuple[PyTree, PyTree], xs: tuple[PyTree, Array]) -> tuple[Any, Array]:
            (params, opt_state), (rows, key) = carry, xs
            kept = jax.random.bernoulli(key, self.keep, (num_rows // self.num_minibatches,)).astype(jnp.float32)
            weight = kept / jnp.maximum(over_shards(kept.sum(), self.axis_name), 1.0)
            noise_key = jax.random.fold_in(key, 1)
            value, grads = over_shards(
                jax.value_and_grad(lambda p: jnp.sum(weight * loss(p, rows, noise_key)))(params), self.axis_name
            )
            updates, opt_state = self.optimiser.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), value

        def epoch(carry: tuple[PyTree, PyTree], key: Array) -> tuple[Any, Array]:
            return jax.lax.scan(step, carry, (minibatches, jax.random.split(key, self.num_minibatches)))

        keys = jax.random.split(key, self.num_epochs)
        (params, opt_state), losses = jax.lax.scan(epoch, (params, opt_state), keys)
        return params, opt_state, losses.mean()


def over_shards(tree: PyTree, axis_name: str | None) -> PyTree:
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


class RNDState(NamedTuple):
    """State of `distillation`, and of `rnd` without that of its reward normaliser."""

    predictor: PyTree
    target: PyTree  # drawn once, never trained; of a mixture, with a leading axis
    optimiser: PyTree
    observations: list[RunningMoments]  # of each part of the observation


def distillation(
    training: Training,
    channel: Channel,
    *,
    target: Target = "fixed",
    scale: Array | float = 1.0,
    networks: int = 5,
    hidden: tuple[int, ...] = (64,),
    features: int = 32,
    obs_clip: float = 5.0,
) -> RewardSource:
    """`distill_bonus` of the next observation, as it is; see `rnd`, which is this divided by its return's deviation."""
    check.count("features", features)
    check.count("networks", networks, 2)
    check.require(target in TARGETS, "target", target, f"one of {TARGETS}")
    check.in_range("scale", scale, 0.0)
    check.require(len(hidden) > 0, "hidden", hidden, "one width or more")
    check.positive("obs_clip", obs_clip)
    training.check()
    fixed = Features(hidden, features)
    predictor = Features((*hidden, hidden[-1], hidden[-1]), features)

    def init(key: Array, spec: EnvSpec) -> RNDState:
        target_key, predictor_key = jax.random.split(key)
        moments = [init_moments(shape) for shape in encoded_shapes(spec.observation_space)]
        inputs = to_inputs([m.mean[None, None] for m in moments])
        params = predictor.init(predictor_key, inputs)
        if target == "mixture":
            drawn = jax.vmap(fixed.init, (0, None))(jax.random.split(target_key, networks), inputs)
        else:
            drawn = fixed.init(target_key, inputs)
        return RNDState(params, drawn, training.optimiser.init(params), moments)

    def read(state: RNDState, batch: Transition) -> Inputs:
        parts = encode(batch.next_obs, [m.mean.shape for m in state.observations])
        return to_inputs([normalise(x, m, obs_clip) for x, m in zip(parts, state.observations, strict=True)])

    def imitated(params: PyTree, inputs: Inputs) -> Array:
        if target == "mixture":
            return jax.vmap(apply, (None, 0, None))(fixed, params, inputs)
        return apply(fixed, params, inputs)

    def score(state: RNDState, batch: Transition) -> Array:
        inputs = read(state, batch)
        prediction = apply(predictor, state.predictor, inputs)
        return distill_bonus(prediction, imitated(state.target, inputs), target)[..., None]

    def compute(state: RNDState, batch: Transition, key: Array) -> tuple[Array, RNDState]:
        del key
        parts = encode(batch.next_obs, [m.mean.shape for m in state.observations])
        state = state._replace(observations=update_all(state.observations, parts, training.axis_name))
        return score(state, batch), state

    def update(state: RNDState, batch: Transition, key: Array) -> tuple[RNDState, dict[str, Any]]:
        def loss(params: PyTree, inputs: Inputs, key: Array) -> Array:
            wanted = distill_target(key, imitated(state.target, inputs), target, scale=scale)
            return distill_loss(apply(predictor, params, inputs), wanted)

        params, opt_state, value = training.run(loss, state.predictor, state.optimiser, read(state, batch), key)
        return state._replace(predictor=params, optimiser=opt_state), {"loss": value}

    return RewardSource(init, compute, update, (channel,), lambda state, batch, stored, key: score(state, batch))


def rnd(
    *,
    target: Target = "fixed",
    scale: Array | float = 1.0,
    networks: int = 5,
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

    Its relatives differ in what is predicted (`distill_target`): those features with noise ("gaussian", RDD), those of
    one of several networks ("mixture", DRND), or coins ("coin_flip").

    `compute` takes the batch into the running moments of observations, normalises `next_obs` by them, and divides
    `distill_bonus` by the running deviation of its discounted return. `update` trains the predictor on the batch; its
    metric is the mean `loss`. Replayed transitions are scored by the newest predictor.

    Args:
      target: what the predictor learns.
      scale: of the noise, for "gaussian".
      networks: how many there are of a "mixture".
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

    Source: Burda et al., "Exploration by Random Network Distillation" (2018); for other targets see `distill_bonus`.
    Differs from it: the moments of observations start with the first batch, not with a warm-up of random actions; sizes
    suit small observations (the paper: a convolutional target with 512 features, learning rate 1e-4).
    """
    channel = Channel(name, discount=discount, episodic=episodic)
    raw = distillation(
        Training(learning_rate, num_epochs, num_minibatches, keep, axis_name),
        channel,
        target=target,
        scale=scale,
        networks=networks,
        hidden=hidden,
        features=features,
        obs_clip=obs_clip,
    )
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
        return VisitState(draw_projections(key, spec.observation_space, bits), jnp.zeros(2**bits))

    def index(state: VisitState, batch: Transition) -> Array:
        return hashes(batch.next_obs, state.projections)

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


class SkillState(NamedTuple):
    """State of `diayn`."""

    params: PyTree
    optimiser: PyTree
    observations: list[RunningMoments]  # of each part of the observation but the skill


def diayn(
    *,
    see: Callable[[Array], Array] = lambda vector: vector,
    discount: Array | float = 0.99,
    episodic: bool = True,
    hidden: tuple[int, ...] = (64, 64),
    learning_rate: Array | float = 1e-3,
    num_epochs: int = 1,
    num_minibatches: int = 4,
    obs_clip: float = 5.0,
    name: str = "skill",
    axis_name: str | None = None,
) -> RewardSource:
    """Diversity: how well a discriminator tells the skill from the next observation, `diayn_reward`.

    Observations are a Dict with the skill in an entry `rlx.space.SKILL`, one-hot; the wrapper `rlx.envs.wrappers.Skill`
    adds one and draws it at each reset. `update` trains the discriminator; its metrics are its `loss` and the
    `information` that states hold of skills, at most `log Z`. Replayed transitions are scored by the newest
    discriminator.

    Args:
      see: what of the normalised vector of all other parts the discriminator may see, `[..., D] -> [..., D']`: skills
        differ in that alone.
      discount: of the channel.
      episodic: whether the channel's value ends with the episode, as skills do.
      hidden: widths of the discriminator's layers.
      learning_rate, num_epochs, num_minibatches: of its Adam, as of `rnd`.
      obs_clip: bound on the normalised observations.
      name: of the channel.
      axis_name: mapped axis over whose shards gradients and statistics are taken.

    Raises:
      ValueError: for an option out of range, and in `init` for observations without a skill.

    Source: Eysenbach et al., "Diversity is All You Need: Learning Skills without a Reward Function" (2019).
    """
    training = Training(learning_rate, num_epochs, num_minibatches, axis_name=axis_name).check()
    check.positive("obs_clip", obs_clip)

    def init(key: Array, spec: EnvSpec) -> SkillState:
        space = spec.observation_space
        if not isinstance(space, Dict) or SKILL not in space.spaces:
            raise ValueError(f"the observation space must be a Dict with an entry {SKILL!r}; got {space!r}")
        moments = [init_moments(shape) for shape in encoded_shapes(Dict(without_skill(space.spaces)))]
        params = discriminator(space.spaces[SKILL].shape[0]).init(key, see_all([m.mean[None, None] for m in moments]))
        return SkillState(params, training.optimiser.init(params), moments)

    def discriminator(skills: int) -> Features:
        return Features(hidden, skills)

    def see_all(parts: Sequence[Array]) -> Inputs:
        return Inputs(see(jnp.concatenate([x.reshape(*x.shape[:2], -1) for x in parts], axis=-1)), None, None)

    def read(state: SkillState, batch: Transition) -> tuple[Inputs, Array]:
        parts = encode(without_skill(batch.next_obs), [m.mean.shape for m in state.observations])
        seen = see_all([normalise(x, m, obs_clip) for x, m in zip(parts, state.observations, strict=True)])
        return seen, batch.next_obs[SKILL]

    def score(state: SkillState, batch: Transition) -> Array:
        inputs, skill = read(state, batch)
        logits = apply(discriminator(skill.shape[-1]), state.params, inputs)
        return diayn_reward(logits, jnp.argmax(skill, axis=-1))[..., None]

    def compute(state: SkillState, batch: Transition, key: Array) -> tuple[Array, SkillState]:
        del key
        parts = encode(without_skill(batch.next_obs), [m.mean.shape for m in state.observations])
        state = state._replace(observations=update_all(state.observations, parts, axis_name))
        return score(state, batch), state

    def update(state: SkillState, batch: Transition, key: Array) -> tuple[SkillState, dict[str, Any]]:
        def loss(params: PyTree, rows: tuple[Inputs, Array], key: Array) -> Array:
            inputs, skill = rows
            return optax.softmax_cross_entropy(apply(discriminator(skill.shape[-1]), params, inputs), skill)

        params, opt_state, value = training.run(loss, state.params, state.optimiser, read(state, batch), key)
        information = jnp.log(batch.next_obs[SKILL].shape[-1]) - value
        return state._replace(params=params, optimiser=opt_state), {"loss": value, "information": information}

    channel = Channel(name, discount=discount, episodic=episodic)
    return RewardSource(init, compute, update, (channel,), lambda state, batch, stored, key: score(state, batch))


def without_skill(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if name != SKILL}


def draw_projections(key: Array, space: Space, bits: int) -> list[Array]:
    """Of `hashes`: `[..., bits]` for each part of an observation."""
    shapes = encoded_shapes(space)
    keys = jax.random.split(key, len(shapes))
    return [jax.random.normal(k, (*shape, bits)) for k, shape in zip(keys, shapes, strict=True)]


def hashes(obs: PyTree, projections: Sequence[Array]) -> Array:
    """`simhash` of observations with leading axes `[T, B]`."""
    parts = encode(obs, [p.shape[:-1] for p in projections])
    features = jnp.concatenate([x.reshape(*x.shape[:2], -1) for x in parts], axis=-1)
    return simhash(features, jnp.concatenate([p.reshape(-1, p.shape[-1]) for p in projections]))


def update_all(
    moments: Sequence[RunningMoments], parts: Sequence[Array], axis_name: str | None
) -> list[RunningMoments]:
    return [update_moments(m, x, axis_name=axis_name) for m, x in zip(moments, parts, strict=True)]


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
