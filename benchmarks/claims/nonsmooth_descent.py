"""Descent that looks around reaches the Pareto set of objectives with a kink, where the gradient at a point gets stuck.

The objectives `10 |x_2 - x_1^2| + (x_1 -+ 1)^2` share a kink along a parabola, and its arc with `|x_1| <= 1` is the
Pareto set. The direction of steepest common descent at a point beside the kink crosses it, so that steps shrink to
nothing. Plain descent takes ten times as many steps, which are that much cheaper. The descent that looks around, inside
a subdivision of boxes, covers the whole set. A seed draws the starts, and shifts the first box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from rlx.pareto import box_subdivision, min_norm_weights, nonsmooth_descent_step
from rlx.types import Array

LOW, HIGH = jnp.array([-2.0, -1.0]), jnp.array([2.0, 3.0])
SHIFT = 0.3  # of the box, at most
STARTS = 25
RADII = (1e-1, 1e-2, 1e-3, 1e-4)
TOLERANCE, CAPACITY = 1e-3, 6  # of the descent
ARMIJO, HALVINGS = 0.25, 20  # of the plain one
DEPTH, BOXES, POINTS = 8, 20, 3  # bisections, capacity, test points along a coordinate
BOX_RADII = (1e-1,) * 10 + (1e-2,) * 5 + (1e-3,) * 5  # of the descent from a test point
PLAIN = 10  # steps of plain descent for one of the other
STUCK = 1e-2  # distance to the Pareto set


def objectives(x: Array) -> Array:
    return 10.0 * jnp.abs(x[1] - x[0] ** 2) + (x[0] - jnp.array([1.0, -1.0])) ** 2


def arc(number: int) -> np.ndarray:
    first = np.linspace(-1.0, 1.0, number)
    return np.stack([first, first**2], 1)


def distance(x: Array, to: np.ndarray) -> Array:
    """From `[2]` to the nearest row of `to`."""
    return jnp.sqrt(jnp.square(x - to).sum(1).min())


def nonsmooth(x: Array, radius: Array) -> Array:
    return x + nonsmooth_descent_step(objectives, x, radius, TOLERANCE, armijo=ARMIJO, capacity=CAPACITY)[0]


def common(x: Array) -> Array:
    """The shortest vector in the hull of the gradients at a point, downwards."""
    G = jax.jacobian(objectives)(x)
    return -min_norm_weights(G @ G.T) @ G


def line_search(x: Array, _: Array) -> Array:
    """Along the common descent at a point, by Armijo's rule."""
    v = common(x)
    lengths = 0.5 ** jnp.arange(HALVINGS)
    falls = jax.vmap(lambda t: jnp.all(objectives(x + t * v) <= objectives(x) - ARMIJO * t * v @ v))(lengths)
    return x + jnp.max(jnp.where(falls, lengths, 0.0)) * v


def decreasing(x: Array, step: Array) -> Array:
    """A normalised step of length `1 / sqrt(t)` along the common descent at a point, beginning with 0.1."""
    v = common(x)
    return x + 0.1 * v / jnp.maximum(jnp.linalg.norm(v), 1e-8) / jnp.sqrt(step)


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    starts = jax.vmap(lambda key: jax.random.uniform(key, (STARTS, 2), minval=LOW, maxval=HIGH))(keys)
    each = max(updates // len(RADII), 1)
    schedules = {
        "nonsmooth": (nonsmooth, jnp.repeat(jnp.array(RADII), each)),
        "line search": (line_search, jnp.ones(PLAIN * len(RADII) * each)),
        "decreasing steps": (decreasing, jnp.arange(1.0, PLAIN * len(RADII) * each + 1)),
    }
    samples = {}
    fine = arc(4001)
    for name, (step, schedule) in schedules.items():

        def end(x: Array, step: Callable[[Array, Array], Array] = step, schedule: Array = schedule) -> Array:
            return distance(jax.lax.scan(lambda x, s: (step(x, s), None), x, schedule)[0], fine)

        found = np.asarray(jax.jit(jax.vmap(jax.vmap(end)))(starts), np.float64)
        samples[f"{name}: share stuck"] = (found > STUCK).mean(1).tolist()
        samples[f"{name}: median distance"] = np.median(found, 1).tolist()
        samples[f"{name}: largest distance"] = found.max(1).tolist()

    def cover(key: Array) -> tuple[Array, Array, Array]:
        """Hausdorff distance between the boxes' centres and the arc in diameters of a box, and how many boxes."""
        shift = jax.random.uniform(key, (2,), minval=-SHIFT, maxval=SHIFT)
        found = box_subdivision(
            lambda x: jax.lax.scan(lambda x, radius: (nonsmooth(x, radius), None), x, jnp.array(BOX_RADII))[0],
            LOW + shift,
            HIGH + shift,
            min(DEPTH, updates),
            points=POINTS,
            capacity=BOXES,
        )
        there = jax.vmap(lambda x: distance(x, fine))(found.centre)
        away = jnp.where(found.valid[:, None], found.centre, jnp.inf)
        back = jax.vmap(lambda x: jnp.sqrt(jnp.square(x - away).sum(1).min()))(jnp.asarray(arc(401)))
        farthest = jnp.maximum(jnp.max(jnp.where(found.valid, there, 0.0)), back.max())
        return farthest / jnp.linalg.norm(found.width), found.valid.sum(), found.complete

    hausdorff, number, complete = jax.jit(jax.vmap(cover))(keys)
    samples["boxes: Hausdorff distance"] = hausdorff.tolist()
    samples["boxes: number"] = number.tolist()
    samples["boxes: capacity was enough"] = complete.astype(float).tolist()
    return samples


CLAIM = Claim(
    name="nonsmooth_descent",
    title="Multiobjective Optimization of Non-Smooth PDE-Constrained Problems",
    year=2023,
    cards=(59,),
    environment=f"two objectives with a common kink along a parabola; {STARTS} random starts for each seed",
    baseline="common descent from the gradients at a point, with a line search, or with steps of decreasing length",
    method="common descent from gradients in a ball; subdivision of boxes by it",
    metric=f"share of starts that end more than {STUCK:g} away from the Pareto set; Hausdorff distance between it and"
    " the centres of the boxes that cover it, in diameters of a box",
    conditions=(
        Condition("stuck: below 1%", "nonsmooth: share stuck", 0.01, direction=-1),
        *(
            Condition(
                f"stuck: fewer than with {name}",
                "nonsmooth: share stuck",
                f"{name}: share stuck",
                0.05,
                direction=-1,
                paired=True,
            )
            for name in ("line search", "decreasing steps")
        ),
        Condition("Hausdorff distance: below one diameter", "boxes: Hausdorff distance", 1.0, direction=-1),
    ),
    settings={
        "radii": RADII,
        "tolerance": TOLERANCE,
        "capacity": CAPACITY,
        "armijo": ARMIJO,
        "depth": DEPTH,
        "points": POINTS,
        "box_radii": BOX_RADII,
    },
    updates=200,  # steps, a quarter of them with each radius
    steps_per_update=STARTS,
    run=run,
)
