"""Weights: fixed, from Gram matrices and from histories, against their definitions, limits and a NumPy loop."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import moocore
import numpy as np
import pytest

from rlx.pareto import (
    cagrad_weights,
    exponentiated_gradient,
    exponentiated_gradient_update,
    from_gram,
    gradient_influence,
    hypervolume_guided,
    hypervolume_scale,
    linear,
    min_norm_weights,
    nash_mtl_weights,
    recap,
    recap_weights,
    utility_gradient,
)
from rlx.types import Front, WeightingStats

STATS = WeightingStats(jnp.array([3.0, -1.0]), jnp.array(4.0), None)
RNG = np.random.default_rng(0)


def with_gram(gram: np.ndarray) -> WeightingStats:
    return WeightingStats(jnp.zeros(len(gram)), jnp.array(0.0), jnp.asarray(gram, jnp.float32))


def with_returns(returns: np.ndarray, episodes: float = 1.0) -> WeightingStats:
    return WeightingStats(jnp.asarray(returns, jnp.float32), jnp.array(episodes), None)


def test_linear_gives_its_weights_whatever_happens():
    weighting = linear((2.0, -1.0))
    weights, state, metrics = weighting.update(weighting.init(2), STATS)
    np.testing.assert_array_equal(weights, [2.0, -1.0])
    assert (state, metrics) == ((), {})


def test_utility_gradient_is_that_of_the_unbiased_average():
    """Of `u = p sqrt(v_0) + v_0 v_1` by hand, batches without episodes left out."""
    weighting = utility_gradient(lambda v, p: p * jnp.sqrt(v[0]) + v[0] * v[1], jnp.array(3.0), decay=0.5)
    state, average, total = weighting.init(2), np.zeros(2), 0.0
    for returns, episodes in (([4.0, 1.0], 2.0), ([9.0, 9.0], 0.0), ([1.0, 2.0], 1.0)):
        weights, state, metrics = weighting.update(state, with_returns(np.array(returns), episodes))
        if episodes:
            average, total = 0.5 * average + 0.5 * np.array(returns), 0.5 * total + 0.5
        x, y = average / total
        np.testing.assert_allclose(weights, [1.5 / np.sqrt(x) + y, x], rtol=1e-6)
        np.testing.assert_allclose(metrics["utility"], 3.0 * np.sqrt(x) + x * y, rtol=1e-6)


def test_utility_of_fixed_weights_is_linear():
    weighting = utility_gradient(lambda v, w: v @ w, jnp.array([2.0, -1.0]))
    np.testing.assert_array_equal(weighting.update(weighting.init(2), STATS)[0], [2.0, -1.0])


def test_linear_weights_may_be_traced():
    many = jax.vmap(lambda w: linear(w).update((), STATS)[0])(jnp.eye(2))
    np.testing.assert_array_equal(many, jnp.eye(2))


def test_linear_wants_one_number_for_each_channel():
    with pytest.raises(ValueError, match="one number for each of 3 channels"):
        linear((1.0, 2.0)).init(3)
    with pytest.raises(ValueError, match="rank 1"):
        linear(1.0)  # type: ignore[arg-type]


def test_influence_is_the_gain_from_a_step_along_the_sum():
    """Against finite differences of three functions whose gradients are the rows of G."""
    G = RNG.normal(size=(3, 5))
    step = 1e-3 * G.sum(0)
    np.testing.assert_allclose(gradient_influence(G @ G.T), (G @ step) / 1e-3, rtol=1e-4)


def test_orthogonal_gradients_of_equal_length_change_no_weight():
    weights = jnp.array([0.2, 0.3, 0.5])
    found = exponentiated_gradient_update(weights, gradient_influence(2.0 * jnp.eye(3)), 0.7)
    np.testing.assert_allclose(found, weights, rtol=1e-6)


def test_a_duplicated_objective_gains_weight():
    G = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = np.asarray(exponentiated_gradient_update(jnp.full(3, 1 / 3), gradient_influence(G @ G.T), 0.5))
    np.testing.assert_allclose(found[:2] / found[2], np.exp(0.5), rtol=1e-5)


def test_exponentiated_gradient_is_mirror_ascent():
    """The step maximises `step_size s . w - KL(w || old)` over the simplex: no other point there is better."""
    old, score = RNG.dirichlet(np.ones(4)), RNG.normal(size=4)
    others = RNG.dirichlet(np.ones(4), 20_000)
    value = lambda w: 0.8 * w @ score - np.sum(w * np.log(w / old), -1)  # noqa: E731
    found = np.asarray(exponentiated_gradient_update(old, score, 0.8))
    assert value(found) >= value(others).max()
    assert value(found) == pytest.approx(np.log(old @ np.exp(0.8 * score)), abs=1e-5)


def test_floor_and_zero_weight():
    score = jnp.array([50.0, 0.0, 0.0])
    found = exponentiated_gradient_update(jnp.array([0.2, 0.8, 0.0]), score, 1.0, floor=0.1)
    np.testing.assert_allclose(found, [0.8, 0.1, 0.1], atol=1e-6)
    np.testing.assert_array_equal(exponentiated_gradient_update(jnp.array([0.5, 0.5, 0.0]), score, 0.0)[2], 0.0)


def test_one_row_each_is_dynamic_weight_averaging():
    losses = RNG.uniform(0.5, 2, (2, 4))
    exponents = np.exp(losses[1] / losses[0] / 2.0)
    wanted = 4 * exponents / exponents.sum()
    np.testing.assert_allclose(recap_weights(losses, 2.0, 1.0, 0.0), wanted, rtol=1e-5)
    np.testing.assert_allclose(recap_weights(losses, 2.0, 1.0, 1.0), wanted, rtol=1e-5)  # one row does not vary


@pytest.mark.parametrize("signal", ["loss", "reward"])
def test_recap_against_its_definition(signal):
    history = RNG.uniform(0.2, 1, (12, 3))
    before, after = history[:6], history[6:]
    ratio = after.mean(0) / before.mean(0)
    score = 0.7 * (ratio if signal == "loss" else 1 / ratio) + 0.4 * after.std(0) / (after.mean(0) + before.mean(0))
    wanted = 3 * np.exp(score / 0.5) / np.exp(score / 0.5).sum()
    found = recap_weights(history, 0.5, 0.7, 0.4, signal=signal)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    order = [2, 0, 1]
    np.testing.assert_allclose(
        recap_weights(history[:, order], 0.5, 0.7, 0.4, signal=signal), found[jnp.array(order)], rtol=1e-5
    )


def test_direction_of_the_signal():
    """Rewards of a saturated objective, one that improves and one that is being forgotten."""
    rewards = np.stack([np.full(20, 0.9), np.repeat([0.4, 0.6], 10), np.repeat([0.8, 0.6], 10)], 1)
    np.testing.assert_array_equal(np.argsort(recap_weights(rewards, 0.3, signal="reward")), [1, 0, 2])
    # the published reading of a reward is the other way round, that of a loss away from zero is right
    np.testing.assert_array_equal(np.argsort(recap_weights(rewards, 0.3)), [2, 0, 1])
    np.testing.assert_array_equal(np.argsort(recap_weights(1.1 - rewards, 0.3)), [1, 0, 2])


def test_signals_of_zero_count_as_unchanged():
    np.testing.assert_allclose(recap_weights(jnp.zeros((4, 2)), 0.1), 1.0, rtol=1e-6)


FIRST = hypervolume_guided((1.0,)).init(1), with_returns(np.ones(1))
RULES = {
    "min_norm": min_norm_weights,
    "cagrad": functools.partial(cagrad_weights, radius=0.4),
    "nash": nash_mtl_weights,
}


@pytest.mark.parametrize("rule", RULES)
def test_weights_of_a_gram_matrix(rule):
    G = RNG.normal(size=(3, 6)) + 0.7
    weighting = from_gram(RULES[rule])
    assert weighting.needs_gram
    weights, _, metrics = weighting.update(weighting.init(3), with_gram(G @ G.T))
    np.testing.assert_allclose(weights, RULES[rule](jnp.asarray(G @ G.T)), rtol=1e-4)
    assert metrics == {}
    unit = G / np.linalg.norm(G, axis=1, keepdims=True)
    weights, _, _ = from_gram(RULES[rule], normalise=True).update(weighting.init(3), with_gram(G @ G.T))
    np.testing.assert_allclose(weights @ G, RULES[rule](jnp.asarray(unit @ unit.T)) @ unit, rtol=1e-3, atol=1e-5)


def test_gram_matrices_are_averaged_without_bias():
    grams = [np.diag(x) for x in RNG.uniform(1, 2, (5, 2))]
    weighting = from_gram(jnp.diag, decay=0.8)  # a rule that shows what it is given
    state = weighting.init(2)
    for n, gram in enumerate(grams):
        weights, state, _ = weighting.update(state, with_gram(gram))
        decay = 0.8 ** np.arange(n, -1, -1)
        wanted = np.tensordot(decay / decay.sum(), np.array(grams[: n + 1]), 1)
        np.testing.assert_allclose(weights, np.diag(wanted), rtol=1e-5)


def test_zero_gradients_stay_finite_when_normalised():
    weighting = from_gram(min_norm_weights, normalise=True)
    weights, _, _ = weighting.update(weighting.init(2), with_gram(np.diag([0.0, 4.0])))
    assert np.all(np.isfinite(weights))


def test_exponentiated_gradient_follows_its_kernel():
    weighting = exponentiated_gradient((1.0, 3.0), 0.2, floor=0.05)
    assert weighting.needs_gram
    state, wanted = weighting.init(2), np.array([0.25, 0.75])
    for _ in range(4):
        G = RNG.normal(size=(2, 3))
        weights, state, _ = weighting.update(state, with_gram(G @ G.T))
        wanted = wanted * np.exp(0.2 * (G @ G.T).sum(1))
        wanted = 0.05 + 0.9 * wanted / wanted.sum()
        np.testing.assert_allclose(weights, wanted, rtol=1e-4)


def test_recap_waits_for_its_windows_and_for_episodes():
    weighting = recap(2, temperature=0.5)
    state, seen = weighting.init(2), []
    for i in range(12):
        returns = RNG.uniform(0.5, 1.5, 2)
        episodes = float(i % 3 != 1)
        weights, state, _ = weighting.update(state, with_returns(returns, episodes))
        seen += [returns] if episodes else []
        wanted = np.ones(2) if len(seen) < 4 else recap_weights(np.array(seen[-4:]), 0.5, signal="reward")
        np.testing.assert_allclose(weights, wanted, rtol=1e-4)


@pytest.mark.parametrize("m", [2, 3])
def test_scale_is_that_of_the_gain_in_hypervolume(m):
    """By moocore's hypervolume with and without the point, which may be dominated or below the reference."""
    scales = []
    for _ in range(20):
        points, valid, ref = RNG.uniform(0, 1, (6, m)), RNG.random(6) < 0.7, RNG.uniform(0, 0.3, m)
        point = RNG.uniform(0.2, 1, m)
        before = moocore.hypervolume(points[valid], ref=ref, maximise=True) if valid.any() else 0.0
        after = moocore.hypervolume(np.vstack([points[valid], point]), ref=ref, maximise=True)
        scales.append(0.3 + 1.4 * np.tanh((after - before) / 0.2))
        found = hypervolume_scale(Front(points, valid), point, ref, low=0.3, high=1.7, unit=0.2)
        assert found == pytest.approx(scales[-1], abs=1e-5)
    assert min(scales) == pytest.approx(0.3)
    assert max(scales) > 0.5


@pytest.mark.parametrize("ref", [None, (0.1, 0.2)])
def test_gains_add_up_to_the_hypervolume_of_the_archive(ref):
    """Whatever comes first: the sum of gains is the hypervolume of all returns, and the weights stay in proportion."""
    weighting = hypervolume_guided((1.0, 3.0), ref, capacity=16, low=0.5, high=2.0)
    state, returns = weighting.init(2), RNG.uniform(0.3, 1, (12, 2))
    returns[0] = [0.1, 0.2]  # the reference point where none is given
    weights, state, metrics = weighting.update(state, with_returns(np.zeros(2), episodes=0.0))
    np.testing.assert_array_equal(weights, [1.0, 3.0])  # nothing has been seen
    gains = 0.0
    for i, x in enumerate(returns):
        weights, state, metrics = weighting.update(state, with_returns(x))
        np.testing.assert_allclose(weights, metrics["scale"] * np.array([1.0, 3.0]), rtol=1e-6)
        if i > 0:
            gains += np.arctanh((float(metrics["scale"]) - 0.5) / 1.5)
        kept, same, _ = weighting.update(state, with_returns(np.ones(2), episodes=0.0))
        np.testing.assert_array_equal(kept, weights)
        jax.tree.map(np.testing.assert_array_equal, same, state)
    assert gains == pytest.approx(moocore.hypervolume(returns, ref=[0.1, 0.2], maximise=True), abs=1e-4)


def test_the_first_scale_is_one_without_a_reference_point():
    first = with_returns(np.array([-3.0, 2.0]))
    weighting = hypervolume_guided((0.5, 0.5))
    np.testing.assert_array_equal(weighting.update(weighting.init(2), first)[0], [0.5, 0.5])
    given = hypervolume_guided((0.5, 0.5), (-4.0, 1.0))
    np.testing.assert_allclose(given.update(given.init(2), first)[0], 0.25 + 0.75 * np.tanh(1.0), rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda rate: from_gram(min_norm_weights, decay=rate),
        lambda rate: recap(1),
        lambda rate: hypervolume_guided((1.0, 2.0), low=rate, capacity=2),
    ],
)
def test_components_can_be_jitted_and_vmapped(make):
    def run(rate: jax.Array, returns: jax.Array) -> jax.Array:
        weighting = make(rate)

        def step(state, x):
            weights, state, _ = weighting.update(state, WeightingStats(x, jnp.array(1.0), jnp.outer(x, x)))
            return state, weights

        return jax.lax.scan(step, weighting.init(2), returns)[1]

    rates, returns = jnp.array([0.0, 0.5]), jnp.asarray(RNG.uniform(1, 2, (2, 4, 2)))
    many = jax.jit(jax.vmap(run))(rates, returns)
    np.testing.assert_allclose(many, [run(*x) for x in zip(rates, returns, strict=True)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gradient_influence(jnp.ones((2, 3))), r"gram must be a square matrix \[K, K\]; got \(2, 3\)"),
        (lambda: exponentiated_gradient_update(jnp.ones(2), jnp.ones(3), 1.0), r"score \(3,\)"),
        (lambda: exponentiated_gradient_update(jnp.array([-1.0]), jnp.ones(1), 1.0), "weights must be"),
        (
            lambda: exponentiated_gradient_update(jnp.ones(2), jnp.ones(2), 1.0, floor=0.6),
            r"floor must be .*\[0, 0.5\]",
        ),
        (lambda: recap_weights(jnp.ones((3, 2))), r"history must be of shape \[2 W, K\]; got \(3, 2\)"),
        (lambda: recap_weights(-jnp.ones((2, 2))), "history must be a finite number"),
        (lambda: recap_weights(jnp.ones((2, 2)), 0.0), r"temperature must be .*got 0.0"),
        (lambda: recap_weights(jnp.ones((2, 2)), signal="cost"), "signal must be 'loss' or 'reward'; got 'cost'"),  # type: ignore[arg-type]
        (lambda: from_gram(min_norm_weights, decay=1.0), r"decay must be .*\[0, 1\); got 1.0"),
        (lambda: exponentiated_gradient((0.0, 0.0)), "sum of weights must be"),
        (lambda: exponentiated_gradient((0.5, 0.5)).init(3), "one number for each of 3 channels"),
        (
            lambda: exponentiated_gradient((1.0,)).update(jnp.ones(1), with_returns(np.ones(1))),
            "stats.gram must be given",
        ),
        (
            lambda: hypervolume_scale(Front(jnp.ones((2, 2)), jnp.ones(2, bool)), jnp.ones(3), jnp.zeros(2)),
            r"point must be of shape \[..., 2\].*got \(3,\)",
        ),
        (lambda: hypervolume_guided((1.0,), low=2.0, high=1.0).update(*FIRST), "high - low must be"),
        (lambda: hypervolume_guided((1.0,), unit=0.0).update(*FIRST), r"unit must be .*got 0.0"),
        (lambda: hypervolume_guided((1.0,), (0.0, 0.0)).init(1), "ref must be one number for each of 1 channels"),
        (lambda: hypervolume_guided((1.0,), capacity=0), "capacity must be an integer >= 1; got 0"),
        (lambda: hypervolume_guided((1.0,)).init(2), "one number for each of 2 channels"),
        (lambda: recap(0), r"window must be an integer >= 1; got 0"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
