"""What a measuring process uses: pinning, counters, and its result as one line of JSON. Standard library only.

Cycles are counted where the machine offers hardware counters: user mode, all threads. CPU seconds (user and system) are
always taken: unlike wall time they do not grow while other processes have the core.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.peers.environment import MARK

_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}  # Linux system call numbers
_INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6

Lap = dict[str, Any]  # "cpu_s", "wall_s", and "cycles" or None


class Meter:
    """CPU seconds, wall seconds and cycles between laps.

    Make it before JAX is imported: the cycle counter is inherited only by threads that start later.
    """

    def __init__(self) -> None:
        self._counter = _open_cycle_counter()
        self._last = self._read()

    def lap(self) -> Lap:
        """What has been used since the last lap."""
        now, last = self._read(), self._last
        self._last = now
        cycles = None if now[2] is None or last[2] is None else now[2] - last[2]
        return {"cpu_s": now[0] - last[0], "wall_s": now[1] - last[1], "cycles": cycles}

    def _read(self) -> tuple[float, float, int | None]:
        cycles = None if self._counter is None else struct.unpack("Q", os.read(self._counter, 8))[0]
        return time.process_time(), time.perf_counter(), cycles


def _open_cycle_counter() -> int | None:
    """File descriptor of a counter of user-mode cycles of this process and its later threads, or None."""
    number = _PERF_EVENT_OPEN.get(platform.machine())
    if number is None or sys.platform != "linux":
        return None
    attributes = bytearray(128)  # struct perf_event_attr: type 0 (hardware), size, config 0 (cycles), ..., flags
    struct.pack_into("IIQQQQQ", attributes, 0, 0, 128, 0, 0, 0, 0, _INHERIT | _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR)
    buffer = (ctypes.c_char * 128).from_buffer(attributes)
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(number, buffer, 0, -1, -1, 0)
    return descriptor if descriptor >= 0 else None


def peak_rss_mib() -> float:
    """Largest resident memory of this process so far, in MiB.

    On Linux without that of the process that started it, from which `ru_maxrss` goes on.
    """
    import resource
    from pathlib import Path

    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def worker(measure: Callable[[dict[str, Any], Meter], dict[str, Any]]) -> None:
    """Main function of a measuring process: pin it, measure what `sys.argv[1]` specifies, print the result.

    `measure(spec, meter)` returns at least `compile` and `run` (laps), `steps` (environment steps of the run) and
    `score`.
    """
    spec = json.loads(sys.argv[1])
    given = spec.get("settings", {}).items()
    spec["settings"] = {name: tuple(value) if isinstance(value, list) else value for name, value in given}
    if spec["device"] == "cpu":
        os.sched_setaffinity(0, spec["cores"])
        os.environ["JAX_PLATFORMS"] = "cpu"
        if spec["devices"] > 1:
            os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={spec['devices']}"
    else:
        os.environ["JAX_PLATFORMS"] = "cuda"
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)  # compile time is measured
    result = measure(spec, Meter())
    print(MARK + json.dumps({"rss_mib": peak_rss_mib(), **result}))


def time_program(meter: Meter, function: Callable[..., Any], *arguments: Any) -> tuple[Any, Lap, Lap]:
    """Outputs of the jitted function, and the laps of its compilation (with tracing) and of its run."""
    import jax

    meter.lap()
    compiled = jax.jit(function).lower(*arguments).compile()
    compile_lap = meter.lap()
    outputs = jax.block_until_ready(compiled(*arguments))
    return outputs, compile_lap, meter.lap()


def over_seeds(
    function: Callable[..., Any], make_key: Callable[[int], Any], seeds: int
) -> tuple[Callable[..., Any], Any]:
    """The function and its argument for so many seeds: one key as it is, several under `vmap`."""
    import jax
    import jax.numpy as jnp

    if seeds == 1:
        return function, make_key(0)
    return jax.vmap(function), jnp.stack([make_key(seed) for seed in range(seeds)])
