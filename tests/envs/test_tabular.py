"""Tabular processes against dynamic programming, and the linear program against a search over policies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.envs import TabularMDP, check_env, tabular
from rlx.envs.tabular import USER_CHANNELS, corner, floor_optimum, segment_queries, user_mdp
from rlx.value import iwocs, robust_value_iteration
from rlx.value.tabular import occupancy, policy_evaluation, value_iteration


def test_chain_is_worth_going_right_or_giving_up():
    for n, gamma in ((5, 0.9), (30, 0.9)):
        np.testing.assert_allclose(
            tabular.chain(n, gamma=gamma).optimal_return(), max(gamma ** (n - 1), 0.2), rtol=1e-6
        )


def test_random_walk_has_the_textbook_values():
    mdp = tabular.random_walk(19)
    P, R, discount, rho0 = mdp.arrays()
    v, _ = policy_evaluation(P, R, discount, np.full((21, 2), 0.5))
    np.testing.assert_allclose(v[1:20], 2 * np.arange(1, 20) / 20 - 1, atol=1e-6)
    assert rho0[10] == 1


def test_garnet_has_the_branching_asked_for():
    mdp = tabular.garnet(jax.random.key(0), states=12, actions=3, branching=4)
    P, R, _, _ = mdp.arrays()
    np.testing.assert_array_equal((P > 0).sum(-1), 4)
    assert R.shape == (12, 3)
    assert len(np.unique(P[..., 0] > 0, axis=0)) > 1


def test_steps_follow_the_arrays():
    """Frequencies of successors and first states, within five standard errors, and never an impossible one."""
    mdp = tabular.garnet(jax.random.key(1), states=6, actions=2, branching=3)
    params = mdp.default_params
    keys = jax.random.split(jax.random.key(2), 20_000)
    state = tabular.TabularState(jnp.int32(4), jnp.int32(0))
    obs, after, reward, terminated, _ = jax.jit(jax.vmap(mdp.step_env, (0, None, None, None)))(keys, state, 1, params)
    share = np.bincount(after.index, minlength=6) / len(keys)
    np.testing.assert_allclose(share, params.P[4, 1], atol=5 * 0.5 / np.sqrt(len(keys)))
    assert (share[np.asarray(params.P[4, 1]) == 0] == 0).all()
    np.testing.assert_array_equal(reward, params.R[4, 1])
    np.testing.assert_array_equal(obs.argmax(-1), after.index)
    _, first = jax.jit(jax.vmap(mdp.reset_env, (0, None)))(keys, params)
    np.testing.assert_allclose(np.bincount(first.index, minlength=6) / len(keys), params.rho0, atol=0.015)
    assert not terminated.any()


def test_average_return_of_play_is_the_exact_value():
    """Uniform play in `chain(4)`, 4000 episodes: the mean return is the value of the uniform policy."""
    mdp = tabular.chain(4, gamma=1.0)
    P, R, discount, rho0 = mdp.arrays()
    value = rho0 @ policy_evaluation(P, R, discount, np.full(R.shape, 0.5))[0]
    params = mdp.default_params

    def episode(key):
        def one_step(carry, key):
            state, live = carry
            action_key, step_key = jax.random.split(key)
            action = jax.random.randint(action_key, (), 0, 2)
            _, state, reward, terminated, _ = mdp.step_env(step_key, state, action, params)
            return (state, live & ~terminated), reward * live

        reset_key, steps_key = jax.random.split(key)
        _, state = mdp.reset_env(reset_key, params)
        (_, live), rewards = jax.lax.scan(one_step, (state, True), jax.random.split(steps_key, 20))
        return rewards.sum(), live

    returns, live = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), 4000))
    assert not live.any()
    np.testing.assert_allclose(returns.mean(), value, atol=4 * returns.std() / np.sqrt(4000))


def evaluate(mdp, policy):
    """Discounted reward and cost."""
    P, R, _, rho0 = mdp.arrays()
    visits = occupancy(P, mdp.gamma, policy, rho0)
    return np.einsum("sa,sak->k", visits, R)


@pytest.mark.parametrize("seed", range(3))
def test_constrained_optimum_beats_every_policy_on_a_grid(seed):
    """Three states, two actions, 41 probabilities in each state: no feasible policy of those is better, one is near."""
    pytest.importorskip("scipy")
    mdp = tabular.constrained(jax.random.key(seed), states=3, actions=2, branching=2)
    lowest, highest = tabular.cost_range(mdp)
    limit = 0.5 * (lowest + highest)
    best = tabular.constrained_optimum(mdp, limit)
    levels = np.linspace(0, 1, 41)
    policies = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    P, R, _, rho0 = mdp.arrays()
    probs = np.stack([policies, 1 - policies], -1)  # [N, S, A]
    step = np.einsum("nsa,sat->nst", probs, P)
    values = np.linalg.solve(np.eye(3) - mdp.gamma * step, np.einsum("nsa,sak->nsk", probs, R))
    value, cost = np.einsum("s,nsk->kn", rho0, values)
    feasible = cost <= limit
    assert value[feasible].max() <= best.value + 1e-7
    assert value[feasible].max() >= best.value - 0.03
    assert value.max() > best.value  # so the limit binds


def test_constrained_optimum_is_consistent():
    pytest.importorskip("scipy")
    mdp = tabular.constrained(jax.random.key(7), states=12, actions=4)
    lowest, highest = tabular.cost_range(mdp)
    limit = 0.6 * lowest + 0.4 * highest
    best = tabular.constrained_optimum(mdp, limit)
    np.testing.assert_allclose(best.policy.sum(1), 1.0)
    np.testing.assert_allclose(evaluate(mdp, best.policy), [best.value, best.cost], rtol=1e-6)
    np.testing.assert_allclose(best.cost, limit, rtol=1e-6)
    np.testing.assert_allclose(best.occupancy.sum(), 1 / (1 - mdp.gamma), rtol=1e-6)
    # the multiplier is the slope of the optimum in the limit
    h = 1e-4
    slope = (tabular.constrained_optimum(mdp, limit + h).value - tabular.constrained_optimum(mdp, limit - h).value) / (
        2 * h
    )
    np.testing.assert_allclose(best.multiplier, slope, rtol=1e-3)
    # where the limit does not bind the optimum is value iteration's
    free = tabular.constrained_optimum(mdp, highest + 1.0)
    np.testing.assert_allclose(free.value, mdp.optimal_return(), rtol=1e-6)
    assert free.multiplier == 0


def test_a_limit_that_no_policy_meets_is_an_error():
    pytest.importorskip("scipy")
    mdp = tabular.constrained(jax.random.key(0))
    with pytest.raises(ValueError, match="lowest attainable cost; got -1"):
        tabular.constrained_optimum(mdp, -1)
    with pytest.raises(ValueError, match="reward and cost"):
        tabular.constrained_optimum(tabular.garnet(jax.random.key(0)), 1.0)


P, R, RHO = np.full((2, 2, 2), 0.5), np.zeros((2, 2)), np.array([1.0, 0.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(P=P[:, :, :1]), "shape of P"),
        (dict(R=np.zeros((2, 3))), "shape of R"),
        (dict(P=0.4 * P), "distributions"),
        (dict(rho0=np.array([0.5, 0.6])), "rho0"),
        (dict(gamma=1.2), "gamma"),
        (dict(R=np.zeros((2, 2, 2))), "reward_channels"),
        (dict(reward_channels=("reward",)), "reward_channels"),
    ],
)
def test_errors_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        TabularMDP(**({"P": P, "R": R, "gamma": 0.9, "rho0": RHO} | arguments))


def test_delivery_pays_for_what_is_entered():
    mdp, counted = (tabular.delivery(jax.random.key(4), 6, features=features) for features in (False, True))
    P, R, discount, rho0 = mdp.arrays()
    _, features, _, _ = counted.arrays()
    np.testing.assert_allclose(features @ list(tabular.DELIVERY.values()), R)
    cell = dict(zip(tabular.DELIVERY, features[discount[:, 0] > 0].max((0, 1)), strict=True))
    assert set(cell.values()) == {1.0}
    terminal = discount[:, 0] == 0
    assert terminal.sum() == 4  # three sheep and the destination
    after = P.argmax(-1)
    entered = np.isin(R, (-50.0, 50.0))
    np.testing.assert_array_equal(entered, terminal[after] & ~terminal[:, None])
    np.testing.assert_allclose(rho0, ~terminal / 32)
    row, column = np.divmod(np.arange(36), 6)
    distance = np.abs(row - row[after].T) + np.abs(column - column[after].T)  # [A, S]
    assert distance[:, ~terminal].max() == 1
    assert set(features[~terminal][..., :2].sum(-1).ravel()) == {0.0, 1.0}  # one surface, or an end


def test_the_corner_pays_every_step_into_it():
    mdp = corner(3, gamma=0.9)
    P, R, discount, _ = mdp.arrays()
    v, _ = value_iteration(P, R, discount)
    far = np.add.outer(np.arange(3)[::-1], np.arange(3)[::-1]).ravel()
    np.testing.assert_allclose(v, 0.9 ** np.maximum(far - 1, 0) / (1 - 0.9), rtol=1e-6)  # in the corner one may stay
    check_env(mdp)


def test_segments_are_walks_with_labels_of_their_scores():
    mdp = corner(3)
    P, R, *_ = (jnp.asarray(x, jnp.float32) for x in mdp.arrays())
    always_right = jnp.broadcast_to(jax.nn.one_hot(3, 4), (9, 4))
    data = segment_queries(jax.random.key(0), P, always_right, R, 20_000, 5)
    assert data.action is not None
    state, action = np.asarray(data.obs), np.asarray(data.action)
    after = np.asarray(P).argmax(-1)
    np.testing.assert_array_equal(after[state[..., :-1], action[..., :-1]], state[..., 1:])
    np.testing.assert_array_equal(after[state[..., -1], action[..., -1]], data.next_obs)
    np.testing.assert_allclose(data.gold, np.asarray(R)[state, action].sum(-1))
    np.testing.assert_allclose(np.bincount(action.ravel()) / action.size, [0.125, 0.125, 0.125, 0.625], atol=0.01)
    np.testing.assert_allclose(np.bincount(state[..., 0].ravel()) / 40_000, 1 / 9, atol=0.01)
    gap = np.asarray(data.gold[:, 0] - data.gold[:, 1])
    for value in (-2, 0, 2):
        share = np.asarray(data.target)[gap == value, 0].mean()
        np.testing.assert_allclose(share, 1 / (1 + np.exp(-value)), atol=0.04)


def test_optimum_above_floors():
    """Without binding floors, value iteration's; with them, weak duality, and the policy has its sums."""
    env = user_mdp(jax.random.key(3), states=8, actions=4)
    P, R, discount, rho0 = env.arrays()
    assert env.reward_channels == USER_CHANNELS
    assert [(R[..., k] > 0).sum() for k in (1, 2, 3)] == [3, 2, 1]  # 10, 5 and 2% of 32
    free, _ = floor_optimum(env, [-np.inf] * 3)
    assert free[0] == pytest.approx(env.optimal_return(), abs=1e-5)
    highest = np.array([rho0 @ value_iteration(P, R[..., k], discount)[0] for k in range(4)])
    floor = free[1:] + 0.3 * (highest[1:] - free[1:]) * np.array([1, 0, 0])
    returns, policy = floor_optimum(env, floor)
    assert np.all(returns[1:] >= floor - 1e-8)
    assert returns[0] < free[0]
    np.testing.assert_allclose(rho0 @ policy_evaluation(P, R, discount, policy)[0], returns, atol=1e-6)
    for multiplier in np.random.default_rng(0).uniform(0, 3, (20, 3)):  # weak duality
        v, _ = value_iteration(P, R @ np.array([1, *multiplier]), discount)
        assert rho0 @ v - multiplier @ floor >= returns[0] - 1e-6
    with pytest.raises(ValueError, match="attainable"):
        floor_optimum(env, highest[1:] + 1)
    with pytest.raises(ValueError, match="floor"):
        floor_optimum(env, [0.0])
    with pytest.raises(ValueError, match="shares"):
        user_mdp(jax.random.key(0), shares=(0.1, 0.0, 0.1))


def test_windy_walk_has_the_known_robust_value():
    for width, known in ((7, -10.993596), (21, -24.986325)):
        walks = [tabular.windy_walk(width, alpha).arrays() for alpha in np.linspace(0, 0.5, 25)]
        P, (_, R, discount, rho0) = np.stack([walk[0] for walk in walks]), walks[0]
        start = int(rho0.argmax())
        np.testing.assert_allclose(robust_value_iteration(P, R, discount)[0][start], known, atol=1e-5)
        found = iwocs(P, R, discount, start)
        assert found.converged
        assert len(found.models) == 2
        np.testing.assert_allclose(found.worst, known, atol=1e-5)
    calm = tabular.windy_walk(9)
    np.testing.assert_allclose(calm.optimal_return(), -(1 - 0.99**8) / 0.01, rtol=1e-5)
    check_env(tabular.windy_walk(7, 0.3))
    with pytest.raises(ValueError, match="alpha"):
        tabular.windy_walk(7, 1.5)
