"""MAP-Elites and CMA-ME: the best solution of each kind, over a function that scores solutions.

Every update asks emitters for a batch of genomes, scores it and puts it into the archive. With `emitter="iso_line"`
genomes are children of random elites: MAP-Elites. The other three are Gaussian searches that adapt to what they add to
the archive and start anew from a random elite when they add nothing: CMA-ME.

Sources: Mouret and Clune, "Illuminating Search Spaces by Mapping Elites" (2015); Fontaine et al., "Covariance Matrix
Adaptation for the Rapid Illumination of Behavior Space" (2020).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.exploration import (
    EliteArchive,
    GaussianSearch,
    Insertion,
    adapt_search,
    archive_metrics,
    emitter_order,
    empty_archive,
    insert_elites,
    iso_line,
    sample_elites,
    search_points,
)
from rlx.types import Algorithm, Array, Channel, HeatMap, Policy, PyTree

EMITTERS = ("iso_line", "improvement", "random_direction", "optimising")
SMALLEST = 1e-6  # spread of a Gaussian search, in units of the first one, below which it starts anew

Score = Callable[[Array, PyTree], tuple[Array, Array]]  # (key, genome [M, ...]) -> fitness [M], descriptor [M, d]


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of MAP-Elites and CMA-ME. Floats may be traced (swept in one program); the rest fix its shape."""

    batch_size: int = 256  # solutions that an update scores
    emitter: str = "iso_line"  # one of EMITTERS
    iso: float = 0.005  # standard deviation of every gene's own change; 0.005: qdax's examples
    line: float = 0.05  # of the change along the line to a second elite; 0.05: the same
    num_emitters: int = 16  # Gaussian searches side by side, which share the batch; 15 of 37 in CMA-ME's paper
    sigma: float = 0.5  # a search's first standard deviation; 0.5: CMA-ME's paper
    low: float | None = None  # genes are cut to [low, high]; None: free
    high: float | None = None
    offset: float = 0.0  # lowest fitness, from which the QD-score counts

    def __post_init__(self) -> None:
        check.count("batch_size", self.batch_size)
        check.count("num_emitters", self.num_emitters)
        check.require(self.emitter in EMITTERS, "emitter", self.emitter, f"one of {', '.join(EMITTERS)}")
        if self.emitter != "iso_line":
            check.divides("num_emitters", self.num_emitters, "batch_size", self.batch_size)
        check.in_range("iso", self.iso, 0.0)
        check.in_range("line", self.line, 0.0)
        check.positive("sigma", self.sigma)


class State(NamedTuple):
    """Everything that the search remembers between updates."""

    archive: EliteArchive
    searches: PyTree  # (GaussianSearch with leaves [E, ...], random directions [E, d]); () for children of elites
    key: Array


def make(
    config: Config,
    score: Score,
    init_genome: Callable[[Array], PyTree],
    cell: Callable[[Array], Array],
    *,
    num_cells: int | tuple[int, int],
    policy: Callable[[PyTree], Policy] | None = None,
) -> Algorithm:
    """MAP-Elites or CMA-ME over `score`.

    `fit(make(...), total_steps=n)` scores n solutions after the first batch, which `init` draws and scores. Metrics are
    `coverage`, `qd_score` and `maximum`.

    Args:
      score: `(key, genome) -> (fitness [M], descriptor [M, d])` of genomes with leaves `[M, ...]`.
      init_genome: key -> a genome of the first batch; for Gaussian searches a vector.
      cell: `descriptor [M, d] -> int [M]` in [0, num_cells), as `rlx.exploration.grid_cell` has it.
      num_cells: of the archive; of a grid its sides `(n, m)`, for cells numbered as by `grid_cell`: reports draw it.
      policy: genome -> how to act by it, if genomes are policies: then the algorithm's policy is that of the best one.

    Raises:
      ValueError: if `num_cells` is not positive, or Gaussian searches are to run on other genomes than vectors.
    """
    sides = num_cells if isinstance(num_cells, tuple) else None
    for side in sides or (num_cells,):
        check.count("num_cells", side)
    cells = math.prod(sides) if sides else num_cells
    gaussian, batch = config.emitter != "iso_line", config.batch_size
    samples = batch // config.num_emitters

    def within(genome: PyTree) -> PyTree:
        if config.low is None and config.high is None:
            return genome
        return jax.tree.map(lambda x: jnp.clip(x, config.low, config.high), genome)

    def evaluate(key: Array, archive: EliteArchive, genome: PyTree) -> tuple[EliteArchive, Insertion, Array, Array]:
        fitness, descriptor = score(key, genome)
        archive, made = insert_elites(archive, genome, fitness, descriptor, cell(descriptor))
        return archive, made, fitness, descriptor

    def elites(key: Array, archive: EliteArchive, size: int) -> PyTree:
        rows = sample_elites(key, archive.filled, size)
        return jax.tree.map(lambda x: x[rows], archive.genome)

    def fresh(key: Array, archive: EliteArchive) -> tuple[GaussianSearch, Array]:
        """Searches that start from random elites, and the directions that they follow."""
        elite_key, direction_key = jax.random.split(key)
        mean = elites(elite_key, archive, config.num_emitters)
        check.require(mean.ndim == 2, "genome", mean.shape[1:], "a vector [n], for Gaussian searches")
        number, genes = mean.shape
        matrix = jnp.tile(jnp.eye(genes, dtype=mean.dtype), (number, 1, 1))
        search = GaussianSearch(mean, jnp.full(number, config.sigma, mean.dtype), matrix, jnp.zeros_like(mean))
        direction = jax.random.normal(direction_key, (number, archive.descriptor.shape[1]))
        return search, direction / jnp.linalg.norm(direction, axis=1, keepdims=True)

    def init(key: Array) -> State:
        genome_key, score_key, search_key, key = jax.random.split(key, 4)
        genome = within(jax.vmap(init_genome)(jax.random.split(genome_key, batch)))
        descriptor = jax.eval_shape(score, score_key, genome)[1]
        archive = empty_archive(jax.tree.map(lambda x: x[0], genome), cells, descriptor.shape[1])
        archive = evaluate(score_key, archive, genome)[0]
        return State(archive, fresh(search_key, archive) if gaussian else (), key)

    def breed(state: State, key: Array, score_key: Array) -> State:
        first_key, second_key, child_key = jax.random.split(key, 3)
        first, second = (elites(k, state.archive, batch) for k in (first_key, second_key))
        genome = within(iso_line(child_key, first, second, iso=config.iso, line=config.line))
        return state._replace(archive=evaluate(score_key, state.archive, genome)[0])

    def search(state: State, key: Array, score_key: Array) -> State:
        noise_key, restart_key = jax.random.split(key)
        searches, direction = state.searches
        number, genes = searches.mean.shape
        noise = jax.random.normal(noise_key, (number, samples, genes), searches.mean.dtype)
        genome = within(jax.vmap(search_points)(searches, noise)).reshape(batch, genes)
        archive, made, fitness, descriptor = evaluate(score_key, state.archive, genome)
        status, gain, fitness = (x.reshape(number, samples) for x in (*made, fitness))
        useful = jnp.sum(status > 0, axis=1)
        if config.emitter == "optimising":
            order, parents = jax.vmap(emitter_order)(fitness), jnp.full(number, max(samples // 2, 1))
        else:
            along = jnp.einsum("esd,ed->es", descriptor.reshape(number, samples, -1), direction)
            value = gain if config.emitter == "improvement" else along
            order, parents = jax.vmap(emitter_order)(value, status), useful
        adapted = jax.vmap(adapt_search)(searches, noise, order, parents)
        spread = adapted.sigma * jnp.linalg.norm(adapted.matrix, axis=(1, 2)) / genes**0.5
        lost = (parents == 0) | ~(spread > SMALLEST * config.sigma) | ~jnp.isfinite(spread)
        started = fresh(restart_key, archive)

        def choose(new: Array, old: Array) -> Array:
            return jnp.where(lost.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        return State(archive, jax.tree.map(choose, started, (adapted, direction)), state.key)

    def update(state: State, data: Any = None) -> tuple[State, dict[str, Any]]:
        del data
        key, emit_key, score_key = jax.random.split(state.key, 3)
        state = (search if gaussian else breed)(state._replace(key=key), emit_key, score_key)
        metrics = archive_metrics(state.archive.fitness, state.archive.filled, config.offset)
        return state, metrics._asdict()

    def best(state: State) -> Policy:
        if policy is None:
            raise ValueError("policy must be a function genome -> Policy, to act by the best solution; got None")
        row = jnp.argmax(jnp.where(state.archive.filled, state.archive.fitness, -jnp.inf))
        return policy(jax.tree.map(lambda x: x[row], state.archive.genome))

    def heat_map(state: State) -> HeatMap:
        return HeatMap(*(x.reshape(sides) for x in (state.archive.fitness, state.archive.filled)))

    channels = (Channel("fitness"),)
    return Algorithm(init, update, best, batch, channels, heat_map=None if sides is None else heat_map)
