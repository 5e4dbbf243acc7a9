"""Maps of what has been visited: a graph of landmarks, and an archive of cells to return to.

Both are tables of fixed size with a mask.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array, PyTree


class TopologicalGraph(NamedTuple):
    """Landmarks, and what it took to get from one to the next."""

    node: Array  # [N, d] features
    mask: Array  # bool [N]; the other rows are free
    visits: Array  # int [N]: how often each was come to
    cost: Array  # [N, N] of the edge from row to column: 0 on the diagonal, infinite where there is none


class Cells(NamedTuple):
    """The best way found to each cell of the state space."""

    value: Array  # [C] return on the way
    length: Array  # int [C] steps of the way
    visits: Array  # int [C]: how often it was found or returned to
    mask: Array  # bool [C]: whether it has been found
    snapshot: PyTree  # leaves [C, ...]: the environment's state at the end of the way


def init_graph(capacity: int, size: int) -> TopologicalGraph:
    """An empty graph for `capacity` nodes of `size` features.

    Raises:
      ValueError: for a size below 1.
    """
    check.count("capacity", capacity)
    check.count("size", size)
    cost = jnp.where(jnp.eye(capacity, dtype=bool), 0.0, jnp.inf)
    return TopologicalGraph(
        jnp.zeros((capacity, size)), jnp.zeros(capacity, bool), jnp.zeros(capacity, jnp.int32), cost
    )


def topo_graph_update(
    graph: TopologicalGraph,
    feature: Array,
    previous: Array | int,
    *,
    radius: Array | float = 0.0,
    step_cost: Array | float = 1.0,
) -> tuple[TopologicalGraph, Array, Array]:
    """The graph after one more observation, the node that it belongs to, and whether that node is new.

    It belongs to the nearest node if that lies within `radius`, or if the graph is full; else it becomes a node. Coming
    from another node, `previous` (-1: from nowhere, after a reset), makes an edge, which keeps the lowest `step_cost`.
    A visit is counted on arrival, not while one stays.

    Shapes: features `[d]`, int `[]` -> graph, int `[]`, bool `[]`. Nothing is differentiated.

    Usual mistake: a radius below the noise of the features, which fills the graph with doubles.

    >>> graph, a, _ = topo_graph_update(init_graph(3, 1), jnp.array([0.0]), -1, radius=0.5)
    >>> graph, b, new = topo_graph_update(graph, jnp.array([2.0]), a, radius=0.5)
    >>> int(b), bool(new), graph.cost.tolist()[0]
    (1, True, [0.0, 1.0, inf])

    Raises:
      ValueError: for another number of features than the nodes have.

    Source: Hossain et al., "TopoNav: Topological Navigation for Efficient Exploration in Sparse Reward Environments"
    (2024).
    """
    graph = jax.tree.map(jnp.asarray, graph)
    shape = graph.node.shape[1:]
    check.require(jnp.shape(feature) == shape, "the shape of feature", jnp.shape(feature), f"{shape}")
    previous = jnp.asarray(previous)
    distance = jnp.where(graph.mask, jnp.linalg.norm(graph.node - feature, axis=-1), jnp.inf)
    nearest = jnp.argmin(distance)
    new = (distance[nearest] > radius) & ~jnp.all(graph.mask)
    here = jnp.where(new, jnp.argmin(graph.mask), nearest).astype(jnp.int32)
    moved = previous != here
    row = jnp.where((previous >= 0) & moved, previous, graph.mask.size)  # outside: dropped
    updated = TopologicalGraph(
        jax.lax.stop_gradient(graph.node.at[here].set(jnp.where(new, feature, graph.node[here]))),
        graph.mask.at[here].set(True),
        graph.visits.at[here].add(moved),
        graph.cost.at[row, here].min(step_cost, mode="drop"),
    )
    return updated, here, new


def shortest_paths(cost: Array) -> tuple[Array, Array]:
    """The lowest total cost between all pairs of nodes, and the first step on the way.

        D_ij = min over paths of the sum of cost    (Floyd and Warshall: D = min(D, D_:k + D_k:) for each k)

    Shapes: `[N, N]`, infinite where there is no edge, of which none is negative -> `[N, N]`, int `[N, N]`: the node to
    go to first, -1 where there is no way; from a node to itself, itself. Differentiated: `cost`, in the distances.

    Usual mistake: 0 for "no edge".

    >>> cost = jnp.array([[0.0, 1.0, 9.0], [jnp.inf, 0.0, 2.0], [jnp.inf, jnp.inf, 0.0]])
    >>> distance, first = shortest_paths(cost)
    >>> distance[0].tolist(), first[0].tolist(), int(first[2, 0])
    ([0.0, 1.0, 3.0], [0, 1, 1], -1)

    Raises:
      ValueError: unless `cost` is square.

    Source: Floyd, "Algorithm 97: Shortest Path" (1962).
    """
    shape = jnp.shape(cost)
    check.require(len(shape) == 2 and shape[0] == shape[1], "the shape of cost", shape, "[N, N]")
    cost = jnp.asarray(cost)
    node = jnp.arange(shape[0])
    distance = jnp.where(jnp.eye(shape[0], dtype=bool), 0, cost)

    def through(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], None]:
        distance, first = carry
        detour = distance[:, k, None] + distance[k]
        shorter = detour < distance
        return (jnp.where(shorter, detour, distance), jnp.where(shorter, first[:, k, None], first)), None

    first = jnp.where(jnp.isfinite(distance), node, -1)
    (distance, first), _ = jax.lax.scan(through, (distance, first), node)
    return distance, first


def subgoal_score(
    visits: Array,
    degree: Array,
    path_cost: Array,
    goal_distance: Array,
    mask: Array,
    *,
    novelty: Array | float = 1.0,
    goal: Array | float = 0.5,
    cost: Array | float = 0.1,
    frontier: Array | float = 0.0,
) -> Array:
    """How worthwhile each node of a graph is as the next one to go to.

        novelty / sqrt(1 + visits) + goal exp(-goal_distance) - cost path_cost + frontier 1[degree < 2]

    Shapes: int `[N]`, int `[N]` (other nodes that it has an edge to), `[N]` from the present node, `[N]` (infinite
    where the goal is unknown), bool `[N]` -> `[N]`, `-inf` where masked or out of reach. Differentiated: `path_cost`,
    `goal_distance`.

    Usual mistake: plans through edges that were drawn from distances between features and never travelled.

    >>> known = jnp.array([True, True, True])
    >>> subgoal_score(
    ...     jnp.array([3, 0, 0]), jnp.array([2, 2, 1]), jnp.array([0.0, 1.0, jnp.inf]), jnp.full(3, jnp.inf), known
    ... ).tolist()
    [0.5, 0.8999999761581421, -inf]

    Raises:
      ValueError: for shapes that differ.

    Source: Hossain et al., "TopoNav: Topological Navigation for Efficient Exploration in Sparse Reward Environments"
    (2024).
    """
    check.same_shape(visits=visits, degree=degree, path_cost=path_cost, goal_distance=goal_distance, mask=mask)
    path_cost, goal_distance = jnp.asarray(path_cost), jnp.asarray(goal_distance)
    reachable = jnp.asarray(mask) & jnp.isfinite(path_cost)
    score = novelty * jax.lax.rsqrt(1 + jnp.asarray(visits, path_cost.dtype)) + frontier * (jnp.asarray(degree) < 2)
    score = score + goal * jnp.exp(-goal_distance) - cost * jnp.where(reachable, path_cost, 0)
    return jnp.where(reachable, score, -jnp.inf).astype(path_cost.dtype)


def init_cells(capacity: int, snapshot: PyTree) -> Cells:
    """An empty archive of `capacity` cells whose snapshots are like `snapshot` (one state of the environment).

    Raises:
      ValueError: for a capacity below 1.
    """
    check.count("capacity", capacity)
    zeros = jnp.zeros(capacity, jnp.int32)
    kept = jax.tree.map(lambda x: jnp.zeros((capacity, *jnp.shape(x)), jnp.result_type(x)), snapshot)
    return Cells(jnp.full(capacity, -jnp.inf), zeros, zeros, jnp.zeros(capacity, bool), kept)


def update_cells(
    cells: Cells, cell: Array, value: Array, length: Array, snapshot: PyTree, mask: Array | None = None
) -> tuple[Cells, Array]:
    """The archive after `B` states, and which of them are kept: the first in a cell, or come to by a better way.

    Better is a higher return, or the same in fewer steps. Of several in one cell the best counts, of equal ones the
    first. All are counted as visits.

    Shapes: int `[B]`, `[B]`, int `[B]`, leaves `[B, ...]`, bool `[B]` -> cells, bool `[B]`. Cells outside the archive
    are not valid.

    Usual mistake: snapshots without the environment's clock, by which the way is longer than an episode may be.

    >>> cells = init_cells(4, jnp.zeros(()))
    >>> cell, value, length = jnp.array([2, 2, 1]), jnp.array([0.0, 0.0, 5.0]), jnp.array([7, 3, 1])
    >>> cells, kept = update_cells(cells, cell, value, length, jnp.array([10.0, 20.0, 30.0]))
    >>> kept.tolist(), cells.length.tolist(), cells.snapshot.tolist()
    ([False, True, True], [0, 1, 3, 0], [0.0, 30.0, 20.0, 0.0])

    Raises:
      ValueError: for shapes that differ.

    Source: Ecoffet et al., "First Return, Then Explore" (2021).
    """
    mask = jnp.ones(jnp.shape(cell), bool) if mask is None else jnp.asarray(mask)
    check.rank("cell", cell, 1)
    check.same_shape(cell=cell, value=value, length=length, mask=mask)
    cells, cell, value, length = jax.tree.map(jnp.asarray, (cells, cell, value, length))
    size = cells.mask.size
    order = jnp.arange(cell.size)
    place = jnp.where(mask & (cell >= 0) & (cell < size), cell, size)  # outside: dropped, and -inf when read
    now = jnp.append(cells.value, jnp.inf)[place], jnp.append(cells.length, 0)[place]
    found = jnp.append(cells.mask, True)[place]
    better = ~found | (value > now[0]) | ((value == now[0]) & (length < now[1]))
    # the best of each cell: by value, then by length, then by order, each among those that led so far
    for measure in (value, -length, -order):
        low = -jnp.inf if jnp.issubdtype(measure.dtype, jnp.floating) else jnp.iinfo(measure.dtype).min
        best = jnp.full(size + 1, low, measure.dtype).at[place].max(jnp.where(better, measure, low))
        better = better & (measure == best[place])
    kept = better & (place < size)
    target = jnp.where(kept, place, size)
    updated = Cells(
        cells.value.at[target].set(value.astype(cells.value.dtype), mode="drop"),
        cells.length.at[target].set(length, mode="drop"),
        cells.visits.at[place].add(1, mode="drop"),
        cells.mask.at[target].set(True, mode="drop"),
        jax.tree.map(lambda old, x: old.at[target].set(x, mode="drop"), cells.snapshot, snapshot),
    )
    return updated, kept


def cell_prob(visits: Array, mask: Array) -> Array:
    """The probability with which each cell is returned to, in proportion to `1 / sqrt(visits + 1)`.

    Shapes: int `[C]`, bool `[C]` -> `[C]`, of sum 1, or 0 where no cell is known.

    >>> cell_prob(jnp.array([3, 3, 8]), jnp.array([True, True, False])).tolist()
    [0.5, 0.5, 0.0]

    Raises:
      ValueError: for shapes that differ.

    Source: Ecoffet et al., "First Return, Then Explore" (2021).
    """
    check.same_shape(visits=visits, mask=mask)
    weight = jnp.where(mask, jax.lax.rsqrt(1.0 + jnp.asarray(visits)), 0.0)
    total = weight.sum()
    return weight / jnp.where(total > 0, total, 1.0)
