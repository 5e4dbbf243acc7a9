"""The fleet against a loop in Python, and its demand against the rates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.envs import applied, check_env
from rlx.envs.applied import Fleet


def test_the_interface_is_kept():
    check_env(applied.fleet(3, drivers=4, orders=5, slots=12))


def test_a_day_equals_a_loop():
    """Random actions, many of them not possible, replayed with lists."""
    env = applied.fleet(3, drivers=6, orders=8, slots=20, per_slot=6.0)
    params, rng = env.default_params, np.random.default_rng(0)
    keys = jax.random.split(jax.random.key(0), 21)
    _, state = env.reset_env(keys[0], params)
    zone, free_at = np.array(state.zone), np.zeros(6, int)
    advance, served_ever, conflicts = jax.jit(env.step_env), 0, 0
    for t in range(20):
        action = rng.integers(8 + 9, size=6)
        action[:3] = rng.integers(8)
        order, is_open = np.array(state.order), np.array(state.open)
        taken, earned = set(), 0.0
        for driver in range(6):
            if free_at[driver] > t:
                continue
            wish, here = int(action[driver]), zone[driver]
            to, slots = here, 1
            if wish < 8:
                start, end = order[wish]
                apart = lambda a, b: abs(a // 3 - b // 3) + abs(a % 3 - b % 3)  # noqa: E731
                conflicts += wish in taken
                if is_open[wish] and wish not in taken and apart(here, start) <= 1:
                    taken.add(wish)
                    earned += 2 + apart(start, end)
                    to, slots = end, 1 + apart(start, end) + apart(here, start)
            else:
                to = wish - 8
                slots = max(1, abs(to // 3 - here // 3) + abs(to % 3 - here % 3))
            zone[driver], free_at[driver] = to, t + slots
        served_ever += len(taken)
        _, state, reward, terminated, info = advance(keys[t + 1], state, jnp.asarray(action), params)
        np.testing.assert_allclose(reward, earned)
        np.testing.assert_array_equal(state.zone, zone)
        np.testing.assert_array_equal(state.free_at, free_at)
        assert set(np.flatnonzero(info["served"])) == taken
        assert earned <= info["offered"]
        assert bool(terminated) == (t == 19)
    assert served_ever > 5
    assert conflicts > 0


def test_orders_come_at_their_rates():
    rate = applied.demand(3, 6, per_slot=5.0, event=(2, 1, 3, 4.0))
    np.testing.assert_allclose(rate.sum(), 5 * 6 + 2 * 4)
    np.testing.assert_allclose(
        (rate - applied.demand(3, 6, per_slot=5.0)).sum((0, 2)), 8.0 * (np.arange(9) == 2), atol=1e-9
    )
    env = Fleet(rate, size=3, drivers=2, orders=40)
    order, is_open = jax.jit(jax.vmap(env._arrivals, (0, None)))(
        jax.random.split(jax.random.key(1), 4000), jnp.asarray(rate[1], jnp.float32)
    )
    np.testing.assert_allclose(is_open.sum(1).mean(), rate[1].sum(), rtol=0.03)
    from_where = np.bincount(np.asarray(order[..., 0])[np.asarray(is_open)], minlength=9) / 4000
    np.testing.assert_allclose(from_where, rate[1].sum(1), rtol=0.1, atol=0.02)


def test_refusals():
    with pytest.raises(ValueError, match="shape of rate"):
        Fleet(np.zeros((5, 4, 4)), size=3)
    with pytest.raises(ValueError, match="rate"):
        Fleet(np.full((5, 9, 9), -1.0), size=3)
    with pytest.raises(ValueError, match="zone of the event"):
        applied.demand(3, event=(9, 0, 1, 1.0))
