"""Shortest paths against SciPy, the map of a walk against the grid it was on, cells against a dictionary."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse.csgraph import shortest_path

from rlx.exploration import (
    cell_prob,
    init_cells,
    init_graph,
    shortest_paths,
    subgoal_score,
    topo_graph_update,
    update_cells,
)

RNG = np.random.default_rng(0)


def test_paths_are_scipys_and_first_steps_lead_there():
    cost = np.where(RNG.random((9, 9)) < 0.25, RNG.uniform(0.5, 3, (9, 9)), np.inf)
    distance, first = map(np.asarray, shortest_paths(cost))
    wanted = shortest_path(np.where(np.isfinite(cost), cost, 0), method="D")
    np.testing.assert_allclose(distance, wanted, rtol=1e-5)
    assert np.isinf(distance).any()
    for i, j in zip(*np.nonzero(np.isfinite(distance)), strict=True):
        here, paid = i, 0.0
        while here != j:
            paid, here = paid + cost[here, first[here, j]], first[here, j]
        np.testing.assert_allclose(paid, distance[i, j], rtol=1e-5)
    np.testing.assert_array_equal(first == -1, np.isinf(wanted))


def walk(graph, places, starts, **options):
    def step(carry, xs):
        graph, previous = carry
        place, start = xs
        graph, here, new = topo_graph_update(graph, place, jnp.where(start, -1, previous), **options)
        return (graph, here), (here, new)

    (graph, _), (here, new) = jax.jit(lambda *x: jax.lax.scan(step, (x[0], jnp.int32(-1)), x[1:]))(
        graph, places, starts
    )
    return graph, here, new


def test_map_of_a_walk_is_the_graph_of_its_steps():
    moves = RNG.integers(-1, 2, 60)
    places = np.clip(np.cumsum(moves), -3, 3).astype(np.float32)[:, None]
    starts = np.arange(60) % 20 == 0
    graph, here, new = walk(init_graph(10, 1), places, starts)
    labels: dict[float, int] = {}
    visits, edges, before = np.zeros(10, int), set(), None
    for t, place in enumerate(places[:, 0].tolist()):
        assert bool(new[t]) == (place not in labels)
        assert int(here[t]) == labels.setdefault(place, len(labels))
        if starts[t] or before != place:
            visits[labels[place]] += 1
        if not starts[t] and before != place:
            edges.add((labels[before], labels[place]))
        before = place
    np.testing.assert_array_equal(graph.visits, visits)
    cost = np.full((10, 10), np.inf)
    np.fill_diagonal(cost, 0)
    for edge in edges:
        cost[edge] = 1
    np.testing.assert_array_equal(graph.cost, cost)


def test_what_is_near_or_has_no_room_belongs_to_the_nearest_node():
    places = np.array([[0.0], [0.3], [1.0], [5.0], [0.9]], np.float32)
    graph, here, new = walk(init_graph(2, 1), places, np.arange(5) == 0, radius=0.5)
    np.testing.assert_array_equal(here, [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(new, [True, False, True, False, False])
    np.testing.assert_array_equal(graph.node, [[0.0], [1.0]])
    np.testing.assert_array_equal(graph.visits, [1, 1])


def test_score_of_subgoals():
    visits, degree, path = RNG.integers(5, size=6), RNG.integers(4, size=6), RNG.uniform(0, 5, 6)
    goal, mask = RNG.uniform(0, 3, 6), np.arange(6) != 3
    path[1] = np.inf
    found = subgoal_score(visits, degree, path, goal, mask, novelty=2.0, goal=0.7, cost=0.2, frontier=0.3)
    wanted = 2 / np.sqrt(1 + visits) + 0.7 * np.exp(-goal) - 0.2 * path + 0.3 * (degree < 2)
    np.testing.assert_allclose(found, np.where(mask, wanted, -np.inf), rtol=1e-5)


def test_cells_keep_the_best_way_of_each():
    cells, best, visits = init_cells(6, {"id": jnp.int32(0)}), {}, np.zeros(6, int)
    update = jax.jit(update_cells)
    for batch in range(6):
        cell, value, length = RNG.integers(-1, 7, 12), RNG.integers(3, size=12) * 1.0, RNG.integers(1, 4, 12)
        mask, ids = RNG.random(12) < 0.8, np.arange(12) + 12 * batch
        cells, kept = update(cells, cell, value, length, {"id": ids}, mask)
        for i in np.flatnonzero(mask & (cell >= 0) & (cell < 6)):
            visits[cell[i]] += 1
            if cell[i] not in best or (value[i], -length[i]) > best[cell[i]][:2]:
                best[cell[i]] = value[i], -length[i], ids[i]
        assert set(ids[np.asarray(kept)]) == {x[2] for x in best.values()} & set(ids)
    for cell, (value, length, number) in best.items():
        assert (cells.value[cell], cells.length[cell], cells.snapshot["id"][cell]) == (value, -length, number)
    np.testing.assert_array_equal(cells.visits, visits)
    np.testing.assert_array_equal(cells.mask, np.isin(np.arange(6), list(best)))


def test_archive_covers_what_can_be_reached():
    """A ring of nine cells, one move at a time from a cell of the archive."""
    cells, _ = update_cells(init_cells(9, jnp.int32(0)), *(jnp.array([x]) for x in (4, 0.0, 0, 4)))

    def step(cells, key):
        where, way = jax.random.split(key)
        cell = jax.random.categorical(where, jnp.log(cell_prob(cells.visits, cells.mask)))
        there = (cells.snapshot[cell] + jax.random.choice(way, jnp.array([-1, 1]))) % 9
        return update_cells(cells, there[None], jnp.zeros(1), cells.length[cell][None] + 1, there[None])[0], None

    cells, _ = jax.jit(lambda c: jax.lax.scan(step, c, jax.random.split(jax.random.key(0), 300)))(cells)
    assert cells.mask.all()
    np.testing.assert_array_equal(cells.length, [min(abs(c - 4), 9 - abs(c - 4)) for c in range(9)])


def test_probability_of_cells():
    visits, mask = RNG.integers(9, size=7), np.arange(7) != 2
    weight = mask / np.sqrt(visits + 1)
    np.testing.assert_allclose(cell_prob(visits, mask), weight / weight.sum(), rtol=1e-5)
    np.testing.assert_array_equal(cell_prob(visits, np.zeros(7, bool)), 0.0)
