"""Goals: rewards for what a labeller says has happened, a library of goals and how to draw from it, filters of tasks.

Rewards from labels are one sum, `label_reward`. Its labels may come from a language model, a table of events, or a
judge of outcomes; what differs between the methods is how often the same label is paid in an episode.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array

GoalRule = Literal["uniform", "progress", "window", "least_tried"]


class AnnotationScores(NamedTuple):
    """How well labels agree with the truth; a ratio of nothing to nothing is 0."""

    accuracy: Array
    precision: Array
    recall: Array
    f1: Array


class GoalLibrary(NamedTuple):
    """Goals at a fixed capacity, each a set of atomic events that must all happen in an episode."""

    atoms: Array  # bool [G, W]
    valid: Array  # bool [G]; the other rows are free
    tries: Array  # int [G]
    outcomes: Array  # bool [G, H], the last ones; the newest is last
    action: Array  # int [G, T] of the shortest success so far
    length: Array  # int [G] of that; 0: never reached


def label_reward(label: Array, count: Array, weight: Array | None = None, *, decay: Array | float = 3.0) -> Array:
    """A reward for what a step was labelled with, which pays less each time the label comes again in an episode.

        r = sum_g w_g label_g n_g^-decay

    n includes the present time (`label_count`). With `decay = inf` a label is paid once in an episode, with 0 each
    time.

    Shapes: `[..., G]`, `[..., G]`, `[G]` (ones) -> `[...]`. Differentiated: `label`, `weight`.

    Usual mistake: counts of the whole run, under which the reward fades before the policy has learned anything.

    >>> label_reward(jnp.array([[1.0, 0.0], [0.5, 1.0]]), jnp.array([[2, 0], [1, 1]]), decay=1.0).tolist()
    [0.5, 1.5]

    Raises:
      ValueError: for shapes that do not fit, or a negative `decay`.

    Source: Zheng et al., "Online Intrinsic Rewards for Decision Making Agents from Large Language Model Feedback"
    (2024).
    """
    check.same_shape(label=label, count=count)
    if not (isinstance(decay, float) and decay == math.inf):
        check.in_range("decay", decay, 0.0)
    dtype = jnp.result_type(label, float)
    size = jnp.shape(label)[-1:]
    weight = jnp.ones(size, dtype) if weight is None else jnp.asarray(weight, dtype)
    check.require(weight.shape == size, "the shape of weight", weight.shape, f"{size}")
    share = jax.lax.stop_gradient(jnp.maximum(count, 1).astype(dtype) ** -jnp.asarray(decay, dtype))
    return jnp.sum(weight * label * share, axis=-1)


def label_count(label: Array, done: Array, start: Array) -> tuple[Array, Array]:
    """How often each label has come in the present episode, the present step included.

    Shapes: bool `[T, B, G]`, bool `[T, B]` (the step ended its episode), counts `[B, G]` of the episode so far ->
    counts `[T, B, G]`, and those to go on from `[B, G]`.

    Usual mistake: the counts of a step that ends an episode carried into the next one.

    >>> label, done = jnp.array([[[True]], [[True]], [[True]]]), jnp.array([[False], [True], [False]])
    >>> count, after = label_count(label, done, jnp.zeros((1, 1), jnp.int32))
    >>> count.ravel().tolist(), after.tolist()
    ([1, 2, 1], [[1]])

    Raises:
      ValueError: for shapes that do not fit.

    Source: Zheng et al., "Online Intrinsic Rewards for Decision Making Agents from Large Language Model Feedback"
    (2024).
    """
    _stream(label, done, start)

    def step(count: Array, xs: tuple[Array, Array]) -> tuple[Array, Array]:
        label, done = xs
        count = count + label.astype(count.dtype)
        return jnp.where(done[:, None], 0, count), count

    after, counts = jax.lax.scan(step, jnp.asarray(start), (jnp.asarray(label), jnp.asarray(done)))
    return counts, after


def subgoal_automaton_reward(
    achieved: Array, done: Array, start: Array, *, ordered: bool = False, bonus: Array | float = 1.0
) -> tuple[Array, Array]:
    """Pays each subgoal once in an episode, when it is first achieved, or with `ordered` only the next one in line.

    Shapes: bool `[T, B, G]`, bool `[T, B]` (the step ended its episode), bool `[B, G]` (achieved before the first
    step), `bonus` broadcasts to `[G]` -> rewards `[T, B]`, states `[T + 1, B, G]`. States are what has been achieved in
    the episode *before* each step; the last goes into the next batch. Differentiated: `bonus`.

    Without `ordered` it is `label_reward` at `decay = inf`.

    Usual mistakes: a policy that does not see the state, for which the reward is not Markov; and a subgoal paid again
    once it has been undone.

    >>> achieved = jnp.array([[[False, True]], [[True, True]], [[True, True]]])
    >>> done, start = jnp.zeros((3, 1), bool), jnp.zeros((1, 2), bool)
    >>> [subgoal_automaton_reward(achieved, done, start, ordered=o)[0].ravel().tolist() for o in (False, True)]
    [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]

    Raises:
      ValueError: for shapes that do not fit.

    Source: Pignatelli et al., "Assessing the Zero-Shot Capabilities of LLMs for Action Evaluation in RL" (2024).
    """
    _stream(achieved, done, start)
    bonus = jnp.broadcast_to(jnp.asarray(bonus, jnp.result_type(bonus, float)), jnp.shape(achieved)[-1:])
    start = jnp.asarray(start, bool)

    def step(state: Array, xs: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        achieved, done = xs
        if ordered:
            achieved = achieved & (jnp.cumsum(~state, axis=-1) == 1)  # the first that is missing
        reward = jnp.sum(bonus * (achieved & ~state), axis=-1)
        state = jnp.where(done[:, None], False, state | achieved)
        return state, (reward, state)

    _, (reward, after) = jax.lax.scan(step, start, (jnp.asarray(achieved, bool), jnp.asarray(done)))
    return reward, jnp.concatenate([start[None], after])


def annotation_scores(predicted: Array, actual: Array, mask: Array | None = None) -> AnnotationScores:
    """Accuracy, precision, recall and F1 of binary labels.

        precision = TP / (TP + FP),  recall = TP / (TP + FN),  F1 = 2 TP / (2 TP + FP + FN)

    A labeller with rates tpr and fpr has an F1 of `2 tpr p / (tpr p + fpr (1 - p) + p)` at a base rate p, so two of
    equal F1 need not err in the same way.

    Shapes: bool `[...]` each -> `[]` each.

    Usual mistake: accuracy where positives are rare; a labeller that never says yes has nearly all of it.

    >>> scores = annotation_scores(jnp.array([True, True, False, False]), jnp.array([True, False, True, False]))
    >>> [float(x) for x in scores]
    [0.5, 0.5, 0.5, 0.5]

    Raises:
      ValueError: for shapes that differ.

    Source: van Rijsbergen, "Information Retrieval" (1979).
    """
    mask = jnp.ones(jnp.shape(predicted), bool) if mask is None else jnp.asarray(mask)
    check.same_shape(predicted=predicted, actual=actual, mask=mask)
    predicted, actual = jnp.asarray(predicted), jnp.asarray(actual)

    def number(condition: Array) -> Array:
        return jnp.sum(condition & mask, dtype=jnp.float32)

    def ratio(part: Array, whole: Array) -> Array:
        return part / jnp.maximum(whole, 1)  # numbers of cases: no whole is below 1 but 0

    hits = number(predicted & actual)
    said, true = number(predicted), number(actual)
    return AnnotationScores(
        ratio(number(predicted == actual), number(mask)),
        ratio(hits, said),
        ratio(hits, true),
        ratio(2 * hits, said + true),
    )


def init_goals(capacity: int, atoms: int, *, window: int = 10, horizon: int = 1) -> GoalLibrary:
    """An empty library of goals over `atoms` events, with the last `window` outcomes and the best actions of each.

    Raises:
      ValueError: for a size below 1.
    """
    for name, size in (("capacity", capacity), ("atoms", atoms), ("window", window), ("horizon", horizon)):
        check.count(name, size)
    zeros = jnp.zeros(capacity, jnp.int32)
    return GoalLibrary(
        jnp.zeros((capacity, atoms), bool),
        jnp.zeros(capacity, bool),
        zeros,
        jnp.zeros((capacity, window), bool),
        jnp.zeros((capacity, horizon), jnp.int32),
        zeros,
    )


def add_goal(library: GoalLibrary, atoms: Array, wanted: Array | bool = True) -> tuple[GoalLibrary, Array]:
    """The library with a goal in its first free row, unless it is there already, and the goal's row.

    Shapes: atoms bool `[W]`, `wanted` bool `[]` -> library, int `[]`. The row is -1 where the library is full, the goal
    has no atom, or is not wanted; the library is then as it was. A goal that is already there keeps its record.

    Usual mistake: goals that are reached whatever one does, which fill the library.

    >>> library, row = add_goal(init_goals(2, 3), jnp.array([True, False, True]))
    >>> int(row), library.valid.tolist(), int(add_goal(library, jnp.array([True, False, True]))[1])
    (0, [True, False], 0)

    Raises:
      ValueError: for another number of atoms than the library's.

    Source: Colas et al., "Augmenting Autotelic Agents with Large Language Models" (2023).
    """
    library, atoms = jax.tree.map(jnp.asarray, library), jnp.asarray(atoms, bool)
    shape = library.atoms.shape[1:]
    check.require(atoms.shape == shape, "the shape of atoms", atoms.shape, f"{shape}")
    same = library.valid & jnp.all(library.atoms == atoms, axis=-1)
    known, free = jnp.any(same), ~library.valid
    possible = jnp.asarray(wanted) & jnp.any(atoms) & (known | jnp.any(free))
    row = jnp.where(known, jnp.argmax(same), jnp.argmax(free)).astype(jnp.int32)
    place = jnp.where(possible, row, library.valid.size)  # outside: dropped
    added = library._replace(
        atoms=library.atoms.at[place].set(atoms, mode="drop"), valid=library.valid.at[place].set(True, mode="drop")
    )
    return added, jnp.where(possible, row, -1)


def record_goal(
    library: GoalLibrary, goal: Array, success: Array, action: Array | None = None, length: Array | int = 0
) -> GoalLibrary:
    """The library after one more try at a goal: its outcome, and the actions if no success was as short.

    Shapes: int `[]` (a negative number is no goal), bool `[]`, int `[T]` (None: outcomes only), int `[]` of the steps
    to success.

    Usual mistake: the outcome that the noisy labeller saw counted as the true one when the agent is evaluated.

    >>> library, row = add_goal(init_goals(2, 3, window=4, horizon=2), jnp.array([True, False, True]))
    >>> library = record_goal(library, row, jnp.asarray(True), jnp.array([3, 1]), 2)
    >>> library.outcomes[0].tolist(), library.tries.tolist(), library.action[0].tolist()
    ([False, False, False, True], [1, 0], [3, 1])

    Raises:
      ValueError: for another number of actions than the library keeps.

    Source: Colas et al., "Augmenting Autotelic Agents with Large Language Models" (2023).
    """
    library, goal, success, length = jax.tree.map(jnp.asarray, (library, goal, success, length))
    place = jnp.where(goal < 0, library.valid.size, goal)
    outcomes = jnp.roll(library.outcomes[goal], -1).at[-1].set(success)
    library = library._replace(
        tries=library.tries.at[place].add(1, mode="drop"),
        outcomes=library.outcomes.at[place].set(outcomes, mode="drop"),
    )
    if action is None:
        return library
    shape = library.action.shape[1:]
    check.require(jnp.shape(action) == shape, "the shape of action", jnp.shape(action), f"{shape}")
    best = library.length[goal]
    place = jnp.where(success & ((best == 0) | (length < best)), place, library.valid.size)
    return library._replace(
        action=library.action.at[place].set(action, mode="drop"),
        length=library.length.at[place].set(length, mode="drop"),
    )


def goals_reached(atoms: Array, event: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """Which goals an episode has reached, whatever it was after, and after how many steps.

    Shapes: bool `[G, W]`, int `[T]` (the atom that happened; a number outside 0 to W - 1 is none), bool `[T]` (valid
    steps) -> bool `[G]`, int `[G]`: the step, from 1, at which the last missing atom happened, 0 where some never did.
    A goal without atoms counts as not reached.

    Usual mistake: to relabel with the goal that was pursued only; what was reached by accident is most of what can be
    learned at first.

    >>> reached, steps = goals_reached(jnp.array([[True, True], [False, True]]), jnp.array([1, 5, 0, 1]))
    >>> reached.tolist(), steps.tolist()
    ([True, True], [3, 1])

    Raises:
      ValueError: for shapes that do not fit.

    Source: Colas et al., "Augmenting Autotelic Agents with Large Language Models" (2023).
    """
    check.rank("atoms", atoms, 2)
    check.rank("event", event, 1)
    atoms, event = jnp.asarray(atoms, bool), jnp.asarray(event)
    mask = jnp.ones(event.shape, bool) if mask is None else jnp.asarray(mask)
    check.same_shape(event=event, mask=mask)
    happened = (event[:, None] == jnp.arange(atoms.shape[1])) & mask[:, None]
    first = jnp.where(happened.any(0), jnp.argmax(happened, axis=0) + 1, event.size + 1)
    last = jnp.max(jnp.where(atoms, first, 0), axis=-1)
    reached = (last > 0) & (last <= event.size)
    return reached, jnp.where(reached, last, 0).astype(jnp.int32)


def compose_goal(key: Array, atoms: Array, mastered: Array) -> tuple[Array, Array]:
    """Two mastered goals at random as one: reach both.

    Shapes: key, bool `[G, W]`, bool `[G]` -> atoms bool `[W]`, bool `[]`: false where there are no two.

    >>> compose_goal(jax.random.key(0), jnp.eye(3, dtype=bool), jnp.array([True, False, True]))[0].tolist()
    [True, False, True]

    Raises:
      ValueError: for shapes that do not fit, or fewer than two goals.

    Source: Colas et al., "Augmenting Autotelic Agents with Large Language Models" (2023).
    """
    check.rank("atoms", atoms, 2)
    atoms, mastered = jnp.asarray(atoms, bool), jnp.asarray(mastered, bool)
    check.require(mastered.shape == atoms.shape[:1], "the shape of mastered", mastered.shape, f"{atoms.shape[:1]}")
    check.require(len(mastered) > 1, "the number of goals", len(mastered), "at least 2")
    _, pair = jax.lax.top_k(jnp.where(mastered, jax.random.uniform(key, mastered.shape), -1.0), 2)
    return jnp.any(atoms[pair], axis=0), mastered.sum() > 1


def goal_prob(
    outcomes: Array,
    tries: Array,
    valid: Array,
    *,
    rule: GoalRule = "progress",
    floor: Array | float = 0.1,
    low: Array | float = 0.1,
    high: Array | float = 0.9,
) -> Array:
    """The probability with which each goal is tried next.

    - "uniform": all the same
    - "progress": in proportion to `floor + |p_new - p_old|`, success rates in the newer and older half of the window
    - "window": to `floor + 1[low <= p <= high]`: neither too hard nor too easy; a goal never tried is in the window
    - "least_tried": uniform among those with the fewest tries

    A half of the window without a try has a success rate of 0. What a proposer sees of the place is a mask too: goals
    that cannot be pursued there are not valid.

    Shapes: bool `[G, H]` (the newest last), int `[G]`, bool `[G]` -> `[G]`, of sum 1, or 0 without a valid goal.

    Usual mistake: learning progress without its sign removed: goals that are being forgotten are then never tried.

    >>> outcomes = jnp.array([[False, False, True, True], [True, True, True, True], [False, False, False, False]])
    >>> goal_prob(outcomes, jnp.array([9, 9, 9]), jnp.ones(3, bool), floor=1.0).tolist()
    [0.5, 0.25, 0.25]

    Raises:
      ValueError: for an unknown rule, a window below 2, or shapes that do not fit.

    Source: Baranes and Oudeyer, "Active Learning of Inverse Models with Intrinsically Motivated Goal Exploration in
    Robots" (2013); Florensa et al., "Automatic Goal Generation for Reinforcement Learning Agents" (2018) for "window";
    Zhou et al., "Proposer-Agent-Evaluator (PAE): Autonomous Skill Discovery for Foundation Model Internet Agents"
    (2024) for proposals in context.
    """
    check.require(rule in get_args(GoalRule), "rule", rule, f"one of {get_args(GoalRule)}")
    check.rank("outcomes", outcomes, 2)
    check.same_shape(tries=tries, valid=valid)
    outcomes, tries, valid = jnp.asarray(outcomes), jnp.asarray(tries), jnp.asarray(valid)
    size = outcomes.shape[1]
    check.require(outcomes.shape[:1] == valid.shape, "the shape of outcomes", outcomes.shape, f"({valid.size}, H)")
    check.require(size > 1, "the window", size, "at least 2 outcomes")
    known = jnp.arange(size) >= size - tries[:, None]

    def rate(part: slice) -> Array:
        return jnp.sum((outcomes & known)[:, part], -1) / jnp.maximum(jnp.sum(known[:, part], -1), 1)

    if rule == "progress":
        weight = floor + jnp.abs(rate(slice(size // 2, None)) - rate(slice(None, size // 2)))
    elif rule == "window":
        p = rate(slice(None))
        weight = floor + ((tries == 0) | ((p >= low) & (p <= high)))
    elif rule == "least_tried":
        weight = 1.0 * (tries == jnp.min(jnp.where(valid, tries, jnp.iinfo(tries.dtype).max)))
    else:
        weight = jnp.ones(valid.shape)
    weight = jnp.where(valid, weight, 0.0)
    total = weight.sum()
    return weight / jnp.where(total > 0, total, 1.0)


def task_filter(
    returns: Array,
    control: Array,
    *,
    solved_return: Array | float,
    solved_share: Array | float,
    better_margin: Array | float,
    better_share: Array | float,
    control_limit: Array | float,
) -> Array:
    """Which tasks are worth training on: not yet easy, done better than by a control policy, and not by the control.

        Pr[R > solved_return] < solved_share,   Pr[R > mean C + better_margin] > better_share,   mean C < control_limit

    Shapes: returns of M episodes in each of N tasks `[N, M]`, of the control policy `[N, M']` -> bool `[N]`.

    With `solved_share > 1`, `better_share < 0` and `control_limit = inf` every task passes.

    Usual mistake: probabilities from the episodes that are trained on.

    >>> returns, control = jnp.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]), jnp.zeros((3, 2))
    >>> limits = dict(solved_return=0.5, solved_share=0.9, better_margin=0.1, better_share=0.2, control_limit=0.5)
    >>> task_filter(returns, control, **limits).tolist()
    [True, False, False]

    Raises:
      ValueError: for arrays that are not matrices of as many tasks.

    Source: Open Ended Learning Team, "Open-Ended Learning Leads to Generally Capable Agents" (2021).
    """
    check.rank("returns", returns, 2)
    check.rank("control", control, 2)
    returns, control = jnp.asarray(returns), jnp.asarray(control)
    check.require(len(returns) == len(control), "the tasks of control", len(control), f"{len(returns)}, as of returns")
    mean = control.mean(-1)
    easy = jnp.mean(returns > solved_return, axis=-1) >= solved_share
    better = jnp.mean(returns > (mean + better_margin)[:, None], axis=-1) > better_share
    return ~easy & better & (mean < control_limit)


def _stream(label: Array, done: Array, start: Array) -> None:
    check.rank("labels", label, 3)
    steps, envs, size = jnp.shape(label)
    check.require(jnp.shape(done) == (steps, envs), "the shape of done", jnp.shape(done), f"{(steps, envs)}")
    check.require(jnp.shape(start) == (envs, size), "the shape of start", jnp.shape(start), f"{(envs, size)}")
