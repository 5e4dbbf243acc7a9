"""Fixed weights."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.pareto import linear
from rlx.types import WeightingStats

STATS = WeightingStats(jnp.array([3.0, -1.0]), jnp.array(4.0), None)


def test_linear_gives_its_weights_whatever_happens():
    weighting = linear((2.0, -1.0))
    weights, state, metrics = weighting.update(weighting.init(2), STATS)
    np.testing.assert_array_equal(weights, [2.0, -1.0])
    assert (state, metrics) == ((), {})


def test_linear_weights_may_be_traced():
    many = jax.vmap(lambda w: linear(w).update((), STATS)[0])(jnp.eye(2))
    np.testing.assert_array_equal(many, jnp.eye(2))


def test_linear_wants_one_number_for_each_channel():
    with pytest.raises(ValueError, match="one number for each of 3 channels"):
        linear((1.0, 2.0)).init(3)
    with pytest.raises(ValueError, match="rank 1"):
        linear(1.0)  # type: ignore[arg-type]
