"""The device side of a run: the members' state, and the compiled functions on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from rlx import check
from rlx.pareto import nondominated_mask
from rlx.runtime import metrics
from rlx.runtime.evaluation import evaluate
from rlx.runtime.front import best_rows, measure
from rlx.runtime.mesh import mesh_of, place
from rlx.runtime.population import Population
from rlx.types import Environment, Front, HeatMap, PyTree

# Evaluation keys are fold_in(fold_in(key(seed), EVALUATION), update). fold_in(key, i) equals split(key, n)[i] for i <
# n, so this number is beyond any n that an algorithm would split its key into.
EVALUATION = 0xE7A1_0000


class Learner:
    """All members, trained in chunks: a chunk is one call of many updates, with metrics reduced on the device."""

    def __init__(self, population: Population, channels: Sequence[str], data: PyTree):
        self.population = population
        self._identity = population.identity()

        def init(own: PyTree, _: PyTree) -> PyTree:
            seed, hyper = own
            return population.make(hyper).init(jax.random.key(seed))

        def read_heat_map(own: PyTree, _: PyTree) -> HeatMap:
            state, hyper = own
            return population.make(hyper).heat_map(state)  # pyright: ignore[reportOptionalCall]

        self.state = jax.jit(population.over_members(init))(self._identity, ())
        self.mesh = population.mesh or mesh_of(self.state)
        if jax.process_count() > 1 and self.mesh is None:
            raise ValueError("fit in several processes needs an algorithm of data_parallel on a mesh; or use sweep")
        self._data = place(data, self.mesh, sharded=False)
        self.leaf_names = metrics.leaf_names(self.state)
        self._nonfinite = jax.jit(population.over_members(lambda state, _: metrics.nonfinite_leaves(state)))
        self._exempt = np.asarray(False)
        self._exempt = self.nonfinite_leaves()  # what starts infinite (a running minimum) may stay so
        example = jax.eval_shape(
            lambda state, hyper: population.make(hyper).update(state, self._data)[1],
            population.one(self.state),
            population.one(self._identity[1]),
        )
        metrics.empty(example)
        self._heat_map = jax.jit(population.over_members(read_heat_map))
        self.columns = {name: metrics.column_names(name, value, channels) for name, value in example.items()}
        self._chunk: jax.stages.Compiled | None = None

    def compile(self) -> jax.stages.Compiled:
        """Compile the chunk. The updates to make are an argument of it, so one program serves the whole run."""

        def chunk(own: PyTree, shared: PyTree) -> tuple[PyTree, metrics.Reduced]:
            (state, hyper), (data, first, last) = own, shared
            update = self.population.make(hyper).update

            def body(index: jax.Array, carry: tuple[PyTree, metrics.Reduced]) -> tuple[PyTree, metrics.Reduced]:
                state, reduced = carry
                state, new = update(state, data)
                return state, metrics.accumulate(reduced, new, index)

            start = metrics.empty(jax.eval_shape(update, state, data)[1])
            return jax.lax.fori_loop(first, last + 1, body, (state, start))

        of_all = self.population.over_members(chunk)
        jitted = jax.jit(
            lambda state, hyper, shared: of_all((state, hyper), shared),
            donate_argnums=0,
            out_shardings=(jax.tree.map(lambda x: x.sharding, self.state), None),
        )
        self._chunk = jitted.lower(self.state, self._identity[1], (self._data, np.int32(1), np.int32(1))).compile()
        return self._chunk

    def advance(self, done: int, to: int) -> metrics.Reduced:
        """Make the updates from `done + 1` to `to`; their metrics, on the host. The old state is gone afterwards."""
        if self._chunk is None:
            raise RuntimeError("compile() comes before advance()")
        updates = (self._data, np.int32(done + 1), np.int32(to))
        self.state, reduced = self._chunk(self.state, self._identity[1], updates)
        return self.population.on_host(reduced)

    def nonfinite_leaves(self) -> np.ndarray:
        """Bool `[M, L]`: which leaves of which members' state are not finite, and were at the start."""
        return self.population.on_host(self._nonfinite(self.state, ())) & ~self._exempt

    def types(self) -> dict[str, str]:
        """Path of each leaf of the state -> its type and shape."""
        return metrics.leaf_types(self.state)

    def evaluator(self, env: Environment, env_params: Any, episodes: int) -> Evaluator:
        return Evaluator(self.population, self._identity, env, env_params, episodes)

    def fronts(self, names: Sequence[str], ref: Sequence[float] | None) -> Fronts:
        return Fronts(self.population, self._identity[1], self.state, names, ref)

    def heat_map(self, state: PyTree) -> HeatMap:
        """The archive of every member, on the host."""
        return self.population.on_host(self._heat_map((state, self._identity[1]), ()))


class Evaluator:
    """Greedy episodes of every member, on environments and with keys that training never sees."""

    def __init__(self, population: Population, identity: PyTree, env: Environment, env_params: Any, episodes: int):
        self._population, self._identity, self._env = population, identity, env

        def evaluate_one(own: PyTree, update: jax.Array) -> dict[str, jax.Array | None]:
            state, (seed, hyper) = own
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), EVALUATION), update)
            result = evaluate(population.make(hyper).policy(state), env, key, episodes, env_params=env_params)
            return {
                "return": result.returns.mean(0),
                "return_std": result.returns.std(0),
                "length": result.lengths.mean(0),
                "finished": result.finished.mean(0),
                "visits": result.visits,
            }

        self._evaluate = jax.jit(population.over_members(evaluate_one))

    def columns(self, state: PyTree) -> dict[str, list[str]]:
        result = jax.eval_shape(self._evaluate, (state, self._identity), np.uint32(0))
        channels = getattr(self._env, "reward_channels", ())
        one = self._population.one(result)
        return {name: metrics.column_names(name, one[name], channels) for name in RESULTS}

    def __call__(self, state: PyTree, update: int) -> dict[str, Any]:
        """Results of every member after this update, on the host."""
        return self._population.on_host(self._evaluate((state, self._identity), np.uint32(update)))


class Fronts:
    """The non-dominated returns that every member has found, and their hypervolume above a reference point.

    Without a reference point, or with one of another number of entries than there are channels, there is none.
    """

    def __init__(
        self, population: Population, hyper: PyTree, state: PyTree, names: Sequence[str], ref: Sequence[float] | None
    ):
        self._population, self._hyper, self.names = population, hyper, tuple(names)

        def read(own: PyTree, _: PyTree) -> Front:
            state, hyper = own
            points, valid = population.make(hyper).front(state)  # pyright: ignore[reportOptionalCall]
            return Front(points, nondominated_mask(points, valid))

        self._read = jax.jit(population.over_members(read))
        shape = population.one(jax.eval_shape(self._read, (state, hyper), ())).points.shape
        check.require(shape[1:] == (len(names),), "points of the front", shape, f"of shape [N, {len(names)}]")
        self.ref = None if ref is None or len(ref) != len(names) else tuple(map(float, ref))
        self._measure = jax.jit(population.over_members(lambda own, ref: measure(read(own, ()), ref)))

    def rows(self, state: PyTree) -> list[dict[str, Any]]:
        """A row for each point of each member, from the highest first channel down, on the host."""
        front = self._population.on_host(self._read((state, self._hyper), ()))
        rows = []
        for member, points, valid in zip(self._population.members, *front, strict=True):
            points = points[valid]
            for point in points[best_rows(points)]:
                rows.append({**member, **dict(zip(self.names, map(metrics.number, point), strict=True))})
        return rows

    def hypervolumes(self, state: PyTree) -> list[float]:
        """Of every member, on the host."""
        measured = self._measure((state, self._hyper), np.asarray(self.ref, np.float32))
        return list(map(metrics.number, self._population.on_host(measured)))


RESULTS = ("return", "return_std", "length", "finished")
