"""Test-wide settings, made before jax is first imported: compiled programs are kept in `.jax_cache/` between runs.

`JAX_COMPILATION_CACHE_DIR=` (empty) switches that off, another value moves it. Tests run on the CPU unless
`JAX_PLATFORMS` names something else. XLA's CPU compiler optimises little (`XLA_FLAGS` overrides it): the programs are
small, and to compile them takes most of the time of the tests, with all optimisation up to twice as much.
"""

import os
from pathlib import Path

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parent.parent / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")
