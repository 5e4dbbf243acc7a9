"""Value losses: rlax on the same inputs, known minimisers, and where gradients must vanish."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax
from scipy import stats

from rlx import value


def test_td_loss_equals_rlax():
    prediction, target = jnp.asarray(np.random.default_rng(0).normal(size=(2, 50)) * 3, jnp.float32)
    np.testing.assert_allclose(value.td_loss(prediction, target), rlax.l2_loss(prediction, target), rtol=1e-6)
    huber = value.td_loss(prediction, target, huber=0.7)
    np.testing.assert_allclose(huber, rlax.huber_loss(prediction - target, 0.7), rtol=1e-5)


@pytest.mark.parametrize(
    ("new", "target", "gradient"),
    [
        (1.2, 3.0, 1.2 - 3.0),  # inside the interval [0.5, 1.5]: as without clipping
        (2.0, 3.0, 0.0),  # has moved far enough towards the target
        (2.0, 0.0, 2.0),  # has moved away from the target: pull back
        (-1.0, 3.0, -4.0),
        (0.0, -2.0, 0.0),
    ],
)
def test_clipped_value_loss_stops_only_towards_the_target(new: float, target: float, gradient: float):
    got = jax.grad(lambda v: value.clipped_value_loss(v, jnp.array(1.0), jnp.array(target), 0.5))(new)
    np.testing.assert_allclose(got, gradient, rtol=1e-6)


def test_clipped_value_loss_is_never_below_the_plain_one():
    new, old, target = jnp.asarray(np.random.default_rng(1).normal(size=(3, 200)), jnp.float32)
    clipped, plain = value.clipped_value_loss(new, old, target, 0.3), value.td_loss(new, target)
    assert bool(jnp.all(clipped >= plain))
    assert bool(jnp.any(clipped > plain))
    np.testing.assert_allclose(value.clipped_value_loss(new, old, target, 1e6), plain, rtol=1e-4)


def minimiser(targets: np.ndarray, kind, level: float) -> float:
    """The zero of the mean loss's derivative in the prediction, which grows with it, by bisection."""
    slope = jax.jit(jax.grad(lambda v: value.implicit_max_loss(jnp.asarray(targets) - v, kind, level).mean()))
    low, high = targets.min(), targets.max()
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return low


def test_implicit_maxima_of_a_sample():
    targets = np.random.default_rng(2).normal(size=501)
    with jax.enable_x64(True):
        for level in (0.2, 0.5, 0.8, 0.95):
            np.testing.assert_allclose(
                minimiser(targets, "expectile", level), stats.expectile(targets, level), atol=1e-8
            )
            order = np.quantile(targets, [level - 0.003, level + 0.003])  # the minimisers form an interval
            assert order[0] <= minimiser(targets, "pinball", level) <= order[1]
        for level in (0.8, 2.0, 50.0):
            wanted = level * np.log(np.mean(np.exp(targets / level)))
            np.testing.assert_allclose(minimiser(targets, "gumbel", level), wanted, atol=1e-8)
        np.testing.assert_allclose(minimiser(targets, "expectile", 0.5), targets.mean(), atol=1e-8)
        np.testing.assert_allclose(minimiser(targets, "expectile", 1 - 1e-6), targets.max(), atol=1e-2)


def test_tv_is_a_scaled_quantile():
    diff = np.random.default_rng(3).normal(size=50) * 5
    with jax.enable_x64(True):
        for level in (0.55, 0.8, 0.99):
            wanted = level * value.implicit_max_loss(jnp.asarray(diff), "pinball", (2 * level - 1) / level)
            np.testing.assert_allclose(value.implicit_max_loss(jnp.asarray(diff), "tv", level), wanted, rtol=1e-10)


@pytest.mark.parametrize("level", [0.6, 0.8, 0.95])
def test_chi_square_minimisers_are_stationary(level: float):
    """Each by its own condition, on a sample that reaches further than 4 below; and none is that of another."""
    targets = 2 * np.random.default_rng(4).normal(size=501)
    with jax.enable_x64(True):
        plain, flat, exact = (minimiser(targets, f"chi2{kind}", level) for kind in ("", "_flat", "_conjugate"))
    # the mean slope jumps by (2 level - 1) / 501 at each target
    d = targets - plain
    slope = np.mean(level * (1 + d / 2) * ((d > 0) | (d < -4))) - (1 - level)
    assert abs(slope) < 2 / 501
    d = targets - flat
    assert abs(np.mean(level * (1 + d / 2) * (d > 0)) - (1 - level)) < 2 / 501
    d = targets - exact
    np.testing.assert_allclose(np.mean(np.maximum(1 + d / 2, 0)), (1 - level) / level, atol=1e-6)
    assert plain < flat - 0.01
    assert flat < exact - 0.01


def test_which_chi_square_losses_tend_to_the_maximum():
    near, far = np.array([-1.5, 0.0, 2.0]), np.array([-40.0, 0.0, 2.0])
    with jax.enable_x64(True):
        found = {
            (kind, name): minimiser(x, kind, 1 - 1e-4)
            for kind in ("tv", "chi2", "chi2_flat")
            for name, x in (("near", near), ("far", far))
        }
        slope = jax.grad(lambda v: value.implicit_max_loss(jnp.asarray(near) - v, "chi2_conjugate", 1 - 1e-9).mean())
        beyond = float(slope(2.0)), float(slope(3.99))  # still falling above the maximum, up to it plus 2
    for kind in ("tv", "chi2", "chi2_flat"):
        np.testing.assert_allclose(found[kind, "near"], 2.0, atol=1e-2, err_msg=kind)
    np.testing.assert_allclose([found["tv", "far"], found["chi2_flat", "far"]], 2.0, atol=1e-2)
    assert found["chi2", "far"] < 1.0
    assert beyond[0] < beyond[1] < 0


def test_weight_follows_the_given_advantage():
    diff, adv = jnp.array([1.0, 1.0, -2.0]), jnp.array([1.0, -1.0, 1.0])
    np.testing.assert_allclose(value.implicit_max_loss(diff, "expectile", 0.9, adv), [0.9, 0.1, 3.6], rtol=1e-6)
    np.testing.assert_allclose(value.implicit_max_loss(diff, "pinball", 0.9, adv), [0.9, 0.1, 1.8], rtol=1e-6)


def test_gumbel_loss_is_straight_beyond_its_clip():
    slope = jax.grad(lambda d: value.implicit_max_loss(d, "gumbel", 2.0, gumbel_clip=3.0))
    np.testing.assert_allclose([slope(6.0), slope(1000.0)], 2 * [(np.exp(3.0) - 1) / 2.0], rtol=1e-6)
    at, beyond = (value.implicit_max_loss(jnp.array(d), "gumbel", 2.0, gumbel_clip=3.0) for d in (6.0, 6.001))
    np.testing.assert_allclose(beyond - at, 0.001 * (np.exp(3.0) - 1) / 2.0, rtol=2e-2)


def test_errors_name_the_argument():
    x = jnp.zeros(3)
    with pytest.raises(ValueError, match="same shape"):
        value.td_loss(x, x[:, None])
    with pytest.raises(ValueError, match="kind must be"):
        value.implicit_max_loss(x, "quantile", 0.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"level must be a finite number in \(0, 1\)"):
        value.implicit_max_loss(x, "expectile", 1.0)
    with pytest.raises(ValueError, match="adv must be None"):
        value.implicit_max_loss(x, "gumbel", 1.0, x)
    for kind in ("tv", "chi2", "chi2_flat"):
        with pytest.raises(ValueError, match=r"level must be a finite number in \(0.5, 1\)"):
            value.implicit_max_loss(x, kind, 0.5)
        with pytest.raises(ValueError, match="adv must be None"):
            value.implicit_max_loss(x, kind, 0.8, x)
    with pytest.raises(ValueError, match="level must be"):
        value.implicit_max_loss(x, "chi2_conjugate", 1.0)
    with pytest.raises(ValueError, match="clip must be"):
        value.clipped_value_loss(x, x, x, 0.0)
