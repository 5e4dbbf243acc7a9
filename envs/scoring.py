"""Tasks that score whole solutions, for quality-diversity: arrays of genes in, fitness and a descriptor out."""

from __future__ import annotations

import jax.numpy as jnp

from rlx import check
from rlx.types import Array


def planar_arm(genome: Array) -> tuple[Array, Array]:
    """An arm of n equal joints: `(fitness [...], descriptor [..., 2])` of its angles, `genome [..., n]` in [0, 1].

    The i-th joint turns by `2 pi x_i - pi` from the direction of the one before. The descriptor is where the hand is,
    `0.5 + (1 / 2n) sum_i (cos, sin)` of the directions, in the disc of radius 1/2 round (1/2, 1/2); the fitness is
    minus the standard deviation of the genes. Genes outside are cut.

    Known optimum: fitness 0 with all genes equal; every place of the disc can be reached with n > 1.

    >>> fitness, hand = planar_arm(jnp.full(4, 0.5))
    >>> abs(float(fitness)), hand.tolist()
    (0.0, [1.0, 0.5])
    """
    genome = jnp.clip(genome, 0.0, 1.0)
    direction = jnp.cumsum(2 * jnp.pi * genome - jnp.pi, axis=-1)
    hand = jnp.stack([jnp.cos(direction).mean(axis=-1), jnp.sin(direction).mean(axis=-1)], axis=-1)
    return -jnp.std(genome, axis=-1), 0.5 + 0.5 * hand


def projected_sphere(genome: Array, *, bound: float = 5.12) -> tuple[Array, Array]:
    """The sphere function with a linear descriptor that distorts: `(fitness [...], descriptor [..., 2])`, n even.

    The fitness is `-sum (x_i - s)^2` with the optimum moved to `s = 0.4 bound`. The descriptor sums the genes of either
    half after `clip(x) = x` within the bound and `bound / x` outside of it, so it lies in `+- n bound / 2`. A normal
    distribution of genes falls near its middle: the border can only be reached along correlated directions.

    >>> fitness, place = projected_sphere(jnp.array([5.12, 10.24, -5.12, 0.0]))
    >>> [round(x, 2) for x in place.tolist()]
    [5.62, -5.12]

    Raises:
      ValueError: for an odd number of genes.

    Source: Fontaine et al., "Covariance Matrix Adaptation for the Rapid Illumination of Behavior Space" (2020).
    """
    genes = jnp.shape(genome)[-1]
    check.require(genes % 2 == 0, "genome", jnp.shape(genome), "of an even number of genes")
    inside = jnp.abs(genome) <= bound
    cut = jnp.where(inside, genome, bound / jnp.where(inside, 1.0, genome))
    halves = cut.reshape(*cut.shape[:-1], 2, genes // 2).sum(axis=-1)
    return -jnp.sum(jnp.square(genome - 0.4 * bound), axis=-1), halves
