"""Errors that say what was given and what is allowed.

Used at public doors only. Values that are being traced (under `jit` or `vmap`) cannot be looked at and pass; the driver
checks the concrete ones before it traces.
"""

from __future__ import annotations

import math
from typing import Any

import jax.core
import numpy as np


def require(condition: bool, name: str, value: Any, allowed: str) -> None:
    """Raise `ValueError` "`name` must be `allowed`; got `value`" unless the condition holds."""
    if not condition:
        raise ValueError(f"{name} must be {allowed}; got {value!r}")


def in_range(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raise `ValueError` unless every element of `value` is a finite number in the range; tracers pass."""
    if isinstance(value, jax.core.Tracer):
        return
    array = np.asarray(value, dtype=np.float64)
    above = array > low if open_low else array >= low
    below = array < high if open_high else array <= high
    if not bool(np.all(np.isfinite(array) & above & below)):
        left = "(" if open_low or low == -math.inf else "["
        right = ")" if open_high or high == math.inf else "]"
        raise ValueError(f"{name} must be a finite number in {left}{low:g}, {high:g}{right}; got {value!r}")


def positive(name: str, value: Any) -> None:
    """Raise `ValueError` unless `value` is finite and above zero; tracers pass."""
    in_range(name, value, 0.0, open_low=True)


def count(name: str, value: Any, minimum: int = 1) -> None:
    """Raise `ValueError` unless `value` is an integer of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}; got {value!r}")


def divides(name: str, value: int, total_name: str, total: int) -> None:
    """Raise `ValueError` unless `value` divides `total`."""
    if total % value:
        raise ValueError(f"{name} must divide {total_name} = {total}; got {value!r}")


def same_shape(**arrays: Any) -> None:
    """Raise `ValueError` that lists every shape unless all the arrays have the same one."""
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"arrays must have the same shape; got {listed}")


def rank(name: str, array: Any, *allowed: int) -> None:
    """Raise `ValueError` unless the array's number of dimensions is among `allowed`."""
    if np.ndim(array) not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise ValueError(f"{name} must have rank {wanted}; got shape {np.shape(array)}")
