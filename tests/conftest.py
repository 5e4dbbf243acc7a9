"""Test-wide settings, made before jax is first imported: compiled programs are kept in `.jax_cache/` between runs.

`JAX_COMPILATION_CACHE_DIR=` (empty) switches that off, another value moves it. Tests run on the CPU unless
`JAX_PLATFORMS` names something else. XLA's CPU compiler does as little as it can (`XLA_FLAGS` overrides it): the
programs are small, and to compile them takes most of the time of the tests, three times as much at its first level of
optimisation and with the newer emitters of fused operations. Programs run where they are called: on a small machine,
batched factorisations of two that run at once wait for each other for ever.
"""

import gc
import os
from pathlib import Path

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parent.parent / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)

import jax
import pytest

jax.config.update("jax_cpu_enable_async_dispatch", False)


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> None:
    """What earlier files left in JAX's caches is no longer looked through by every collection of garbage."""
    gc.collect()
    gc.freeze()
