"""Items with utilities, and a chooser that compares them: what a language model asked about outcomes stands for."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rlx import check
from rlx.reward.utility import thurstone_prob
from rlx.types import Array


class ItemGraph(NamedTuple):
    """`N` items; each comparison draws the utilities of both afresh, independent normal ones."""

    feature: Array  # [N, F]
    mean: Array  # [N] of the utilities; mean 0 and standard deviation 1 over the items
    variance: Array  # [N]


def item_graph(
    key: Array, items: int = 64, features: int = 8, *, noise: float = 0.3, depends: bool = True
) -> ItemGraph:
    """Items with standard normal features, and utilities that are a random linear function of these.

    Standard deviations of utilities are log-normal around `noise`. Without `depends` utilities are drawn regardless of
    the features, so that nothing about one item tells of another.
    """
    check.count("items", items, 2)
    check.count("features", features)
    check.positive("noise", noise)
    feature_key, weight_key, mean_key, variance_key = jax.random.split(key, 4)
    feature = jax.random.normal(feature_key, (items, features))
    linear, other = feature @ jax.random.normal(weight_key, (features,)), jax.random.normal(mean_key, (items,))
    mean = linear if depends else other
    mean = (mean - mean.mean()) / mean.std()
    deviation = noise * jnp.exp(0.5 * jax.random.normal(variance_key, (items,)))
    return ItemGraph(feature, mean, deviation**2)


def compare(key: Array, items: ItemGraph, first: Array, second: Array, samples: int = 10) -> Array:
    """The share of `samples` answers in which the first was chosen, `[E]` for edges int `[E]`."""
    check.count("samples", samples)
    prob = thurstone_prob(items.mean, items.variance)[first, second]
    return jnp.mean(jax.random.uniform(key, (samples, *prob.shape)) < prob, 0)
