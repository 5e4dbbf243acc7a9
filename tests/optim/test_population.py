"""Who is copied, against enumeration; the relation of improvement, against the front that it leaves as it is."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.optim import population_step
from rlx.pareto import dominates, nondominated_mask

RNG = np.random.default_rng(0)


def test_who_is_copied_is_drawn_uniformly_and_what_is_copied_is_varied():
    """3,000 draws: frequencies have standard errors below 0.01."""
    better = np.array([[0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 1], [0, 0, 1, 0]], bool)
    hyper = np.array([[1.0, 2.0], [3.0, 5.0], [7.0, 11.0], [13.0, 17.0]])
    keys = jax.random.split(jax.random.key(0), 3000)
    source, after = map(np.asarray, jax.jit(jax.vmap(lambda key: population_step(key, better, hyper, 1.25)))(keys))
    wanted = better / np.maximum(better.sum(1, keepdims=True), 1) + np.diag(~better.any(1))
    found = np.stack([(source == j).mean(0) for j in range(4)], axis=1)
    np.testing.assert_allclose(found, wanted, atol=0.04)
    np.testing.assert_array_equal(after[:, 1], np.broadcast_to(hyper[1], (3000, 2)))
    ratio = (after / hyper[source])[:, [0, 2, 3]]
    up = np.isclose(ratio, 1.25)
    assert (up | np.isclose(ratio, 0.8)).all()
    np.testing.assert_allclose(up.mean(0), 0.5, atol=0.04)
    np.testing.assert_allclose((up[..., 0] & up[..., 1]).mean(), 0.25, atol=0.04)  # numbers vary independently


@pytest.mark.parametrize("levels", [2, 4])
def test_members_that_none_improves_on_are_the_front(levels):
    """Improvement in all percentiles is a strict partial order; copies come from members that improve on the copier."""
    score = RNG.integers(levels, size=(12, 3)).astype(np.float32)
    better = np.asarray(dominates(score, score[:, None]))
    assert not (better & better.T).any()
    assert not np.any((better.astype(int) @ better.astype(int) > 0) & ~better)  # transitive
    source, hyper = population_step(jax.random.key(1), better, jnp.ones(12))
    stay = np.asarray(nondominated_mask(score, keep_duplicates=True))
    assert 0 < stay.sum() < 12
    np.testing.assert_array_equal(source == np.arange(12), stay)
    np.testing.assert_array_equal(hyper == 1, stay)
    assert (score[source] >= score).all()


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="better"):
        population_step(jax.random.key(0), jnp.ones((2, 3), bool), jnp.ones(2))
    with pytest.raises(ValueError, match="hyper"):
        population_step(jax.random.key(0), jnp.ones((2, 2), bool), jnp.ones(3))
