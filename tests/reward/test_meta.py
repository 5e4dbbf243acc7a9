"""MetaRM's step against loops, finite differences and closed forms."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.reward import answer_spread, meta_gradient, preference_loss

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def by_hand(score: np.ndarray, mask: np.ndarray) -> float:
    pairs = [1 / (1 + np.exp(-abs(a - b))) for a, b in itertools.combinations(score[mask], 2)]
    return float(np.mean(pairs)) if pairs else 0.0


def test_spread_is_the_mean_over_pairs_that_are_there():
    score, mask = RNG.normal(0, 3, (6, 5)), RNG.random((6, 5)) < 0.6
    mask[0], mask[1] = False, [True, False, False, False, False]
    expected = [by_hand(*row) for row in zip(score, mask, strict=True)]
    np.testing.assert_allclose(answer_spread(score, mask), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(jax.vmap(answer_spread))(score, mask), expected, rtol=1e-12)
    np.testing.assert_allclose(answer_spread(score[:, RNG.permutation(5)]), answer_spread(score), rtol=1e-12)


def test_its_slope_is_that_of_differences_and_none_between_equals():
    score = RNG.normal(size=4)
    for k, step in enumerate(1e-6 * np.eye(4)):
        slope = (answer_spread(score + step) - answer_spread(score - step)) / 2e-6
        np.testing.assert_allclose(jax.grad(answer_spread)(jnp.asarray(score))[k], slope, atol=1e-8)
    assert not np.any(jax.grad(answer_spread)(jnp.ones(4)))


def test_a_quadratic_loss_and_a_linear_spread():
    p, goal, uphill = RNG.normal(size=(3, 4))
    value, gradient = meta_gradient(
        lambda p: 0.5 * jnp.sum(jnp.square(p["x"] - goal)), lambda p: p["x"] @ uphill, {"x": jnp.asarray(p)}, 0.3
    )
    np.testing.assert_allclose(gradient["x"], p + 0.3 * uphill - goal, rtol=1e-12)
    np.testing.assert_allclose(value, 0.5 * np.sum((p + 0.3 * uphill - goal) ** 2), rtol=1e-12)


def test_without_a_rate_it_is_the_plain_gradient():
    pairs, answers, weight = RNG.normal(size=(20, 3)), RNG.normal(size=(7, 5, 3)), jnp.asarray(RNG.normal(size=3))

    def loss(w):
        return preference_loss(pairs @ w, np.ones(20)).mean()

    def spread(w):
        return answer_spread(answers @ w).mean()

    value, gradient = meta_gradient(loss, spread, weight, 0.0)
    np.testing.assert_allclose(gradient, jax.grad(loss)(weight), rtol=1e-12)
    assert float(value) == pytest.approx(float(loss(weight)))
    moved = weight + 0.5 * jax.grad(spread)(weight)
    assert float(spread(moved)) > float(spread(weight))
    np.testing.assert_allclose(meta_gradient(loss, spread, weight, 0.5)[1], jax.grad(loss)(moved), rtol=1e-12)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="rate"):
        meta_gradient(jnp.sum, jnp.sum, jnp.ones(2), -1.0)
    with pytest.raises(ValueError, match="score"):
        answer_spread(jnp.ones(()))
    with pytest.raises(ValueError, match="same shape"):
        answer_spread(jnp.ones(3), jnp.ones(2, bool))
