"""Rewards from a model of an annotator's answers, which also scores captions that it was never asked about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.exploration.annotation import AnnotationQueue, Annotator, exchange, init_annotations, pay
from rlx.exploration.source import Features, apply
from rlx.nets import Inputs
from rlx.reward import RunningMoments, init_moments, normalise, preference_loss, update_moments
from rlx.types import Array, Channel, EnvSpec, PyTree, RewardSource, Transition

LabelModel = Literal["classification", "ranking"]
LARGEST_RANKING = 2048  # captions: of their pairs there is a table


class LearnedLabelState(NamedTuple):
    """State of `learned_labels`."""

    queue: AnnotationQueue  # of captions, or for "ranking" of pairs
    annotator: PyTree
    count: Array  # int [B, E]: how often each caption has come in the present episode
    params: PyTree
    optimiser: PyTree
    moments: RunningMoments  # of the scores of all steps so far, for "ranking"


def learned_labels(
    caption: Callable[[Transition], Array],
    num_captions: int,
    annotator: Annotator,
    *,
    model: LabelModel = "classification",
    features: Array | None = None,
    threshold: Array | float = -0.5,
    weight: Array | None = None,
    decay: Array | float = 3.0,
    rate: int = 8,
    capacity: int = 64,
    hidden: Sequence[int] = (64,),
    learning_rate: Array | float = 1e-3,
    num_steps: int = 32,
    batch_size: int = 256,
    discount: Array | float | None = None,
    episodic: bool = True,
    name: str = "label",
    axis_name: str | None = None,
) -> RewardSource:
    """Rewards for what a model of an annotator's answers calls helpful: `label_reward` of its scores of captions.

    - "classification": the annotator labels captions, as for `labelled_events`; the score is `1[f > 0]`, with f the
      logit of a label that is above 0.5
    - "ranking": the annotator says which of two captions is better, an answer in [0, 1] to the question `i E + j` (1
      for i, 0.5 for a tie; `scripted_comparer`). f maximises the likelihood of Bradley and Terry (`preference_loss`);
      the score is `z 1[z > threshold]`, where z is f less its mean over all steps so far, over their deviation

    `compute` puts what is new of a batch to the annotator, of pairs such as are drawn from the captions of the batch,
    each as likely however often it came; then it scores. `update` trains f on all answers so far, each as likely.
    Nothing is paid before the first answer. Metrics: `known`, `waiting`, how many questions are; `loss`.

    Args:
      caption, num_captions, annotator, weight, decay, rate, capacity, discount, episodic, name: see `labelled_events`.
      model: what is learned, see above.
      features: `[E, D]` of the captions, by which the model generalises; None: one-hot.
      threshold: of "ranking", in deviations.
      hidden: widths of the model's layers; none: linear.
      learning_rate: of its Adam.
      num_steps: gradient steps in one `update`.
      batch_size: answers in a gradient step, drawn with replacement.
      axis_name: mapped axis from all of whose shards questions are queued, and over which gradients are averaged.

    Usual mistakes: answers weighted by how often their captions come, so that the model learns the commonest alone; a
    threshold on f instead of z, whose zero Bradley and Terry's model leaves open.

    Raises:
      ValueError: for a size or option out of range, features of another number of captions, an annotator with more
        than one label for "ranking".

    Source: Zheng et al., "Online Intrinsic Rewards for Decision Making Agents from Large Language Model Feedback"
    (2024), its classification and ranking variants.
    """
    sizes = dict(num_captions=num_captions, rate=rate, capacity=capacity, num_steps=num_steps, batch_size=batch_size)
    for label, number in sizes.items():
        check.count(label, number)
    check.require(rate <= capacity, "rate", rate, f"at most the capacity {capacity}")
    check.require(model in get_args(LabelModel), "model", model, f"one of {get_args(LabelModel)}")
    check.positive("learning_rate", learning_rate)
    inputs = jnp.eye(num_captions) if features is None else jnp.asarray(features, jnp.float32)
    check.rank("features", inputs, 2)
    check.require(len(inputs) == num_captions, "the captions of features", len(inputs), f"{num_captions}")
    ranking, labels = model == "ranking", annotator.num_labels
    if ranking:
        check.require(num_captions <= LARGEST_RANKING, "num_captions", num_captions, f"at most {LARGEST_RANKING}")
        check.require(labels == 1, "the annotator's number of labels", labels, "1 for 'ranking'")
    network, optimiser = Features(tuple(hidden), labels), optax.adam(learning_rate)

    def init(key: Array, spec: EnvSpec) -> LearnedLabelState:
        annotator_key, network_key = jax.random.split(key)
        queue = init_annotations(num_captions**2 if ranking else num_captions, labels, capacity)
        params = network.init(network_key, Inputs(inputs, None, None))
        count = jnp.zeros((spec.num_envs, num_captions), jnp.int32)
        return LearnedLabelState(
            queue, annotator.init(annotator_key, rate), count, params, optimiser.init(params), init_moments()
        )

    def logits(params: PyTree) -> Array:  # [E, G]
        return apply(network, params, Inputs(inputs, None, None))

    def questions(key: Array, said: Array) -> Array:
        """Captions, or pairs of different ones of which the lower number is the first; -1: none."""
        if not ranking:
            return said.ravel()
        present = jnp.zeros(num_captions, bool).at[jnp.where(said < 0, num_captions, said)].set(True, mode="drop")
        pair = jnp.sort(draw_true(key, present, (2, capacity)), axis=0)
        return jnp.where(pair[0] < pair[1], pair[0] * num_captions + pair[1], -1)

    def compute(state: LearnedLabelState, batch: Transition, key: Array) -> tuple[Array, LearnedLabelState]:
        said = caption(batch)
        new = questions(key, said), None
        queue, memory = exchange(state.queue, state.annotator, annotator, new, rate, axis_name)
        score, moments = logits(state.params), state.moments
        if ranking:
            valid = (said >= 0) & (said < num_captions)
            moments = update_moments(moments, score[said, 0], valid, axis_name=axis_name)
            score = normalise(score, moments)
            score = jnp.where(score > threshold, score, 0.0)
        else:
            score = (score > 0).astype(jnp.float32)
        score = jnp.where(queue.known.any(), score, 0.0)
        rewards, count = pay(score, said, batch, state.count, weight, decay)
        return rewards, state._replace(queue=queue, annotator=memory, count=count, moments=moments)

    def update(state: LearnedLabelState, batch: Transition, key: Array) -> tuple[LearnedLabelState, dict[str, Any]]:
        del batch
        queue = state.queue

        def loss(params: PyTree, row: Array) -> Array:
            score, label = logits(params), queue.label[row]
            if ranking:
                first, second = jnp.divmod(row, num_captions)
                each = preference_loss(score[first] - score[second], label)
            else:
                each = optax.sigmoid_binary_cross_entropy(score[row], (label > 0.5).astype(jnp.float32))
            return jnp.where(queue.known.any(), each.mean(), 0.0)

        def step(carry: tuple[PyTree, PyTree], row: Array) -> tuple[tuple[PyTree, PyTree], Array]:
            params, opt_state = carry
            found = jax.value_and_grad(loss)(params, row)
            value, grads = found if axis_name is None else jax.lax.pmean(found, axis_name)
            updates, opt_state = optimiser.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), value

        rows = draw_true(key, queue.known, (num_steps, batch_size))
        (params, opt_state), losses = jax.lax.scan(step, (state.params, state.optimiser), rows)
        counts = {"known": queue.known, "waiting": queue.waiting >= 0}
        metrics = {name: jnp.sum(x, dtype=jnp.float32) for name, x in counts.items()}
        return state._replace(params=params, optimiser=opt_state), {**metrics, "loss": losses.mean()}

    return RewardSource(init, compute, update, (Channel(name, discount=discount, episodic=episodic),))


def draw_true(key: Array, mask: Array, shape: tuple[int, ...]) -> Array:
    """Indices at which `mask [N]` is true, each as likely, with replacement; any if there are none."""
    before = jnp.cumsum(mask)
    return jnp.searchsorted(before, jax.random.randint(key, shape, 0, jnp.maximum(before[-1], 1)), side="right")
