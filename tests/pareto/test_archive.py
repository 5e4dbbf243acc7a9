"""The archive against a loop over lists in which moocore and pymoo decide."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import moocore
import numpy as np
import pytest
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance

from rlx.pareto import archive_insert, nondominated_mask
from rlx.types import Front

STREAMS, STEPS, BATCH, CAPACITY = 40, 6, 5, 6


def inserted(archive: list[tuple], points: list[tuple], ref: np.ndarray | None) -> list[tuple]:
    """`archive_insert` on lists."""
    rows = [*archive, *points]
    if not rows:
        return []
    kept = [row for row, best in zip(rows, moocore.is_nondominated(rows, maximise=True), strict=True) if best]
    while len(kept) > CAPACITY:
        if ref is None:
            worth = calc_crowding_distance(np.array(kept))
        else:
            worth = moocore.hv_contributions(kept, ref=ref, maximise=True)
        del kept[int(np.argmin(worth))]
    return kept


def filled(points: np.ndarray, valid: np.ndarray, ref: np.ndarray | None) -> tuple[Front, jax.Array]:
    """Archives and the original numbers of their rows after each step of a stream `[STEPS, BATCH, m]`."""

    def step(carry, batch):
        archive, number = carry
        archive, index = archive_insert(archive, batch[0], batch[1], ref=ref)
        carry = archive, jnp.concatenate([number, batch[2]])[index]
        return carry, carry

    empty = Front(jnp.zeros((CAPACITY, points.shape[-1])), jnp.zeros(CAPACITY, bool))
    numbers = jnp.arange(STEPS * BATCH).reshape(STEPS, BATCH)
    return jax.lax.scan(step, (empty, jnp.full(CAPACITY, -1, numbers.dtype)), (points, valid, numbers))[1]


@pytest.mark.parametrize("by", ["contribution", "crowding"])
@pytest.mark.parametrize("m", [2, 3, 4])
def test_streams_equal_a_loop(m, by):
    rng = np.random.default_rng(m)
    points = np.abs(rng.normal(size=(STREAMS, STEPS, BATCH, m))) ** 0.5
    points /= np.linalg.norm(points, axis=-1, keepdims=True) + rng.uniform(0, 0.1, (STREAMS, STEPS, BATCH, 1))
    valid = rng.random(points.shape[:-1]) < 0.8
    ref = np.full(m, -0.1) if by == "contribution" else None
    with jax.enable_x64(True):
        (archive, mask), number = jax.jit(jax.vmap(lambda p, v: filled(p, v, ref)))(points, valid)
    archive, mask, number = np.asarray(archive), np.asarray(mask), np.asarray(number)
    assert mask[:, -1].sum(axis=-1).mean() > CAPACITY - 0.5  # they did fill up
    for s in range(STREAMS):
        wanted = []
        for t in range(STEPS):
            wanted = inserted(wanted, [tuple(row) for row in points[s, t][valid[s, t]]], ref)
            np.testing.assert_array_equal(mask[s, t], np.arange(CAPACITY) < len(wanted))
            np.testing.assert_array_equal(archive[s, t][mask[s, t]], np.reshape(wanted, (-1, m)))
            np.testing.assert_array_equal(archive[s, t][~mask[s, t]], 0)
            # what moves with `index` is still that of its row
            flat = points[s].reshape(-1, m)
            np.testing.assert_array_equal(flat[number[s, t][mask[s, t]]], archive[s, t][mask[s, t]])


def test_with_room_it_is_the_non_dominated_set():
    points = jnp.asarray(np.random.default_rng(0).normal(size=(20, 3)))
    archive = Front(jnp.zeros((25, 3)), jnp.zeros(25, bool))
    at_once, index = archive_insert(archive, points)
    insert = jax.jit(archive_insert)
    for point in points:
        archive, _ = insert(archive, point[None])
    mask = nondominated_mask(points)
    assert int(at_once.valid.sum()) == int(mask.sum())
    np.testing.assert_array_equal(at_once.points[at_once.valid], points[mask])
    np.testing.assert_array_equal(archive.points, at_once.points)
    np.testing.assert_array_equal(index[at_once.valid] - 25, jnp.flatnonzero(mask))


def test_of_equal_rows_and_equal_worth_the_first_goes_its_way():
    archive = Front(jnp.array([[1.0, 2.0], [2.0, 1.0]]), jnp.array([True, True]))
    same, index = archive_insert(archive, archive.points[::-1])
    np.testing.assert_array_equal(same.points, archive.points)
    np.testing.assert_array_equal(index, [0, 1])
    # every contribution is 1, every crowding distance of two rows infinite: the lowest index is dropped
    square = Front(jnp.array([[1.0, 2.0]]), jnp.array([True]))
    for ref in (jnp.zeros(2), None):
        kept, _ = archive_insert(square, jnp.array([[2.0, 1.0]]), ref=ref)
        np.testing.assert_array_equal(kept.points, [[2.0, 1.0]])


def test_rows_outside_the_reference_are_dropped_first():
    archive = Front(jnp.array([[9.0, -1.0], [2.0, 2.0]]), jnp.array([True, True]))
    kept, _ = archive_insert(archive, jnp.array([[1.0, 3.0]]), ref=jnp.zeros(2))
    np.testing.assert_array_equal(kept.points, [[2.0, 2.0], [1.0, 3.0]])


def test_nan_never_enters_and_gradients_pass():
    archive = Front(jnp.array([[1.0, 2.0], [jnp.nan, 1.0]]), jnp.array([True, True]))

    def total(points):
        kept, _ = archive_insert(archive, points, ref=jnp.zeros(2))
        return jnp.sum(kept.points * jnp.array([1.0, 10.0]))

    points = jnp.array([[2.0, 1.0], [jnp.nan, 5.0], [0.5, 0.5]])
    assert total(points) == 33.0
    np.testing.assert_array_equal(jax.grad(total)(points), [[1.0, 10.0], [0.0, 0.0], [0.0, 0.0]])


def test_what_does_not_fit_is_refused():
    archive = Front(jnp.zeros((3, 2)), jnp.zeros(3, bool))
    with pytest.raises(ValueError, match="archive must have rank 2"):
        archive_insert(Front(jnp.zeros(3), archive.valid), jnp.zeros((1, 2)))
    with pytest.raises(ValueError, match="valid of archive must be bool"):
        archive_insert(Front(archive.points, jnp.zeros(2, bool)), jnp.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"points must be of shape \[..., 2\].*got \(1, 3\)"):
        archive_insert(archive, jnp.zeros((1, 3)))
    with pytest.raises(ValueError, match="ref must be of shape"):
        archive_insert(archive, jnp.zeros((4, 2)), ref=jnp.zeros(3))
