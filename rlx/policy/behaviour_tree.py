"""Behaviour trees as arrays: policies that can be read, run for many trees and many environments at once.

A tree is written in depth-first order, a node with its kind, an argument and its depth; so the nodes below one follow
it without a gap, and to exchange two subtrees is to splice two lists. Rows after the last node have depth -1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array

SUCCESS, FAILURE, RUNNING = range(3)
KINDS = ("sequence", "selector", "inverter", "condition", "action", "task")
SEQUENCE, SELECTOR, INVERTER, CONDITION, ACTION, TASK = range(len(KINDS))


class BehaviourTree(NamedTuple):
    """A tree of at most `N` nodes in depth-first order.

    >>> KINDS[0], BehaviourTree(jnp.array([ACTION]), jnp.array([2]), jnp.array([0])).arg.tolist()
    ('sequence', [2])
    """

    kind: Array  # int [N], index into `KINDS`
    arg: Array  # int [N]: which condition, action or task; of no meaning at other nodes
    depth: Array  # int [N], 0 for the root; -1 after the last node


def bt_tick(tree: BehaviourTree, condition: Array, task: Array) -> tuple[Array, Array]:
    """What a tree answers, and the action that it chooses.

    - "sequence": the answer of the first child that does not succeed; success if all do
    - "selector": the answer of the first child that does not fail; failure if all do
    - "inverter": success for its child's failure and the reverse
    - "condition": success or failure, as `condition[arg]`
    - "action", "task": running, and claims action `arg`, or `task[arg]`: what a network chose

    A running child ends its composite, so one tick claims at most one action. Nothing is remembered between ticks:
    composites begin with their first child again.

    Shapes: `[N]` each, bool `[P]`, int `[M]` -> int `[]` (0 success, 1 failure, 2 running), int `[]`: -1 where no
    action is claimed. Trees and observations are vmapped over.

    Usual mistake: a composite that goes on with the child that was running (in py_trees `memory=True`), by which
    conditions before it are not looked at again.

    >>> tree = BehaviourTree(jnp.array([SELECTOR, SEQUENCE, CONDITION, ACTION, ACTION]),
    ...                      jnp.array([0, 0, 0, 3, 1]), jnp.array([0, 1, 2, 2, 1]))
    >>> [[int(x) for x in bt_tick(tree, jnp.array([seen]), jnp.zeros(1, jnp.int32))] for seen in (True, False)]
    [[2, 3], [2, 1]]

    Raises:
      ValueError: for arrays of the tree that differ in length, or no condition or task.

    Source: Colledanchise and Ögren, "Behavior Trees in Robotics and AI" (2018); as policies with networks as
    leaves "Agents Play Thousands of 3D Video Games" (2025).
    """
    check.rank("kind", tree.kind, 1)
    check.same_shape(**tree._asdict())
    check.rank("condition", condition, 1)
    check.rank("task", task, 1)
    condition, task = jnp.asarray(condition), jnp.asarray(task, jnp.int32)
    for name, x in (("condition", condition), ("task", task)):
        check.require(x.size > 0, name, x.shape, "at least one")
    size = tree.kind.size
    # an answer is one number: success, failure, or RUNNING + the action
    met = condition[jnp.clip(tree.arg, 0, condition.size - 1)]
    action = jnp.where(tree.kind == TASK, task[jnp.clip(tree.arg, 0, task.size - 1)], tree.arg)
    leaf = jnp.where(tree.kind == CONDITION, jnp.where(met, SUCCESS, FAILURE), RUNNING + action)

    def visit(answers: tuple[Array, Array], node: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], None]:
        """Nodes come last first; `answers [N + 1]` are those of the list of siblings so far, at each depth."""
        as_sequence, as_selector = answers
        kind, leaf, depth = node
        below = depth + 1
        all_of, one_of = as_sequence[below], as_selector[below]
        inverted = jnp.where(one_of == SUCCESS, FAILURE, jnp.where(one_of == FAILURE, SUCCESS, one_of))
        composite = jnp.where(kind == SEQUENCE, all_of, jnp.where(kind == SELECTOR, one_of, inverted))
        own = jnp.where(kind >= CONDITION, leaf, composite)
        used = depth >= 0
        here = jnp.arange(size + 1) == depth
        emptied = jnp.arange(size + 1) == below  # the next list at that depth is another parent's

        def put(answers: Array, passes: int) -> Array:
            new = jnp.where(own == passes, answers, own)
            return jnp.where(used & here, new, jnp.where(used & emptied, passes, answers))

        return (put(as_sequence, SUCCESS), put(as_selector, FAILURE)), None

    start = jnp.full(size + 1, SUCCESS), jnp.full(size + 1, FAILURE)
    # the root is a list of one, whose answer as a selector is its own
    (_, answer), _ = jax.lax.scan(visit, start, (tree.kind, leaf, tree.depth), reverse=True)
    found = answer[0]
    return jnp.minimum(found, RUNNING), jnp.where(found >= RUNNING, found - RUNNING, -1)


def bt_splice(tree: BehaviourTree, at: Array | int, graft: BehaviourTree, root: Array | int = 0) -> BehaviourTree:
    """`tree` with the subtree at node `at` replaced by the subtree of `graft` at `root`.

    Shapes: `[N]` each, int `[]`, `[M]` each, int `[]` -> `[N]` each. Where the result would have more than N nodes, or
    either place is empty, it is `tree`.

    >>> tree = BehaviourTree(jnp.array([SEQUENCE, CONDITION, ACTION, 0]), jnp.array([0, 1, 2, 0]),
    ...                      jnp.array([0, 1, 1, -1]))
    >>> leaf = BehaviourTree(jnp.array([ACTION]), jnp.array([4]), jnp.array([0]))
    >>> [x.tolist() for x in bt_splice(tree, 1, leaf)]
    [[0, 4, 4, 0], [0, 4, 2, 0], [0, 1, 1, -1]]

    Raises:
      ValueError: for arrays of a tree that differ in length.

    Source: Koza, "Genetic Programming" (1992).
    """
    for each in (tree, graft):
        check.rank("kind", each.kind, 1)
        check.same_shape(**each._asdict())
    tree, graft = (BehaviourTree(*map(jnp.asarray, each)) for each in (tree, graft))
    at, root = jnp.asarray(at), jnp.asarray(root)
    size = tree.kind.size
    out, taken = bt_size(tree, at), bt_size(graft, root)
    length = jnp.sum(tree.depth >= 0) - out + taken
    place = jnp.arange(size)
    grafted = (place >= at) & (place < at + taken)
    from_graft = jnp.clip(place - at + root, 0, graft.kind.size - 1)
    from_tree = jnp.clip(jnp.where(place < at, place, place - taken + out), 0, size - 1)
    depth = jnp.where(grafted, graft.depth[from_graft] - graft.depth[root] + tree.depth[at], tree.depth[from_tree])
    used = place < length
    spliced = BehaviourTree(
        jnp.where(used, jnp.where(grafted, graft.kind[from_graft], tree.kind[from_tree]), 0),
        jnp.where(used, jnp.where(grafted, graft.arg[from_graft], tree.arg[from_tree]), 0),
        jnp.where(used, depth, -1),
    )
    fits = (length <= size) & (out > 0) & (taken > 0)
    return jax.tree.map(lambda new, old: jnp.where(fits, new, old), spliced, tree)


def bt_size(tree: BehaviourTree, at: Array | int = 0) -> Array:
    """The number of nodes of the subtree at node `at`, itself included; 0 at an empty row: int `[]`.

    >>> tree = BehaviourTree(jnp.array([SELECTOR, SEQUENCE, CONDITION, ACTION, ACTION]),
    ...                      jnp.array([0, 0, 0, 3, 1]), jnp.array([0, 1, 2, 2, 1]))
    >>> [int(bt_size(tree, at)) for at in range(5)]
    [5, 3, 1, 1, 1]
    """
    depth = jnp.asarray(tree.depth)
    after = jnp.arange(depth.size) > at
    ends = jnp.where(after & (depth <= depth[at]), jnp.arange(depth.size), depth.size)
    return jnp.where(depth[at] >= 0, jnp.min(ends) - at, 0)


def bt_random(
    key: Array, capacity: int, *, conditions: int, actions: int, tasks: int = 0, branches: int = 2
) -> BehaviourTree:
    """A random tree of one idea: a selector over up to `branches` rules "if conditions, then act", and a last resort.

    A rule is a sequence of one or two conditions, each inverted with probability 1/2, and an action or task; the last
    child of the root is an action or task. Each is drawn uniformly.

    Shapes: key -> `[capacity]` each. Rules that do not fit are left out.

    >>> tree = bt_random(jax.random.key(0), 16, conditions=3, actions=4)
    >>> int(tree.kind[0]) == SELECTOR, int(bt_tick(tree, jnp.zeros(3, bool), jnp.zeros(1, jnp.int32))[0]) == RUNNING
    (True, True)

    Raises:
      ValueError: for a number below 1 (0 of tasks), or a capacity of fewer than 2 nodes.

    Source: "Agents Play Thousands of 3D Video Games" (2025), for trees of rules with actions and networks as leaves.
    """
    check.count("capacity", capacity, 2)
    for name, number in (("conditions", conditions), ("actions", actions), ("branches", branches)):
        check.count(name, number)
    check.count("tasks", tasks, 0)
    keys = iter(jax.random.split(key, 6))
    rules = jax.random.randint(next(keys), (), 1, branches + 1)
    two = jax.random.bernoulli(next(keys), 0.5, (branches,))
    invert = jax.random.bernoulli(next(keys), 0.5, (branches, 2))
    met = jax.random.randint(next(keys), (branches, 2), 0, conditions)
    act = jax.random.randint(next(keys), (branches + 1,), 0, actions + tasks)
    exists = jnp.arange(branches) < rules
    # each rule is six rows, some left out: sequence, inverter, condition, inverter, condition, action
    acts = jnp.where(act < actions, ACTION, TASK), jnp.where(act < actions, act, act - actions)
    ones = jnp.ones(branches, jnp.int32)
    kind = jnp.stack(
        [ones * SEQUENCE, ones * INVERTER, ones * CONDITION, ones * INVERTER, ones * CONDITION, acts[0][1:]]
    )
    arg = jnp.stack([0 * ones, 0 * ones, met[:, 0], 0 * ones, met[:, 1], acts[1][1:]])
    deeper = 2 + invert
    depth = jnp.stack([ones, 2 * ones, deeper[:, 0], 2 * ones, deeper[:, 1], 2 * ones])
    there = jnp.stack([exists, exists & invert[:, 0], exists, exists & two & invert[:, 1], exists & two, exists])
    fits = jnp.cumsum(there.sum(0)) + 2 <= capacity
    rows = [(kind, arg, depth), there & fits]
    flat = [
        jnp.concatenate([jnp.array([first]), x.T.ravel(), jnp.array([last])])
        for x, first, last in zip(rows[0], (SELECTOR, 0, 0), (acts[0][0], acts[1][0], 1), strict=True)
    ]
    used = jnp.concatenate([jnp.array([True]), rows[1].T.ravel(), jnp.array([True])])
    place = jnp.where(used, jnp.cumsum(used) - 1, capacity)
    empty = jnp.zeros(capacity, jnp.int32), jnp.zeros(capacity, jnp.int32), jnp.full(capacity, -1, jnp.int32)
    return BehaviourTree(*(e.at[place].set(x.astype(jnp.int32), mode="drop") for e, x in zip(empty, flat, strict=True)))


def bt_mutate(
    key: Array, tree: BehaviourTree, donor: BehaviourTree, *, conditions: int, actions: int, tasks: int = 0
) -> BehaviourTree:
    """One small change at random: a leaf gets another argument, a composite becomes the other kind, or a subtree is
    replaced by one of the donor's of the same type.

    There are two types of subtree: conditions, inverted or not, and the rest, so that rules stay rules. The donor may
    be another tree (crossover) or a fresh one. The root is not replaced. What would have too many nodes stays as it is.

    Shapes: key, `[N]` each, `[M]` each -> `[N]` each.

    Usual mistake: replacement by subtrees of any type, which makes most trees do nothing.

    >>> keys = jax.random.split(jax.random.key(1), 3)
    >>> a, b = (bt_random(k, 16, conditions=3, actions=4) for k in keys[:2])
    >>> int(bt_size(bt_mutate(keys[2], a, b, conditions=3, actions=4))) <= 16
    True

    Raises:
      ValueError: for arrays of a tree that differ in length, or a number below 1 (0 of tasks).

    Source: Koza, "Genetic Programming" (1992); "Agents Play Thousands of 3D Video Games" (2025).
    """
    check.count("conditions", conditions)
    check.count("actions", actions)
    check.count("tasks", tasks, 0)
    tree, donor = (BehaviourTree(*map(jnp.asarray, each)) for each in (tree, donor))
    which_key, node_key, other_key, value_key, donor_key = jax.random.split(key, 5)
    used = tree.depth >= 0
    node = jax.random.categorical(node_key, jnp.where(used, 0.0, -jnp.inf))
    kind = tree.kind[node]

    tests = jax.random.randint(value_key, (), 0, conditions)
    acts = jax.random.randint(value_key, (), 0, actions + tasks)
    acting = (kind == ACTION) | (kind == TASK)
    new_kind = jnp.where(acting, jnp.where(acts < actions, ACTION, TASK), kind)
    new_kind = jnp.where(kind <= SELECTOR, SEQUENCE + SELECTOR - kind, new_kind)
    new_arg = jnp.where(kind == CONDITION, tests, jnp.where(acting, acts - jnp.where(acts < actions, 0, actions), 0))
    changed = tree._replace(kind=tree.kind.at[node].set(new_kind), arg=tree.arg.at[node].set(new_arg))

    def tests_only(tree: BehaviourTree) -> Array:
        return (tree.kind == INVERTER) | (tree.kind == CONDITION)

    inner = used & (tree.depth > 0)
    place = jax.random.categorical(other_key, jnp.where(inner, 0.0, -jnp.inf))
    alike = (donor.depth > 0) & (tests_only(donor) == tests_only(tree)[place])
    source = jax.random.categorical(donor_key, jnp.where(alike, 0.0, -jnp.inf))
    spliced = bt_splice(tree, place, donor, source)
    splices = jax.random.bernoulli(which_key) & jnp.any(inner) & jnp.any(alike)
    return jax.tree.map(lambda a, b: jnp.where(splices, a, b), spliced, changed)
