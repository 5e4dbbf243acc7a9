"""Goal-conditioned values: shortest paths, expectile fixed points, reductions, and frequencies of drawn goals."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rlx import value
from rlx.envs import GridWorld, grid
from rlx.value.tabular import step_distances

RNG = np.random.default_rng(0)
ALL = dict(current=0.0, future=0.0, random=1.0)


def chain(states: int) -> np.ndarray:
    """Left and right, against the ends one stays: `[S, 2]`."""
    s = np.arange(states)
    return np.stack([np.maximum(s - 1, 0), np.minimum(s + 1, states - 1)], 1)


def fixed_point(state, after, reached, level, discount, states, steps=6000):
    """Values `[S, G]` from steps `[N]` (`reached [N, G]`), by gradient descent to the loss's stationary point."""

    def loss(v, target):
        rows = value.gc_value_loss(v[None, state], target[None, after], reached, level, discount)
        return rows.sum() / len(state)

    def move(v, _):
        return v - 0.5 * states * jax.grad(loss)(v, v), None

    return jax.lax.scan(move, jnp.zeros((states, reached.shape[1])), length=steps)[0]


@pytest.mark.parametrize("options", [1, 3])
def test_best_steps_alone_give_discounted_distances_whatever_the_level(options: int):
    """Of the best actions, in a maze; with options, distances in options, rounded up."""
    mdp = GridWorld(grid.four_rooms(5)).to_mdp()
    free = np.flatnonzero(~np.asarray(grid.four_rooms(5).wall).ravel())
    P = np.asarray(mdp.default_params.P, np.float64)[free][..., free]
    P[-1] = np.eye(len(free))[[-2, -1, -1, -1]]  # the goal of the environment goes on as other cells do
    distance = step_distances(P)
    assert np.isfinite(distance).all()
    after = P.argmax(-1)
    best = np.argmin(distance[after], axis=1)  # [S, G]: the action that comes nearest
    state, goal = (x.ravel() for x in np.indices(distance.shape))
    end = state
    for _ in range(options):
        end = np.where(end == goal, end, after[end, best[end, goal]])
    gamma, reached = 0.8, jnp.asarray(state == goal)
    v = jnp.zeros(distance.size)
    with jax.enable_x64(True):
        v = v.astype(jnp.float64)
        for _ in range(80):
            there = v.reshape(distance.shape)[end, goal]
            v = v - jax.grad(lambda v, t=there: value.gc_value_loss(v[None], t[None], reached, 0.5, gamma).sum())(v)
        needed = np.ceil(distance / options)
        np.testing.assert_allclose(v.reshape(distance.shape), -(1 - gamma**needed) / (1 - gamma), atol=1e-6)


def test_off_the_best_way_values_are_the_expectile_that_goes_to_the_distance():
    """On a chain under the uniform policy: the scalar fixed point by bisection, and the limit as level goes to 1."""
    states, gamma = 5, 0.8
    after = chain(states)
    state = np.repeat(np.arange(states), 2)
    reached = jnp.asarray(state[:, None] == np.array([[states - 1]]))

    def expectile(low, high, level):
        """Of two equally likely numbers."""
        return (level * high + (1 - level) * low) if high > low else low

    errors = []
    for level in (0.5, 0.7, 0.95, 0.99):
        v = np.zeros(states)
        for _ in range(2000):
            q = -1 + gamma * v[after]
            v = np.array([expectile(q[s].min(), q[s].max(), level) for s in range(states - 1)] + [0.0])
        found = fixed_point(state, after.ravel(), reached, level, gamma, states)[:, 0]
        np.testing.assert_allclose(found, v, atol=2e-4)
        distance = states - 1 - np.arange(states)
        errors.append(np.abs(v + (1 - gamma**distance) / (1 - gamma)).max())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 < errors[1]


def test_loss_equals_a_loop():
    v, after, old = RNG.normal(size=(3, 2, 40))
    reached, level, gamma = RNG.random(40) < 0.3, 0.8, 0.9
    wanted = []
    for b in range(40):
        r, m = float(reached[b]) - 1, 1 - float(reached[b])
        adv = r + gamma * m * min(after[:, b]) - old[:, b].mean()
        w = level if adv >= 0 else 1 - level
        wanted.append(sum(w * (r + gamma * m * after[i, b] - v[i, b]) ** 2 for i in range(2)))
    for dtype, rtol in ((jnp.float64, 1e-6), (jnp.float32, 1e-5)):
        with jax.enable_x64(dtype == jnp.float64):
            x, y, z = (jnp.asarray(a, dtype) for a in (v, after, old))
            adv = value.goal_advantage(z, y, jnp.asarray(reached), gamma)
            np.testing.assert_allclose(value.gc_value_loss(x, y, reached, level, gamma, adv), wanted, rtol=rtol)


def test_one_head_is_implicit_q_learning_and_only_the_sign_of_an_advantage_counts():
    """Where no step has an advantage, it is regression on what the behaviour meets."""
    v, after, old = jnp.asarray(RNG.normal(size=(3, 2, 30)), jnp.float32)
    reached = jnp.asarray(RNG.random(30) < 0.3)
    own = value.goal_advantage(old, after, reached, 0.9)
    single = value.gc_value_loss(v[:1], after[:1], reached, 0.9, 0.9, None)
    plain = value.implicit_max_loss(value.goal_target(after[0], reached, 0.9) - v[0], "expectile", 0.9)
    np.testing.assert_array_equal(single, plain)
    intent = value.gc_value_loss(v, after, reached, 0.9, 0.9, own)
    np.testing.assert_array_equal(intent, value.gc_value_loss(v, after, reached, 0.9, 0.9, 1e3 * own))
    even = value.gc_value_loss(v, after, reached, 0.9, 0.9, jnp.zeros(30))
    np.testing.assert_allclose(even, 0.9 * ((value.goal_target(after, reached, 0.9) - v) ** 2).sum(0), rtol=1e-5)


def test_values_under_an_intent_are_those_of_its_best_policy_where_it_leads():
    """Of a chain, with the right end for the intent: outcomes further right are hit after g - s steps.

    Those to the left never are, and what they are worth depends on values at the intent, which nothing determines.
    """
    states, gamma, level = 5, 0.8, 0.999
    after = chain(states)
    state = np.repeat(np.arange(states - 1), 2)  # the intent ends the way
    there = after[:-1].ravel()
    best = np.array([0.0, 1.0] * (states - 1))  # going right is the intent's
    v_z = -(1 - gamma ** (states - 1 - np.arange(states))) / (1 - gamma)
    is_z = jnp.asarray(state == states - 1)
    adv = value.goal_advantage(jnp.asarray(v_z)[None, state], jnp.asarray(v_z)[None, there], is_z, gamma)
    np.testing.assert_array_equal(np.asarray(adv) >= -1e-6, best == 1)
    adv = adv + 1e-5  # of the best action it is 0 but for rounding
    reached = jnp.asarray(state[:, None] == np.arange(states))
    wide = jnp.broadcast_to(adv[:, None], reached.shape)

    def move(v, _):
        loss = lambda w: value.gc_value_loss(w[None, state], v[None, there], reached, level, gamma, wide).sum()  # noqa: E731
        return v - 0.4 * jax.grad(loss)(v), None

    v = jax.lax.scan(move, jnp.zeros((states, states)), length=3000)[0]
    for s in range(states - 1):
        for g in range(states - 1):
            wanted = -(1 - gamma ** (g - s)) / (1 - gamma) if g >= s else -(1 - gamma ** (states - 1 - s)) / (1 - gamma)
            # past the intent nothing was learned, so that V there is its initial 0
            np.testing.assert_allclose(v[s, g], wanted, atol=0.03)


def test_option_ends_equal_a_walk():
    last = np.array([4, 4, 4, 4, 4, 9, 9, 9, 9, 9])
    for n in (1, 2, 7):
        for i in range(10):
            for g in range(10):
                at = i
                for _ in range(n):
                    if at == g or at == last[i]:
                        break
                    at += 1
                found = value.option_end(jnp.array(i), jnp.array(g), jnp.array(last[i]), n)
                assert int(found) == at


def test_ends_of_episodes():
    done = RNG.random((20, 3)) < 0.2
    wanted = [[next((u for u in range(t, 20) if done[u, b]), 19) for b in range(3)] for t in range(20)]
    np.testing.assert_array_equal(value.episode_end(jnp.asarray(done)), wanted)


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("index", [0, 3, 6])
def test_goals_are_drawn_as_often_as_stated(uniform: bool, index: int):
    draws, size = 20_000, 10
    settings = dict(current=0.2, future=0.5, random=0.3, uniform=uniform)
    goal = value.relabel_goals(
        jax.random.key(1), jnp.full(draws, index), jnp.full(draws, 6), size, jnp.asarray(0.7), **settings
    )
    prob = np.asarray(value.relabel_prob(jnp.array(index), jnp.array(6), size, 0.7, **settings), np.float64)
    for k in range(1, 6 - index + 1):  # the geometric law, and what is left for the last state
        share = 1 / (6 - index) if uniform else 0.7 ** (k - 1) * (0.3 if index + k < 6 else 1.0)
        np.testing.assert_allclose(prob[index + k], 0.5 * share + 0.03, rtol=1e-5)
    np.testing.assert_allclose(prob[index], 0.2 + 0.03 + 0.5 * (index == 6), rtol=1e-5)
    np.testing.assert_allclose(prob.sum(), 1, rtol=1e-6)
    count = np.bincount(np.asarray(goal), minlength=size)
    assert stats.chisquare(count, draws * prob / prob.sum()).pvalue > 1e-3


def test_hilbert_distances_of_a_path_are_its_discounted_lengths():
    """A line can be embedded with any increasing distance from one end; learned from all best steps."""
    states, gamma = 4, 0.5
    state, goal = (x.ravel() for x in np.indices((states, states)))
    after = state + np.sign(goal - state)
    reached = jnp.asarray(state == goal)

    def loss(phi, fixed):
        v = value.hilbert_value(phi[state], phi[goal])
        there = value.hilbert_value(fixed[after], fixed[goal])
        return value.gc_value_loss(v[None], there[None], reached, 0.5, gamma).sum()

    def move(phi, _):
        return phi - 0.05 * jax.grad(loss)(phi, phi), None

    phi = jax.lax.scan(move, jax.random.normal(jax.random.key(0), (states, states)), length=4000)[0]
    distance = np.abs(state - goal)
    np.testing.assert_allclose(
        value.hilbert_value(phi[state], phi[goal]), -(1 - gamma**distance) / (1 - gamma), atol=5e-3
    )


def test_hilbert_value_is_flat_below_its_floor():
    slope = jax.grad(lambda x: value.hilbert_value(x, jnp.zeros(2)))
    np.testing.assert_array_equal(slope(jnp.array([1e-4, 0.0])), 0.0)
    np.testing.assert_allclose(slope(jnp.array([3.0, -4.0])), [-0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(value.hilbert_value(jnp.zeros(2), jnp.zeros(2)), -1e-3, rtol=1e-5)


def test_directional_rewards_telescope():
    phi, z = RNG.normal(size=(9, 3)), RNG.normal(size=3)
    total = value.directional_reward(jnp.asarray(phi[:-1]), jnp.asarray(phi[1:]), jnp.tile(z, (8, 1))).sum()
    np.testing.assert_allclose(total, (phi[-1] - phi[0]) @ z, rtol=1e-4)


def test_multilinear_value_equals_the_matrix_it_stands_for():
    phi, psi, t = RNG.normal(size=(3, 6, 4))
    a, b = RNG.normal(size=(2, 4, 3))
    wanted = [phi[i] @ np.diag(t[i]) @ a @ b.T @ np.diag(t[i]) @ psi[i] for i in range(6)]
    with jax.enable_x64(True):
        np.testing.assert_allclose(value.multilinear_value(phi, psi, t, a, b), wanted, rtol=1e-6)


def test_refusals():
    one = jnp.zeros((2, 3))
    with pytest.raises(ValueError, match="level must be a finite number"):
        value.gc_value_loss(one, one, jnp.zeros(3, bool), 1.0, 0.9)
    with pytest.raises(ValueError, match="the shape of advantage"):
        value.gc_value_loss(one, one, jnp.zeros(3, bool), 0.7, 0.9, jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="the shape of reached"):
        value.goal_target(one, jnp.zeros(2, bool), 0.9)
    with pytest.raises(ValueError, match="discount must be"):
        value.goal_target(one, jnp.zeros(3, bool), 1.1)
    with pytest.raises(ValueError, match="must be at most last"):
        value.option_end(jnp.array([5]), jnp.array([5]), jnp.array([4]), 2)
    with pytest.raises(ValueError, match="steps must be"):
        value.option_end(jnp.array([3]), jnp.array([5]), jnp.array([4]), 0)
    with pytest.raises(ValueError, match=r"current \+ future \+ random must be 1"):
        value.relabel_goals(jax.random.key(0), jnp.array(0), jnp.array(1), 2, 0.9, current=0.5)
    with pytest.raises(ValueError, match="size must be an integer"):
        value.relabel_goals(jax.random.key(0), jnp.zeros(0, int), jnp.zeros(0, int), 0, 0.9)
    with pytest.raises(ValueError, match="last must be a finite number"):
        value.relabel_goals(jax.random.key(0), jnp.array(0), jnp.array(9), 9, 0.9)
    with pytest.raises(ValueError, match="floor must be"):
        value.hilbert_value(one, one, 0.0)
    with pytest.raises(ValueError, match="T > 0"):
        value.episode_end(jnp.zeros((0, 2), bool))
