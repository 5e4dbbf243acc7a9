"""An archive of the best value vectors found, at a fixed capacity."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rlx.pareto.front import as_front, crowding_distance, match_objectives, nondominated_mask
from rlx.pareto.indicators import hypervolume_contributions
from rlx.types import Array, Front


def archive_insert(
    archive: Front, points: Array, valid: Array | None = None, *, ref: Array | None = None
) -> tuple[Front, Array]:
    """The non-dominated rows of archive and points together: `(archive, index)`, with the archive's capacity C.

    Of equal rows the earlier stays, so the archive's own before new ones. While there are more than C, the row of the
    least hypervolume contribution is dropped (the least crowding distance without `ref`), one at a time, the first of
    them on a tie. What is left comes first, in its old order.

    Shapes: `Front` of C rows, `[B, m]`, bool `[B]`, `[m]` -> `Front` of C rows, int `[C]`. `index` tells where each row
    was in `concatenate([archive.points, points])`, so that what belongs to the rows moves with them:
    `jax.tree.map(lambda old, new: jnp.concatenate([old, new])[index], payload, new_payload)`. An empty archive is
    `Front(jnp.zeros((C, m)), jnp.zeros(C, bool))`. O((C + B)^2 m) operations, and for each row that is dropped those of
    `hypervolume_contributions` or `crowding_distance`.

    Usual mistakes: noisy values, of which an archive keeps the luckiest (average many episodes, measure survivors
    again); and a `ref` that good rows do not exceed: they contribute nothing and are dropped first.

    >>> archive = Front(jnp.array([[0.0, 4.0], [3.0, 0.0]]), jnp.array([True, True]))
    >>> archive, index = archive_insert(archive, jnp.array([[2.0, 2.0], [1.0, 1.0]]), ref=jnp.array([-1.0, -1.0]))
    >>> archive.points.tolist(), index.tolist()
    ([[0.0, 4.0], [2.0, 2.0]], [0, 2])

    Raises:
      ValueError: if the sets are not matrices with one column for each objective, `valid` is not a boolean for each
        row, or `ref` not a vector with an entry for each objective.

    Source: Knowles, Corne and Fleischer, "Bounded Archiving Using the Lebesgue Measure" (2003).
    """
    old, new = as_front(*archive, name="archive"), as_front(points, valid)
    match_objectives("points", new.points, old.points)
    points, valid = (jnp.concatenate(pair) for pair in zip(old, new, strict=True))
    fixed, capacity = jax.lax.stop_gradient(points), len(old.points)

    def drop(kept: Array) -> Array:
        worth = crowding_distance(fixed, kept) if ref is None else hypervolume_contributions(fixed, ref, kept)
        worth = jnp.minimum(worth, jnp.finfo(worth.dtype).max)  # below that of rows which are gone
        return kept.at[jnp.argmin(jnp.where(kept, worth, jnp.inf))].set(False)

    kept = jax.lax.while_loop(lambda kept: kept.sum() > capacity, drop, nondominated_mask(points, valid))
    index = jnp.argsort(~kept, stable=True)[:capacity]
    return Front(*as_front(points[index], kept[index])), index
