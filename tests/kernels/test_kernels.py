"""What every kernel must do, checked over one table: a new kernel is a new row of its package's file.

Jitted equals eager; vmapped equals a loop; gradients match finite differences, vanish where documented as stopped and
stay finite at extremes; the dtype is kept; a new value of a traced argument does not recompile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import exploration_rows
import jax
import jax.numpy as jnp
import numpy as np
import optim_rows
import pareto_rows
import policy_rows
import pytest
import reward_rows
import value_rows
from row import Row

from rlx import exploration, optim, pareto, policy, reward, value

TABLES = {
    value: value_rows.ROWS,
    policy: policy_rows.ROWS,
    reward: reward_rows.ROWS,
    exploration: exploration_rows.ROWS,
    pareto: pareto_rows.ROWS,
    optim: optim_rows.ROWS,
}
TABLE = {name: row for rows in TABLES.values() for name, row in rows.items()}
COMPONENTS = {  # reward sources and their transforms, running statistics, weightings, parameters, archives
    "AnnotationQueue",
    "AnnotationScores",
    "Annotator",
    "Answers",
    "ArchiveMetrics",
    "BehaviourTree",
    "Cells",
    "CoKriging",
    "EdgeStats",
    "EliteArchive",
    "EpisodeMemory",
    "GaussianSearch",
    "GoalLibrary",
    "Insertion",
    "OveroptimisationFit",
    "Ratings",
    "RewardTransform",
    "RunningMoments",
    "SearchResult",
    "SetFunction",
    "TopologicalGraph",
    "centre",
    "chain",
    "coverage",
    "diayn",
    "elliptical",
    "empty_archive",
    "entropy_reduction",
    "exponentiated_gradient",
    "extrinsic",
    "facility_location",
    "from_gram",
    "hypervolume_guided",
    "icm",
    "information",
    "init_annotations",
    "init_cells",
    "init_goals",
    "init_graph",
    "init_moments",
    "labelled_events",
    "lagrangian",
    "linear",
    "merge_moments",
    "normalise",
    "normalise_by_return",
    "novelty",
    "pid_lagrangian",
    "recap",
    "rnd",
    "scripted_annotator",
    "scripted_comparer",
    "stack",
    "update_moments",
    "utility_gradient",
    "visit_count",
}
HOST_ONLY = {
    "convex_coverage_set",
    "iwocs",
    "occupancy",
    "pareto_value_iteration",
    "policy_evaluation",
    "quantile_midpoints",
    "robust_value_iteration",
    "simplex_grid",
    "soft_value_iteration",
    "step_distances",
    "successor_measure",
    "value_iteration",
}


@pytest.fixture(params=TABLE)
def row(request: pytest.FixtureRequest) -> Row:
    return TABLE[request.param]


def draw(row: Row, seed: int, dtype: Any = jnp.float32) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    return {name: cast(make(rng), dtype) for name, make in row.inputs.items()}


def cast(x: np.ndarray, dtype: Any) -> jax.Array:
    return jnp.asarray(x, dtype) if x.dtype == np.float64 else jnp.asarray(x)


def run(row: Row, inputs: Mapping[str, Any]) -> Any:
    return row.kernel(**inputs, **row.static)


compiled_runs: dict[int, Any] = {}


def compiled(row: Row) -> Any:
    """The same jitted kernel for all tests of a row."""
    return compiled_runs.setdefault(id(row), jax.jit(lambda inputs: run(row, inputs)))


def weighted_sum(row: Row, inputs: Mapping[str, Any]) -> jax.Array:
    """A scalar that depends on every floating output, for derivatives."""
    total = jnp.zeros(())
    for leaf in jax.tree.leaves(run(row, inputs)):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            total += jnp.sum(leaf * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape))
    return total


def value_and_gradients(row: Row, names: tuple[str, ...]) -> Callable[..., tuple[jax.Array, dict[str, jax.Array]]]:
    """A jitted function of all inputs, and again of those that are differentiated by."""

    def of(chosen: Mapping[str, Any], inputs: Mapping[str, Any]) -> jax.Array:
        return weighted_sum(row, {**inputs, **chosen})

    of_both = jax.jit(jax.value_and_grad(of))
    return lambda inputs: of_both({name: inputs[name] for name in names}, inputs)


def gradients(row: Row, inputs: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, jax.Array]:
    return value_and_gradients(row, names)(inputs)[1]


def assert_trees_close(got: Any, wanted: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def rows_where(condition: Callable[[Row], Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", [name for name, row in TABLE.items() if condition(row)], indirect=True)


@pytest.mark.parametrize(("package", "rows"), TABLES.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_every_public_kernel_has_a_row(package: Any, rows: dict[str, Row]):
    assert set(package.__all__) - HOST_ONLY - COMPONENTS == {name.split(",")[0] for name in rows}


def test_numpy_arrays_are_taken(row: Row):
    """Only traced: to compile what runs operation by operation takes longest; the doctests run without jit."""
    inputs = draw(row, 0)
    of_numpy = jax.eval_shape(lambda: run(row, jax.tree.map(np.asarray, inputs)))
    assert of_numpy == jax.eval_shape(lambda: run(row, inputs))


def test_vmapped_equals_loop_that_compiles_once(row: Row):
    each = [draw(row, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *each)
    loop = jax.tree.map(lambda *x: jnp.stack(x), *map(compiled(row), each))
    assert_trees_close(jax.jit(jax.vmap(lambda x: run(row, x)))(stacked), loop, atol=1e-5)
    assert compiled(row)._cache_size() == 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@rows_where(lambda row: any(make(np.random.default_rng(0)).dtype == np.float64 for make in row.inputs.values()))
def test_dtype_is_kept(row: Row, dtype: Any):
    outputs = jax.eval_shape(lambda x: run(row, x), draw(row, 0, dtype))
    for leaf in jax.tree.leaves(outputs):
        assert leaf.dtype == dtype or not jnp.issubdtype(leaf.dtype, jnp.floating)


@rows_where(lambda row: row.differentiated)
def test_gradient_equals_finite_differences(row: Row):
    with jax.enable_x64(True):
        inputs = draw(row, 1, jnp.float64)
        evaluate = value_and_gradients(row, row.differentiated)
        grads = evaluate(inputs)[1]
        rng = np.random.default_rng(2)
        for name in row.differentiated:
            direction = rng.normal(size=inputs[name].shape)
            there, back = (evaluate({**inputs, name: inputs[name] + h * direction})[0] for h in (1e-6, -1e-6))
            np.testing.assert_allclose(np.sum(grads[name] * direction), (there - back) / 2e-6, rtol=1e-5, atol=1e-7)


@rows_where(lambda row: row.stopped)
def test_no_gradient_through_what_is_stopped(row: Row):
    for name, grad in gradients(row, draw(row, 0), row.stopped).items():
        np.testing.assert_array_equal(grad, 0.0, err_msg=name)


@rows_where(lambda row: row.extremes)
def test_gradient_is_finite_at_extremes(row: Row):
    inputs = draw(row, 0) | {name: cast(np.asarray(x, np.float64), jnp.float32) for name, x in row.extremes.items()}
    for leaf in jax.tree.leaves((compiled(row)(inputs), gradients(row, inputs, row.differentiated))):
        assert bool(jnp.all(jnp.isfinite(leaf)))
