"""The problems of the claims about several objectives are what their files say."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.claims import gradient_modulation, gradient_weighting, hypervolume_weighting, nonsmooth_descent
from benchmarks.claims import reward_model_thresholds as thresholds
from rlx.pareto import linear


def test_expected_rewards_of_the_bandit_are_means_of_samples():
    keys = jax.random.split(jax.random.key(0), 7)
    sizes = gradient_weighting.ANSWERS, gradient_weighting.LENGTHS, gradient_weighting.FORMATS
    policy = gradient_weighting.Policy(
        *(jax.random.normal(k, (gradient_weighting.CONTEXTS, n)) for k, n in zip(keys, sizes, strict=False))
    )
    right = jax.random.randint(keys[3], (gradient_weighting.CONTEXTS,), 0, gradient_weighting.ANSWERS)
    response = gradient_weighting.Policy(
        *(jax.random.categorical(k, x, shape=(10_000, len(x))) for k, x in zip(keys[4:], policy, strict=True))
    )
    sampled = gradient_weighting.rewards(right, response).mean((0, 1))
    np.testing.assert_allclose(gradient_weighting.expected_rewards(policy, right), sampled, atol=3e-3)


def test_a_scale_on_the_reward_changes_nothing():
    samples = hypervolume_weighting.run([0], 5)
    assert samples["guided, on the reward"] == pytest.approx(samples["fixed"], rel=1e-4)
    assert samples["guided"] != pytest.approx(samples["fixed"], rel=1e-2)
    direct = gradient_weighting.train(linear(hypervolume_weighting.PREFERENCE), jnp.uint32(0), 5)[0]
    assert direct == pytest.approx(samples["fixed"][0], rel=1e-4)


def test_the_divergence_from_the_start_is_that_of_gaussians():
    mean = jnp.array([0.5, -1.0, 0.3, 0.0])
    rewards, divergences = [], []
    for seed in range(200):
        _, reward, divergence = thresholds.sample(mean, jax.random.key(seed))
        rewards.append(reward.mean(0))
        divergences.append(-divergence.mean())
    assert np.mean(divergences) == pytest.approx(float(mean @ mean) / 2, abs=0.05)
    np.testing.assert_allclose(np.mean(rewards, 0), thresholds.PROXIES @ mean, atol=0.05)
    assert thresholds.PROXIES[0] @ thresholds.PROXIES[1] == pytest.approx(thresholds.CORRELATION)


def test_the_arc_is_pareto_optimal_and_nothing_else_nearby():
    """No point of a fine grid is better in both objectives than a point of the arc."""
    grid = np.stack(np.meshgrid(np.linspace(-1.5, 1.5, 121), np.linspace(-0.5, 2, 101)), -1).reshape(-1, 2)
    values = np.asarray(jax.vmap(nonsmooth_descent.objectives)(grid))
    optimal = np.asarray(jax.vmap(nonsmooth_descent.objectives)(nonsmooth_descent.arc(41)))
    assert not np.any(np.all(values[:, None] < optimal - 1e-4, -1))


def test_outputs_without_a_sensor_do_not_depend_on_it():
    rng = np.random.default_rng(0)
    size, hidden = gradient_modulation.SIZE, gradient_modulation.HIDDEN
    params = {
        "first": rng.normal(size=(2 * size, hidden)),
        "first bias": rng.normal(size=hidden),
        "second": rng.normal(size=(hidden, gradient_modulation.CLASSES)),
        "second bias": rng.normal(size=gradient_modulation.CLASSES),
    }
    sensors, others = rng.normal(size=(2, 5, 2, size))
    base = gradient_modulation.outputs(params, sensors)
    for sensor, without in ((0, (0, 2)), (1, (0, 1))):
        changed = gradient_modulation.outputs(
            params,
            np.stack(
                [
                    np.where(k == sensor, o, s)
                    for k, (s, o) in enumerate(zip(sensors.swapaxes(0, 1), others.swapaxes(0, 1), strict=True))
                ],
                1,
            ),
        )
        same = np.all(np.isclose(base, changed, rtol=1e-4, atol=1e-4), (1, 2))
        assert tuple(np.flatnonzero(same)) == without
