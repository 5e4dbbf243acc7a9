"""Members of one program that differ in seed and traced hyper-parameters, on one device or sharded over a mesh."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from rlx.runtime.mesh import fetch, place
from rlx.types import Algorithm, PyTree


@dataclasses.dataclass(frozen=True)
class Population:
    """What a learner trains: one member without a member axis (`fit`), or members along a leading axis (`sweep`)."""

    make: Callable[[dict[str, Any]], Algorithm]  # hyper-parameters of one member -> its algorithm
    members: list[dict[str, Any]]  # seed and hyper-parameters
    batch: str | None = None  # None: no member axis. On each device "vmap", or "map": one member after the other
    mesh: Mesh | None = None

    @property
    def hyperparameters(self) -> list[str]:
        return [name for name in self.members[0] if name != "seed"]

    def over_members(self, function: Callable[[PyTree, PyTree], PyTree]) -> Callable[[PyTree, PyTree], PyTree]:
        """`function(own, shared)` of one member as a function of all members. No device waits for another in it."""
        if self.batch is None:
            return function

        def of_all(own: PyTree, shared: PyTree) -> PyTree:
            if self.batch == "vmap":
                return jax.vmap(function, (0, None))(own, shared)
            return jax.lax.map(lambda one: function(one, shared), own)

        if self.mesh is None:
            return of_all
        members = P(*self.mesh.axis_names)
        return jax.shard_map(of_all, mesh=self.mesh, in_specs=(members, P()), out_specs=members, check_vma=False)

    def identity(self) -> tuple[Any, dict[str, Any]]:
        """Seeds and hyper-parameters as arrays, placed on the mesh."""
        if self.batch is None:
            return np.uint32(self.members[0]["seed"]), {}
        seeds = np.asarray([member["seed"] for member in self.members], np.uint32)
        hyper = {n: np.asarray([member[n] for member in self.members], np.float32) for n in self.hyperparameters}
        return place((seeds, hyper), self.mesh, sharded=True)

    def one(self, tree: PyTree) -> PyTree:
        """The abstract values of a single member, given those of all."""
        start = 0 if self.batch is None else 1
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[start:], x.dtype), tree)

    def on_host(self, tree: PyTree) -> PyTree:
        """Results as NumPy arrays with a leading member axis."""
        host = fetch(tree)
        return jax.tree.map(lambda x: np.asarray(x)[None], host) if self.batch is None else host


def describe(member: Mapping[str, Any]) -> str:
    """A member's name: `seed=0, learning_rate=0.001`."""
    return ", ".join(f"{name}={value}" for name, value in member.items())
