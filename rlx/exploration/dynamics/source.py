"""Reward sources on features that an inverse model of actions has learned, and on what an episode has seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rlx import check
from rlx.exploration.count import elliptical_bonus, elliptical_update
from rlx.exploration.curiosity import icm_bonus, icm_loss
from rlx.exploration.episodic import nearest_neighbours
from rlx.exploration.memory import EpisodeMemory, episodic_count, ngu_bonus, novelty_gate, remember
from rlx.exploration.source import (
    Features,
    RNDState,
    Training,
    apply,
    distillation,
    draw_projections,
    encode,
    encoded_shapes,
    hashes,
    to_inputs,
    update_all,
)
from rlx.nets import Inputs
from rlx.reward import RunningMoments, chain, init_moments, normalise, normalise_by_return, update_moments
from rlx.types import Array, Channel, EnvSpec, PyTree, RewardSource, Transition

Novelty = Literal["ngu", "ride", "noveld"]


class Model(nn.Module):
    """Features of observations, the action from the features around it, and the features after it."""

    hidden: tuple[int, ...]
    size: int
    action_size: int

    def setup(self) -> None:
        self.encoder = Features(self.hidden, self.size)
        self.inverse = Features(self.hidden[-1:], self.action_size)
        self.forward = Features(self.hidden[-1:], self.size)

    def encode(self, inputs: Inputs) -> Array:
        return self.encoder(inputs)

    def __call__(self, before: Inputs, after: Inputs, action: Array) -> tuple[Array, Array, Array]:
        """Features after the action, their prediction, and what says which action it was."""
        old, new = self.encoder(before), self.encoder(after)
        around = Inputs(jnp.concatenate([old, new], axis=-1), None, None)
        taken = Inputs(jnp.concatenate([jax.lax.stop_gradient(old), action], axis=-1), None, None)
        return new, self.forward(taken), self.inverse(around)


class DynamicsState(NamedTuple):
    """State of `icm`, without that of its reward normaliser."""

    params: PyTree
    optimiser: PyTree
    observations: list[RunningMoments]  # of each part of the observation
    actions: RunningMoments


class Dynamics(NamedTuple):
    """What the sources of this file share: a model, and how it is read and learned."""

    init: Callable[[Array, EnvSpec], DynamicsState]
    observe: Callable[[DynamicsState, Transition], DynamicsState]  # takes the batch into the running moments
    encode: Callable[[DynamicsState, PyTree], Array]  # (state, obs) -> features [T, B, D]
    error: Callable[[DynamicsState, Transition], Array]  # of the forward model, [T, B]
    update: Callable[[DynamicsState, Transition, Array], tuple[DynamicsState, dict[str, Any]]]


def dynamics(
    training: Training, hidden: tuple[int, ...], features: int, beta: Array | float, obs_clip: float
) -> Dynamics:
    training.check()
    check.count("features", features)
    check.require(len(hidden) > 0, "hidden", hidden, "one width or more")
    check.positive("obs_clip", obs_clip)

    def model(shape: tuple[int, ...]) -> Model:
        return Model(hidden, features, math.prod(shape))

    def init(key: Array, spec: EnvSpec) -> DynamicsState:
        moments = [init_moments(shape) for shape in encoded_shapes(spec.observation_space)]
        (shape,) = encoded_shapes(spec.action_space)
        inputs = to_inputs([m.mean[None, None] for m in moments])
        params = model(shape).init(key, inputs, inputs, jnp.zeros((1, 1, model(shape).action_size)))
        return DynamicsState(params, training.optimiser.init(params), moments, init_moments(shape))

    def read(state: DynamicsState, obs: PyTree) -> Inputs:
        parts = encode(obs, [m.mean.shape for m in state.observations])
        return to_inputs([normalise(x, m, obs_clip) for x, m in zip(parts, state.observations, strict=True)])

    def taken(state: DynamicsState, batch: Transition) -> Array:
        """The action as numbers `[T, B, D]`: integers one-hot, others standardised."""
        (action,) = encode(batch.action, [state.actions.mean.shape])
        if not is_integer(state, batch):
            action = normalise(action, state.actions, obs_clip)
        return action.reshape(*action.shape[:2], -1)

    def is_integer(state: DynamicsState, batch: Transition) -> bool:
        return batch.action.ndim - 2 < state.actions.mean.ndim

    def observe(state: DynamicsState, batch: Transition) -> DynamicsState:
        parts = encode(batch.next_obs, [m.mean.shape for m in state.observations])
        (action,) = encode(batch.action, [state.actions.mean.shape])
        return state._replace(
            observations=update_all(state.observations, parts, training.axis_name),
            actions=update_moments(state.actions, action, axis_name=training.axis_name),
        )

    def features_of(state: DynamicsState, obs: PyTree) -> Array:
        module = model(state.actions.mean.shape)
        return module.apply(state.params, read(state, obs), method=module.encode)  # type: ignore[return-value]

    def inputs_of(state: DynamicsState, batch: Transition) -> tuple[Inputs, Inputs, Array]:
        return read(state, batch.obs), read(state, batch.next_obs), taken(state, batch)

    def error(state: DynamicsState, batch: Transition) -> Array:
        new, prediction, _ = apply(model(state.actions.mean.shape), state.params, *inputs_of(state, batch))
        return icm_bonus(prediction, new)

    def update(state: DynamicsState, batch: Transition, key: Array) -> tuple[DynamicsState, dict[str, Any]]:
        shape = state.actions.mean.shape
        integer = is_integer(state, batch)

        def loss(params: PyTree, rows: tuple[Inputs, Inputs, Array], key: Array) -> Array:
            new, prediction, guess = apply(model(shape), params, *rows)
            if integer:  # one softmax for each component
                guess, action = (x.reshape(*x.shape[:1], -1, shape[-1]) for x in (guess, rows[2]))
                log_prob = jnp.sum(jax.nn.log_softmax(guess) * action, axis=(-2, -1))
            else:
                log_prob = -0.5 * jnp.sum(jnp.square(guess - rows[2]), axis=-1)
            return icm_loss(log_prob, prediction, new, beta)

        params, opt_state, value = training.run(loss, state.params, state.optimiser, inputs_of(state, batch), key)
        return state._replace(params=params, optimiser=opt_state), {"loss": value}

    return Dynamics(init, observe, features_of, error, update)


def icm(
    *,
    beta: Array | float = 0.2,
    discount: Array | float = 0.99,
    episodic: bool = False,
    hidden: tuple[int, ...] = (64,),
    features: int = 32,
    learning_rate: Array | float = 1e-3,
    num_epochs: int = 1,
    num_minibatches: int = 4,
    obs_clip: float = 5.0,
    name: str = "icm",
    axis_name: str | None = None,
) -> RewardSource:
    """Curiosity: the error in predicting the next observation's features, which hold what actions change.

    Features are learned by telling the action from the observations around it, and do not learn from the error of the
    prediction. The bonus `icm_bonus` is divided by the running deviation of its discounted return. Metric: `loss`, of
    `icm_loss`. Replayed transitions are scored by the newest model.

    Args:
      beta: share of the forward model in the loss.
      discount, episodic: of the channel, see `rnd`.
      hidden: widths of the encoder's layers; inverse and forward model have one, as wide as the last.
      features: how many there are.
      learning_rate, num_epochs, num_minibatches, obs_clip, name, axis_name: as of `rnd`.

    Raises:
      ValueError: for an option out of range; in `update`, if `num_minibatches` does not divide the steps of a batch.

    Source: Pathak et al., "Curiosity-driven Exploration by Self-supervised Prediction" (2017). Differs from it: the
    paper scales by a constant, and lets the forward model's error into the features.
    """
    check.in_range("beta", beta, 0.0, 1.0)
    training = Training(learning_rate, num_epochs, num_minibatches, axis_name=axis_name)
    parts = dynamics(training, hidden, features, beta, obs_clip)

    def compute(state: DynamicsState, batch: Transition, key: Array) -> tuple[Array, DynamicsState]:
        del key
        state = parts.observe(state, batch)
        return parts.error(state, batch)[..., None], state

    raw = RewardSource(
        parts.init,
        compute,
        parts.update,
        (Channel(name, discount=discount, episodic=episodic),),
        lambda state, batch, stored, key: parts.error(state, batch)[..., None],
    )
    return chain(raw, normalise_by_return(discount, episodic, axis_name=axis_name))


class EllipticalState(NamedTuple):
    """State of `elliptical`."""

    dynamics: DynamicsState
    inverse: Array  # [B, D, D] of the running episodes, or [D, D] of all batches before


def elliptical(
    *,
    lifelong: bool = False,
    learn: bool = True,
    ridge: Array | float = 0.1,
    discount: Array | float = 0.99,
    episodic: bool = False,
    hidden: tuple[int, ...] = (64,),
    features: int = 32,
    learning_rate: Array | float = 1e-3,
    num_epochs: int = 1,
    num_minibatches: int = 4,
    obs_clip: float = 5.0,
    name: str = "elliptical",
    axis_name: str | None = None,
) -> RewardSource:
    """E3B: how far the next observation's features lie outside of those that the episode has seen, `elliptical_bonus`.

    Features are an inverse model's as of `icm`, or with `learn=False` those of a network that is never trained, without
    an inverse model's claim that they are what actions change. With `lifelong` one ellipse holds everything seen in
    earlier batches, of all environments; take `learn=False` then, for it does not forget features that have changed
    since. Metric: `loss`, where it learns. A lifelong one can score replayed transitions, by the newest ellipse.

    Args:
      lifelong: one ellipse for good in place of one for each episode.
      learn: whether features are learned.
      ridge: the lambda of the ellipse; the first bonus is the features' squared length over it.
      discount, episodic: of the channel, see `rnd`.
      hidden, features, learning_rate, num_epochs, num_minibatches, obs_clip, name, axis_name: as of `icm`.

    Raises:
      ValueError: for an option out of range; in `update`, if `num_minibatches` does not divide the steps of a batch.

    Source: Henaff et al., "Exploration via Elliptical Episodic Bonuses" (2022), which divides by the bonus's running
    deviation: `chain` it with `normalise_by_return`.
    """
    check.positive("ridge", ridge)
    training = Training(learning_rate, num_epochs, num_minibatches, axis_name=axis_name)
    parts = dynamics(training, hidden, features, 0.0, obs_clip)

    def init(key: Array, spec: EnvSpec) -> EllipticalState:
        start = jnp.eye(features) / ridge
        return EllipticalState(parts.init(key, spec), start if lifelong else jnp.tile(start, (spec.num_envs, 1, 1)))

    def score(state: EllipticalState, batch: Transition) -> Array:
        phi = parts.encode(state.dynamics, batch.next_obs)
        return elliptical_bonus(phi, jnp.broadcast_to(state.inverse, (*phi.shape, features)))[..., None]

    def compute(state: EllipticalState, batch: Transition, key: Array) -> tuple[Array, EllipticalState]:
        del key
        state = state._replace(dynamics=parts.observe(state.dynamics, batch))
        if lifelong:
            return score(state, batch), state

        def step(inverse: Array, xs: tuple[Array, Array]) -> tuple[Array, Array]:
            phi, done = xs
            bonus = elliptical_bonus(phi, inverse)
            after = elliptical_update(inverse, phi)
            return jnp.where(done[:, None, None], jnp.eye(features) / ridge, after), bonus

        done = batch.terminated | batch.truncated
        phi = parts.encode(state.dynamics, batch.next_obs)
        inverse, bonus = jax.lax.scan(step, state.inverse, (phi, done))
        return bonus[..., None], state._replace(inverse=inverse)

    def update(state: EllipticalState, batch: Transition, key: Array) -> tuple[EllipticalState, dict[str, Any]]:
        if lifelong:
            phi = parts.encode(state.dynamics, batch.next_obs).reshape(-1, features)
            if axis_name is not None:
                phi = jax.lax.all_gather(phi, axis_name, tiled=True)
            add = lambda inverse, row: (elliptical_update(inverse, row), None)  # noqa: E731
            state = state._replace(inverse=jax.lax.scan(add, state.inverse, phi)[0])
        if not learn:
            return state, {}
        model, metrics = parts.update(state.dynamics, batch, key)
        return state._replace(dynamics=model), metrics

    channel = Channel(name, discount=discount, episodic=episodic)
    rescore = (lambda state, batch, stored, key: score(state, batch)) if lifelong else None
    return RewardSource(init, compute, update, (channel,), rescore)


class NoveltyState(NamedTuple):
    """State of `novelty`, without that of its reward normaliser."""

    dynamics: DynamicsState
    lifelong: RNDState
    memory: EpisodeMemory  # features [B, M, D] or hashes [B, M] of the running episodes
    fresh: Array  # bool [B]: the next step is the first of an episode
    projections: list[Array]  # of the hash
    squared: RunningMoments  # [] of squared distances to the nearest memories
    errors: RunningMoments  # [] of the lifelong bonus


def novelty(
    kind: Novelty = "noveld",
    *,
    capacity: int = 128,
    neighbours: int = 10,
    alpha: Array | float = 0.5,
    max_factor: Array | float = 5.0,
    bits: int = 16,
    discount: Array | float = 0.99,
    episodic: bool = False,
    hidden: tuple[int, ...] = (64,),
    features: int = 32,
    learning_rate: Array | float = 1e-3,
    num_epochs: int = 1,
    num_minibatches: int = 4,
    obs_clip: float = 5.0,
    name: str | None = None,
    axis_name: str | None = None,
) -> RewardSource:
    """What is new in the episode, and of that more what is new at all.

    - "noveld": what a step gains in the lifelong bonus of `rnd`, at first visits in the episode (`novelty_gate`).
    - "ride": how far it moves in features of an inverse model, over the root of the episode's visits.
    - "ngu": `ngu_bonus` of the distances in such features from the episode's memories, times a factor of the lifelong
      bonus, `1 + (error - mean) / deviation` between 1 and `max_factor`.

    Visits are of hashes, and the first observation of an episode is one. The reward is divided by the running deviation
    of its discounted return. Metrics: `loss` of the inverse model, `error` of the lifelong bonus's.

    Args:
      kind: which one.
      capacity: of an episode's memory; of a longer episode the oldest steps are forgotten.
      neighbours: k of "ngu".
      alpha: share of the bonus of the state that was left, for "noveld".
      max_factor: of the lifelong bonus, for "ngu".
      bits: of the hash, at most 31.
      discount, episodic: of the channel, see `rnd`.
      hidden, features, learning_rate, num_epochs, num_minibatches, obs_clip, axis_name: as of `icm` and `rnd`.
      name: of the channel; by default the kind.

    Raises:
      ValueError: for an option out of range; in `update`, if `num_minibatches` does not divide the steps of a batch.

    Source: Badia et al., "Never Give Up: Learning Directed Exploration Strategies" (2020); Raileanu and Rocktäschel,
    "RIDE: Rewarding Impact-Driven Exploration for Procedurally-Generated Environments" (2020); Zhang et al., "NovelD: A
    Simple yet Effective Exploration Criterion" (2021). Differs from them: distances are compared with their mean over
    earlier batches and the present one, not step by step; sizes suit small observations.
    """
    check.require(kind in ("ngu", "ride", "noveld"), "kind", kind, "'ngu', 'ride' or 'noveld'")
    for label, number in (("capacity", capacity), ("neighbours", neighbours), ("bits", bits)):
        check.count(label, number)
    check.require(bits <= 31, "bits", bits, "at most 31")
    channel = Channel(kind if name is None else name, discount=discount, episodic=episodic)
    training = Training(learning_rate, num_epochs, num_minibatches, axis_name=axis_name)
    parts = dynamics(training, hidden, features, 0.2, obs_clip)
    lifelong = distillation(training, channel, hidden=hidden, features=features, obs_clip=obs_clip)

    def init(key: Array, spec: EnvSpec) -> NoveltyState:
        dynamics_key, lifelong_key, hash_key = jax.random.split(key, 3)
        shape = (spec.num_envs, capacity)
        entries = jnp.zeros((*shape, features)) if kind == "ngu" else jnp.zeros(shape, jnp.int32)
        return NoveltyState(
            parts.init(dynamics_key, spec),
            lifelong.init(lifelong_key, spec),
            EpisodeMemory(entries, jnp.zeros(spec.num_envs, jnp.int32)),
            jnp.ones(spec.num_envs, bool),
            draw_projections(hash_key, spec.observation_space, bits),
            init_moments(),
            init_moments(),
        )

    def through(
        state: NoveltyState,
        batch: Transition,
        before: Array,
        after: Array,
        ask: Callable[[EpisodeMemory, Array], Array],
    ) -> tuple[NoveltyState, Array]:
        """Answers `[T, B, ...]` of the episode's memory about each step's outcome, which then goes into it."""

        def step(carry: tuple[EpisodeMemory, Array], xs: tuple[Array, Array, Array]) -> tuple[Any, Array]:
            (memory, fresh), (before, after, done) = carry, xs
            started = remember(memory, before, fresh)
            memory = jax.tree.map(
                lambda new, old: jnp.where(fresh.reshape(-1, *(1,) * (new.ndim - 1)), new, old), started, memory
            )
            answer = ask(memory, after)
            return (remember(memory, after, jnp.zeros_like(fresh)), done), answer

        done = batch.terminated | batch.truncated
        (memory, fresh), answers = jax.lax.scan(step, (state.memory, state.fresh), (before, after, done))
        return state._replace(memory=memory, fresh=fresh), answers

    def nearest(memory: EpisodeMemory, query: Array) -> Array:
        find = jax.vmap(lambda q, rows, mask: nearest_neighbours(q[None], rows, mask, k=neighbours)[0][0])
        return find(query, memory.entries, memory.mask)

    def error(state: NoveltyState, batch: Transition) -> Array:
        assert lifelong.rescore is not None
        return lifelong.rescore(state.lifelong, batch, None, jax.random.key(0))[..., 0]

    def compute(state: NoveltyState, batch: Transition, key: Array) -> tuple[Array, NoveltyState]:
        errors, distilled = lifelong.compute(state.lifelong, batch, key)
        state = state._replace(lifelong=distilled, dynamics=parts.observe(state.dynamics, batch))
        if kind == "ngu":
            before, after = (parts.encode(state.dynamics, obs) for obs in (batch.obs, batch.next_obs))
            state, squared = through(state, batch, before, after, nearest)
            found = jnp.isfinite(squared)
            state = state._replace(
                squared=update_moments(state.squared, jnp.where(found, squared, 0.0), found, axis_name=axis_name),
                errors=update_moments(state.errors, errors[..., 0], axis_name=axis_name),
            )
            factor = jnp.clip(1.0 + normalise(errors, state.errors), 1.0, max_factor)
            return ngu_bonus(squared, state.squared.mean)[..., None] * factor, state
        before, after = (hashes(obs, state.projections) for obs in (batch.obs, batch.next_obs))
        state, counts = through(state, batch, before, after, episodic_count)
        if kind == "ride":
            old, new = (parts.encode(state.dynamics, obs) for obs in (batch.obs, batch.next_obs))
            return novelty_gate(jnp.linalg.norm(new - old, axis=-1), counts + 1, "ride")[..., None], state
        left = error(state, batch._replace(next_obs=batch.obs))
        return novelty_gate(errors[..., 0], counts + 1, "noveld", left, alpha=alpha)[..., None], state

    def update(state: NoveltyState, batch: Transition, key: Array) -> tuple[NoveltyState, dict[str, Any]]:
        metrics = {}
        dynamics_key, lifelong_key = jax.random.split(key)
        if kind != "noveld":
            model, metrics = parts.update(state.dynamics, batch, dynamics_key)
            state = state._replace(dynamics=model)
        if kind != "ride":
            distilled, found = lifelong.update(state.lifelong, batch, lifelong_key)
            state, metrics = state._replace(lifelong=distilled), {**metrics, "error": found["loss"]}
        return state, metrics

    raw = RewardSource(init, compute, update, (channel,))
    return chain(raw, normalise_by_return(discount, episodic, axis_name=axis_name))
