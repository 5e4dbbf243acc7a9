"""A kernel with what makes its arguments, and the makers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

T, B, A = 7, 3, 4
N = 6  # rows of a set of value vectors
Rng = np.random.Generator
Maker = Callable[[Rng], np.ndarray]


class Row(NamedTuple):
    """A kernel, and how to make its arguments."""

    kernel: Callable[..., Any]
    inputs: Mapping[str, Maker]  # traced: floats, booleans, integers
    static: Mapping[str, Any] = {}
    differentiated: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()  # must get no gradient; coefficients belong to neither
    extremes: Mapping[str, Any] = {}  # inputs to be replaced where gradients must stay finite


def normal(*shape: int) -> Maker:
    return lambda rng: rng.normal(size=shape)


def uniform(low: float, high: float, *shape: int) -> Maker:
    return lambda rng: rng.uniform(low, high, shape)


def flags(*shape: int) -> Maker:
    return lambda rng: rng.random(shape) < 0.3


def integers(high: int, *shape: int) -> Maker:
    return lambda rng: rng.integers(high, size=shape)


def simplex(*shape: int) -> Maker:
    return lambda rng: rng.dirichlet(np.ones(shape[-1]), shape[:-1])


def constant(*values: float) -> Maker:
    return lambda rng: np.array(values)


def grid(*shape: int) -> Maker:
    """Numbers of which many are equal."""
    return lambda rng: np.round(rng.normal(size=shape))


def mask(*shape: int) -> Maker:
    """At least one allowed action in each row."""
    return lambda rng: (rng.random(shape) < 0.6) | (np.arange(shape[-1]) == 0)


def gram(size: int, parameters: int = 6) -> Maker:
    def make(rng: Rng) -> np.ndarray:
        G = rng.normal(size=(size, parameters))
        return G @ G.T

    return make


def ranking(*shape: int) -> Maker:
    """Ranks with ties, and some candidates that are not ranked."""
    return lambda rng: rng.integers(-1, 3, size=shape)


def targets(kernel: Callable[..., Any], **inputs: Maker) -> Row:
    """A kernel whose results are all constants."""
    floats = tuple(name for name, make in inputs.items() if make(np.random.default_rng(0)).dtype == np.float64)
    return Row(kernel, inputs, stopped=floats)


FAR = np.array([1e4, -1e4, 0.0])
LOGITS = np.array([[0.0, -np.inf, 1.0, -np.inf], [1e4, -1e4, 0.0, 0.0], [-np.inf, -np.inf, -np.inf, 3.0]])
