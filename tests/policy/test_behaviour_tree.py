"""Behaviour trees against py-trees on the same trees, and splices against lists."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import py_trees
import pytest
from py_trees.common import Status

from rlx.policy import BehaviourTree, bt_mutate, bt_random, bt_size, bt_splice, bt_tick
from rlx.policy.behaviour_tree import ACTION, CONDITION, INVERTER, RUNNING, SELECTOR, SEQUENCE, TASK

SIZE, CONDITIONS, ACTIONS, TASKS = 14, 3, 5, 2
STATUS = {Status.SUCCESS: 0, Status.FAILURE: 1, Status.RUNNING: 2}
Nested = tuple  # (kind, arg, children)


def random_nested(rng: np.random.Generator, depth: int = 0) -> Nested:
    kind = int(rng.integers(SEQUENCE, TASK + 1)) if depth < 3 else int(rng.integers(CONDITION, TASK + 1))
    children = {SEQUENCE: rng.integers(1, 4), SELECTOR: rng.integers(1, 4), INVERTER: 1}.get(kind, 0)
    arg = {CONDITION: rng.integers(CONDITIONS), ACTION: rng.integers(ACTIONS), TASK: rng.integers(TASKS)}.get(kind, 0)
    return kind, int(arg), [random_nested(rng, depth + 1) for _ in range(children)]


def rows(tree: Nested, depth: int = 0) -> list[tuple[int, int, int]]:
    kind, arg, children = tree
    return [(kind, arg, depth), *(row for child in children for row in rows(child, depth + 1))]


def as_arrays(tree: Nested | list, size: int = SIZE) -> BehaviourTree:
    listed = rows(tree) if isinstance(tree, tuple) else tree
    padded = np.array([*listed, *[(0, 0, -1)] * (size - len(listed))], np.int32)
    return BehaviourTree(*padded.T)


def listed(tree: BehaviourTree) -> list[tuple[int, ...]]:
    return [tuple(map(int, row)) for row in zip(*tree, strict=True) if row[2] >= 0]


def trees(num: int, size: int = SIZE) -> list[Nested]:
    rng, found = np.random.default_rng(0), []
    while len(found) < num:
        tree = random_nested(rng)
        if len(rows(tree)) <= size:
            found.append(tree)
    return found


class Leaf(py_trees.behaviour.Behaviour):
    """A leaf that reads the world, and notes the action that it claims."""

    def __init__(self, kind: int, arg: int, world: dict):
        super().__init__(f"{kind} {arg}")
        self.kind, self.arg, self.world = kind, arg, world

    def update(self) -> Status:
        if self.kind == CONDITION:
            return Status.SUCCESS if self.world["condition"][self.arg] else Status.FAILURE
        self.world["claimed"].append(self.world["task"][self.arg] if self.kind == TASK else self.arg)
        return Status.RUNNING


def peer(tree: Nested, world: dict) -> py_trees.behaviour.Behaviour:
    kind, arg, children = tree
    below = [peer(child, world) for child in children]
    if kind == SEQUENCE:
        return py_trees.composites.Sequence("", memory=False, children=below)
    if kind == SELECTOR:
        return py_trees.composites.Selector("", memory=False, children=below)
    return py_trees.decorators.Inverter("", below[0]) if kind == INVERTER else Leaf(kind, arg, world)


def test_ticks_are_those_of_py_trees():
    """500 trees, each on all 8 truth values of the conditions."""
    nested = trees(500)
    conditions = (np.arange(8)[:, None] >> np.arange(CONDITIONS)) % 2 == 1
    task = np.array([3, 1], np.int32)
    stacked = BehaviourTree(*(np.stack(x) for x in zip(*map(as_arrays, nested), strict=True)))
    tick = jax.jit(jax.vmap(jax.vmap(bt_tick, (None, 0, None)), (0, None, None)))
    status, action = map(np.asarray, tick(stacked, conditions, task))
    for i, tree in enumerate(nested):
        world: dict = {"task": task}
        root = peer(tree, world)
        for j, condition in enumerate(conditions):
            world |= {"condition": condition, "claimed": []}
            root.tick_once()
            assert (STATUS[root.status], *(world["claimed"] or [-1])) == (status[i, j], action[i, j])
    assert {0, 1, 2} == set(status.ravel())


def test_selector_is_the_dual_of_sequence_under_inverters():
    swap = {SEQUENCE: SELECTOR, SELECTOR: SEQUENCE}

    def dual(tree: Nested) -> Nested:
        kind, arg, children = tree
        if kind in swap:
            return swap[kind], arg, [dual(child) for child in children]
        return INVERTER, 0, [tree]

    tick = jax.jit(bt_tick)
    for tree in trees(40, 8):
        for condition in ([True, False, True], [False, False, True]):
            one, other = (tick(as_arrays(x, 24), np.array(condition), np.array([0])) for x in (tree, dual(tree)))
            assert int(other[0]) == {0: 1, 1: 0, 2: 2}[int(one[0])]
            assert int(one[1]) == int(other[1])


def test_splices_are_those_of_lists():
    rng, splice, size_of = np.random.default_rng(1), jax.jit(bt_splice), jax.jit(bt_size)
    refused = 0
    pair = trees(60)
    for one, other in zip(pair[::2], pair[1::2], strict=True):
        a, b = rows(one), rows(other)
        at, root = int(rng.integers(len(a))), int(rng.integers(len(b)))
        end = lambda x, i: next((j for j in range(i + 1, len(x)) if x[j][2] <= x[i][2]), len(x))  # noqa: E731
        assert int(size_of(as_arrays(one), at)) == end(a, at) - at
        graft = [(k, g, d - b[root][2] + a[at][2]) for k, g, d in b[root : end(b, root)]]
        wanted = a[:at] + graft + a[end(a, at) :]
        refused += len(wanted) > SIZE
        found = splice(as_arrays(one), at, as_arrays(other), root)
        assert listed(found) == (wanted if len(wanted) <= SIZE else a)
    assert refused
    assert listed(bt_splice(as_arrays(pair[0]), SIZE - 1, as_arrays(pair[1]))) == rows(pair[0])  # an empty place


def well_formed(tree: BehaviourTree, size: int) -> bool:
    """Depth-first order, children where there must be some and only there, arguments in range."""
    found = listed(tree)
    used = len(found)
    if used == 0 or found[0][2] != 0 or np.any(np.asarray(tree.depth)[used:] != -1) or len(tree.depth) != size:
        return False
    for i, (kind, arg, depth) in enumerate(found):
        children = i + 1 < used and found[i + 1][2] == depth + 1
        limit = {CONDITION: CONDITIONS, ACTION: ACTIONS, TASK: TASKS}.get(kind, 1)
        if children != (kind < CONDITION) or not 0 <= arg < limit or (i and depth > found[i - 1][2] + 1):
            return False
    return all(found[i][2] > 0 for i in range(1, used))


@pytest.mark.parametrize("size", [4, 16])
def test_random_trees_and_their_mutants_are_trees(size):
    options = dict(conditions=CONDITIONS, actions=ACTIONS, tasks=TASKS)
    grow = jax.jit(jax.vmap(lambda key: bt_random(key, size, **options, branches=3)))
    mutate = jax.jit(jax.vmap(lambda key, a, b: bt_mutate(key, a, b, **options)))
    keys = jax.random.split(jax.random.key(0), 64)
    stack = grow(keys)
    each = lambda trees: [BehaviourTree(*x) for x in zip(*map(np.asarray, trees), strict=True)]  # noqa: E731
    assert all(well_formed(tree, size) for tree in each(stack))
    before = each(stack)
    for round in range(4):
        donors = jax.tree.map(lambda x: jnp.roll(x, 1, 0), stack)
        stack = mutate(jax.vmap(lambda key, n=round: jax.random.fold_in(key, n))(keys), stack, donors)
        assert all(well_formed(tree, size) for tree in each(stack))
    changed = np.mean([listed(a) != listed(b) for a, b in zip(before, each(stack), strict=True)])
    assert changed > 0.5
    assert all(int(bt_tick(tree, np.zeros(3, bool), np.array([0, 1]))[0]) == RUNNING for tree in before[:3])
