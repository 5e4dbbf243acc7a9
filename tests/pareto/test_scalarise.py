"""Utilities against pymoo's decompositions, in their limits, and where the best policy is known."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pymoo.decomposition.aasf import AASF
from pymoo.decomposition.pbi import PBI
from pymoo.decomposition.tchebicheff import Tchebicheff

from rlx.pareto import scalarise, ser_advantage

KINDS = ("chebyshev", "smooth_chebyshev", "pbi")
NUMBER = 1000


def problems(m: int, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, weights, and ideals that no value exceeds."""
    rng = np.random.default_rng(m)
    value, weight = rng.normal(size=(NUMBER, m)), rng.dirichlet(np.ones(m), NUMBER)
    ideal = value + rng.exponential(size=(NUMBER, m))
    return value.astype(dtype), weight.astype(dtype), ideal.astype(dtype)


def minimised(decomposition, value, weight, ideal, **options):
    """pymoo minimises: it is given what falls short of the ideal."""
    rows = zip((ideal - value).astype(float), weight.astype(float), strict=True)
    return np.array(
        [decomposition.do(v[None], w[None], utopian_point=np.zeros(len(w)), **options)[0, 0] for v, w in rows]
    )


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-9), ("float32", 1e-5)])
@pytest.mark.parametrize("m", [2, 3, 5])
def test_equals_pymoo(m, dtype, rtol):
    value, weight, ideal = problems(m, dtype)
    with jax.enable_x64(dtype == "float64"):
        chebyshev = scalarise(value, weight, "chebyshev", ideal)
        augmented = scalarise(value, 1 / weight, "chebyshev", ideal, rho=0.01)  # this one divides by weights
        pbi = scalarise(value, weight, "pbi", ideal, theta=3.0)
    np.testing.assert_allclose(-chebyshev, minimised(Tchebicheff(), value, weight, ideal), rtol=rtol)
    np.testing.assert_allclose(-augmented, minimised(AASF(rho=0.01), value, weight, ideal), rtol=10 * rtol)
    np.testing.assert_allclose(-pbi, minimised(PBI(theta=3.0), value, weight, ideal), rtol=rtol, atol=10 * rtol)


@pytest.mark.parametrize("m", [2, 5])
def test_smooth_chebyshev_lies_within_its_bounds_and_converges(m):
    value, weight, ideal = problems(m, "float64")
    with jax.enable_x64(True):
        exact = scalarise(value, weight, "chebyshev", ideal, rho=0.1)
        for mu in (1.0, 0.1, 1e-3, 1e-9):
            below = exact - scalarise(value, weight, "smooth_chebyshev", ideal, rho=0.1, mu=mu)
            assert below.min() >= -1e-15
            assert below.max() <= mu * np.log(m) + 1e-15


def test_pbi_without_penalty_is_linear_along_the_weight():
    value, weight, ideal = problems(3, "float64")
    with jax.enable_x64(True):
        found = scalarise(value, weight, "pbi", ideal, theta=0.0)
        wanted = (scalarise(value, weight) - scalarise(ideal, weight)) / np.linalg.norm(weight, axis=1)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_pbi_of_a_value_on_the_ray_is_its_distance():
    weight, ideal = jnp.array([0.6, 0.8]), jnp.array([5.0, 5.0])
    assert scalarise(ideal - 2 * weight, weight, "pbi", ideal) == pytest.approx(-2.0, rel=1e-5)
    grad = jax.grad(lambda v: scalarise(v, weight, "pbi", ideal))(ideal)
    np.testing.assert_allclose(grad, weight, rtol=1e-6)  # no NaN of a root at 0


@pytest.mark.parametrize("kind", ["linear", *KINDS])
def test_everything_broadcasts(kind):
    value, weight, ideal = problems(3, "float32")
    value, weight, ideal = value[:10, None], weight[:4], ideal.max(axis=0)
    rho = jnp.linspace(0.0, 1.0, 4)
    grid = scalarise(value, weight, kind, ideal, rho=rho, mu=0.1 + rho, theta=rho)
    assert grid.shape == (10, 4)
    one = scalarise(value[3, 0], weight[2], kind, ideal, rho=rho[2], mu=0.1 + rho[2], theta=rho[2])
    np.testing.assert_allclose(grid[3, 2], one, rtol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "chebyshev", "smooth_chebyshev"])  # pbi prefers the weight's direction
def test_an_improvement_is_better(kind):
    value, weight, ideal = problems(4, "float64")
    worse = value - np.random.default_rng(0).exponential(size=value.shape)
    utility = partial(scalarise, weight=weight, kind=kind, ideal=ideal, rho=0.01)
    with jax.enable_x64(True):
        assert np.all(utility(value) > utility(worse))


def test_which_points_of_a_concave_front_can_be_best(deep_sea_treasure):
    """Linear weights find the two ends alone, Chebyshev weights every point."""
    points = deep_sea_treasure("concave", 1.0)
    share = np.linspace(0.001, 0.999, 999)
    weights = np.stack([share, 1 - share], axis=1)
    best = np.argmax(scalarise(points, weights[:, None]), axis=1)
    assert set(best.tolist()) == {0, 9}
    ideal = points.max(axis=0) + 1
    balanced = 1 / (ideal - points)  # with these weights all gaps of the point are equal
    np.testing.assert_array_equal(
        np.argmax(scalarise(points, balanced[:, None], "chebyshev", ideal), axis=1), np.arange(10)
    )
    smooth = scalarise(points, balanced[:, None], "smooth_chebyshev", ideal, mu=0.01)
    np.testing.assert_array_equal(np.argmax(smooth, axis=1), np.arange(10))


def test_augmentation_rules_out_weakly_dominated_values():
    values, weight, ideal = jnp.array([[1.0, 1.0], [1.0, 2.0]]), jnp.array([0.5, 0.5]), jnp.array([4.0, 3.0])
    plain = scalarise(values, weight, "chebyshev", ideal)
    assert plain[0] == plain[1]
    augmented = scalarise(values, weight, "chebyshev", ideal, rho=0.01)
    assert augmented[0] < augmented[1]


def test_ser_advantage_gives_the_policy_gradient_of_the_utility():
    """A bandit with vector rewards, whose gradient of u(E[r]) is exact by differentiation."""
    rng = np.random.default_rng(0)
    rewards, ideal, weight = rng.normal(size=(5, 3)), np.full(3, 4.0), np.array([0.2, 0.3, 0.5])

    def utility(value):
        return scalarise(value, weight, "smooth_chebyshev", ideal, mu=0.5)

    with jax.enable_x64(True):
        logits = jnp.asarray(rng.normal(size=5))
        exact = jax.grad(lambda logits: utility(jax.nn.softmax(logits) @ rewards))(logits)
        policy = jax.nn.softmax(logits)
        expected = policy @ rewards
        advantage = ser_advantage(rewards - expected, expected, utility)
        np.testing.assert_allclose(policy * advantage, exact, rtol=1e-9)
        linear = ser_advantage(rewards, expected, lambda v: v @ weight)
        np.testing.assert_allclose(linear, rewards @ weight, rtol=1e-9)


def test_what_does_not_fit_is_refused():
    value, weight = jnp.zeros((4, 3)), jnp.ones(3)
    with pytest.raises(ValueError, match=r"kind must be 'linear', .*'pbi'; got 'max'"):
        scalarise(value, weight, "max", weight)
    with pytest.raises(ValueError, match=r"ideal must be an array .* for kind 'pbi'; got None"):
        scalarise(value, weight, "pbi")
    with pytest.raises(ValueError, match=r"weight must be of shape \[..., 3\].*got \(2,\)"):
        scalarise(value, jnp.ones(2))
    with pytest.raises(ValueError, match=r"ideal must be of shape \[..., 3\].*got \(2,\)"):
        scalarise(value, weight, "chebyshev", jnp.ones(2))
    with pytest.raises(ValueError, match="expected must have rank 1"):
        ser_advantage(value, value, jnp.sum)
    with pytest.raises(ValueError, match=r"expected must be of shape \[..., 3\]"):
        ser_advantage(value, jnp.ones(2), jnp.sum)
