"""Device meshes, and one learner over several devices.

What papers and older code call "pmap-compiled" is `jax.jit` with shardings and `jax.shard_map` here: JAX has retired
`pmap` in their favour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from rlx import check
from rlx.types import Algorithm, Front, Mean, PyTree


def make_mesh(num_devices: int | None = None, axis: str = "member") -> Mesh:
    """A one-dimensional mesh over the first `num_devices` devices (default: all, over all processes).

    Its axis has type Auto: `jax.make_mesh` makes Explicit ones, with which large programs fail to trace.
    """
    devices = jax.devices()
    if num_devices is not None:
        check.count("num_devices", num_devices)
        check.require(num_devices <= len(devices), "num_devices", num_devices, f"at most {len(devices)}, the devices")
        devices = devices[:num_devices]
    return Mesh(np.asarray(devices), (axis,), axis_types=(jax.sharding.AxisType.Auto,))


def mesh_of(state: PyTree) -> Mesh | None:
    """The mesh that the arrays of a state lie on; None if they lie on a single device."""
    for leaf in jax.tree.leaves(state):
        if isinstance(leaf.sharding, NamedSharding) and isinstance(leaf.sharding.mesh, Mesh):
            return leaf.sharding.mesh
    return None


def place(tree: PyTree, mesh: Mesh | None, *, sharded: bool) -> PyTree:
    """Host values as global arrays: their leading axis sharded over the mesh, or the same value on every device.

    Every process passes the whole value.
    """
    if mesh is None:
        return jax.tree.map(jax.numpy.asarray, tree)
    sharding = NamedSharding(mesh, P(*mesh.axis_names) if sharded else P())

    def put(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and (leaf.sharding == sharding or not leaf.is_fully_addressable):
            return leaf
        if jax.process_count() == 1:
            return jax.device_put(leaf, sharding)
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree)


def fetch(tree: PyTree) -> PyTree:
    """Arrays as NumPy arrays on the host, whole ones in every process."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental import multihost_utils

    def get(leaf: jax.Array) -> np.ndarray:
        if leaf.is_fully_addressable or leaf.is_fully_replicated:
            return np.asarray(leaf.addressable_data(0))
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    return jax.tree.map(get, tree)


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process: so that all of them take the same decision."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def barrier(name: str) -> None:
    """Wait until every process has come here."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def data_parallel(make: Callable[..., Algorithm], shards: int | Mesh, axis: str = "data") -> Algorithm:
    """One learner whose environments and gradients are spread over shards.

    `make(axis_name=axis)` builds the algorithm of one shard, which takes `lax.pmean` of its gradients over that axis
    and draws its environments from a key folded with `lax.axis_index`; its `init` sees the same key on every shard.
    The state has a leading shard axis. With a mesh of one axis each device runs one shard (`jax.shard_map`); with an
    integer all shards run on one device (`jax.vmap`), which gives the same result up to rounding.

    `check_vma=False` is essential: with the default, the gradient with respect to replicated parameters is already
    summed over shards, and `pmean` of it is too large by their number.
    """
    if isinstance(shards, int):
        check.count("shards", shards)
        mesh, num_shards = None, shards
    else:
        if len(shards.axis_names) != 1:
            raise ValueError(f"shards must be an integer or a mesh of one axis; got axes {shards.axis_names}")
        mesh, num_shards, axis = shards, shards.size, shards.axis_names[0]
    algorithm = make(axis_name=axis)

    def over_shards(function: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]) -> Callable[..., Any]:
        """`function(state, shared) -> (state, metrics)` of one shard, for all; metrics come out the same on each."""
        if mesh is None:
            return jax.vmap(function, (0, None), (0, None), axis_name=axis, axis_size=num_shards)

        def on_device(state: PyTree, shared: PyTree) -> tuple[PyTree, PyTree]:
            state, metrics = function(jax.tree.map(lambda x: x[0], state), shared)
            return jax.tree.map(lambda x: x[None], state), metrics

        return jax.shard_map(on_device, mesh=mesh, in_specs=(P(axis), P()), out_specs=(P(axis), P()), check_vma=False)

    def init(key: jax.Array) -> PyTree:
        return over_shards(lambda _, key: (algorithm.init(key), ()))((), key)[0]

    def update(state: PyTree, data: PyTree = None) -> tuple[PyTree, dict[str, Any]]:
        def of_shard(state: PyTree, data: PyTree) -> tuple[PyTree, dict[str, Any]]:
            state, metrics = algorithm.update(state, data)
            return state, {name: _over_shards(value, axis) for name, value in metrics.items()}

        return over_shards(of_shard)(state, data)

    def front(state: PyTree) -> Front:
        """What all shards have found together."""
        found = jax.vmap(algorithm.front)(state)  # pyright: ignore[reportArgumentType]
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)

    return Algorithm(
        init,
        update,
        lambda state: algorithm.policy(jax.tree.map(lambda x: x[0], state)),
        algorithm.steps_per_update * num_shards,
        algorithm.channels,
        front=None if algorithm.front is None else front,
    )


def _over_shards(value: Any, axis: str) -> Any:
    """A metric over all shards; one that the algorithm has already combined stays as it is, as a mean."""
    if isinstance(value, Mean):
        return Mean(jax.lax.pmean(value.total, axis), jax.lax.pmean(value.count, axis))
    return jax.lax.pmean(value, axis)
