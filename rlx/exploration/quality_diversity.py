"""Archives of many good solutions that behave differently: insertion, selection, variation and their measures.

A solution is a genome (a pytree), a fitness, and a descriptor of what it does. Larger fitness is better. Which cell a
descriptor falls into is the caller's: `grid_cell`, or the nearest of some centroids,
`nearest_neighbours(descriptor, centroids, k=1)[1][:, 0]`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.types import Array, PyTree


class EliteArchive(NamedTuple):
    """The best solution of each of C cells."""

    genome: PyTree  # leaves [C, ...]
    fitness: Array  # [C]
    descriptor: Array  # [C, d]
    filled: Array  # bool [C]; the other arrays are 0 where it is False


class Insertion(NamedTuple):
    """What solutions were worth to the archive that they were offered to."""

    status: Array  # int32 [M]: 2 for a cell that was empty, 1 for one that was improved, 0 for neither
    gain: Array  # [M]: fitness less that of the cell's elite, or itself where the cell was empty; 0 if not valid


class ArchiveMetrics(NamedTuple):
    """Measures of an archive of elites."""

    coverage: Array  # [] share of cells that are filled
    qd_score: Array  # [] sum over filled cells of fitness less the offset
    maximum: Array  # [] the highest fitness; -inf of an empty archive


def empty_archive(genome: PyTree, capacity: int, descriptor_size: int) -> EliteArchive:
    """An archive of `capacity` empty cells for genomes like the one given, whose leaves have no batch axis.

    >>> empty_archive(jnp.zeros(3), 4, 2).filled.tolist()
    [False, False, False, False]

    Raises:
      ValueError: for a size that is no positive integer.
    """
    check.count("capacity", capacity)
    check.count("descriptor_size", descriptor_size)
    cells = jax.tree.map(lambda x: jnp.zeros((capacity, *jnp.shape(x)), jnp.result_type(x)), genome)
    return EliteArchive(cells, jnp.zeros(capacity), jnp.zeros((capacity, descriptor_size)), jnp.zeros(capacity, bool))


def grid_cell(descriptor: Array, low: Array | float, high: Array | float, shape: Sequence[int]) -> Array:
    """The cell of a regular grid that a descriptor lies in: `floor(n (x - low) / (high - low))` along each axis.

    Shapes: `descriptor [..., d]`, `low`, `high` numbers or `[d]`, `shape` d numbers of cells -> int32 `[...]` in
    row-major order. What lies outside of the grid counts to the cell at its border; a descriptor with a NaN is in no
    cell: -1.

    >>> grid_cell(jnp.array([[0.1, 0.1], [0.9, 0.4], [-5.0, 1.0]]), 0.0, 1.0, (2, 3)).tolist()
    [0, 4, 2]

    Raises:
      ValueError: for a number of cells that is no positive integer, or descriptors without an entry for each of them.

    Source: Mouret and Clune, "Illuminating Search Spaces by Mapping Elites" (2015).
    """
    for cells in shape:
        check.count("shape", cells)
    descriptor = jnp.asarray(descriptor)
    check.require(descriptor.shape[-1:] == (len(shape),), "descriptor", descriptor.shape, f"[..., {len(shape)}]")
    number = jnp.array(shape)
    place = jnp.floor(number * (descriptor - low) / (jnp.asarray(high) - low))
    known = ~jnp.isnan(place).any(axis=-1)
    along = jnp.clip(jnp.where(known[..., None], place, 0), 0, number - 1).astype(jnp.int32)
    stride = jnp.array([math.prod(shape[axis + 1 :]) for axis in range(len(shape))], jnp.int32)
    return jnp.where(known, jnp.sum(along * stride, axis=-1), -1)


def insert_elites(
    archive: EliteArchive, genome: PyTree, fitness: Array, descriptor: Array, cell: Array
) -> tuple[EliteArchive, Insertion]:
    """Each cell keeps the best of its elite and of the new solutions that fall into it: `(archive, insertion)`.

    Exact for a whole batch, whatever its order: of equal fitness the elite stays, then the earlier row. `insertion`
    compares every row with the archive before the batch, so several rows may have filled "the same" empty cell.

    Shapes: archive of C cells, `genome` with leaves `[M, ...]`, `fitness [M]`, `descriptor [M, d]`, int `cell [M]` ->
    archive, status and gain `[M]`. Rows whose fitness is NaN or -inf, or whose cell is outside of `[0, C)`, are not
    taken. Nothing is differentiated.

    Usual mistake: to write rows by their cell in one scatter, where the last one of a cell wins, not the best.

    >>> archive = empty_archive(jnp.zeros(1), 3, 1)
    >>> genome = jnp.array([[1.0], [2.0], [3.0]])
    >>> archive, made = insert_elites(archive, genome, jnp.array([5.0, 7.0, 1.0]), genome, jnp.array([0, 0, 2]))
    >>> archive.fitness.tolist(), archive.genome[:, 0].tolist(), made.status.tolist()
    ([7.0, 0.0, 1.0], [2.0, 0.0, 3.0], [2, 2, 2])

    Raises:
      ValueError: if the arrays have not one row for each fitness.

    Source: Mouret and Clune, "Illuminating Search Spaces by Mapping Elites" (2015).
    """
    fitness, descriptor, cell = (jnp.asarray(x) for x in (fitness, descriptor, cell))
    check.rank("fitness", fitness, 1)
    rows, capacity = len(fitness), len(archive.fitness)
    for name, array in (("cell", cell), ("descriptor", descriptor), *(("genome", x) for x in jax.tree.leaves(genome))):
        check.require(array.shape[:1] == (rows,), name, array.shape, f"[{rows}, ...], a row for each fitness")
    archive, genome, fitness, descriptor = jax.lax.stop_gradient((archive, genome, fitness, descriptor))
    valid = (cell >= 0) & (cell < capacity) & ~jnp.isnan(fitness)
    cell, fitness = jnp.where(valid, cell, capacity), jnp.where(valid, fitness, -jnp.inf)
    standing = jnp.where(archive.filled, archive.fitness, -jnp.inf)
    elite = jnp.append(standing, jnp.inf)[cell]  # nothing is better than that of no cell
    better = fitness > elite
    new = better & (elite == -jnp.inf)
    gain = jnp.where(valid, fitness - jnp.where(valid & ~new, elite, 0), 0)

    best = standing.at[cell].max(fitness, mode="drop")
    row = jnp.arange(rows)
    leads = better & (fitness == jnp.append(best, jnp.inf)[cell])
    first = jnp.full(capacity + 1, rows).at[cell].min(jnp.where(leads, row, rows))
    place = jnp.where(leads & (row == first[cell]), cell, capacity)

    def write(old: Array, new: Array) -> Array:
        return old.at[place].set(new.astype(old.dtype), mode="drop")

    filled = archive.filled.at[place].set(True, mode="drop")
    genome, descriptor = jax.tree.map(write, (archive.genome, archive.descriptor), (genome, descriptor))
    kept = EliteArchive(genome, jnp.where(filled, best, 0), descriptor, filled)
    return kept, Insertion(better.astype(jnp.int32) + new, gain)


def sample_elites(key: Array, filled: Array, size: int) -> Array:
    """Cells drawn uniformly, with replacement, from those that are filled.

    Shapes: bool `filled [C]` -> int `[size]`. Of an empty archive all draws are the last cell.

    Usual mistake: to draw from all cells, which breeds the zeros that empty cells hold.

    >>> sample_elites(jax.random.key(0), jnp.array([False, True, False]), 2).tolist()
    [1, 1]

    Raises:
      ValueError: if `filled` is not a vector, or the size no positive integer.

    Source: Mouret and Clune, "Illuminating Search Spaces by Mapping Elites" (2015).
    """
    check.rank("filled", filled, 1)
    check.count("size", size)
    before = jnp.cumsum(jnp.asarray(filled))
    rank = jax.random.randint(key, (size,), 0, jnp.maximum(before[-1], 1))
    return jnp.minimum(jnp.searchsorted(before, rank, side="right"), len(before) - 1)


def archive_metrics(fitness: Array, filled: Array, offset: Array | float = 0.0) -> ArchiveMetrics:
    """Coverage, QD-score and maximum of an archive of elites: `mean [filled]`, `sum_filled (f - offset)`, `max f`.

    Shapes: `fitness [C]`, bool `filled [C]` -> scalars. The offset is the lowest fitness there can be: with a higher
    one a newly filled cell lowers the score.

    >>> filled = jnp.array([False, True, True, False])
    >>> [float(x) for x in archive_metrics(jnp.array([0.0, 3.0, -1.0, 0.0]), filled, offset=-1.0)]
    [0.5, 4.0, 3.0]

    Raises:
      ValueError: for arrays that are not vectors of equal length.

    Source: Pugh, Soros and Stanley, "Quality Diversity: A New Frontier for Evolutionary Computation" (2016).
    """
    check.rank("fitness", fitness, 1)
    check.same_shape(fitness=fitness, filled=filled)
    fitness, filled = jnp.asarray(fitness), jnp.asarray(filled)
    score = jnp.sum(jnp.where(filled, fitness - jnp.asarray(offset, fitness.dtype), 0))
    highest = jnp.max(fitness, where=filled, initial=-jnp.inf)
    return ArchiveMetrics(jnp.mean(filled, dtype=fitness.dtype), score, highest)


def iso_line(
    key: Array, first: PyTree, second: PyTree, *, iso: Array | float = 0.01, line: Array | float = 0.2
) -> PyTree:
    """A child near its first parent and on the line through both: `x1 + iso e + line u (x2 - x1)`.

    Shapes: leaves `[M, ...]` of both -> the same. `e ~ N(0, I)` is drawn for every gene, `u ~ N(0, 1)` once for each
    child, so that all leaves of a genome move together along the line. `iso` and `line` are standard deviations, and
    may be traced. With `line=0` it is a Gaussian mutation.

    >>> child = iso_line(jax.random.key(0), jnp.zeros((1, 2)), jnp.array([[1.0, 2.0]]), iso=0.0, line=1.0)
    >>> bool(child[0, 1] == 2 * child[0, 0])
    True

    Raises:
      ValueError: if the parents differ in structure or shapes.

    Source: Vassiliades and Mouret, "Discovering the Elite Hypervolume by Leveraging Interspecies Correlation" (2018).
    """
    leaves, structure = jax.tree.flatten(first)
    others, other_structure = jax.tree.flatten(second)
    check.require(structure == other_structure, "second", other_structure, f"of the structure of first, {structure}")
    line_key, *keys = jax.random.split(key, len(leaves) + 1)
    children = []
    for leaf_key, x, y in zip(keys, leaves, others, strict=True):
        check.same_shape(first=x, second=y)
        x, y = jnp.asarray(x), jnp.asarray(y)
        along = jax.random.normal(line_key, (len(x),), x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        moved = x + iso * jax.random.normal(leaf_key, x.shape, x.dtype) + line * along * (y - x)
        children.append(moved.astype(x.dtype))
    return jax.tree.unflatten(structure, children)


def insert_random(key: Array, memory: PyTree, filled: Array, new: PyTree, accept: Array) -> tuple[PyTree, Array]:
    """Accepted rows go into free rows of a memory, in order, and when there are none over random ones of the old.

    Shapes: `memory` with leaves `[N, ...]`, bool `filled [N]`, `new` with leaves `[M, ...]`, bool `accept [M]` ->
    `(memory, filled)`. No two rows of a batch go to the same place; of more than N the first N are taken. Nothing is
    differentiated.

    `accept` is what kind of archive it is: a few rows at random (novelty search), or those whose `knn_novelty` exceeds
    a threshold. Usual mistake: to overwrite the oldest, by which the search returns to where it began.

    >>> memory, filled = jnp.array([7.0, 0.0, 0.0]), jnp.array([True, False, False])
    >>> accept = jnp.array([True, False, True])
    >>> memory, filled = insert_random(jax.random.key(0), memory, filled, jnp.array([1.0, 2.0, 3.0]), accept)
    >>> memory.tolist(), filled.tolist()
    ([7.0, 1.0, 3.0], [True, True, True])

    Raises:
      ValueError: if `filled` or `accept` is no boolean for each row.

    Source: Lehman and Stanley, "Abandoning Objectives: Evolution Through the Search for Novelty Alone" (2011); random
    insertion: Mouret and Doncieux, "Encouraging Behavioral Diversity in Evolutionary Robotics" (2012).
    """
    filled, accept = jnp.asarray(filled), jnp.asarray(accept)
    for name, flags, tree in (("filled", filled, memory), ("accept", accept, new)):
        rows = jax.tree.leaves(tree)[0].shape[:1]
        check.require(flags.shape == rows and flags.dtype == bool, name, f"{flags.dtype} {flags.shape}", f"bool {rows}")
    memory, new = jax.lax.stop_gradient((memory, new))
    capacity = len(filled)
    order = jnp.argsort(jnp.where(filled, jax.random.uniform(key, (capacity,)), -1.0))  # stable: free rows in order
    rank = jnp.cumsum(accept) - 1
    place = jnp.where(accept & (rank < capacity), order[jnp.minimum(rank, capacity - 1)], capacity)
    write = lambda old, row: old.at[place].set(row.astype(old.dtype), mode="drop")  # noqa: E731
    return jax.tree.map(write, memory, new), filled.at[place].set(True, mode="drop")
