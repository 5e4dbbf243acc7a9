"""Commands and priorities of Pareto conditioned networks against plain NumPy and what the draws must show."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import moocore
import numpy as np
import pytest

from rlx.pareto import crowding_distance, pcn_command, pcn_priority


def test_commands_lie_above_a_row_of_the_front_in_one_objective():
    rng = np.random.default_rng(0)
    returns, horizon = rng.normal(size=(20, 3)), rng.integers(1, 9, 20).astype(float)
    valid = rng.random(20) < 0.8
    best = np.zeros(20, bool)
    best[valid] = moocore.is_nondominated(returns[valid], maximise=True)
    keys = jax.random.split(jax.random.key(0), 3000)
    commands, horizons = jax.vmap(lambda key: pcn_command(key, returns, horizon, valid))(keys)
    above = np.asarray(commands)[:, None] - returns[best].astype(np.float32)
    exact = np.sum(np.abs(above) < 1e-6, axis=2)
    source = exact.argmax(axis=1)
    assert (exact.max(axis=1) >= 2).all()  # two of three objectives are those of a row
    raised = above[np.arange(3000), source]
    assert (raised > -1e-6).all()
    std = returns[best].std(axis=0)
    np.testing.assert_allclose(raised.max(axis=0), std, rtol=0.05)
    np.testing.assert_allclose(raised.mean(axis=0), std / 6, rtol=0.15)  # half of it, in every third command
    np.testing.assert_allclose(horizons, np.maximum(horizon[best] - 2, 1)[source])
    assert set(source) == set(range(best.sum()))


def test_equal_episodes_count_once():
    returns = jnp.array([[2.0, 0.0]] * 9 + [[0.0, 2.0]])
    keys = jax.random.split(jax.random.key(0), 2000)
    _, horizon = jax.vmap(lambda key: pcn_command(key, returns, jnp.array([5.0] * 9 + [9.0])))(keys)
    assert abs(np.mean(np.asarray(horizon) == 7.0) - 0.5) < 0.05


def test_priority_is_the_penalised_distance():
    rng = np.random.default_rng(1)
    returns = rng.normal(size=(30, 2)).round(1)
    valid = rng.random(30) < 0.9
    clean = returns[valid]
    front = clean[moocore.is_nondominated(clean, maximise=True)]
    distance = np.min(np.linalg.norm(clean[:, None] - front, axis=-1), axis=1)
    first = moocore.is_nondominated(clean, maximise=True, keep_weakly=False)
    expected = -distance - np.where(first, 0, 1e-5)
    crowded = np.asarray(crowding_distance(jnp.asarray(returns), jnp.asarray(valid)))[valid] <= 0.2
    expected = np.where(crowded, 2 * expected, expected)
    found = np.asarray(pcn_priority(returns, valid))
    np.testing.assert_allclose(found[valid], expected, rtol=1e-4, atol=1e-6)
    assert (found[~valid] == -np.inf).all()


def test_the_front_is_kept_before_its_copies_and_these_before_the_rest():
    returns = jnp.array([[0.0, 4.0], [4.0, 0.0], [4.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    priority = pcn_priority(returns)
    assert set(np.argsort(-priority)[:3].tolist()) == {0, 1, 4}
    assert np.argsort(-priority)[3:].tolist() == [2, 3]


def test_nothing_to_go_by_gives_zeros():
    command, horizon = pcn_command(jax.random.key(0), jnp.ones((3, 2)), jnp.ones(3), jnp.zeros(3, bool))
    assert command.tolist() == [0.0, 0.0]
    assert float(horizon) == 1.0


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="horizon"):
        pcn_command(jax.random.key(0), jnp.zeros((3, 2)), jnp.zeros(2))
    with pytest.raises(ValueError, match="returns"):
        pcn_priority(jnp.zeros(3))
