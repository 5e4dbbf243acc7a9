"""Environments with vector rewards: their rules against MO-Gymnasium's, their fronts against known figures.

Where the two differ, by intention: time limits here truncate only (fish-wood there sets both flags); a cell of the
bottle task holds at most two bottles; water is released in shares, if not asked otherwise; the last observation of
minecart is that of the sub-step that ended it. MO-Gymnasium's
`pareto_front` of resource gathering is no oracle: it discounts once too often and misses the safe route.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import moocore
import numpy as np
import pytest
from scipy.optimize import linprog

from rlx.envs import check_env, make
from rlx.envs.multi_objective import LQR, LQRParams, Minecart, WaterReservoir, bottles, fruit_tree, resource_gathering
from rlx.value import value_iteration

mo_gymnasium = pytest.importorskip("mo_gymnasium")

TREASURES = {
    "convex": (0.7, 8.2, 11.5, 14.0, 15.1, 16.1, 19.6, 20.3, 22.4, 23.7),
    "concave": (1, 2, 3, 5, 8, 16, 24, 50, 74, 124),
    "mirrored": (1, 2, 3, 5, 8, 16, 24, 50, 74, 124),
}
STEPS = np.array([1, 3, 5, 7, 8, 9, 13, 14, 17, 19])


def their(name: str):
    env = mo_gymnasium.make(name, disable_env_checker=True).unwrapped
    env.reset(seed=0)
    return env


class Chance:
    """In place of a generator: `random() < p` always or never, or one fixed normal number."""

    def __init__(self, value: float):
        self.value = value

    def random(self) -> float:
        return self.value

    def normal(self, mean, deviation, size):
        return np.full(size, mean + deviation * self.value)


def volume(env, gamma: float) -> float:
    return moocore.hypervolume(env.pareto_front(gamma), ref=env.reference_point, maximise=True)


# --- The interface ---


@pytest.mark.parametrize(
    "name",
    ["deep-sea-treasure-convex", "fishwood", "minecart", "water-reservoir-3", "lqr-2", "mo-mountain-car"],
)
def test_interface(name):
    env, params = make(f"rlx/{name}")
    check_env(env, params)
    assert len(env.reference_point) == len(env.reward_channels)


def test_features_are_a_table_of_the_states():
    env, params = make("rlx/resource-gathering", observation="features")
    check_env(env, params)
    obs, state = env.reset(jax.random.key(0), params)
    np.testing.assert_allclose(obs, [1.0, 0.5, 0.0, 0.0])
    assert int(env.index(state)) == 0


@pytest.mark.slow
def test_brax_rewards_are_velocity_height_and_energy():
    pytest.importorskip("brax")
    for name, size in (("mo-hopper", 3), ("mo-halfcheetah", 2)):
        env, params = make(f"brax/{name}")
        _, state = env.reset(jax.random.key(0), params)
        action = jnp.full(env.action_space(params).shape, 0.5)
        _, after, reward, terminated, info = jax.jit(env.step_env)(jax.random.key(1), state, action, params)
        assert reward.shape == (size,)
        survive = 1.0 - float(terminated) if size == 3 else 0.0
        np.testing.assert_allclose(reward[0], info["metrics"]["x_velocity"] + survive, rtol=1e-5)
        np.testing.assert_allclose(reward[-1], -0.25 * action.size + survive, rtol=1e-5)
        if size == 3:
            height = after.inner.pipeline_state.x.pos[0, 2] - 1.25  # where the model puts the torso
            np.testing.assert_allclose(reward[1], 10 * height + survive, atol=1e-4)


# --- Rules of the finite ones: every state, action and outcome ---


def treasure_place(env, cell):
    env.current_state = np.array(cell, np.int32)


def gathering_place(env, place):
    env.current_pos = np.array(place[:2], np.int32)
    env.has_gold, env.has_gem = int(place.gold), int(place.diamond)


def bottles_place(env, s):
    env.location, env.bottles_carrying, env.bottles_delivered = s.cell, s.carried, s.delivered
    env.bottles_dropped = list(s.floor)


def bottles_read(most):
    def read(env):
        floor = tuple(min(count, most) for count in env.bottles_dropped)
        return (env.location, env.bottles_carrying, env.bottles_delivered, floor)

    return read


def fishwood_place(env, place):
    env._state, env._timestep = np.array([place], np.int32), 0


CELL = lambda env: tuple(env.current_state)  # noqa: E731
FINITE = {  # name here: name there with arguments, put into a state, read the state, probability of `random() < p`
    "deep-sea-treasure-convex": ("deep-sea-treasure-v0", treasure_place, CELL, 0.0),
    "deep-sea-treasure-concave": ("deep-sea-treasure-concave-v0", treasure_place, CELL, 0.0),
    "deep-sea-treasure-mirrored": ("deep-sea-treasure-mirrored-v0", treasure_place, CELL, 0.0),
    "fruit-tree-6": ("fruit-tree-v0", treasure_place, CELL, 0.0),
    "resource-gathering": (
        "resource-gathering-v0",
        gathering_place,
        lambda env: (*env.current_pos, env.has_gold, env.has_gem),
        0.1,
    ),
    "breakable-bottles": ("breakable-bottles-v0", bottles_place, bottles_read(1), 0.1),
    "unbreakable-bottles": ("breakable-bottles-v0", bottles_place, bottles_read(2), 0.1),
    "fishwood": ("fishwood-v0", fishwood_place, lambda env: int(env._state[0]), None),
}


@pytest.mark.parametrize("name", list(FINITE))
def test_rules_are_those_of_mo_gymnasium(name):
    env, params = make(f"rlx/{name}")
    theirs, place, read, chance = FINITE[name]
    theirs = their(theirs)
    theirs.unbreakable_bottles = name == "unbreakable-bottles"
    table = jax.tree.map(np.asarray, params)
    going_on = {0, *table.successor[(table.probability > 0) & ~table.terminated]}
    for s in going_on:
        for action in range(env.num_actions):
            ours: dict = {}
            for o in np.nonzero(table.probability[s, action])[0]:
                after, ended = env.states[table.successor[s, action, o]], bool(table.terminated[s, action, o])
                key = (after, tuple(table.reward[s, action, o]), ended)
                ours[key] = ours.get(key, 0.0) + table.probability[s, action, o]
            expected: dict = {}
            p = (0.1, 0.9)[env.states[s]] if chance is None else chance
            for value, probability in ((0.0, p), (1.0, 1 - p)):
                if probability:
                    theirs.np_random = Chance(value)
                    place(theirs, env.states[s])
                    theirs.terminal = False
                    _, reward, ended, _, _ = theirs.step(action)
                    key = (read(theirs), tuple(np.asarray(reward, np.float32)), bool(ended))
                    expected[key] = expected.get(key, 0.0) + probability
            assert ours.keys() == expected.keys(), (env.states[s], action)
            np.testing.assert_allclose([ours[key] for key in expected], list(expected.values()), rtol=1e-6)


def test_steps_follow_the_tables_of_the_parameters():
    """Bumping into the enemy's wall: 20,000 draws of being killed with the probability that the parameters say."""
    env = resource_gathering(attack_probability=0.3)
    enemy = env.states.index((0, 3, True, False))
    state = env.reset(jax.random.key(0))[1]._replace(index=jnp.int32(enemy))
    keys = jax.random.split(jax.random.key(1), 20_000)
    step = jax.jit(jax.vmap(env.step_env, (0, None, None, None)))
    _, after, reward, terminated, _ = step(keys, state, 0, env.default_params)
    np.testing.assert_allclose(terminated.mean(), 0.3, atol=5 * np.sqrt(0.21 / len(keys)))
    np.testing.assert_array_equal(reward[:, 0], -1.0 * terminated)
    np.testing.assert_array_equal(after.index, enemy)


@pytest.mark.parametrize("depth", [5, 6, 7])
def test_leaves_of_the_fruit_tree(depth):
    from mo_gymnasium.envs.fruit_tree.fruit_tree import FRUITS

    env = fruit_tree(depth)
    leaves = np.array(FRUITS[str(depth)])
    front = env.pareto_front(0.9)
    np.testing.assert_allclose(front, leaves[np.argsort(leaves[:, 0])] * 0.9 ** (depth - 1), rtol=1e-12)


# --- Rules of the others: step by step from the same states ---


def test_minecart_moves_as_mo_gymnasium_does():
    """From random states: in the open, along walls, in corners, at mines, next to the base."""
    rng, n = np.random.default_rng(0), 1500
    theirs = their("minecart-deterministic-v0")
    env = Minecart(deterministic=True)
    position = np.where(rng.random((n, 2)) < 0.4, rng.integers(2, size=(n, 2)), rng.random((n, 2)))
    near = rng.integers(len(theirs.mines), size=n)
    at_mine = np.array([mine.pos for mine in theirs.mines])[near] + rng.uniform(-0.1, 0.1, (n, 2))
    position = np.where(rng.random((n, 1)) < 0.3, at_mine, position)
    position = np.where(rng.random((n, 1)) < 0.1, rng.uniform(0, 0.2, (n, 2)), position).astype(np.float32)
    speed = (rng.choice([0.0, 0.0, 0.03, 0.1, 0.5], n)).astype(np.float32)
    angle = 45.0 + 10 * rng.integers(36, size=n)
    content = (rng.random((n, 2)) * 0.75).astype(np.float32)
    content[rng.random(n) < 0.2] = 0.75
    action, departed = rng.integers(6, size=n), rng.random(n) < 0.7

    _, first = env.reset(jax.random.key(0))
    states = first._replace(
        position=jnp.asarray(position),
        speed=jnp.asarray(speed),
        angle=jnp.asarray(angle, jnp.float32),
        content=jnp.asarray(content),
        departed=jnp.asarray(departed),
        time=jnp.zeros(n, jnp.int32),
    )
    step = jax.jit(jax.vmap(env.step_env, (None, 0, 0, None)))
    obs, after, reward, terminated, _ = step(jax.random.key(0), states, jnp.asarray(action), env.default_params)

    for i in range(n):
        theirs.reset()
        cart = theirs.cart
        cart.pos, cart.speed, cart.angle = position[i].astype(np.float64), float(speed[i]), angle[i]
        cart.content, cart.departed = content[i].astype(np.float64), bool(departed[i])
        their_obs, their_reward, their_end, _, _ = theirs.step(action[i])
        if not their_end:  # theirs repeats the action once more, without moving, after the end
            np.testing.assert_allclose(obs[i], their_obs, atol=2e-5, err_msg=str((i, action[i])))
        np.testing.assert_allclose(reward[i], their_reward, atol=2e-5)
        assert bool(terminated[i]) == their_end
        assert bool(after.departed[i]) == cart.departed
    assert terminated.sum() > 20
    assert (reward[:, :2].sum(1) > 0).sum() > 10


def test_minecart_mines_a_normal_amount():
    env = Minecart()
    _, first = env.reset(jax.random.key(0))
    state = first._replace(position=jnp.array([0.16, 0.84]))
    keys = jax.random.split(jax.random.key(1), 4000)
    step = jax.jit(jax.vmap(env.step_env, (0, None, None, None)))
    content = step(keys, state, 0, env.default_params)[1].content
    # four draws each of N(0.2, 0.05) and of the positive part of N(0, 0.05)
    np.testing.assert_allclose(content.mean(0), [0.8, 4 * 0.05 / np.sqrt(2 * np.pi)], atol=0.01)
    np.testing.assert_allclose(content.std(0), [0.1, 0.1 * np.sqrt(0.5 - 0.5 / np.pi)], rtol=0.1)


@pytest.mark.parametrize("share", [False, True])
def test_reservoir_steps_as_mo_gymnasium_does(share):
    theirs = mo_gymnasium.make("water-reservoir-v0", nO=4, normalized_action=share, disable_env_checker=True).unwrapped
    env = WaterReservoir(4, share=share)
    step, rng = jax.jit(env.step_env), np.random.default_rng(0)
    for key in jax.random.split(jax.random.key(0), 60):
        level, action = rng.uniform(0, 170), rng.uniform(0, 1.0 if share else 120.0)
        theirs.reset(seed=0)
        theirs.state, theirs.np_random = np.array([level], np.float32), Chance(float(jax.random.normal(key)))
        their_obs, their_reward, _, _, _ = theirs.step(np.array([action]))
        _, state = env.reset(key)
        state = state._replace(level=jnp.float32(level))
        obs, _, reward, terminated, _ = step(key, state, jnp.array([action]), env.default_params)
        np.testing.assert_allclose(obs, their_obs, rtol=1e-5)
        np.testing.assert_allclose(reward, their_reward, rtol=1e-4, atol=1e-4)
        assert not terminated


def test_mountain_car_rewards_as_mo_gymnasium_does():
    """From random states, and with the last step's reward of zero for time."""
    theirs = their("mo-mountaincar-v0")
    env, params = make("rlx/mo-mountain-car")
    step, rng, ends = jax.jit(env.step_env), np.random.default_rng(0), 0
    _, state = env.reset(jax.random.key(0), params)
    for _ in range(100):
        place, speed, action = rng.uniform(-1.2, 0.6), rng.uniform(-0.07, 0.07), int(rng.integers(3))
        theirs.state = (place, speed)
        their_obs, their_reward, their_end, _, _ = theirs.step(action)
        before = state.replace(position=jnp.float32(place), velocity=jnp.float32(speed))
        obs, _, reward, terminated, _ = step(jax.random.key(0), before, jnp.int32(action), params)
        np.testing.assert_allclose(obs, their_obs, atol=1e-6)
        np.testing.assert_array_equal(reward, their_reward)
        assert bool(terminated) == their_end
        ends += their_end
    assert 0 < ends < 100


# --- Known fronts ---


@pytest.mark.parametrize("layout", list(TREASURES))
@pytest.mark.parametrize("gamma", [1.0, 0.99])
def test_treasure_front_is_the_ten_treasures_on_shortest_paths(layout, gamma):
    env, _ = make(f"rlx/deep-sea-treasure-{layout}")
    time = STEPS if gamma == 1 else (1 - gamma**STEPS) / (1 - gamma)
    expected = np.stack([TREASURES[layout] * gamma ** (STEPS - 1), -time], axis=1)
    np.testing.assert_allclose(env.pareto_front(gamma), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("layout", "gamma", "expected", "hull"),
    [
        ("convex", 1.0, 994.3, 9),  # 20.3 lies on the line between its neighbours
        ("convex", 0.99, 854.8504, 10),
        ("convex", 0.98, 731.6139, 10),
        ("concave", 1.0, 4255.0, 2),
        ("concave", 0.99, 3688.3771, 2),
        ("mirrored", 0.98, 3175.1971, 2),
    ],
)
def test_treasure_hypervolume_and_hull(layout, gamma, expected, hull):
    env, _ = make(f"rlx/deep-sea-treasure-{layout}")
    np.testing.assert_allclose(volume(env, gamma), expected, rtol=1e-7)
    front, coverage = env.pareto_front(gamma), env.convex_coverage_set(gamma)
    assert len(coverage) == hull
    assert all((np.abs(front - row).max(1) < 1e-9).any() for row in coverage)


def test_at_a_strong_discount_four_treasures_are_not_worth_their_way():
    env, _ = make("rlx/deep-sea-treasure-convex")
    assert len(env.pareto_front(0.95)) == 6


def test_resource_gathering_fronts():
    """By hand: a 10-step trip to the diamond, 12 to the gold round the enemies, 18 for both; 8 through one enemy."""
    env = resource_gathering()
    np.testing.assert_allclose(env.pareto_front(1.0), [[0, 1, 1]], atol=1e-12)
    safe = [[0, 0, 0.99**9], [0, 0.99**17, 0.99**17], [0, 0.99**11, 0]]
    np.testing.assert_allclose(env.pareto_front(0.99), safe, rtol=1e-12)
    front = env.pareto_front(0.9)
    assert len(front) == 9
    np.testing.assert_allclose(front[0], [-0.140049, 0.38742049, 0.0], atol=1e-8)
    assert np.abs(front - [0, 0.9**17, 0.9**17]).max(1).min() < 1e-12


def test_the_front_is_that_of_the_parameters_and_of_the_time_limit():
    env = resource_gathering()
    params = env.default_params
    killed = params.terminated[..., :1] & (params.reward[..., :1, 0] < 0)
    safe = params.replace(probability=jnp.where(killed, jnp.array([0.0, 1.0]), params.probability))
    np.testing.assert_array_equal(
        env.pareto_front(0.9, safe), resource_gathering(attack_probability=0.0).pareto_front(0.9)
    )
    # just enough for both past both enemies, or for either safely
    in_twelve_steps = env.pareto_front(1.0, params.replace(max_steps_in_episode=12))
    np.testing.assert_allclose(in_twelve_steps, [[-0.19, 0.81, 0.81], [0, 0, 1], [0, 1, 0]], atol=1e-6)


@pytest.mark.parametrize(("depth", "expected"), [(5, 8808.4187), (6, 12575.8733), (7, 17665.2844)])
def test_fruit_tree_hypervolume(depth, expected):
    np.testing.assert_allclose(volume(fruit_tree(depth), 1.0), expected, rtol=1e-8)


def test_every_leaf_is_the_best_for_some_weights():
    leaves = fruit_tree(5).pareto_front(1.0)
    for i in range(len(leaves)):
        gap = np.concatenate([np.delete(leaves, i, axis=0) - leaves[i], np.ones((len(leaves) - 1, 1))], axis=1)
        lead = linprog([0] * 6 + [-1], gap, np.zeros(len(gap)), [[1] * 6 + [0]], [1], [(0, None)] * 6 + [(None, 9)])
        assert -lead.fun > 1e-3


def test_the_exact_process_has_the_same_optimum():
    env = resource_gathering()
    P, R, discount, rho0 = env.to_mdp(0.9).arrays()
    weights = np.array([0.2, 0.5, 0.3])
    value, _ = value_iteration(P, R @ weights, discount)
    np.testing.assert_allclose(rho0 @ value, (env.pareto_front(0.9) @ weights).max(), rtol=1e-5)


def test_bottles_coverage():
    """One at a time: two trips of 9 steps. Two at once, with three cells to drop one on, each with 0.1."""
    coverage = bottles().convex_coverage_set(1.0)
    np.testing.assert_allclose(coverage, [[-18, 50, 0], [-12.2655556, 50, -(1 - 0.9**3)]], atol=1e-6)
    calm = bottles(breakable=False, drop_probability=0.0)
    np.testing.assert_allclose(calm.convex_coverage_set(1.0), [[-10, 50, 0]], atol=1e-9)


def test_unbreakable_bottles_have_one_optimum():
    coverage = bottles(breakable=False).convex_coverage_set(1.0)
    np.testing.assert_allclose(coverage, [[-10.966667, 50, 0]], atol=1e-6)


def test_fishwood_front_is_a_line():
    env, params = make("rlx/fishwood")
    n = np.arange(40)
    front = env.pareto_front(1.0, params.replace(max_steps_in_episode=40))
    np.testing.assert_allclose(front, np.stack([0.1 * n, 0.9 * (40 - n)], axis=1), atol=1e-5)
    np.testing.assert_allclose(env.convex_coverage_set(1.0), [[0, 180], [19.9, 0.9]], atol=1e-9)


@pytest.mark.parametrize("m", [2, 3])
def test_lqr_returns_are_those_of_play(m):
    env, gamma = LQR(m), 0.9
    params = LQRParams(start=0.7, xi=0.2, max_steps_in_episode=400)
    gains = np.linspace(0.3, 0.8, m)

    def one_step(state, t):
        _, state, reward, _, _ = env.step_env(jax.random.key(0), state, -jnp.asarray(gains) * state.x, params)
        return state, gamma**t * reward

    _, rewards = jax.lax.scan(one_step, env.reset(jax.random.key(0), params)[1], jnp.arange(300))
    np.testing.assert_allclose(env.returns(gains, gamma, params), rewards.sum(0), rtol=1e-5)


@pytest.mark.parametrize("m", [2, 3])
def test_no_gains_beat_the_optimal_ones(m):
    env, rng = LQR(m), np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(m), 20)
    best = (env.returns(env.optimal_gains(weights, 0.9), 0.9) * weights).sum(1)
    others = env.returns(rng.uniform(-0.2, 1.2, (20_000, m)), 0.9)
    assert ((others @ weights.T) <= best + 1e-12).all()
    np.testing.assert_allclose((others @ weights.T).max(0), best, rtol=0.01)
    front = env.pareto_front(0.9, divisions=10)
    assert (front > env.reference_point).all()
    assert moocore.is_nondominated(front, maximise=True).all()
    np.testing.assert_allclose(env.returns(np.zeros(m), 0.9), env.reference_point)
