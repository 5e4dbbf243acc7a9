"""Reward models as sources: fitted to preferences while the agent trains, or frozen."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.exploration.source import encode, encoded_shapes, to_inputs
from rlx.nets import Inputs, Torso
from rlx.reward.choice import preference_loss
from rlx.reward.ensemble import Aggregate, ensemble_reward
from rlx.reward.learned.segments import Recent, add_rows, draw_segments, init_recent
from rlx.reward.moments import RunningMoments, init_moments, normalise, update_moments
from rlx.reward.preference import segment_score, synthetic_teacher
from rlx.reward.query import Doubt, query_score, select_queries
from rlx.space import Space
from rlx.types import Array, Channel, EnvSpec, PreferenceBatch, PyTree, RewardSource, Transition

INPUT_CLIP = 10.0  # deviations of an input
SCALE_STEPS = 1024  # on which rewards are standardised

# (key, true rewards [Q, 2, T] of the segments, mask [Q, 2, T]) -> target [Q, 2], weight [Q]
Teacher = Callable[[Array, Array, Array], tuple[Array, Array]]


class Head(nn.Module):
    """A torso and one number, in [-1, 1] if bounded."""

    hidden: tuple[int, ...]
    activation: str
    bounded: bool

    @nn.compact
    def __call__(self, inputs: Inputs) -> Array:
        x = nn.Dense(1)(Torso(self.hidden, self.activation)(inputs))[..., 0]
        return jnp.tanh(x) if self.bounded else x


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("params", "inputs", "offset", "scale"),
    meta_fields=("hidden", "activation", "bounded"),
)
@dataclasses.dataclass(frozen=True)
class RewardModel:
    """An ensemble of `M` reward networks of observation and action: everything that it takes to score a step."""

    params: PyTree  # leaves [M, ...]
    inputs: list[RunningMoments]  # of the parts of the observation and, at the end, of the action
    offset: Array  # [M], subtracted from a member's reward
    scale: Array  # [M], which it is then divided by; infinite before anything was learned: all rewards are 0
    hidden: tuple[int, ...]
    activation: str
    bounded: bool


def init_reward_model(
    key: Array,
    observation_space: Space,
    action_space: Space,
    *,
    members: int = 3,
    hidden: tuple[int, ...] = (64, 64),
    activation: str = "tanh",
    bounded: bool = True,
) -> RewardModel:
    """A model that knows nothing: random networks, with rewards that are 0 until it has been fitted.

    Raises:
      ValueError: for sizes that are no positive integers.
    """
    check.count("members", members)
    check.require(len(hidden) > 0, "hidden", hidden, "one width or more")
    shapes = [*encoded_shapes(observation_space), *encoded_shapes(action_space)]
    moments = [init_moments(shape) for shape in shapes]
    inputs = to_inputs([m.mean[None, None] for m in moments])
    params = jax.vmap(lambda key: Head(hidden, activation, bounded).init(key, inputs))(jax.random.split(key, members))
    return RewardModel(
        params, moments, jnp.zeros(members), jnp.full(members, jnp.inf, jnp.float32), hidden, activation, bounded
    )


class PreferenceState(NamedTuple):
    """State of `preference_reward`."""

    model: RewardModel
    optimiser: PyTree
    moments: list[RunningMoments]  # of all steps so far; the model takes them over when it is fitted
    recent: Recent  # rows (observation, action, true reward)
    preferences: PreferenceBatch  # [N, 2, T]: the budget; rows are filled in order
    asked: Array  # int32, how many of them are filled
    fitted: Array  # int32, how many of them the model was fitted to
    steps: Array  # float32, environment steps so far
    sessions: Array  # int32, so far
    loss: Array  # of the newest fit, its mean over minibatches
    accuracy: Array  # share of decided preferences that the members predicted then


def preference_reward(
    *,
    comparisons: int,
    total_steps: Array | float,
    sessions: int = 10,
    decay: Array | float = 1.0,
    teacher: Teacher | None = synthetic_teacher,
    gold: Callable[[Transition], Array] | None = None,
    segment: int = 50,
    capacity: int = 10_000,
    pool: int = 10,
    doubt: Doubt | None = "disagreement",
    members: int = 3,
    hidden: tuple[int, ...] = (64, 64),
    activation: str = "tanh",
    bounded: bool = True,
    learning_rate: Array | float = 1e-3,
    gradient_steps: int = 100,
    batch_size: int = 64,
    flip_prob: Array | float | None = None,
    aggregate: Aggregate = "mean",
    caution: Array | float = 0.5,
    centred: bool = False,
    discount: Array | float | None = None,
    name: str = "preference",
    axis_name: str | None = None,
) -> RewardSource:
    """A reward learned from comparisons of segments, asked for while the agent trains.

    In each session an ensemble of reward networks proposes pairs of segments of the newest steps, `teacher` says which
    of two it prefers, and every member takes `gradient_steps` steps on `preference_loss` of the difference of its
    summed rewards, over all answers so far, in an order of its own. The channel is the members' aggregate, each divided
    by the root of its mean square over the newest steps; before the first session it is 0. Replayed transitions are
    scored by the newest model. The environment's reward goes to the teacher and nowhere else.

    Metrics: `comparisons` answered so far (ties included, refusals not), `loss` and `accuracy` of the newest session.

    Args:
      comparisons: the budget, divided evenly over sessions.
      total_steps: environment steps over which sessions are spread; below the length of the training, so that the last
        answers still change the policy.
      sessions: how many. The i-th (from 0) is in the first update after a share `(i / sessions)^decay` of those steps.
      decay: above 1 asks more at the beginning.
      teacher: what answers, inside the compiled program: `synthetic_teacher`, with arguments bound for noise, mistakes,
        refusals, ties or short sight; anything with its signature. None: answers come from the host, by `answer`, and
        the model is fitted in the first update after they came.
      gold: what the teacher judges steps by, `[T, B, ...]` of a batch; the environment's scalar reward by default.
      segment: steps of a segment, fewer where its episode ends. Sums of unequal length are compared as they are: where
        episodes vary in length, that is what tells whether living longer pays.
      capacity: newest steps, of all environments together, that segments are cut from.
      pool: candidate pairs for each one that is asked.
      doubt: the score of `query_score` by which they are chosen; None: at random.
      members: of the ensemble; one has no disagreement, and is asked about pairs at random.
      hidden, activation: of each member.
      bounded: whether a member's output passes through tanh.
      learning_rate: of Adam, which keeps its moments from session to session.
      gradient_steps: of a session.
      batch_size: comparisons in a gradient step, drawn with replacement.
      flip_prob: share of wrong answers that the likelihood allows for, see `preference_loss`.
      aggregate, caution: see `ensemble_reward`.
      centred: whether a member's mean is subtracted and its deviation taken instead. A constant changes nothing where
        all episodes have the same length, and everything elsewhere; hence False.
      discount: of the channel.
      name: of the channel.
      axis_name: mapped axis over whose shards gradients and statistics are taken. Each shard asks `comparisons` about
        its own environments.

    Raises:
      ValueError: for an option out of range; in `update`, for a vector reward without `gold`.

    Usual mistakes: rewards kept in a replay as they were when collected (use an algorithm that rescores); the true
    reward stacked beside this channel; and a learned reward that is only ever compared with itself: evaluate on the
    environment.

    Source: Christiano et al., "Deep Reinforcement Learning from Human Preferences" (2017); Lee et al., "PEBBLE:
    Feedback-Efficient Interactive Reinforcement Learning" (2021), without its unsupervised beginning.
    """
    for label, number in (
        ("sessions", sessions),
        ("segment", segment),
        ("capacity", capacity),
        ("pool", pool),
        ("members", members),
        ("gradient_steps", gradient_steps),
        ("batch_size", batch_size),
    ):
        check.count(label, number)
    check.count("comparisons", comparisons)
    check.divides("sessions", sessions, "comparisons", comparisons)
    check.positive("total_steps", total_steps)
    check.positive("decay", decay)
    check.positive("learning_rate", learning_rate)
    check.require(doubt is None or doubt in get_args(Doubt), "doubt", doubt, f"None or one of {get_args(Doubt)}")
    check.require(aggregate in get_args(Aggregate), "aggregate", aggregate, f"one of {get_args(Aggregate)}")
    queries = comparisons // sessions
    optimiser = optax.flatten(optax.adam(learning_rate))

    def mean_over_shards(tree: PyTree) -> PyTree:
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    def init(key: Array, spec: EnvSpec) -> PreferenceState:
        spaces = spec.observation_space, spec.action_space
        model = init_reward_model(key, *spaces, members=members, hidden=hidden, activation=activation, bounded=bounded)
        step = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype),
            jax.eval_shape(lambda key: (*(space.sample(key) for space in spaces), jnp.zeros(())), key),
        )
        rows = jax.tree.map(lambda x: jnp.zeros((comparisons, 2, segment, *x.shape), x.dtype), step)
        return PreferenceState(
            model,
            jax.vmap(optimiser.init)(model.params),
            model.inputs,
            init_recent(step, max(segment, -(-capacity // spec.num_envs)), spec.num_envs),
            PreferenceBatch(
                rows[0],
                rows[1],
                jnp.zeros((comparisons, 2, segment), bool),
                jnp.full((comparisons, 2), 0.5, jnp.float32),
                weight=jnp.zeros(comparisons),
            ),
            *(jnp.int32(0), jnp.int32(0), jnp.float32(0), jnp.int32(0), jnp.float32(0), jnp.float32(0)),
        )

    def observe(state: PreferenceState, batch: Transition) -> PreferenceState:
        """The stream moves on: into the ring and the moments."""
        reward = batch.reward if gold is None else gold(batch)
        if gold is None and reward.ndim == 3:
            check.require(reward.shape[-1] == 1, "the environment's reward", reward.shape, "scalar, or pass gold")
            reward = reward[..., 0]
        parts = _encoded(state.moments, batch.obs, batch.action)
        moments = [update_moments(m, x, axis_name=axis_name) for m, x in zip(state.moments, parts, strict=True)]
        recent = add_rows(state.recent, (batch.obs, batch.action, reward), batch.terminated | batch.truncated)
        shards = 1 if axis_name is None else jax.lax.axis_size(axis_name)
        steps = state.steps + batch.terminated.size * shards
        return state._replace(moments=moments, recent=recent, steps=steps)

    def ask(state: PreferenceState, key: Array) -> PreferenceState:
        propose_key, teacher_key = jax.random.split(key)
        batch, reward = propose(state, propose_key, queries, segment=segment, pool=pool, doubt=doubt)
        target, weight = teacher(teacher_key, reward, batch.mask)  # type: ignore[misc]
        return answer(state, batch._replace(target=target, weight=weight), state.asked)

    def loss(params: PyTree, model: RewardModel, batch: PreferenceBatch) -> tuple[Array, Array]:
        """Mean loss of one member over the answered queries, and the share of decided ones that it predicts."""
        mask = batch.mask.reshape(-1, segment)
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (batch.obs, batch.action))
        score = segment_score(_head(model, params, to_inputs(_normalised(model, *rows))), mask).reshape(-1, 2)
        difference, target = score[:, 0] - score[:, 1], batch.target[:, 0]
        weight: Any = batch.weight
        losses = preference_loss(difference, target, weight=weight, flip_prob=flip_prob)
        decided = weight * (target != 0.5)
        right = jnp.sum(decided * ((difference > 0) == (target > 0.5)))
        return jnp.sum(losses) / jnp.maximum(jnp.sum(weight), 1.0), right / jnp.maximum(jnp.sum(decided), 1.0)

    def fit(state: PreferenceState, key: Array) -> PreferenceState:
        model = dataclasses.replace(state.model, inputs=state.moments)
        draw_key, scale_key = jax.random.split(key)

        def step(carry: tuple[PyTree, PyTree], index: Array) -> tuple[tuple[PyTree, PyTree], tuple[Array, Array]]:
            def of_member(params: PyTree, opt_state: PyTree, index: Array) -> tuple[Any, Any]:
                batch = jax.tree.map(lambda x: x[index], state.preferences)
                found, grads = jax.value_and_grad(loss, has_aux=True)(params, model, batch)
                found, grads = mean_over_shards((found, grads))
                updates, opt_state = optimiser.update(grads, opt_state, params)
                return (optax.apply_updates(params, updates), opt_state), found

            return jax.vmap(of_member)(*carry, index)

        shape = (gradient_steps, members, batch_size)
        index = jax.random.randint(draw_key, shape, 0, jnp.maximum(state.asked, 1))
        (params, opt_state), (losses, accuracy) = jax.lax.scan(step, (model.params, state.optimiser), index)
        model = standardise(dataclasses.replace(model, params=params), state.recent, scale_key)
        return state._replace(
            model=model, optimiser=opt_state, fitted=state.asked, loss=losses.mean(), accuracy=accuracy.mean()
        )

    def standardise(model: RewardModel, recent: Recent, key: Array) -> RewardModel:
        """To mean square 1 over steps drawn from the newest."""
        (obs, action, _), _ = draw_segments(recent, key, SCALE_STEPS, 1)
        inputs = to_inputs(_normalised(model, obs, action))
        reward = jax.vmap(lambda params: _head(model, params, inputs))(model.params)[..., 0]
        mean, square = mean_over_shards((reward.mean(1), jnp.square(reward).mean(1)))
        offset = mean if centred else jnp.zeros_like(mean)
        scale = jnp.sqrt(jnp.maximum(square - jnp.square(offset), 1e-8))
        return dataclasses.replace(model, offset=offset, scale=scale)

    def update(state: PreferenceState, batch: Transition, key: Array) -> tuple[PreferenceState, dict[str, Any]]:
        state = observe(state, batch)
        if teacher is None:
            due = state.sessions + (state.asked > state.fitted)
        else:
            share = jnp.minimum(state.steps / total_steps, 1.0) ** (1.0 / jnp.asarray(decay, jnp.float32))
            due = jnp.ceil(sessions * share - 1e-4).astype(jnp.int32)

        def session(carry: PreferenceState) -> PreferenceState:
            ask_key, fit_key = jax.random.split(jax.random.fold_in(key, carry.sessions))
            now = carry._replace(recent=state.recent)
            now = now if teacher is None else ask(now, ask_key)
            return fit(now, fit_key)._replace(recent=None, sessions=carry.sessions + 1)

        # a loop of mostly no turns: of a `cond`, vmap would compute both branches in every update
        after = jax.lax.while_loop(lambda carry: carry.sessions < due, session, state._replace(recent=None))
        weight: Any = after.preferences.weight
        metrics = {"comparisons": jnp.sum(weight), "loss": after.loss, "accuracy": after.accuracy}
        return after._replace(recent=state.recent), metrics

    def score(state: PreferenceState, batch: Transition) -> Array:
        return predict_reward(state.model, batch.obs, batch.action, aggregate, caution)[..., None]

    return RewardSource(
        init,
        lambda state, batch, key: (score(state, batch), state),
        update,
        (Channel(name, discount=discount),),
        lambda state, batch, stored, key: score(state, batch),
    )


def learned_reward(
    model: RewardModel,
    *,
    aggregate: Aggregate = "mean",
    caution: Array | float = 0.5,
    discount: Array | float | None = None,
    name: str = "preference",
) -> RewardSource:
    """The reward of a model that learns no more: what `preference_reward` has learned, in another program.

    Args:
      model: `state.model` of that source, or what `rlx.runtime.load_reward` has read. It is a constant of the program,
        not a part of the state.
      aggregate, caution: see `ensemble_reward`.
      discount: of the channel.
      name: of the channel.

    Usual mistake: an agent trained far beyond the states that the model was fitted on, which finds what the model
    overrates: look at the true return, and at what the members disagree on (`aggregate="lower_bound"`).

    Source: Christiano et al., "Deep Reinforcement Learning from Human Preferences" (2017).
    """

    def score(batch: Transition) -> Array:
        return predict_reward(model, batch.obs, batch.action, aggregate, caution)[..., None]

    return RewardSource(
        lambda key, spec: (),
        lambda state, batch, key: (score(batch), state),
        lambda state, batch, key: (state, {}),
        (Channel(name, discount=discount),),
        lambda state, batch, stored, key: score(batch),
    )


def predict_reward(
    model: RewardModel, obs: PyTree, action: Array, aggregate: Aggregate = "mean", caution: Array | float = 0.5
) -> Array:
    """The reward of each step, the aggregate of the standardised members; 0 of a model that was never fitted.

    Shapes: leaves `[T, B, ...]`, `[T, B, ...]` -> `[T, B]`. Differentiated: everything.

    Source: Christiano et al., "Deep Reinforcement Learning from Human Preferences" (2017).
    """
    inputs = to_inputs(_normalised(model, obs, action))
    reward = jax.vmap(lambda params: _head(model, params, inputs))(model.params)
    shape = (-1, *[1] * (reward.ndim - 1))
    return ensemble_reward((reward - model.offset.reshape(shape)) / model.scale.reshape(shape), aggregate, caution)


def propose(
    state: PreferenceState,
    key: Array,
    count: int,
    *,
    segment: int,
    pool: int = 10,
    doubt: Doubt | None = "disagreement",
) -> tuple[PreferenceBatch, Array]:
    """Pairs of segments that are worth asking about, and the true rewards of their steps.

    Of `pool * count` pairs, drawn from the newest steps, those that the members of the model doubt most; with
    `doubt=None` or a single member, pairs at random. Their targets are even and their weights 0: nothing is known yet.

    Shapes: -> a batch with `count` queries, rewards `[count, 2, segment, ...]`.

    Source: Lee et al., "B-Pref: Benchmarking Preference-Based Reinforcement Learning" (2021).
    """
    model = state.model
    doubt = None if len(model.offset) == 1 else doubt
    num_pairs = count if doubt is None else pool * count
    (obs, action, reward), mask = draw_segments(state.recent, key, 2 * num_pairs, segment)
    if doubt is None:
        best = jnp.arange(count)
    else:
        inputs = to_inputs(_normalised(model, obs, action))

        def of_member(params: PyTree) -> Array:
            score = segment_score(_head(model, params, inputs), mask).reshape(num_pairs, 2)
            return jax.nn.sigmoid(score[:, 0] - score[:, 1])

        best = select_queries(query_score(jax.vmap(of_member)(model.params), doubt), count)
    obs, action, mask, reward = jax.tree.map(
        lambda x: x.reshape(num_pairs, 2, *x.shape[1:])[best], (obs, action, mask, reward)
    )
    return PreferenceBatch(obs, action, mask, jnp.full((count, 2), 0.5, jnp.float32), weight=jnp.zeros(count)), reward


def answer(state: PreferenceState, batch: PreferenceBatch, start: Array | int) -> PreferenceState:
    """Put answered queries in the rows from `start` on; those before it stay, those after are asked anew.

    Shapes: a batch of at most as many queries as the budget leaves, with `target` and `weight` (0: no answer).

    Source: none.
    """

    def put(kept: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(kept, new.astype(kept.dtype), start, axis=0)

    preferences = jax.tree.map(put, state.preferences, batch)
    return state._replace(preferences=preferences, asked=jnp.int32(start + batch.target.shape[0]))


def _head(model: RewardModel, params: PyTree, inputs: Inputs) -> Array:
    """One member's reward `[T, B]`, as it comes out of its network."""
    return Head(model.hidden, model.activation, model.bounded).apply(params, inputs)  # type: ignore[return-value]


def _encoded(moments: list[RunningMoments], obs: PyTree, action: Array) -> list[Array]:
    """The parts of observation and action, as numbers: the action is the last."""
    *shapes, action_shape = (m.mean.shape for m in moments)
    return [*encode(obs, shapes), *encode(action, [action_shape])]


def _normalised(model: RewardModel, obs: PyTree, action: Array) -> list[Array]:
    parts = _encoded(model.inputs, obs, action)
    return [normalise(x, m, INPUT_CLIP) for x, m in zip(parts, model.inputs, strict=True)]
