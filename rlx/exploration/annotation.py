"""Labels from whoever can give them (a language model, a vision model, a person), while training goes on.

What happened in a step has a *caption*, a number. Captions that were never seen before wait in a queue of fixed size, a
few at a time are put to an `Annotator`, and answers are kept in a table when they come, which may be much later.
Rewards are read from the table. `scripted_annotator` stands in for all who answer; a
`rlx.runtime.annotation.HostAnnotator` asks any Python function in threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.exploration.goals import label_count, label_reward
from rlx.types import Array, Channel, EnvSpec, PyTree, RewardSource, Transition


class Answers(NamedTuple):
    """Labels of captions, at a fixed number of rows."""

    caption: Array  # int [R]; -1: no answer
    label: Array  # [R, G]
    valid: Array  # bool [R]: false where the annotator had nothing to say, and is not asked again


class Annotator(NamedTuple):
    """Whoever labels captions. `ask` gives back at once what was answered by then, to this or earlier questions."""

    # (key, how many are asked at a time) -> state
    init: Callable[[Array, int], PyTree]
    # (state, captions [R], -1 for none, their contents [R, ...] or None) -> answers, state
    ask: Callable[[PyTree, Array, PyTree], tuple[Answers, PyTree]]
    num_labels: int  # G


class AnnotationQueue(NamedTuple):
    """Captions that wait to be labelled, and the labels of all captions so far."""

    waiting: Array  # int [Q], the newest last; -1 in free rows, which come first
    content: PyTree  # leaves [Q, ...]: what is shown with a caption; None for nothing
    asked: Array  # bool [E]: waiting, or asked about already
    label: Array  # [E, G], zeros where unknown
    known: Array  # bool [E]


def init_annotations(captions: int, labels: int, capacity: int, content: PyTree = None) -> AnnotationQueue:
    """An empty queue of `capacity` for `captions` different ones, each with `labels` numbers; `content` is an example.

    Raises:
      ValueError: for a size below 1.
    """
    for name, size in (("captions", captions), ("labels", labels), ("capacity", capacity)):
        check.count(name, size)
    kept = jax.tree.map(lambda x: jnp.zeros((capacity, *jnp.shape(x)), jnp.result_type(x)), content)
    flags = jnp.zeros(captions, bool)
    return AnnotationQueue(jnp.full(capacity, -1, jnp.int32), kept, flags, jnp.zeros((captions, labels)), flags)


def push_captions(
    queue: AnnotationQueue, caption: Array, content: PyTree = None, mask: Array | None = None
) -> AnnotationQueue:
    """The queue with all captions that were never asked about, each once, in the order in which they came last.

    What does not fit pushes out the oldest ones, which may come again.

    Shapes: int `[N]` (a number outside 0 to E - 1 is none), leaves `[N, ...]`, bool `[N]`.

    Usual mistake: a queue that gives out the oldest first: it labels what the policy did long ago.

    >>> queue = push_captions(init_annotations(9, 1, 3), jnp.array([4, 7, 4, 2, 5]))
    >>> queue.waiting.tolist(), queue.asked.nonzero()[0].tolist()
    ([4, 2, 5], [2, 4, 5])

    Raises:
      ValueError: for shapes that differ.

    Source: Zheng et al., "Online Intrinsic Rewards for Decision Making Agents from Large Language Model Feedback"
    (2024).
    """
    check.rank("caption", caption, 1)
    mask = jnp.ones(jnp.shape(caption), bool) if mask is None else jnp.asarray(mask)
    check.same_shape(caption=caption, mask=mask)
    queue, caption = jax.tree.map(jnp.asarray, (queue, caption))
    num, capacity, order = queue.asked.size, queue.waiting.size, jnp.arange(caption.size)
    place = jnp.where(mask & (caption >= 0) & (caption < num), caption, num)  # outside: dropped
    last = jnp.zeros(num + 1, order.dtype).at[place].max(order)
    fresh = (place < num) & ~jnp.append(queue.asked, True)[place] & (last[place] == order)
    candidates = jnp.append(queue.waiting, jnp.where(fresh, caption, -1).astype(queue.waiting.dtype))
    by_age = jnp.argsort(candidates >= 0, stable=True)  # free rows first
    gone, kept = by_age[:-capacity], by_age[-capacity:]
    waiting = candidates[kept]
    asked = queue.asked.at[jnp.where(candidates[gone] >= 0, candidates[gone], num)].set(False, mode="drop")
    asked = asked.at[jnp.where(waiting >= 0, waiting, num)].set(True, mode="drop")
    contents = jax.tree.map(lambda old, new: jnp.concatenate([old, new])[kept], queue.content, content)
    return queue._replace(waiting=waiting, content=contents, asked=asked)


def pop_captions(queue: AnnotationQueue, num: int) -> tuple[AnnotationQueue, Array, PyTree]:
    """The queue without its `num` newest captions, these, newest first, and their contents.

    Shapes: queue -> queue, int `[num]` (-1 where nothing waited), leaves `[num, ...]`.

    >>> queue = push_captions(init_annotations(9, 1, 3), jnp.array([4, 7]))
    >>> queue, caption, _ = pop_captions(queue, 3)
    >>> caption.tolist(), queue.waiting.tolist()
    ([7, 4, -1], [-1, -1, -1])

    Raises:
      ValueError: unless `num` is at least 1 and no more than the queue holds.

    Source: Zheng et al., "Online Intrinsic Rewards for Decision Making Agents from Large Language Model Feedback"
    (2024).
    """
    check.count("num", num)
    check.require(num <= queue.waiting.size, "num", num, f"at most {queue.waiting.size}, what the queue holds")
    waiting = jnp.roll(queue.waiting, num).at[:num].set(-1)
    content = jax.tree.map(lambda x: jnp.roll(x, num, axis=0), queue.content)
    newest = jax.tree.map(lambda x: jnp.flip(x[-num:], 0), (queue.waiting, queue.content))
    return queue._replace(waiting=waiting, content=content), *newest


def store_labels(queue: AnnotationQueue, answers: Answers) -> AnnotationQueue:
    """The queue with the labels of the answers that are valid; a caption is not asked about again in any case.

    >>> queue = init_annotations(3, 1, 2)
    >>> answers = Answers(jnp.array([2, -1]), jnp.ones((2, 1)), jnp.ones(2, bool))
    >>> store_labels(queue, answers).label.ravel().tolist()
    [0.0, 0.0, 1.0]

    Raises:
      ValueError: for another number of labels than the queue's.
    """
    wanted = (*jnp.shape(answers.caption), queue.label.shape[1])
    check.require(jnp.shape(answers.label) == wanted, "the shape of label", jnp.shape(answers.label), f"{wanted}")
    queue, caption = jax.tree.map(jnp.asarray, (queue, answers.caption))
    came = jnp.where(caption >= 0, caption, queue.asked.size)
    place = jnp.where(answers.valid, came, queue.asked.size)
    return queue._replace(
        asked=queue.asked.at[came].set(True, mode="drop"),
        label=queue.label.at[place].set(jnp.asarray(answers.label, queue.label.dtype), mode="drop"),
        known=queue.known.at[place].set(True, mode="drop"),
    )


def noisy_labels(
    key: Array,
    truth: Array,
    *,
    tpr: Array | float = 1.0,
    fpr: Array | float = 0.0,
    coverage: Array | float = 1.0,
) -> tuple[Array, Array]:
    """What an imperfect annotator says: true labels are seen with probability `tpr`, others imagined with `fpr`.

    Shapes: key, bool `[..., G]` -> bool `[..., G]`, bool `[...]`: whether there was an answer, with probability
    `coverage`.

    For comparisons instead of labels see `rlx.reward.synthetic_teacher`.

    >>> label, valid = noisy_labels(jax.random.key(0), jnp.array([[True], [False]]), coverage=0.0)
    >>> label.tolist(), valid.tolist()
    ([[True], [False]], [False, False])

    Raises:
      ValueError: for a probability outside [0, 1].

    Source: Pignatelli et al., "Assessing the Zero-Shot Capabilities of LLMs for Action Evaluation in RL" (2024), which
    measures these errors of language models.
    """
    check.in_range("tpr", tpr, 0.0, 1.0)
    check.in_range("fpr", fpr, 0.0, 1.0)
    check.in_range("coverage", coverage, 0.0, 1.0)
    truth = jnp.asarray(truth, bool)
    label_key, valid_key = jax.random.split(key)
    label = jax.random.uniform(label_key, truth.shape) < jnp.where(truth, tpr, fpr)
    return label, jax.random.uniform(valid_key, truth.shape[:-1]) < coverage


def scripted_annotator(
    truth: Array,
    *,
    tpr: Array | float = 1.0,
    fpr: Array | float = 0.0,
    coverage: Array | float = 1.0,
    latency: int = 0,
) -> Annotator:
    """A stand-in for all annotators: the truth bool `[E, G]` with errors (`noisy_labels`), `latency` questions later.

    What it says of a caption is drawn once, in `init`.

    Raises:
      ValueError: for a table that is not a matrix, a probability outside [0, 1], or a negative latency.
    """
    check.rank("truth", truth, 2)
    check.count("latency", latency, 0)

    return late_annotator(
        lambda key: noisy_labels(key, truth, tpr=tpr, fpr=fpr, coverage=coverage), jnp.shape(truth)[1], latency
    )


def scripted_comparer(
    utility: Array, *, scale: Array | float = math.inf, coverage: Array | float = 1.0, latency: int = 0
) -> Annotator:
    """A stand-in for annotators that compare: whether the first of two captions is the better one.

        Pr[1] = sigmoid(scale (u_i - u_j)),   0.5 where u_i = u_j

    For `utility [E]` its captions are the `E^2` questions `i E + j`, its one label is 1 where i is better, else 0. What
    it says of a question is drawn once, in `init`; it goes with what it says of `j E + i` only without noise.

    Raises:
      ValueError: for a utility that is not a vector, a negative scale, a coverage outside [0, 1], a negative latency.
    """
    check.rank("utility", utility, 1)
    check.in_range("coverage", coverage, 0.0, 1.0)
    check.count("latency", latency, 0)
    if not (isinstance(scale, float) and scale == math.inf):
        check.in_range("scale", scale, 0.0)
    utility = jnp.asarray(utility, jnp.float32)
    ahead = (utility[:, None] - utility).ravel()

    def draw(key: Array) -> tuple[Array, Array]:
        answer_key, valid_key = jax.random.split(key)
        chosen = jax.random.bernoulli(answer_key, jax.nn.sigmoid(jnp.where(ahead == 0, 0.0, scale * ahead)))
        label = jnp.where(ahead == 0, 0.5, chosen)[:, None]
        return label, jax.random.bernoulli(valid_key, coverage, ahead.shape)

    return late_annotator(draw, 1, latency)


def late_annotator(draw: Callable[[Array], tuple[Array, Array]], labels: int, latency: int) -> Annotator:
    """Says what `draw(key) -> ([E, G], bool [E])` gave, `latency` questions after it was asked."""

    def init(key: Array, num: int) -> PyTree:
        return *draw(key), jnp.full((latency, num), -1, jnp.int32)

    def ask(state: PyTree, caption: Array, content: PyTree) -> tuple[Answers, PyTree]:
        del content
        label, valid, under_way = state
        under_way = jnp.concatenate([under_way, caption[None].astype(jnp.int32)])
        due = under_way[0]
        answers = Answers(due, label[due].astype(jnp.float32), valid[due])
        return answers, (label, valid, under_way[1:])

    return Annotator(init, ask, labels)


def exchange(
    queue: AnnotationQueue,
    memory: PyTree,
    annotator: Annotator,
    new: tuple[Array, PyTree],
    rate: int,
    axis_name: str | None,
) -> tuple[AnnotationQueue, PyTree]:
    """The queue and the annotator's state once `new` captions wait, `rate` are asked and answers are stored."""
    if axis_name is not None:
        new = jax.lax.all_gather(new, axis_name, tiled=True)
    queue, asked, shown = pop_captions(push_captions(queue, *new), rate)
    answers, memory = annotator.ask(memory, asked, shown)
    return store_labels(queue, answers), memory


def pay(
    label: Array, caption: Array, batch: Transition, start: Array, weight: Array | None, decay: Array | float
) -> tuple[Array, Array]:
    """`label_reward` `[T, B, 1]` of the labels `[E, G]` of captions `[T, B]`, and the counts `[B, E]` to go on from."""
    num = len(label)
    happened = caption[..., None] == jnp.arange(num)
    count, after = label_count(happened, batch.terminated | batch.truncated, start)
    row = jnp.clip(caption, 0, num - 1)
    said = jnp.where(happened.any(-1, keepdims=True), label[row], 0.0)
    times = jnp.broadcast_to(jnp.take_along_axis(count, row[..., None], -1), said.shape)
    return label_reward(said, times, weight, decay=decay)[..., None], after


class LabelState(NamedTuple):
    """State of `labelled_events`."""

    queue: AnnotationQueue
    annotator: PyTree
    count: Array  # int [B, E]: how often each caption has come in the present episode


def labelled_events(
    caption: Callable[[Transition], Array],
    num_captions: int,
    annotator: Annotator,
    *,
    content: Callable[[Transition], PyTree] | None = None,
    weight: Array | None = None,
    decay: Array | float = 3.0,
    rate: int = 8,
    capacity: int = 64,
    discount: Array | float | None = None,
    episodic: bool = True,
    name: str = "label",
    axis_name: str | None = None,
) -> RewardSource:
    """Rewards for what an annotator calls helpful: `label_reward` of the labels known so far of each step's caption.

    `compute` queues captions that are new, puts the `rate` newest to the annotator, stores what answers have come, then
    scores the batch: unknown captions pay nothing. Metrics: `known`, `waiting`, how many captions are.

    Args:
      caption: of a batch: int `[T, B]`, from 0 to `num_captions - 1`; another number is none.
      num_captions: how many there are: the size of the table of labels. Captions that cannot be counted are hashed
        (`rlx.exploration.simhash`).
      annotator: who labels.
      content: of a batch: what is shown with the caption (an image), leaves `[T, B, ...]`; None: the caption alone.
      weight: of the labels, `[G]`; None: ones.
      decay: see `label_reward`. With 0 the agent may farm an event that can be repeated.
      rate: captions put to the annotator in one `compute`.
      capacity: of the queue.
      discount: of the channel.
      episodic: whether the channel's value ends with the episode.
      name: of the channel.
      axis_name: mapped axis from all of whose shards captions are queued.

    Raises:
      ValueError: for sizes below 1, or a `rate` above the capacity.

    Source: Zheng et al., "Online Intrinsic Rewards for Decision Making Agents from Large Language Model Feedback"
    (2024), its retrieval variant; for the others see `rlx.exploration.labels`.
    """
    for label, number in (("num_captions", num_captions), ("rate", rate), ("capacity", capacity)):
        check.count(label, number)
    check.require(rate <= capacity, "rate", rate, f"at most the capacity {capacity}")

    def init(key: Array, spec: EnvSpec) -> LabelState:
        example = None
        if content is not None:
            shown = jax.eval_shape(content, _example(spec))
            example = jax.tree.map(lambda x: jnp.zeros(x.shape[2:], x.dtype), shown)
        queue = init_annotations(num_captions, annotator.num_labels, capacity, example)
        return LabelState(queue, annotator.init(key, rate), jnp.zeros((spec.num_envs, num_captions), jnp.int32))

    def compute(state: LabelState, batch: Transition, key: Array) -> tuple[Array, LabelState]:
        del key
        said = caption(batch)
        new = said, None if content is None else content(batch)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), new)
        queue, memory = exchange(state.queue, state.annotator, annotator, flat, rate, axis_name)
        rewards, count = pay(queue.label, said, batch, state.count, weight, decay)
        return rewards, LabelState(queue, memory, count)

    def update(state: LabelState, batch: Transition, key: Array) -> tuple[LabelState, dict[str, Any]]:
        del batch, key
        queue = state.queue
        counts = {"known": queue.known, "waiting": queue.waiting >= 0}
        return state, {name: jnp.sum(x, dtype=jnp.float32) for name, x in counts.items()}

    return RewardSource(init, compute, update, (Channel(name, discount=discount, episodic=episodic),))


def _example(spec: EnvSpec) -> Transition:
    """A batch of one step, to be traced only."""
    key = jax.random.key(0)
    obs, action = (
        jax.tree.map(lambda x: jnp.broadcast_to(x, (1, spec.num_envs, *jnp.shape(x))), space.sample(key))
        for space in (spec.observation_space, spec.action_space)
    )
    zeros, flags = jnp.zeros((1, spec.num_envs)), jnp.zeros((1, spec.num_envs), bool)
    return Transition(obs, action, zeros, zeros, flags, flags, obs)
